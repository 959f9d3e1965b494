//! Recording: entries of the trail and chunks of certificates, within a transaction that the caller
//! began and will commit.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::run::{self, Tally};
use super::unknown_keys::UnknownKeys;
use super::{Failure, batch, lookup, read, row, unique};
use crate::certificate::Certificate;
use crate::ids::{AuthorityGeneration, RegistrationId};
use crate::inventory::audit::{AuditHash, AuditHead, Draft, Links, Rows};
use crate::inventory::{InventoryError, Label, NewCertificate, RowKey, Status};
use crate::time::Time;

/// So many serial numbers that ascend are no accident.
const ASCENDING: usize = 16;

/// Appends an entry to the trail.
pub(super) fn append(transaction: &Transaction<'_>, draft: Draft) -> Result<AuditHead, Failure> {
    let last = read::audit_head(transaction)?;
    let sequence = last.map_or(0, |last| last.sequence) + 1;
    let earlier = match Links::earlier_than(sequence) {
        0 => AuditHash::NONE,
        earlier => read::audit_hash(transaction, earlier)?,
    };
    let entry = draft.seal(last.as_ref(), earlier);
    transaction
        .prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            row::signed(entry.sequence)?,
            entry.at.unix_seconds(),
            entry.action,
            entry.subject,
            entry.detail,
            entry.rows.to_string(),
            entry.content.as_ref().map(AuditHash::as_octets),
            entry.hash.as_octets(),
        ])?;
    Ok(entry.head())
}

/// Records certificates and returns their rows in the same order.
pub(super) fn insert_chunk(
    transaction: &Transaction<'_>,
    unknown: &mut UnknownKeys,
    chunk: &[NewCertificate],
    at: Time,
) -> Result<Vec<RowKey>, Failure> {
    if chunk.is_empty() {
        return Ok(Vec::new());
    }
    unique::refuse_second_leaves(transaction, chunk, at)?;
    unique::refuse_known_keys(transaction, unknown, chunk, at)?;
    let first: i64 = transaction
        .prepare_cached("SELECT ifnull(max(id), 0) + 1 FROM certificate")?
        .query_row([], |row| row.get(0))?;
    let keys: Vec<RowKey> = (first..).take(chunk.len()).map(RowKey::new).collect();
    let thumbprints: Vec<_> = chunk
        .iter()
        .map(|new| new.certificate.sha256_thumbprint())
        .collect();
    let draft = Draft::recorded(chunk, &thumbprints, Rows::of(&keys), at);
    let sequence = row::signed(append(transaction, draft)?.sequence)?;
    let mut key = first;
    for alike in chunk.chunk_by(is_alike) {
        let last = key + i64::try_from(alike.len()).unwrap_or(i64::MAX) - 1;
        insert_run(transaction, (key, last), &alike[0], sequence)?;
        key = last + 1;
    }
    insert_certificates(transaction, &keys, chunk)?;
    let mut lookups = Vec::with_capacity(chunk.len() * 4);
    for ((key, new), sha256) in keys.iter().zip(chunk).zip(&thumbprints) {
        let sha1 = new.certificate.sha1_thumbprint();
        lookups.push(lookup::entry(sha1.as_octets(), *key));
        lookups.push(lookup::entry(sha256.as_octets(), *key));
        let public_key = new.certificate.key_identity();
        lookups.push(lookup::entry(public_key.as_octets(), *key));
        unknown.recorded(&public_key);
    }
    if !insert_ascending(transaction, &keys, chunk)? {
        refuse_duplicates(transaction, chunk)?;
        lookups.extend(
            keys.iter().zip(chunk).map(|(key, new)| {
                lookup::entry(new.certificate.serial_number().as_be_octets(), *key)
            }),
        );
    }
    lookup::insert(transaction, lookups)?;
    Ok(keys)
}

/// Whether two certificates can be in one run.
fn is_alike(one: &NewCertificate, other: &NewCertificate) -> bool {
    one.role == other.role && one.batch == other.batch && one.signed_by == other.signed_by
}

fn insert_run(
    transaction: &Transaction<'_>,
    (first, last): (i64, i64),
    new: &NewCertificate,
    sequence: i64,
) -> Result<(), Failure> {
    let signed_by = match &new.signed_by {
        Some(signed_by) => Some(signer(transaction, signed_by)?),
        None => None,
    };
    let batch = match &new.batch {
        Some(name) => Some(open_batch(transaction, name)?),
        None => None,
    };
    let role = new.role.as_str();
    let status = Status::Undelivered;
    transaction
        .prepare_cached("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            first,
            last,
            role,
            status.as_str(),
            signed_by,
            batch,
            sequence,
            sequence
        ])?;
    let mut tally = Tally::default();
    tally.add(signed_by, role, status, last - first + 1);
    run::apply(transaction, tally)
}

/// The row of the generation that signed.
pub(super) fn signer(
    transaction: &Transaction<'_>,
    signed_by: &AuthorityGeneration,
) -> Result<i64, Failure> {
    let id = transaction
        .prepare_cached("SELECT id FROM generation WHERE authority = ? AND number = ?")?
        .query_row(
            params![signed_by.name.as_str(), signed_by.generation.number()],
            |row| row.get(0),
        )
        .optional()?;
    let unknown = || InventoryError::UnknownSigner {
        signed_by: signed_by.clone(),
    };
    Ok(id.ok_or_else(unknown)?)
}

