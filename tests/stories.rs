//! Stories: one for each row of the table of rolls, and one for each refusal, as a person would type it.
//!
//! A story is a text in `stories/`; beside it, in a file that ends with `.out`, is what it came to, with
//! plans and impacts. `register ID` is a device that registers, `register ID-old` the same device with the
//! leaf that it had before `renew ID`, `moved ID AUTHORITY` one that registers until its roll has seen it;
//! every other line is for `dps-pki`. Lines with `#` are for the reader,
//! `declare A => B` puts one text for another in `pki.toml` before anything is there.
//! `SNAPSHOTS=overwrite` writes the files anew.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dps_pki_tests::{Device, Emulator, Home, SingleCertificate};
use snapbox::{Assert, Data, IntoData as _};

/// The live service was recorded to answer a single certificate in both slots.
#[test]
fn every_story_comes_to_what_is_written_beside_it() {
    compare(SingleCertificate::Shown);
}

/// Whether it stores the copy is not known: the same plans, the same impacts.
#[test]
fn every_story_comes_to_the_same_where_the_copy_is_stored() {
    compare(SingleCertificate::Stored);
}

#[test]
fn every_story_comes_to_the_same_where_there_is_no_copy() {
    compare(SingleCertificate::Once);
}

fn compare(service: SingleCertificate) {
    let stories = stories();
    assert!(stories.len() >= 12, "{stories:?}");
    let mut different = Vec::new();
    for story in &stories {
        let text = fs::read_to_string(story).expect("a story");
        let written = Data::read_from(&story.with_extension("out"), None);
        let told = tell(&text, service).into_data();
        let assert = Assert::new().action_env("SNAPSHOTS");
        let result = assert.try_eq(Some(&story.display()), told, written);
        different.extend(result.err().map(|difference| difference.to_string()));
    }
    assert!(different.is_empty(), "{}", different.concat());
}

/// No output is left of a story that is told no more.
#[test]
fn every_output_has_its_story() {
    for entry in fs::read_dir(folder()).expect("stories") {
        let path = entry.expect("a file").path();
        assert!(path.with_extension("txt").exists(), "{}", path.display());
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/stories"))
}

fn stories() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("stories");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut stories: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    stories.sort();
    stories
}

/// Does what a story says in a home of its own, and writes down what came of it.
fn tell(story: &str, service: SingleCertificate) -> String {
    let home = Home::from_template("quickstart");
    let lines = || story.lines().filter(|line| !line.is_empty());
    for line in lines() {
        if let Some((from, to)) = line
            .strip_prefix("declare ")
            .and_then(|line| line.split_once(" => "))
        {
            home.redeclare(from, &to.replace("\\n", "\n"));
        }
    }
    let emulator = Emulator::start_that(&home, service);
    home.dps_pki("apply --yes").ok();
    let mut told = String::new();
    for line in lines() {
        writeln!(told, "{line}").expect("memory");
        match line.split_once(' ') {
            Some(("#" | "declare", _)) => {}
            Some(("register", id)) => {
                writeln!(told, "  {}", register(&home, &emulator, id)).expect("memory")
            }
            // Its table is as wide as the serial numbers happen to be.
            Some(("issue", _)) => drop(home.dps_pki(line).ok()),
            Some(("renew", id)) => home.renew(id),
            Some(("moved", words)) => {
                let (id, authority) = words.split_once(' ').expect("a device and an authority");
                Device::new(&home, &emulator, id).register_until_moved(authority);
            }
            _ => told.push_str(&run(&home, line)),
        }
    }
    told
}

fn register(home: &Home, emulator: &Emulator, files: &str) -> String {
    let id = files.trim_end_matches("-old");
    Device::new(home, emulator, id).with_files(files).register()
}

fn run(home: &Home, line: &str) -> String {
    let run = home.dps_pki(line);
    let mut told = String::new();
    // What is done step by step is in the plan as well.
    let errors = run
        .stderr
        .lines()
        .filter(|line| !line.starts_with("done: "));
    for line in run.stdout.lines().chain(errors) {
        writeln!(told, "  {}", without_chance(line)).expect("memory");
    }
    if run.code != 0 {
        writeln!(told, "  exit code {}", run.code).expect("memory");
    }
    told
}

/// Puts a word in the place of what differs from run to run: thumbprints, serial numbers, moments.
fn without_chance(line: &str) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric() || "-:".contains(character);
    let mut told = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let length = rest
            .find(|character| !is_word(character))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        told.push_str(name_of(word));
        let next = after.find(is_word).unwrap_or(after.len());
        told.push_str(&after[..next]);
        rest = &after[next..];
    }
    told
}

fn name_of(word: &str) -> &str {
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_time = |word: &str| word.ends_with('Z') && word.contains('T') && word.contains(':');
    match word.len() {
        40 | 64 if is_hex => "THUMBPRINT",
        30..=38 if is_hex => "SERIAL",
        20.. if is_time(word) => "TIME",
        20.. if is_time(word.trim_end_matches(':')) => "TIME:",
        _ => word,
    }
}
