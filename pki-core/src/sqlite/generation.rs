//! Changes of authorities: generations are recorded, get their certificates, and change their states.

use rusqlite::{Transaction, params};

use super::unknown_keys::UnknownKeys;
use super::write::{append, insert_chunk};
use super::{Failure, row, run};
use crate::ids::{AuthorityGeneration, AuthorityName, Generation};
use crate::inventory::audit::Draft;
use crate::inventory::authority::{self, States};
use crate::inventory::{
    GenerationChange, GenerationState, InventoryError, NewCertificate, NewGeneration, RowKey,
};
use crate::time::Time;

/// Records a pending generation and its certificate.
pub(super) fn record_authority(
    transaction: &Transaction<'_>,
    unknown: &mut UnknownKeys,
    new: &NewGeneration,
    certificate: &NewCertificate,
    at: Time,
) -> Result<RowKey, Failure> {
    // The generation first: a root's certificate names it as its signer.
    let id = insert_generation(transaction, new)?;
    let row = insert_one(transaction, unknown, certificate, at)?;
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
    unknown: &mut UnknownKeys,
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
    let row = insert_one(transaction, unknown, certificate, at)?;
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
        return if voided {
            Ok(())
        } else {
            Err(InventoryError::NoCertificate { generation: id }.into())
        };
    };
    let next = authority::certificate_after(&id, to, at);
    if run::status_of(transaction, row)? == Some(next.status()) {
        Ok(())
    } else {
        run::change_state(transaction, &[row], &next, at)
    }
}

fn insert_one(
    transaction: &Transaction<'_>,
    unknown: &mut UnknownKeys,
    certificate: &NewCertificate,
    at: Time,
) -> Result<RowKey, Failure> {
    let rows = insert_chunk(transaction, unknown, std::slice::from_ref(certificate), at)?;
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
