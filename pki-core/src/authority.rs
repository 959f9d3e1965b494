//! Authorities: a CA by name, with the key and certificate of one generation at hand.
//!
//! [`SigningAuthority`] is a generation that can sign: its key fits its certificate, and it may. It
//! issues leaves, intermediates and proofs of possession, each through the order of [`crate::issue`].
//! [`ChainBundle`] puts chains in order. A certificate that others signed is asked for with
//! [`request_certificate`] and judged as a [`Candidate`] before it may issue here; what others ask of us,
//! [`check_subordinate`] judges. Which generation is current, and where keys are kept, is the inventory's
//! and the command line's business.

mod adopt;
mod bundle;
mod clock;
mod issuing;
mod request;
mod subordinate;

pub use adopt::{AdoptionFault, Candidate};
pub use bundle::{BundleError, ChainBundle};
pub use clock::{ClockAhead, refuse_clock_ahead};
pub use issuing::{
    AdoptError, AuthoritySpec, IssuancePolicy, LeafSpec, PossessionError, SigningAuthority,
    create_root,
};
pub use request::{AuthorityRequestError, request_certificate};
pub use subordinate::{SubordinateError, check_subordinate};
