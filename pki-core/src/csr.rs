//! Certificate signing requests: PKCS#10 as devices make them (RFC 2986).
//!
//! A [`SigningRequest`] that exists proved possession of its key, and the key is strong enough to
//! certify: reading checks both. Only the key is taken from it, and whose it is as a
//! [`RequestPolicy`] says; what it asks for beyond is listed, never granted.

mod policy;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use const_oid::db::DB;
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{Decode, Encode as _, Sequence};
use spki::SubjectPublicKeyInfoRef;
use x509_cert::attr::Attributes;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::request::Version;

pub use policy::{IdFrom, PolicyError, RequestPolicy, Stated};

use crate::ids::RegistrationId;
use crate::key::{KeyError, KeyIdentity, SignatureError, Signer};
use crate::lint::public_key_problem;
use crate::name::{DistinguishedName, NameError};
use crate::pem::{self, InputError};
use crate::signed::Signed;

/// A signing request whose self-signature holds.
#[derive(Debug, Clone)]
pub struct SigningRequest {
    der: Vec<u8>,
    subject: DistinguishedName,
    public_key: Vec<u8>,
    requested: Vec<Requested>,
}

/// What is signed of a request (RFC 2986 §4.1).
#[derive(Sequence)]
struct RequestInfo<'a> {
    version: Version,
    subject: Name,
    public_key: SubjectPublicKeyInfoRef<'a>,
    /// RFC 2986 wants the field even if it is empty; some leave it out.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    attributes: Option<Attributes>,
}

/// An extension that is asked for.
#[derive(Debug, Clone)]
struct Requested {
    oid: ObjectIdentifier,
    value: Vec<u8>,
}

/// A device's own key, and the request that proved who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    pub(crate) public_key: Vec<u8>,
    pub(crate) request: Vec<u8>,
}

impl ProvenKey {
    /// The public key as SubjectPublicKeyInfo DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Which key it is, however it is written down.
    pub fn identity(&self) -> KeyIdentity {
        KeyIdentity::of(&self.public_key)
    }

    /// The request as it was read (PKCS#10 DER).
    pub fn request(&self) -> &[u8] {
        &self.request
    }
}

