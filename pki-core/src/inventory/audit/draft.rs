//! What each change writes into the trail; one wording for every adapter, so that the same changes
//! give the same trail wherever they are kept.

use serde_json::{Value, json};

use super::{Action, AsFound, AuditEntry, AuditEvent, AuditHash, AuditHead, Links, Rows, merkle};
use crate::crl::RevocationReason;
use crate::ids::{AuthorityName, Generation, PlanId, RegistrationId, Sha256Thumbprint};
use crate::inventory::{
    BatchProgress, BatchRecord, GenerationChange, NewCertificate, NewGeneration, RowKey, Status,
};
use crate::time::Time;

/// An entry without its place in the trail.
pub(crate) struct Draft {
    at: Time,
    action: String,
    subject: String,
    detail: Value,
    rows: Rows,
    content: Option<AuditHash>,
}

impl Draft {
    /// `thumbprints` are those of the chunk, which the caller has a use for too.
    pub(crate) fn recorded(
        chunk: &[NewCertificate],
        thumbprints: &[Sha256Thumbprint],
        rows: Rows,
        at: Time,
    ) -> Self {
        let leaves: Vec<AuditHash> = chunk
            .iter()
            .zip(thumbprints)
            .map(|(new, thumbprint)| new.statement_of(*thumbprint).leaf_hash())
            .collect();
        let (subject, mut detail) = match chunk {
            [single] => of_one(single),
            many => of_many(many),
        };
        let requests = chunk.iter().filter(|new| new.request.is_some()).count();
        if requests > 0 {
            // Tells the statements that bind requests from those of before.
            detail["requests"] = json!(requests);
        }
        Self {
            subject,
            detail,
            content: Some(merkle::root(&leaves)),
            ..Self::about(rows, Action::CertificatesRecorded, at)
        }
    }

    pub(crate) fn delivered(rows: Rows, progress: Option<&BatchProgress>, at: Time) -> Self {
        let delivered = Self::about(rows, Action::CertificatesDelivered, at);
        match progress {
            None => delivered,
            Some(progress) => Self {
                subject: progress.batch.to_string(),
                detail: json!({
                    "delivered": progress.delivered,
                    "outputOctets": progress.output_octets,
                }),
                ..delivered
            },
        }
    }

    pub(crate) fn batch_opened(batch: &BatchRecord, at: Time) -> Self {
        Self {
            subject: batch.name.to_string(),
            detail: batch_facts(batch),
            ..Self::about(Rows::default(), Action::BatchOpened, at)
        }
    }

    /// A batch that was lost, opened anew for these certificates.
    pub(crate) fn batch_replaced(batch: &BatchRecord, lost: Rows, at: Time) -> Self {
        Self {
            subject: batch.name.to_string(),
            detail: batch_facts(batch),
            ..Self::about(lost, Action::BatchReplaced, at)
        }
    }

    pub(crate) fn batch_completed(batch: &BatchRecord, manifest: &str, at: Time) -> Self {
        Self {
            subject: batch.name.to_string(),
            content: Some(AuditHash::of(manifest.as_bytes())),
            ..Self::about(Rows::default(), Action::BatchCompleted, at)
        }
    }

    pub(crate) fn voided(rows: Rows, reason: &str, at: Time) -> Self {
        Self {
            detail: json!({ "reason": reason }),
            ..Self::about(rows, Action::CertificatesVoided, at)
        }
    }

    /// `since` is in the entry only if it is not the entry's own time.
    pub(crate) fn revoked(rows: Rows, reason: RevocationReason, since: Time, at: Time) -> Self {
        let reason = reason.as_str();
        Self {
            detail: if since == at {
                json!({ "reason": reason })
            } else {
                json!({ "reason": reason, "since": since })
            },
            ..Self::about(rows, Action::CertificatesRevoked, at)
        }
    }

    pub(crate) fn generation_recorded(
        new: &NewGeneration,
        certificate: Option<RowKey>,
        at: Time,
    ) -> Self {
        Self {
            subject: new.authority.to_string(),
            detail: json!({
                "generation": new.generation,
                "subject": new.subject.to_string(),
                "keyReference": new.key_reference.as_str(),
                "certificate": certificate.map(RowKey::number),
            }),
            content: Some(AuditHash::of(&new.subject.to_der())),
            ..Self::about(Rows::default(), Action::GenerationRecorded, at)
        }
    }

    pub(crate) fn adopted(
        authority: &AuthorityName,
        generation: Generation,
        certificate: RowKey,
        at: Time,
    ) -> Self {
        Self {
            subject: authority.to_string(),
            detail: json!({
                "generation": generation,
                "certificate": certificate.number(),
            }),
            ..Self::about(Rows::default(), Action::CertificateAdopted, at)
        }
    }

