//! An operation whose process dies at any moment, or whose service fails at any write, is asked for again, as a
//! person would: it leads to where an uninterrupted one leads, whatever of it was done.

use std::panic::{self, AssertUnwindSafe};

use dps_operations::deprovision::{self, LeavingGroup};
use dps_operations::quarantine::{self, Below};
use dps_operations::roll::{
    AuthorityRoll, BreachRequest, FinishRequest, Instances, Rolling, StartRequest, was_replaced,
};
use dps_operations::testing::Fault;
use dps_operations::{ExecuteError, Failures, PlanningError, StepFailure, converge, readmit};
use pki_core::inventory::Inventory as _;
use pki_core::journal::Journal as _;
use pki_core::lifecycle::HubAction;
use pki_core::testing::FixedClock;

use super::faults::Mishap;
use super::line::{Line, group};
use super::site::{id, now, wait};

/// Everything that a service may do to a write.
const FAULTS: [Fault; 9] = [
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(409),
    Fault::Status(412),
    Fault::Status(429),
    Fault::Status(500),
    Fault::LostBefore,
    Fault::LostAfter,
];

/// What became of an operation: what failed of it, or why it stopped.
type Ended = Result<Vec<StepFailure>, ExecuteError>;

fn quarantine(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let request = quarantine::Request {
        targets: vec![line.target("sensor-1"), line.target("sensor-2")],
        reason: None,
        hub: HubAction::Disable,
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, request.failures())
}

fn quarantine_below(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let below = Below::of(&line.journal, &id("root"), now()).expect("below");
    let prepared = below.prepare(line.around(&clock), HubAction::Delete, None);
    let judged = wait(prepared).expect("prepared");
    let judged = judged.judge(line.around(&clock)).expect("kept");
    line.carry_out(&judged, Failures::Stop)
}

