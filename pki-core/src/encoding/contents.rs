//! What a file holds, whatever form it is in: PEM blocks, DER, PKCS#7 or PKCS#12.
//!
//! DER has no label: it is what it can be read as. A private key stays as it was found, encrypted or
//! not, until [`LockedKey::open`]; a PKCS#12 file is sealed as a whole and needs its passphrase first.

use openssl::pkcs12::Pkcs12;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::p7b::{self, P7bError};
use crate::certificate::{Certificate, CertificateError};
use crate::crl::{Crl, CrlError};
use crate::csr::{CsrError, SigningRequest};
use crate::key::stretching::{self, PfxFacts};
use crate::key::{KeyError, KeyFileError, PrivateKey, foreign, read_private_key};
use crate::pem::{self, Block, InputError};

/// The form that a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Text between BEGIN and END lines.
    Pem,
    /// One object, its bare octets.
    Der,
    /// Certificates in PKCS#7.
    P7b,
    /// A key and certificates in PKCS#12.
    Pfx,
}

/// One thing in a file.
pub enum Object {
    /// A certificate.
    Certificate(Certificate),
    /// A PKCS#10 request.
    Request(Box<SigningRequest>),
    /// A certificate revocation list, as DER.
    Crl(Vec<u8>),
    /// A private key.
    PrivateKey(LockedKey),
    /// A SubjectPublicKeyInfo, as DER.
    PublicKey(Vec<u8>),
    /// A PEM block of another kind.
    Other {
        /// Its label.
        label: String,
        /// How long its content is.
        octets: usize,
    },
}

/// A private key as it was found.
pub struct LockedKey {
    source: Zeroizing<Vec<u8>>,
}

/// What a file holds.
pub struct Contents {
    /// The form that it is in.
    pub container: Container,
    /// What is in it, in the order of the file.
    pub objects: Vec<Object>,
}

