//! A batch read again where it arrives: NDJSON or an archive, a device at a time.
//!
//! Every device is judged: its certificate is its own, signed by the first of its chain, and its key is
//! that of the certificate. Whether it is the batch that an authority made is the manifest's to say
//! ([`super::manifest`]).

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use ::tar::{Archive, EntryType};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::entry::{Entry, Shards, ending, file_name};
use super::render::{DeviceFiles, HeldKey, Holding, RenderError};
use crate::certificate::Certificate;
use crate::certificate::pem::{self as certificate_pem, CertificateInputError};
use crate::encoding::armor::ChainPem;
use crate::ids::{IdError, RegistrationId, Sha256Thumbprint};
use crate::key::{KeyFileError, PrivateKey, read_private_key};
use crate::pem;

/// The most that a line or a file of a device takes.
const LONGEST: u64 = 1 << 20;

/// One device of a batch.
pub struct OpenedDevice {
    /// Its registration ID.
    pub id: RegistrationId,
    /// Its private key, unless it made its own.
    pub key: Option<OpenedKey>,
    certificate: Certificate,
    chain: Arc<ChainPem>,
}

/// A private key as the batch has it.
pub enum OpenedKey {
    /// In the clear.
    Plain(PrivateKey),
    /// As encrypted PKCS#8, in DER.
    Encrypted(Vec<u8>),
}

/// Why a batch was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenedError {
    /// There is nothing in it.
    #[error("it holds no device")]
    Empty,
    /// It is something else.
    #[error("it is neither NDJSON nor an archive of a batch")]
    Unknown,
    /// A line of NDJSON is not a device, or not a sound one.
    #[error("line {line}: {problem}")]
    Line {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A file of an archive is not a device's, or the device is not sound.
    #[error("{name}: {problem}")]
    File {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The archive does not end as one does.
    #[error("the archive is broken or was cut short")]
    Archive,
    /// It could not be read.
    #[error("{0}")]
    Read(io::Error),
}

/// What is wrong with a device of a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A line is not JSON.
    #[error("it is not JSON, or was cut short")]
    Json,
    /// A line is other JSON.
    #[error("it is not a device of a batch")]
    NotADevice,
    /// A line lacks something.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is longer than anything that a device has.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// A file is none of those that an archive of a batch has.
    #[error("it is not the key, certificate or full chain of a device")]
    Name,
    /// The files of a device do not follow each other.
    #[error("the files of this device are not together, or one is missing")]
    Apart,
    /// The registration ID is none.
    #[error("{0}")]
    Id(IdError),
    /// The certificate cannot be read.
    #[error("certificate: {0}")]
    Certificate(CertificateInputError),
    /// The chain cannot be read.
    #[error("chain: {0}")]
    Chain(CertificateInputError),
    /// The full chain is that of another certificate.
    #[error("the full chain does not begin with the certificate")]
    FullChain,
    /// The certificate is another device's.
    #[error("the certificate is that of {0:?}")]
    AnotherDevice(String),
    /// The certificate is not the one that is stated.
    #[error("the certificate does not have the stated sha256Thumbprint")]
    Thumbprint,
    /// The chain did not sign it.
    #[error("the first certificate of the chain did not sign the device's")]
    Issuer,
    /// The private key cannot be read.
    #[error("private key: {0}")]
    Key(KeyFileError),
    /// The private key is another one's.
    #[error("the private key does not belong to the certificate")]
    ForeignKey,
}

impl OpenedDevice {
    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate, then its issuers.
    pub fn full_chain(&self) -> Vec<Certificate> {
        self.holding().full_chain()
    }

    /// Opens its private key, if that is encrypted.
    ///
    /// # Errors
    /// [`Problem`]: the passphrase is wrong, or the key is another one's.
    pub fn unlock(&mut self, passphrase: &SecretString) -> Result<(), Problem> {
        if let Some(OpenedKey::Encrypted(der)) = &self.key {
            let key = read_private_key(der, Some(passphrase)).map_err(Problem::Key)?;
            check_key(&self.certificate, &key)?;
            self.key = Some(OpenedKey::Plain(key));
        }
        Ok(())
    }

    /// Its files, in the folder that is its own by its place in the batch, counted from 0.
    ///
    /// # Errors
    /// [`RenderError`].
    pub fn files(
        &self,
        form: &DeviceFiles,
        shards: Shards,
        index: u64,
    ) -> Result<Vec<Entry>, RenderError> {
        let mut files = form.entries(&self.holding())?;
        for file in &mut files {
            file.path = shards.path(index, std::mem::take(&mut file.path));
        }
        Ok(files)
    }

    fn holding(&self) -> Holding<'_> {
        Holding {
            id: &self.id,
            certificate: &self.certificate,
            chain: &self.chain,
            key: self.key.as_ref().map(|key| match key {
                OpenedKey::Plain(key) => HeldKey::Plain(key),
                OpenedKey::Encrypted(der) => HeldKey::Encrypted(der),
            }),
        }
    }
}

