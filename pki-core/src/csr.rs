//! Certificate signing requests: PKCS#10 as devices make them (RFC 2986).
//!
//! A [`SigningRequest`] that exists proved possession of its key: reading checks the self-signature.
//! Only the key and the CN are taken from it; what it asks for beyond is listed, never granted.

use const_oid::ObjectIdentifier;
use const_oid::db::DB;
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use der::{Decode as _, Encode as _};
use x509_cert::ext::Extensions;
use x509_cert::request::CertReqInfo;

use crate::format::pem::{self, InputError};
use crate::ids::{IdError, RegistrationId};
use crate::key::SignatureError;
use crate::name::DistinguishedName;
use crate::signed::Signed;

/// A signing request whose self-signature holds.
#[derive(Debug, Clone)]
pub struct SigningRequest {
    der: Vec<u8>,
    subject: DistinguishedName,
    registration_id: RegistrationId,
    public_key: Vec<u8>,
    requested_extensions: Vec<ObjectIdentifier>,
}

/// Why an input is no signing request that can be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// The input holds something else.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The structure is broken.
    #[error("it is not a certificate signing request (PKCS#10)")]
    Structure(#[source] der::Error),
    /// The requester does not hold the key, or the algorithm is weak (RFC 2986 §4.2).
    #[error("its self-signature is not accepted: {0}")]
    SelfSignature(SignatureError),
    /// There is no single CN to be the registration ID.
    #[error("its subject {subject:?} has no single CN, which is to be the registration ID")]
    NoCommonName {
        /// The subject.
        subject: String,
    },
    /// The CN is no registration ID.
    #[error("its CN cannot be a registration ID: {0}")]
    RegistrationId(IdError),
}

impl SigningRequest {
    /// Reads PEM or DER and checks the self-signature.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn read(input: &[u8]) -> Result<Self, CsrError> {
        const WANTED: &str = "a certificate signing request";
        let Some(blocks) = pem::blocks(input)? else {
            return match Signed::from_der(input) {
                Ok(_) => Self::from_der(input),
                Err(_) => Err(InputError::NeitherPemNorDer { wanted: WANTED }.into()),
            };
        };
        pem::refuse_private_keys(&blocks, WANTED)?;
        let request = blocks.iter().find(|block| {
            matches!(
                block.label.as_str(),
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"
            )
        });
        match request {
            Some(block) => Self::from_der(&block.der),
            None => Err(pem::wrong_kind(&blocks, WANTED).into()),
        }
    }

    /// Reads DER and checks the self-signature.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let signed = Signed::from_der(der).map_err(CsrError::Structure)?;
        let info = CertReqInfo::from_der(signed.content()).map_err(CsrError::Structure)?;
        let public_key = info.public_key.to_der().map_err(CsrError::Structure)?;
        signed
            .verify(&public_key)
            .map_err(CsrError::SelfSignature)?;
        let subject = DistinguishedName::from_name(info.subject.clone());
        let name = subject
            .common_name()
            .ok_or_else(|| CsrError::NoCommonName {
                subject: subject.to_string(),
            })?;
        let registration_id = name.parse().map_err(CsrError::RegistrationId)?;
        let requested_extensions = requested_extensions(&info);
        Ok(Self {
            der: der.to_vec(),
            subject,
            registration_id,
            public_key,
            requested_extensions,
        })
    }

    /// The request as it was read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it names.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Its CN, as the registration ID that it is to become.
    pub fn registration_id(&self) -> &RegistrationId {
        &self.registration_id
    }

    /// The public key as SubjectPublicKeyInfo DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Names of the extensions that it asks for; none of them is granted.
    pub fn requested_extensions(&self) -> Vec<String> {
        let name = |oid: &ObjectIdentifier| {
            DB.by_oid(oid)
                .map_or_else(|| oid.to_string(), ToOwned::to_owned)
        };
        self.requested_extensions.iter().map(name).collect()
    }
}

fn requested_extensions(info: &CertReqInfo) -> Vec<ObjectIdentifier> {
    let asked = info
        .attributes
        .iter()
        .filter(|attribute| attribute.oid == ID_EXTENSION_REQ);
    let values = asked.flat_map(|attribute| attribute.values.iter());
    let extensions = values.filter_map(|value| value.decode_as::<Extensions>().ok());
    extensions
        .flatten()
        .map(|extension| extension.extn_id)
        .collect()
}
