//! The queries, each on the snapshot of a transaction.

use std::cmp::Ordering;

use der::Decode as _;
use rusqlite::{OptionalExtension as _, Params, Transaction};
use x509_cert::name::Name;

use super::row::{self, AUDIT_ENTRIES, COLUMNS, JOINS_IF_ANY, RUN_OF_CERTIFICATE};
use super::{Failure, lookup};
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, RegistrationId, SerialNumber};
use crate::inventory::audit::{AuditEntry, AuditHash, AuditHead, EventAction};
use crate::inventory::{
    AuthorityRecord, Count, GenerationRecord, InventoryEntry, InventoryError, RowKey, Status,
};
use crate::name::DistinguishedName;
use crate::profile::Role;
use crate::time::Time;

pub(super) fn audit_head(transaction: &Transaction<'_>) -> Result<Option<AuditHead>, Failure> {
    let mut query = transaction
        .prepare_cached("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?;
    let mut rows = query.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let hash = row::hash(&row.get::<_, Vec<u8>>(1)?);
    Ok(Some(AuditHead {
        sequence: row::unsigned(row.get(0)?)?,
        hash: hash.ok_or_else(|| InventoryError::corrupt("the last audit entry has no hash"))?,
    }))
}

/// The hash of an entry that there must be.
pub(super) fn audit_hash(
    transaction: &Transaction<'_>,
    sequence: u64,
) -> Result<AuditHash, Failure> {
    let hash: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT hash FROM audit WHERE sequence = ?")?
        .query_row([row::signed(sequence)?], |row| row.get(0))
        .optional()?;
    let hash = hash.as_deref().and_then(row::hash);
    Ok(hash.ok_or_else(|| no_hash(sequence))?)
}

pub(super) fn no_hash(sequence: u64) -> InventoryError {
    InventoryError::corrupt(format!("audit entry {sequence} has no hash"))
}

pub(super) fn audit_entries(
    transaction: &Transaction<'_>,
    after: u64,
    limit: usize,
) -> Result<Vec<AuditEntry>, Failure> {
    let sql = format!("{AUDIT_ENTRIES} WHERE sequence > ? ORDER BY sequence LIMIT ?");
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query([clamped(after), clamped(limit)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(row::audit_entry(row)?);
    }
    Ok(entries)
}

pub(super) fn events(
    transaction: &Transaction<'_>,
    action: &EventAction,
    subject: &str,
) -> Result<Vec<AuditEntry>, Failure> {
    let sql = format!("{AUDIT_ENTRIES} WHERE action = ? AND subject = ? ORDER BY sequence");
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query([action.as_str(), subject])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(row::audit_entry(row)?);
    }
    Ok(entries)
}

pub(super) fn certificate(
    transaction: &Transaction<'_>,
    key: RowKey,
) -> Result<Option<InventoryEntry>, Failure> {
    let found = entries(transaction, "WHERE c.id = ?", [key.number()])?;
    Ok(found.into_iter().next())
}

/// Whether a row was given to a certificate: they are numbered without gaps and never removed, so that the
/// last run ends with the last one.
pub(super) fn is_taken(transaction: &Transaction<'_>, key: RowKey) -> Result<bool, Failure> {
    let last: Option<i64> = transaction
        .prepare_cached("SELECT last FROM run ORDER BY first DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok((1..=last.unwrap_or(0)).contains(&key.number()))
}

pub(super) fn request(
    transaction: &Transaction<'_>,
    key: RowKey,
) -> Result<Option<Vec<u8>>, Failure> {
    let found = transaction
        .prepare_cached("SELECT der FROM request WHERE certificate = ?")?
        .query_row([key.number()], |row| row.get(0));
    Ok(found.optional()?)
}

pub(super) fn certificates_of(
    transaction: &Transaction<'_>,
    id: &RegistrationId,
) -> Result<Vec<InventoryEntry>, Failure> {
    entries(
        transaction,
        "WHERE c.registration_id = ? ORDER BY c.id DESC",
        [id.as_str()],
    )
}

/// Those of some registration IDs that have a live leaf.
pub(super) fn find_ids(
    transaction: &Transaction<'_>,
    ids: &[RegistrationId],
    at: Time,
) -> Result<Vec<RegistrationId>, Failure> {
    let (Some(least), Some(greatest)) = (ids.iter().min(), ids.iter().max()) else {
        return Ok(Vec::new());
    };
    if !any_id_between(transaction, least, greatest)? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT c.id, c.der FROM certificate c {RUN_OF_CERTIFICATE}
         WHERE c.registration_id = ? AND c.not_after >= ?
             AND r.role = 'leaf' AND r.status = 'delivered'"
    );
    let mut query = transaction.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for id in ids {
        let mut rows = query.query((id.as_str(), at.unix_seconds()))?;
        while let Some(row) = rows.next()? {
            let der = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let certificate = row::certificate(RowKey::new(row.get(0)?), der)?;
            if certificate.validity().contains(at) {
                found.push(id.clone());
                break;
            }
        }
    }
    Ok(found)
}

pub(super) fn any_id_between(
    transaction: &Transaction<'_>,
    least: &RegistrationId,
    greatest: &RegistrationId,
) -> Result<bool, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT 1 FROM certificate WHERE registration_id BETWEEN ? AND ? LIMIT 1",
    )?;
    Ok(query.exists((least.as_str(), greatest.as_str()))?)
}

/// The certificates with a serial number, newest first.
pub(super) fn by_serial_number(
    transaction: &Transaction<'_>,
    serial: &SerialNumber,
) -> Result<Vec<InventoryEntry>, Failure> {
    let mut rows = lookup::find(transaction, serial.as_be_octets())?;
    rows.extend(row_in_ascending(transaction, serial)?);
    fitting(transaction, rows, |certificate| {
        certificate.serial_number() == serial
    })
}

