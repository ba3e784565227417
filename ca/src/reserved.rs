//! What is kept from those who do not have the CA's home: the name of the CA itself, and their own limit.

use vouchsafe_certs::Principal;

use crate::record::Actor;
use crate::refusal::Refusal;

/// The name of the CA's own service in its trust domain. Whoever enrols or renews tells secrets to
/// nobody else, whatever host name a certificate carries: `localhost` is in many.
pub const SERVICE_NAME: &str = "ca";

impl Actor {
    /// Whether somebody may say who is this principal, or who is it no longer. Whoever had a
    /// certificate of the CA's own name could stand in its place before everybody who enrols.
    pub(crate) fn demand_say(&self, principal: &Principal) -> Result<(), Refusal> {
        match self {
            Self::Principal(_) | Self::Holder(..) if principal.name() == SERVICE_NAME => {
                Err(Refusal::Reserved(principal.clone()))
            }
            Self::Principal(_) | Self::Holder(..) | Self::Home | Self::Itself => Ok(()),
        }
    }

    /// Whether somebody may say what a device may do at most: nobody says it of themselves.
    pub(crate) fn demand_say_of_limit(&self, principal: &Principal) -> Result<(), Refusal> {
        self.demand_say(principal)?;
        match self {
            Self::Principal(own) | Self::Holder(own, _) if own == principal => {
                Err(Refusal::OwnLimit(own.clone()))
            }
            Self::Principal(_) | Self::Holder(..) | Self::Home | Self::Itself => Ok(()),
        }
    }
}
