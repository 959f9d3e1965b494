//! The audit trail: one entry for each change, each bound to the one before.
//!
//! An entry's hash is SHA-256 over this encoding, all numbers big-endian, `text` a 32-bit length and
//! so many octets:
//!
//! ```text
//! "dps-pki audit entry 1\n"
//! previous hash   32 octets, zero for the first entry
//! sequence        64 bits, from 1 without gaps
//! time            64 bits, signed, seconds since 1970
//! action          text
//! subject         text
//! detail          text, the JSON exactly as it is stored
//! rows            text, the certificates that it is about: "1-1000,1003"
//! content         text, 0 or 32 octets
//! ```
//!
//! `content` of `certificates-recorded` is the Merkle root ([`merkle`]) over the
//! [`CertificateStatement`]s of its rows in their order, so that a single certificate can be proven
//! without showing the others. Of `generation-recorded` it is the SHA-256 of the subject's DER. A
//! change of state binds the rows it changes; which reason it had is in the detail.
//!
//! What verification finds: any entry, certificate, generation or counter that was edited, removed,
//! added or moved. What no file can tell by itself: that its end was cut off with everything that
//! belongs to it, or that all of it was computed anew. Both need a checkpoint, an [`AuditHead`] that
//! was kept outside of the home.

mod draft;
pub mod merkle;
mod rows;
mod verify;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};

pub(crate) use draft::Draft;
pub use rows::{Rows, RowsError};
pub use verify::{AuditFinding, AuditReport};
pub(crate) use verify::{Auditor, StoredCertificate, StoredGeneration};

use super::record::check_line;
use super::{AuthorityGeneration, Label, TextError};
use crate::ids::{RegistrationId, Sha256Thumbprint};
use crate::profile::Role;
use crate::time::Time;

/// A SHA-256 hash of the audit trail, printed as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditHash([u8; 32]);

impl AuditHash {
    /// What stands before the first entry.
    const NONE: Self = Self([0; 32]);

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
            // The hash has the form of a thumbprint, which is read in either case.
            let hash: Sha256Thumbprint = hash.parse().ok()?;
            Some(Self {
                sequence: sequence.parse().ok()?,
                hash: AuditHash(*hash.as_octets()),
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
}

words!(Action {
    CertificatesRecorded = "certificates-recorded",
    CertificatesDelivered = "certificates-delivered",
    CertificatesVoided = "certificates-voided",
    CertificatesRevoked = "certificates-revoked",
    GenerationRecorded = "generation-recorded",
    CertificateAdopted = "certificate-adopted",
    GenerationsSettled = "generations-settled",
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

    /// The hash that it should have after `previous`.
    fn hash_after(&self, previous: AuditHash) -> AuditHash {
        let content = self.content.as_ref().map_or(&[][..], |hash| &hash.0);
        let mut context = Context::new(&SHA256);
        context.update(b"dps-pki audit entry 1\n");
        context.update(&previous.0);
        context.update(&self.sequence.to_be_bytes());
        context.update(&self.at.unix_seconds().to_be_bytes());
        for text in [&self.action, &self.subject, &self.detail] {
            update_text(&mut context, text.as_bytes());
        }
        update_text(&mut context, self.rows.to_string().as_bytes());
        update_text(&mut context, content);
        AuditHash::from_digest(context.finish())
    }
}

fn update_text(context: &mut Context, text: &[u8]) {
    context.update(&length(text).to_be_bytes());
    context.update(text);
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
/// label             text, empty without one
/// ```
#[derive(Debug, Clone)]
pub struct CertificateStatement<'a> {
    pub(crate) thumbprint: Sha256Thumbprint,
    pub(crate) role: Role,
    pub(crate) signed_by: Option<&'a AuthorityGeneration>,
    pub(crate) registration_id: Option<&'a RegistrationId>,
    pub(crate) batch: Option<&'a Label>,
    pub(crate) label: Option<&'a Label>,
}

impl CertificateStatement<'_> {
    /// Its encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signer = self.signed_by.map_or("", |by| by.name.as_str());
        let generation = self.signed_by.map_or(0, |by| by.generation.number());
        let mut bytes = b"dps-pki certificate 1\n".to_vec();
        bytes.extend(self.thumbprint.as_octets());
        push_text(&mut bytes, self.role.as_str());
        push_text(&mut bytes, signer);
        bytes.extend(generation.to_be_bytes());
        push_text(
            &mut bytes,
            self.registration_id.map_or("", RegistrationId::as_str),
        );
        push_text(&mut bytes, self.batch.map_or("", Label::as_str));
        push_text(&mut bytes, self.label.map_or("", Label::as_str));
        bytes
    }

    /// Its hash as a leaf of the Merkle tree.
    pub fn leaf_hash(&self) -> AuditHash {
        merkle::leaf_hash(&self.to_bytes())
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(length(text.as_bytes()).to_be_bytes());
    bytes.extend(text.as_bytes());
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
        let entry = draft.seal(None);
        assert_eq!(
            entry.hash.to_string(),
            "ab7a77a8363cb56b3ee8348c48a02e75faa512d991eff7ce9810f7cc3bbcd9b7"
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
