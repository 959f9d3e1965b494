//! The operations of a walk: what each plans, and what may happen to whom while it is carried out.

use std::collections::BTreeSet;

use pki_core::admission::{ChainElement, Outcome, outcome_below};
use pki_core::enrollment::EnrollmentGroup;
use pki_core::ids::RegistrationId;
use pki_core::inventory::GenerationState;
use pki_core::lifecycle::roll::{
    self, Breach, Devices, Finish, InstancePlan, RollError, Shown, Start, device,
};
use pki_core::lifecycle::{
    DeclaredError, Deprovision, GroupMembers, HubAction, LeafStanding, Plan, Promise, PruneError,
    Quarantine, QuarantineState, Readmit, ReadmitState, Subject, Who, check_pruning, converge,
    deprovision, deprovision_group, prune, quarantine_below, quarantine_many, readmit,
    release_pins,
};
use pki_core::time::Span;

use crate::walks::draws::Draws;
use crate::walks::pki::{LeafKey, Pki, Signer, device_id};
use crate::walks::world::World;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Start {
        authority: usize,
    },
    Finish {
        authority: usize,
        accept: bool,
    },
    Abort {
        authority: usize,
    },
    Breach {
        authority: usize,
        old: Signer,
        hub: HubAction,
        with_intermediates: bool,
    },
    Quarantine {
        place: usize,
        devices: BTreeSet<usize>,
        hub: HubAction,
    },
    QuarantineAuthority {
        place: usize,
        authority: usize,
    },
    Readmit {
        place: usize,
        device: usize,
        leaf: LeafKey,
    },
    Deprovision {
        place: usize,
        device: usize,
    },
    DeprovisionGroup {
        place: usize,
        group: String,
    },
    StartDevice {
        place: usize,
        device: usize,
        leaf: LeafKey,
    },
    FinishDevice {
        place: usize,
        device: usize,
        leaf: LeafKey,
    },
    ReplaceDevice {
        place: usize,
        device: usize,
        leaf: LeafKey,
        old: Vec<LeafKey>,
    },
    AbortDevice {
        place: usize,
        device: usize,
        leaf: LeafKey,
    },
    Converge {
        place: usize,
        prune: bool,
    },
}

/// Plans of an operation, by instance, in their order; `None` if it is refused for a reason that a random
/// fleet may give.
pub(crate) type Plans = Option<Vec<(usize, Plan)>>;

impl Operation {
    /// Draws an operation, and makes what it takes: a new generation, a new leaf.
    pub(crate) fn drawn(world: &mut World, draws: &mut Draws) -> Option<Self> {
        let authority = draws.below(Pki::authorities());
        let place = draws.below(world.instances.len());
        let device = draws.below(world.devices.len());
        let hub = [HubAction::Disable, HubAction::Delete][draws.below(2)];
        Some(match draws.below(17) {
            0 | 1 => {
                succeed(world, authority);
                Self::Start { authority }
            }
            2 | 3 => Self::Finish {
                authority,
                accept: draws.one_in(2),
            },
            4 => Self::Abort { authority },
            5 | 6 => {
                let old = Signer {
                    authority,
                    generation: current(world, authority)?,
                };
                succeed(world, authority);
                if !has_newcomer(world, authority) {
                    return None;
                }
                let with_intermediates = draws.one_in(2);
                Self::Breach {
                    authority,
                    old,
                    hub,
                    with_intermediates,
                }
            }
            7 => {
                let devices = (0..world.devices.len())
                    .filter(|_| draws.one_in(4))
                    .collect();
                Self::Quarantine {
                    place,
                    devices,
                    hub,
                }
            }
            8 => Self::QuarantineAuthority { place, authority },
            9 => {
                let leaf = world.issue(device)?;
                Self::Readmit {
                    place,
                    device,
                    leaf,
                }
            }
            10 => Self::Deprovision { place, device },
            11 => {
                let groups = &world.instances[place].dps.groups;
                let group = draws.pick(groups)?.enrollment_group_id.to_string();
                if group.starts_with("quarantine-") {
                    return None;
                }
                Self::DeprovisionGroup { place, group }
            }
            12 => {
                let leaf = world.issue(device)?;
                Self::StartDevice {
                    place,
                    device,
                    leaf,
                }
            }
            14 | 15 => Self::Converge {
                place,
                prune: draws.one_in(2),
            },
            16 => {
                let leaves = &world.devices[device].leaves;
                Self::AbortDevice {
                    place,
                    device,
                    leaf: *draws.pick(leaves)?,
                }
            }
            _ => {
                let leaves = &world.devices[device].leaves;
                let old = leaves.clone();
                if draws.one_in(2) {
                    let leaf = *leaves.last()?;
                    Self::FinishDevice {
                        place,
                        device,
                        leaf,
                    }
                } else {
                    let leaf = world.issue(device)?;
                    Self::ReplaceDevice {
                        place,
                        device,
                        leaf,
                        old,
                    }
                }
            }
        })
    }

