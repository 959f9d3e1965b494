//! Three hundred inputs that are wrong, always the same ones: each ends in exit code 3, 4 or 8, within
//! two seconds of the processor and 200 MB, with one sentence on standard error, and leaves nothing
//! behind.
//!
//! They run in one process, one after the other, against one home: what one of them left or broke,
//! the next would find.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod home;
mod inputs;

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use self::home::{MutantHome, Run};
use self::inputs::mutants;

/// Of the processor.
const LONGEST: Duration = Duration::from_secs(2);
/// By the clock: so long only if it waits for something, however busy the machine is.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
const MOST_MEMORY: u64 = 200 * 1024; // KiB

/// Processor time and memory are those of a whole process, which other tests share with this one.
#[test]
fn three_hundred_mutants_are_refused() {
    let ran = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "mutants::in_a_process_of_their_own", "--ignored"])
        .arg("--nocapture")
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
#[ignore = "run in a child by the test above"]
fn in_a_process_of_their_own() {
    let home = MutantHome::furnished();
    let mutants = mutants(&home);
    assert!(mutants.len() >= 300, "only {} mutants", mutants.len());
    let before = home.contents();
    let mut wrong = Vec::new();
    for mutant in &mutants {
        home.put(mutant);
        let begun = processor_time();
        let begun_at = Instant::now();
        let run = home.run(&mutant.line);
        let took = processor_time() - begun;
        let waited = begun_at.elapsed();
        home.take_away(mutant);
        if let Some(problem) = problem(&run, took, waited) {
            wrong.push(format!("{}: {problem}: {run:?}", mutant.name));
        }
        let after = home.contents();
        if after != before {
            let changed = after
                .iter()
                .filter(|file| before.get(file.0) != Some(file.1));
            let changed: Vec<_> = changed.collect();
            wrong.push(format!("{}: left behind {changed:?}: {run:?}", mutant.name));
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        mutants.len()
    );
    let peak = peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} KiB");
}

fn problem(run: &Run, took: Duration, waited: Duration) -> Option<String> {
    let errors = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    if !matches!(run.code, 3 | 4 | 8) {
        return Some(format!("ended with {}", run.code));
    }
    if errors.count() != 1 || run.stderr.contains("panicked") {
        return Some("does not say one sentence".to_owned());
    }
    let is_slow = took > LONGEST || waited > LONGEST_WAIT;
    is_slow.then(|| format!("took {took:?} in {waited:?}"))
}

/// What all threads of this process have taken so far: on a busy machine that says more than a clock.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a time that has passed")
}

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("VmHWM")
}
