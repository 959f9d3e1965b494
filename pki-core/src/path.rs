//! Path validation: does a leaf's chain lead to a trust anchor at a given time (RFC 5280 §6.1)?
//!
//! The path and the first verdict are OpenSSL's, in its strict mode and with nothing taken from the
//! machine: no default trust store, no clock. On top come what it leaves out: the errors of form of
//! [`crate::lint`], CRLs that are handed in, and the last second of a validity. The answer
//! ([`PathReport`]) names each check of each certificate; of several that failed, the most specific
//! one is the reason.
//! Of several ways to an anchor each is put to OpenSSL until one holds.
//! What DPS makes of a chain is another question: [`crate::admission`].
//! A path that holds is a precedent for leaves that differ from its own in nothing that OpenSSL judges by
//! ([`Precedent`]).
//! Invariant: nothing here turns a no of the library into a yes, but for that last second.

mod examine;
mod precedent;
mod report;
mod revocation;
mod search;
mod validate;

pub use precedent::{LeafPattern, Precedent};
pub use report::{CheckName, CheckOutcome, PathCheck, PathFailure, PathReport, PathStep};
pub use validate::{PathOptions, Purpose, validate};
