//! A client that asks for one certificate after the other.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::Client;

/// What both CAs answer with, and neither refuses with.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// One client on one connection.
pub(crate) struct Applicant {
    pub(crate) client: Client,
    /// Makes the next request, each for a certificate of its own.
    pub(crate) next: Box<dyn FnMut() -> Result<Vec<u8>> + Send>,
    /// Whether an answer has come to its end.
    pub(crate) is_whole: fn(&[u8]) -> bool,
    /// Connects anew, to a CA that ends connections which wait for their next turn.
    pub(crate) again: Option<Box<dyn Fn() -> Result<Client> + Send>>,
}

impl Applicant {
    /// Gets ready for a turn.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        if let Some(again) = &self.again {
            self.client = again()?;
        }
        Ok(())
    }

    /// Asks for one certificate; says how long it took to come. The request is made before that time begins.
    pub(crate) fn ask(&mut self) -> Result<Duration> {
        let request = (self.next)()?;
        let started = Instant::now();
        self.client.exchange(&request, self.is_whole, CERTIFICATE)?;
        Ok(started.elapsed())
    }
}
