//! The one rule for every output that a command is told to write.
//!
//! What is not there is made. A file that holds the same already is left. Any other file is replaced
//! only with `--force`. A file of a home is never written, whatever its name is spelled like, and one that
//! a home or the command reads (a passphrase, a token, a PIN, a trust anchor) is never replaced.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use pki_core::declaration::Declaration;

use super::{Access, Existing, Files, NewFile, cannot};
use crate::error::CommandError;

/// What a home holds that no command is told to write.
const DECLARATION: &str = "pki.toml";
const INVENTORY: &str = "inventory.db";
const AUTHORITIES: &str = "authorities";
const LOCKS: &str = "locks";

impl Files {
    /// Refuses a place for an output where it would not be written: before anything is done that cannot
    /// be undone.
    ///
    /// # Errors
    /// `Refused` if a file is there that is not to be replaced, or the place is a home's own.
    pub fn check_output(&self, path: &Path) -> Result<(), CommandError> {
        self.keep_off_homes(path)?;
        self.check_free(path)
    }

    /// Refuses a place for a new folder where something is: it takes the place of nothing.
    ///
    /// # Errors
    /// `Refused`.
    pub(crate) fn check_new_folder(&self, path: &Path) -> Result<(), CommandError> {
        if !self.exists(path) {
            return Ok(());
        }
        let message = format!("{} exists already", path.display());
        Err(CommandError::refused(message)
            .hint("a folder takes the place of nothing: move it away, or choose another place"))
    }

    /// Refuses a place for an output that is a home's own, and nothing else.
    ///
    /// # Errors
    /// `Refused`.
    pub fn keep_off_homes(&self, path: &Path) -> Result<(), CommandError> {
        match self.is_of_home(path) {
            Err(error) => Err(cannot("write", path, error)),
            Ok(false) => Ok(()),
            Ok(true) => {
                let path = path.display();
                let message = format!("{path} is a file of a home, which no output may replace");
                Err(CommandError::refused(message).hint("choose another place"))
            }
        }
    }

    /// Writes an output, by the rule.
    ///
    /// # Errors
    /// As [`Self::check_output`]; `Failed` if the system does not let it be written.
    pub fn write_output(
        &self,
        path: &Path,
        content: &[u8],
        access: Access,
    ) -> Result<(), CommandError> {
        self.write_outputs(&[NewFile {
            path: path.to_owned(),
            content,
            access,
        }])
    }

    /// Writes outputs that belong together, by the rule: none if one is refused.
    ///
    /// # Errors
    /// As [`Self::write_output`].
    pub fn write_outputs(&self, files: &[NewFile<'_>]) -> Result<(), CommandError> {
        let mut wanted = Vec::with_capacity(files.len());
        for file in files {
            self.keep_off_homes(&file.path)?;
            if !self.holds_the_same(file) {
                self.check_free(&file.path)?;
                wanted.push(NewFile {
                    path: file.path.clone(),
                    ..*file
                });
            }
        }
        self.write_all(&wanted, self.existing())
    }

    /// Writes an output that each run writes anew: what `is_generated` knows as an earlier one of the
    /// same kind is replaced without being asked for.
    ///
    /// # Errors
    /// As [`Self::write_output`].
    pub fn write_generated(
        &self,
        path: &Path,
        content: &[u8],
        access: Access,
        is_generated: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), CommandError> {
        if !self.was_generated(path, is_generated) {
            return self.write_output(path, content, access);
        }
        self.keep_off_homes(path)?;
        self.write(path, content, access, Existing::Replace)
    }

    /// As [`Self::check_output`] for [`Self::write_generated`].
    ///
    /// # Errors
    /// As [`Self::check_output`].
    pub fn check_generated(
        &self,
        path: &Path,
        is_generated: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), CommandError> {
        if self.was_generated(path, is_generated) {
            self.keep_off_homes(path)
        } else {
            self.check_output(path)
        }
    }

    /// Whether outputs take the place of files that are there.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    fn existing(&self) -> Existing {
        if self.replaces {
            Existing::Replace
        } else {
            Existing::Keep
        }
    }

