//! Path validation: does a leaf's chain lead to a trust anchor at a given time (RFC 5280 §6.1)?
//!
//! The verdict is OpenSSL's, in its strict mode and with nothing taken from the machine: no default
//! trust store, no clock. Here live only the question ([`PathOptions`]) and the answer
//! ([`PathReport`]), which names every certificate of the path and what was found wrong with it.
//! What DPS makes of a chain is another question: [`crate::admission`].

mod report;
mod validate;

pub use report::{PathFailure, PathReport, PathStep};
pub use validate::{PathOptions, Purpose, validate};
