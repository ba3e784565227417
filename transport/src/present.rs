//! What is in force now: a TLS configuration that follows the identity and the roots.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::time_provider::TimeProvider;
use tokio::sync::watch;

use crate::{Identity, TlsError, Trust};

/// A TLS configuration for the identity and the roots in force, made again when others are.
pub(crate) struct Present<C> {
    make: fn(&Identity, &Trust) -> Result<C, TlsError>,
    identity: watch::Receiver<Arc<Identity>>,
    trust: Trust,
    made: Mutex<Made<C>>,
}

struct Made<C> {
    identity: Arc<Identity>,
    trust: Trust,
    config: Arc<C>,
}

impl<C> Present<C> {
    pub(crate) fn new(
        make: fn(&Identity, &Trust) -> Result<C, TlsError>,
        identity: watch::Receiver<Arc<Identity>>,
        trust: Trust,
    ) -> Result<Self, TlsError> {
        let made = Self::make(make, &identity, &trust)?;
        Ok(Self { make, identity, trust, made: Mutex::new(made) })
    }

    /// The configuration, and the trust that its peers are verified under.
    pub(crate) fn get(&self) -> Result<(Arc<C>, Trust), TlsError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&made.identity, &self.identity.borrow()) || made.trust.is_outdated() {
            *made = Self::make(self.make, &self.identity, &self.trust)?;
        }
        Ok((Arc::clone(&made.config), made.trust.clone()))
    }

    /// For whoever wants to know of another identity.
    pub(crate) fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.clone()
    }

    pub(crate) fn clock(&self) -> Arc<dyn TimeProvider> {
        self.trust.clock()
    }

    fn make(
        make: fn(&Identity, &Trust) -> Result<C, TlsError>,
        identity: &watch::Receiver<Arc<Identity>>,
        trust: &Trust,
    ) -> Result<Made<C>, TlsError> {
        let (identity, trust) = (Arc::clone(&identity.borrow()), trust.present());
        let config = Arc::new(make(&identity, &trust)?);
        Ok(Made { identity, trust, config })
    }
}