    pub(crate) fn plan(&self, world: &World) -> Result<Plans, String> {
        Ok(match self {
            Self::Start { authority } => {
                let request = Start {
                    overlap_until: world.now + Span::from_days(365),
                    leaves_beyond: 0,
                    accept_stranded: 0,
                };
                rolled(roll::start(&request, &world.roll_state(*authority)))?
            }
            Self::Finish { authority, accept } => self.finish(world, *authority, *accept)?,
            Self::Abort { authority } => {
                let moved = world.devices.iter().flat_map(|device| &device.leaves);
                let newest = world.generations[*authority].len() - 1;
                let newest = Signer {
                    authority: *authority,
                    generation: newest,
                };
                let is_current = current(world, *authority) == Some(newest.generation);
                let moved = moved
                    .filter(|leaf| leaf.signer == newest && !is_current)
                    .count();
                rolled(roll::abort(&devices(moved), &world.roll_state(*authority)))?
            }
            Self::Breach {
                authority,
                old,
                hub,
                with_intermediates,
            } => {
                let registered = (0..world.instances.len()).map(|place| {
                    let hit = world.registered_below(place, *old).into_iter();
                    hit.map(|(_, device)| device).collect()
                });
                let request = Breach {
                    generation: Some(Pki::id(*old).generation),
                    devices: registered.collect(),
                    hub: *hub,
                    with_intermediates: *with_intermediates,
                };
                let state = if *with_intermediates {
                    world.breach_state(*old)
                } else {
                    world.roll_state(*authority)
                };
                rolled(roll::replace(&request, &state))?
            }
            Self::Quarantine {
                place,
                devices,
                hub,
            } => {
                let requests: Vec<_> = devices
                    .iter()
                    .map(|device| quarantine_of(world, *place, *device, *hub))
                    .collect();
                (!devices.is_empty()).then(|| vec![(*place, quarantine_many(&requests))])
            }
            Self::QuarantineAuthority { place, authority } => {
                Some(vec![(*place, below(world, *place, *authority)?)])
            }
            Self::Readmit {
                place,
                device,
                leaf,
            } => {
                let others = world.devices[*device]
                    .leaves
                    .iter()
                    .filter(|one| *one != leaf);
                let request = Readmit {
                    registration_id: device_id(*device),
                    leaf: Pki::shared().leaf(*leaf).certificate.clone(),
                };
                let state = ReadmitState {
                    individual: world.entry(*place, *device).cloned(),
                    leaf: LeafStanding::Valid,
                    earlier: others
                        .map(|one| Pki::shared().leaf(*one).certificate.clone())
                        .collect(),
                    hub_identities: world.identities(*device),
                    ..ReadmitState::default()
                };
                let plan = readmit(&request, &state, world.now);
                plan.ok().map(|plan| vec![(*place, plan)])
            }
            Self::Deprovision { place, device } => {
                let leaves = &world.devices[*device].leaves;
                let newest = leaves.last().expect("a leaf");
                let view = world.view(*place);
                let outcomes = leaves
                    .iter()
                    .map(|leaf| outcome_below(&view, &Pki::shared().above(leaf.signer)));
                let outcomes: Vec<Outcome> = outcomes.collect();
                let admitted = outcomes
                    .iter()
                    .find(|outcome| matches!(outcome, Outcome::Admitted(_)));
                let request = Deprovision {
                    registration_id: device_id(*device),
                    leaf: Some(Pki::shared().leaf(*newest).certificate.clone()),
                    without_entry: admitted.or_else(|| outcomes.first()).cloned(),
                };
                let state = state_of(world, *place, *device);
                Some(vec![(*place, deprovision(&request, &state))])
            }
            Self::DeprovisionGroup { place, group } => self.leave(world, *place, group),
            Self::StartDevice {
                place,
                device,
                leaf,
            } => {
                let leaf = &Pki::shared().leaf(*leaf).certificate;
                let state = device_state(world, *place, *device);
                let plan = device::start(&device_id(*device), leaf, &state);
                plan.ok().map(|plan| vec![(*place, plan)])
            }
            Self::FinishDevice {
                place,
                device,
                leaf,
            } => {
                let leaf = &Pki::shared().leaf(*leaf).certificate;
                let state = device_state(world, *place, *device);
                let moving = roll::MovingDevice {
                    id: device_id(*device),
                    new_leaf_since: None,
                    registered_at: None,
                    shown: Shown::Unknown,
                };
                let plan = device::finish(&moving, leaf, true, &state);
                plan.ok().map(|plan| vec![(*place, plan)])
            }
            Self::Converge { place, prune } => Self::converge(world, *place, *prune)?,
            Self::AbortDevice {
                place,
                device,
                leaf,
            } => {
                let leaf = &Pki::shared().leaf(*leaf).certificate;
                let state = device_state(world, *place, *device);
                let moving = roll::MovingDevice {
                    id: device_id(*device),
                    new_leaf_since: None,
                    registered_at: None,
                    shown: Shown::Old,
                };
                let plan = device::abort(&moving, leaf, &state);
                plan.ok().map(|plan| vec![(*place, plan)])
            }
            Self::ReplaceDevice {
                place,
                device,
                leaf,
                old,
            } => {
                let leaf = &Pki::shared().leaf(*leaf).certificate;
                let live: Vec<LeafKey> = world.live(*device).collect();
                let old: Vec<_> = old
                    .iter()
                    .filter(|key| live.contains(key))
                    .map(|key| Pki::shared().leaf(*key).certificate.clone())
                    .collect();
                let state = device_state(world, *place, *device);
                let plan =
                    device::replace(&device_id(*device), leaf, &old, HubAction::Disable, &state);
                plan.ok().map(|plan| vec![(*place, plan)])
            }
        })
    }

