//! Whoever acts on a row asks here whether it is as the audit trail says.
//!
//! Only what binds the row is read: the entries about it, each proven towards the last entry in a number
//! of steps that grows with the logarithm of the trail's length, and the chunk that a certificate was
//! recorded in. A row that was edited without computing the trail anew is refused.
//! Not here: certificates that nobody asks for by themselves (pages of lists, counts), and rows that were
//! made unreachable; `verify` finds these.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use super::leaves::Leaves;
use super::run::Whole;
use super::trail::Trail;
use super::{Failure, read, row, run};
use crate::ids::AuthorityName;
use crate::inventory::audit::{
    Action, AuditEntry, AuditFinding, AuditHash, Auditor, FoundRequests, RowMap, Rows,
    StoredCertificate, StoredGeneration, merkle,
};
use crate::inventory::{
    AuthorityRecord, BatchRecord, InventoryEntry, InventoryError, Label, NamedLabel, Recorded,
    RowKey, Status,
};

/// What was compared with the trail before, as long as no other process has written since.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    version: i64,
    /// Chunks by the entries that recorded them.
    chunks: BTreeMap<u64, Chunk>,
    has_found_requests: bool,
    /// The last entry that voided or revoked each certificate, of the entries up to one.
    ended: RowMap<u64>,
    read_until: i64,
    /// Entries that were proven.
    proven: BTreeSet<u64>,
    /// The entry that was read last of a certificate's state: those of a batch follow each other.
    last: Option<AuditEntry>,
}

/// What an entry has recorded, which was compared with it.
#[derive(Debug)]
struct Chunk {
    rows: Rows,
    binds_requests: bool,
}

impl Trusted {
    /// Forgets what another process may have changed since.
    fn refresh(&mut self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let version = transaction
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if self.version != version {
            *self = Self {
                version,
                ..Self::default()
            };
        }
        Ok(())
    }

    /// The trail, with the entries that were proven before. Whoever reads more of it gives them back.
    fn trail<'t>(&mut self, transaction: &'t Transaction<'t>) -> Result<Trail<'t>, Failure> {
        let mut trail = Trail::begin(transaction)?;
        trail.proven = std::mem::take(&mut self.proven);
        Ok(trail)
    }

    /// Refuses certificates that are not as the trail says.
    pub(super) fn certificates(
        &mut self,
        transaction: &Transaction<'_>,
        entries: &[InventoryEntry],
    ) -> Result<(), Failure> {
        for entry in entries {
            self.certificate(transaction, &entry.recorded)?;
        }
        Ok(())
    }

    /// Refuses the generations of authorities, or of one, and their certificates.
    pub(super) fn authorities(
        &mut self,
        transaction: &Transaction<'_>,
        name: Option<&AuthorityName>,
        found: &[AuthorityRecord],
    ) -> Result<(), Failure> {
        self.refresh(transaction)?;
        let mut trail = self.trail(transaction)?;
        let mut auditor = Auditor::of_part();
        for entry in trail.all(
            "action IN ('generation-recorded', 'certificate-adopted', 'generations-settled')
                 AND (?1 IS NULL OR subject = ?1)",
            [name.map(AuthorityName::as_str)],
        )? {
            auditor.replay(&entry);
        }
        self.proven = trail.proven;
        for authority in found {
            for record in &authority.generations {
                let authority = &authority.name;
                auditor.generation(&StoredGeneration { authority, record });
            }
        }
        refuse_findings(auditor)?;
        let generations = found.iter().flat_map(|authority| &authority.generations);
        for certificate in generations.filter_map(|record| record.certificate.as_ref()) {
            self.certificate(transaction, certificate)?;
        }
        Ok(())
    }

    /// Refuses a certificate that is not as the trail says, with its request and its state. It was read in
    /// the same transaction.
    pub(super) fn certificate(
        &mut self,
        transaction: &Transaction<'_>,
        recorded: &Recorded,
    ) -> Result<(), Failure> {
        let key = recorded.row();
        self.refresh(transaction)?;
        let mut trail = self.trail(transaction)?;
        let run = run::whole(transaction, key)?.ok_or_else(|| inconsistent(key, "run"))?;
        let rows = &self.chunk(&mut trail, key, run.recorded_in)?.rows;
        if ![key, run.first, run.last]
            .iter()
            .all(|row| rows.contains(*row))
        {
            return Err(inconsistent(key, "run"));
        }
        refuse_misplaced(transaction, recorded)?;
        let expected = self.standing(&mut trail, key, &run)?;
        self.proven = trail.proven;
        if (run.status, run.changed_in) != expected {
            return Err(refused(&AuditFinding::StatusChanged {
                row: key,
                found: run.status,
                expected: expected.0,
            }));
        }
        Ok(())
    }

