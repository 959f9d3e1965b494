//! Opening the file: that it is ours, that we know its schema, how it is written.
//!
//! Where it cannot be written, in a backup or on a disk of somebody else's, it is opened to be read.

use std::cmp::Ordering;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior};

use super::schema::{self, MIGRATIONS};
use super::{Failure, Patience, bound, keys, patience};
use crate::inventory::InventoryError;

/// "DPSP": marks the file as an inventory of ours, also for file(1).
const APPLICATION_ID: i64 = 0x4450_5350;

/// The schema from which on the trail binds plans and requests.
const BINDING: i64 = 3;

/// The schema from which on certificates are found by their public keys.
const KEYED: i64 = 4;

/// Makes an empty file that only its owner may read, unless there is one. SQLite gives its journals
/// the mode of the database.
#[expect(
    clippy::disallowed_methods,
    reason = "the inventory's adapter makes its file"
)]
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

/// Opens the file to be read and written or, where that cannot be, to be read.
pub(super) fn open_file(path: &Path, patience: &Patience) -> Result<Connection, Failure> {
    refuse_too_long(path)?;
    // SQLite leaves it at reading by itself if the file is write-protected.
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly(MAIN_DB)? {
        return open_to_read(path);
    }
    match begin_writing(connection, path, patience) {
        Err(Failure::Sqlite(error)) if is_write_protected(&error) => open_to_read(path),
        Err(Failure::Sqlite(error)) if has_no_room(&error) => open_without_room(path, error),
        opened => opened,
    }
}

/// SQLite follows all links, also those of `/proc/self/fd`, and then takes so many octets, of which the
/// names of its logs have a few more than the file's.
fn refuse_too_long(path: &Path) -> Result<(), Failure> {
    const MOST: usize = 512 - "-journal".len();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let octets = path.as_os_str().len();
    if octets <= MOST {
        return Ok(());
    }
    let most = MOST;
    Err(InventoryError::PathTooLong { path, octets, most }.into())
}

/// Whether the disk is full, so that what SQLite puts beside the file cannot be made.
fn has_no_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Opens a file beside which there is no room for what processes share: it is read by this one alone, which
/// keeps that in its own memory.
fn open_without_room(path: &Path, full: rusqlite::Error) -> Result<Connection, Failure> {
    if log_with_changes(path).is_none() {
        return begin_reading(connect_immutable(path)?, path);
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    begin_reading(connection, path).map_err(|failure| match failure {
        Failure::Sqlite(_) => Failure::Sqlite(full),
        failure => failure,
    })
}

fn is_write_protected(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

/// Opens a file that cannot be written, or in whose folder nothing can.
fn open_to_read(path: &Path) -> Result<Connection, Failure> {
    let Some(log) = log_with_changes(path) else {
        return begin_reading(connect_immutable(path)?, path);
    };
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match begin_reading(connection, path) {
        Err(Failure::Sqlite(error)) if is_write_protected(&error) => {
            let path = path.to_owned();
            Err(InventoryError::Unfinished { path, log }.into())
        }
        opened => opened,
    }
}

/// The log beside the file, if there is one with changes that are not in the file yet.
fn log_with_changes(path: &Path) -> Option<PathBuf> {
    let logs = ["-wal", "-journal"].map(|ending| {
        let mut log = path.as_os_str().to_owned();
        log.push(ending);
        PathBuf::from(log)
    });
    let has_content = |log: &PathBuf| log.metadata().is_ok_and(|metadata| metadata.len() > 0);
    logs.into_iter().find(has_content)
}

/// Takes the file for one that nobody changes: nothing is locked, and nothing is put beside it.
fn connect_immutable(path: &Path) -> Result<Connection, rusqlite::Error> {
    let encoded = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    let uri = format!("file:{encoded}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&uri), flags)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let mut connection =
        Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    patience::set(&mut connection)?;
    // Plans do not depend on what is bound, so that statements are not compiled anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn begin_writing(
    mut connection: Connection,
    path: &Path,
    patience: &Patience,
) -> Result<Connection, Failure> {
    if is_new(&connection, path)? {
        // Certificates fill a page of 8 KiB better than one of 4, and the journal has half the frames.
        connection.pragma_update(None, "page_size", 8192)?;
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    set_for_reading(&connection)?;
    // Pages that many chunks touch are written back once for all of them; what is left at the end of a
    // run is written back while nothing else happens, so it should not be much.
    connection.pragma_update(None, "wal_autocheckpoint", 2048)?; // pages
    // A merge of large lookups leaves a large journal behind; it need not stay so.
    connection.pragma_update(None, "journal_size_limit", 128 << 20)?; // octets
    migrate(&mut connection, path, patience)?;
    Ok(connection)
}

fn begin_reading(connection: Connection, path: &Path) -> Result<Connection, Failure> {
    is_new(&connection, path)?;
    set_for_reading(&connection)?;
    let found = pragma(&connection, "user_version")?;
    let known = schema::known();
    match found.cmp(&known) {
        Ordering::Less => Err(InventoryError::SchemaTooOld { found, known }.into()),
        Ordering::Equal => Ok(connection),
        Ordering::Greater => Err(InventoryError::SchemaTooNew { found, known }.into()),
    }
}

fn set_for_reading(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cache_size", -32_768) // KiB
}

/// Whether there is nothing in the file yet; one that somebody else's program made is refused.
fn is_new(connection: &Connection, path: &Path) -> Result<bool, Failure> {
    if pragma(connection, "application_id")? == APPLICATION_ID {
        return Ok(false);
    }
    // Both of one moment: another process may be about to begin the inventory.
    let snapshot = if connection.is_autocommit() {
        Some(connection.unchecked_transaction()?)
    } else {
        None
    };
    let application = pragma(connection, "application_id")?;
    let count = "SELECT count(*) FROM sqlite_schema";
    let objects: i64 = connection.query_row(count, [], |row| row.get(0))?;
    drop(snapshot);
    if application == APPLICATION_ID {
        return Ok(false);
    }
    if application == 0 && objects == 0 {
        return Ok(true);
    }
    Err(InventoryError::NotAnInventory {
        path: path.to_owned(),
    }
    .into())
}

fn migrate(connection: &mut Connection, path: &Path, patience: &Patience) -> Result<(), Failure> {
    let known = schema::known();
    if pragma(connection, "user_version")? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // All of it again under the lock: another process may have been faster.
    is_new(&transaction, path)?;
    let found = pragma(&transaction, "user_version")?;
    if found > known {
        return Err(InventoryError::SchemaTooNew { found, known }.into());
    }
    // A trigger of somebody else's would take part in what comes now.
    schema::refuse_changed_before(&transaction, found)?;
    for (number, migration) in (1..).zip(MIGRATIONS) {
        if number > found {
            transaction.execute_batch(migration)?;
        }
    }
    if (1..BINDING).contains(&found) {
        bound::bind(&transaction)?;
    }
    if (1..KEYED).contains(&found) {
        keys::index(&transaction, |certificates| {
            patience.tell_upgrade(path, certificates);
        })?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// Refuses what a later version has brought up to date while this one had it open.
pub(super) fn refuse_newer(connection: &Connection) -> Result<(), Failure> {
    let found = pragma(connection, "user_version")?;
    let known = schema::known();
    if found > known {
        return Err(InventoryError::SchemaTooNew { found, known }.into());
    }
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