    /// As `apply` plans it, with what the command looks at.
    fn converge(world: &World, place: usize, prunes: bool) -> Result<Plans, String> {
        let state = world.declared_state(place);
        let (name, declared) = world.declared(place);
        let mut plan = match converge(name, declared, &state) {
            Ok(plan) => plan,
            Err(error @ (DeclaredError::Below(_) | DeclaredError::View(_))) => {
                return Err(error.to_string());
            }
            Err(_) => return Ok(None),
        };
        let view = world.view(place);
        if prunes {
            let Ok(kept) = prune(&mut plan, declared, &state) else {
                return Ok(None);
            };
            let fleet = world.fleet(place, &[]);
            match check_pruning(&state, &view, &fleet, plan.steps.split_at(kept)) {
                Ok(()) => {}
                Err(PruneError::View(error)) => return Err(error.to_string()),
                Err(_) => return Ok(None),
            }
        }
        let above = |id: &RegistrationId| -> Result<Option<Vec<ChainElement>>, String> {
            let mut devices = 0..world.devices.len();
            let device = devices.find(|device| device_id(*device) == *id);
            let newest = device.and_then(|device| world.live(device).last());
            Ok(newest.map(|leaf| Pki::shared().above(leaf.signer)))
        };
        let individuals = &world.instances[place].dps.individuals;
        let after = plan.applied_to(&view).map_err(|error| error.to_string())?;
        let released = release_pins(individuals, &after, world.now, above)?;
        plan.steps.extend(released);
        Ok(Some(vec![(place, plan)]))
    }

