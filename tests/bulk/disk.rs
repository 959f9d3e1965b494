//! A place where there is soon no space left.

use std::fs;
use std::path::PathBuf;

use dps_pki_tests::{Home, Run};

/// A disk in memory that is soon full.
pub(super) struct SmallDisk {
    home: Home,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None`, visibly, for users who may not. In CI it must be possible.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    pub(super) fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).expect("a folder");
        let disk = Self {
            home: Home::empty(),
            path,
        };
        let mounted = disk.call("mount", &format!("-t tmpfs -o size={size} tmpfs"));
        if mounted.code != 0 {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI may not skip: {mounted}"
            );
            eprintln!("skipped: a tmpfs cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    pub(super) fn resize(&self, size: &str) {
        self.call("mount", &format!("-o remount,size={size}")).ok();
    }

    fn call(&self, program: &str, flags: &str) -> Run {
        let path = self.path.display();
        self.home.tool(program, &format!("{flags} {path}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached even if something still looks at it; fails only if it was not mounted.
        self.call("umount", "--lazy");
    }
}
