//! The audit trail: one entry for each change, each bound to the one before.
//!
//! An entry's hash is SHA-256 over this encoding, all numbers big-endian, `text` a 32-bit length and
//! so many octets:
//!
//! ```text
//! "dps-pki audit entry 1\n"
//! sequence        64 bits, from 1 without gaps
//! previous hash   32 octets, zero for the first entry
//! earlier hash    32 octets, of the entry whose number is this one's with its lowest bit cleared,
//!                 zero where that is 0
//! body hash       32 octets, SHA-256 over:
//!     time        64 bits, signed, seconds since 1970
//!     action      text
//!     subject     text
//!     detail      text, the JSON exactly as it is stored
//!     rows        text, the certificates that it is about: "1-1000,1003"
//!     content     text, 0 or 32 octets
//! ```
//!
//! The earlier hash makes proofs short: a certificate is led to a checkpoint in a number of steps
//! that grows with the logarithm of the trail's length ([`AuditProof`]).
//!
//! `content` of `certificates-recorded` is the Merkle root ([`merkle`]) over the
//! [`CertificateStatement`]s of its rows in their order, so that a single certificate can be proven
//! without showing the others. Of `generation-recorded` it is the SHA-256 of the subject's DER, of
//! `batch-completed` that of the manifest, of `plan-opened` that of the plan, and of the entry that
//! closes a plan that of everything in the end (the module `plans`). A change of state binds the rows
//! it changes; which reason it had, how far it brought a batch, or the digests of the new states of a
//! plan's steps, are in the detail.
//!
//! `batch-replaced` opens a batch anew that was lost; its rows are the certificates that are issued again, and
//! the entries before it, of the same transaction, say what became of them.
//!
//! `inventory-bound` is written once, when an inventory is upgraded that has plans or requests from
//! before the trail bound them: its content and detail hold their digests as they were found. Its time
//! is that of the entry before it, since an upgrade knows none.
//!
//! What verification finds: any entry, certificate, request, generation, batch, plan, step or counter
//! that was edited, removed, added or moved. What no file can tell by itself: that its end was cut off
//! with everything that belongs to it, or that all of it was computed anew. Both need a checkpoint, an
//! [`AuditHead`] that was kept outside of the home.

mod bound;
mod draft;
pub mod merkle;
mod plans;
mod proof;
mod report;
mod rows;
mod verify;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};

pub(crate) use bound::{AsFound, FoundRequests};
pub(crate) use draft::Draft;
pub(crate) use plans::{BoundStep, ExpectedPlan, FoundPlan, StoredPlan, StoredStep, SubjectsOf};
pub use proof::{AuditProof, ProofError};
pub use report::{AuditFinding, AuditReport};
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_imports, reason = "for adapters that keep files")
)]
pub(crate) use rows::RowMap;
pub use rows::{Rows, RowsError};
pub(crate) use verify::{Auditor, StoredCertificate, StoredGeneration};

use super::record::check_line;
use super::{Label, Labels, TextError};
use crate::ids::{AuthorityGeneration, RegistrationId, Sha256Thumbprint};
use crate::profile::Role;
use crate::text::{serde_as_text, words};
use crate::time::Time;

/// A SHA-256 hash of the audit trail, printed as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// What stands before the first entry.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// Takes the octets as they are.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// SHA-256 of a message.
    pub(crate) fn of(message: &[u8]) -> Self {
        Self::from_digest(digest(&SHA256, message))
    }

    fn from_digest(digest: aws_lc_rs::digest::Digest) -> Self {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest.as_ref());
        Self(octets)
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for AuditHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        // It has the form of a thumbprint, which is read in either case.
        let octets: Result<Sha256Thumbprint, _> = text.parse();
        octets
            .map(|hash| Self(*hash.as_octets()))
            .map_err(|_| HashError)
    }
}

serde_as_text!(AuditHash);

/// A text is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash of the audit trail has 64 hexadecimal digits")]
pub struct HashError;

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditHash({self})")
    }
}

/// An entry of the audit trail, known by number and hash: all entries up to it follow from these
/// two. Kept elsewhere (a log server, paper), it is a checkpoint. Printed as `1042:9f86d0…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The entry's number.
    pub sequence: u64,
    /// Its hash.
    pub hash: AuditHash,
}

/// A text is no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a checkpoint; write it as 1042: and 64 hexadecimal digits")]
pub struct CheckpointError {
    text: String,
}

