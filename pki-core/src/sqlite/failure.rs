//! Why a transaction was given up, and the error that says so.

use std::path::Path;

use rusqlite::ErrorCode;

use super::patience;
use crate::inventory::InventoryError;

/// Why a transaction was given up: a rule said no, or SQLite did.
#[derive(Debug)]
pub(super) enum Failure {
    Inventory(InventoryError),
    Sqlite(rusqlite::Error),
}

impl From<InventoryError> for Failure {
    fn from(error: InventoryError) -> Self {
        Self::Inventory(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(super) fn explain(failure: Failure, action: &'static str, path: &Path) -> InventoryError {
    let error = match failure {
        // SQLite reads it, and we cannot have written it.
        Failure::Inventory(InventoryError::Corrupt { what }) => {
            return InventoryError::Edited { what };
        }
        Failure::Inventory(error) => return error,
        Failure::Sqlite(
            error @ (rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)),
        ) => {
            let what = error.to_string();
            return InventoryError::Edited { what };
        }
        Failure::Sqlite(error) => error,
    };
    match error.sqlite_error_code() {
        _ if patience::is_busy(&error) => InventoryError::Locked {
            path: path.to_owned(),
        },
        Some(ErrorCode::ReadOnly) => InventoryError::WriteProtected {
            path: path.to_owned(),
        },
        Some(ErrorCode::NotADatabase) => InventoryError::NotAnInventory {
            path: path.to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => InventoryError::corrupt(error.to_string()),
        _ => InventoryError::Storage {
            action,
            place: path.display().to_string(),
            source: error.into(),
        },
    }
}
