//! Other processes on this machine, named as a person would look for them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// As much of a command line as is of use in a sentence.
const SHOWN: usize = 80;

/// A process with its command line, as far as the system tells it.
pub(crate) fn named(process: u32) -> String {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&words);
    let line = line.trim_end_matches('\0').replace('\0', " ");
    // Whoever starts a program chooses its words.
    let line: String = line
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    match line.char_indices().nth(SHOWN) {
        _ if line.is_empty() => format!("process {process}"),
        None => format!("process {process} ({line})"),
        Some((end, _)) => format!("process {process} ({}…)", &line[..end]),
    }
}

/// The process that holds the writer's lock of an inventory, if the system tells it.
pub(crate) fn writer_of(inventory: &Path) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let inode = |ending: &str| {
        let mut name = inventory.as_os_str().to_owned();
        name.push(ending);
        Some(fs::metadata(PathBuf::from(name)).ok()?.ino())
    };
    let places = [
        // Where SQLite locks: https://sqlite.org/src/file/src/os_unix.c, UNIX_SHM_BASE and WAL_WRITE_LOCK.
        (inode("-shm"), 120),
        // Without a log, os.h's RESERVED_BYTE.
        (inode(""), 0x4000_0001),
    ];
    let holder = places
        .into_iter()
        .find_map(|(inode, octet)| holder_of(&locks, inode?, octet))?;
    Some(named(holder))
}

/// Who holds an octet of a file for writing, in the form of `/proc/locks`:
/// `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120`.
fn holder_of(locks: &str, inode: u64, octet: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", process, file, first, last] = words[..] else {
            return None;
        };
        let of_file = file.rsplit(':').next()?.parse() == Ok(inode);
        let covers = first.parse::<u64>().ok()? <= octet
            && last
                .parse::<u64>()
                .map_or(last == "EOF", |last| octet <= last);
        process
            .parse()
            .ok()
            .filter(|process| of_file && covers && *process > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_is_found_among_the_locks_of_the_system() {
        let locks = "\
1: POSIX  ADVISORY  READ  11 fe:00:1234 124 124
2: POSIX  ADVISORY  WRITE 12 fe:00:4321 120 120
3: POSIX  ADVISORY  WRITE 13 fe:00:1234 120 120
3: -> POSIX  ADVISORY  WRITE 14 fe:00:1234 120 120
4: FLOCK  ADVISORY  WRITE 15 fe:00:77 0 EOF
";
        assert_eq!(holder_of(locks, 1234, 120), Some(13));
        assert_eq!(holder_of(locks, 1234, 124), None, "others read");
        assert_eq!(holder_of(locks, 77, 120), Some(15));
        assert_eq!(holder_of(locks, 5, 120), None);
    }

    #[test]
    fn a_process_is_named_by_its_command_line() {
        let own = named(std::process::id());
        assert!(
            own.starts_with(&format!("process {} (", std::process::id())),
            "{own}"
        );
        assert!(own.chars().count() < 120, "{own}");
        assert_eq!(named(u32::MAX), format!("process {}", u32::MAX));
    }
}