    fn check_free(&self, path: &Path) -> Result<(), CommandError> {
        let resolved = self.resolve(path);
        let Ok(metadata) = fs::symlink_metadata(&resolved) else {
            return Ok(());
        };
        // What a link leads to is not touched, only the link; but whoever names /dev/stdout means a stream.
        let leads_to = fs::metadata(&resolved).unwrap_or_else(|_| metadata.clone());
        let is_replaceable = metadata.is_file() || metadata.is_symlink();
        if !is_replaceable || !(leads_to.is_file() || leads_to.is_symlink()) {
            let message = format!("{} exists already, and is no file", path.display());
            return Err(CommandError::refused(message)
                .hint("only a file can be replaced; choose another place"));
        }
        if !self.replaces {
            return Err(already_there(path));
        }
        if self.is_read(&resolved) {
            let path = path.display();
            let message = format!(
                "{path} is a file that pki.toml or this command reads, and no output may replace it"
            );
            return Err(CommandError::refused(message).hint("choose another place"));
        }
        Ok(())
    }

    /// Whether a path is below a folder, however the two are spelled.
    pub(crate) fn is_below(&self, path: &Path, folder: &Path) -> bool {
        let path = canonical(&self.resolve(path));
        let folder = canonical(&self.resolve(folder));
        path.ok()
            .zip(folder.ok())
            .is_some_and(|(path, folder)| path.starts_with(folder))
    }

    /// Whether a file is one that the command was told to read a secret from, or that a home names, under
    /// whatever name. Of a link both count, the link and what it leads to.
    fn is_read(&self, resolved: &Path) -> bool {
        let full = canonical(resolved).unwrap_or_else(|_| resolved.to_owned());
        let mut read: Vec<PathBuf> = self.read_by_command.clone();
        for places in self.homes_of(&full).iter() {
            read.extend(self.named_by(&places.home));
        }
        let found = fs::metadata(&full).ok().map(|found| identity(&found));
        read.iter().any(|read| {
            let other = fs::metadata(read).ok().map(|other| identity(&other));
            // Only what is not there, or leads nowhere, is known by its name alone.
            found == other && (found.is_some() || canonical(read).is_ok_and(|read| read == full))
        })
    }

    fn named_by(&self, home: &Path) -> Vec<PathBuf> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let files = named.entry(home.to_owned());
        files.or_insert_with_key(|home| named_by(home)).clone()
    }

    /// The command's home, and every home that a path lies in.
    fn homes_of(&self, full: &Path) -> Arc<[HomePlaces]> {
        let folder = full.parent().unwrap_or(full);
        let mut known = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let homes = known.entry(folder.to_owned());
        Arc::clone(homes.or_insert_with_key(|folder| {
            let own_home = self.home.iter().filter_map(|home| canonical(home).ok());
            let elsewhere = own_home.filter(|home| !folder.starts_with(home));
            let around = folder.ancestors().map(Path::to_owned);
            let homes = elsewhere.chain(around).filter(|home| is_home(home));
            homes.map(HomePlaces::of).collect()
        }))
    }

    fn was_generated(&self, path: &Path, is_generated: impl FnOnce(&[u8]) -> bool) -> bool {
        let is_file = fs::symlink_metadata(self.resolve(path)).is_ok_and(|found| found.is_file());
        is_file && self.read(path).is_ok_and(|content| is_generated(&content))
    }

    /// Whether a file holds what is to be written, and nobody reads it that may not.
    fn holds_the_same(&self, file: &NewFile<'_>) -> bool {
        let Ok(metadata) = fs::symlink_metadata(self.resolve(&file.path)) else {
            return false;
        };
        let is_as_long = u64::try_from(file.content.len()).is_ok_and(|long| long == metadata.len());
        let is_open = metadata.permissions().mode() & 0o077 != 0;
        metadata.is_file()
            && is_as_long
            && !(is_open && file.access == Access::Secret)
            && self
                .read(&file.path)
                .is_ok_and(|content| **content == *file.content)
    }

    /// Whether a path is a home's own file, by its place or as the same file under another name.
    fn is_of_home(&self, path: &Path) -> io::Result<bool> {
        let full = canonical(&self.resolve(path))?;
        let homes = self.homes_of(&full);
        if homes.iter().any(|places| places.hold(&full)) {
            return Ok(true);
        }
        let Ok(metadata) = fs::metadata(&full) else {
            return Ok(false);
        };
        Ok(homes.iter().any(|places| places.include(&metadata)))
    }
}