    fn finish(&self, world: &World, authority: usize, accept: bool) -> Result<Plans, String> {
        let gone = self.gone(world);
        let before = world.admitted();
        let stranded = (0..world.devices.len()).filter(|device| {
            (0..world.instances.len()).any(|place| {
                let admitted = world.live(*device).filter(|leaf| before[&(place, *leaf)]);
                let admitted: Vec<LeafKey> = admitted.collect();
                world.entry(place, *device).is_none()
                    && !admitted.is_empty()
                    && admitted.iter().all(|leaf| goes(leaf, &gone))
            })
        });
        let left_behind = devices(stranded.count());
        let request = Finish {
            accept_stranded: if accept { left_behind.count } else { 0 },
            left_behind,
            not_known: Devices::default(),
            with_intermediates: accept,
        };
        rolled(roll::finish(&request, &world.roll_state(authority)))
    }

    /// The generations that go, or come.
    pub(crate) fn gone(&self, world: &World) -> Vec<Signer> {
        let (Self::Finish { authority, .. }
        | Self::Start { authority }
        | Self::Abort { authority }) = self
        else {
            return vec![];
        };
        let states = &world.generations[*authority];
        let is_finish = matches!(self, Self::Finish { .. });
        let is_meant = |state: GenerationState| match state {
            GenerationState::Current => is_finish && states.contains(&GenerationState::Next),
            GenerationState::Retired | GenerationState::Compromised => is_finish,
            GenerationState::Next | GenerationState::Pending => !is_finish,
            _ => false,
        };
        let gone = states
            .iter()
            .enumerate()
            .filter(|(_, state)| is_meant(**state));
        gone.map(|(generation, _)| Signer {
            authority: *authority,
            generation,
        })
        .collect()
    }

    fn leave(&self, world: &World, place: usize, group: &str) -> Plans {
        let groups = &world.instances[place].dps.groups;
        let held = |one: &&EnrollmentGroup| one.enrollment_group_id.as_str() == group;
        let Some(held) = groups.iter().find(held) else {
            return Some(vec![(place, Plan::new("gone"))]);
        };
        let mut without = world.view(place);
        without.remove_group(&held.enrollment_group_id);
        let signers: BTreeSet<Signer> = (world.devices.iter())
            .flat_map(|device| &device.leaves)
            .map(|leaf| leaf.signer)
            .collect();
        let others = signers.into_iter().filter_map(|signer| {
            let above = Pki::shared().above(signer);
            let now = outcome_below(&world.view(place), &above);
            let decides = matches!(&now,
                Outcome::Admitted(pki_core::admission::Entry::Group(id))
                | Outcome::Disabled(pki_core::admission::Entry::Group(id))
                if *id == held.enrollment_group_id);
            match outcome_below(&without, &above) {
                Outcome::Admitted(pki_core::admission::Entry::Group(id)) if decides => Some(id),
                _ => None,
            }
        });
        let others: Vec<_> = others.collect();
        Some(vec![(
            place,
            deprovision_group(held, &GroupMembers::default(), &others),
        )])
    }

