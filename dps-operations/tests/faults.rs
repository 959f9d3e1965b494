//! The process dies at any moment, or the service fails at any write. Whatever it was, going on leads to
//! where an uninterrupted run leads. That the command line says so is for `pki-cli/tests/plan_faults.rs`.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

use dps_operations::testing::{Calls, Fault};
use dps_operations::{Class, ExecuteError, Interruption, StepFailure};
use pki_core::journal::Journal as _;
use pki_core::ports::Clock;
use pki_core::time::Time;

use super::site::{Site, now, progress};

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mishap {
    Nothing,
    /// The process dies at this moment: when it looks at the clock, is about to call, or is about to hear.
    Death(usize),
    /// The service fails at this write, once.
    Fault(usize, Fault),
}

/// The clock and the service of a run, and what happens to it.
#[derive(Clone)]
pub(crate) struct Fate(Arc<Mutex<State>>);

struct State {
    mishap: Mishap,
    moments: usize,
    writes: usize,
}

impl Fate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            mishap: Mishap::Nothing,
            moments: 0,
            writes: 0,
        })))
    }

    /// Counts anew, to this end.
    pub(crate) fn set(&self, mishap: Mishap) {
        *self.0.lock().expect("lock") = State {
            mishap,
            moments: 0,
            writes: 0,
        };
    }

    pub(crate) fn counted(&self) -> (usize, usize) {
        let state = self.0.lock().expect("lock");
        (state.moments, state.writes)
    }

    fn live_through_a_moment(&self) {
        let mut state = self.0.lock().expect("lock");
        state.moments += 1;
        let dies = state.mishap == Mishap::Death(state.moments);
        // The lock is not poisoned: others may look at what was counted.
        drop(state);
        if dies {
            panic::resume_unwind(Box::new("the process dies here"));
        }
    }
}

impl Clock for Fate {
    fn now(&self) -> Time {
        self.live_through_a_moment();
        now()
    }
}

impl Calls for Fate {
    fn before(&self, is_write: bool) -> Option<Fault> {
        self.live_through_a_moment();
        let mut state = self.0.lock().expect("lock");
        state.writes += usize::from(is_write);
        match state.mishap {
            Mishap::Fault(write, fault) if is_write && state.writes == write => Some(fault),
            _ => None,
        }
    }

    fn after(&self) {
        self.live_through_a_moment();
    }
}

type Ended = Result<Vec<StepFailure>, ExecuteError>;

fn run(site: &mut Site, fate: &Fate) -> Ended {
    let plan = site.plan();
    site.carry_out(fate, &plan, &mut (), &Interruption::default())
}

/// Goes on as a person would: with the plan that is open, and else by planning what is left.
fn go_on(site: &mut Site, fate: &Fate) {
    fate.set(Mishap::Nothing);
    for open in site.journal.plans(10).expect("read") {
        if !open.state.is_open() {
            continue;
        }
        let record = site.journal.plan(open.plan).expect("read").expect("there");
        let failed = site.resume(fate, record).expect("it goes on");
        assert!(failed.is_empty());
    }
}

fn open_plans(site: &Site) -> usize {
    let plans = site.journal.plans(10).expect("read");
    plans.iter().filter(|plan| plan.state.is_open()).count()
}

/// Where an uninterrupted run leads, and how many moments and writes it has.
fn uninterrupted() -> (Vec<String>, usize, usize) {
    let fate = Fate::new();
    let mut site = Site::new(Arc::new(fate.clone()));
    let before = site.state();
    fate.set(Mishap::Nothing);
    run(&mut site, &fate).expect("done");
    assert_ne!(before, site.state(), "it changes something");
    assert_eq!(open_plans(&site), 0);
    let (moments, writes) = fate.counted();
    (site.state(), moments, writes)
}

/// The journal's invariant: a step that is done is never sent again, one that was begun is looked at first.
#[test]
fn a_plan_survives_the_death_of_its_process_at_every_moment() {
    let (end, moments, _) = uninterrupted();
    assert!(moments > 40, "{moments}");
    let mut left_open = 0;
    for moment in 1..=moments {
        let fate = Fate::new();
        let mut site = Site::new(Arc::new(fate.clone()));
        fate.set(Mishap::Death(moment));
        let died = panic::catch_unwind(AssertUnwindSafe(|| run(&mut site, &fate)));
        assert!(died.is_err(), "moment {moment}");
        left_open += open_plans(&site);
        go_on(&mut site, &fate);
        if site.state() != end {
            // It died before its plan was in the journal: nothing was sent.
            assert!(
                site.journal.plans(10).expect("read").is_empty(),
                "moment {moment}"
            );
            run(&mut site, &fate).expect("done");
        }
        assert_eq!(site.state(), end, "dead at moment {moment}");
        assert_eq!(open_plans(&site), 0, "dead at moment {moment}");
    }
    assert!(
        left_open + 3 > moments,
        "almost all of them left a plan behind"
    );
}

/// Which faults stop a plan is the step's class; how far it got is in the error, and resuming leads on.
#[test]
fn a_plan_survives_every_fault_of_the_service_at_every_write() {
    let (end, _, writes) = uninterrupted();
    let faults = [
        Fault::Status(401),
        Fault::Status(412),
        Fault::Status(429),
        Fault::Status(500),
        Fault::LostBefore,
        Fault::LostAfter,
    ];
    for write in 1..=writes {
        for fault in faults {
            let fate = Fate::new();
            let mut site = Site::new(Arc::new(fate.clone()));
            fate.set(Mishap::Fault(write, fault));
            let what = format!("write {write}: {fault:?}");
            match run(&mut site, &fate) {
                Ok(failed) => assert!(failed.is_empty(), "{what}"),
                Err(error) => {
                    let got = progress(&error).expect("it says how far it got");
                    let ExecuteError::Stopped(stopped) = &error else {
                        panic!("{what}: {error}");
                    };
                    let is_conflict = error.class() == Class::Conflict;
                    assert_eq!(
                        stopped.is_closed,
                        is_conflict || (got.done == 0 && fault == Fault::Status(401)),
                        "{what}"
                    );
                    assert_eq!(open_plans(&site), usize::from(!stopped.is_closed), "{what}");
                    if stopped.is_closed {
                        // What the plan was made from is no more, or nothing was done: somebody plans anew.
                        continue;
                    }
                }
            }
            go_on(&mut site, &fate);
            assert_eq!(site.state(), end, "{what}");
        }
    }
}
