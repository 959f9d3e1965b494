//! From an issued certificate to the octets that will go out, in the form that was asked for.
//!
//! One [`Renderer`] serves a whole batch and all of its threads: what does not change from device to
//! device, the issuers' PEM above all, is made once.

use std::ops::Range;

use super::entry::{Access, Entry, Shards, ending, file_name};
use super::rendered::{Piece, Rendered};
use super::seal::KeySealer;
use super::{ndjson, tar};
use crate::certificate::Certificate;
use crate::encoding::armor::{self, ChainPem, LineEnd};
use crate::encoding::{IdentityParts, Pfx, c_header, nvs};
use crate::ids::RegistrationId;
use crate::issue::Issued;
use crate::key::{KeyError, PrivateKey};

/// One device, its certificate signed and not recorded yet.
pub struct Device<'a> {
    /// Its registration ID.
    pub id: &'a RegistrationId,
    /// Its place in the input, counted from 0.
    pub index: u64,
    /// Its certificate.
    pub issued: &'a Issued,
    /// Its key, unless it made that itself and sent a CSR.
    pub key: Option<&'a PrivateKey>,
    /// What else the input says of it, by name.
    pub labels: &'a [(String, String)],
}

/// The form of a batch's output.
pub enum Form {
    /// One JSON object a line and device.
    Ndjson(KeyForm),
    /// An archive of all devices' files.
    Tar(DeviceFiles),
    /// Files in folders.
    Folder(DeviceFiles, Shards),
}

/// The files that a device gets.
pub enum DeviceFiles {
    /// Key, certificate, and certificate with its issuers, as the DPS tutorials name them.
    Pem(KeyForm),
    /// One PKCS#12 file with all of them.
    Pfx(Pfx),
    /// A C header for a firmware image, with the key in the clear.
    CHeader,
    /// The rows of an NVS partition, with the key in the clear.
    Nvs,
}

/// How private keys go out.
pub enum KeyForm {
    /// In the clear: the output itself is the secret.
    Plain,
    /// As encrypted PKCS#8.
    Encrypted(KeySealer),
}

/// Why a device's output was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The key could not be encrypted.
    #[error("the key of {id} cannot be encrypted")]
    Key {
        /// Whose key.
        id: RegistrationId,
        /// What the backend says.
        source: KeyError,
    },
    /// A PKCS#12 file was asked for a device that keeps its key to itself.
    #[error("{id} made its own key; a PKCS#12 file cannot be made without it")]
    NoKey {
        /// Which device.
        id: RegistrationId,
    },
    /// A form that holds keys in the clear was asked for one that is encrypted.
    #[error("the private key of {id} is encrypted, and this form holds none that is")]
    EncryptedKey {
        /// Whose key.
        id: RegistrationId,
    },
    /// The rows of an NVS partition could not be made.
    #[error("the NVS rows of {id} cannot be made")]
    Nvs {
        /// Whose.
        id: RegistrationId,
        /// What the writer of CSV says.
        source: csv::Error,
    },
    /// The PKCS#12 file could not be made.
    #[error("the PKCS#12 file of {id} cannot be made")]
    Pfx {
        /// Whose.
        id: RegistrationId,
        /// What the backend says.
        source: openssl::error::ErrorStack,
    },
}

/// Makes the output of each device of a batch.
pub struct Renderer {
    form: Form,
    chain: ChainPem,
}

impl Renderer {
    /// A renderer for leaves below `issuers`: the authority that signs them first, the root last.
    pub fn new(form: Form, issuers: &[Certificate]) -> Self {
        Self {
            form,
            chain: ChainPem::new(issuers),
        }
    }

