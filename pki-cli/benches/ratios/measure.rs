//! What a run takes: time on the clock, and time on the processors.
//!
//! Ratios of time on the clock move when something else runs on the machine; those of processor time
//! hardly do, so both are told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What something took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    /// User and system time of all threads.
    pub(crate) processor: Duration,
    /// The most memory, in kB; 0 where it was not watched.
    pub(crate) peak_memory: u64,
}

/// What a part of this process takes.
pub(crate) fn here(work: impl FnOnce()) -> Spent {
    let processor = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::try_from(time).expect("a time that has passed")
    };
    let began = Instant::now();
    let before = processor();
    work();
    Spent {
        wall: began.elapsed(),
        processor: processor() - before,
        peak_memory: 0,
    }
}

/// What a program takes from its start to its end; it must end well.
pub(crate) fn program(command: &mut Command) -> Spent {
    run(command, |child| (child.wait().expect("its state"), 0))
}

/// As [`program`], and looks at its memory all the while: for what takes seconds.
pub(crate) fn watched_program(command: &mut Command) -> Spent {
    run(command, |child| {
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        loop {
            peak = peak.max(peak_memory(&status));
            match child.try_wait().expect("its state") {
                Some(ended) => return (ended, peak),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    })
}

/// What programs that are started at once take until the last has ended; all must end well.
pub(crate) fn programs_at_once(commands: &mut [Command]) -> Spent {
    let began = Instant::now();
    let before = processor_of_children();
    let running: Vec<Child> = commands.iter_mut().map(started).collect();
    for mut child in running {
        assert!(child.wait().expect("its state").success());
    }
    Spent {
        wall: began.elapsed(),
        processor: processor_of_children() - before,
        peak_memory: 0,
    }
}

fn started(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a program; `wait` waits for its end and tells the most memory that it had.
fn run(command: &mut Command, wait: impl FnOnce(&mut Child) -> (ExitStatus, u64)) -> Spent {
    let began = Instant::now();
    let before = processor_of_children();
    let mut child = started(command);
    let (ended, peak_memory) = wait(&mut child);
    let wall = began.elapsed();
    assert!(ended.success(), "{command:?}");
    Spent {
        wall,
        processor: processor_of_children() - before,
        peak_memory,
    }
}

/// Processor time of all programs that have ended, in hundredths of a second (proc(5), `cutime` and
/// `cstime`).
fn processor_of_children() -> Duration {
    let line = fs::read_to_string("/proc/self/stat").expect("what the kernel says of this process");
    let (_, behind_name) = line.rsplit_once(')').expect("the name in parentheses");
    let fields = behind_name.split_whitespace().skip(13).take(2);
    let ticks: u64 = fields
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process has had so far, in kB; 0 if it has ended.
fn peak_memory(status: &Path) -> u64 {
    let status = fs::read_to_string(status).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    peak.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The medians of two things that are done in turns.
pub(crate) fn in_turns(
    rounds: u64,
    ours: impl Fn(u64) -> Spent,
    other: impl Fn(u64) -> Spent,
) -> (Spent, Spent) {
    let (first, second): (Vec<_>, Vec<_>) =
        (0..rounds).map(|round| (ours(round), other(round))).unzip();
    (median(&first), median(&second))
}

/// The median of each figure by itself; of processor time the mean, since it is told in hundredths
/// of a second, which many short runs even out.
pub(crate) fn median(spent: &[Spent]) -> Spent {
    fn middle<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
        let mut values: Vec<T> = values.collect();
        values.sort();
        values[values.len() / 2]
    }
    let count = u32::try_from(spent.len()).expect("a few rounds");
    Spent {
        wall: middle(spent.iter().map(|one| one.wall)),
        processor: spent.iter().map(|one| one.processor).sum::<Duration>() / count,
        peak_memory: middle(spent.iter().map(|one| one.peak_memory)),
    }
}
