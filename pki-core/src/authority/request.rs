//! Requests for the certificate of an authority whose issuer is elsewhere: an offline root, a vendor's
//! CA (RFC 2986).

use const_oid::db::rfc5280::{
    ID_CE_BASIC_CONSTRAINTS, ID_CE_KEY_USAGE, ID_CE_SUBJECT_KEY_IDENTIFIER,
};
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use der::asn1::{Any, SetOfVec};
use der::{Decode as _, Encode as _};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extensions;
use x509_cert::name::Name;
use x509_cert::request::{CertReqInfo, Version};

use crate::key::{KeyError, Signer};
use crate::name::DistinguishedName;
use crate::profile::{ExtensionFacts, Role};
use crate::signed::Signed;

/// Why a request was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityRequestError {
    /// Something cannot be encoded.
    #[error("the request cannot be encoded")]
    Encoding(#[from] der::Error),
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] KeyError),
}

/// Makes a signing request in DER for an authority: its name, its key, and the extensions that it must
/// get. Whoever signs it decides on the rest.
///
/// # Errors
/// [`AuthorityRequestError`].
pub fn request_certificate(
    subject: &DistinguishedName,
    path_length: Option<u8>,
    digital_signature: bool,
    signer: &dyn Signer,
) -> Result<Vec<u8>, AuthorityRequestError> {
    let extensions = wished(path_length, digital_signature, signer.public_key())?;
    let mut attributes = SetOfVec::new();
    attributes.insert(Attribute {
        oid: ID_EXTENSION_REQ,
        values: SetOfVec::try_from(vec![Any::encode_from(&extensions)?])?,
    })?;
    let info = CertReqInfo {
        version: Version::V1,
        subject: Name::from_der(&subject.to_der())?,
        public_key: spki::SubjectPublicKeyInfoOwned::from_der(signer.public_key())?,
        attributes,
    };
    let content = info.to_der()?;
    let signature = signer.sign(&content)?;
    let identifier = signer.signature_algorithm().identifier();
    Ok(Signed::assemble(&content, identifier, &signature)?)
}

/// The extensions of an intermediate that follow from itself alone.
fn wished(
    path_length: Option<u8>,
    digital_signature: bool,
    public_key: &[u8],
) -> Result<Extensions, der::Error> {
    const OWN: [const_oid::ObjectIdentifier; 3] = [
        ID_CE_BASIC_CONSTRAINTS,
        ID_CE_KEY_USAGE,
        ID_CE_SUBJECT_KEY_IDENTIFIER,
    ];
    let facts = ExtensionFacts {
        role: Role::Intermediate,
        path_length,
        digital_signature,
        purposes: &[],
        alternative_names: &[],
        crl_distribution_point: None,
        subject_key: public_key,
        issuer_key_identifier: &[],
    };
    let mut extensions = facts.extensions()?;
    extensions.retain(|extension| OWN.contains(&extension.extn_id));
    Ok(extensions)
}
