//! A client that asks for one certificate after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::client::Client;

/// One client on one connection.
pub(crate) struct Applicant {
    /// `None`: the connection is still to come.
    client: Option<Client>,
    next: Box<dyn FnMut() -> Result<Vec<u8>> + Send>,
    manners: Manners,
    again: Option<Again>,
}

/// How a kind of CA answers.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Whether an answer has come to its end.
    pub(crate) is_whole: fn(&[u8]) -> bool,
    /// What stands in every answer that holds a certificate, and in no other.
    pub(crate) certificate: &'static [u8],
}

/// Another connection in the place of one that is not good any more.
struct Again {
    connect: Box<dyn Fn() -> Result<Client> + Send>,
    /// How many certificates one is good for, and how many of them are left.
    lasts: u32,
    left: u32,
}

impl Applicant {
    /// Who asks on one connection all the time. `next` makes each request.
    pub(crate) fn new(
        client: Client,
        manners: Manners,
        next: impl FnMut() -> Result<Vec<u8>> + Send + 'static,
    ) -> Self {
        Self { client: Some(client), next: Box::new(next), manners, again: None }
    }

    /// Who connects anew when its turn has come, and after so many certificates.
    pub(crate) fn connecting(
        connect: impl Fn() -> Result<Client> + Send + 'static,
        lasts: u32,
        manners: Manners,
        next: impl FnMut() -> Result<Vec<u8>> + Send + 'static,
    ) -> Self {
        let again = Some(Again { connect: Box::new(connect), lasts, left: lasts });
        Self { client: None, next: Box::new(next), manners, again }
    }

    /// Lets go of a connection that its CA has ended meanwhile, because it was idle.
    pub(crate) fn rest(&mut self) {
        if self.again.is_some() {
            self.client = None;
        }
    }

    /// Asks for one certificate; says how long it took to come. Whatever can be made ready before is
    /// ready when that time begins.
    pub(crate) fn ask(&mut self) -> Result<Duration> {
        if let Some(again) = &mut self.again
            && (again.left == 0 || self.client.is_none())
        {
            self.client = Some((again.connect)()?);
            again.left = again.lasts;
        }
        let client = self.client.as_mut().context("there is no connection")?;
        let request = (self.next)()?;
        let started = Instant::now();
        client.exchange(&request, self.manners.is_whole, self.manners.certificate)?;
        let took = started.elapsed();
        if let Some(again) = &mut self.again {
            again.left -= 1;
        }
        Ok(took)
    }
}
