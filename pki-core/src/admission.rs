//! Admission: what DPS decides about a device that shows a certificate chain.
//!
//! The order of operations of
//! [DPS](https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation#dps-order-of-operations-with-certificates)
//! as a pure function: [`decide`] takes what DPS holds ([`DpsView`]) and what the device presents
//! ([`PresentedChain`]), and returns a [`Decision`] with every step that led to it. [`outcome_below`] decides about whole classes of devices at once.
//! Signatures were checked when the chain was linked ([`PresentedChain::link`]); constraints are
//! [`crate::path`]'s, and dates count where the view is of a moment.
//! Invariant: the first entry found decides, enabled or disabled, matching or not; nothing falls
//! through to a less specific one.

mod chain;
mod decide;
mod explain;
mod view;

pub use chain::{ChainElement, PresentedChain};
pub use decide::{
    Decision, Entry, InvalidCertificate, Observation, Outcome, Refusal, decide, outcome_below,
    outcome_of,
};
pub use explain::explain;
pub use view::{DpsView, GroupEntry, IndividualEntry, UploadedCa, ViewError};
