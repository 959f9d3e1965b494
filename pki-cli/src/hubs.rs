//! The hubs of an instance, and what is said of those that cannot be read.

use dps_operations::hubs::UnreadHub;
use pki_core::wording::{counted, fitting};

use crate::error::{CommandError, ErrorKind};

/// Says of which devices the hubs were not seen to; the rest is done.
pub(crate) fn refuse_unread(unread: &[UnreadHub]) -> Result<(), CommandError> {
    if unread.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} may still be on {}, which cannot be read",
        counted(unread.len(), "device", "devices"),
        fitting(unread.len(), "its hub", "their hubs")
    );
    Err(CommandError::new(ErrorKind::PartlyFailed, message)
        .lines(unread)
        .hint("run it again when the hub can be read: it goes on from there"))
}