/// Why an input is no signing request that can be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// The input holds something else.
    #[error(transparent)]
    Input(#[from] InputError),
    /// There are several where one is wanted.
    #[error("it holds {count} requests where one is wanted")]
    Several {
        /// How many.
        count: usize,
    },
    /// The structure is broken.
    #[error("it is not a certificate signing request (PKCS#10)")]
    Structure(#[source] der::Error),
    /// The key is of a kind or size that is not certified.
    #[error("{problem}")]
    Key {
        /// What is wrong with it.
        problem: String,
    },
    /// The requester does not hold the key, or the algorithm is weak (RFC 2986 §4.2).
    #[error("its self-signature is not accepted: {0}")]
    SelfSignature(SignatureError),
    /// It cannot be made.
    #[error("the request cannot be made")]
    Name(#[from] NameError),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] KeyError),
}

const WANTED: &str = "a certificate signing request";

/// The requests of an input as DER, unread: each of a PEM file, or the one of a DER file.
///
/// # Errors
/// [`InputError`]: what the input is instead.
pub fn requests(input: &[u8]) -> Result<Vec<Vec<u8>>, InputError> {
    if let Some(request) = str::from_utf8(input).ok().and_then(plain_block) {
        return Ok(vec![request]);
    }
    let input = &pem::plain(input);
    let Some(blocks) = pem::blocks(input)? else {
        return match Signed::from_der(input) {
            Ok(_) => Ok(vec![input.to_vec()]),
            Err(_) => Err(InputError::NeitherPemNorDer { wanted: WANTED }),
        };
    };
    pem::refuse_private_keys(&blocks, WANTED)?;
    const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
    let found = blocks
        .iter()
        .filter(|block| LABELS.contains(&block.label.as_str()));
    let requests: Vec<Vec<u8>> = found.map(|block| block.der.to_vec()).collect();
    if requests.is_empty() {
        Err(pem::wrong_kind(&blocks, WANTED))
    } else {
        Ok(requests)
    }
}

/// The request of a text that is one block of the usual label and nothing else, which is what most
/// are: reading it as any PEM takes several times as long.
fn plain_block(text: &str) -> Option<Vec<u8>> {
    let body = text
        .trim()
        .strip_prefix("-----BEGIN CERTIFICATE REQUEST-----")?
        .strip_suffix("-----END CERTIFICATE REQUEST-----")?;
    let mut base64 = String::with_capacity(body.len());
    body.lines().for_each(|line| base64.push_str(line.trim()));
    let request = STANDARD.decode(base64).ok()?;
    (!request.is_empty()).then_some(request)
}

/// The one request in a field of a list or a member of a JSON object: PEM, or base64 of DER.
///
/// # Errors
/// [`CsrError::Input`], [`CsrError::Several`].
pub fn request_in_text(text: &str) -> Result<Vec<u8>, CsrError> {
    if text.contains("-----BEGIN ") {
        return only(requests(text.as_bytes())?);
    }
    let base64: String = text.split_whitespace().collect();
    let nothing_else = |_| InputError::NeitherPemNorBase64 { wanted: WANTED };
    Ok(STANDARD.decode(base64).map_err(nothing_else)?)
}

/// The one request of a PEM or DER input, as DER, unread.
///
/// # Errors
/// [`CsrError::Input`], [`CsrError::Several`].
pub fn only_request(input: &[u8]) -> Result<Vec<u8>, CsrError> {
    only(requests(input)?)
}

fn only(mut requests: Vec<Vec<u8>>) -> Result<Vec<u8>, CsrError> {
    match (requests.pop(), requests.len()) {
        (Some(request), 0) => Ok(request),
        (_, others) => Err(CsrError::Several { count: others + 1 }),
    }
}

impl SigningRequest {
    /// Reads the one request of a PEM or DER input, and checks key and self-signature.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn read(input: &[u8]) -> Result<Self, CsrError> {
        Self::from_der(&only_request(input)?)
    }

    /// Reads DER, and checks key and self-signature.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let signed = Signed::from_der(der).map_err(CsrError::Structure)?;
        let info = RequestInfo::from_der(signed.content()).map_err(CsrError::Structure)?;
        // Before the signature: those of weak keys are refused without a word about the key.
        if let Some(finding) = public_key_problem(&info.public_key) {
            let problem = finding.message;
            return Err(CsrError::Key { problem });
        }
        signed
            .verify_with(&info.public_key)
            .map_err(CsrError::SelfSignature)?;
        Ok(Self {
            der: der.to_vec(),
            public_key: info.public_key.to_der().map_err(CsrError::Structure)?,
            requested: requested(&info),
            subject: DistinguishedName::from_name(info.subject),
        })
    }

    /// Makes a request for the signer's key; its CN is the registration ID, and it asks for nothing else.
    ///
    /// # Errors
    /// [`CsrError::Name`], [`CsrError::Signer`]; [`CsrError::Structure`] if the parts do not fit.
    pub fn make(id: &RegistrationId, signer: &dyn Signer) -> Result<Self, CsrError> {
        let subject = DistinguishedName::common(id.as_str())?;
        let public_key = SubjectPublicKeyInfoRef::from_der(signer.public_key());
        let info = RequestInfo {
            version: Version::V1,
            subject: Name::from_der(&subject.to_der()).map_err(CsrError::Structure)?,
            public_key: public_key.map_err(CsrError::Structure)?,
            attributes: Some(der::asn1::SetOfVec::new()),
        };
        let content = info.to_der().map_err(CsrError::Structure)?;
        let signature = signer.sign(&content)?;
        let algorithm = signer.signature_algorithm().identifier();
        let der = Signed::assemble(&content, algorithm, &signature);
        Self::from_der(&der.map_err(CsrError::Structure)?)
    }

    /// The request as it was read.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as PEM.
    pub fn to_pem(&self) -> String {
        pem::block("CERTIFICATE REQUEST", &self.der)
    }

    /// Whom it names.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// The public key as SubjectPublicKeyInfo DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key, with the request as its proof.
    pub fn into_proven_key(self) -> ProvenKey {
        ProvenKey {
            public_key: self.public_key,
            request: self.der,
        }
    }

    /// Names of the extensions that it asks for; none of them is granted.
    pub fn requested_extensions(&self) -> Vec<String> {
        let name = |requested: &Requested| {
            DB.by_oid(&requested.oid)
                .map_or_else(|| requested.oid.to_string(), ToOwned::to_owned)
        };
        self.requested.iter().map(name).collect()
    }

    /// The basic constraints that it asks for, if it does, and they can be read.
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.wished().next()
    }

    /// The key usage that it asks for, if it does, and it can be read.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.wished().next()
    }

    /// The extensions of a kind that it asks for, of those that can be read.
    fn wished<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> impl Iterator<Item = T> {
        self.requested
            .iter()
            .filter(|requested| requested.oid == T::OID)
            .filter_map(|requested| T::from_der(&requested.value).ok())
    }

    /// The DNS names that it asks for.
    pub fn dns_names(&self) -> Vec<String> {
        let names = self.wished::<SubjectAltName>();
        let dns_name = |name: GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        };
        names
            .flat_map(|names| names.0)
            .filter_map(dns_name)
            .collect()
    }
}

fn requested(info: &RequestInfo<'_>) -> Vec<Requested> {
    let attributes = info.attributes.iter().flat_map(Attributes::iter);
    let values = attributes
        .filter(|attribute| attribute.oid == ID_EXTENSION_REQ)
        .flat_map(|attribute| attribute.values.iter());
    values
        .filter_map(|value| value.decode_as::<Extensions>().ok())
        .flatten()
        .map(|extension| Requested {
            oid: extension.extn_id,
            value: extension.extn_value.into_bytes().into_vec(),
        })
        .collect()
}
