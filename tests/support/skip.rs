//! Judges that a machine lacks: said past the capture of the test harness, so that an ordinary run shows
//! them, each time with all of them so far. The last such line of a binary is the list.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the tests of several crates use a part of it each"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

static SO_FAR: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says that a judge is skipped, and why. In CI every judge must be there: this fails.
#[track_caller]
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "CI may not skip a judge: {why}"
    );
    skip_collection(why);
}

/// Says that a collection is skipped which is too large for the repository, and which CI may lack too.
pub fn skip_collection(why: &str) {
    let mut all = SO_FAR.lock().unwrap_or_else(PoisonError::into_inner);
    if !all.insert(why.to_owned()) {
        return;
    }
    let judges = if all.len() == 1 { "judge" } else { "judges" };
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    let line = format!("{} {judges} skipped: {}\n", all.len(), names.join("; "));
    // Not `eprintln!`, which the harness keeps to itself when a test passes.
    std::io::stderr().write_all(line.as_bytes()).ok();
}
