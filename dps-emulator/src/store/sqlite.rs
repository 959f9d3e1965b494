//! State in one SQLite file.
//!
//! Write-ahead log with `synchronous=NORMAL`: what was kept survives the death of the process at any
//! instant (it is with the operating system), at the price of no disk flush for each request. A power
//! cut may cost the last writes, never the file: it is an emulator's.
//! The file holds keys, so it is readable by its owner only; one process uses it at a time.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};

use crate::own_file::{self, Privacy};

use super::keeper::{Changes, Keeper, RecordKey, Row, StateError};

/// The version of the schema, in `user_version`.
pub(crate) const VERSION: i32 = 1;

/// Says in the file's header whose it is (`dpse`).
const APPLICATION_ID: i32 = 0x6470_7365;

const SCHEMA: &str = "CREATE TABLE record (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID";

/// A file with an instance's records.
pub(crate) struct SqliteKeeper {
    connection: Connection,
    path: PathBuf,
}

impl SqliteKeeper {
    /// Opens a file, or begins one.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        create(path).map_err(|source| StateError::Open {
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| failure(path, source);
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE; COMMIT",
            )
            .map_err(failed)?;
        let keeper = Self {
            connection,
            path: path.to_owned(),
        };
        keeper.check_or_begin()?;
        Ok(keeper)
    }

    fn check_or_begin(&self) -> Result<(), StateError> {
        let failed = |source| failure(&self.path, source);
        if self.is_empty().map_err(failed)? {
            return self.begin().map_err(failed);
        }
        let path = self.path.clone();
        if self.pragma("application_id").map_err(failed)? != APPLICATION_ID {
            return Err(StateError::Foreign { path });
        }
        match self.pragma("user_version").map_err(failed)? {
            VERSION => Ok(()),
            version => Err(StateError::Version { path, version }),
        }
    }

    fn is_empty(&self) -> rusqlite::Result<bool> {
        let query = "SELECT count(*) = 0 FROM sqlite_schema";
        self.connection.query_row(query, [], |row| row.get(0))
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch(&format!(
            "BEGIN; {SCHEMA}; PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {VERSION}; COMMIT"
        ))
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<i32> {
        self.connection
            .pragma_query_value(None, name, |row| row.get(0))
    }

    fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        let query = "SELECT space, key, value FROM record ORDER BY space, key";
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                space: row.get(0)?,
                key: row.get(1)?,
                value: row.get(2)?,
            })
        })?;
        rows.collect()
    }

    fn write(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO record (space, key, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
            )?;
            let mut forget =
                transaction.prepare_cached("DELETE FROM record WHERE space = ?1 AND key = ?2")?;
            for (RecordKey { space, key }, value) in changes {
                match value {
                    Some(value) => put.execute(params![space, key, value])?,
                    None => forget.execute(params![space, key])?,
                };
            }
        }
        transaction.commit()
    }
}

impl Keeper for SqliteKeeper {
    fn load(&mut self) -> Result<Vec<Row>, StateError> {
        self.rows().map_err(|source| failure(&self.path, source))
    }

    fn keep(&mut self, changes: &Changes) -> Result<(), StateError> {
        self.write(changes)
            .map_err(|source| failure(&self.path, source))
    }
}

/// Makes the file readable by its owner only, before SQLite writes to it.
fn create(path: &Path) -> io::Result<()> {
    own_file::open(path, Privacy::Secret).map(drop)
}

fn failure(path: &Path, source: rusqlite::Error) -> StateError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StateError::Foreign { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateError::InUse { path },
        _ => StateError::Database { path, source },
    }
}