/// The certificates whose thumbprint begins as `octets` do, of those that `fits` accepts, newest
/// first.
pub(super) fn by_thumbprint(
    transaction: &Transaction<'_>,
    octets: &[u8],
    fits: impl Fn(&Certificate) -> bool,
) -> Result<Vec<InventoryEntry>, Failure> {
    fitting(transaction, lookup::find(transaction, octets)?, fits)
}

fn fitting(
    transaction: &Transaction<'_>,
    mut rows: Vec<RowKey>,
    fits: impl Fn(&Certificate) -> bool,
) -> Result<Vec<InventoryEntry>, Failure> {
    rows.sort_unstable_by(|left, right| right.cmp(left));
    let mut found = Vec::new();
    for row in rows {
        let entry = certificate(transaction, row)?;
        found.extend(entry.filter(|entry| fits(entry.recorded.certificate())));
    }
    Ok(found)
}

/// The certificate with a serial number among those that were recorded with ascending ones.
pub(super) fn row_in_ascending(
    transaction: &Transaction<'_>,
    serial: &SerialNumber,
) -> Result<Option<RowKey>, Failure> {
    let key = row::serial_key(serial);
    let range: Option<(i64, i64, bool)> = transaction
        .prepare_cached(
            "SELECT first, last, greatest >= ?1 FROM ascending_serials WHERE least <= ?1
             ORDER BY least DESC LIMIT 1",
        )?
        .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((mut first, mut last, true)) = range else {
        return Ok(None);
    };
    while first <= last {
        let middle = RowKey::new(first.midpoint(last));
        let found = serial_number(transaction, middle)?;
        match row::serial_key(&found).cmp(&key) {
            Ordering::Less => first = middle.number() + 1,
            Ordering::Equal => return Ok(Some(middle)),
            Ordering::Greater => last = middle.number() - 1,
        }
    }
    Ok(None)
}

/// The serial number of a certificate, of which nothing else is decoded.
pub(super) fn serial_number(
    transaction: &Transaction<'_>,
    key: RowKey,
) -> Result<SerialNumber, Failure> {
    let mut query = transaction.prepare_cached("SELECT der FROM certificate WHERE id = ?")?;
    let mut rows = query.query([key.number()])?;
    let missing = || InventoryError::corrupt(format!("certificate {key} is missing"));
    let row = rows.next()?.ok_or_else(missing)?;
    let der = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    row::serial_number(key, der)
}

/// The certificate alone.
pub(super) fn der(transaction: &Transaction<'_>, key: RowKey) -> Result<Certificate, Failure> {
    let der: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT der FROM certificate WHERE id = ?")?
        .query_row([key.number()], |row| row.get(0))
        .optional()?;
    let missing = || InventoryError::corrupt(format!("certificate {key} is missing"));
    row::certificate(key, &der.ok_or_else(missing)?)
}

fn entries(
    transaction: &Transaction<'_>,
    tail: &str,
    values: impl Params,
) -> Result<Vec<InventoryEntry>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM certificate c {JOINS_IF_ANY} {tail}");
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row::entry(row)?);
    }
    Ok(found)
}

/// The authorities by name, or the one that is named.
pub(super) fn authorities(
    transaction: &Transaction<'_>,
    name: Option<&AuthorityName>,
) -> Result<Vec<AuthorityRecord>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT authority, number, subject, key_reference, state, certificate FROM generation
         WHERE ?1 IS NULL OR authority = ?1 ORDER BY authority, number",
    )?;
    let mut rows = query.query([name.map(AuthorityName::as_str)])?;
    let mut found: Vec<AuthorityRecord> = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(id) = row::signed_by(row, 0)? else {
            continue;
        };
        let record = generation(transaction, row)?;
        match found.last_mut() {
            Some(authority) if authority.name == id.name => authority.generations.push(record),
            _ => found.push(AuthorityRecord {
                name: id.name,
                generations: vec![record],
            }),
        }
    }
    Ok(found)
}

fn generation(
    transaction: &Transaction<'_>,
    row: &rusqlite::Row<'_>,
) -> Result<GenerationRecord, Failure> {
    let subject = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    let subject = Name::from_der(subject)
        .map(DistinguishedName::from_name)
        .map_err(|_| InventoryError::corrupt("the subject of a generation cannot be read"))?;
    let key_reference: String = row.get(3)?;
    let key_reference = key_reference
        .parse()
        .map_err(|_| InventoryError::corrupt("the key reference of a generation is broken"))?;
    let certificate = match row.get::<_, Option<i64>>(5)? {
        Some(key) => certificate(transaction, RowKey::new(key))?.map(|entry| entry.recorded),
        None => None,
    };
    Ok(GenerationRecord {
        generation: row::generation_number(row.get(1)?)?,
        subject,
        key_reference,
        state: row::generation_state(&row.get::<_, String>(4)?)?,
        certificate,
    })
}

pub(super) fn counts(transaction: &Transaction<'_>) -> Result<Vec<Count>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT g.authority, g.number, role, status, certificates
         FROM counter LEFT JOIN generation g ON g.id = counter.signed_by",
    )?;
    let mut rows = query.query([])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        let role: String = row.get(2)?;
        let status: String = row.get(3)?;
        let damage = || InventoryError::corrupt(format!("counter of {role:?} that are {status:?}"));
        counts.push(Count {
            signed_by: row::signed_by(row, 0)?,
            role: Role::from_word(&role).ok_or_else(damage)?,
            status: Status::from_word(&status).ok_or_else(damage)?,
            certificates: row::unsigned(row.get(4)?)?,
        });
    }
    Ok(counts)
}

fn clamped(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
