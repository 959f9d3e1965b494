//! Verification: the trail is replayed, then everything stored is compared with what it says.
//!
//! An adapter feeds an [`Auditor`] with all entries in order, then all certificates by row, then
//! generations and counters. Memory grows with the number of chunks and exceptions, not with that
//! of certificates.

mod replay;

use std::collections::BTreeMap;

use serde_json::Value;

use super::draft::batch_facts;
use super::report::{AuditFinding, AuditReport};
use super::rows::RowMap;
use super::{
    AuditEntry, AuditHash, AuditHead, ExpectedPlan, FoundRequests, Links, StoredPlan, SubjectsOf,
    merkle,
};
use crate::ids::{AuthorityGeneration, AuthorityName, Generation};
use crate::inventory::{
    BatchRecord, BatchState, Count, GenerationRecord, GenerationState, Recorded, RowKey, Status,
};
use crate::profile::Role;
use crate::time::Time;

/// A certificate as an adapter stores it.
pub(crate) struct StoredCertificate {
    pub(crate) recorded: Recorded,
    pub(crate) status: Status,
    pub(crate) recorded_in: u64,
    pub(crate) changed_in: u64,
    /// The SHA-256 of the request that is kept of it.
    pub(crate) request: Option<AuditHash>,
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
    plans: BTreeMap<String, ExpectedPlan>,
    bound: Option<Bound>,
    requests: FoundRequests,
    earlier: EarlierHashes,
    counts: BTreeMap<CountKey, (Role, u64)>,
    /// What the last batch and the last plan were opened in: they are told in that order.
    opened: (u64, u64),
    /// Whether a part of the trail is replayed only, for some rows.
    is_part: bool,
}

/// The entry of an upgrade.
struct Bound {
    sequence: u64,
    requests: AuditHash,
}

/// The certificates of one entry, as far as they were seen.
struct Chunk {
    rows: String,
    size: u64,
    root: Option<AuditHash>,
    leaves: Vec<AuditHash>,
    binds_requests: bool,
}

struct ExpectedGeneration {
    subject: Option<AuditHash>,
    key_reference: String,
    certificate: Option<i64>,
    state: Option<GenerationState>,
}

struct ExpectedBatch {
    opened_in: u64,
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
        self.0
            .last()
            .filter(|head| head.sequence == earlier)
            .map_or(AuditHash::NONE, |head| head.hash)
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
            plans: BTreeMap::new(),
            bound: None,
            requests: FoundRequests::default(),
            earlier: EarlierHashes::default(),
            counts: BTreeMap::new(),
            opened: (0, 0),
            is_part: false,
        }
    }

    /// For some rows and the entries that bind them, which the caller has proven.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that keep files")
    )]
    pub(crate) fn of_part() -> Self {
        Self {
            is_part: true,
            ..Self::new(&[])
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
        if self.member(stored).is_none() {
            return self.found(AuditFinding::CertificateUnrecorded { row });
        }
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

    /// A certificate of a chunk, whatever its status; `None` if no entry has recorded it.
    pub(crate) fn member(&mut self, stored: &StoredCertificate) -> Option<()> {
        let row = stored.recorded.row();
        let sequence = self.recorded_in.get(row.number())?;
        if sequence != stored.recorded_in {
            self.certificate_inconsistent(row, "recording entry");
        }
        let chunk = self.chunks.get(&sequence);
        let binds_requests = chunk.is_some_and(|chunk| chunk.binds_requests);
        let mut statement = stored.recorded.statement();
        statement.request = stored.request.filter(|_| binds_requests);
        let leaf = statement.leaf_hash();
        if let Some(request) = stored.request
            && !binds_requests
        {
            self.found_request(row, sequence, request);
        }
        self.add_leaf(sequence, leaf);
        Some(())
    }

    /// A request that was kept before the trail bound them, or should have been.
    fn found_request(&mut self, row: RowKey, recorded_in: u64, request: AuditHash) {
        match &self.bound {
            Some(bound) if recorded_in < bound.sequence => self.requests.add(row, request),
            _ if self.is_part => {}
            _ => self.certificate_inconsistent(row, "request"),
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

    /// A batch, in the order in which they were opened.
    pub(crate) fn batch(&mut self, record: &BatchRecord) {
        let batch = record.name.to_string();
        let Some(expected) = self.batches.remove(&batch) else {
            return self.found(AuditFinding::BatchUnrecorded { batch });
        };
        let in_order = self.opened.0 < expected.opened_in;
        self.opened.0 = expected.opened_in;
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
            (
                "manifest",
                record.completed_at.is_some() || record.manifest.is_none(),
            ),
            ("place", in_order),
        ] {
            if !same {
                let batch = batch.clone();
                self.found(AuditFinding::BatchChanged { batch, what });
            }
        }
    }

    /// A plan, in the order in which they were opened.
    pub(crate) fn plan(&mut self, stored: &StoredPlan, subjects_of: SubjectsOf) {
        let plan = stored.name.clone();
        let Some(expected) = self.plans.remove(&plan) else {
            return self.found(AuditFinding::PlanUnrecorded { plan });
        };
        let mut wrong = expected.differences(stored, subjects_of);
        if self.opened.1 >= expected.opened_in {
            wrong.push("place");
        }
        self.opened.1 = expected.opened_in;
        for what in wrong {
            let plan = plan.clone();
            self.found(AuditFinding::PlanChanged { plan, what });
        }
    }

    /// The plan as the entries so far say it is.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "for adapters that keep texts")
    )]
    pub(crate) fn expected_plan(&self, name: &str) -> Option<&ExpectedPlan> {
        self.plans.get(name)
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
        for plan in std::mem::take(&mut self.plans).into_keys() {
            self.found(AuditFinding::PlanMissing { plan });
        }
        if self.is_part {
            return self.report;
        }
        let requests = std::mem::take(&mut self.requests).finish();
        if self
            .bound
            .as_ref()
            .is_some_and(|bound| bound.requests != requests)
        {
            self.found(AuditFinding::RequestsChanged);
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

impl AuditEntry {
    /// Whether the statements of the certificates that it recorded bind their requests.
    pub(crate) fn binds_requests(&self) -> bool {
        self.detail().get("requests").is_some()
    }
}
