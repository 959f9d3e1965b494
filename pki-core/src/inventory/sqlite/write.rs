//! The changes, each within a transaction that its caller began and will commit.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::Failure;
use super::read::{self, audit_head};
use super::row::{self, prefixes};
use crate::ids::{AuthorityName, Generation, RegistrationId};
use crate::inventory::audit::{AuditHead, Draft, Rows};
use crate::inventory::authority::{self, States};
use crate::inventory::{
    AuthorityGeneration, CertificateState, GenerationChange, GenerationState, InventoryError,
    Label, NewCertificate, NewGeneration, RowKey, Status,
};
use crate::time::Time;

/// Appends an entry to the trail.
pub(super) fn append(transaction: &Transaction<'_>, draft: Draft) -> Result<AuditHead, Failure> {
    let entry = draft.seal(audit_head(transaction)?.as_ref());
    transaction
        .prepare_cached("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            signed(entry.sequence)?,
            entry.at.unix_seconds(),
            entry.action,
            entry.subject,
            entry.detail,
            entry.rows.to_string(),
            entry
                .content
                .as_ref()
                .map(|hash| hash.as_octets().as_slice()),
            entry.hash.as_octets().as_slice(),
        ])?;
    Ok(entry.head())
}

/// Records certificates and returns their rows in the same order.
pub(super) fn insert_chunk(
    transaction: &Transaction<'_>,
    chunk: &[NewCertificate],
    at: Time,
) -> Result<Vec<RowKey>, Failure> {
    if chunk.is_empty() {
        return Ok(Vec::new());
    }
    let first: i64 = transaction
        .prepare_cached("SELECT ifnull(max(id), 0) + 1 FROM certificate")?
        .query_row([], |row| row.get(0))?;
    let keys: Vec<RowKey> = (first..).take(chunk.len()).map(RowKey::new).collect();
    let draft = Draft::recorded(chunk, Rows::of(&keys), at);
    let sequence = signed(append(transaction, draft)?.sequence)?;
    let mut signers = Signers::default();
    let mut batches = HashMap::new();
    let mut tally = Tally::default();
    for (key, new) in keys.iter().zip(chunk) {
        let signed_by = signers.id(transaction, new.signed_by.as_ref())?;
        let batch = batch_id(transaction, &mut batches, new.batch.as_ref())?;
        insert_certificate(transaction, *key, new, signed_by, batch, sequence)?;
        tally.add(signed_by, new.role.as_str(), Status::Undelivered, 1);
    }
    insert_lookups(transaction, &keys, chunk)?;
    tally.apply(transaction)?;
    Ok(keys)
}

fn insert_certificate(
    transaction: &Transaction<'_>,
    key: RowKey,
    new: &NewCertificate,
    signed_by: Option<i64>,
    batch: Option<i64>,
    sequence: i64,
) -> Result<(), Failure> {
    transaction
        .prepare_cached("INSERT INTO certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            key.number(),
            new.role.as_str(),
            Status::Undelivered.as_str(),
            signed_by,
            new.registration_id.as_ref().map(RegistrationId::as_str),
            batch,
            new.label.as_ref().map(Label::as_str),
            new.certificate.validity().not_after().unix_seconds(),
            sequence,
            sequence,
        ])?;
    transaction
        .prepare_cached("INSERT INTO certificate_der VALUES (?, ?)")?
        .execute(params![key.number(), new.certificate.der()])?;
    Ok(())
}

/// Makes certificates findable by serial number and thumbprint, and refuses a serial number that
/// their issuer has used before. In order of the keys, which is kinder to the index.
fn insert_lookups(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    chunk: &[NewCertificate],
) -> Result<(), Failure> {
    let mut lookups: Vec<(i64, usize, bool)> = Vec::with_capacity(chunk.len() * 3);
    for (index, new) in chunk.iter().enumerate() {
        let [serial, sha1, sha256] = prefixes(&new.certificate);
        lookups.extend([
            (serial, index, true),
            (sha1, index, false),
            (sha256, index, false),
        ]);
    }
    lookups.sort_unstable();
    let mut insert =
        transaction.prepare_cached("INSERT OR IGNORE INTO lookup_recent VALUES (?, ?)")?;
    for (prefix, index, is_serial) in lookups {
        if is_serial {
            refuse_duplicate(transaction, prefix, &chunk[index])?;
        }
        insert.execute([prefix, keys[index].number()])?;
    }
    Ok(())
}

