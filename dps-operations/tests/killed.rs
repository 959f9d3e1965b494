//! An operation whose process dies at any moment, or whose service fails at any write, is asked for again, as a
//! person would: it leads to where an uninterrupted one leads, whatever of it was done.

use std::panic::{self, AssertUnwindSafe};

use dps_operations::deprovision::{self, LeavingGroup};
use dps_operations::enroll;
use dps_operations::quarantine::{self, Below};
use dps_operations::roll::device::{DeviceRoll, Prepared};
use dps_operations::roll::{
    AuthorityRoll, BreachRequest, FinishRequest, Instances, Rolling, StartRequest,
};
use dps_operations::testing::Fault;
use dps_operations::{
    ExecuteError, Failures, PlanningError, StepFailure, Surroundings, converge, readmit,
};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{IndividualEnrollment, compose};
use pki_core::ids::Generation;
use pki_core::inventory::{GenerationState, Inventory as _};
use pki_core::journal::{Journal as _, PlanState};
use pki_core::lifecycle::HubAction;
use pki_core::lifecycle::roll::RollError;
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

fn enroll(line: &mut Line) -> Ended {
    let clock = FixedClock(now());
    let device = |name: &str| enroll::Device {
        id: id(name),
        leaf: line.target(name).leaf.expect("a leaf"),
    };
    let request = enroll::Request {
        devices: vec![device("sensor-1"), device("sensor-2")],
        called: "enroll 2 devices".to_owned(),
    };
    let prepared = wait(request.prepare(line.around(&clock))).expect("prepared");
    let judged = prepared.judge(line.around(&clock), &request).expect("kept");
    let failed = line.carry_out(&judged, Failures::GoOn)?;
    let proofs = wait(request.read_back(line.around(&clock))).expect("read");
    for report in request.report(&proofs, &failed) {
        let is_in = !report.proof.is_kept_out();
        assert!(is_in || report.failure.is_some(), "{report:?}");
    }
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

fn abort_of_roll(line: &mut Line) -> Ended {
    roll(line, |roll| roll.abort())
}

fn breach_roll(line: &mut Line) -> Ended {
    breach_roll_of(line, None)
}

fn second_breach_roll(line: &mut Line) -> Ended {
    breach_roll_of(line, Generation::new(2))
}

fn breach_roll_of(line: &mut Line, generation: Option<Generation>) -> Ended {
    let request = breach_of(generation);
    roll(line, |roll| Ok(wait(roll.breach(request))?.rolling))
}

fn breach_of(generation: Option<Generation>) -> BreachRequest {
    BreachRequest {
        generation,
        hub: HubAction::Disable,
        with_intermediates: false,
        is_shown: false,
    }
}

/// Plans a roll of the leaf of `sensor-1` as it is now, and carries it out.
fn roll_leaf(
    line: &mut Line,
    plan: impl FnOnce(&DeviceRoll, Surroundings<'_>) -> Result<Prepared, PlanningError>,
) -> Ended {
    let clock = FixedClock(now());
    let roll = wait(DeviceRoll::gather(line.around(&clock), &id("sensor-1")));
    let roll = roll.expect("read").expect("known");
    let prepared = plan(&roll, line.around(&clock)).expect("planned");
    let judged = prepared.judge(line.around(&clock), &roll).expect("kept");
    let failed = line.carry_out(&judged, Failures::Stop)?;
    wait(roll.read_back(line.around(&clock), &prepared)).expect("as planned");
    Ok(failed)
}

fn newest(roll: &DeviceRoll) -> &Certificate {
    roll.newest_leaf(now()).expect("a leaf")
}

fn start_of_leaf_roll(line: &mut Line) -> Ended {
    roll_leaf(line, |roll, _| roll.start(newest(roll)))
}

fn end_of_leaf_roll(line: &mut Line) -> Ended {
    roll_leaf(line, |roll, around| roll.finish(around, false))
}

fn abort_of_leaf_roll(line: &mut Line) -> Ended {
    roll_leaf(line, |roll, around| roll.abort(around))
}

fn replacement_of_leaf(line: &mut Line) -> Ended {
    roll_leaf(line, |roll, _| {
        roll.replace(newest(roll), HubAction::Disable, now())
    })
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

/// The second generation came by a breach roll, and a third one is there.
fn breached_once() -> Line {
    let mut line = with_successor();
    breach_roll(&mut line).expect("done");
    line.make_generation();
    line
}

/// Both generations are let in, and nobody has moved.
fn in_overlap() -> Line {
    let mut line = with_successor();
    start_of_roll(&mut line).expect("done");
    line
}

/// Both generations are let in, and the devices show leaves of the new one.
fn moved() -> Line {
    let mut line = in_overlap();
    for device in ["sensor-1", "sensor-2"] {
        let leaf = line.issue(device);
        line.register(device, &leaf);
    }
    line
}

/// `sensor-1` has an enrollment of its own with its leaf, and has been given the next one.
fn with_own_entry() -> Line {
    let mut line = Line::running();
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    let own = IndividualEnrollment::new(id("sensor-1"), compose::by_leaf(&leaf));
    line.dps.overwrite_individual(own);
    line.issue("sensor-1");
    line
}

/// Its enrollment holds both leaves.
fn with_both_leaves() -> Line {
    let mut line = with_own_entry();
    start_of_leaf_roll(&mut line).expect("done");
    line
}

/// Its enrollment holds both leaves, and it shows the new one.
fn with_new_leaf() -> Line {
    let line = with_both_leaves();
    let leaf = line.target("sensor-1").leaf.expect("a leaf");
    line.register("sensor-1", &leaf);
    line
}

/// A rolled line, and a group above by which `sensor-1` registered with its earlier leaf.
fn with_earlier_leaf() -> Line {
    let line = Line::rolled();
    let leaves = line.journal.certificates_of(&id("sensor-1")).expect("read");
    let earlier = leaves.last().expect("two leaves").recorded.certificate();
    line.register_by(&id("above"), "sensor-1", earlier);
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
        // A plan of one step alone lives through eight: it is looked for, journaled, written, journaled, closed.
        assert!(moments >= 8, "{moments}");
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
    a_deprovisioning_of_a_rolled_group: with_earlier_leaf => deprovision_group;
    an_enrollment_of_several: with_own_entry => enroll;
    a_convergence: Line::empty => converge;
    a_pruning: undeclared => prune;
    the_start_of_a_roll: with_successor => start_of_roll;
    the_end_of_a_roll: moved => end_of_roll;
    a_roll_that_is_given_up: in_overlap => abort_of_roll;
    a_breach_roll: with_successor => breach_roll;
    a_breach_roll_in_an_overlap: in_overlap => breach_roll;
    a_breach_roll_after_another: breached_once => second_breach_roll;
    the_start_of_a_leaf_roll: with_own_entry => start_of_leaf_roll;
    the_end_of_a_leaf_roll: with_new_leaf => end_of_leaf_roll;
    a_leaf_roll_that_is_given_up: with_both_leaves => abort_of_leaf_roll;
    the_replacement_of_a_leaf: with_own_entry => replacement_of_leaf;
);

/// Whether the status of the root's roll says that its breach roll lacks something.
fn is_unfinished(line: &Line) -> bool {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    let status = wait(roll.expect("gathered").status()).expect("read");
    status.unfinished.is_some()
}

/// Whether the root is not rolled any further, since its breach roll lacks something.
fn is_held_up(line: &Line) -> bool {
    let clock = FixedClock(now());
    let around = line.around(&clock);
    let instances = wait(Instances::gather([around.instance])).expect("read");
    let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
    match wait(roll.expect("gathered").check_breach()) {
        Ok(()) => false,
        Err(PlanningError::Roll(RollError::BreachUnfinished { .. })) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Each instance has a plan of its own: that of another one does not stand in the way of what would put the
/// compromised generation back.
#[test]
fn a_breach_is_recorded_before_anything_is_written() {
    let case = Case {
        make: with_successor,
        operation: breach_roll,
    };
    let before = with_successor().dps.dump();
    let (end, moments, _) = case.uninterrupted();
    let mut written = 0;
    for moment in 1..=moments {
        let mut line = with_successor();
        line.fate.set(Mishap::Death(moment));
        let died = panic::catch_unwind(AssertUnwindSafe(|| breach_roll(&mut line)));
        assert!(died.is_err(), "moment {moment}");
        if line.dps.dump() != before {
            written += 1;
            let root = line.journal.authority(&id("root")).expect("read");
            let states = root.expect("there").generations.into_iter();
            let states: Vec<GenerationState> = states.map(|one| one.state).collect();
            let settled = [GenerationState::Compromised, GenerationState::Current];
            assert_eq!(states, settled, "dead at moment {moment}");
            line.fate.set(Mishap::Nothing);
            let is_told = is_unfinished(&line);
            let left = state(&line);
            assert_eq!(is_told, left != end, "dead at moment {moment}");
            assert_eq!(is_held_up(&line), left != end, "dead at moment {moment}");
        }
    }
    assert!(written > 4, "{written}");
}

/// The line after an operation that died at a moment.
fn dead_at(make: fn() -> Line, operation: fn(&mut Line) -> Ended, moment: usize) -> Line {
    let mut line = make();
    line.fate.set(Mishap::Death(moment));
    let died = panic::catch_unwind(AssertUnwindSafe(|| operation(&mut line)));
    assert!(died.is_err(), "moment {moment}");
    line.fate.set(Mishap::Nothing);
    line
}

fn states_of_root(line: &Line) -> Vec<GenerationState> {
    let root = line.journal.authority(&id("root")).expect("read");
    let generations = root.expect("there").generations.into_iter();
    generations.map(|one| one.state).collect()
}

/// A generation that was made after the cut hides nothing, and is not taken for the one that comes.
#[test]
fn a_breach_roll_that_was_cut_is_completed_whatever_is_made_since() {
    let case = Case {
        make: with_successor,
        operation: breach_roll,
    };
    let (_, moments, _) = case.uninterrupted();
    let mut whole = with_successor();
    breach_roll(&mut whole).expect("done");
    let end = whole.dps.dump();
    let mut cut = 0;
    for moment in 1..=moments {
        let mut line = dead_at(with_successor, breach_roll, moment);
        if states_of_root(&line)[0] != GenerationState::Compromised {
            continue;
        }
        line.make_generation();
        let what = format!("dead at moment {moment}");
        let is_left = line.dps.dump() != end;
        assert_eq!(is_unfinished(&line), is_left, "{what}");
        assert_eq!(is_held_up(&line), is_left, "{what}");
        if is_left {
            cut += 1;
            breach_roll(&mut line).expect(&what);
        }
        assert_eq!(line.dps.dump(), end, "{what}");
        let states = [
            GenerationState::Compromised,
            GenerationState::Current,
            GenerationState::Pending,
        ];
        assert_eq!(states_of_root(&line), states, "{what}");
    }
    assert!(cut > 4, "{cut}");
}

/// Once it is done and another generation is there, nobody but who asks knows which one is meant.
#[test]
fn a_breach_roll_that_is_done_condemns_no_other_generation_unless_that_is_named() {
    let mut line = with_successor();
    for _ in 0..2 {
        breach_roll(&mut line).expect("done");
        let states = [GenerationState::Compromised, GenerationState::Current];
        assert_eq!(states_of_root(&line), states);
    }
    line.make_generation();
    let clock = FixedClock(now());
    let refused = |generation| {
        let around = line.around(&clock);
        let instances = wait(Instances::gather([around.instance])).expect("read");
        let roll = AuthorityRoll::gather(around.journal, &instances, &id("root"), (now(), None));
        let breach = wait(roll.expect("gathered").breach(breach_of(generation)));
        match breach.expect_err("refused") {
            PlanningError::Roll(error) => error,
            error => panic!("{error}"),
        }
    };
    let error = refused(None);
    assert!(
        matches!(error, RollError::WhichGeneration { .. }),
        "{error}"
    );
    let error = refused(Generation::new(3));
    assert!(matches!(error, RollError::NotCondemned { .. }), "{error}");
    second_breach_roll(&mut line).expect("done");
    assert_eq!(
        states_of_root(&line),
        [
            GenerationState::Compromised,
            GenerationState::Compromised,
            GenerationState::Current
        ]
    );
}

/// It ends as if the other roll had been finished or never begun, and the journal says why that was given up.
#[test]
fn a_breach_roll_goes_before_the_start_of_a_roll_that_was_cut() {
    let case = Case {
        make: with_successor,
        operation: start_of_roll,
    };
    let (_, moments, _) = case.uninterrupted();
    let ends = [with_successor, in_overlap].map(|make: fn() -> Line| {
        let mut line = make();
        breach_roll(&mut line).expect("done");
        state(&line)
    });
    let mut given_up = 0;
    for moment in 1..=moments {
        let mut line = dead_at(with_successor, start_of_roll, moment);
        breach_roll(&mut line).expect("done");
        let end = state(&line);
        assert!(ends.contains(&end), "dead at moment {moment}: {end:#?}");
        for plan in line.journal.plans(10).expect("read") {
            assert!(!plan.state.is_open(), "dead at moment {moment}: {plan:?}");
            if let PlanState::Abandoned { reason, .. } = plan.state {
                assert_eq!(reason, "a breach roll of the authority went first");
                given_up += 1;
            }
        }
    }
    assert!(given_up > 4, "{given_up}");
}

/// What the end of a roll has left to do is done by it afterwards.
#[test]
fn a_breach_roll_goes_before_the_end_of_a_roll_that_was_cut() {
    let case = Case {
        make: moved,
        operation: end_of_roll,
    };
    let (_, moments, _) = case.uninterrupted();
    let mut cut = 0;
    for moment in 1..=moments {
        let mut line = dead_at(moved, end_of_roll, moment);
        if states_of_root(&line)[0] != GenerationState::Retired {
            continue;
        }
        cut += 1;
        line.make_generation();
        breach_roll(&mut line).expect("done");
        for device in ["sensor-1", "sensor-2"] {
            let leaf = line.issue(device);
            line.register(device, &leaf);
        }
        end_of_roll(&mut line).expect("done");
        let states = [
            GenerationState::Retired,
            GenerationState::Compromised,
            GenerationState::Current,
        ];
        assert_eq!(states_of_root(&line), states, "dead at moment {moment}");
        let held = line.dps.dump();
        let uploads = held.iter().filter(|one| one.starts_with("ca "));
        assert_eq!(uploads.count(), 1, "dead at moment {moment}: {held:#?}");
        let plans = line.journal.plans(10).expect("read");
        assert!(plans.iter().all(|plan| !plan.state.is_open()), "{plans:?}");
    }
    assert!(cut > 2, "{cut}");
}