    /// Refuses a certificate as [`Self::certificate`], and one whose request may be missing: those from
    /// before the trail bound requests are bound all together.
    pub(super) fn request(
        &mut self,
        transaction: &Transaction<'_>,
        key: RowKey,
    ) -> Result<(), Failure> {
        let Some(entry) = read::certificate(transaction, key)? else {
            return Err(refused(&AuditFinding::CertificateUnrecorded { row: key }));
        };
        self.certificate(transaction, &entry.recorded)?;
        let recorded_in = entry.recorded_in;
        let mut trail = self.trail(transaction)?;
        let binds_requests = self.chunk(&mut trail, key, recorded_in)?.binds_requests;
        if !binds_requests && !self.has_found_requests {
            let bound = trail.all("action = 'inventory-bound'", [])?;
            if bound.iter().any(|entry| recorded_in < entry.sequence()) {
                refuse_found_requests(&mut trail, recorded_in)?;
                self.has_found_requests = true;
            }
        }
        self.proven = trail.proven;
        Ok(())
    }

    /// Refuses revoked and voided certificates if any is missing among them or is not what it was, whoever
    /// signed it: a list of what was revoked is whole or it is none.
    pub(super) fn ended(&mut self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        self.refresh(transaction)?;
        self.read_ends(transaction)?;
        let mut query = transaction.prepare_cached(
            "SELECT first, last, changed_in, recorded_in FROM run
             WHERE status IN ('voided', 'revoked') ORDER BY first",
        )?;
        let mut rows = query.query([])?;
        let mut found = Vec::new();
        let mut chunks = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let first: i64 = row.get(0)?;
            found.push((first, row.get(1)?, row::unsigned(row.get(2)?)?));
            chunks.insert(row::unsigned(row.get(3)?)?, RowKey::new(first));
        }
        let found = joined(found);
        let expected = joined(self.ended.ranges());
        if found != expected {
            let wrong = found
                .iter()
                .zip(&expected)
                .find(|(one, other)| one != other);
            let first = wrong.map(|(one, other)| one.0.min(other.0));
            let longer = if found.len() > expected.len() {
                &found
            } else {
                &expected
            };
            let last = || longer.last().map_or(1, |(first, ..)| *first);
            return Err(inconsistent(
                RowKey::new(first.unwrap_or_else(last)),
                "state",
            ));
        }
        let mut trail = Trail::begin(transaction)?;
        for (recorded_in, row) in chunks {
            self.chunk(&mut trail, row, recorded_in)?;
        }
        Ok(())
    }

    /// The chunk that a certificate was recorded in, compared with its entry.
    fn chunk(
        &mut self,
        trail: &mut Trail<'_>,
        key: RowKey,
        recorded_in: u64,
    ) -> Result<&Chunk, Failure> {
        match self.chunks.entry(recorded_in) {
            Entry::Occupied(compared) => Ok(compared.into_mut()),
            Entry::Vacant(place) => {
                let found = &mut self.has_found_requests;
                Ok(place.insert(Chunk::read(trail, key, recorded_in, found)?))
            }
        }
    }

    /// The state of a certificate by the trail, and the entry that brought it there.
    fn standing(
        &mut self,
        trail: &mut Trail<'_>,
        key: RowKey,
        run: &Whole,
    ) -> Result<(Status, u64), Failure> {
        self.read_ends(trail.transaction)?;
        let sequence = match self.ended.get(key.number()) {
            Some(sequence) => Some(sequence),
            // A certificate is delivered once, so the entry need not be searched for.
            None if run.status == Status::Delivered => Some(run.changed_in),
            None => delivered_in(trail.transaction, key, run.recorded_in)?,
        };
        let Some(sequence) = sequence else {
            return Ok((Status::Undelivered, run.recorded_in));
        };
        let entry = match self.last.take() {
            Some(last) if last.sequence() == sequence => last,
            _ => trail.entry(sequence)?,
        };
        let entry = self.last.insert(entry);
        let status = entry.status().filter(|_| entry.rows().contains(key));
        Ok((status.ok_or_else(|| inconsistent(key, "state"))?, sequence))
    }

    /// Goes on to the end of the trail: by the index the first time, then over what is new.
    fn read_ends(&mut self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        const ALL: &str = "SELECT sequence, certificates FROM audit
             WHERE action IN ('certificates-voided', 'certificates-revoked')
                 AND action NOT IN ('certificates-recorded', 'certificates-delivered')
                 AND sequence > ? ORDER BY sequence";
        const NEW: &str = "SELECT sequence, certificates FROM audit
             WHERE sequence > ? AND +action IN ('certificates-voided', 'certificates-revoked')
             ORDER BY sequence";
        let head = read::audit_head(transaction)?.map_or(0, |head| head.sequence);
        let head = row::signed(head)?;
        if head == self.read_until {
            return Ok(());
        }
        let sql = if self.read_until == 0 { ALL } else { NEW };
        let mut query = transaction.prepare_cached(sql)?;
        let mut rows = query.query([self.read_until])?;
        while let Some(row) = rows.next()? {
            let sequence = row::unsigned(row.get(0)?)?;
            for (first, last) in rows_of(row)?.ranges() {
                self.ended.assign(first, last, sequence);
            }
        }
        self.read_until = head;
        Ok(())
    }
}

