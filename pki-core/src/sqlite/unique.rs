//! The one live leaf of a device and the one device of a key, decided within the transaction that records.
//!
//! IDs are looked for in their order, and from one that is not there the next look is at the first that
//! is: a new line of devices costs one look however long it is, and nothing is decoded but what is told.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::row::RUN_OF_CERTIFICATE;
use super::trust::Trusted;
use super::unknown_keys::UnknownKeys;
use super::{Failure, lookup, read, row};
use crate::ids::RegistrationId;
use crate::inventory::unique::{
    LeafFacts, keys_brought, only_leaves, refuse_holders, refuse_key_holders,
};
use crate::inventory::{Holder, KeyHolder, NewCertificate, RowKey, Uniqueness};
use crate::key::KeyIdentity;
use crate::time::Time;

/// Refuses a chunk of which a leaf breaks what it says of its device's other leaves.
pub(super) fn refuse_second_leaves(
    transaction: &Transaction<'_>,
    chunk: &[NewCertificate],
    at: Time,
) -> Result<(), Failure> {
    let leaves = only_leaves(chunk)?;
    Ok(refuse_holders(holders(transaction, &leaves, at)?)?)
}

/// The leaves that are in the way of others. `leaves` are sorted by their IDs.
pub(super) fn holders(
    transaction: &Transaction<'_>,
    leaves: &[(&RegistrationId, Uniqueness)],
    at: Time,
) -> Result<Vec<Holder>, Failure> {
    let mut next = transaction.prepare_cached(
        "SELECT id, registration_id FROM certificate WHERE registration_id >= ?
         ORDER BY registration_id LIMIT 1",
    )?;
    let mut found = Vec::new();
    let mut left = leaves;
    while let [(id, uniqueness), others @ ..] = left {
        let at_or_after = next.query_row([id.as_str()], |row| {
            Ok((RowKey::new(row.get(0)?), row.get::<_, String>(1)?))
        });
        let Some((key, known)) = at_or_after.optional()? else {
            break;
        };
        let known = row::registration_id(key, &known)?;
        if known == **id {
            found.extend(holder(transaction, id, *uniqueness, at)?);
            left = others;
        } else {
            left = &left[left.partition_point(|(id, _)| **id < known)..];
        }
    }
    Ok(found)
}

/// The newest leaf of a device that is in the way of another.
fn holder(
    transaction: &Transaction<'_>,
    id: &RegistrationId,
    uniqueness: Uniqueness,
    at: Time,
) -> Result<Option<Holder>, Failure> {
    let sql = format!(
        "SELECT c.id, r.status, c.not_after, b.name, c.der
         FROM certificate c {RUN_OF_CERTIFICATE} LEFT JOIN batch b ON b.id = r.batch
         WHERE c.registration_id = ? AND r.role = 'leaf' ORDER BY c.id DESC"
    );
    let mut query = transaction.prepare_cached(&sql)?;
    let mut rows = query.query(params![id.as_str()])?;
    while let Some(row) = rows.next()? {
        let key = RowKey::new(row.get(0)?);
        let facts = LeafFacts {
            row: key,
            status: row::status(key, &row.get::<_, String>(1)?)?,
            not_after: row::time(row, 2)?,
        };
        if !uniqueness.is_broken_by(&facts, at) {
            continue;
        }
        let der = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        return Ok(Some(Holder {
            id: id.clone(),
            row: key,
            serial_number: row::certificate(key, der)?.serial_number().clone(),
            status: facts.status,
            batch: row::batch_name(key, row.get(3)?)?,
        }));
    }
    Ok(None)
}

/// Refuses a chunk in which a device brings a key that another has, or that was compromised. Those of
/// `unknown` are not looked for.
pub(super) fn refuse_known_keys(
    transaction: &Transaction<'_>,
    unknown: &mut UnknownKeys,
    chunk: &[NewCertificate],
    at: Time,
) -> Result<(), Failure> {
    let mut keys = keys_brought(chunk)?;
    unknown.refresh(transaction)?;
    keys.retain(|(_, key)| !unknown.contain(key));
    // Comparing rows with the trail reads the chunks that they were recorded in: whoever looks beforehand
    // does it, outside of the write transaction.
    let found = key_holders(transaction, None, &keys, at)?;
    Ok(refuse_key_holders(found)?)
}

/// The leaves whose keys devices bring and may not, at most one for each. With `trusted`, those that have
/// the keys are compared with the trail.
pub(super) fn key_holders(
    transaction: &Transaction<'_>,
    mut trusted: Option<&mut Trusted>,
    keys: &[(&RegistrationId, KeyIdentity)],
    at: Time,
) -> Result<Vec<KeyHolder>, Failure> {
    let beginnings: Vec<&[u8]> = keys.iter().map(|(_, key)| &key.as_octets()[..]).collect();
    let mut candidates: Vec<(usize, RowKey)> = Vec::new();
    lookup::find_all(transaction, &beginnings, |place, row| {
        candidates.push((place, row));
    })?;
    candidates.sort_unstable();
    let mut found: Vec<KeyHolder> = Vec::new();
    for same_key in candidates.chunk_by(|one, other| one.0 == other.0) {
        for (place, row) in same_key {
            let (id, key) = &keys[*place];
            // What was looked for are seven octets.
            let Some(entry) = read::certificate(transaction, *row)? else {
                continue;
            };
            if entry.recorded.certificate().key_identity() != *key {
                continue;
            }
            if let Some(trusted) = &mut trusted {
                trusted.certificate(transaction, &entry.recorded)?;
            }
            if let Some(holder) = KeyHolder::of(id, &entry, at) {
                found.push(holder);
                break;
            }
        }
    }
    Ok(found)
}