fn refuse_duplicate(
    transaction: &Transaction<'_>,
    prefix: i64,
    new: &NewCertificate,
) -> Result<(), Failure> {
    let issuer = new.certificate.parsed().tbs_certificate().issuer();
    for row in read::rows_with_prefix(transaction, prefix)? {
        let earlier = read::der(transaction, row)?;
        if earlier.serial_number() == new.certificate.serial_number()
            && earlier.parsed().tbs_certificate().issuer() == issuer
        {
            return Err(InventoryError::DuplicateSerial {
                issuer: new.certificate.issuer().to_string(),
                serial: new.certificate.serial_number().clone(),
            }
            .into());
        }
    }
    Ok(())
}

/// Merges the recent lookups into the large table once they are many: `batch` certificates, or a
/// sixteenth of those settled, so that the large table is rewritten ever more rarely.
pub(super) fn settle_lookups(transaction: &Transaction<'_>, batch: i64) -> Result<(), Failure> {
    let (settled, last): (i64, i64) = transaction
        .prepare_cached(
            "SELECT settled, (SELECT ifnull(max(id), 0) FROM certificate) FROM lookup_tier",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if last - settled < batch.max(settled / 16) {
        return Ok(());
    }
    transaction.execute_batch(
        "INSERT INTO lookup_settled SELECT * FROM lookup_recent ORDER BY prefix, certificate;
         DELETE FROM lookup_recent;",
    )?;
    transaction.execute("UPDATE lookup_tier SET settled = ?", [last])?;
    Ok(())
}

/// Gives certificates a new state, all or none.
pub(super) fn change_state(
    transaction: &Transaction<'_>,
    keys: &[RowKey],
    next: &CertificateState,
    at: Time,
) -> Result<(), Failure> {
    let rows = Rows::of(keys);
    if rows.is_empty() {
        return Ok(());
    }
    let mut tally = Tally::default();
    for (first, last) in rows.ranges() {
        check_range(transaction, first, last, next, &mut tally)?;
    }
    let draft = match next {
        CertificateState::Delivered { .. } => Draft::delivered(rows.clone(), at),
        CertificateState::Voided { reason, .. } => Draft::voided(rows.clone(), reason, at),
        CertificateState::Revoked { reason, .. } => Draft::revoked(rows.clone(), *reason, at),
        CertificateState::Undelivered => return Ok(()),
    };
    let sequence = signed(append(transaction, draft)?.sequence)?;
    let mut update = transaction.prepare_cached(
        "UPDATE certificate SET status = ?, changed_in = ? WHERE id BETWEEN ? AND ?",
    )?;
    for (first, last) in rows.ranges() {
        update.execute(params![next.status().as_str(), sequence, first, last])?;
    }
    tally.apply(transaction)
}

/// Checks that every certificate of a range may change, and tallies the change.
fn check_range(
    transaction: &Transaction<'_>,
    first: i64,
    last: i64,
    next: &CertificateState,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT id, status, role, signed_by, CASE WHEN status IN ('voided', 'revoked')
             THEN (SELECT detail FROM audit WHERE sequence = changed_in) END
         FROM certificate WHERE id BETWEEN ? AND ? ORDER BY id",
    )?;
    let mut found = query.query([first, last])?;
    for expected in first..=last {
        let key = RowKey::new(expected);
        let missing = || InventoryError::CertificateNotFound { row: key };
        let row = found.next()?.ok_or_else(missing)?;
        if row.get::<_, i64>(0)? != expected {
            return Err(missing().into());
        }
        let status = row::status(key, &row.get::<_, String>(1)?)?;
        let reason = row.get::<_, Option<String>>(4)?;
        let reason = reason.and_then(|detail| row::reason_in(&detail));
        let state = CertificateState::assemble(status, Time::FOREVER, reason.as_deref());
        if !state.is_some_and(|state| state.may_become(next)) {
            return Err(InventoryError::CertificateState {
                row: key,
                from: status,
                to: next.status(),
            }
            .into());
        }
        let (role, signed_by): (String, Option<i64>) = (row.get(2)?, row.get(3)?);
        tally.add(signed_by, &role, status, -1);
        tally.add(signed_by, &role, next.status(), 1);
    }
    Ok(())
}

