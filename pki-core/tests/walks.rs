//! Random walks: fleets, then operations in a row of all kinds, with others' changes in between; each is cut
//! at a random write and said again. After every write a second implementation of admission says who is let
//! in, and it is compared with what was asked for.
//!
//! A few hundred walks in an ordinary run; `WALKS=100000` asks for more, `WALKS_FROM` for others. A walk
//! that fails is shrunk and printed as a case for [`cases`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the number of walks comes from the environment"
)]

mod cases;
mod draws;
mod operation;
mod pki;
mod watch;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use pki_core::admission::decide;
use pki_core::enrollment::ProvisioningStatus;
use pki_core::lifecycle::{Checked, Effect, Impact, Plan, Step};
use pki_core::time::Span;

use draws::{Draws, shrunk};
use operation::Operation;
use pki::{Pki, Signer};
use watch::{Watch, burnt_stay_out};
use world::{Admitted, World};

/// How many walks an ordinary run takes.
const WALKS: u64 = 150;

#[test]
fn walks_hold_to_what_was_asked_for() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect(name))
    };
    let walks = number("WALKS", WALKS);
    let first = number("WALKS_FROM", 1);
    let next = AtomicU64::new(first);
    let steps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers = (0..std::thread::available_parallelism().map_or(1, usize::from)).map(|_| {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + walks {
                        return Ok(());
                    }
                    let mut draws = Draws::seeded(seed);
                    match walked(&mut draws) {
                        Ok(writes) => steps.fetch_add(writes, Ordering::Relaxed),
                        Err(error) => return Err((seed, draws.taken().to_vec(), error)),
                    };
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        for worker in workers {
            if let Err((seed, taken, error)) = worker.join().expect("a worker") {
                next.store(u64::MAX / 2, Ordering::Relaxed);
                let taken = shrunk(&taken, |taken| walked(&mut Draws::replayed(taken)).is_err());
                let again = walked(&mut Draws::replayed(&taken));
                panic!("walk {seed}: {error}\nshrunk: {again:?}\n&{taken:?}");
            }
        }
    });
    println!(
        "{walks} walks, {} writes judged",
        steps.load(Ordering::Relaxed)
    );
}

#[test]
fn walks_that_failed_once_hold() {
    for (rule, taken) in cases::CASES {
        let ended = walked(&mut Draws::replayed(taken));
        assert!(ended.is_ok(), "{rule}: {ended:?}");
    }
}

