//! A place where there is soon no space left, or where nothing can be written.

use std::fs;
use std::path::PathBuf;

use crate::home::Home;
use crate::run::Run;
use crate::skip::skip;

/// A disk in memory that is soon full.
#[derive(Debug)]
pub struct SmallDisk {
    home: Home,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None`, visibly, for users who may not. In CI it must be possible.
    pub fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).expect("a folder");
        let disk = Self {
            home: Home::empty(),
            path,
        };
        let mounted = disk.call("mount", &format!("-t tmpfs -o size={size},mode=755 tmpfs"));
        if mounted.code != 0 {
            skip("full disks (a tmpfs cannot be mounted here)");
            return None;
        }
        Some(disk)
    }

    /// Gives it another size.
    pub fn resize(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    /// Fills what is left of it, to the last octet.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.path.join("filler")).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![7; size];
            while std::io::Write::write_all(&mut file, &block).is_ok() {}
        }
    }

    /// Lets nobody write to it any more, whoever they are.
    pub fn write_protect(&self) {
        self.remount("ro");
    }

    /// Lets it be written again.
    pub fn lift_protection(&self) {
        self.remount("rw");
    }

    fn remount(&self, options: &str) {
        self.call("mount", &format!("-o remount,{options}")).ok();
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