    /// Adds what will go out for one device once its certificate is recorded.
    ///
    /// # Errors
    /// [`RenderError`]; nothing is added then.
    pub fn render(&self, device: &Device<'_>, rendered: &mut Rendered) -> Result<(), RenderError> {
        let content = &mut rendered.content;
        match &self.form {
            Form::Ndjson(keys) => {
                ndjson::push_line(device, &self.chain, keys, &mut content.stream)?;
            }
            Form::Tar(files) => {
                let entries = files.entries(&Holding::of(device, &self.chain))?;
                tar::push_records(&entries, device, &mut content.stream);
            }
            Form::Folder(files, shards) => {
                let mut entries = files.entries(&Holding::of(device, &self.chain))?;
                for entry in &mut entries {
                    entry.path = shards.path(device.index, std::mem::take(&mut entry.path));
                }
                content.files.append(&mut entries);
            }
        }
        let certificate = device.issued.certificate();
        rendered.certificates.push(certificate.clone());
        Ok(())
    }

    /// What a stream of this form ends with, after its last device: two empty records for an archive,
    /// nothing otherwise. A stream that was cut short goes on at any device's end without it.
    pub fn ending(&self) -> &'static [u8] {
        match self.form {
            Form::Tar(_) => &tar::ENDING,
            Form::Ndjson(_) | Form::Folder(..) => &[],
        }
    }
}

/// What is written of one device.
pub(super) struct Holding<'a> {
    pub(super) id: &'a RegistrationId,
    pub(super) certificate: &'a Certificate,
    pub(super) chain: &'a ChainPem,
    pub(super) key: Option<HeldKey<'a>>,
}

/// A device's key as it is at hand.
#[derive(Clone, Copy)]
pub(super) enum HeldKey<'a> {
    Plain(&'a PrivateKey),
    /// As encrypted PKCS#8, in DER.
    Encrypted(&'a [u8]),
}

impl<'a> Holding<'a> {
    fn of(device: &Device<'a>, chain: &'a ChainPem) -> Self {
        Self {
            id: device.id,
            certificate: device.issued.certificate(),
            chain,
            key: device.key.map(HeldKey::Plain),
        }
    }

    /// The key, for forms that cannot hold an encrypted one.
    fn plain_key(&self) -> Result<Option<&'a PrivateKey>, RenderError> {
        match self.key {
            None => Ok(None),
            Some(HeldKey::Plain(key)) => Ok(Some(key)),
            Some(HeldKey::Encrypted(_)) => Err(RenderError::EncryptedKey {
                id: self.id.clone(),
            }),
        }
    }

    fn key_block(&self, form: &KeyForm) -> Result<Option<KeyBlock<'a>>, RenderError> {
        match self.key {
            None => Ok(None),
            Some(HeldKey::Plain(key)) => KeyBlock::of(self.id, key, form).map(Some),
            Some(HeldKey::Encrypted(der)) => Ok(Some(KeyBlock::Encrypted(der.to_vec()))),
        }
    }

    /// The leaf, then its issuers.
    pub(super) fn full_chain(&self) -> Vec<Certificate> {
        let mut certificates = vec![self.certificate.clone()];
        certificates.extend_from_slice(&self.chain.certificates);
        certificates
    }

    fn file(&self, ending: &str, access: Access, content: Piece) -> Entry {
        Entry {
            path: file_name(self.id.as_str(), ending),
            access,
            content,
        }
    }

    /// A file that holds all of the device; as secret as its key.
    fn identity_file(&self, ending: &str, octets: &[u8]) -> Entry {
        let mut content = Piece::default();
        content.push(octets.len(), |out| {
            out.extend_from_slice(octets);
            0..out.len()
        });
        let access = match self.key {
            Some(_) => Access::Secret,
            None => Access::Public,
        };
        self.file(ending, access, content)
    }
}