    /// What the checker is told that was asked for.
    pub(crate) fn promise(&self, world: &World) -> Promise {
        let ids = |devices: &BTreeSet<usize>| devices.iter().copied().map(device_id).collect();
        match self {
            Self::Abort { .. } => Promise::default(),
            Self::Start { .. } => {
                let new = self.gone(world);
                let all = (world.devices.iter()).flat_map(|device| &device.leaves);
                let below = all.filter(|leaf| goes(leaf, &new));
                Promise {
                    lets_in: Who::SignedBy(below.map(|leaf| Pki::id(leaf.signer)).collect()),
                    ..Promise::default()
                }
            }
            Self::Finish { .. } => {
                let gone = self.gone(world);
                let all = (world.devices.iter()).flat_map(|device| &device.leaves);
                let below = all.filter(|leaf| goes(leaf, &gone));
                Promise {
                    refuses: Who::SignedBy(below.map(|leaf| Pki::id(leaf.signer)).collect()),
                    ..Promise::default()
                }
            }
            Self::Breach {
                old,
                with_intermediates,
                ..
            } => {
                let newest = newest(world, old.authority);
                // Those below that an earlier run has cut off come back.
                let state = world.breach_state(*old);
                let cut_off = world.devices.iter().flat_map(|device| &device.leaves);
                let cut_off = cut_off.filter(|leaf| {
                    Pki::path(leaf.signer).iter().any(|signer| {
                        let above = Pki::shared().certificate(*signer).sha1_thumbprint();
                        let mut instances = state.instances.iter();
                        *with_intermediates
                            && instances.any(|instance| instance.cut_off.contains(&above))
                    })
                });
                let coming = cut_off.map(|leaf| Pki::id(leaf.signer));
                Promise {
                    refuses: Who::Anybody,
                    lets_in: Who::SignedBy(coming.chain([Pki::id(newest)]).collect()),
                    ..Promise::default()
                }
            }
            Self::Converge { .. } => Promise::as_shown(),
            Self::QuarantineAuthority { .. } => Promise {
                refuses: Who::Anybody,
                ..Promise::default()
            },
            Self::Quarantine { devices, .. } => Promise {
                refuses: Who::Devices(ids(devices)),
                ..Promise::default()
            },
            Self::Deprovision { device, .. } => Promise {
                refuses: Who::Devices(ids(&BTreeSet::from([*device]))),
                ..Promise::default()
            },
            Self::DeprovisionGroup { group, .. } => Promise {
                refuses: Who::Anybody,
                reopens: [Subject::Group(group.parse().expect("id"))].into(),
                ..Promise::default()
            },
            Self::Readmit { device, .. } => Promise {
                lets_in: Who::Devices(ids(&BTreeSet::from([*device]))),
                reopens: [Subject::Device(device_id(*device))].into(),
                ..Promise::default()
            },
            Self::StartDevice { device, .. }
            | Self::FinishDevice { device, .. }
            | Self::AbortDevice { device, .. }
            | Self::ReplaceDevice { device, .. } => Promise {
                refuses: Who::Devices(ids(&BTreeSet::from([*device]))),
                lets_in: Who::Devices(ids(&BTreeSet::from([*device]))),
                ..Promise::default()
            },
        }
    }

    /// The devices of which the checker must know each leaf by name.
    pub(crate) fn named(&self) -> Vec<usize> {
        match self {
            Self::Quarantine { devices, .. } => devices.iter().copied().collect(),
            Self::Deprovision { device, .. }
            | Self::Readmit { device, .. }
            | Self::StartDevice { device, .. }
            | Self::FinishDevice { device, .. }
            | Self::AbortDevice { device, .. }
            | Self::ReplaceDevice { device, .. } => vec![*device],
            _ => vec![],
        }
    }
}