impl Chunk {
    /// Reads what an entry has recorded, and compares it. `has_found_requests` tells whether the requests
    /// that an upgrade found were compared.
    fn read(
        trail: &mut Trail<'_>,
        key: RowKey,
        recorded_in: u64,
        has_found_requests: &mut bool,
    ) -> Result<Self, Failure> {
        let entry = trail.entry(recorded_in)?;
        let is_recording = entry.action() == Action::CertificatesRecorded.as_str();
        if !is_recording || !entry.rows().contains(key) {
            return Err(inconsistent(key, "recording entry"));
        }
        let leaves = Leaves::read(trail.transaction, &entry)?;
        if entry.content() != Some(merkle::root(&leaves.hashes)) {
            return Err(refused(&AuditFinding::CertificatesChanged {
                sequence: recorded_in,
                rows: entry.rows().to_string(),
            }));
        }
        let binds_requests = entry.binds_requests();
        if leaves.keeps_requests && !binds_requests && !*has_found_requests {
            refuse_found_requests(trail, recorded_in)?;
            *has_found_requests = true;
        }
        Ok(Self {
            rows: entry.rows().clone(),
            binds_requests,
        })
    }
}

/// Refuses a batch that is not as the trail says; `None` for one that is not there.
pub(super) fn batch(
    transaction: &Transaction<'_>,
    name: &str,
    found: Option<&BatchRecord>,
) -> Result<(), Failure> {
    let mut trail = Trail::begin(transaction)?;
    let mut auditor = Auditor::of_part();
    let mut entries = trail.all(
        "action IN ('batch-opened', 'batch-replaced', 'batch-completed') AND subject = ?",
        [name],
    )?;
    let mut query = transaction.prepare_cached(
        "SELECT sequence FROM audit
         WHERE action = 'certificates-delivered' AND subject <> '' AND subject = ?
         ORDER BY sequence DESC LIMIT 1",
    )?;
    let mut rows = query.query([name])?;
    if let Some(row) = rows.next()? {
        entries.push(trail.entry(row::unsigned(row.get(0)?)?)?);
    }
    entries.sort_by_key(AuditEntry::sequence);
    for entry in &entries {
        auditor.replay(entry);
    }
    if let Some(record) = found {
        auditor.batch(record);
    }
    refuse_findings(auditor)
}

/// The leaves that a batch was last opened anew for, as the trail says.
pub(super) fn lost_leaves(
    transaction: &Transaction<'_>,
    batch: &Label,
) -> Result<Vec<RowKey>, Failure> {
    let mut trail = Trail::begin(transaction)?;
    let replaced = trail.all(
        "action = 'batch-replaced' AND subject = ?",
        [batch.as_str()],
    )?;
    let last = replaced.last();
    Ok(last.map_or_else(Vec::new, |entry| entry.rows().iter().collect()))
}

/// Refuses a certificate that is found by a label which it does not have.
pub(super) fn label(entry: &InventoryEntry, label: &NamedLabel) -> Result<(), InventoryError> {
    let row = entry.recorded.row();
    let what = "labels";
    if entry.recorded.labels().contains(label) {
        Ok(())
    } else {
        Err(edited(&AuditFinding::CertificateInconsistent { row, what }))
    }
}

