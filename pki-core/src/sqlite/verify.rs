//! Verification: everything stored is shown to the auditor, and what serves finding is compared
//! with what it should find.
//!
//! One pass over the certificates in order. Memory does not grow with them: lookups are compared by
//! a sum over all of them.

use std::cmp::Ordering;

use rusqlite::{Row, Transaction};

use super::row::{self, AUDIT_ENTRIES, COLUMNS, JOINS, RUN_OF_CERTIFICATE};
use super::{Failure, batch, journal, lookup, read, trust};
use crate::certificate::Certificate;
use crate::inventory::audit::{
    AuditHash, AuditHead, AuditReport, Auditor, StoredCertificate, StoredGeneration,
};
use crate::inventory::{InventoryError, RowKey};
use crate::journal::subjects_of;

pub(super) fn verify_audit(
    transaction: &Transaction<'_>,
    checkpoints: &[AuditHead],
) -> Result<AuditReport, Failure> {
    let mut auditor = Auditor::new(checkpoints);
    verify_entries(transaction, &mut auditor)?;
    Certificates::default().verify(transaction, &mut auditor)?;
    match read::authorities(transaction, None) {
        Ok(authorities) => {
            for authority in &authorities {
                for record in &authority.generations {
                    let authority = &authority.name;
                    auditor.generation(&StoredGeneration { authority, record });
                }
            }
        }
        Err(failure) => report_damage(failure, &mut auditor)?,
    }
    match journal::stored_plans(transaction) {
        Ok(plans) => plans
            .iter()
            .for_each(|plan| auditor.plan(plan, subjects_of)),
        Err(failure) => report_damage(failure, &mut auditor)?,
    }
    match batch::list(transaction, None, usize::MAX) {
        Ok(batches) => batches.iter().for_each(|batch| auditor.batch(batch)),
        Err(failure) => report_damage(failure, &mut auditor)?,
    }
    match read::counts(transaction) {
        Ok(counts) => counts.into_iter().for_each(|count| auditor.counter(count)),
        Err(failure) => report_damage(failure, &mut auditor)?,
    }
    Ok(auditor.finish())
}

