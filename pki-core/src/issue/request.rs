//! What is asked for.

use crate::alternative_name::AlternativeName;
use crate::ids::{RegistrationId, VerificationCode};
use crate::key::Signer;
use crate::name::{DistinguishedName, NameError};
use crate::profile::{KeyPurpose, LeafContent, Role};
use crate::time::Validity;

/// A request for one certificate: whose, for which key, for what, and for how long.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) role: Role,
    pub(super) subject: DistinguishedName,
    pub(super) public_key: Vec<u8>,
    pub(super) validity: Validity,
    pub(super) path_length: Option<u8>,
    pub(super) content: LeafContent,
    pub(super) alternative_names: Vec<AlternativeName>,
}

/// Why a request cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The registration ID does not fit a common name (RFC 5280 appendix A.1).
    #[error(
        "registration ID {id} has {length} characters; in a certificate it is the CN, which holds at most 64"
    )]
    LongRegistrationId {
        /// The ID.
        id: RegistrationId,
        /// Its length.
        length: usize,
    },
    /// The name cannot be encoded.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Request {
    /// A self-signed authority; its key is the signer's.
    pub fn root(
        subject: DistinguishedName,
        signer: &dyn Signer,
        validity: Validity,
        path_length: Option<u8>,
    ) -> Self {
        let public_key = signer.public_key().to_vec();
        Self {
            role: Role::Root,
            subject,
            public_key,
            validity,
            path_length,
            content: LeafContent::from(vec![]),
            alternative_names: vec![],
        }
    }

    /// An authority below another. `public_key` is SubjectPublicKeyInfo DER; `path_length` counts
    /// the authorities allowed below it.
    pub fn intermediate(
        subject: DistinguishedName,
        public_key: Vec<u8>,
        validity: Validity,
        path_length: Option<u8>,
    ) -> Self {
        let role = Role::Intermediate;
        Self {
            role,
            subject,
            public_key,
            validity,
            path_length,
            content: LeafContent::from(vec![]),
            alternative_names: vec![],
        }
    }

    /// A device: its registration ID is the subject's CN, and the whole subject.
    ///
    /// # Errors
    /// [`RequestError::LongRegistrationId`] over 64 characters.
    pub fn leaf(
        id: &RegistrationId,
        public_key: Vec<u8>,
        validity: Validity,
        content: impl Into<LeafContent>,
    ) -> Result<Self, RequestError> {
        let length = id.as_str().len();
        if length > RegistrationId::LONGEST_COMMON_NAME {
            return Err(RequestError::LongRegistrationId {
                id: id.clone(),
                length,
            });
        }
        let subject = DistinguishedName::common(id.as_str())?;
        Ok(Self {
            role: Role::Leaf,
            subject,
            public_key,
            validity,
            path_length: None,
            content: content.into(),
            alternative_names: vec![],
        })
    }

    /// The same request for a device that others reach under these names.
    #[must_use]
    pub fn with_alternative_names(mut self, names: Vec<AlternativeName>) -> Self {
        self.alternative_names = names;
        self
    }

    /// A proof of possession: the code that DPS gave is the subject's CN.
    ///
    /// # Errors
    /// [`RequestError::Name`] if the code cannot be a CN.
    pub fn verification(
        code: &VerificationCode,
        public_key: Vec<u8>,
        validity: Validity,
    ) -> Result<Self, RequestError> {
        let subject = DistinguishedName::common(code.as_str())?;
        let role = Role::Verification;
        let purposes = vec![KeyPurpose::ClientAuth];
        Ok(Self {
            role,
            subject,
            public_key,
            validity,
            path_length: None,
            content: purposes.into(),
            alternative_names: vec![],
        })
    }
}