serde_as_text!(AuditHead);

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for AuditHead {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let parse = || {
            let (sequence, hash) = text.split_once(':')?;
            Some(Self {
                sequence: sequence.parse().ok()?,
                hash: hash.parse().ok()?,
            })
        };
        parse().ok_or_else(|| CheckpointError {
            text: text.to_owned(),
        })
    }
}

/// The changes of the inventory itself; all other entries are an [`EventAction`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Certificates were recorded.
    CertificatesRecorded,
    /// They reached their output.
    CertificatesDelivered,
    /// They count as never issued.
    CertificatesVoided,
    /// They belong into their issuers' CRLs.
    CertificatesRevoked,
    /// An authority has one more generation.
    GenerationRecorded,
    /// A generation got its certificate from elsewhere.
    CertificateAdopted,
    /// Generations of an authority have new states.
    GenerationsSettled,
    /// A batch has begun.
    BatchOpened,
    /// A batch that was lost has begun anew.
    BatchReplaced,
    /// All of a batch was delivered.
    BatchCompleted,
    /// What was not bound before an upgrade is bound as it was found.
    InventoryBound,
    /// A plan is about to be carried out.
    PlanOpened,
    /// Steps of a plan are about to be sent.
    StepsBegun,
    /// Steps of a plan have ended.
    StepsEnded,
    /// All steps of a plan are done.
    PlanFinished,
    /// A plan was given up.
    PlanAbandoned,
}

words!(Action {
    CertificatesRecorded = "certificates-recorded",
    CertificatesDelivered = "certificates-delivered",
    CertificatesVoided = "certificates-voided",
    CertificatesRevoked = "certificates-revoked",
    GenerationRecorded = "generation-recorded",
    CertificateAdopted = "certificate-adopted",
    GenerationsSettled = "generations-settled",
    BatchOpened = "batch-opened",
    BatchReplaced = "batch-replaced",
    BatchCompleted = "batch-completed",
    InventoryBound = "inventory-bound",
    PlanOpened = "plan-opened",
    StepsBegun = "steps-begun",
    StepsEnded = "steps-ended",
    PlanFinished = "plan-finished",
    PlanAbandoned = "plan-abandoned",
});

/// What happened outside of the inventory, in a word or two: `group-pushed`, `device-quarantined`.
/// At most 64 characters, and none of the inventory's own actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventAction(String);

