//! The queries, each on the snapshot of a transaction.

use der::Decode as _;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Params, Transaction, params, params_from_iter};
use x509_cert::name::Name;

use super::Failure;
use super::row::{self, AUDIT_ENTRIES, CERTIFICATES};
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation, RegistrationId};
use crate::inventory::audit::{
    AuditEntry, AuditHead, AuditReport, Auditor, StoredCertificate, StoredGeneration,
};
use crate::inventory::query::Order;
use crate::inventory::{
    AuthorityRecord, Count, Filter, GenerationRecord, InventoryEntry, InventoryError, Page,
    PageKey, RowKey, Status,
};
use crate::name::DistinguishedName;
use crate::profile::Role;

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

pub(super) fn certificate(
    transaction: &Transaction<'_>,
    key: RowKey,
) -> Result<Option<InventoryEntry>, Failure> {
    let found = entries(transaction, "WHERE c.id = ?", [key.number()])?;
    Ok(found.into_iter().next())
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

/// The certificates whose serial number or thumbprint begins as `octets` do, of those that `fits`
/// accepts, newest first.
pub(super) fn lookup(
    transaction: &Transaction<'_>,
    octets: &[u8],
    fits: impl Fn(&Certificate) -> bool,
) -> Result<Vec<InventoryEntry>, Failure> {
    let mut rows = rows_with_prefix(transaction, row::prefix(octets))?;
    rows.sort_unstable_by(|left, right| right.cmp(left));
    let mut found = Vec::new();
    for row in rows {
        let entry = certificate(transaction, row)?;
        found.extend(entry.filter(|entry| fits(entry.recorded.certificate())));
    }
    Ok(found)
}

/// The certificates that a lookup entry may stand for.
pub(super) fn rows_with_prefix(
    transaction: &Transaction<'_>,
    prefix: i64,
) -> Result<Vec<RowKey>, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT certificate FROM lookup_recent WHERE prefix = ?1
         UNION ALL SELECT certificate FROM lookup_settled WHERE prefix = ?1",
    )?;
    let rows = query.query_map([prefix], |row| row.get(0).map(RowKey::new))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The certificate alone.
pub(super) fn der(transaction: &Transaction<'_>, key: RowKey) -> Result<Certificate, Failure> {
    let damage = || InventoryError::corrupt(format!("certificate {key} cannot be read"));
    let der: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT der FROM certificate_der WHERE id = ?")?
        .query_row([key.number()], |row| row.get(0))
        .optional()?;
    let der = der.ok_or_else(damage)?;
    Ok(Certificate::from_der(&der).map_err(|_| damage())?)
}

pub(super) fn list(
    transaction: &Transaction<'_>,
    filter: &Filter,
    after: Option<&PageKey>,
    limit: usize,
) -> Result<Page, Failure> {
    let mut found = Vec::new();
    for part in parts(transaction, filter)? {
        let (tail, values) = list_tail(&part, after, limit);
        found.extend(entries(transaction, &tail, params_from_iter(values))?);
    }
    if filter.order() == Order::Row {
        found.sort_by_key(|entry| entry.recorded.row());
    }
    Ok(Page::cut(found, limit))
}

/// The filters whose lists make up the list of one. A list in the order of rows has no index that
/// serves several generations of an authority at once, but one for each of them.
fn parts(transaction: &Transaction<'_>, filter: &Filter) -> Result<Vec<Filter>, Failure> {
    let (Some(name), None, Order::Row) = (&filter.authority, filter.generation, filter.order())
    else {
        return Ok(vec![filter.clone()]);
    };
    let mut query =
        transaction.prepare_cached("SELECT number FROM generation WHERE authority = ?")?;
    let mut rows = query.query([name.as_str()])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push(Filter {
            generation: Some(row::generation_number(row.get(0)?)?),
            ..filter.clone()
        });
    }
    Ok(parts)
}

/// What follows [`CERTIFICATES`] in the query of a list; one entry more than asked for shows
/// whether there is a next page.
pub(super) fn list_tail(
    filter: &Filter,
    after: Option<&PageKey>,
    limit: usize,
) -> (String, Vec<Value>) {
    let mut conditions = Conditions::default();
    conditions.add_filter(filter);
    let order = filter.order();
    if let Some(after) = after {
        conditions.add_start(order, after);
    }
    conditions
        .values
        .push(clamped(limit.saturating_add(1)).into());
    let by = match order {
        Order::Row => "c.id",
        Order::NotAfter => "c.not_after, c.id",
        Order::RegistrationId => "c.registration_id, c.id",
    };
    let tail = format!("{} ORDER BY {by} LIMIT ?", conditions.sql);
    (tail, conditions.values)
}

/// The WHERE clause of a list. A `+` before a column keeps SQLite from choosing its index where the
/// index that gives the order is the right one.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            sql: "WHERE true".to_owned(),
            values: Vec::new(),
        }
    }
}

