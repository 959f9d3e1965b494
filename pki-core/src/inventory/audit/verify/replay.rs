//! The trail replayed: what each entry says of chunks, generations, batches and plans becomes what is
//! expected of them.

use serde_json::Value;

use super::{Auditor, Bound, Chunk, ExpectedBatch, ExpectedGeneration, GenerationKey};
use crate::inventory::GenerationState;
use crate::inventory::audit::{Action, AsFound, AuditEntry, ExpectedPlan};

impl Auditor {
    /// What an entry says becomes what is expected.
    pub(crate) fn replay(&mut self, entry: &AuditEntry) {
        let sequence = entry.sequence;
        if let Some(status) = entry.status() {
            for (first, last) in entry.rows.ranges() {
                self.changed_in.assign(first, last, (status, sequence));
            }
        }
        let replayed = match Action::from_word(&entry.action) {
            Some(Action::CertificatesRecorded) => {
                self.begin_chunk(entry);
                Some(())
            }
            Some(Action::GenerationRecorded) => self.begin_generation(entry),
            Some(Action::CertificateAdopted) => self.adopt(entry),
            Some(Action::GenerationsSettled) => self.settle(entry),
            Some(Action::CertificatesDelivered) => self.advance_batch(entry),
            Some(Action::BatchOpened) => {
                self.open_batch(entry);
                Some(())
            }
            Some(Action::BatchReplaced) => self.replace_batch(entry),
            Some(Action::BatchCompleted) => self.complete_batch(entry),
            Some(Action::InventoryBound) => self.bind(entry),
            Some(Action::PlanOpened) => {
                let plan = ExpectedPlan::opened(entry);
                self.plans.insert(entry.subject.clone(), plan);
                Some(())
            }
            Some(
                Action::StepsBegun
                | Action::StepsEnded
                | Action::PlanFinished
                | Action::PlanAbandoned,
            ) => {
                let plan = self.plans.get_mut(&entry.subject);
                plan.and_then(|plan| plan.replay(entry))
            }
            Some(Action::CertificatesVoided | Action::CertificatesRevoked) | None => Some(()),
        };
        if replayed.is_none() {
            self.unreadable(format!(
                "audit entry {sequence} has details that make no sense"
            ));
        }
    }

    fn begin_chunk(&mut self, entry: &AuditEntry) {
        for (first, last) in entry.rows.ranges() {
            self.recorded_in.assign(first, last, entry.sequence);
        }
        let chunk = Chunk {
            rows: entry.rows.to_string(),
            size: entry.rows.count(),
            root: entry.content,
            leaves: Vec::new(),
            binds_requests: entry.binds_requests(),
        };
        self.chunks.insert(entry.sequence, chunk);
    }

    fn begin_generation(&mut self, entry: &AuditEntry) -> Option<()> {
        let detail = entry.detail();
        let key = generation_key(entry, &detail)?;
        let expected = ExpectedGeneration {
            subject: entry.content,
            key_reference: detail.get("keyReference")?.as_str()?.to_owned(),
            certificate: detail.get("certificate")?.as_i64(),
            state: Some(GenerationState::Pending),
        };
        self.generations.insert(key, expected);
        Some(())
    }

    fn adopt(&mut self, entry: &AuditEntry) -> Option<()> {
        let detail = entry.detail();
        let generation = self.generations.get_mut(&generation_key(entry, &detail)?)?;
        generation.certificate = detail.get("certificate")?.as_i64();
        Some(())
    }

    fn settle(&mut self, entry: &AuditEntry) -> Option<()> {
        for change in entry.detail().get("changes")?.as_array()? {
            let generation = self.generations.get_mut(&generation_key(entry, change)?)?;
            generation.state = GenerationState::from_word(change.get("state")?.as_str()?);
        }
        Some(())
    }

    /// What was found at an upgrade; of part of the trail that is about other plans too.
    fn bind(&mut self, entry: &AuditEntry) -> Option<()> {
        let found = AsFound::read(entry)?;
        for plan in &found.plans {
            match self.plans.get_mut(plan.name()) {
                Some(expected) => expected.bind(plan),
                None if self.is_part => {}
                None => return None,
            }
        }
        self.bound = Some(Bound {
            sequence: entry.sequence,
            requests: found.requests,
        });
        Some(())
    }

    fn open_batch(&mut self, entry: &AuditEntry) {
        let expected = ExpectedBatch {
            opened_in: entry.sequence,
            facts: entry.detail(),
            started_at: entry.at,
            delivered: 0,
            output_octets: 0,
            completed: None,
        };
        self.batches.insert(entry.subject.clone(), expected);
    }

    /// A batch that begins anew keeps its place among the others.
    fn replace_batch(&mut self, entry: &AuditEntry) -> Option<()> {
        let opened_in = self.batches.get(&entry.subject)?.opened_in;
        self.open_batch(entry);
        self.batches.get_mut(&entry.subject)?.opened_in = opened_in;
        Some(())
    }

    /// A delivery that brings a batch further names it.
    fn advance_batch(&mut self, entry: &AuditEntry) -> Option<()> {
        if entry.subject.is_empty() {
            return Some(());
        }
        let detail = entry.detail();
        let batch = self.batches.get_mut(&entry.subject)?;
        batch.delivered = detail.get("delivered")?.as_u64()?;
        batch.output_octets = detail.get("outputOctets")?.as_u64()?;
        Some(())
    }

    fn complete_batch(&mut self, entry: &AuditEntry) -> Option<()> {
        let batch = self.batches.get_mut(&entry.subject)?;
        batch.completed = Some((entry.at, entry.content));
        Some(())
    }
}

fn generation_key(entry: &AuditEntry, facts: &Value) -> Option<GenerationKey> {
    let number = facts.get("generation")?.as_u64()?;
    Some((entry.subject.clone(), u32::try_from(number).ok()?))
}
