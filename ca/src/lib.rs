//! The embedded certificate authority: it vouches for principals, takes that back, and forgets neither.
//!
//! ```text
//!             Authority                issue · revoke · reinstate · publish
//!      ┌─────────┼──────────┬──────────────┐
//! CertificateProfile  Issuer       Ledger        Lists
//!   plan: all limits  sign: the    record: the   when a list is signed,
//!   → Plan ─────────→ only key     only writer   how it is published
//!                                  ┌────┴────┐
//!                                Store    Journal
//! ```
//!
//! - **On record, then handed out.** What was signed is read again, compared with the plan and recorded;
//!   only then is there an answer. Interrupted before that, the certificate was never anywhere.
//! - **Events first.** The [`Ledger`] remembers [`Event`]s; everything else follows from them by one
//!   function, so the store can be checked against the journal, and built from it.
//! - **Durable means durable.** See [`Store`] for what is promised, and [`SledStore`] and
//!   [`RedbStore`] for how it is kept.
//! - **Many at once.** Threads sign on their own and share the writes; no answer comes before its own is synced.
//! - **Fail closed.** After a failed write nothing more is recorded until the home is opened anew.
//!
//! Time is injected as [`rustls::time_provider::TimeProvider`]; nothing here reads a clock.

mod audit;
mod authority;
mod batch;
mod caller;
mod committer;
mod config;
mod consequences;
mod enrolment;
mod error;
pub mod file;
mod home;
mod invitation;
mod issuer;
mod issuers;
mod journal;
pub mod keys;
mod kind;
mod ledger;
mod lifetime;
mod lists;
mod lock;
pub mod pem;
mod pending;
mod pointers;
mod profile;
mod publisher;
mod reason;
mod record;
mod refusal;
mod reserved;
mod responder;
mod rotation;
mod store;
mod text;
mod untold;
mod verify;

pub use audit::{Head, Record};
pub use authority::{Authority, Issued, Outcome};
pub use config::{Config, ConfigError, Grant, Lifetimes, Role};
pub use enrolment::Sweep;
pub use error::Error;
pub use home::{Founding, Home, HomeError, RebuildError, Rebuilt, RootOut};
pub use invitation::{
    DrawError, INVITATION_ID_LEN, INVITATION_SECRET_LEN, InvitationRecord, InvitationSecret,
    InvitationState, Invited, Inviter, LONGEST_INVITATION, MAX_INVITATION_USES, Offer, OfferError,
};
pub use issuer::{Entry, Issuer, SignedCertificate, SigningError};
pub use journal::{JournalError, Mended};
pub use kind::Kind;
pub use ledger::Ledger;
pub use lifetime::{Lifetime, LifetimeError};
pub use lists::{Lists, MAX_BUNDLE_LEN, PublishedList};
pub use lock::LockError;
pub use pending::Pending;
pub use pointers::{PublicUrl, PublicUrlError};
pub use profile::{BACKDATING, CertificateProfile, Order, Plan, Planned, ProfileError};
pub use reason::{Reason, UnknownReason};
pub use record::{
    Actor, AuthorityRecord, CaRecord, CertificateRecord, DeviceRecord, Event, ListRecord, Origin,
    Revocation, RevokedRecord, Tier, UnknownTier,
};
pub use refusal::Refusal;
pub use reserved::SERVICE_NAME;
pub use responder::Responder;
pub use rotation::{Retired, Rotated, Rotation};
pub use store::{
    Change, MAX_KEY_LEN, MAX_VALUE_LEN, RedbStore, SledStore, Store, StoreError, StoreKind,
    UnknownStore,
};
pub use verify::{Finding, Whole, verify};