/// Records a pending generation and its certificate.
pub(super) fn record_authority(
    transaction: &Transaction<'_>,
    new: &NewGeneration,
    certificate: &NewCertificate,
    at: Time,
) -> Result<RowKey, Failure> {
    // The generation first: a root's certificate names it as its signer.
    let id = insert_generation(transaction, new)?;
    let row = insert_one(transaction, certificate, at)?;
    set_certificate(transaction, id, row)?;
    append(transaction, Draft::generation_recorded(new, Some(row), at))?;
    Ok(row)
}

/// Records a pending generation without a certificate.
pub(super) fn record_request(
    transaction: &Transaction<'_>,
    new: &NewGeneration,
    at: Time,
) -> Result<(), Failure> {
    insert_generation(transaction, new)?;
    append(transaction, Draft::generation_recorded(new, None, at))?;
    Ok(())
}

/// Records the certificate of a generation that waits for one.
pub(super) fn adopt(
    transaction: &Transaction<'_>,
    generation: &AuthorityGeneration,
    certificate: &NewCertificate,
    at: Time,
) -> Result<RowKey, Failure> {
    let missing = || InventoryError::GenerationNotFound {
        generation: generation.clone(),
    };
    let stored = generations(transaction, &generation.name)?;
    let stored = stored
        .iter()
        .find(|stored| stored.state.0 == generation.generation)
        .ok_or_else(missing)?;
    if stored.state.1 != GenerationState::Pending || stored.certificate.is_some() {
        return Err(InventoryError::HasCertificate {
            generation: generation.clone(),
        }
        .into());
    }
    let row = insert_one(transaction, certificate, at)?;
    set_certificate(transaction, stored.id, row)?;
    let draft = Draft::adopted(&generation.name, generation.generation, row, at);
    append(transaction, draft)?;
    Ok(row)
}

/// Changes the states of generations, and those of the certificates that follow from them.
pub(super) fn settle_generations(
    transaction: &Transaction<'_>,
    name: &AuthorityName,
    changes: &[GenerationChange],
    at: Time,
) -> Result<(), Failure> {
    let stored = generations(transaction, name)?;
    let states: States = stored.iter().map(|stored| stored.state).collect();
    let settled = authority::settle(name, &states, changes)?;
    let mut moved: Vec<(&StoredState, GenerationState)> = stored
        .iter()
        .zip(settled)
        .map(|(stored, (_, to))| (stored, to))
        .filter(|(stored, to)| stored.state.1 != *to)
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    for (stored, to) in &moved {
        if stored.state.1 == GenerationState::Pending {
            settle_certificate(transaction, name, stored, *to, at)?;
        }
    }
    // A place must be free before it is taken: current goes before next takes it, and so on.
    moved.sort_by_key(|(_, to)| match to {
        GenerationState::Current => 1,
        GenerationState::Next => 2,
        _ => 0,
    });
    for (stored, to) in moved {
        transaction.execute(
            "UPDATE generation SET state = ? WHERE id = ?",
            params![to.as_str(), stored.id],
        )?;
    }
    append(transaction, Draft::settled(name, changes, at))?;
    Ok(())
}

/// Delivers or voids the certificate of a generation that leaves the pending state.
fn settle_certificate(
    transaction: &Transaction<'_>,
    name: &AuthorityName,
    stored: &StoredState,
    to: GenerationState,
    at: Time,
) -> Result<(), Failure> {
    let id = AuthorityGeneration {
        name: name.clone(),
        generation: stored.state.0,
    };
    let voided = to == GenerationState::Voided;
    let Some(row) = stored.certificate else {
        return match voided {
            true => Ok(()),
            false => Err(InventoryError::NoCertificate { generation: id }.into()),
        };
    };
    let next = authority::certificate_after(&id, to, at);
    let status: String = transaction.query_row(
        "SELECT status FROM certificate WHERE id = ?",
        [row.number()],
        |row| row.get(0),
    )?;
    match row::status(row, &status)? == next.status() {
        true => Ok(()),
        false => change_state(transaction, &[row], &next, at),
    }
}

fn insert_one(
    transaction: &Transaction<'_>,
    certificate: &NewCertificate,
    at: Time,
) -> Result<RowKey, Failure> {
    let rows = insert_chunk(transaction, std::slice::from_ref(certificate), at)?;
    let row = rows.first().copied();
    Ok(row.ok_or_else(|| InventoryError::corrupt("a certificate got no row"))?)
}

