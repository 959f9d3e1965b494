//! What every journal must do, as one suite that each adapter passes.
#![expect(
    clippy::expect_used,
    reason = "a contract suite tells of a breach by panicking"
)]

use crate::enrollment::{
    Attestation, IndividualEnrollment, Mechanism, ProvisioningStatus, SymmetricKey, SymmetricKeys,
};
use crate::ids::{DpsName, Etag, PlanId};
use crate::inventory::InventoryError;
use crate::journal::{Journal, NewPlan, PlanState, Settled, StepEnd, StepOutcome, StepState, Turn};
use crate::lifecycle::{Expectation, Plan, Step, Subject};
use crate::time::{Span, Time};

/// Runs the suite; `make` gives a new, empty inventory each time.
///
/// # Panics
/// Where the journal breaks the contract.
pub fn journal_contract(make: impl Fn() -> Box<dyn Journal>) {
    for rule in [
        a_plan_lives_from_open_to_finished,
        a_step_that_was_begun_is_read_back,
        a_plan_on_the_same_subject_waits,
        what_is_closed_does_not_change,
        a_refused_change_leaves_no_trace,
        keys_are_not_stored,
        plans_come_newest_first,
        what_was_finished_is_found_by_what_it_was_about,
        the_trail_tells_of_a_plan,
    ] {
        rule(make().as_mut());
    }
}

fn a_plan_lives_from_open_to_finished(journal: &mut dyn Journal) {
    let opened = journal
        .open_plan(of(1, &["a", "b"]), now())
        .expect("opened");
    assert_eq!(stored(journal, 1), opened);
    assert_eq!(opened.next(0, &[].into()), Some(Turn::Send(0..2)));
    begin(journal, 1, &[0, 1]);
    let early = journal.close_plan(id(1), None, now());
    assert!(matches!(
        early,
        Err(InventoryError::PlanUnfinished { left: 2, .. })
    ));
    end(journal, 1, 0, sent("1"));
    end(journal, 1, 1, StepEnd::Failed("429".to_owned()));
    let record = stored(journal, 1);
    let StepState::Done { outcome, at } = &record.steps[0] else {
        panic!("{:?}", record.steps);
    };
    assert_eq!((outcome.how, *at), (Settled::Sent, later()));
    assert_eq!(record.next(0, &[].into()), Some(Turn::ReadBack(1)));
    assert_eq!(record.next(0, &[1].into()), None);
    begin(journal, 1, &[1]);
    end(journal, 1, 1, sent("2"));
    journal.close_plan(id(1), None, later()).expect("closed");
    let record = stored(journal, 1);
    assert_eq!(record.state, PlanState::Finished { closed_at: later() });
    assert_eq!(record.next(0, &[].into()), None);
}

fn a_step_that_was_begun_is_read_back(journal: &mut dyn Journal) {
    journal
        .open_plan(of(1, &["a", "b"]), now())
        .expect("opened");
    begin(journal, 1, &[0]);
    let record = stored(journal, 1);
    let expect = Expectation::Absent;
    assert_eq!(
        record.steps[0],
        StepState::Begun {
            at: later(),
            expect
        }
    );
    assert_eq!(record.next(0, &[].into()), Some(Turn::ReadBack(0)));
    assert_eq!(record.next(1, &[].into()), Some(Turn::Send(1..2)));
}