/// A walk whose panics are errors.
fn walked(draws: &mut Draws) -> Result<u64, String> {
    let ended = catch_unwind(AssertUnwindSafe(|| walk(draws)));
    ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// How many writes were judged.
fn walk(draws: &mut Draws) -> Result<u64, String> {
    let mut world = World::drawn(draws);
    let mut burnt: BTreeSet<(usize, Signer)> = BTreeSet::new();
    let mut writes = 0;
    for _ in 0..3 + draws.below(8) {
        let changes = draws.below(3);
        for _ in 0..changes {
            live(&mut world, draws);
            burnt_stay_out(&world, &burnt, &world.admitted())
                .map_err(|error| format!("after somebody else's change: {error}"))?;
        }
        let Some(operation) = Operation::drawn(&mut world, draws) else {
            continue;
        };
        let done = carry_out(&mut world, &operation, &burnt, draws);
        writes += done.map_err(|error| format!("{operation:?}: {error}"))?;
        if let Operation::DeprovisionGroup { place, group } = &operation {
            let gone = group.parse().expect("id");
            world.instances[*place].deprovisioned.insert(gone);
        }
        if let Operation::Breach { old, .. } = operation
            && world.generations[old.authority][old.generation]
                == pki_core::inventory::GenerationState::Compromised
        {
            burnt.extend((0..world.instances.len()).map(|place| (place, old)));
        }
    }
    Ok(writes)
}

/// Carries an operation out up to a random write, and says it again from there.
fn carry_out(
    world: &mut World,
    operation: &Operation,
    burnt: &BTreeSet<(usize, Signer)>,
    draws: &mut Draws,
) -> Result<u64, String> {
    let Some(plans) = operation.plan(world)? else {
        return Ok(0);
    };
    let steps = flat(&plans);
    check(world, operation, &plans)?;
    let mut watch = Watch::new(operation, world);
    let undisturbed = undisturbed(world, operation, &steps)?;
    let cut = draws.below(steps.len() + 1);
    let mut writes = follow(world, &mut watch, &steps[..cut], burnt)?;
    if cut < steps.len() {
        let rest = operation
            .plan(world)
            .map_err(|error| format!("said again: {error}"))?;
        let rest = rest.ok_or_else(|| format!("said again after {cut} writes, it is refused"))?;
        check(world, operation, &rest).map_err(|error| format!("said again: {error}"))?;
        writes += follow(world, &mut watch, &flat(&rest), burnt)
            .map_err(|error| format!("said again after {cut} writes: {error}"))?;
    }
    watch
        .judge(world, true)
        .map_err(|error| format!("when done: {error}"))?;
    if let Some(undisturbed) = undisturbed
        && undisturbed != world.admitted()
    {
        return Err(format!(
            "cut after {cut} writes, it ends otherwise than undisturbed"
        ));
    }
    let more = operation
        .plan(world)
        .map_err(|error| format!("said a third time: {error}"))?;
    match more
        .map(|plans| flat(&plans))
        .and_then(|steps| steps.into_iter().next())
    {
        None => Ok(writes),
        Some((_, step)) => Err(format!("said again when done, it would {step}")),
    }
}

/// Whom a breach roll leaves in that nothing cuts.
fn undisturbed(
    world: &World,
    operation: &Operation,
    steps: &[(usize, Step)],
) -> Result<Option<Admitted>, String> {
    if !matches!(operation, Operation::Breach { .. }) {
        return Ok(None);
    }
    let mut undisturbed = world.clone();
    for (place, step) in steps {
        undisturbed.step(*place, step)?;
    }
    Ok(Some(undisturbed.admitted()))
}

fn flat(plans: &[(usize, Plan)]) -> Vec<(usize, Step)> {
    let steps = plans.iter().flat_map(|(place, plan)| {
        let steps = plan.steps.iter().cloned();
        steps.map(move |step| (*place, step))
    });
    steps.collect()
}

fn follow(
    world: &mut World,
    watch: &mut Watch<'_>,
    steps: &[(usize, Step)],
    burnt: &BTreeSet<(usize, Signer)>,
) -> Result<u64, String> {
    for (place, step) in steps {
        world.step(*place, step)?;
        if step.changes_admission() {
            watch.written.insert(*place);
            let now = watch.judge(world, false);
            let now = now.map_err(|error| format!("after \"{step}\": {error}"))?;
            burnt_stay_out(world, burnt, &now)
                .map_err(|error| format!("after \"{step}\": {error}"))?;
        }
    }
    Ok(u64::try_from(steps.len()).expect("a count"))
}

/// The checker passes the plan, and its impact is what the judge counts.
fn check(world: &World, operation: &Operation, plans: &[(usize, Plan)]) -> Result<(), String> {
    for place in 0..world.instances.len() {
        let here = plans.iter().filter(|(at, _)| *at == place);
        let here: Vec<Plan> = here.map(|(_, plan)| plan.clone()).collect();
        let before = world.view(place);
        let fleet = world.fleet(place, &operation.named());
        let mut after = before.clone();
        let mut then = world.clone();
        for step in here.iter().flat_map(|plan| &plan.steps) {
            step.apply_to(&mut after)
                .map_err(|error| error.to_string())?;
            if step.changes_admission() {
                then.step(place, step)?;
            }
        }
        let promise = operation.promise(world);
        Checked::each(here, &before, &fleet, &promise).map_err(|error| error.to_string())?;
        let impact = Impact::compare(&before, &after, &fleet);
        let now = world.admitted();
        for leaf in world.devices.iter().flat_map(|device| &device.leaves) {
            let decision = decide(&before, &Pki::shared().leaf(*leaf).chain);
            if decision.is_admitted() != now[&(place, *leaf)] {
                return Err(format!(
                    "core and the judge differ about {leaf:?}: {decision}"
                ));
            }
        }
        let then = then.admitted();
        let live = (0..world.devices.len()).flat_map(|device| world.unexpired(device));
        let judged: Vec<(bool, bool)> = live
            .map(|leaf| (now[&(place, leaf)], then[&(place, leaf)]))
            .collect();
        for (effect, pair) in [
            (Effect::Loses, (true, false)),
            (Effect::Gains, (false, true)),
            (Effect::StaysAdmitted, (true, true)),
            (Effect::StaysOut, (false, false)),
        ] {
            let counted = judged.iter().filter(|one| **one == pair).count();
            if impact.count(effect) != u64::try_from(counted).expect("a count") {
                return Err(format!(
                    "impact says {effect:?} {}, and {counted} do in dps-{place}",
                    impact.count(effect)
                ));
            }
        }
    }
    Ok(())
}

/// What happens between operations: devices renew and register, time passes, somebody else changes DPS.
fn live(world: &mut World, draws: &mut Draws) {
    let device = draws.below(world.devices.len());
    let place = draws.below(world.instances.len());
    match draws.below(9) {
        0 | 1 => {
            world.issue(device);
        }
        2 | 3 => {
            let hub = draws.below(2);
            let back = draws.below(2);
            world.register(hub, device, back);
        }
        4 => world.now = world.now + Span::from_days(60),
        5 | 6 => {
            let groups = &world.instances[place].dps.groups;
            let others = groups
                .iter()
                .filter(|group| !is_own(group.enrollment_group_id.as_str()));
            let others: Vec<_> = others.cloned().collect();
            if let Some(mut group) = draws.pick(&others).cloned() {
                group.provisioning_status = match group.provisioning_status {
                    ProvisioningStatus::Disabled => ProvisioningStatus::Enabled,
                    _ => ProvisioningStatus::Disabled,
                };
                group.attestation = group.attestation.without_copies();
                world.instances[place].dps.put_group(&group);
            }
        }
        7 => {
            let holds = [pki::ROOT, pki::FACTORY, pki::LINE_A][draws.below(3)];
            // It may hold a certificate above one that was shut out before it existed.
            world.put_group(place, "late", &[holds], draws);
        }
        _ => {
            if world.entry(place, device).is_none() {
                world.put_entry(place, device, draws);
            }
        }
    }
}

fn is_own(group: &str) -> bool {
    group.starts_with("quarantine-")
}
