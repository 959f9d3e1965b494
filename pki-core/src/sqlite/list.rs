//! Lists: from a filter to the query that an index serves.
//!
//! Nothing is sorted and nothing is skipped over for a page: the table that gives the order comes
//! first, and the others follow from its rows.

use rusqlite::types::Value;
use rusqlite::{Transaction, params_from_iter};

use super::Failure;
use super::row::{self, COLUMNS, JOINS, RUN_OF_CERTIFICATE};
use crate::ids::{AuthorityGeneration, Generation};
use crate::inventory::query::Order;
use crate::inventory::{Filter, IdPage, Page, PageKey, RowKey};
use crate::time::Time;

pub(super) fn list(
    transaction: &Transaction<'_>,
    filter: &Filter,
    after: Option<&PageKey>,
    limit: usize,
) -> Result<Page, Failure> {
    let mut found = Vec::new();
    for part in parts(transaction, filter)? {
        let (sql, values) = select(&part, after, limit);
        let mut query = transaction.prepare_cached(&sql)?;
        let mut rows = query.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            found.push(row::entry(row)?);
        }
    }
    if filter.order() == Order::Row {
        found.sort_by_key(|entry| entry.recorded.row());
    }
    Ok(Page::cut(found, limit))
}

/// The devices below a generation with a leaf that has not expired, by the columns beside it.
pub(super) fn live_ids(
    transaction: &Transaction<'_>,
    signed_by: &AuthorityGeneration,
    at: Time,
    after: Option<RowKey>,
    limit: usize,
) -> Result<IdPage, Failure> {
    let mut query = transaction.prepare_cached(
        "SELECT c.id, c.registration_id
         FROM run r CROSS JOIN certificate c ON c.id BETWEEN max(r.first, ?1 + 1) AND r.last
         WHERE r.signed_by = (SELECT id FROM generation WHERE authority = ?2 AND number = ?3)
             AND r.status = 'delivered' AND r.role = 'leaf' AND r.last > ?1
             AND c.not_after >= ?4 AND c.registration_id IS NOT NULL
         ORDER BY r.first, c.id LIMIT ?5",
    )?;
    let mut rows = query.query((
        after.map_or(0, RowKey::number),
        signed_by.name.as_str(),
        signed_by.generation.number(),
        at.unix_seconds(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    ))?;
    let mut ids = Vec::with_capacity(limit);
    let mut last = None;
    while let Some(row) = rows.next()? {
        let key = RowKey::new(row.get(0)?);
        let id = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        ids.push(row::registration_id(key, id)?);
        last = Some(key);
    }
    let next = last.filter(|_| ids.len() == limit);
    Ok(IdPage { ids, next })
}

/// How many certificates meet a filter: by runs where all of it is about runs, else one by one.
pub(super) fn count(transaction: &Transaction<'_>, filter: &Filter) -> Result<u64, Failure> {
    let conditions = Conditions::of(filter);
    let source = match (conditions.of_certificates, conditions.of_runs) {
        (false, _) => "SELECT ifnull(sum(r.last - r.first + 1), 0) FROM run r".to_owned(),
        (true, false) => "SELECT count(*) FROM certificate c".to_owned(),
        (true, true) => format!("SELECT count(*) FROM certificate c {RUN_OF_CERTIFICATE}"),
    };
    let joins = if conditions.of_runs {
        "LEFT JOIN generation g ON g.id = r.signed_by"
    } else {
        ""
    };
    let sql = format!("{source} {joins} {}", conditions.sql);
    let mut query = transaction.prepare_cached(&sql)?;
    row::unsigned(query.query_row(params_from_iter(conditions.values), |row| row.get(0))?)
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

/// The query of a list; one entry more than asked for shows whether there is a next page.
fn select(filter: &Filter, after: Option<&PageKey>, limit: usize) -> (String, Vec<Value>) {
    let mut conditions = Conditions::of(filter);
    let order = filter.order();
    let (source, by) = match order {
        Order::Row if filter.label.is_some() => (
            format!(
                "certificate_label l CROSS JOIN certificate c ON c.id = l.certificate
                 {RUN_OF_CERTIFICATE}"
            ),
            "l.certificate",
        ),
        Order::Row if conditions.of_runs => (
            "run r CROSS JOIN certificate c ON c.id BETWEEN r.first AND r.last".to_owned(),
            "r.first, c.id",
        ),
        Order::Row => (format!("certificate c {RUN_OF_CERTIFICATE}"), "c.id"),
        Order::NotAfter => (
            format!("certificate c {RUN_OF_CERTIFICATE}"),
            "c.not_after, c.id",
        ),
        Order::RegistrationId => (
            format!("certificate c {RUN_OF_CERTIFICATE}"),
            "c.registration_id, c.id",
        ),
    };
    match &filter.label {
        Some(label) if order == Order::Row => {
            conditions.add("l.label = ?", [text(label.as_str())]);
        }
        _ => {}
    }
    if let Some(after) = after {
        conditions.add_start(filter, after);
    }
    let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    conditions.values.push(most.into());
    let sql = format!(
        "SELECT {COLUMNS} FROM {source} {JOINS} {} ORDER BY {by} LIMIT ?",
        conditions.sql
    );
    (sql, conditions.values)
}

/// The WHERE clause of a list or count.
struct Conditions {
    sql: String,
    values: Vec<Value>,
    /// Whether any of them is about certificates themselves.
    of_certificates: bool,
    /// Whether any of them is about runs.
    of_runs: bool,
}

impl Conditions {
    fn of(filter: &Filter) -> Self {
        let mut conditions = Self {
            sql: "WHERE true".to_owned(),
            values: Vec::new(),
            of_certificates: false,
            of_runs: false,
        };
        conditions.add_of_runs(filter);
        conditions.of_runs = !conditions.values.is_empty();
        let before = conditions.values.len();
        conditions.add_of_certificates(filter);
        conditions.of_certificates = conditions.values.len() > before;
        conditions
    }

    fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    fn add_of_runs(&mut self, filter: &Filter) {
        let number = |generation: Generation| i64::from(generation.number()).into();
        match (&filter.authority, filter.generation) {
            (Some(name), Some(generation)) => self.add(
                "r.signed_by = (SELECT id FROM generation WHERE authority = ? AND number = ?)",
                [text(name.as_str()), number(generation)],
            ),
            (Some(name), None) => self.add("g.authority = ?", [text(name.as_str())]),
            (None, Some(generation)) => self.add("g.number = ?", [number(generation)]),
            (None, None) => {}
        }
        if let Some(status) = filter.status {
            self.add("r.status = ?", [text(status.as_str())]);
        }
        if let Some(role) = filter.role {
            self.add("r.role = ?", [text(role.as_str())]);
        }
        if let Some(batch) = &filter.batch {
            self.add(
                "r.batch = (SELECT id FROM batch WHERE name = ?)",
                [text(batch.as_str())],
            );
        }
    }

    fn add_of_certificates(&mut self, filter: &Filter) {
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
        if let Some(label) = &filter.label {
            self.add(
                "EXISTS (SELECT 1 FROM certificate_label WHERE label = ? AND certificate = c.id)",
                [text(label.as_str())],
            );
        }
    }

    fn add_start(&mut self, filter: &Filter, after: &PageKey) {
        let row = Value::from(after.row.number());
        match filter.order() {
            Order::Row if filter.label.is_some() => self.add("l.certificate > ?", [row]),
            Order::Row if self.of_runs => self.add(
                "r.first >= ifnull((SELECT max(first) FROM run WHERE first <= ?), 0) AND c.id > ?",
                [row.clone(), row],
            ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Status;
    use crate::sqlite::SqliteInventory;

    /// Ten million rows must not be sorted, nor skipped over, for a page of fifty.
    #[test]
    fn no_page_is_sorted() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("inventory.db");
        let inventory = SqliteInventory::open_or_create(&path).expect("created");
        let root = "root".parse().ok();
        let (batch, label) = (|| "batch".parse().ok(), || "order=1".parse().ok());
        let after = PageKey {
            row: RowKey::new(7),
            not_after: Time::FOREVER,
            registration_id: "line-7".to_owned(),
        };
        let empty = Filter::default;
        #[rustfmt::skip]
        let filters = [
            (Filter { status: Some(Status::Undelivered), ..empty() }, "run_status"),
            (Filter { status: Some(Status::Delivered), ..empty() }, "run_status"),
            (Filter { authority: root, generation: Generation::new(1), ..empty() }, "run_signed_by"),
            (Filter { batch: batch(), ..empty() }, "run_batch"),
            (Filter { label: label(), batch: batch(), ..empty() }, "PRIMARY KEY (label=?"),
            (Filter { expiring_before: Some(Time::FOREVER), batch: batch(), status: Some(Status::Revoked), ..empty() }, "certificate_not_after"),
            (Filter { registration_id: "line*".parse().ok(), label: label(), ..empty() }, "certificate_registration_id"),
        ];
        for (filter, index) in filters {
            for after in [None, Some(&after)] {
                let (sql, values) = select(&filter, after, 50);
                let mut query = inventory
                    .connection
                    .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                    .expect("prepared");
                let steps = query
                    .query_map(params_from_iter(values), |row| row.get(3))
                    .and_then(Iterator::collect::<Result<Vec<String>, _>>)
                    .expect("explained")
                    .join("; ");
                assert!(steps.contains(index), "{filter:?}: {steps}");
                assert!(!steps.contains("TEMP B-TREE"), "{filter:?}: {steps}");
            }
        }
    }
}