fn a_plan_on_the_same_subject_waits(journal: &mut dyn Journal) {
    journal
        .open_plan(of(1, &["a", "b"]), now())
        .expect("opened");
    let refused = journal.open_plan(of(2, &["c", "B"]), now());
    let Err(InventoryError::PlanInTheWay { plan, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(plan, id(1));
    assert_eq!(journal.plan(id(2)).expect("read"), None);
    let elsewhere = NewPlan {
        dps: dps("prod"),
        ..of(3, &["b"])
    };
    journal
        .open_plan(elsewhere, now())
        .expect("another instance");
    let subjects = of(2, &["B"]).plan.subject_keys();
    let found = journal.plans_in_the_way(&dps("dev"), &subjects);
    let found: Vec<PlanId> = found
        .expect("read")
        .iter()
        .map(|found| found.plan)
        .collect();
    assert_eq!(found, [id(1)]);
    journal
        .close_plan(id(1), Some("not needed"), now())
        .expect("abandoned");
    journal
        .open_plan(of(2, &["c", "B"]), now())
        .expect("free again");
}

fn what_is_closed_does_not_change(journal: &mut dyn Journal) {
    journal.open_plan(of(1, &["a"]), now()).expect("opened");
    begin(journal, 1, &[0]);
    journal
        .close_plan(id(1), Some("not needed"), later())
        .expect("abandoned");
    let closed_at = later();
    let reason = "not needed".to_owned();
    let abandoned = PlanState::Abandoned { closed_at, reason };
    assert_eq!(stored(journal, 1).state, abandoned);
    let results = [
        journal.begin_steps(id(1), &[(0, Expectation::Absent)], now()),
        journal.end_steps(id(1), &[(0, sent("1"))], now()),
        journal.close_plan(id(1), None, now()),
    ];
    for result in results {
        assert!(
            matches!(result, Err(InventoryError::PlanClosed { .. })),
            "{result:?}"
        );
    }
    let unknown = journal.close_plan(id(9), None, now());
    assert!(matches!(unknown, Err(InventoryError::PlanNotFound { .. })));
}

fn a_refused_change_leaves_no_trace(journal: &mut dyn Journal) {
    journal
        .open_plan(of(1, &["a", "b"]), now())
        .expect("opened");
    begin(journal, 1, &[0]);
    let before = (stored(journal, 1), journal.audit_head().expect("read"));
    let results = [
        journal.end_steps(id(1), &[(0, sent("1")), (1, sent("1"))], now()),
        journal.begin_steps(
            id(1),
            &[(1, Expectation::Absent), (2, Expectation::Absent)],
            now(),
        ),
    ];
    for result in results {
        assert!(
            matches!(result, Err(InventoryError::StepState { .. })),
            "{result:?}"
        );
    }
    assert_eq!(
        (stored(journal, 1), journal.audit_head().expect("read")),
        before
    );
    end(journal, 1, 0, sent("1"));
    let again = journal.begin_steps(id(1), &[(0, Expectation::Absent)], now());
    assert!(matches!(again, Err(InventoryError::StepState { .. })));
}

fn keys_are_not_stored(journal: &mut dyn Journal) {
    let key = SymmetricKey::from_base64("c2VjcmV0");
    let keys = SymmetricKeys {
        primary_key: Some(key),
        ..SymmetricKeys::default()
    };
    let mut new = of(1, &["a"]);
    let mut enrollment = match &new.plan.steps[0] {
        Step::Individual(step) => step.document().expect("a document").clone(),
        other => panic!("{other}"),
    };
    enrollment.attestation.mechanism = Mechanism::SymmetricKey(Some(keys));
    new.plan.steps[0] = Step::put_individual(enrollment, vec![], Expectation::Absent);
    assert!(new.plan.steps[0].brings_keys());
    let opened = journal.open_plan(new, now()).expect("opened");
    for record in [opened, stored(journal, 1)] {
        assert!(record.keys_withheld && !record.plan.steps[0].brings_keys());
    }
}

fn plans_come_newest_first(journal: &mut dyn Journal) {
    for number in 1..=3 {
        let ids = [&*format!("device-{number}")];
        journal.open_plan(of(number, &ids), now()).expect("opened");
    }
    begin(journal, 2, &[0]);
    end(journal, 2, 0, sent("1"));
    let plans = journal.plans(2).expect("read");
    let shown: Vec<_> = plans
        .iter()
        .map(|plan| (plan.plan, plan.done, plan.steps))
        .collect();
    assert_eq!(shown, [(id(3), 0, 1), (id(2), 1, 1)]);
    assert_eq!(plans[1], stored(journal, 2).summary());
}

fn what_was_finished_is_found_by_what_it_was_about(journal: &mut dyn Journal) {
    for (number, device) in [(1, "a"), (2, "a"), (3, "b")] {
        journal
            .open_plan(of(number, &[device]), now())
            .expect("opened");
        begin(journal, number, &[0]);
        end(journal, number, 0, sent("1"));
        journal
            .close_plan(id(number), None, now())
            .expect("finished");
    }
    journal.open_plan(of(4, &["a"]), now()).expect("opened");
    let find = |dps_name: &str, goal: &str, device: &str| {
        let subject = Subject::Device(device.parse().expect(device));
        let found = journal.finished_plan(&dps(dps_name), goal, &subject);
        found.expect("read").map(|record| record.id)
    };
    assert_eq!(find("dev", "shut out", "A"), Some(id(2)));
    assert_eq!(find("dev", "shut out", "b"), Some(id(3)));
    assert_eq!(find("dev", "let in", "a"), None);
    assert_eq!(find("prod", "shut out", "a"), None);
    assert_eq!(find("dev", "shut out", "c"), None);
}

fn the_trail_tells_of_a_plan(journal: &mut dyn Journal) {
    journal.open_plan(of(1, &["a"]), now()).expect("opened");
    begin(journal, 1, &[0]);
    end(journal, 1, 0, sent("1"));
    journal.close_plan(id(1), None, now()).expect("finished");
    journal.open_plan(of(2, &["a"]), now()).expect("opened");
    journal
        .close_plan(id(2), Some("no"), now())
        .expect("abandoned");
    let entries = journal.audit_entries(0, 10).expect("read");
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action()).collect();
    let expected = [
        "plan-opened",
        "steps-begun",
        "steps-ended",
        "enrollment-written",
        "plan-finished",
        "plan-opened",
        "plan-abandoned",
    ];
    assert_eq!(actions, expected);
    assert_eq!(entries[1].subject(), id(1).to_string());
    assert_eq!(entries[3].subject(), "a");
    assert!(journal.verify_audit(&[]).expect("read").is_intact());
}

fn id(number: u8) -> PlanId {
    PlanId::from_random([0, 0, 0, 0, 0, number])
}

fn dps(name: &str) -> DpsName {
    name.parse().expect(name)
}

fn now() -> Time {
    "2026-03-01T00:00:00Z".parse().expect("time")
}

fn later() -> Time {
    now() + Span::from_days(1)
}

/// A plan that shuts out these devices.
fn of(number: u8, devices: &[&str]) -> NewPlan {
    let put = |device: &&str| {
        let registration_id = device.parse().expect(device);
        let mut entry = IndividualEnrollment::new(registration_id, Attestation::generated_keys());
        entry.provisioning_status = ProvisioningStatus::Disabled;
        Step::put_individual(entry, vec![], Expectation::Absent)
    };
    NewPlan {
        id: id(number),
        dps: dps("dev"),
        plan: Plan {
            steps: devices.iter().map(put).collect(),
            ..Plan::new(format!("shut out {devices:?}"))
        },
    }
}

fn stored(journal: &dyn Journal, number: u8) -> crate::journal::PlanRecord {
    journal.plan(id(number)).expect("read").expect("stored")
}

fn begin(journal: &mut dyn Journal, number: u8, steps: &[usize]) {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (*step, Expectation::Absent))
        .collect();
    journal
        .begin_steps(id(number), &steps, later())
        .expect("begun");
}

fn end(journal: &mut dyn Journal, number: u8, step: usize, end: StepEnd) {
    journal
        .end_steps(id(number), &[(step, end)], later())
        .expect("ended");
}

fn sent(etag: &str) -> StepEnd {
    StepEnd::Done(StepOutcome {
        how: Settled::Sent,
        etag: Some(Etag::new(etag)),
    })
}
