//! From an issued certificate to the octets that will go out, in the form that was asked for.
//!
//! One [`Renderer`] serves a whole batch and all of its threads: what does not change from device to
//! device, the issuers' PEM above all, is made once.

use std::ops::Range;

use super::entry::{Access, Entry, Shards, file_name};
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
                let entries = files.entries(device, &self.chain)?;
                tar::push_records(&entries, device, &mut content.stream);
            }
            Form::Folder(files, shards) => {
                let mut entries = files.entries(device, &self.chain)?;
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

impl DeviceFiles {
    fn entries(&self, device: &Device<'_>, chain: &ChainPem) -> Result<Vec<Entry>, RenderError> {
        match self {
            Self::Pem(keys) => pem_files(device, chain, keys),
            Self::Pfx(pfx) => Ok(vec![pfx_file(pfx, device, chain)?]),
            Self::CHeader => {
                let certificates = full_chain(device, chain);
                let header = c_header::write(parts(device, &certificates), device.id.as_str());
                Ok(vec![identity_file(device, ".h", header.as_bytes())])
            }
            Self::Nvs => {
                let certificates = full_chain(device, chain);
                let rows = nvs::write(parts(device, &certificates));
                let rows = rows.map_err(|source| RenderError::Nvs {
                    id: device.id.clone(),
                    source,
                })?;
                Ok(vec![identity_file(device, ".nvs.csv", &rows)])
            }
        }
    }
}

fn pem_files(
    device: &Device<'_>,
    chain: &ChainPem,
    keys: &KeyForm,
) -> Result<Vec<Entry>, RenderError> {
    let file = |ending, access, content| Entry {
        path: file_name(device.id.as_str(), ending),
        access,
        content,
    };
    let mut entries = Vec::with_capacity(3);
    if let Some(block) = KeyBlock::of(device, keys)? {
        let mut content = Piece::default();
        content.push(block.length(LineEnd::Feed), |pem| {
            block.push(LineEnd::Feed, pem)
        });
        entries.push(file(".key.pem", Access::Secret, content));
    }
    let der = device.issued.certificate().der();
    let length = armor::length(armor::CERTIFICATE, der, LineEnd::Feed);
    let mut full_chain = Vec::with_capacity(length + chain.plain.len());
    armor::push(armor::CERTIFICATE, der, LineEnd::Feed, &mut full_chain);
    let certificate = Piece::public(full_chain.clone());
    full_chain.extend_from_slice(&chain.plain);
    let full_chain = Piece::public(full_chain);
    entries.push(file(".cert.pem", Access::Public, certificate));
    entries.push(file("-full-chain.cert.pem", Access::Public, full_chain));
    Ok(entries)
}

fn pfx_file(pfx: &Pfx, device: &Device<'_>, chain: &ChainPem) -> Result<Entry, RenderError> {
    let id = device.id;
    let key = device
        .key
        .ok_or_else(|| RenderError::NoKey { id: id.clone() })?;
    let certificate = device.issued.certificate();
    let content = pfx
        .pack(id.as_str(), key, certificate, &chain.certificates)
        .map_err(|source| RenderError::Pfx {
            id: id.clone(),
            source,
        })?;
    Ok(Entry {
        path: file_name(id.as_str(), ".pfx"),
        access: Access::Secret,
        content: Piece::public(content),
    })
}

/// The leaf, then its issuers.
fn full_chain(device: &Device<'_>, chain: &ChainPem) -> Vec<Certificate> {
    let mut certificates = vec![device.issued.certificate().clone()];
    certificates.extend_from_slice(&chain.certificates);
    certificates
}

fn parts<'a>(device: &Device<'a>, certificates: &'a [Certificate]) -> IdentityParts<'a> {
    IdentityParts {
        certificates,
        key: device.key,
    }
}

/// A file that holds all of a device; as secret as its key.
fn identity_file(device: &Device<'_>, ending: &str, octets: &[u8]) -> Entry {
    let mut content = Piece::default();
    content.push(octets.len(), |out| {
        out.extend_from_slice(octets);
        0..out.len()
    });
    Entry {
        path: file_name(device.id.as_str(), ending),
        access: match device.key {
            Some(_) => Access::Secret,
            None => Access::Public,
        },
        content,
    }
}

/// A device's key as it will stand in a PEM block.
pub(super) enum KeyBlock<'a> {
    Plain(&'a PrivateKey),
    Encrypted(Vec<u8>),
}

impl<'a> KeyBlock<'a> {
    pub(super) fn of(device: &Device<'a>, form: &KeyForm) -> Result<Option<Self>, RenderError> {
        let Some(key) = device.key else {
            return Ok(None);
        };
        Ok(Some(match form {
            KeyForm::Plain => Self::Plain(key),
            KeyForm::Encrypted(sealer) => {
                let id = || device.id.clone();
                let sealed = sealer.seal(key);
                Self::Encrypted(sealed.map_err(|source| RenderError::Key { id: id(), source })?)
            }
        }))
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
