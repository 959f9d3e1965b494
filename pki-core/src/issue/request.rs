//! What is asked for.

use crate::alternative_name::AlternativeName;
use crate::ids::{LeafName, VerificationCode};
use crate::key::Signer;
use crate::name::{DistinguishedName, NameError};
use crate::profile::{KeyPurpose, LeafContent, Role};
use crate::time::Validity;

/// A request for one certificate: whose, for which key, for what, and for how long.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) role: Role,
    /// Whose leaf it is to be.
    pub(super) leaf_name: Option<LeafName>,
    pub(super) subject: DistinguishedName,
    pub(super) public_key: Vec<u8>,
    pub(super) validity: Validity,
    pub(super) path_length: Option<u8>,
    pub(super) digital_signature: bool,
    pub(super) content: LeafContent,
    pub(super) alternative_names: Vec<AlternativeName>,
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
            leaf_name: None,
            subject,
            public_key,
            validity,
            path_length,
            digital_signature: false,
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
        Self {
            role: Role::Intermediate,
            leaf_name: None,
            subject,
            public_key,
            validity,
            path_length,
            digital_signature: false,
            content: LeafContent::from(vec![]),
            alternative_names: vec![],
        }
    }

    /// The same request of an authority whose key usage has digitalSignature or has it not.
    #[must_use]
    pub fn with_digital_signature(mut self, digital_signature: bool) -> Self {
        self.digital_signature = digital_signature;
        self
    }

    /// A device: its registration ID is the subject's CN, and the whole subject.
    ///
    /// # Errors
    /// [`NameError`] if the ID cannot be encoded as a CN.
    pub fn leaf(
        name: &LeafName,
        public_key: Vec<u8>,
        validity: Validity,
        content: impl Into<LeafContent>,
    ) -> Result<Self, NameError> {
        let subject = DistinguishedName::common(name.as_str())?;
        Ok(Self {
            role: Role::Leaf,
            leaf_name: Some(name.clone()),
            subject,
            public_key,
            validity,
            path_length: None,
            digital_signature: false,
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
    /// [`NameError`] if the code cannot be a CN.
    pub fn verification(
        code: &VerificationCode,
        public_key: Vec<u8>,
        validity: Validity,
    ) -> Result<Self, NameError> {
        let subject = DistinguishedName::common(code.as_str())?;
        let purposes = vec![KeyPurpose::ClientAuth];
        Ok(Self {
            role: Role::Verification,
            leaf_name: None,
            subject,
            public_key,
            validity,
            path_length: None,
            digital_signature: false,
            content: purposes.into(),
            alternative_names: vec![],
        })
    }
}
