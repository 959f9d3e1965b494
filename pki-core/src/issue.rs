//! Issuance: from a request to a certificate that may leave the house.
//!
//! The order is in the types, each consuming the last: a [`Request`] is [`compose`]d into a
//! [`Composed`] certificate, [`Composed::lint`] makes it [`Linted`], [`Linted::sign`] makes it
//! [`Issued`], and only [`crate::inventory`] turns that into something that writers accept.
//! Invariant: nothing unlinted is signed, nothing unrecorded is written out.
//!
//! ```
//! # use pki_core::issue::{Request, compose, Issuer};
//! # use pki_core::key::{KeyAlgorithm, KeyGenerator, Signer, software::{SoftwareKeyGenerator, SoftwareSigner}};
//! # use pki_core::{ids::*, time::*};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SoftwareKeyGenerator.generate(KeyAlgorithm::EcdsaP256)?;
//! let signer = SoftwareSigner::new(&key)?;
//! let now: Time = "2026-01-01T00:00:00Z".parse()?;
//! let validity = Validity::starting(now, Span::from_days(3650), Span::from_seconds(300))?;
//! let request = Request::root("CN=Contoso Root CA".parse()?, &signer, validity, None);
//! let issuer = Issuer::self_signed("root".parse()?, Generation::FIRST, &request, &signer);
//! let serial = SerialNumber::from_random([7; 16]);
//! let root = compose(&request, &issuer, &serial)?.lint(now)?.sign(&signer)?;
//! assert!(root.certificate().is_ca());
//! # Ok(())
//! # }
//! ```

mod compose;
mod issuer;
mod lint;
mod press;
mod request;
mod sign;

pub(crate) use compose::moment;
pub use compose::{ComposeError, Composed, compose};
pub use issuer::Issuer;
pub use lint::LintError;
pub use press::LeafPress;
pub use request::Request;
pub use sign::{Issued, Linted, SignError};

pub use crate::lint::{Finding, Severity};

/// Why a certificate was not issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The request has a name that no certificate may have.
    #[error(transparent)]
    Name(#[from] crate::name::NameError),
    /// The validity cannot be written down.
    #[error(transparent)]
    Validity(#[from] crate::time::TimeError),
    /// The parts do not fit together.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A check refused it before it was signed.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The signer failed, or is not the issuer's.
    #[error(transparent)]
    Sign(#[from] SignError),
}
