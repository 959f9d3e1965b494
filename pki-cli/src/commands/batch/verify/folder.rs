//! The files of a folder, compared with the list of them that lies beside them.
//!
//! Whether that list is the right one is judged before, by the manifest.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Component, Path};
use std::{fmt, fs, io};

use pki_core::handout::digest::{OutputDigest, OutputHash};
use serde::Serialize;

use super::{Check, CheckResult};

/// The list of a folder's files, in the form of `sha256sum`.
pub(super) const LIST: &str = "SHA256SUMS";

/// Compares the files of a folder with their list; there must be no others.
pub(super) fn check_files(folder: &Path, list: File) -> io::Result<Check> {
    let mut bad = Vec::new();
    let mut listed: u64 = 0;
    for line in BufReader::new(list).lines() {
        listed += 1;
        bad.extend(check_file(folder, &line?).err());
    }
    // All that are listed are there, so that counting finds any other without remembering names.
    let found = count_files(folder)?.saturating_sub(1);
    let missing = bad
        .iter()
        .filter(|file| file.problem == Problem::Missing)
        .count();
    let expected = listed.saturating_sub(u64::try_from(missing).unwrap_or(u64::MAX));
    let finding = |problem: bool| {
        if problem {
            CheckResult::Fails
        } else {
            CheckResult::Holds
        }
    };
    let detail = match (bad.len(), found.saturating_sub(expected)) {
        (0, 0) => format!("all {listed} are as their list says"),
        (0, others) => format!("{others} are not in the list"),
        (count, 0) => format!("{count} of {listed} are not as their list says"),
        (count, others) => {
            format!("{count} of {listed} are not as their list says, {others} are not in it")
        }
    };
    let fails = !bad.is_empty() || found > expected;
    Ok(Check {
        files: bad,
        ..Check::new("files", finding(fails), detail)
    })
}

/// Compares one file with its line: a digest, two blanks, a path below the folder.
fn check_file(folder: &Path, line: &str) -> Result<(), BadFile> {
    let bad = |path: &str, problem| BadFile {
        path: path.to_owned(),
        problem,
    };
    let (digest, path) = line.split_once("  ").unwrap_or(("", line));
    let stated: OutputDigest = digest.parse().map_err(|_| bad(path, Problem::Line))?;
    if !is_below(Path::new(path)) {
        return Err(bad(path, Problem::Line));
    }
    let place = folder.join(path);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(bad(path, Problem::NotAFile)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(bad(path, Problem::Missing));
        }
        Err(_) => return Err(bad(path, Problem::Unreadable)),
    }
    let hash = File::open(&place).and_then(OutputHash::of);
    if hash.map_err(|_| bad(path, Problem::Unreadable))?.digest() == stated {
        Ok(())
    } else {
        Err(bad(path, Problem::Changed))
    }
}

/// How many things that are no folders are in a folder and those below it.
fn count_files(folder: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() {
            count_files(&entry.path())?
        } else {
            1
        };
    }
    Ok(count)
}

/// Whether a path stays below the folder that it starts at.
pub(super) fn is_below(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

/// A file of a folder that is not as it was delivered.
#[derive(Debug, Serialize)]
pub(super) struct BadFile {
    path: String,
    problem: Problem,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Missing => "it is missing",
            Problem::Changed => "it was changed",
            Problem::NotAFile => "it is no file",
            Problem::Unreadable => "it cannot be read",
            Problem::Line => "its line in the list cannot be read",
        };
        write!(f, "{}: {problem}", self.path)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Problem {
    Missing,
    Changed,
    NotAFile,
    Unreadable,
    Line,
}