fn rolled(plans: Result<Vec<InstancePlan>, RollError>) -> Result<Plans, String> {
    match plans {
        Ok(plans) => {
            let placed = plans.into_iter().map(|one| {
                let place = one.dps.as_str().trim_start_matches("dps-");
                (place.parse().expect("a place"), one.plan)
            });
            Ok(Some(placed.collect()))
        }
        Err(
            RollError::NoCurrent { .. }
            | RollError::NoSuccessor { .. }
            | RollError::SameKey { .. }
            | RollError::NotUnderWay { .. }
            | RollError::SlotsTaken { .. }
            | RollError::NotAdmitted { .. }
            | RollError::LeftBehind { .. }
            | RollError::Moved { .. }
            | RollError::NotHeldYet { .. }
            | RollError::StrandsBelow { .. },
        ) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn devices(count: usize) -> Devices {
    Devices {
        count: u64::try_from(count).expect("a count"),
        named: vec![],
    }
}

/// Whether a leaf's chain goes through one of these generations.
pub(crate) fn goes(leaf: &LeafKey, through: &[Signer]) -> bool {
    Pki::path(leaf.signer)
        .iter()
        .any(|signer| through.contains(signer))
}

/// The generation that came last: what a breach roll brings in.
pub(crate) fn newest(world: &World, authority: usize) -> Signer {
    Signer {
        authority,
        generation: world.generations[authority].len() - 1,
    }
}

fn current(world: &World, authority: usize) -> Option<usize> {
    let states = &world.generations[authority];
    states
        .iter()
        .rposition(|state| *state == GenerationState::Current)
}

/// Makes the next generation of an authority, unless it is there.
fn succeed(world: &mut World, authority: usize) {
    let states = &mut world.generations[authority];
    let has_newcomer = states
        .iter()
        .any(|state| matches!(state, GenerationState::Pending | GenerationState::Next));
    if !has_newcomer && states.len() < Pki::generations(authority) {
        states.push(GenerationState::Pending);
    }
}

fn has_newcomer(world: &World, authority: usize) -> bool {
    let mut states = world.generations[authority].iter();
    states.any(|state| matches!(state, GenerationState::Pending | GenerationState::Next))
}

fn state_of(world: &World, place: usize, device: usize) -> QuarantineState {
    QuarantineState {
        individual: world.entry(place, device).cloned(),
        registration: world.registration(place, device),
        hub_identities: world.identities(device),
        ..QuarantineState::default()
    }
}

fn device_state(world: &World, place: usize, device: usize) -> device::DeviceState {
    device::DeviceState {
        individual: world.entry(place, device).cloned(),
        registration: world.registration(place, device),
        hub_identity: world.identities(device).into_iter().next(),
    }
}

fn quarantine_of(
    world: &World,
    place: usize,
    device: usize,
    hub: HubAction,
) -> (Quarantine, QuarantineState) {
    let newest = world.devices[device].leaves.last().expect("a leaf");
    let live = world.live(device);
    let request = Quarantine {
        registration_id: device_id(device),
        leaf: Some(Pki::shared().leaf(*newest).certificate.clone()),
        revoke: live
            .map(|leaf| Pki::shared().leaf(leaf).certificate.clone())
            .collect(),
        reason: None,
        hub,
    };
    (request, state_of(world, place, device))
}

/// What shuts out everything below an authority, also by the authorities below it.
fn below(world: &World, place: usize, authority: usize) -> Result<Plan, String> {
    let dps = &world.instances[place].dps;
    let own = lived(world, authority);
    let certificates: Vec<_> = own
        .iter()
        .map(|signer| Pki::shared().certificate(*signer).clone())
        .collect();
    let mut plan = Plan::new("shut out");
    let mut view = world.view(place);
    let lower = (0..Pki::authorities()).flat_map(|other| lived(world, other));
    let lower = lower.filter(|one| {
        one.authority != authority && Pki::path(*one).iter().any(|above| own.contains(above))
    });
    for signer in own.iter().copied().chain(lower) {
        let outcome = outcome_below(&view, &Pki::shared().above(signer));
        if signer.authority != authority && !matches!(outcome, Outcome::Admitted(_)) {
            continue;
        }
        let one = quarantine_below(
            &Pki::id(signer),
            Pki::shared().certificate(signer),
            &certificates,
            &dps.authorities,
            &dps.groups,
        );
        for step in one.map_err(|error| error.to_string())?.steps {
            if !plan.steps.contains(&step) {
                step.apply_to(&mut view)
                    .map_err(|error| error.to_string())?;
                plan.steps.push(step);
            }
        }
    }
    Ok(plan)
}

/// The generations of an authority that came to life.
pub(crate) fn lived(world: &World, authority: usize) -> Vec<Signer> {
    let states = world.generations[authority].iter().enumerate();
    let lived = states
        .filter(|(_, state)| !matches!(state, GenerationState::Voided | GenerationState::Pending));
    lived
        .map(|(generation, _)| Signer {
            authority,
            generation,
        })
        .collect()
}
