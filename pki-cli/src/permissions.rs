//! Who else can read or write what the authorities rest on: the one place for the rule.
//!
//! Whoever can write a home, its pki.toml, its inventory or a key decides what is signed, and whoever can
//! read a key needs its passphrase only. As ssh does with its keys, they are not used then, unless that is
//! asked for ([`Settings::lax_permissions`]). Of what is only readable we warn: containers mount secrets
//! with the mode 0444.
//!
//! Root and whoever runs the command may own what is used. Root works in nobody else's home, under sudo
//! neither: that user decides what is in it, down to the library of a token that root would load (git has
//! `safe.directory` for the same), and could not use what root leaves there.
//!
//! [`Settings::lax_permissions`]: crate::config::Settings::lax_permissions

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::context::Context;
use crate::error::CommandError;

/// The bits by which others than the owner write, and read.
const WRITE: u32 = 0o022;
const READ: u32 = 0o044;

/// Refuses an authority's key that others can read or write, or put another in the place of.
pub(crate) fn check_key(context: &Context, path: &Path) -> Result<(), CommandError> {
    if let Some(metadata) = metadata(context, path) {
        let (readable, mode) = (metadata.mode() & READ != 0, metadata.mode() & 0o7777);
        if readable && !context.settings.lax_permissions {
            let message = format!(
                "{}: others can read this authority's key (mode {mode:04o})",
                path.display()
            );
            return Err(meant(CommandError::refused(message).hint(format!(
                "make it yours alone: chmod go= {}",
                path.display()
            ))));
        }
    }
    for folder in path.ancestors().skip(1) {
        if !folder.starts_with(context.home.root()) {
            break;
        }
        check_unwritable(context, folder)?;
    }
    check_unwritable(context, path)
}

/// Refuses what others can write, or somebody else owns. What is not there is nobody's.
pub(crate) fn check_unwritable(context: &Context, path: &Path) -> Result<(), CommandError> {
    let Some(metadata) = metadata(context, path) else {
        return Ok(());
    };
    if context.settings.lax_permissions {
        return Ok(());
    }
    let shown = path.display();
    refuse_others(path, &metadata)?;
    if metadata.mode() & WRITE == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    let message = format!("{shown}: others can write it (mode {mode:04o})");
    let error = CommandError::refused(message);
    Err(meant(
        error.hint(format!("take that away: chmod go-w {shown}")),
    ))
}

/// Refuses to begin a home in a folder of somebody else's.
pub(crate) fn check_owner(context: &Context, path: &Path) -> Result<(), CommandError> {
    match metadata(context, path) {
        Some(metadata) if !context.settings.lax_permissions => refuse_others(path, &metadata),
        _ => Ok(()),
    }
}

/// Warns of a file with secrets that others can read.
pub(crate) fn warn_of_readable(context: &Context, path: &Path, what: &str) {
    let Some(metadata) = metadata(context, path) else {
        return;
    };
    let is_file = metadata.is_file();
    if is_file && metadata.mode() & READ != 0 && !context.settings.lax_permissions {
        let mode = metadata.mode() & 0o7777;
        let shown = path.display();
        context.warn_once(format!(
            "others can read {what} {shown} (mode {mode:04o}); make it yours alone: chmod go= {shown}"
        ));
    }
}

fn meant(error: CommandError) -> CommandError {
    error.hint("if that is meant: --lax-permissions, or DPS_PKI_LAX_PERMISSIONS=1")
}

/// Of a link what it leads to: secrets are mounted as links.
fn metadata(context: &Context, path: &Path) -> Option<Metadata> {
    std::fs::metadata(context.files.resolve(path)).ok()
}

/// Refuses what belongs neither to root nor to whoever runs the command.
fn refuse_others(path: &Path, metadata: &Metadata) -> Result<(), CommandError> {
    let owner = metadata.uid();
    let caller = rustix::process::geteuid();
    if owner == 0 || owner == caller.as_raw() {
        return Ok(());
    }
    let shown = path.display();
    if caller.is_root() {
        let message =
            format!("{shown}: it belongs to user {owner}, who could not use what root makes there");
        let refused = CommandError::refused(message)
            .hint(format!("work as that user: sudo -u '#{owner}' dps-pki …"))
            .hint(format!(
                "or make the whole home root's: chown -R root {shown}"
            ));
        return Err(meant(refused));
    }
    let message = format!("{shown}: it belongs to another user ({owner})");
    Err(meant(
        CommandError::refused(message).hint(format!("make it yours: chown $(id -u) {shown}")),
    ))
}
