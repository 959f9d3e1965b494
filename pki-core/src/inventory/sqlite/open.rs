//! Opening the file: that it is ours, that we know its schema, how it is written.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Failure;
use crate::inventory::InventoryError;

/// "DPSP": marks the file as an inventory of ours, also for file(1).
const APPLICATION_ID: i64 = 0x4450_5350;

/// Each brings the schema from the number before it to its own, counted from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001.sql"),
    include_str!("../../../migrations/sqlite/0002.sql"),
];

/// Makes an empty file that only its owner may read, unless there is one. SQLite gives its journals
/// the mode of the database.
pub(super) fn create_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        opened => opened.map(drop),
    }
}

pub(super) fn open_file(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // Plans do not depend on what is bound, so that statements are not compiled anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    refuse_others(&connection, path)?;
    // Certificates fill a page of 8 KiB better than one of 4, and the journal has half the frames.
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -32_768)?; // KiB
    // Pages that many chunks touch are written back once for all of them; what is left at the end of a
    // run is written back while nothing else happens, so it should not be much.
    connection.pragma_update(None, "wal_autocheckpoint", 2048)?; // pages
    // A merge of large lookups leaves a large journal behind; it need not stay so.
    connection.pragma_update(None, "journal_size_limit", 128 << 20)?; // octets
    connection.set_prepared_statement_cache_capacity(64);
    migrate(&mut connection)?;
    Ok(connection)
}

/// Refuses a file that somebody else's program made.
fn refuse_others(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let application: i64 = pragma(connection, "application_id")?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == APPLICATION_ID || (application == 0 && objects == 0) {
        return Ok(());
    }
    Err(InventoryError::NotAnInventory {
        path: path.to_owned(),
    }
    .into())
}

fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if pragma(connection, "user_version")? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have been faster.
    let found = pragma(&transaction, "user_version")?;
    if found > known {
        return Err(InventoryError::SchemaTooNew { found, known }.into());
    }
    for (number, migration) in (1..).zip(MIGRATIONS) {
        if number > found {
            transaction.execute_batch(migration)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