fn deprovision(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let request = deprovision::Request {
        targets: vec![line.target("sensor-1"), line.target("sensor-2")],
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    line.carry_out(&judged, request.failures())
}

fn deprovision_group(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let leaving = wait(LeavingGroup::gather(line.around(&clock), &group())).expect("read");
    let prepared = wait(leaving.prepare(line.around(&clock))).expect("prepared");
    let prepared = prepared.expect("there is, or was, one");
    let judged = prepared.judge(line.around(&clock)).expect("kept");
    let failed = line.carry_out(&judged, Failures::Stop)?;
    let proof = wait(prepared.read_back(line.around(&clock))).expect("read");
    proof.check().expect("all of them are out");
    Ok(failed)
}

fn converge(line: &mut Line) -> Ended {
    converge_as(line, &converge::Request::default())
}

fn prune(line: &mut Line) -> Ended {
    let request = converge::Request {
        prune: true,
        ..converge::Request::default()
    };
    converge_as(line, &request)
}

fn converge_as(line: &mut Line, request: &converge::Request) -> Ended {
    let clock = FixedClock(now());
    let judged = wait(request.prepare(line.around(&clock))).expect("planned");
    line.carry_out(&judged, Failures::Stop)
}

fn readmit(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    let id = id("sensor-1");
    let request = readmit::Request { id, leaf };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    let failed = line.carry_out(&judged, Failures::Stop)?;
    wait(prepared.read_back(line.around(&clock), &request)).expect("back");
    Ok(failed)
}

fn roll(
    line: &mut Line,
    plan: impl FnOnce(AuthorityRoll<'_>) -> Result<Rolling, PlanningError>,
) -> Ended {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    let rolling = plan(roll.expect("gathered")).expect("planned");
    drop(instances);
    line.roll(&rolling)?;
    Ok(Vec::new())
}

fn start_of_roll(line: &mut Line) -> Ended {
    roll(line, |roll| roll.start(StartRequest::default()))
}

fn end_of_roll(line: &mut Line) -> Ended {
    roll(line, |mut roll| {
        let moving = wait(roll.moving())?;
        roll.finish(FinishRequest::default(), moving)
    })
}

fn breach_roll(line: &mut Line) -> Ended {
    let record = line.journal.authority(&id("root")).expect("read");
    let request = BreachRequest {
        hub: HubAction::Disable,
        with_intermediates: false,
        is_replaced: record.is_some_and(|record| was_replaced(&record)),
        is_shown: false,
    };
    roll(line, |roll| Ok(wait(roll.breach(request))?.rolling))
}

/// One device was shut out, and has a new leaf.
fn shut_out() -> Line {
    let mut line = Line::running();
    assert!(quarantine(&mut line).expect("done").is_empty());
    line.issue("sensor-1");
    line
}

fn with_successor() -> Line {
    let mut line = Line::running();
    line.make_generation();
    line
}

/// Both generations are let in, and the devices show leaves of the new one.
fn moved() -> Line {
    let mut line = with_successor();
    start_of_roll(&mut line).expect("done");
    for device in ["sensor-1", "sensor-2"] {
        let leaf = line.issue(device);
        line.register(device, &leaf);
    }
    line
}

/// Neither the group nor its CA is declared any more.
fn undeclared() -> Line {
    let mut line = Line::running();
    line.declare_no_records();
    line
}

/// What DPS, hubs and inventory hold, and what has become of the generations.
fn state(line: &Line) -> Vec<String> {
    let root = line.journal.authority(&id("root")).expect("read");
    let mut state = line.state();
    for held in root.expect("made").generations {
        state.push(format!("root {} {:?}", held.generation, held.state));
    }
    state
}

/// An operation, and the line that it is done to.
struct Case {
    make: fn() -> Line,
    operation: fn(&mut Line) -> Ended,
}

impl Case {
    /// Where an uninterrupted operation leads, and how many moments and writes it has.
    fn uninterrupted(&self) -> (Vec<String>, usize, usize) {
        let mut line = (self.make)();
        let before = state(&line);
        line.fate.set(Mishap::Nothing);
        let failed = (self.operation)(&mut line).expect("done");
        assert!(failed.is_empty());
        let end = state(&line);
        assert_ne!(before, end, "it changes something");
        let (moments, writes) = line.fate.counted();
        (end, moments, writes)
    }

    /// Asks again, with nothing in the way.
    fn ends_well(&self, line: &mut Line, end: &[String], what: &str) {
        line.fate.set(Mishap::Nothing);
        let failed = (self.operation)(line).expect(what);
        assert!(failed.is_empty(), "{what}");
        assert_eq!(state(line), end, "{what}");
        let plans = line.journal.plans(10).expect("read");
        let open = plans.iter().filter(|plan| plan.state.is_open()).count();
        assert_eq!(open, 0, "{what}");
    }

    fn survives_every_death(&self) {
        let (end, moments, _) = self.uninterrupted();
        assert!(moments > 10, "{moments}");
        for moment in 1..=moments {
            let mut line = (self.make)();
            line.fate.set(Mishap::Death(moment));
            let died = panic::catch_unwind(AssertUnwindSafe(|| (self.operation)(&mut line)));
            assert!(died.is_err(), "moment {moment}");
            self.ends_well(&mut line, &end, &format!("dead at moment {moment}"));
        }
    }

    fn survives_every_fault(&self) {
        let (end, _, writes) = self.uninterrupted();
        assert!(writes > 0);
        for write in 1..=writes {
            for fault in FAULTS {
                let what = format!("write {write}: {fault:?}");
                let mut line = (self.make)();
                line.fate.set(Mishap::Fault(write, fault));
                let ended = (self.operation)(&mut line);
                if matches!(fault, Fault::Status(401 | 403)) {
                    let is_done = ended.is_ok_and(|failed| failed.is_empty());
                    assert!(!is_done, "{what}");
                }
                self.ends_well(&mut line, &end, &what);
            }
        }
    }
}

/// Both tests of an operation.
macro_rules! survives {
    ($($name:ident: $make:expr => $operation:ident;)+) => {$(
        fn $name() -> Case {
            Case { make: $make, operation: $operation }
        }

        mod $name {
            #[test]
            fn every_death() {
                super::$name().survives_every_death();
            }

            #[test]
            fn every_fault() {
                super::$name().survives_every_fault();
            }
        }
    )+};
}

survives!(
    a_quarantine: Line::running => quarantine;
    a_quarantine_below_an_authority: Line::running => quarantine_below;
    a_readmission: shut_out => readmit;
    a_deprovisioning: Line::running => deprovision;
    a_deprovisioning_of_a_group: Line::running => deprovision_group;
    a_convergence: Line::empty => converge;
    a_pruning: undeclared => prune;
    the_start_of_a_roll: with_successor => start_of_roll;
    the_end_of_a_roll: moved => end_of_roll;
    a_breach_roll: with_successor => breach_roll;
);
