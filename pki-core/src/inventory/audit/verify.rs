//! Verification: the trail is replayed, then everything stored is compared with what it says.
//!
//! An adapter feeds an [`Auditor`] with all entries in order, then all certificates by row, then
//! generations and counters. Memory grows with the number of chunks and exceptions, not with that
//! of certificates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::draft::batch_facts;
use super::report::{AuditFinding, AuditReport};
use super::rows::RowMap;
use super::{Action, AuditEntry, AuditHash, AuditHead, Links, merkle};
use crate::ids::{AuthorityName, Generation};
use crate::inventory::{
    AuthorityGeneration, BatchRecord, BatchState, Count, GenerationRecord, GenerationState,
    Recorded, RowKey, Status,
};
use crate::profile::Role;
use crate::time::Time;

/// A certificate as an adapter stores it.
pub(crate) struct StoredCertificate {
    pub(crate) recorded: Recorded,
    pub(crate) status: Status,
    pub(crate) recorded_in: u64,
    pub(crate) changed_in: u64,
}

/// A generation as an adapter stores it.
pub(crate) struct StoredGeneration<'a> {
    pub(crate) authority: &'a AuthorityName,
    pub(crate) record: &'a GenerationRecord,
}

type GenerationKey = (String, u32);
/// The word stands for the role, which has no order.
type CountKey = (Option<AuthorityGeneration>, &'static str, Status);

/// Replays a trail and compares what is stored with it.
pub(crate) struct Auditor {
    checkpoints: Vec<AuditHead>,
    report: AuditReport,
    recorded_in: RowMap<u64>,
    changed_in: RowMap<(Status, u64)>,
    chunks: BTreeMap<u64, Chunk>,
    generations: BTreeMap<GenerationKey, ExpectedGeneration>,
    batches: BTreeMap<String, ExpectedBatch>,
    earlier: EarlierHashes,
    counts: BTreeMap<CountKey, (Role, u64)>,
}

/// The certificates of one entry, as far as they were seen.
struct Chunk {
    rows: String,
    size: u64,
    root: Option<AuditHash>,
    leaves: Vec<AuditHash>,
}

struct ExpectedGeneration {
    subject: Option<AuditHash>,
    key_reference: String,
    certificate: Option<i64>,
    state: Option<GenerationState>,
}

struct ExpectedBatch {
    facts: Value,
    started_at: Time,
    delivered: u64,
    output_octets: u64,
    completed: Option<(Time, Option<AuditHash>)>,
}

/// The hashes that later entries are still bound to besides that of the previous one: at most one
/// for each bit of a number.
#[derive(Default)]
struct EarlierHashes(Vec<AuditHead>);

impl EarlierHashes {
    /// The hash of the earlier entry that this one is bound to, as far as it was seen.
    fn of(&mut self, sequence: u64) -> AuditHash {
        let earlier = Links::earlier_than(sequence);
        while self.0.last().is_some_and(|head| head.sequence > earlier) {
            self.0.pop();
        }
        let last = self.0.last().filter(|head| head.sequence == earlier);
        last.map_or(AuditHash::NONE, |head| head.hash)
    }
}

impl Auditor {
    pub(crate) fn new(checkpoints: &[AuditHead]) -> Self {
        Self {
            checkpoints: checkpoints.to_vec(),
            report: AuditReport {
                entries: 0,
                certificates: 0,
                head: None,
                findings: Vec::new(),
                further_findings: 0,
            },
            recorded_in: RowMap::default(),
            changed_in: RowMap::default(),
            chunks: BTreeMap::new(),
            generations: BTreeMap::new(),
            batches: BTreeMap::new(),
            earlier: EarlierHashes::default(),
            counts: BTreeMap::new(),
        }
    }

    /// The next entry, in order of their numbers.
    pub(crate) fn entry(&mut self, entry: &AuditEntry) {
        let (last, previous) = match self.report.head {
            Some(head) => (head.sequence, head.hash),
            None => (0, AuditHash::NONE),
        };
        if entry.sequence > last + 1 {
            self.found(AuditFinding::EntriesMissing {
                first: last + 1,
                last: entry.sequence - 1,
            });
        }
        let earlier = self.earlier.of(entry.sequence);
        self.earlier.0.push(entry.head());
        if entry.hash_after(Links { previous, earlier }) != entry.hash {
            self.found(AuditFinding::EntryChanged {
                sequence: entry.sequence,
            });
        }
        self.report.entries += 1;
        self.report.head = Some(entry.head());
        self.compare_checkpoints(entry.head());
        self.replay(entry);
    }

    /// The next certificate, in order of their rows.
    pub(crate) fn certificate(&mut self, stored: &StoredCertificate) {
        let row = stored.recorded.row();
        self.report.certificates += 1;
        self.count(stored);
        let Some(sequence) = self.recorded_in.get(row.number()) else {
            return self.found(AuditFinding::CertificateUnrecorded { row });
        };
        if sequence != stored.recorded_in {
            self.certificate_inconsistent(row, "recording entry");
        }
        self.add_leaf(sequence, stored.recorded.statement().leaf_hash());
        match self.changed_in.get(row.number()) {
            Some((expected, _)) if expected != stored.status => {
                self.found(AuditFinding::StatusChanged {
                    row,
                    found: stored.status,
                    expected,
                });
            }
            Some((_, sequence)) if sequence != stored.changed_in => {
                self.certificate_inconsistent(row, "entry of the last change");
            }
            _ => {}
        }
    }

    /// A generation, in any order.
    pub(crate) fn generation(&mut self, stored: &StoredGeneration<'_>) {
        let record = stored.record;
        let generation = || AuthorityGeneration {
            name: stored.authority.clone(),
            generation: record.generation,
        };
        let key = (stored.authority.to_string(), record.generation.number());
        let Some(expected) = self.generations.remove(&key) else {
            return self.found(AuditFinding::GenerationUnrecorded {
                generation: generation(),
            });
        };
        let certificate = record.certificate.as_ref().map(|held| held.row().number());
        for (what, same) in [
            (
                "subject",
                expected.subject == Some(AuditHash::of(&record.subject.to_der())),
            ),
            (
                "key reference",
                expected.key_reference == record.key_reference.as_str(),
            ),
            ("certificate", expected.certificate == certificate),
            ("state", expected.state == Some(record.state)),
        ] {
            if !same {
                self.found(AuditFinding::GenerationChanged {
                    generation: generation(),
                    what,
                });
            }
        }
    }

    /// A batch, in any order.
    pub(crate) fn batch(&mut self, record: &BatchRecord) {
        let batch = record.name.to_string();
        let Some(expected) = self.batches.remove(&batch) else {
            return self.found(AuditFinding::BatchUnrecorded { batch });
        };
        let manifest = record.manifest.as_ref();
        let manifest = manifest.map(|manifest| AuditHash::of(manifest.as_bytes()));
        let completed = record.completed_at.map(|at| (at, manifest));
        let state = match expected.completed {
            Some(_) => BatchState::Complete,
            None => BatchState::Open,
        };
        for (what, same) in [
            ("description", expected.facts == batch_facts(record)),
            ("start", expected.started_at == record.started_at),
            (
                "progress",
                (expected.delivered, expected.output_octets)
                    == (record.delivered, record.output_octets),
            ),
            ("state", record.state == state),
            ("completion", expected.completed == completed),
        ] {
            if !same {
                let batch = batch.clone();
                self.found(AuditFinding::BatchChanged { batch, what });
            }
        }
    }

    /// A counter, in any order.
    pub(crate) fn counter(&mut self, count: Count) {
        let key = (count.signed_by.clone(), count.role.as_str(), count.status);
        let expected = self.counts.remove(&key).map_or(0, |(_, expected)| expected);
        self.compare_counter(count, expected);
    }

    /// Something that an adapter keeps beside a certificate does not agree with it.
    pub(crate) fn certificate_inconsistent(&mut self, row: RowKey, what: &'static str) {
        self.found(AuditFinding::CertificateInconsistent { row, what });
    }

    /// Something stored cannot be read.
    pub(crate) fn unreadable(&mut self, what: impl Into<String>) {
        self.found(AuditFinding::Unreadable { what: what.into() });
    }

    /// The report, once everything was fed.
    pub(crate) fn finish(mut self) -> AuditReport {
        for (sequence, chunk) in std::mem::take(&mut self.chunks) {
            self.found(AuditFinding::CertificatesMissing {
                sequence,
                missing: chunk.size - chunk.seen(),
            });
        }
        for ((name, number), _) in std::mem::take(&mut self.generations) {
            let name = name.parse().ok();
            if let Some((name, generation)) = name.zip(Generation::new(number)) {
                let generation = AuthorityGeneration { name, generation };
                self.found(AuditFinding::GenerationMissing { generation });
            }
        }
        for batch in std::mem::take(&mut self.batches).into_keys() {
            self.found(AuditFinding::BatchMissing { batch });
        }
        for ((signed_by, _, status), (role, expected)) in std::mem::take(&mut self.counts) {
            let count = Count {
                signed_by,
                role,
                status,
                certificates: 0,
            };
            self.compare_counter(count, expected);
        }
        let reached = self.report.head.map_or(0, |head| head.sequence);
        for checkpoint in std::mem::take(&mut self.checkpoints) {
            if checkpoint.sequence > reached {
                self.found(AuditFinding::CheckpointMissing { checkpoint });
            }
        }
        self.report
    }

    fn count(&mut self, stored: &StoredCertificate) {
        let role = stored.recorded.role();
        let signed_by = stored.recorded.signed_by().cloned();
        let count = self.counts.entry((signed_by, role.as_str(), stored.status));
        count.or_insert_with(|| (role, 0)).1 += 1;
    }

    fn compare_counter(&mut self, count: Count, expected: u64) {
        if count.certificates != expected {
            self.found(AuditFinding::Counter {
                signed_by: count.signed_by,
                role: count.role,
                status: count.status,
                found: count.certificates,
                expected,
            });
        }
    }

    fn compare_checkpoints(&mut self, head: AuditHead) {
        let broken = |checkpoint: &&AuditHead| {
            checkpoint.sequence == head.sequence && checkpoint.hash != head.hash
        };
        let broken: Vec<AuditHead> = self.checkpoints.iter().filter(broken).copied().collect();
        for checkpoint in broken {
            self.found(AuditFinding::CheckpointMismatch { checkpoint });
        }
    }

    fn replay(&mut self, entry: &AuditEntry) {
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
            Some(Action::BatchCompleted) => self.complete_batch(entry),
            Some(
                Action::CertificatesVoided
                | Action::CertificatesRevoked
                | Action::PlanOpened
                | Action::PlanFinished
                | Action::PlanAbandoned,
            )
            | None => Some(()),
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
        };
        self.chunks.insert(entry.sequence, chunk);
    }

    fn add_leaf(&mut self, sequence: u64, leaf: AuditHash) {
        let Some(chunk) = self.chunks.get_mut(&sequence) else {
            return;
        };
        chunk.leaves.push(leaf);
        if chunk.seen() < chunk.size {
            return;
        }
        if let Some(chunk) = self.chunks.remove(&sequence)
            && chunk.root != Some(merkle::root(&chunk.leaves))
        {
            self.found(AuditFinding::CertificatesChanged {
                sequence,
                rows: chunk.rows,
            });
        }
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

    fn open_batch(&mut self, entry: &AuditEntry) {
        let expected = ExpectedBatch {
            facts: entry.detail(),
            started_at: entry.at,
            delivered: 0,
            output_octets: 0,
            completed: None,
        };
        self.batches.insert(entry.subject.clone(), expected);
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

    fn found(&mut self, finding: AuditFinding) {
        const MOST: usize = 1000;
        if self.report.findings.len() < MOST {
            self.report.findings.push(finding);
        } else {
            self.report.further_findings += 1;
        }
    }
}

impl Chunk {
    fn seen(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap_or(u64::MAX)
    }
}

fn generation_key(entry: &AuditEntry, facts: &Value) -> Option<GenerationKey> {
    let number = facts.get("generation")?.as_u64()?;
    Some((entry.subject.clone(), u32::try_from(number).ok()?))
}
