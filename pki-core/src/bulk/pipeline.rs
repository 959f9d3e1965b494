//! The workers: a chunk of devices in, a chunk of signed and rendered leaves out.

use super::input::{BadLine, Device, DeviceKey};
use super::presses::Presses;
use super::run::Issuance;
use crate::handout::{self, Released, RenderError, Rendered};
use crate::ids::SerialNumber;
use crate::inventory::{Labels, NamedLabel, NewCertificate, Recorded, TextError, Uniqueness};
use crate::issue::{IssueError, Issued, SignError};
use crate::key::{KeyAlgorithm, KeyError};
use crate::ports::EntropyError;
use crate::profile::LeafContent;
use crate::time::Validity;

/// How the leaf of a device is to be, with everything resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafTerms {
    /// The kind of key to make.
    pub key: KeyAlgorithm,
    /// When the leaf is valid.
    pub validity: Validity,
    /// What its key is for.
    pub content: LeafContent,
}

/// Why a worker could not make a leaf. Its chunk is not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The input changed since it was checked.
    #[error("the input changed while it was read: {0}")]
    Input(BadLine),
    /// The leaf was refused or could not be signed.
    #[error("{id}: {source}")]
    Issue {
        /// Whose leaf.
        id: String,
        /// Why.
        source: IssueError,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The request of a device was not checked beforehand; a bug.
    #[error("{0}: its signing request was not checked")]
    Unchecked(String),
    /// There was no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Its output could not be made.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A label of the input cannot be kept.
    #[error("{id}: {source}")]
    Label {
        /// Whose label.
        id: String,
        /// What is wrong with it.
        source: TextError,
    },
}

/// A chunk of devices and its place in the input.
pub(super) struct Chunk {
    /// The place of its first device in the input, counted from 0.
    pub(super) first: u64,
    pub(super) devices: Vec<Result<Device, BadLine>>,
}

/// A chunk that is ready to be recorded.
pub(super) struct Prepared {
    pub(super) certificates: Vec<NewCertificate>,
    pub(super) rendered: Rendered,
}

/// What is left of a chunk that is out.
#[derive(Default)]
pub(super) struct Spent {
    pub(super) recorded: Vec<Recorded>,
    pub(super) released: Released,
}

/// One worker; its presses are its own.
pub(super) struct Worker<'a, 'j> {
    issuance: &'a Issuance<'j>,
    presses: Presses,
}

impl<'a, 'j> Worker<'a, 'j> {
    pub(super) fn new(issuance: &'a Issuance<'j>) -> Self {
        let presses = Presses::new(issuance.issuer.clone(), issuance.now);
        Self { issuance, presses }
    }

    /// Makes keys, leaves and their rendering, which goes where an earlier one has been. The first
    /// signature of the chunk is verified.
    pub(super) fn prepare(&mut self, chunk: Chunk, spent: Spent) -> Result<Prepared, WorkError> {
        drop(spent.recorded);
        let mut certificates = Vec::with_capacity(chunk.devices.len());
        let mut rendered = Rendered::reusing(spent.released);
        let mut of_chunk = [0; SerialNumber::CHUNK_OCTETS];
        let mut random = vec![[0; 8]; chunk.devices.len()];
        self.issuance.entropy.fill(&mut of_chunk)?;
        self.issuance.entropy.fill(random.as_flattened_mut())?;
        for ((place, device), random) in (0_u32..).zip(chunk.devices).zip(random) {
            let device = device.map_err(WorkError::Input)?;
            let serial = SerialNumber::in_chunk(of_chunk, place, random);
            let index = chunk.first + u64::from(place);
            let new = self.make(device, index, &serial, place == 0, &mut rendered)?;
            certificates.push(new);
        }
        Ok(Prepared {
            certificates,
            rendered,
        })
    }

    fn make(
        &mut self,
        device: Device,
        index: u64,
        serial: &SerialNumber,
        verify: bool,
        rendered: &mut Rendered,
    ) -> Result<NewCertificate, WorkError> {
        let terms = (self.issuance.terms)(&device).map_err(|source| WorkError::Issue {
            id: device.id.to_string(),
            source: source.into(),
        })?;
        let key = match device.key {
            DeviceKey::New => Some(self.issuance.generator.generate(terms.key)?),
            DeviceKey::Unchecked(_) | DeviceKey::Proven(_) => None,
        };
        let public_key = match (&device.key, &key) {
            (DeviceKey::Proven(proven), _) => proven.public_key(),
            (_, Some(key)) => key.public_key(),
            (_, None) => return Err(WorkError::Unchecked(device.id.to_string())),
        };
        let issued = self.issue(&device, &terms, public_key, serial, verify);
        let issued = issued.map_err(|source| WorkError::Issue {
            id: device.id.to_string(),
            source,
        })?;
        // Found out here, on all cores, and not by the committer.
        issued.certificate().key_identity();
        let to_render = handout::Device {
            id: &device.id,
            index,
            issued: &issued,
            key: key.as_ref(),
            labels: &device.labels,
        };
        self.issuance.renderer.render(&to_render, rendered)?;
        Ok(NewCertificate {
            batch: self.issuance.batch.clone(),
            labels: labels(&device)?,
            uniqueness: device
                .replaces
                .map_or(Uniqueness::OnlyLeaf, Uniqueness::Renews),
            request: match device.key {
                DeviceKey::Proven(proven) => Some(proven.request),
                DeviceKey::New | DeviceKey::Unchecked(_) => None,
            },
            ..NewCertificate::from(issued)
        })
    }

    fn issue(
        &mut self,
        device: &Device,
        terms: &LeafTerms,
        public_key: &[u8],
        serial: &SerialNumber,
        verify: bool,
    ) -> Result<Issued, IssueError> {
        let signer = self.issuance.signer;
        let linted = self.presses.leaf(device, terms, public_key, serial)?;
        let issued = if verify {
            linted.sign(signer)
        } else {
            linted.sign_unverified(signer)
        };
        issued.map_err(|error: SignError| error.into())
    }
}

fn labels(device: &Device) -> Result<Labels, WorkError> {
    let named = device
        .labels
        .iter()
        .map(|(name, value)| NamedLabel::new(name, value));
    let failed = |source| WorkError::Label {
        id: device.id.to_string(),
        source,
    };
    Ok(named
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?
        .into_iter()
        .collect())
}