impl DeviceFiles {
    pub(super) fn entries(&self, held: &Holding<'_>) -> Result<Vec<Entry>, RenderError> {
        match self {
            Self::Pem(keys) => pem_files(held, keys),
            Self::Pfx(pfx) => Ok(vec![pfx_file(pfx, held)?]),
            Self::CHeader => {
                let certificates = held.full_chain();
                let identity = IdentityParts {
                    certificates: &certificates,
                    key: held.plain_key()?,
                };
                let header = c_header::write(identity, held.id.as_str());
                Ok(vec![held.identity_file(".h", header.as_bytes())])
            }
            Self::Nvs => {
                let certificates = held.full_chain();
                let identity = IdentityParts {
                    certificates: &certificates,
                    key: held.plain_key()?,
                };
                let rows = nvs::write(identity).map_err(|source| RenderError::Nvs {
                    id: held.id.clone(),
                    source,
                })?;
                Ok(vec![held.identity_file(".nvs.csv", &rows)])
            }
        }
    }
}

fn pem_files(held: &Holding<'_>, keys: &KeyForm) -> Result<Vec<Entry>, RenderError> {
    let mut entries = Vec::with_capacity(3);
    if let Some(block) = held.key_block(keys)? {
        let mut content = Piece::default();
        content.push(block.length(LineEnd::Feed), |pem| {
            block.push(LineEnd::Feed, pem)
        });
        entries.push(held.file(ending::KEY, Access::Secret, content));
    }
    let der = held.certificate.der();
    let length = armor::length(armor::CERTIFICATE, der, LineEnd::Feed);
    let mut full_chain = Vec::with_capacity(length + held.chain.plain.len());
    armor::push(armor::CERTIFICATE, der, LineEnd::Feed, &mut full_chain);
    let certificate = Piece::public(full_chain.clone());
    full_chain.extend_from_slice(&held.chain.plain);
    let full_chain = Piece::public(full_chain);
    entries.push(held.file(ending::CERTIFICATE, Access::Public, certificate));
    entries.push(held.file(ending::FULL_CHAIN, Access::Public, full_chain));
    Ok(entries)
}

fn pfx_file(pfx: &Pfx, held: &Holding<'_>) -> Result<Entry, RenderError> {
    let id = held.id;
    let key = held
        .plain_key()?
        .ok_or_else(|| RenderError::NoKey { id: id.clone() })?;
    let content = pfx
        .pack(id.as_str(), key, held.certificate, &held.chain.certificates)
        .map_err(|source| RenderError::Pfx {
            id: id.clone(),
            source,
        })?;
    Ok(held.file(".pfx", Access::Secret, Piece::public(content)))
}

/// A device's key as it will stand in a PEM block.
pub(super) enum KeyBlock<'a> {
    Plain(&'a PrivateKey),
    Encrypted(Vec<u8>),
}

impl<'a> KeyBlock<'a> {
    pub(super) fn of(
        id: &RegistrationId,
        key: &'a PrivateKey,
        form: &KeyForm,
    ) -> Result<Self, RenderError> {
        Ok(match form {
            KeyForm::Plain => Self::Plain(key),
            KeyForm::Encrypted(sealer) => {
                let sealed = sealer.seal(key).map_err(|source| RenderError::Key {
                    id: id.clone(),
                    source,
                })?;
                Self::Encrypted(sealed)
            }
        })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PRIVATE KEY",
            Self::Encrypted(_) => "ENCRYPTED PRIVATE KEY",
        }
    }

    fn der(&self) -> &[u8] {
        match self {
            Self::Plain(key) => key.expose_pkcs8_der(),
            Self::Encrypted(der) => der,
        }
    }

    pub(super) fn length(&self, line_end: LineEnd) -> usize {
        armor::length(self.label(), self.der(), line_end)
    }

    /// Appends the block and tells which part of `out` is secret.
    pub(super) fn push(&self, line_end: LineEnd, out: &mut Vec<u8>) -> Range<usize> {
        let start = out.len();
        armor::push(self.label(), self.der(), line_end, out);
        match self {
            Self::Plain(_) => start..out.len(),
            Self::Encrypted(_) => 0..0,
        }
    }
}