fn verify_entries(transaction: &Transaction<'_>, auditor: &mut Auditor) -> Result<(), Failure> {
    let mut query = transaction.prepare(&format!("{AUDIT_ENTRIES} ORDER BY sequence"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        match row::audit_entry(row) {
            Ok(entry) => auditor.entry(&entry),
            Err(failure) => report_damage(failure, auditor)?,
        }
    }
    Ok(())
}

/// What was seen of the certificates.
#[derive(Default)]
struct Certificates {
    seen: i64,
    labels: i64,
    requests: i64,
    lookups: Sum,
    /// Where the ascending serial numbers began that the last certificate was among, and its own.
    ascending: Option<(i64, Vec<u8>)>,
}

impl Certificates {
    fn verify(
        mut self,
        transaction: &Transaction<'_>,
        auditor: &mut Auditor,
    ) -> Result<(), Failure> {
        let mut query = transaction.prepare(&format!(
            "SELECT {COLUMNS}, c.not_after, s.first, s.last, s.least, s.greatest, q.der
             FROM certificate c {RUN_OF_CERTIFICATE} {JOINS}
             LEFT JOIN ascending_serials s ON s.last >= c.id
                 AND s.first = (SELECT max(first) FROM ascending_serials WHERE first <= c.id)
             LEFT JOIN request q ON q.certificate = c.id
             ORDER BY c.id"
        ))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            self.seen += 1;
            let checked = trust::with_request(row, 19).and_then(|stored| {
                self.requests += i64::from(stored.request.is_some());
                auditor.certificate(&stored);
                self.compare(transaction, row, &stored)
            });
            match checked {
                Ok(None) => {}
                Ok(Some((key, what))) => auditor.certificate_inconsistent(key, what),
                Err(failure) => report_damage(failure, auditor)?,
            }
        }
        self.finish(transaction, auditor)
    }

    /// Compares a certificate with what is kept beside it, and names what does not agree.
    fn compare(
        &mut self,
        transaction: &Transaction<'_>,
        row: &Row<'_>,
        stored: &StoredCertificate,
    ) -> Result<Option<(RowKey, &'static str)>, Failure> {
        let key = stored.recorded.row();
        let certificate = stored.recorded.certificate();
        let has_labels = self.has_labels(transaction, stored)?;
        let in_order = self.is_in_order(row, key, certificate)?;
        self.lookups.add_certificate(key, certificate);
        let not_after: i64 = row.get(14)?;
        let checks = [
            (
                "end of validity",
                not_after == certificate.validity().not_after().unix_seconds(),
            ),
            ("labels", has_labels),
            ("place by serial number", in_order),
        ];
        let wrong = checks.into_iter().find(|(_, agrees)| !agrees);
        Ok(wrong.map(|(what, _)| (key, what)))
    }

    /// Whether the certificate is found by each of its labels.
    fn has_labels(
        &mut self,
        transaction: &Transaction<'_>,
        stored: &StoredCertificate,
    ) -> Result<bool, Failure> {
        let mut query = transaction.prepare_cached(
            "SELECT 1 FROM certificate_label WHERE label = ? AND certificate = ?",
        )?;
        let row = stored.recorded.row().number();
        for line in stored.recorded.labels().lines() {
            self.labels += 1;
            if !query.exists((line, row))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a certificate among those with ascending serial numbers has its place there; any
    /// other must have a lookup.
    fn is_in_order(
        &mut self,
        row: &Row<'_>,
        key: RowKey,
        certificate: &Certificate,
    ) -> Result<bool, Failure> {
        let serial = certificate.serial_number();
        let Some(first) = row.get::<_, Option<i64>>(15)? else {
            let entry = lookup::entry(serial.as_be_octets(), key);
            self.lookups.add(&entry);
            self.ascending = None;
            return Ok(true);
        };
        let (last, least, greatest): (i64, Vec<u8>, Vec<u8>) =
            (row.get(16)?, row.get(17)?, row.get(18)?);
        let serial = row::serial_key(serial);
        let begins = match &self.ascending {
            _ if key.number() == first => serial == least,
            Some((same, before)) => *same == first && before.cmp(&serial) == Ordering::Less,
            None => false,
        };
        let ends = key.number() < last || serial == greatest;
        self.ascending = Some((first, serial));
        Ok(begins && ends)
    }

    /// Compares the totals, so that nothing hides beside what was seen.
    fn finish(self, transaction: &Transaction<'_>, auditor: &mut Auditor) -> Result<(), Failure> {
        let (certificates, in_runs, labels): (i64, i64, i64) = transaction.query_row(
            "SELECT (SELECT count(*) FROM certificate),
                    (SELECT ifnull(sum(last - first + 1), 0) FROM run),
                    (SELECT count(*) FROM certificate_label)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        if (certificates, in_runs) != (self.seen, self.seen) {
            auditor.unreadable(format!(
                "{certificates} certificates, {in_runs} in runs, but {} are whole",
                self.seen
            ));
        }
        if labels != self.labels {
            auditor.unreadable(format!("{labels} labels, but {} belong there", self.labels));
        }
        let (requests, steps, subjects, ascending): (i64, i64, i64, i64) = transaction.query_row(
            "SELECT (SELECT count(*) FROM request),
                    (SELECT count(*) FROM plan_step WHERE plan NOT IN (SELECT id FROM plan)),
                    (SELECT count(*) FROM plan_subject WHERE plan NOT IN (SELECT id FROM plan)),
                    (SELECT count(*) FROM ascending_serials s
                     WHERE first NOT IN (SELECT id FROM certificate)
                         OR last NOT IN (SELECT id FROM certificate)
                         OR EXISTS (SELECT 1 FROM ascending_serials other
                             WHERE other.first > s.first AND other.first <= s.last))",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
        if requests != self.requests {
            let belong = self.requests;
            auditor.unreadable(format!("{requests} requests, but {belong} belong there"));
        }
        if (steps, subjects) != (0, 0) {
            auditor.unreadable("the journal has steps or subjects of plans that are not there");
        }
        if ascending != 0 {
            auditor.unreadable("serial numbers ascend where they should not");
        }
        let mut stored = Sum::default();
        match lookup::for_each(transaction, |entry| stored.add(entry)) {
            Ok(()) if stored == self.lookups => Ok(()),
            Ok(()) => {
                auditor.unreadable("the lookups do not lead to all certificates");
                Ok(())
            }
            Err(failure) => report_damage(failure, auditor),
        }
    }
}

/// A sum over a set of lookups in any order, that no other set has.
#[derive(Default, PartialEq, Eq)]
struct Sum([u128; 2]);

impl Sum {
    fn add(&mut self, entry: &[u8]) {
        let hash = AuditHash::of(entry);
        let (halves, _) = hash.as_octets().as_chunks();
        for (sum, half) in self.0.iter_mut().zip(halves) {
            *sum = sum.wrapping_add(u128::from_be_bytes(*half));
        }
    }

    fn add_certificate(&mut self, key: RowKey, certificate: &Certificate) {
        let sha1 = certificate.sha1_thumbprint();
        self.add(&lookup::entry(sha1.as_octets(), key));
        let sha256 = certificate.sha256_thumbprint();
        self.add(&lookup::entry(sha256.as_octets(), key));
        let public_key = certificate.key_identity();
        self.add(&lookup::entry(public_key.as_octets(), key));
    }
}

/// Damage is what verification looks for; anything else ends it.
fn report_damage(failure: Failure, auditor: &mut Auditor) -> Result<(), Failure> {
    match failure {
        Failure::Inventory(InventoryError::Corrupt { what }) => {
            auditor.unreadable(what);
            Ok(())
        }
        Failure::Sqlite(
            error @ (rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)),
        ) => {
            auditor.unreadable(error.to_string());
            Ok(())
        }
        failure => Err(failure),
    }
}
