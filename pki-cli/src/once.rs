//! Values that are made when they are first asked for.

use std::sync::OnceLock;

use crate::error::CommandError;

/// The value of a cell, made at the first call. What fails is tried again at the next.
pub(crate) fn once<T>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, CommandError>,
) -> Result<&T, CommandError> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}
