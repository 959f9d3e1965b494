//! Files of ours in folders that others may write.
//!
//! Their names are known beforehand, so somebody may have put a link or a file of theirs there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Who may have to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Its owner alone: it holds keys.
    Secret,
    /// Others may read it.
    Public,
}

/// Opens a file to be written at its end, and makes it if it is not there.
///
/// # Errors
/// The system's; `PermissionDenied` if it is no file of ours.
#[expect(clippy::disallowed_methods, reason = "this is where files are opened")]
pub(crate) fn open(path: &Path, privacy: Privacy) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    options.mode(match privacy {
        Privacy::Secret => 0o600,
        Privacy::Public => 0o644,
    });
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    // A named pipe would block without the second flag.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(i32::try_from(flags.bits()).map_err(io::Error::other)?);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let is_open = metadata.mode() & 0o077 != 0;
    let problem = if !metadata.is_file() {
        "it is not a regular file"
    } else if metadata.uid() != geteuid().as_raw() {
        "it belongs to another user"
    } else if metadata.nlink() > 1 {
        "it is a hard link to another file"
    } else if is_open && privacy == Privacy::Secret {
        "it is open to others, and holds keys"
    } else {
        return Ok(file);
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_others_may_have_put_there_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("precious"), "precious").expect("written");
        fs::set_permissions(path("precious"), Permissions::from_mode(0o600)).expect("mode");
        symlink(path("precious"), path("link")).expect("link");
        symlink(path("nowhere"), path("dangling")).expect("link");
        fs::hard_link(path("precious"), path("hard")).expect("hard link");
        fs::write(path("open"), "").expect("written");
        fs::set_permissions(path("open"), Permissions::from_mode(0o666)).expect("mode");
        for name in ["link", "dangling", "hard", "open"] {
            open(&path(name), Privacy::Secret).expect_err(name);
        }
        for name in ["link", "dangling", "hard"] {
            open(&path(name), Privacy::Public).expect_err(name);
        }
        open(&path("open"), Privacy::Public).expect("a log that others read");
        let kept = fs::read_to_string(path("precious")).expect("read");
        assert_eq!(kept, "precious");
        assert!(!path("nowhere").exists());
    }

    #[test]
    fn a_file_of_ours_is_gone_on_with() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state");
        let made = open(&path, Privacy::Secret).expect("new");
        assert_eq!(made.metadata().expect("mode").mode() & 0o777, 0o600);
        open(&path, Privacy::Secret).expect("left");
    }
}