impl Conditions {
    fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    fn add_filter(&mut self, filter: &Filter) {
        let by_row = filter.order() == Order::Row;
        let plus = if by_row { "" } else { "+" };
        self.add_signer(filter, plus);
        if let Some(status) = filter.status {
            self.add(&format!("{plus}c.status = ?"), [text(status.as_str())]);
            // SQLite proves that the partial index serves from constants only.
            if by_row && status != Status::Delivered {
                self.add("c.status <> 'delivered'", []);
            }
        }
        if let Some(role) = filter.role {
            self.add("c.role = ?", [text(role.as_str())]);
        }
        if let Some(from) = filter.expiring_from {
            self.add("c.not_after >= ?", [from.unix_seconds().into()]);
        }
        if let Some(before) = filter.expiring_before {
            self.add("c.not_after < ?", [before.unix_seconds().into()]);
        }
        if let Some(pattern) = &filter.registration_id {
            self.add("lower(c.registration_id) GLOB ?", [text(pattern.as_str())]);
            let prefix = pattern.prefix();
            if !prefix.is_empty() {
                // DEL comes after every character of an ID.
                let end = format!("{prefix}\u{7f}");
                self.add(
                    "c.registration_id >= ? AND c.registration_id < ?",
                    [text(prefix), text(&end)],
                );
            }
        }
        if let Some(batch) = &filter.batch {
            let condition = format!("{plus}c.batch = (SELECT id FROM batch WHERE name = ?)");
            self.add(&condition, [text(batch.as_str())]);
        }
        if let Some(label) = &filter.label {
            self.add(&format!("{plus}c.label = ?"), [text(label.as_str())]);
        }
    }

    fn add_signer(&mut self, filter: &Filter, plus: &str) {
        let number = |generation: Generation| i64::from(generation.number()).into();
        match (&filter.authority, filter.generation) {
            (Some(name), Some(generation)) => self.add(
                &format!(
                    "{plus}c.signed_by = (SELECT id FROM generation WHERE authority = ? AND number = ?)"
                ),
                [text(name.as_str()), number(generation)],
            ),
            (Some(name), None) => self.add("+g.authority = ?", [text(name.as_str())]),
            (None, Some(generation)) => self.add("+g.number = ?", [number(generation)]),
            (None, None) => {}
        }
    }

    fn add_start(&mut self, order: Order, after: &PageKey) {
        let row = Value::from(after.row.number());
        match order {
            Order::Row => self.add("c.id > ?", [row]),
            Order::NotAfter => self.add(
                "(c.not_after, c.id) > (?, ?)",
                [after.not_after.unix_seconds().into(), row],
            ),
            Order::RegistrationId => self.add(
                "(c.registration_id, c.id) > (?, ?)",
                [text(&after.registration_id), row],
            ),
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn entries(
    transaction: &Transaction<'_>,
    tail: &str,
    values: impl Params,
) -> Result<Vec<InventoryEntry>, Failure> {
    let mut query = transaction.prepare_cached(&format!("{CERTIFICATES} {tail}"))?;
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
        let (role, status): (String, String) = (row.get(2)?, row.get(3)?);
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

pub(super) fn verify_audit(
    transaction: &Transaction<'_>,
    checkpoints: &[AuditHead],
) -> Result<AuditReport, Failure> {
    let mut auditor = Auditor::new(checkpoints);
    verify_entries(transaction, &mut auditor)?;
    verify_certificates(transaction, &mut auditor)?;
    verify_sizes(transaction, &mut auditor)?;
    match authorities(transaction, None) {
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
    match counts(transaction) {
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

fn verify_certificates(
    transaction: &Transaction<'_>,
    auditor: &mut Auditor,
) -> Result<(), Failure> {
    let mut not_after = transaction.prepare("SELECT not_after FROM certificate WHERE id = ?")?;
    let mut query = transaction.prepare(&format!("{CERTIFICATES} ORDER BY c.id"))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let stored = match row::stored(row) {
            Ok(stored) => stored,
            Err(failure) => {
                report_damage(failure, auditor)?;
                continue;
            }
        };
        auditor.certificate(&stored);
        let key = stored.recorded.row();
        let expiry: i64 = not_after.query_row([key.number()], |row| row.get(0))?;
        let validity = stored.recorded.certificate().validity();
        if expiry != validity.not_after().unix_seconds() {
            auditor.certificate_inconsistent(key, "end of validity");
        }
        if !is_findable(transaction, &stored)? {
            auditor.certificate_inconsistent(key, "lookup entry");
        }
    }
    Ok(())
}

fn is_findable(transaction: &Transaction<'_>, stored: &StoredCertificate) -> Result<bool, Failure> {
    for prefix in row::prefixes(stored.recorded.certificate()) {
        let rows = rows_with_prefix(transaction, prefix)?;
        if !rows.contains(&stored.recorded.row()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rows that the joins do not show are counted, so that nothing hides beside them.
fn verify_sizes(transaction: &Transaction<'_>, auditor: &mut Auditor) -> Result<(), Failure> {
    let hidden: (i64, i64) = transaction.query_row(
        "SELECT (SELECT count(*) FROM certificate WHERE
                     id NOT IN (SELECT id FROM certificate_der)
                     OR recorded_in NOT IN (SELECT sequence FROM audit)
                     OR changed_in NOT IN (SELECT sequence FROM audit)),
                (SELECT count(*) FROM certificate_der WHERE id NOT IN (SELECT id FROM certificate))",
        params![],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if hidden.0 > 0 {
        auditor.unreadable(format!("{} certificates have lost a part", hidden.0));
    }
    if hidden.1 > 0 {
        auditor.unreadable(format!("{} certificates have lost their row", hidden.1));
    }
    Ok(())
}

/// Damage is what verification looks for; anything else ends it.
fn report_damage(failure: Failure, auditor: &mut Auditor) -> Result<(), Failure> {
    match failure {
        Failure::Inventory(InventoryError::Corrupt { what }) => {
            auditor.unreadable(what);
            Ok(())
        }
        Failure::Sqlite(error @ rusqlite::Error::InvalidColumnType(..)) => {
            auditor.unreadable(error.to_string());
            Ok(())
        }
        failure => Err(failure),
    }
}

fn clamped(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
