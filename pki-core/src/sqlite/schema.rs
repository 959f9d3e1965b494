//! The schema as the migrations make it: tables, indexes and triggers, and nothing beside them.
//!
//! A trigger that somebody added would change what this program writes while it writes it, and the trail
//! would be written to match; so nothing is read or written where the schema is another one. What
//! `ANALYZE` leaves (`sqlite_stat1`) only helps to find rows, and is let be.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::Failure;
use crate::inventory::InventoryError;
use crate::inventory::audit::AuditHash;

/// Each brings the schema from the number before it to its own, counted from 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001.sql"),
    include_str!("../../migrations/sqlite/0002.sql"),
    include_str!("../../migrations/sqlite/0003.sql"),
    include_str!("../../migrations/sqlite/0004.sql"),
];

/// The schema that the migrations lead to.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

const OBJECTS: &str =
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat[0-9]'";

/// By kind and name: the table that it is of, and the SQL that made it.
type Objects = BTreeMap<(String, String), (String, Option<String>)>;

/// The newest schema by [`digest`]: every command compares it, and making the schema anew to do so would take
/// longer than all else that a short one does with the inventory.
const NEWEST: &str = "91fb8caa03347d6a2f3d9040b6519128ee8e4972b6d44e595fef50c8eced96d9";

/// The number that grows with each change to the schema of a file.
pub(super) fn number(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let mut query = connection.prepare_cached("PRAGMA schema_version")?;
    query.query_row([], |row| row.get(0))
}

/// Refuses a schema that is not the newest one.
pub(super) fn refuse_changed(connection: &Connection) -> Result<(), Failure> {
    if digest(connection)? == NEWEST {
        return Ok(());
    }
    // Made anew only to say what differs.
    compare(&after(MIGRATIONS)?, &objects(connection)?)
}

/// SHA-256 of all objects by kind and name, in hex.
fn digest(connection: &Connection) -> Result<String, rusqlite::Error> {
    let mut query = connection.prepare(&format!("{OBJECTS} ORDER BY type, name"))?;
    let mut rows = query.query([])?;
    let mut message = Vec::new();
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            let field = row.get_ref(column)?.as_str_or_null()?;
            message.extend(field.unwrap_or_default().as_bytes());
            // No SQL has one.
            message.push(0);
        }
    }
    Ok(AuditHash::of(&message).to_string())
}

/// Refuses a schema that is not the one after the migrations up to a number.
pub(super) fn refuse_changed_before(connection: &Connection, number: i64) -> Result<(), Failure> {
    let count = usize::try_from(number).unwrap_or(usize::MAX);
    let made = after(MIGRATIONS.get(..count).unwrap_or(MIGRATIONS))?;
    compare(&made, &objects(connection)?)
}

fn after(migrations: &[&str]) -> Result<Objects, rusqlite::Error> {
    let connection = Connection::open_in_memory()?;
    for migration in migrations {
        connection.execute_batch(migration)?;
    }
    objects(&connection)
}

fn objects(connection: &Connection) -> Result<Objects, rusqlite::Error> {
    let mut query = connection.prepare(OBJECTS)?;
    let found = query.query_map([], |row| {
        let place = (row.get(0)?, row.get(1)?);
        let made = (row.get(2)?, row.get(3)?);
        Ok((place, made))
    })?;
    found.collect()
}

fn compare(expected: &Objects, found: &Objects) -> Result<(), Failure> {
    let missing = expected.keys().find(|place| !found.contains_key(*place));
    let what = if let Some((kind, name)) = missing {
        format!("its {kind} {name} was removed")
    } else {
        let another = found
            .iter()
            .find(|(place, made)| expected.get(*place) != Some(*made));
        let Some(((kind, name), _)) = another else {
            return Ok(());
        };
        format!("its {kind} {name} is not one of ours")
    };
    Err(InventoryError::Edited { what }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest() -> Connection {
        let connection = Connection::open_in_memory().expect("opened");
        for migration in MIGRATIONS {
            connection.execute_batch(migration).expect("migrated");
        }
        connection
    }

    #[test]
    fn the_digest_is_that_of_the_migrations() {
        assert_eq!(digest(&newest()).expect("read"), NEWEST);
    }

    #[test]
    fn the_schema_is_ours_and_may_be_analyzed() {
        let connection = newest();
        refuse_changed(&connection).expect("ours");
        connection
            .execute_batch("INSERT INTO counter VALUES (0, 'leaf', 'voided', 0); ANALYZE")
            .expect("analyzed");
        refuse_changed(&connection).expect("ours");
    }

    #[test]
    fn every_other_schema_is_refused() {
        for sql in [
            "CREATE TRIGGER t AFTER INSERT ON run BEGIN UPDATE run SET status = 'delivered'; END",
            "DROP TRIGGER plan_is_never_removed",
            "DROP INDEX generation_state",
            "CREATE TABLE mine (id)",
            "CREATE VIEW mine AS SELECT * FROM run",
            "CREATE UNIQUE INDEX mine ON run (last)",
            "ALTER TABLE plan ADD COLUMN more TEXT",
            "DROP TRIGGER plan_is_never_removed;
             CREATE TRIGGER plan_is_never_removed BEFORE DELETE ON plan BEGIN SELECT 1; END",
        ] {
            let connection = newest();
            connection.execute_batch(sql).expect(sql);
            let refused = refuse_changed(&connection);
            assert!(
                matches!(
                    refused,
                    Err(Failure::Inventory(InventoryError::Edited { .. }))
                ),
                "{sql}"
            );
        }
    }
}
