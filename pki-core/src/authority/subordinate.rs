//! Requests of authorities elsewhere, before one of ours signs them (RFC 2986; RFC 5280 §3.2).
//!
//! That the requester holds the key, and that it is strong, was found out by reading the request
//! ([`crate::csr`]). Here: that it asks for an authority, and is none of those that it would stand below.
//! Not here: what its certificate says beyond, which [`crate::issue`]'s checks judge, and what the
//! inventory knows of its key.

use crate::certificate::Certificate;
use crate::csr::SigningRequest;
use crate::key::KeyIdentity;

/// Why a sound request is not signed as that of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubordinateError {
    /// RFC 5280 §4.2.1.9.
    #[error("it asks for CA:FALSE in its basicConstraints: it is no authority's")]
    EndEntity,
    /// An authority below itself is a loop.
    #[error("its key is that of {above}, which it would stand below")]
    Key {
        /// The subject of the certificate with the key.
        above: String,
    },
    /// A certificate with its issuer's name counts as a root (RFC 5280 §3.2), and names are how issuers are
    /// found.
    #[error("its subject {subject:?} is that of an authority which it would stand below")]
    Name {
        /// The subject.
        subject: String,
    },
}

/// Judges a request by what it asks for and by those above: the issuer first, the root last.
///
/// # Errors
/// [`SubordinateError`].
pub fn check_subordinate(
    request: &SigningRequest,
    above: &[Certificate],
) -> Result<(), SubordinateError> {
    let constraints = request.basic_constraints();
    if constraints.is_some_and(|asked| !asked.ca) {
        return Err(SubordinateError::EndEntity);
    }
    let key = KeyIdentity::of(request.public_key());
    if let Some(same) = above.iter().find(|one| one.key_identity() == key) {
        let above = same.subject().to_string();
        return Err(SubordinateError::Key { above });
    }
    let is_same = |one: &Certificate| one.subject().is_named_as(request.subject());
    if above.iter().any(is_same) {
        let subject = request.subject().to_string();
        return Err(SubordinateError::Name { subject });
    }
    Ok(())
}