/// Refuses what an auditor has found.
fn refuse_findings(auditor: Auditor) -> Result<(), Failure> {
    match auditor.finish().findings.first() {
        None => Ok(()),
        Some(finding) => Err(refused(finding)),
    }
}

/// The error of whoever was to act on what a finding is about.
pub(super) fn refused(finding: &AuditFinding) -> Failure {
    edited(finding).into()
}

fn edited(finding: &AuditFinding) -> InventoryError {
    let what = finding.to_string();
    InventoryError::Edited { what }
}

pub(super) fn inconsistent(row: RowKey, what: &'static str) -> Failure {
    refused(&AuditFinding::CertificateInconsistent { row, what })
}

/// Ranges with those that follow each other and have the same value joined.
fn joined(ranges: impl IntoIterator<Item = (i64, i64, u64)>) -> Vec<(i64, i64, u64)> {
    let mut joined: Vec<(i64, i64, u64)> = Vec::new();
    for (first, last, value) in ranges {
        match joined.last_mut() {
            Some(before) if before.1 + 1 == first && before.2 == value => before.1 = last,
            _ => joined.push((first, last, value)),
        }
    }
    joined
}

/// Compares what serves finding a certificate with the certificate.
fn refuse_misplaced(transaction: &Transaction<'_>, recorded: &Recorded) -> Result<(), Failure> {
    let key = recorded.row();
    let not_after: i64 = transaction
        .prepare_cached("SELECT not_after FROM certificate WHERE id = ?")?
        .query_row([key.number()], |row| row.get(0))?;
    if not_after != recorded.certificate().validity().not_after().unix_seconds() {
        return Err(inconsistent(key, "end of validity"));
    }
    for line in recorded.labels().lines() {
        let mut label = transaction.prepare_cached(
            "SELECT 1 FROM certificate_label WHERE label = ? AND certificate = ?",
        )?;
        if !label.exists((line, key.number()))? {
            return Err(inconsistent(key, "labels"));
        }
    }
    Ok(())
}

/// A certificate with its request, which is in a column.
pub(super) fn with_request(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> Result<StoredCertificate, Failure> {
    let request = row.get_ref(column)?;
    let request = request.as_blob_or_null().map_err(rusqlite::Error::from)?;
    Ok(StoredCertificate {
        request: request.map(AuditHash::of),
        ..row::stored(row)?
    })
}

/// Compares all requests from before the trail bound them with what an upgrade has found.
fn refuse_found_requests(trail: &mut Trail<'_>, recorded_in: u64) -> Result<(), Failure> {
    let bound = trail.all("action = 'inventory-bound'", [])?.pop();
    let Some(bound) = bound.filter(|bound| recorded_in < bound.sequence()) else {
        return Err(refused(&AuditFinding::RequestsChanged));
    };
    let mut query = trail.transaction.prepare_cached(
        "SELECT q.certificate, q.der FROM request q
         JOIN run r ON r.first = (SELECT max(first) FROM run WHERE first <= q.certificate)
         JOIN audit recorded ON recorded.sequence = r.recorded_in
         WHERE r.recorded_in < ? ORDER BY q.certificate",
    )?;
    let mut rows = query.query([row::signed(bound.sequence())?])?;
    let mut found = FoundRequests::default();
    while let Some(row) = rows.next()? {
        let der = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        found.add(RowKey::new(row.get(0)?), AuditHash::of(der));
    }
    if bound.content() == Some(found.finish()) {
        return Ok(());
    }
    Err(refused(&AuditFinding::RequestsChanged))
}

/// The first entry after the recording one that delivered a certificate: most often the next but one.
fn delivered_in(
    transaction: &Transaction<'_>,
    key: RowKey,
    recorded_in: u64,
) -> Result<Option<u64>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT sequence, certificates FROM audit
         WHERE sequence > ? AND +action = 'certificates-delivered' ORDER BY sequence",
    )?;
    let mut rows = query.query([row::signed(recorded_in)?])?;
    while let Some(row) = rows.next()? {
        if rows_of(row)?.contains(key) {
            return Ok(Some(row::unsigned(row.get(0)?)?));
        }
    }
    Ok(None)
}

/// The set of rows in the second column.
fn rows_of(row: &rusqlite::Row<'_>) -> Result<Rows, Failure> {
    let text: String = row.get(1)?;
    let damage = |_| InventoryError::corrupt("an audit entry has a broken set of rows");
    Ok(text.parse().map_err(damage)?)
}
