//! Certificates as the inventory holds them: what is recorded, and what became of it since.
//!
//! The states follow one another as [`Status::may_become`] says; adapters ask it and nothing else.

use std::fmt;

use super::audit::{AuditHash, CertificateStatement};
use super::{Label, Labels, Uniqueness};
use crate::certificate::Certificate;
use crate::crl::RevocationReason;
use crate::ids::{AuthorityGeneration, RegistrationId, Sha256Thumbprint};
use crate::issue::Issued;
use crate::profile::Role;
use crate::text::words;
use crate::time::Time;

/// One row of the inventory: grows with time, is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(i64);

impl RowKey {
    pub(crate) const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number itself, 1 or more.
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A certificate that was signed and is not in the inventory yet.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// What it is for.
    pub role: Role,
    /// Which generation signed it (a root signs itself), or `None` if that was done outside of this
    /// home: a vendor's CA, an offline root.
    pub signed_by: Option<AuthorityGeneration>,
    /// The device that it is for; none for authorities.
    pub registration_id: Option<RegistrationId>,
    /// The batch that it was issued in.
    pub batch: Option<Label>,
    /// What people noted of it.
    pub labels: Labels,
    /// The signing request that it answers (PKCS#10 DER), if the device made its own key: kept for
    /// renewals.
    pub request: Option<Vec<u8>>,
    /// Which other leaves its device may have; the transaction that records it decides.
    pub uniqueness: Uniqueness,
}

impl From<Issued> for NewCertificate {
    fn from(issued: Issued) -> Self {
        let (certificate, role, signed_by, registration_id) = issued.into_parts();
        Self {
            certificate,
            role,
            signed_by: Some(signed_by),
            registration_id,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }
}

impl NewCertificate {
    /// What the audit trail binds of it.
    pub fn statement(&self) -> CertificateStatement<'_> {
        self.statement_of(self.certificate.sha256_thumbprint())
    }

    /// As [`Self::statement`], for callers that have the thumbprint.
    pub(crate) fn statement_of(&self, thumbprint: Sha256Thumbprint) -> CertificateStatement<'_> {
        CertificateStatement {
            thumbprint,
            role: self.role,
            signed_by: self.signed_by.as_ref(),
            registration_id: self.registration_id.as_ref(),
            batch: self.batch.as_ref(),
            labels: &self.labels,
            request: self.request.as_deref().map(AuditHash::of),
        }
    }
}

/// A certificate that the inventory holds durably. Only inventory adapters make one, after the
/// commit; whatever writes certificates out asks for it.
#[derive(Debug, Clone)]
pub struct Recorded {
    row: RowKey,
    content: NewCertificate,
}

impl Recorded {
    /// For adapters, once the transaction that holds `content` is durable.
    pub(crate) fn new(row: RowKey, content: NewCertificate) -> Self {
        let content = NewCertificate {
            // What was asked of others then says nothing of them now.
            uniqueness: Uniqueness::default(),
            ..content
        };
        Self { row, content }
    }

    /// Where it is in the inventory.
    pub fn row(&self) -> RowKey {
        self.row
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.content.certificate
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.content.role
    }

    /// Which generation signed it, or `None` if that was done outside of this home.
    pub fn signed_by(&self) -> Option<&AuthorityGeneration> {
        self.content.signed_by.as_ref()
    }

    /// The device that it is for.
    pub fn registration_id(&self) -> Option<&RegistrationId> {
        self.content.registration_id.as_ref()
    }

    /// The batch that it was issued in.
    pub fn batch(&self) -> Option<&Label> {
        self.content.batch.as_ref()
    }

    /// What people noted of it.
    pub fn labels(&self) -> &Labels {
        &self.content.labels
    }

    /// What the audit trail binds of it.
    pub fn statement(&self) -> CertificateStatement<'_> {
        self.content.statement()
    }
}

/// A certificate of the inventory with what became of it.
#[derive(Debug, Clone)]
pub struct InventoryEntry {
    /// The certificate.
    pub recorded: Recorded,
    /// When it was recorded.
    pub recorded_at: Time,
    /// The number of the audit entry that recorded it.
    pub recorded_in: u64,
    /// What became of it.
    pub state: CertificateState,
}

impl InventoryEntry {
    /// Whether it got out, whatever became of it since.
    pub fn was_delivered(&self) -> bool {
        matches!(self.state.status(), Status::Delivered | Status::Revoked)
    }

    /// Whether it was delivered, was not revoked, and is valid at a moment.
    pub fn is_live(&self, at: Time) -> bool {
        self.state.status() == Status::Delivered
            && self.recorded.certificate().validity().contains(at)
    }

    /// What it is good for at a moment.
    pub fn standing(&self, at: Time) -> Standing {
        let not_after = self.recorded.certificate().validity().not_after();
        match self.state.status() {
            Status::Undelivered => Standing::Undelivered,
            Status::Delivered if not_after < at => Standing::Expired,
            Status::Delivered => Standing::Delivered,
            Status::Voided => Standing::Voided,
            Status::Revoked => Standing::Revoked,
        }
    }
}

/// What became of a certificate, with the facts of the last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateState {
    /// Recorded; whether it reached its output is not known.
    Undelivered,
    /// It reached its output.
    Delivered {
        /// When.
        at: Time,
    },
    /// It counts as never issued: it was never delivered, or its batch was lost before anybody got it.
    Voided {
        /// When.
        at: Time,
        /// Why.
        reason: String,
    },
    /// It belongs into its issuer's CRL.
    Revoked {
        /// When.
        at: Time,
        /// Why.
        reason: RevocationReason,
    },
}