    pub(crate) fn settled(
        authority: &AuthorityName,
        changes: &[GenerationChange],
        at: Time,
    ) -> Self {
        let change = |change: &GenerationChange| json!({ "generation": change.generation, "state": change.to.as_str() });
        Self {
            subject: authority.to_string(),
            detail: json!({ "changes": changes.iter().map(change).collect::<Vec<_>>() }),
            ..Self::about(Rows::default(), Action::GenerationsSettled, at)
        }
    }

    /// What the trail did not bind before, as it was found at an upgrade.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that are upgraded")
    )]
    pub(crate) fn bound(found: &AsFound, at: Time) -> Self {
        Self {
            detail: found.detail(),
            content: Some(found.requests),
            ..Self::about(Rows::default(), Action::InventoryBound, at)
        }
    }

    /// Of a plan; what such entries say is the journal's.
    pub(crate) fn of_plan(
        action: Action,
        plan: PlanId,
        detail: Value,
        content: Option<AuditHash>,
        at: Time,
    ) -> Self {
        Self {
            subject: plan.to_string(),
            detail,
            content,
            ..Self::about(Rows::default(), action, at)
        }
    }

    pub(crate) fn event(event: AuditEvent, at: Time) -> Self {
        Self {
            at,
            action: event.action.as_str().to_owned(),
            subject: event.subject,
            detail: event.detail,
            rows: Rows::default(),
            content: None,
        }
    }

    /// The entry that follows the last one of the trail; `earlier` is the hash of the entry that
    /// [`Links::earlier_than`] names.
    pub(crate) fn seal(self, last: Option<&AuditHead>, earlier: AuditHash) -> AuditEntry {
        let mut entry = AuditEntry {
            sequence: last.map_or(0, |last| last.sequence) + 1,
            at: self.at,
            action: self.action,
            subject: self.subject,
            detail: self.detail.to_string(),
            rows: self.rows,
            content: self.content,
            hash: AuditHash::NONE,
        };
        let previous = last.map_or(AuditHash::NONE, |last| last.hash);
        entry.hash = entry.hash_after(Links { previous, earlier });
        entry
    }

    fn about(rows: Rows, action: Action, at: Time) -> Self {
        Self {
            at,
            action: action.as_str().to_owned(),
            subject: String::new(),
            detail: json!({}),
            rows,
            content: None,
        }
    }
}

fn of_one(new: &NewCertificate) -> (String, Value) {
    let name = new.certificate.subject().to_string();
    let id = new.registration_id.as_ref().map(RegistrationId::to_string);
    let detail = json!({
        "role": new.role.as_str(),
        "authority": new.signed_by.as_ref().map(|by| &by.name),
        "generation": new.signed_by.as_ref().map(|by| by.generation),
        "serialNumber": new.certificate.serial_number(),
        "sha256Thumbprint": new.certificate.sha256_thumbprint(),
    });
    (id.unwrap_or(name), detail)
}

fn of_many(chunk: &[NewCertificate]) -> (String, Value) {
    let batch = chunk.first().and_then(|new| new.batch.as_ref());
    let same = chunk.iter().all(|new| new.batch.as_ref() == batch);
    let batch = batch.filter(|_| same).map(ToString::to_string);
    (
        batch.unwrap_or_default(),
        json!({ "certificates": chunk.len() }),
    )
}

/// What the trail says of a batch when it is opened.
pub(super) fn batch_facts(batch: &BatchRecord) -> Value {
    json!({
        "authority": batch.signed_by.name,
        "generation": batch.signed_by.generation,
        "fingerprint": AuditHash::from_octets(batch.fingerprint),
        "total": batch.total,
        "output": batch.output,
        "format": batch.format,
    })
}

impl AuditEntry {
    /// What the entry made of the certificates it is about, if it changes certificates.
    pub(crate) fn status(&self) -> Option<Status> {
        match Action::from_word(&self.action)? {
            Action::CertificatesRecorded => Some(Status::Undelivered),
            Action::CertificatesDelivered => Some(Status::Delivered),
            Action::CertificatesVoided => Some(Status::Voided),
            Action::CertificatesRevoked => Some(Status::Revoked),
            Action::GenerationRecorded
            | Action::CertificateAdopted
            | Action::GenerationsSettled
            | Action::BatchOpened
            | Action::BatchReplaced
            | Action::BatchCompleted
            | Action::InventoryBound
            | Action::PlanOpened
            | Action::StepsBegun
            | Action::StepsEnded
            | Action::PlanFinished
            | Action::PlanAbandoned => None,
        }
    }
}