fn open_batch(transaction: &Transaction<'_>, name: &Label) -> Result<i64, Failure> {
    let (id, record) = batch::known(transaction, name)?;
    record.refuse_complete()?;
    Ok(id)
}

fn insert_certificates(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    chunk: &[NewCertificate],
) -> Result<(), Failure> {
    let mut certificate =
        transaction.prepare_cached("INSERT INTO certificate VALUES (?, ?, ?, ?, ?)")?;
    let mut label = transaction.prepare_cached("INSERT INTO certificate_label VALUES (?, ?)")?;
    let mut request = transaction.prepare_cached("INSERT INTO request VALUES (?, ?)")?;
    for (key, new) in keys.iter().zip(chunk) {
        let labels = Some(new.labels.as_str()).filter(|labels| !labels.is_empty());
        certificate.execute(params![
            key.number(),
            new.registration_id.as_ref().map(RegistrationId::as_str),
            new.certificate.validity().not_after().unix_seconds(),
            labels,
            new.certificate.der(),
        ])?;
        for line in new.labels.lines() {
            label.execute(params![line, key.number()])?;
        }
        if let Some(der) = &new.request {
            request.execute(params![key.number(), der])?;
        }
    }
    Ok(())
}

/// Makes the certificates of a chunk findable by serial number if these ascend, all of one length,
/// and no other certificate has one between the first and the last of them: then none of them was
/// used before, and none needs a lookup of its own. Says whether that is so.
fn insert_ascending(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    chunk: &[NewCertificate],
) -> Result<bool, Failure> {
    let serial = |new: &NewCertificate| row::serial_key(new.certificate.serial_number());
    let ascends = |pair: &[NewCertificate]| {
        let [one, other] = [&pair[0], &pair[1]].map(|new| new.certificate.serial_number());
        one.as_be_octets().len() == other.as_be_octets().len() && one < other
    };
    let ([first_key, .., last_key], [first, .., last]) = (keys, chunk) else {
        return Ok(false);
    };
    if chunk.len() < ASCENDING || !chunk.windows(2).all(ascends) {
        return Ok(false);
    }
    let least = serial(first);
    let greatest = serial(last);
    let overlaps = transaction
        .prepare_cached(
            "SELECT greatest >= ?1 FROM ascending_serials WHERE least <= ?2
             ORDER BY least DESC LIMIT 1",
        )?
        .query_row([&least, &greatest], |row| row.get(0))
        .optional()?;
    let [least_octets, greatest_octets] =
        [first, last].map(|new| new.certificate.serial_number().as_be_octets());
    if overlaps == Some(true) || lookup::any_between(transaction, least_octets, greatest_octets)? {
        return Ok(false);
    }
    transaction
        .prepare_cached("INSERT INTO ascending_serials VALUES (?, ?, ?, ?)")?
        .execute(params![
            first_key.number(),
            last_key.number(),
            least,
            greatest
        ])?;
    Ok(true)
}

/// Refuses serial numbers that their issuers have used before.
fn refuse_duplicates(
    transaction: &Transaction<'_>,
    chunk: &[NewCertificate],
) -> Result<(), Failure> {
    let keyed = chunk.iter().map(|new| {
        let serial = new.certificate.serial_number();
        (serial.as_be_octets(), &new.certificate)
    });
    let mut sorted: Vec<(&[u8], &Certificate)> = keyed.collect();
    sorted.sort_unstable_by_key(|(serial, _)| *serial);
    for same in sorted.chunk_by(|one, other| one.0 == other.0) {
        for (place, (_, new)) in same.iter().enumerate() {
            same[..place]
                .iter()
                .try_for_each(|(_, earlier)| refuse_same(earlier, new))?;
        }
    }
    let serials: Vec<&[u8]> = sorted.iter().map(|(serial, _)| *serial).collect();
    let mut earlier: Vec<(usize, RowKey)> = Vec::new();
    lookup::find_all(transaction, &serials, |place, row| {
        earlier.push((place, row))
    })?;
    for (place, (_, certificate)) in sorted.iter().enumerate() {
        let ascending = read::row_in_ascending(transaction, certificate.serial_number())?;
        earlier.extend(ascending.map(|row| (place, row)));
    }
    for (place, row) in earlier {
        let new = sorted[place].1;
        // Many numbers may begin alike; only one that is the same is worth decoding.
        if read::serial_number(transaction, row)? == *new.serial_number() {
            refuse_same(&read::der(transaction, row)?, new)?;
        }
    }
    Ok(())
}

/// RFC 5280 §4.1.2.2.
fn refuse_same(earlier: &Certificate, new: &Certificate) -> Result<(), Failure> {
    if earlier.serial_number() != new.serial_number() || earlier.issuer() != new.issuer() {
        return Ok(());
    }
    Err(InventoryError::DuplicateSerial {
        issuer: new.issuer().to_string(),
        serial: new.serial_number().clone(),
    }
    .into())
}
