//! Who else can read or write what the authorities rest on: the one place for the rule.
//!
//! Whoever can write a home, its pki.toml, its inventory or a key decides what is signed, and whoever can
//! read a key needs its passphrase only. As ssh does with its keys, they are not used then, unless that is
//! asked for ([`Settings::lax_permissions`]). Of what is only readable we warn: containers mount secrets
//! with the mode 0444.
//!
//! Root and whoever runs the command may own what is used. Root trusts nobody else's files: in a container
//! whose folder belongs to a user of the host, that user decides. Under sudo it is the user who called it.
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
    /// The user who called sudo, if the command runs under it.
    pub(crate) behind_sudo: Option<u32>,
}

impl Permissions<'_> {
    /// Refuses an authority's key that others can read or write, or put another in the place of.
    pub(crate) fn check_key(&self, path: &Path) -> Result<(), CommandError> {
        if let Some(metadata) = self.metadata(path) {
            let is_readable = metadata.mode() & READ != 0;
            let mode = metadata.mode() & 0o7777;
            if is_readable && !self.is_lax {
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
            if !folder.starts_with(self.home) {
                break;
            }
            self.check_unwritable(folder)?;
        }
        self.check_unwritable(path)
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
        if !self.is_trusted(metadata.uid()) {
            let message = format!("{shown}: it belongs to another user ({})", metadata.uid());
            return Err(meant(
                CommandError::refused(message)
                    .hint(format!("make it yours: chown $(id -u) {shown}")),
            ));
        }
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

    fn is_trusted(&self, owner: u32) -> bool {
        let caller = rustix::process::geteuid();
        let is_the_callers = owner == 0 || owner == caller.as_raw();
        is_the_callers || (caller.is_root() && self.behind_sudo == Some(owner))
    }
}

fn meant(error: CommandError) -> CommandError {
    error.hint("if that is meant: --lax-permissions, or DPS_PKI_LAX_PERMISSIONS=1")
}