/// The refusal of a place where something is that is to be kept.
pub(crate) fn already_there(path: &Path) -> CommandError {
    CommandError::refused(format!("{} exists already", path.display()))
        .hint("move it away, choose another place, or replace it with --force")
}

/// The files that the declaration of a home names. One that cannot be read names none.
fn named_by(home: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(home.join(DECLARATION)).unwrap_or_default();
    let Ok(declaration) = Declaration::parse(&text) else {
        return Vec::new();
    };
    let named = declaration.named_files();
    named.into_iter().map(|file| home.join(file)).collect()
}

fn is_home(folder: &Path) -> bool {
    folder.join(DECLARATION).exists() || folder.join(INVENTORY).exists()
}

/// The places that a home keeps for itself.
#[derive(Debug)]
pub(super) struct HomePlaces {
    home: PathBuf,
    authorities: PathBuf,
    /// Where the authorities' folder is if it is a link to another disk.
    linked: Option<PathBuf>,
}

impl HomePlaces {
    fn of(home: PathBuf) -> Self {
        let authorities = home.join(AUTHORITIES);
        let linked = fs::canonicalize(&authorities).ok();
        Self {
            home,
            authorities,
            linked,
        }
    }

    /// Whether a path is one of them.
    fn hold(&self, full: &Path) -> bool {
        let linked = self.linked.as_ref();
        if full.starts_with(&self.authorities)
            || linked.is_some_and(|linked| full.starts_with(linked))
        {
            return true;
        }
        let Ok(inside) = full.strip_prefix(&self.home) else {
            return false;
        };
        let name = inside.to_string_lossy();
        let is_lock =
            inside.starts_with(LOCKS) || (name.starts_with("plan-") && name.ends_with(".lock"));
        // With the logs that SQLite writes beside it.
        let is_own = name == DECLARATION || name.starts_with(INVENTORY);
        inside == Path::new("") || is_own || is_lock
    }

    /// Whether a file or a folder is one of them under another name.
    fn include(&self, found: &Metadata) -> bool {
        let names = fs::read_dir(&self.home).into_iter().flatten().flatten();
        let mut own = names.filter(|entry| self.hold(&self.home.join(entry.file_name())));
        let wanted = identity(found);
        own.any(|entry| fs::metadata(entry.path()).is_ok_and(|own| identity(&own) == wanted))
            || (!found.is_dir() && self.files_in_folders().contains(&wanted))
    }

    /// The files in its folders, which may be many.
    fn files_in_folders(&self) -> BTreeSet<(u64, u64)> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.authorities.clone(), self.home.join(LOCKS)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match fs::metadata(entry.path()) {
                    Ok(own) if own.is_dir() => folders.push(entry.path()),
                    Ok(own) => drop(found.insert(identity(&own))),
                    Err(_) => {}
                }
            }
        }
        found
    }
}

/// What tells a file from all others, whatever its names are.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A path without links and dots above its last name; what is not there yet is as it is written.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let Some((above, name)) = path.parent().zip(path.file_name()) else {
        return fs::canonicalize(path);
    };
    match fs::canonicalize(above) {
        Ok(above) => Ok(above.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(canonical(above)?.join(name)),
        // Nothing can be written below a file.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(path),
        Err(error) => Err(error),
    }
}