/// Why it could not be told what a file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// It is empty or broken PEM.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It is not PEM, and not DER of any kind that we know.
    #[error(
        "it is neither PEM nor a certificate, CSR, CRL, private key, PKCS#7 or PKCS#12 file in DER"
    )]
    Unknown,
    /// A certificate in it is broken.
    #[error("a certificate in it is broken: {0}")]
    Certificate(#[source] CertificateError),
    /// A request in it is broken.
    #[error("a signing request in it is broken: {0}")]
    Request(#[source] CsrError),
    /// A PKCS#7 file in it is broken.
    #[error(transparent)]
    P7b(#[from] P7bError),
    /// It is PKCS#12, and the passphrase is wrong or was not given.
    #[error("the PKCS#12 file does not open with {}", if *.given { "this passphrase" } else { "an empty passphrase" })]
    Passphrase {
        /// Whether there was one.
        given: bool,
    },
    /// Its integrity is protected in a way that the library does not know, whatever the passphrase.
    #[error(
        "the PKCS#12 file has a MAC of PBMAC1 (RFC 9579), which is not read; rewrite it without, by OpenSSL 3.4 or later: openssl pkcs12 -in FILE -out ALL.pem, then openssl pkcs12 -export -in ALL.pem -out NEW"
    )]
    Pbmac1,
    /// Which one is meant nobody can tell.
    #[error(
        "the PKCS#12 file holds {keys} private keys; take out the one that is meant, by its alias: keytool -importkeystore -srckeystore FILE -srcalias ALIAS -destkeystore NEW -deststoretype PKCS12"
    )]
    SeveralKeys {
        /// How many.
        keys: usize,
    },
    /// Opening a PKCS#12 file would take too much work, or nobody can tell how much.
    #[error(transparent)]
    Stretching(KeyFileError),
    /// The key in a PKCS#12 file is of no kind that we handle.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Contents {
    /// Reads a file. The passphrase is for PKCS#12; without one the empty one is tried.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn read(input: &[u8], passphrase: Option<&SecretString>) -> Result<Self, ContentsError> {
        let input = &pem::plain(input);
        if let Some(blocks) = pem::blocks(input)? {
            if let [block] = blocks.as_slice()
                && block.label == "PKCS12"
            {
                return Self::of_pfx_der(&block.der, passphrase);
            }
            return Self::of_blocks(input, &blocks);
        }
        if let Some(object) = single(input) {
            return Ok(Self::new(Container::Der, vec![object]));
        }
        if Pkcs12::from_der(input).is_ok() {
            return Self::of_pfx_der(input, passphrase);
        }
        match p7b::certificates(input) {
            Ok(found) => Ok(Self::new(Container::P7b, certificates(found))),
            Err(P7bError::Unreadable) => Err(ContentsError::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    fn new(container: Container, objects: Vec<Object>) -> Self {
        Self { container, objects }
    }

    fn of_blocks(input: &[u8], blocks: &[Block]) -> Result<Self, ContentsError> {
        let mut objects = Vec::new();
        let mut rest = input;
        for block in blocks {
            let source = advance(&mut rest);
            match labelled(block, source)? {
                Found::One(object) => objects.push(object),
                Found::Certificates(found) => objects.extend(certificates(found)),
            }
        }
        Ok(Self::new(Container::Pem, objects))
    }

    fn of_pfx_der(der: &[u8], passphrase: Option<&SecretString>) -> Result<Self, ContentsError> {
        let file = Pkcs12::from_der(der).map_err(|_| ContentsError::Unknown)?;
        let facts = stretching::pfx_facts(der);
        match facts {
            Some(facts) if facts.has_pbmac1 => Err(ContentsError::Pbmac1),
            Some(PfxFacts { keys, .. }) if keys > 1 => Err(ContentsError::SeveralKeys { keys }),
            _ => Self::of_pfx(&file, passphrase),
        }
    }

    /// The leaf, then the issuers as they are in the file, then the key.
    fn of_pfx(file: &Pkcs12, passphrase: Option<&SecretString>) -> Result<Self, ContentsError> {
        let text = passphrase.map_or("", |secret| secret.expose_secret());
        let refused = ContentsError::Passphrase {
            given: passphrase.is_some(),
        };
        // OpenSSL takes a C string.
        if text.contains('\0') {
            return Err(refused);
        }
        let der = file.to_der().map_err(|_| ContentsError::Unknown)?;
        stretching::check_pkcs12(&der).map_err(ContentsError::Stretching)?;
        let opened = foreign::with_legacy_ciphers(|| file.parse2(text)).map_err(|_| refused)?;
        let issuers = opened.ca.iter().flatten();
        let mut objects = Vec::new();
        for certificate in opened.cert.iter().map(AsRef::as_ref).chain(issuers) {
            let der = certificate.to_der().map_err(|_| ContentsError::Unknown)?;
            let read = Certificate::from_der(&der).map_err(ContentsError::Certificate)?;
            objects.push(Object::Certificate(read));
        }
        if let Some(key) = opened.pkey {
            let der = key
                .private_key_to_pkcs8()
                .map(Zeroizing::new)
                .map_err(|_| KeyError::Unsupported)?;
            let source = Zeroizing::new(
                PrivateKey::from_pkcs8_der(&der)?
                    .expose_pkcs8_der()
                    .to_vec(),
            );
            objects.push(Object::PrivateKey(LockedKey { source }));
        }
        Ok(Self::new(Container::Pfx, objects))
    }

    /// The certificates in it, in the order of the file.
    pub fn certificates(&self) -> Vec<Certificate> {
        let certificate = |object: &Object| match object {
            Object::Certificate(certificate) => Some(certificate.clone()),
            _ => None,
        };
        self.objects.iter().filter_map(certificate).collect()
    }

    /// The first private key in it.
    pub fn private_key(&self) -> Option<&LockedKey> {
        self.objects.iter().find_map(|object| match object {
            Object::PrivateKey(key) => Some(key),
            _ => None,
        })
    }
}

impl LockedKey {
    /// Opens it.
    ///
    /// # Errors
    /// [`KeyFileError`]; `PassphraseNeeded` if it is encrypted and none was given.
    pub fn open(&self, passphrase: Option<&SecretString>) -> Result<PrivateKey, KeyFileError> {
        read_private_key(&self.source, passphrase)
    }
}

fn certificates(found: Vec<Certificate>) -> Vec<Object> {
    found.into_iter().map(Object::Certificate).collect()
}

/// What a PEM block is.
enum Found {
    One(Object),
    Certificates(Vec<Certificate>),
}

fn labelled(block: &Block, source: &[u8]) -> Result<Found, ContentsError> {
    let der = block.der.as_slice();
    Ok(Found::One(match block.label.as_str() {
        "TRUSTED CERTIFICATE" => return Err(InputError::Trusted.into()),
        "CERTIFICATE" | "X509 CERTIFICATE" => {
            Object::Certificate(Certificate::from_der(der).map_err(ContentsError::Certificate)?)
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            let request = SigningRequest::from_der(der).map_err(ContentsError::Request)?;
            Object::Request(Box::new(request))
        }
        "X509 CRL" => Object::Crl(der.to_vec()),
        p7b::LABEL | "CMS" => return Ok(Found::Certificates(p7b::certificates(der)?)),
        "PUBLIC KEY" => Object::PublicKey(der.to_vec()),
        label if label.ends_with("PRIVATE KEY") => Object::PrivateKey(LockedKey {
            source: Zeroizing::new(source.to_vec()),
        }),
        label => Object::Other {
            label: label.to_owned(),
            octets: der.len(),
        },
    }))
}

/// One object of bare DER, if it can be read as any.
fn single(der: &[u8]) -> Option<Object> {
    if let Ok(certificate) = Certificate::from_der(der) {
        return Some(Object::Certificate(certificate));
    }
    if let Ok(request) = SigningRequest::from_der(der) {
        return Some(Object::Request(Box::new(request)));
    }
    if !matches!(Crl::from_der(der), Err(CrlError::Der(_))) {
        return Some(Object::Crl(der.to_vec()));
    }
    match read_private_key(der, None) {
        Err(KeyFileError::Input(_)) => None,
        _ => Some(Object::PrivateKey(LockedKey {
            source: Zeroizing::new(der.to_vec()),
        })),
    }
}

/// Takes the text of the next PEM block off; there is one for each block that was read.
fn advance<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let find =
        |text: &[u8], part: &[u8]| text.windows(part.len()).position(|window| window == part);
    let start = find(rest, BEGIN).unwrap_or(0);
    let text = &rest[start..];
    let end = find(text, END).map_or(text.len(), |end| {
        let line = &text[end..];
        end + line
            .iter()
            .position(|octet| *octet == b'\n')
            .map_or(line.len(), |feed| feed + 1)
    });
    *rest = &text[end..];
    &text[..end]
}
