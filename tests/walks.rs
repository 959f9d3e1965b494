//! Random walks from end to end: fleets with a group above the lines, two lines, two hubs, one instance or
//! two; operations in a row as a user types them, each sometimes killed and said again; and after each of
//! them real registrations against `explain` and against what was asked for.
//!
//! An ordinary run walks a few. `DPS_PKI_WALKS=200` walks so many, `DPS_PKI_WALK=7` that one alone. A walk
//! that fails is made shorter as long as it fails, printed, and kept in `kept.txt`: those are walked first.
//! `DPS_PKI_WALKS_WITHOUT=RollCompromised` leaves an operation out, to see what else there is.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod breach;
mod cut_off;
mod elsewhere;
mod first;
mod fleet;
mod incidents;
mod journaled;
mod named;
mod random;
mod referred;
mod shut_out;
mod site;
mod status_word;
mod told;
mod unfinished;
mod walk;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use random::Random;
use walk::{Said, Walk};

/// How many an ordinary run walks.
const FEW: u64 = 3;

/// Walks that failed once: a seed, and which of its operations are left.
const KEPT: &str = include_str!("walks/kept.txt");

/// What a walk took.
#[derive(Debug, Default)]
struct Figures {
    operations: usize,
    cut: usize,
    registrations: usize,
}

fn operations(seed: u64) -> Vec<Said> {
    let mut random = Random::new(seed ^ 0x5eed);
    let count = 3 + random.below(6);
    let left_out = std::env::var("DPS_PKI_WALKS_WITHOUT").unwrap_or_default();
    let said = (0..count).map(|_| Said::random(&mut random));
    said.filter(|said| left_out.is_empty() || !said.to_string().starts_with(&left_out))
        .collect()
}

fn walk(seed: u64, operations: &[Said]) -> Figures {
    let mut walk = Walk::begin(seed);
    for said in operations {
        walk.step(said);
    }
    Figures {
        operations: operations.len(),
        cut: walk.cut,
        registrations: walk.registrations,
    }
}

/// Walks, and says in words why that failed.
fn failure(seed: u64, operations: &[Said]) -> Result<Figures, String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    let quiet = panic::take_hook();
    panic::set_hook(Box::new(|what| {
        *LAST
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = what.to_string();
    }));
    let walked = panic::catch_unwind(AssertUnwindSafe(|| walk(seed, operations)));
    panic::set_hook(quiet);
    let last = || {
        LAST.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    };
    walked.map_err(|_| last())
}

/// Leaves operations out as long as the walk fails.
fn shrunk(seed: u64, mut left: Vec<usize>, mut why: String) -> (Vec<usize>, String) {
    let all = operations(seed);
    let mut place = 0;
    while place < left.len() {
        let mut fewer = left.clone();
        fewer.remove(place);
        let picked: Vec<Said> = fewer.iter().map(|index| all[*index].clone()).collect();
        match failure(seed, &picked) {
            Err(words) => {
                left = fewer;
                why = words;
            }
            Ok(_) => place += 1,
        }
    }
    (left, why)
}

fn walk_or_tell(seed: u64) -> Result<Figures, String> {
    let all = operations(seed);
    failure(seed, &all).map_err(|why| {
        let (left, why) = shrunk(seed, (0..all.len()).collect(), why);
        let lines: Vec<String> = left.iter().map(|index| all[*index].to_string()).collect();
        let indexes: Vec<String> = left.iter().map(usize::to_string).collect();
        format!(
            "{seed}: {}\n  {}\n{why}",
            indexes.join(","),
            lines.join("\n  ")
        )
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn real_registrations_are_what_was_asked_for() {
    let seeds: Vec<u64> = match variable("DPS_PKI_WALK") {
        Some(seed) => vec![seed],
        None => (0..variable("DPS_PKI_WALKS").unwrap_or(FEW)).collect(),
    };
    let mut figures = Figures::default();
    let mut failed = Vec::new();
    for seed in &seeds {
        match walk_or_tell(*seed) {
            Ok(walked) => {
                figures.operations += walked.operations;
                figures.cut += walked.cut;
                figures.registrations += walked.registrations;
            }
            Err(why) => {
                println!("{why}\n");
                failed.push(*seed);
            }
        }
    }
    println!("{} walks: {figures:?}", seeds.len());
    assert!(
        failed.is_empty(),
        "{} of {} walks failed: {failed:?}",
        failed.len(),
        seeds.len()
    );
}

/// They failed once.
#[test]
fn kept_walks_are_walked_again() {
    for line in KEPT
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (seed, indexes) = line.split_once(": ").expect("seed: operations");
        let seed = seed.parse().expect("a seed");
        let all = operations(seed);
        let picked = indexes
            .split(',')
            .map(|index| all[index.parse::<usize>().expect("a number")].clone());
        walk(seed, &picked.collect::<Vec<_>>());
    }
}