impl EventAction {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventAction {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const WHAT: &str = "audit action";
        check_line(WHAT, text, 64)?;
        if Action::from_word(text).is_some() {
            return Err(TextError::Reserved {
                what: WHAT,
                text: text.to_owned(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

/// Something that happened outside of the inventory and belongs into the trail. Never a secret: the
/// trail is kept for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// What was done.
    pub action: EventAction,
    /// To whom or what.
    pub subject: String,
    /// The facts.
    pub detail: serde_json::Value,
}

/// An entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub(crate) sequence: u64,
    pub(crate) at: Time,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
    pub(crate) rows: Rows,
    pub(crate) content: Option<AuditHash>,
    pub(crate) hash: AuditHash,
}

impl AuditEntry {
    /// Its number, from 1 on.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was written.
    pub fn at(&self) -> Time {
        self.at
    }

    /// What was done.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// To whom or what.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The facts; null if they were tampered with so that they cannot be read.
    pub fn detail(&self) -> serde_json::Value {
        serde_json::from_str(&self.detail).unwrap_or_default()
    }

    /// The certificates that it is about.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The hash of what it is about, where it has one.
    pub fn content(&self) -> Option<AuditHash> {
        self.content
    }

    /// The hash that the next entry is bound to.
    pub fn hash(&self) -> AuditHash {
        self.hash
    }

    /// Its number and hash.
    pub fn head(&self) -> AuditHead {
        AuditHead {
            sequence: self.sequence,
            hash: self.hash,
        }
    }

    /// The hash that it should have where it stands.
    pub(crate) fn hash_after(&self, links: Links) -> AuditHash {
        links.hash(self.sequence, &self.body_hash())
    }

    /// The hash of what it says, without its place in the trail.
    fn body_hash(&self) -> AuditHash {
        let content = self.content.as_ref().map_or(&[][..], |hash| &hash.0);
        let mut context = Context::new(&SHA256);
        context.update(&self.at.unix_seconds().to_be_bytes());
        for text in [&self.action, &self.subject, &self.detail] {
            update_text(&mut context, text.as_bytes());
        }
        update_text(&mut context, self.rows.to_string().as_bytes());
        update_text(&mut context, content);
        AuditHash::from_digest(context.finish())
    }
}

/// The hashes of the two entries that an entry is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    pub(crate) previous: AuditHash,
    pub(crate) earlier: AuditHash,
}

impl Links {
    /// The number of the earlier entry that one is bound to besides the previous; 0 is none.
    pub(crate) fn earlier_than(sequence: u64) -> u64 {
        sequence & sequence.wrapping_sub(1)
    }

    /// The hash of an entry with this number and body.
    fn hash(self, sequence: u64, body: &AuditHash) -> AuditHash {
        let mut context = Context::new(&SHA256);
        context.update(b"dps-pki audit entry 1\n");
        context.update(&sequence.to_be_bytes());
        for hash in [&self.previous, &self.earlier, body] {
            context.update(&hash.0);
        }
        AuditHash::from_digest(context.finish())
    }
}

fn update_text(context: &mut Context, text: &[u8]) {
    context.update(&length(text).to_be_bytes());
    context.update(text);
}

fn push_text(content: &mut Vec<u8>, text: &str) {
    content.extend_from_slice(&length(text.as_bytes()).to_be_bytes());
    content.extend_from_slice(text.as_bytes());
}

/// No text of ours comes near 4 GiB; one that did would never verify.
fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// What the trail binds of a recorded certificate. It stands for a leaf of the Merkle tree:
///
/// ```text
/// "dps-pki certificate 1\n"
/// thumbprint        32 octets, SHA-256 of the certificate's DER
/// role              text
/// signer            text, empty if it was signed outside of this home
/// generation        32 bits, of the signer, zero without one
/// registration ID   text as first written, empty without one
/// batch             text, empty without one
/// labels            text, lines `name=value` ordered by name, empty without one
/// ```
///
/// That of a certificate whose request is kept begins with `"dps-pki certificate 2\n"` and ends with
/// the SHA-256 of the request's DER, 32 octets.
#[derive(Debug, Clone)]
pub struct CertificateStatement<'a> {
    pub(crate) thumbprint: Sha256Thumbprint,
    pub(crate) role: Role,
    pub(crate) signed_by: Option<&'a AuthorityGeneration>,
    pub(crate) registration_id: Option<&'a RegistrationId>,
    pub(crate) batch: Option<&'a Label>,
    pub(crate) labels: &'a Labels,
    /// The SHA-256 of the request that is kept.
    pub(crate) request: Option<AuditHash>,
}

impl CertificateStatement<'_> {
    /// Its hash as a leaf of the Merkle tree.
    pub fn leaf_hash(&self) -> AuditHash {
        let signer = self.signed_by.map_or("", |by| by.name.as_str());
        let generation = self.signed_by.map_or(0, |by| by.generation.number());
        let mut content = Vec::with_capacity(256);
        content.extend_from_slice(match self.request {
            None => b"dps-pki certificate 1\n",
            Some(_) => b"dps-pki certificate 2\n",
        });
        content.extend_from_slice(self.thumbprint.as_octets());
        push_text(&mut content, self.role.as_str());
        push_text(&mut content, signer);
        content.extend_from_slice(&generation.to_be_bytes());
        for text in [
            self.registration_id.map_or("", RegistrationId::as_str),
            self.batch.map_or("", Label::as_str),
            self.labels.as_str(),
        ] {
            push_text(&mut content, text);
        }
        if let Some(request) = &self.request {
            content.extend_from_slice(request.as_octets());
        }
        merkle::leaf_hash(&content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encoding is a promise to trails that exist: this hash was computed from the description
    /// above with Python's `struct` and `hashlib`.
    #[test]
    fn the_encoding_of_an_entry_is_fixed() {
        let draft = Draft::event(
            AuditEvent {
                action: "group-pushed".parse().expect("action"),
                subject: "line-1".to_owned(),
                detail: serde_json::json!({"etag": "1"}),
            },
            "2026-01-01T00:00:00Z".parse().expect("time"),
        );
        let entry = draft.seal(None, AuditHash::NONE);
        assert_eq!(
            entry.hash.to_string(),
            "d4643a6744e9da91369ab83030f25f328641cc0afc45678f8a479888d519723e"
        );
    }

    #[test]
    fn a_checkpoint_reads_as_it_prints() {
        let head = AuditHead {
            sequence: 1042,
            hash: AuditHash::of(b"x"),
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "1042", "x:00", "1:00"] {
            assert!(bad.parse::<AuditHead>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_cannot_pass_for_a_change_of_the_inventory() {
        for action in Action::ALL {
            assert!(action.as_str().parse::<EventAction>().is_err());
        }
    }
}
