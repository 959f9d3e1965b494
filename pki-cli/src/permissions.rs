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

use crate::error::CommandError;
use crate::files::Files;

/// The bits by which others than the owner write, and read.
const WRITE: u32 = 0o022;
const READ: u32 = 0o044;

/// The rule, for one command.
pub(crate) struct Permissions<'a> {
    pub(crate) files: &'a Files,
    /// The folder of the home.
    pub(crate) home: &'a Path,
    /// Whether it does not matter who else may read and write.
    pub(crate) is_lax: bool,
}

impl Permissions<'_> {
    /// Refuses an authority's key that others can read or write, or put another in the place of.
    pub(crate) fn check_key(&self, path: &Path) -> Result<(), CommandError> {
        self.check_unreadable(path, "this authority's key")?;
        for folder in path.ancestors().skip(1) {
            if !folder.starts_with(self.home) {
                break;
            }
            self.check_unwritable(folder)?;
        }
        self.check_unwritable(path)
    }

    /// Refuses the age identity of batches that others can read or write. Pipes are whoever's who made them.
    pub(crate) fn check_identity(&self, path: &Path) -> Result<(), CommandError> {
        let is_file = self.metadata(path).is_some_and(|found| found.is_file());
        if !is_file {
            return Ok(());
        }
        self.check_unreadable(path, "this age identity")?;
        self.check_unwritable(path)
    }

    fn check_unreadable(&self, path: &Path, what: &str) -> Result<(), CommandError> {
        let Some(metadata) = self.metadata(path) else {
            return Ok(());
        };
        if self.is_lax || metadata.mode() & READ == 0 {
            return Ok(());
        }
        let shown = path.display();
        let mode = metadata.mode() & 0o7777;
        let message = format!("{shown}: others can read {what} (mode {mode:04o})");
        let refused = CommandError::refused(message);
        Err(meant(
            refused.hint(format!("make it yours alone: chmod go= {shown}")),
        ))
    }

    /// Refuses what others can write, or somebody else owns. What is not there is nobody's.
    pub(crate) fn check_unwritable(&self, path: &Path) -> Result<(), CommandError> {
        let Some(metadata) = self.metadata(path) else {
            return Ok(());
        };
        if self.is_lax {
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
    pub(crate) fn check_owner(&self, path: &Path) -> Result<(), CommandError> {
        match self.metadata(path) {
            Some(metadata) if !self.is_lax => refuse_others(path, &metadata),
            _ => Ok(()),
        }
    }

    /// What to warn of if others can read a file with secrets.
    pub(crate) fn readable(&self, path: &Path, what: &str) -> Option<String> {
        let metadata = self.metadata(path)?;
        let is_private = metadata.mode() & READ == 0;
        if self.is_lax || is_private || !metadata.is_file() {
            return None;
        }
        let mode = metadata.mode() & 0o7777;
        let shown = path.display();
        Some(format!(
            "others can read {what} {shown} (mode {mode:04o}); make it yours alone: chmod go= {shown}"
        ))
    }

    /// Of a link what it leads to: secrets are mounted as links.
    fn metadata(&self, path: &Path) -> Option<Metadata> {
        std::fs::metadata(self.files.resolve(path)).ok()
    }
}

fn meant(error: CommandError) -> CommandError {
    error.hint("if that is meant: --lax-permissions, or DPS_PKI_LAX_PERMISSIONS=1")
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
