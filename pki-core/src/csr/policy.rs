//! Which requests are signed, and for whom.
//!
//! Proof of possession and the strength of the key are the request's own matter, checked as it is
//! read. Here: whose it is, and whether the profile lets keys of its kind in.

use super::SigningRequest;
use crate::ids::{IdError, LeafName, RegistrationId};
use crate::key::KeyAlgorithm;

/// Which part of a request becomes the registration ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdFrom {
    /// The CN of its subject.
    #[default]
    CommonName,
    /// The one DNS name among the subject alternative names that it asks for.
    AlternativeName,
    /// The name of the file that it came in, without its ending.
    FileName,
}

/// What is known of a request besides itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stated<'a> {
    /// The registration ID that the input states for it.
    pub id: Option<&'a RegistrationId>,
    /// The name of its file, without ending.
    pub file_name: Option<&'a str>,
}

/// Which requests are signed, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestPolicy {
    /// What becomes the registration ID.
    pub id_from: IdFrom,
    /// The kinds of keys that are let in; none for all that are strong.
    pub keys: Option<Vec<KeyAlgorithm>>,
}

/// Why a sound request is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// There is no single CN to be the registration ID.
    #[error("its subject {subject:?} has no single CN, which is to be the registration ID")]
    NoCommonName {
        /// The subject.
        subject: String,
    },
    /// There is no single DNS name to be the registration ID.
    #[error("it asks for {count} DNS names; a single one is to be the registration ID")]
    NoAlternativeName {
        /// How many there are.
        count: usize,
    },
    /// It came in no file.
    #[error("it came in no file of its own, whose name is to be the registration ID")]
    NoFileName,
    /// What was found is no registration ID.
    #[error("its {from} cannot be a registration ID: {problem}")]
    RegistrationId {
        /// Where it was found.
        from: &'static str,
        /// What is wrong with it.
        problem: IdError,
    },
    /// It does not fit a CN (RFC 5280 appendix A.1).
    #[error("registration ID {id} has {length} characters; a CN holds at most 64")]
    LongRegistrationId {
        /// The ID.
        id: RegistrationId,
        /// Its length.
        length: usize,
    },
    /// It is another device's.
    #[error("it is the request of {found}, not of {stated}")]
    OtherDevice {
        /// Whose it should be.
        stated: RegistrationId,
        /// Whose it is.
        found: RegistrationId,
    },
    /// The profile lets no such keys in.
    #[error("its key is {found}; the profile takes {}", names(.allowed))]
    Key {
        /// The kind of its key.
        found: String,
        /// What the profile takes.
        allowed: Vec<KeyAlgorithm>,
    },
}

impl PolicyError {
    /// What is wrong with a registration ID that is no name of a leaf.
    fn of_length(problem: IdError) -> Self {
        match problem {
            IdError::LongerThanCommonName { id, length } => Self::LongRegistrationId { id, length },
            problem => Self::RegistrationId {
                from: "registration ID",
                problem,
            },
        }
    }
}

fn names(algorithms: &[KeyAlgorithm]) -> String {
    let names: Vec<&str> = algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    names.join(", ")
}

impl RequestPolicy {
    /// Judges a request, and says for whom it is signed.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn admit(
        &self,
        request: &SigningRequest,
        stated: Stated<'_>,
    ) -> Result<LeafName, PolicyError> {
        self.check_key(request)?;
        let id = match (self.named(request, stated), stated.id) {
            // Nothing is named that could contradict what the input states.
            (Err(PolicyError::NoCommonName { .. }), Some(id)) if request.subject().is_empty() => {
                id.clone()
            }
            (found, None) => found?,
            (found, Some(id)) => match found? {
                found if found == *id => id.clone(),
                found => {
                    let stated = id.clone();
                    return Err(PolicyError::OtherDevice { stated, found });
                }
            },
        };
        LeafName::try_from(id).map_err(PolicyError::of_length)
    }

    /// The device that the request, or its file, names.
    fn named(
        &self,
        request: &SigningRequest,
        stated: Stated<'_>,
    ) -> Result<RegistrationId, PolicyError> {
        let (from, name) = match self.id_from {
            IdFrom::CommonName => {
                let subject = request.subject();
                let missing = || PolicyError::NoCommonName {
                    subject: subject.to_string(),
                };
                ("CN", subject.common_name().ok_or_else(missing)?)
            }
            IdFrom::AlternativeName => {
                let mut names = request.dns_names();
                let count = names.len();
                let name = names.pop().filter(|_| count == 1);
                (
                    "DNS name",
                    name.ok_or(PolicyError::NoAlternativeName { count })?,
                )
            }
            IdFrom::FileName => {
                let name = stated.file_name.ok_or(PolicyError::NoFileName)?;
                ("file name", name.to_owned())
            }
        };
        name.parse()
            .map_err(|problem| PolicyError::RegistrationId { from, problem })
    }

    /// Judges the kind of a request's key alone.
    ///
    /// # Errors
    /// [`PolicyError::Key`].
    pub fn check_key(&self, request: &SigningRequest) -> Result<(), PolicyError> {
        let Some(allowed) = &self.keys else {
            return Ok(());
        };
        let found = KeyAlgorithm::of_public_key(request.public_key());
        match found.filter(|found| allowed.contains(found)) {
            Some(_) => Ok(()),
            None => Err(PolicyError::Key {
                found: found.map_or_else(|| "of another size".into(), |found| found.to_string()),
                allowed: allowed.clone(),
            }),
        }
    }
}
