//! What somebody who looks on sees and can do: interrupt, resume, be told of conflicts.

use std::sync::Arc;

use dps_operations::execute::Difference;
use dps_operations::testing::Smooth;
use dps_operations::{Class, Event, ExecuteError, Interruption, Observer, StepError};
use pki_core::enrollment::{EnrollmentGroup, compose};
use pki_core::ids::PlanId;
use pki_core::journal::{Journal as _, Settled};
use pki_core::testing::FixedClock;

use super::site::{Site, now};

/// Asks for an end when so many steps are done, and keeps what it was told.
struct Impatient {
    after: u64,
    interruption: Interruption,
    seen: Vec<String>,
}

impl Observer for Impatient {
    fn observe(&mut self, event: Event<'_>) {
        self.seen.push(match event {
            Event::Opened { steps, done, .. } => format!("{done} of {steps}"),
            Event::Begun { index, .. } => format!("begun {index}"),
            Event::Done {
                index, how, done, ..
            } => {
                if done == self.after {
                    self.interruption.ask();
                }
                let how = if how == Settled::Sent {
                    "sent"
                } else {
                    "found"
                };
                format!("{how} {index}")
            }
            Event::Failed { index, .. } => format!("failed {index}"),
            _ => "something new".to_owned(),
        });
    }
}

fn impatient(after: u64) -> Impatient {
    Impatient {
        after,
        interruption: Interruption::default(),
        seen: Vec::new(),
    }
}

#[test]
fn an_interruption_ends_a_run_after_its_step_and_leaves_a_plan_to_resume() {
    let clock = FixedClock(now());
    let mut site = Site::new(Arc::new(Smooth));
    let plan = site.plan();
    let mut observer = impatient(2);
    let interruption = observer.interruption.clone();
    let ended = site.carry_out(&clock, &plan, &mut observer, &interruption);
    let Err(ExecuteError::Interrupted(progress)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(
        (progress.done, progress.steps),
        (2, plan.plan().steps.len())
    );
    assert_eq!(
        observer.seen,
        ["0 of 10", "begun 0", "sent 0", "begun 1", "sent 1"]
    );

    let record = site
        .journal
        .plan(progress.plan)
        .expect("read")
        .expect("open");
    assert!(site.resume(&clock, record).expect("resumed").is_empty());
    let record = site
        .journal
        .plan(progress.plan)
        .expect("read")
        .expect("there");
    assert!(!record.state.is_open());
}

/// Several entries go in one call, and each is told of.
#[test]
fn every_step_is_told_once_when_it_is_journaled() {
    let mut site = Site::new(Arc::new(Smooth));
    let plan = site.plan();
    let mut observer = impatient(u64::MAX);
    let interruption = Interruption::default();
    let ended = site.carry_out(&FixedClock(now()), &plan, &mut observer, &interruption);
    assert!(ended.expect("done").is_empty());
    for index in 0..plan.plan().steps.len() {
        let told = [format!("begun {index}"), format!("sent {index}")];
        for line in told {
            let times = observer.seen.iter().filter(|seen| **seen == line).count();
            assert_eq!(times, 1, "{line}");
        }
    }
    let bulk = [
        "begun 3", "begun 4", "begun 5", "sent 3", "sent 4", "sent 5",
    ];
    assert!(
        observer.seen.windows(6).any(|seen| seen == bulk),
        "{:?}",
        observer.seen
    );
}

#[test]
fn what_somebody_else_has_made_stops_and_closes_the_plan_and_is_not_overwritten() {
    let mut site = Site::new(Arc::new(Smooth));
    let plan = site.plan();
    let theirs = compose::by_ca_reference("theirs".parse().expect("name"));
    let theirs = EnrollmentGroup::new("line-1".parse().expect("group"), theirs);
    site.dps.overwrite_group(theirs);
    let interruption = Interruption::default();
    let ended = site.carry_out(&FixedClock(now()), &plan, &mut (), &interruption);
    let error = ended.expect_err("a conflict");
    assert_eq!(error.class(), Class::Conflict);
    let text = error.to_string();
    let ExecuteError::Stopped(stopped) = error else {
        panic!("{text}");
    };
    assert_eq!((stopped.index, stopped.is_closed), (2, true));
    let StepError::Changed { difference, .. } = stopped.error else {
        panic!("{text}");
    };
    assert_eq!(difference, Difference::Made);
    let expected = "step 3 of 10 failed (create enrollment group line-1, enabled): line-1 changed since it was read: somebody else has made it";
    assert_eq!(text, expected);
}

/// One plan about a subject at a time, by the journal; who is alive, by the lock.
#[test]
fn a_plan_in_the_way_is_told_from_one_that_is_under_way() {
    let clock = FixedClock(now());
    let mut site = Site::new(Arc::new(Smooth));
    let plan = site.plan();
    let mut observer = impatient(1);
    let interruption = observer.interruption.clone();
    let ended = site.carry_out(&clock, &plan, &mut observer, &interruption);
    assert!(matches!(ended, Err(ExecuteError::Interrupted(_))));
    let open: PlanId = site.journal.plans(1).expect("read")[0].plan;

    let mut other = plan.plan().clone();
    other.goal = "something else".to_owned();
    let other = site.checked(other);
    let interruption = Interruption::default();
    let ended = site.carry_out(&clock, &other, &mut (), &interruption);
    let Err(ExecuteError::InTheWay {
        plan: in_the_way, ..
    }) = ended
    else {
        panic!("{ended:?}");
    };
    assert_eq!(in_the_way, open);

    let locks = site.locks.clone();
    let held = dps_operations::ports::Locks::plan(&locks, open).expect("locks");
    assert!(held.is_some());
    let ended = site.carry_out(&clock, &other, &mut (), &interruption);
    assert!(matches!(ended, Err(ExecuteError::Held { .. })), "{ended:?}");
}

/// Between the look and the lock another process has carried the plan out: that is told, and nothing is sent.
#[test]
fn a_plan_that_another_process_has_ended_meanwhile_is_told() {
    let clock = FixedClock(now());
    let mut site = Site::new(Arc::new(Smooth));
    let plan = site.plan();
    let mut observer = impatient(1);
    let interruption = observer.interruption.clone();
    let ended = site.carry_out(&clock, &plan, &mut observer, &interruption);
    assert!(matches!(ended, Err(ExecuteError::Interrupted(_))));
    let open = site.journal.plans(1).expect("read").remove(0);
    let record = site.journal.plan(open.plan).expect("read").expect("open");
    assert!(site.resume(&clock, record).expect("resumed").is_empty());

    let ended = site.supersede(&clock, &open);
    let error = ended.expect_err("ended meanwhile");
    assert_eq!(error.class(), Class::Conflict);
    let told = format!(
        "plan {} of another process is finished meanwhile: {}",
        open.plan, open.goal
    );
    assert_eq!(error.to_string(), told);
}
