//! Every reader of outside input survives the corpus of `fuzz/`, and mutants of it.
//!
//! The mutants are the same each time. `DPS_PKI_FUZZ_SECONDS` makes it go on for so long per target,
//! with mutants of mutants.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

#[path = "../fuzz/src/targets.rs"]
mod targets;

/// Mutants of each seed in the ordinary run.
const MUTANTS: u64 = 150;

#[test]
fn the_corpus_and_its_mutants_are_read_or_refused() {
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no corpus");
        for seed in &seeds {
            target(seed);
            for number in 0..MUTANTS {
                target(&mutated(seed, &mut Chance(number + 1)));
            }
        }
    }
}

#[test]
fn as_long_as_asked_for() {
    let seconds = std::env::var("DPS_PKI_FUZZ_SECONDS").ok();
    let Some(seconds) = seconds.and_then(|seconds| seconds.parse().ok()) else {
        eprintln!("SKIPPED: DPS_PKI_FUZZ_SECONDS is not set");
        return;
    };
    for (name, target) in targets::ALL {
        let mut pool = seeds(name);
        let mut chance = Chance(7);
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut runs = 0u64;
        while Instant::now() < end {
            let place = chance.below(pool.len());
            let mutant = mutated(&pool[place], &mut chance);
            target(&mutant);
            runs += 1;
            if runs.is_multiple_of(64) && mutant.len() < 64 * 1024 {
                let place = chance.below(pool.len());
                pool[place] = mutant;
            }
            if runs.is_multiple_of(4096) {
                pool = seeds(name);
            }
        }
        println!("{name}: {runs} mutants");
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(folder).expect("a corpus");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect()
}

/// One to four changes: a bit turned, an octet set to a telling value, a piece cut out, doubled or
/// moved.
fn mutated(seed: &[u8], chance: &mut Chance) -> Vec<u8> {
    const TELLING: [u8; 8] = [0x00, 0x01, 0x30, 0x7f, 0x80, 0x84, 0xa0, 0xff];
    let mut mutant = seed.to_vec();
    for _ in 0..=chance.below(4) {
        if mutant.is_empty() {
            mutant.push(0x30);
        }
        let place = chance.below(mutant.len());
        let end = (place + 1 + chance.below(16)).min(mutant.len());
        match chance.below(5) {
            0 => mutant[place] ^= 1 << chance.below(8),
            1 => mutant[place] = TELLING[chance.below(TELLING.len())],
            2 => drop(mutant.drain(place..end)),
            3 => {
                let piece = mutant[place..end].to_vec();
                mutant.splice(place..place, piece);
            }
            _ => mutant.truncate(place),
        }
    }
    mutant
}

/// Numbers that look random and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let most = u64::try_from(most.max(1)).expect("a length");
        usize::try_from((self.0 >> 8) % most).expect("below")
    }
}
