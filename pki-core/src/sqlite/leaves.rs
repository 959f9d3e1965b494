//! The certificates of an entry of the trail as they are stored, from which the root of its Merkle tree
//! follows.

use std::str::FromStr;

use rusqlite::Transaction;

use super::trust::inconsistent;
use super::{Failure, row};
use crate::ids::{AuthorityGeneration, RegistrationId, Sha256Thumbprint};
use crate::inventory::audit::{AuditEntry, AuditHash, CertificateStatement};
use crate::inventory::{Label, Labels, RowKey};
use crate::profile::Role;

/// The leaves of the Merkle tree over the certificates of an entry, as they are stored.
#[derive(Default)]
pub(super) struct Leaves {
    pub(super) hashes: Vec<AuditHash>,
    pub(super) keeps_requests: bool,
}

impl Leaves {
    pub(super) fn read(transaction: &Transaction<'_>, entry: &AuditEntry) -> Result<Self, Failure> {
        let mut leaves = Self::default();
        for (first, last) in entry.rows().ranges() {
            let mut next = first;
            for run in StoredRun::between(transaction, first, last)? {
                if run.first != next || run.recorded_in != entry.sequence() {
                    return Err(inconsistent(RowKey::new(next), "run"));
                }
                leaves.add(transaction, &run, entry.binds_requests())?;
                next = run.last + 1;
            }
            if next != last + 1 {
                return Err(inconsistent(RowKey::new(next), "run"));
            }
        }
        Ok(leaves)
    }

    /// Adds the certificates of a run. They are not parsed: what is bound of them is in columns, and the
    /// digest of their octets.
    fn add(
        &mut self,
        transaction: &Transaction<'_>,
        run: &StoredRun,
        binds_requests: bool,
    ) -> Result<(), Failure> {
        let mut query = transaction.prepare_cached(
            "SELECT c.id, c.registration_id, c.labels, c.der, q.der FROM certificate c
             LEFT JOIN request q ON q.certificate = c.id
             WHERE c.id BETWEEN ? AND ? ORDER BY c.id",
        )?;
        let mut rows = query.query([run.first, run.last])?;
        while let Some(row) = rows.next()? {
            let key = RowKey::new(row.get(0)?);
            let id: Option<String> = row.get(1)?;
            let id: Option<RegistrationId> = bound(id, key, "registration ID")?;
            let labels: Option<Labels> = bound(row.get(2)?, key, "labels")?;
            let der = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
            let request = row.get_ref(4)?;
            let request = request.as_blob_or_null().map_err(rusqlite::Error::from)?;
            self.keeps_requests |= request.is_some();
            let statement = CertificateStatement {
                thumbprint: Sha256Thumbprint::from_digest(*AuditHash::of(der).as_octets()),
                role: run.role,
                signed_by: run.signed_by.as_ref(),
                registration_id: id.as_ref(),
                batch: run.batch.as_ref(),
                labels: &labels.unwrap_or_default(),
                request: request.filter(|_| binds_requests).map(AuditHash::of),
            };
            self.hashes.push(statement.leaf_hash());
        }
        Ok(())
    }
}

/// A run as far as the statements of its certificates rest on it.
struct StoredRun {
    first: i64,
    last: i64,
    role: Role,
    signed_by: Option<AuthorityGeneration>,
    batch: Option<Label>,
    recorded_in: u64,
}

impl StoredRun {
    fn between(transaction: &Transaction<'_>, first: i64, last: i64) -> Result<Vec<Self>, Failure> {
        let mut query = transaction.prepare_cached(
            "SELECT r.first, r.last, r.role, g.authority, g.number, b.name, r.recorded_in
             FROM run r LEFT JOIN generation g ON g.id = r.signed_by
             LEFT JOIN batch b ON b.id = r.batch
             WHERE r.first BETWEEN ? AND ? ORDER BY r.first",
        )?;
        let mut rows = query.query([first, last])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let first = row.get(0)?;
            let key = RowKey::new(first);
            let role: String = row.get(2)?;
            found.push(Self {
                first,
                last: row.get(1)?,
                role: Role::from_word(&role).ok_or_else(|| inconsistent(key, "role"))?,
                signed_by: row::signed_by(row, 3)?,
                batch: bound(row.get(5)?, key, "batch")?,
                recorded_in: row::unsigned(row.get(6)?)?,
            });
        }
        Ok(found)
    }
}

/// A column that must be what was written.
fn bound<T: FromStr>(
    text: Option<String>,
    key: RowKey,
    what: &'static str,
) -> Result<Option<T>, Failure> {
    let parse = |text: String| text.parse().map_err(|_| inconsistent(key, what));
    text.map(parse).transpose()
}