fn insert_generation(transaction: &Transaction<'_>, new: &NewGeneration) -> Result<i64, Failure> {
    let stored = generations(transaction, &new.authority)?;
    let states = stored.iter().map(|stored| stored.state).collect();
    authority::begin(new, &states)?;
    transaction.execute(
        "INSERT INTO generation (authority, number, subject, key_reference, state)
         VALUES (?, ?, ?, ?, ?)",
        params![
            new.authority.as_str(),
            new.generation.number(),
            new.subject.to_der(),
            new.key_reference.as_str(),
            GenerationState::Pending.as_str(),
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

fn set_certificate(transaction: &Transaction<'_>, id: i64, row: RowKey) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE generation SET certificate = ? WHERE id = ?",
        [row.number(), id],
    )?;
    Ok(())
}

/// What a change of a generation must know of it.
struct StoredState {
    id: i64,
    state: (Generation, GenerationState),
    certificate: Option<RowKey>,
}

/// The generations of an authority, oldest first.
fn generations(
    transaction: &Transaction<'_>,
    name: &AuthorityName,
) -> Result<Vec<StoredState>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT id, number, state, certificate FROM generation WHERE authority = ? ORDER BY number",
    )?;
    let mut rows = query.query([name.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let state: String = row.get(2)?;
        found.push(StoredState {
            id: row.get(0)?,
            state: (
                row::generation_number(row.get(1)?)?,
                row::generation_state(&state)?,
            ),
            certificate: row.get::<_, Option<i64>>(3)?.map(RowKey::new),
        });
    }
    Ok(found)
}

/// The row of each generation that signed a chunk, looked up once.
#[derive(Default)]
struct Signers(HashMap<AuthorityGeneration, i64>);

impl Signers {
    fn id(
        &mut self,
        transaction: &Transaction<'_>,
        signed_by: Option<&AuthorityGeneration>,
    ) -> Result<Option<i64>, Failure> {
        let Some(signed_by) = signed_by else {
            return Ok(None);
        };
        if let Some(id) = self.0.get(signed_by) {
            return Ok(Some(*id));
        }
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
        let id = id.ok_or_else(unknown)?;
        self.0.insert(signed_by.clone(), id);
        Ok(Some(id))
    }
}

fn batch_id(
    transaction: &Transaction<'_>,
    known: &mut HashMap<Label, i64>,
    batch: Option<&Label>,
) -> Result<Option<i64>, Failure> {
    let Some(batch) = batch else {
        return Ok(None);
    };
    if let Some(id) = known.get(batch) {
        return Ok(Some(*id));
    }
    transaction.execute(
        "INSERT INTO batch (name) VALUES (?) ON CONFLICT DO NOTHING",
        [batch.as_str()],
    )?;
    let id = transaction.query_row(
        "SELECT id FROM batch WHERE name = ?",
        [batch.as_str()],
        |row| row.get(0),
    )?;
    known.insert(batch.clone(), id);
    Ok(Some(id))
}

/// How a transaction changes the counters.
#[derive(Default)]
struct Tally(BTreeMap<(i64, String, Status), i64>);

impl Tally {
    fn add(&mut self, signed_by: Option<i64>, role: &str, status: Status, difference: i64) {
        let key = (signed_by.unwrap_or(0), role.to_owned(), status);
        *self.0.entry(key).or_default() += difference;
    }

    fn apply(self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let mut insert =
            transaction.prepare_cached("INSERT OR IGNORE INTO counter VALUES (?, ?, ?, 0)")?;
        let mut update = transaction.prepare_cached(
            "UPDATE counter SET certificates = certificates + ?
             WHERE signed_by = ? AND role = ? AND status = ?",
        )?;
        for ((signed_by, role, status), difference) in self.0 {
            insert.execute(params![signed_by, role, status.as_str()])?;
            update.execute(params![difference, signed_by, role, status.as_str()])?;
        }
        Ok(())
    }
}

fn signed(number: u64) -> Result<i64, Failure> {
    let damage = |_| InventoryError::corrupt(format!("{number} entries in the audit trail"));
    Ok(i64::try_from(number).map_err(damage)?)
}