impl CertificateState {
    /// The state without its facts.
    pub fn status(&self) -> Status {
        match self {
            Self::Undelivered => Status::Undelivered,
            Self::Delivered { .. } => Status::Delivered,
            Self::Voided { .. } => Status::Voided,
            Self::Revoked { .. } => Status::Revoked,
        }
    }

    /// Puts a state together from how an inventory keeps it; `None` if the facts do not fit.
    #[cfg(feature = "sqlite")]
    pub(crate) fn assemble(status: Status, at: Time, reason: Option<&str>) -> Option<Self> {
        Some(match status {
            Status::Undelivered => Self::Undelivered,
            Status::Delivered => Self::Delivered { at },
            Status::Voided => Self::Voided {
                at,
                reason: reason?.to_owned(),
            },
            Status::Revoked => Self::Revoked {
                at,
                reason: RevocationReason::from_word(reason?)?,
            },
        })
    }

    /// Whether a change to `next` is allowed. A certificate that is on hold may be revoked for
    /// another reason (RFC 5280 §5.3.1); otherwise revocation is final.
    pub(crate) fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (
                Self::Revoked {
                    reason: RevocationReason::CertificateHold,
                    ..
                },
                Self::Revoked { reason, .. },
            ) => *reason != RevocationReason::CertificateHold,
            _ => self.status().may_become(next.status()),
        }
    }
}

/// The state of a certificate, for filters and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Recorded; whether it reached its output is not known.
    Undelivered,
    /// It reached its output.
    Delivered,
    /// Recorded, and delivered to nobody.
    Voided,
    /// It belongs into its issuer's CRL.
    Revoked,
}

words!(Status {
    Undelivered = "undelivered",
    Delivered = "delivered",
    Voided = "voided",
    Revoked = "revoked",
});

impl Status {
    /// Whether a certificate may go from this state to another. A voided one may be revoked too: a
    /// copy of it may have got out before the crash that voided it.
    pub fn may_become(self, next: Self) -> bool {
        match next {
            Self::Undelivered => false,
            Self::Delivered | Self::Voided => self == Self::Undelivered,
            Self::Revoked => self != Self::Revoked,
        }
    }
}

/// What a certificate is good for at a moment: its state, and whether a delivered one has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// As [`Status::Undelivered`].
    Undelivered,
    /// It reached its output, and has not ended.
    Delivered,
    /// It reached its output, and its `notAfter` has passed.
    Expired,
    /// As [`Status::Voided`].
    Voided,
    /// As [`Status::Revoked`].
    Revoked,
}

words!(Standing {
    Undelivered = "undelivered",
    Delivered = "delivered",
    Expired = "expired",
    Voided = "voided",
    Revoked = "revoked",
});

impl Standing {
    /// The state in which a certificate of this standing is kept.
    pub fn status(self) -> Status {
        match self {
            Self::Undelivered => Status::Undelivered,
            Self::Delivered | Self::Expired => Status::Delivered,
            Self::Voided => Status::Voided,
            Self::Revoked => Status::Revoked,
        }
    }
}

/// A revocation that was made elsewhere, before the certificate was recorded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// The certificate.
    pub row: RowKey,
    /// When it was revoked: what CRLs are to say, whenever the trail learnt of it.
    pub since: Time,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a text cannot be kept in the inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// What the text should have been.
        what: &'static str,
    },
    /// The text is too long.
    #[error("{what} has {length} characters, at most {most} are allowed")]
    TooLong {
        /// What the text should have been.
        what: &'static str,
        /// Its length in characters.
        length: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// The text has a line feed or another control character.
    #[error("{what} has a control character at position {position}")]
    Control {
        /// What the text should have been.
        what: &'static str,
        /// Its place, counted from 1.
        position: usize,
    },
    /// The text has a character that cannot be in it.
    #[error("{what} has the character {character:?}")]
    Character {
        /// What the text should have been.
        what: &'static str,
        /// The character.
        character: char,
    },
    /// Several texts in one are not in their order, or one of them occurs twice.
    #[error("{what} are not in order")]
    Unordered {
        /// What the texts are.
        what: &'static str,
    },
    /// The text has what only a secret has.
    #[error("{what} holds a secret; the inventory keeps none")]
    Secret {
        /// What the text should have been.
        what: &'static str,
    },
    /// The word belongs to the inventory itself.
    #[error("{what} {text:?} is reserved for the inventory's own entries")]
    Reserved {
        /// What the text should have been.
        what: &'static str,
        /// The text.
        text: String,
    },
}

/// Checks one line of text: not empty, not too long, no control characters.
pub(crate) fn check_line(what: &'static str, text: &str, most: usize) -> Result<(), TextError> {
    let length = text.chars().count();
    if length == 0 {
        return Err(TextError::Empty { what });
    }
    if length > most {
        return Err(TextError::TooLong { what, length, most });
    }
    match text.chars().position(char::is_control) {
        Some(index) => Err(TextError::Control {
            what,
            position: index + 1,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_undelivered_is_delivered_or_voided() {
        for status in Status::ALL {
            let undelivered = *status == Status::Undelivered;
            assert_eq!(status.may_become(Status::Delivered), undelivered);
            assert_eq!(status.may_become(Status::Voided), undelivered);
            assert!(!status.may_become(Status::Undelivered));
        }
    }

    /// RFC 5280 §5.3.1: a hold may turn into a revocation for good, nothing else changes.
    #[test]
    fn revocation_is_final_unless_it_was_a_hold() {
        let revoked = |reason| CertificateState::Revoked {
            at: Time::FOREVER,
            reason,
        };
        let hold = revoked(RevocationReason::CertificateHold);
        let compromise = revoked(RevocationReason::KeyCompromise);
        assert!(hold.may_become(&compromise));
        assert!(!hold.may_become(&hold) && !compromise.may_become(&hold));
    }
}