/// Reads a batch that is not sealed, or is opened already, to its end; each device is judged and handed to
/// `visit`.
///
/// # Errors
/// [`OpenedError`], and what `visit` returns.
pub fn each_device<E: From<OpenedError>>(
    mut batch: impl BufRead,
    visit: impl FnMut(OpenedDevice) -> Result<(), E>,
) -> Result<(), E> {
    let beginning = batch.fill_buf().map_err(OpenedError::Read)?;
    if beginning.is_empty() {
        Err(OpenedError::Empty.into())
    } else if is_ndjson(beginning) {
        each_line(batch, visit)
    } else if is_archive(beginning) {
        each_in_archive(batch, visit)
    } else {
        Err(OpenedError::Unknown.into())
    }
}

/// Whether a file that begins like this may be a batch that is not sealed; 512 octets tell.
pub fn begins_as_batch(beginning: &[u8]) -> bool {
    is_ndjson(beginning) || is_archive(beginning)
}

fn is_ndjson(beginning: &[u8]) -> bool {
    beginning.starts_with(b"{")
}

/// The magic of a tar header (POSIX.1-2017 pax, ustar).
fn is_archive(beginning: &[u8]) -> bool {
    let magic = beginning.get(257..);
    magic.is_some_and(|rest| rest.starts_with(b"ustar"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    registration_id: Option<String>,
    sha256_thumbprint: Option<String>,
    certificate: Option<String>,
    chain: Option<String>,
    private_key: Option<String>,
}

fn each_line<E: From<OpenedError>>(
    mut batch: impl BufRead,
    mut visit: impl FnMut(OpenedDevice) -> Result<(), E>,
) -> Result<(), E> {
    let mut chains = Chains::default();
    // Room for any line that we write: a vector that grows leaves copies of keys behind.
    let mut text = Zeroizing::new(Vec::with_capacity(1 << 16));
    for line in 1.. {
        text.clear();
        let read = batch.by_ref().take(LONGEST).read_until(b'\n', &mut text);
        if read.map_err(OpenedError::Read)? == 0 {
            break;
        }
        let device = device_of_line(&text, &mut chains);
        visit(device.map_err(|problem| OpenedError::Line { line, problem })?)?;
    }
    Ok(())
}

fn device_of_line(text: &[u8], chains: &mut Chains) -> Result<OpenedDevice, Problem> {
    if u64::try_from(text.len()).is_ok_and(|length| length == LONGEST) {
        return Err(Problem::TooLong);
    }
    let line: Line = serde_json::from_slice(text).map_err(|error| {
        if error.is_data() {
            Problem::NotADevice
        } else {
            Problem::Json
        }
    })?;
    let key = line.private_key.map(Zeroizing::new);
    let id = line
        .registration_id
        .ok_or(Problem::Missing("registrationId"))?;
    let certificate = line.certificate.ok_or(Problem::Missing("certificate"))?;
    let chain = line.chain.ok_or(Problem::Missing("chain"))?;
    let key = key.as_ref().map(|key| key.as_bytes());
    let certificate = certificate_pem::certificate(certificate.as_bytes());
    let certificate = certificate.map_err(Problem::Certificate)?;
    let is_stated = |stated: String| {
        let stated: Result<Sha256Thumbprint, _> = stated.parse();
        stated.is_ok_and(|stated| stated == certificate.sha256_thumbprint())
    };
    if !line.sha256_thumbprint.is_none_or(is_stated) {
        return Err(Problem::Thumbprint);
    }
    let id = id.parse().map_err(Problem::Id)?;
    device(id, certificate, chains.read(chain.as_bytes())?, key)
}

/// The files of a device that were read, up to its full chain.
#[derive(Default)]
struct Files {
    stem: String,
    key: Option<Zeroizing<Vec<u8>>>,
    certificate: Option<Vec<u8>>,
}

fn each_in_archive<E: From<OpenedError>>(
    batch: impl BufRead,
    mut visit: impl FnMut(OpenedDevice) -> Result<(), E>,
) -> Result<(), E> {
    let mut chains = Chains::default();
    let mut files = Files::default();
    let mut end = 0;
    let mut archive = Archive::new(Counting::new(batch));
    for entry in archive.entries().map_err(|_| OpenedError::Archive)? {
        let mut entry = entry.map_err(|_| OpenedError::Archive)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let content = content(&mut entry);
        let device = content.and_then(|content| files.take(&name, content, &mut chains));
        end = entry.raw_file_position() + entry.size();
        let device = device.map_err(|problem| OpenedError::File { name, problem })?;
        device.map_or(Ok(()), &mut visit)?;
    }
    let mut rest = archive.into_inner();
    // What is sealed tells only at its end that it was all.
    io::copy(&mut rest, &mut io::sink()).map_err(OpenedError::Read)?;
    let is_ended = rest.octets >= end.next_multiple_of(512) + 1024;
    if files.stem.is_empty() && is_ended {
        Ok(())
    } else {
        Err(OpenedError::Archive.into())
    }
}

fn content(entry: &mut ::tar::Entry<'_, impl Read>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    if entry.header().entry_type() != EntryType::Regular {
        return Err(Problem::Name);
    }
    if entry.size() > LONGEST {
        return Err(Problem::TooLong);
    }
    let size = usize::try_from(entry.size()).map_err(|_| Problem::TooLong)?;
    let mut content = Zeroizing::new(vec![0; size]);
    entry.read_exact(&mut content).map_err(|_| Problem::Apart)?;
    Ok(content)
}

impl Files {
    /// Takes one more file; the device is complete with its full chain.
    fn take(
        &mut self,
        path: &str,
        content: Zeroizing<Vec<u8>>,
        chains: &mut Chains,
    ) -> Result<Option<OpenedDevice>, Problem> {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(stem) = name.strip_suffix(ending::FULL_CHAIN) {
            let files = std::mem::take(self);
            return files.device(stem, &content, chains).map(Some);
        }
        if let Some(stem) = name.strip_suffix(ending::KEY) {
            if !self.stem.is_empty() {
                return Err(Problem::Apart);
            }
            stem.clone_into(&mut self.stem);
            self.key = Some(content);
        } else if let Some(stem) = name.strip_suffix(ending::CERTIFICATE) {
            if self.certificate.is_some() || (self.key.is_some() && self.stem != stem) {
                return Err(Problem::Apart);
            }
            stem.clone_into(&mut self.stem);
            self.certificate = Some(content.to_vec());
        } else {
            return Err(Problem::Name);
        }
        Ok(None)
    }

    fn device(
        self,
        stem: &str,
        full_chain: &[u8],
        chains: &mut Chains,
    ) -> Result<OpenedDevice, Problem> {
        let certificate = self.certificate.ok_or(Problem::Apart)?;
        if self.stem != stem {
            return Err(Problem::Apart);
        }
        let chain = full_chain.strip_prefix(&certificate[..]);
        let chain = chains.read(chain.ok_or(Problem::FullChain)?)?;
        let certificate = certificate_pem::certificate(&certificate);
        let certificate = certificate.map_err(Problem::Certificate)?;
        let name = certificate.common_name().unwrap_or_default();
        if file_name(&name, "") != stem {
            return Err(Problem::AnotherDevice(name));
        }
        let id = name.parse().map_err(Problem::Id)?;
        device(
            id,
            certificate,
            chain,
            self.key.as_ref().map(|key| &key[..]),
        )
    }
}

/// The device, if all of it belongs together.
fn device(
    id: RegistrationId,
    certificate: Certificate,
    chain: Arc<ChainPem>,
    key: Option<&[u8]>,
) -> Result<OpenedDevice, Problem> {
    let name = certificate.common_name().unwrap_or_default();
    if name.parse().ok().as_ref() != Some(&id) {
        return Err(Problem::AnotherDevice(name));
    }
    let signed = |issuer: &Certificate| {
        certificate.is_issued_by(issuer)
            && certificate.verify_signature(&issuer.public_key()).is_ok()
    };
    if !chain.certificates.first().is_some_and(signed) {
        return Err(Problem::Issuer);
    }
    let key = key.map(opened_key).transpose()?;
    if let Some(OpenedKey::Plain(key)) = &key {
        check_key(&certificate, key)?;
    }
    Ok(OpenedDevice {
        id,
        key,
        certificate,
        chain,
    })
}

fn opened_key(text: &[u8]) -> Result<OpenedKey, Problem> {
    let blocks = pem::blocks(text).ok().flatten().unwrap_or_default();
    match blocks.as_slice() {
        [block] if block.label == "ENCRYPTED PRIVATE KEY" => {
            Ok(OpenedKey::Encrypted(block.der.to_vec()))
        }
        _ => read_private_key(text, None)
            .map(OpenedKey::Plain)
            .map_err(Problem::Key),
    }
}

fn check_key(certificate: &Certificate, key: &PrivateKey) -> Result<(), Problem> {
    if key.public_key() == certificate.public_key() {
        Ok(())
    } else {
        Err(Problem::ForeignKey)
    }
}

/// The chain that was read last: all devices of a batch have the same.
#[derive(Default)]
struct Chains {
    text: Vec<u8>,
    last: Option<Arc<ChainPem>>,
}

impl Chains {
    fn read(&mut self, text: &[u8]) -> Result<Arc<ChainPem>, Problem> {
        if let Some(chain) = self.last.as_ref().filter(|_| self.text == text) {
            return Ok(Arc::clone(chain));
        }
        let issuers = certificate_pem::certificates(text).map_err(Problem::Chain)?;
        let chain = Arc::new(ChainPem::new(&issuers));
        text.clone_into(&mut self.text);
        self.last = Some(Arc::clone(&chain));
        Ok(chain)
    }
}

/// Counts what is read.
struct Counting<R> {
    inner: R,
    octets: u64,
}

impl<R> Counting<R> {
    fn new(inner: R) -> Self {
        Self { inner, octets: 0 }
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.octets += u64::try_from(count).unwrap_or_default();
        Ok(count)
    }
}
