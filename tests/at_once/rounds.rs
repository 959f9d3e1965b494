//! Commands that are started together, as often as is asked for.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dps_pki_tests::{Home, Run};

/// The rounds of a case: two to eight commands each.
pub(super) fn rounds() -> impl Iterator<Item = Round> {
    let rounds = std::env::var("DPS_PKI_ROUNDS").map_or(8, |number| {
        number.parse().expect("DPS_PKI_ROUNDS is a number")
    });
    (0..rounds).map(move |number| Round { number, of: rounds })
}

/// Fewer rounds, for what takes long.
pub(super) fn few_rounds() -> impl Iterator<Item = Round> {
    rounds().filter(|round| round.number % 4 == 0)
}

/// One of many tries.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) number: u32,
    of: u32,
}

impl Round {
    /// How many commands are started.
    pub(super) fn commands(self) -> u32 {
        2 + self.number % 7
    }

    /// A moment of this round within a time: evenly spread, in no order that repeats with the commands.
    fn moment_in(self, time: Duration) -> Duration {
        time * (self.number * 7 % self.of) / self.of
    }
}

/// A home of the quickstart template with a passphrase that is opened quickly, and nothing made yet.
pub(super) fn fresh_home() -> Home {
    let home = Home::empty();
    fs::remove_file(home.path("passphrase")).expect("removed");
    home.dps_pki("init --template quickstart --new-passphrase passphrase")
        .ok();
    home
}

/// The same with its authorities made, and leaves and a batch issued.
pub(super) fn used_home() -> Home {
    let home = fresh_home();
    home.dps_pki("authority create").ok();
    home.dps_pki("issue early-1 early-2 --authority factory --out early")
        .ok();
    home.dps_pki(
        "issue --prefix old- --count 100 --authority factory --out old.ndjson --plain-keys",
    )
    .ok();
    home
}

/// Starts commands together, and returns what each left, in their order.
pub(super) fn at_once(home: &Home, lines: &[String]) -> Vec<Run> {
    let children: Vec<Child> = lines.iter().map(|line| start(home, line)).collect();
    let ended = children.into_iter().zip(lines).map(|(child, line)| {
        let output = child.wait_with_output().expect("it has ended");
        Run::new(&format!("dps-pki {line}"), output)
    });
    ended.collect()
}

/// Starts commands together, and kills every other one, each a little later than the one before.
pub(super) fn at_once_and_killed(home: &Home, round: Round, usual: Duration, lines: &[String]) {
    let mut children: Vec<Child> = lines.iter().map(|line| start(home, line)).collect();
    let places = u32::try_from(children.len()).expect("few");
    for (place, child) in (0..places).zip(&mut children).step_by(2) {
        // The moment of the accident, not a way to wait for something.
        thread::sleep(
            round.moment_in(usual) / places.max(1) * 2 * place.min(1) + round.moment_in(usual) / 2,
        );
        child.kill().expect("SIGKILL");
    }
    for child in children {
        child.wait_with_output().expect("it has ended");
    }
}

fn start(home: &Home, line: &str) -> Child {
    let mut command = home.command(line);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    child.expect("dps-pki starts")
}

/// How long a command takes alone.
pub(super) fn time_of(home: &Home, line: &str) -> Duration {
    home.dps_pki("authority list").ok();
    let start = Instant::now();
    home.dps_pki(line).ok();
    start.elapsed()
}

/// Of these runs, those that ended well; all others must have been refused, and told who was before them.
#[track_caller]
pub(super) fn winners(runs: &[Run]) -> Vec<&Run> {
    for run in runs.iter().filter(|run| run.code != 0) {
        assert_eq!(run.code, 4, "{run}");
        assert!(!run.stderr.trim().is_empty(), "{run}");
    }
    runs.iter().filter(|run| run.code == 0).collect()
}
