//! Where a roll stands: what is waited for, and what stops working when.

use std::fmt;

use serde::Serialize;

use super::expiry::holders;
use super::slots::Side;
use super::upload::is_unverified;
use super::{AuthorityState, Devices, Generations, HeldGeneration, Instance, Newcomer, RollState};
use crate::admission::{DpsView, Entry, Outcome, Refusal};
use crate::enrollment::ProvisioningStatus;
use crate::ids::{AuthorityName, CertificateName, DpsName, EnrollmentGroupId, Generation};
use crate::time::Time;

/// Where the roll of an authority stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollStatus {
    /// Which authority.
    pub authority: AuthorityName,
    /// How far it is.
    pub phase: Phase,
    /// What is waited for; nothing if no roll is under way.
    pub waits: Vec<Wait>,
    /// What stops working when, the nearest first.
    pub deadlines: Vec<Deadline>,
}

/// How far a roll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// None is under way.
    Idle,
    /// None is under way, and DPS refuses the leaves of the generation that issues.
    Refused,
    /// The new generation is there, and DPS does not admit by it everywhere.
    Starting,
    /// Both generations are admitted; devices move.
    Overlap,
    /// The new generation issues; the old one is still held somewhere.
    Finishing,
}

/// One thing that a roll waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The new CA certificate is not verified there.
    NotVerified {
        /// The instance.
        dps: DpsName,
        /// The generation.
        generation: Generation,
    },
    /// A group does not hold the new generation.
    NotHeld {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
        /// The generation.
        generation: Generation,
    },
    /// Devices have not moved.
    Devices(Devices),
    /// All devices have moved: the roll can be finished.
    ToBeFinished,
    /// A group still holds a generation that plays no part any more.
    StillHeld {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
        /// The generation.
        generation: Generation,
    },
    /// DPS still has the certificate of such a generation.
    StillUploaded {
        /// The instance.
        dps: DpsName,
        /// Its name there.
        name: CertificateName,
        /// The generation.
        generation: Generation,
    },
    /// A group would admit the leaves of the generation that issues, and nothing above them is verified.
    Refused {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
        /// Whose leaves.
        authority: AuthorityName,
        /// The generation.
        generation: Generation,
    },
    /// DPS lets in whoever shows a leaf of a compromised generation.
    LetsIn {
        /// The instance.
        dps: DpsName,
        /// The group that does.
        group: EnrollmentGroupId,
        /// The generation.
        generation: Generation,
    },
}

/// A moment at which something stops working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Time,
    /// What happens.
    pub what: String,
}

/// Tells where the roll of an authority stands. `left_behind` are the devices that have not moved, `views` what
/// the instances of the state decide at the moment that is asked about, in their order.
pub fn status(left_behind: &Devices, state: &RollState, views: &[DpsView]) -> RollStatus {
    let let_in = compromised_let_in(state, views);
    let generations = &state.generations;
    let (phase, waits) = match &generations.state {
        AuthorityState::Rolling { current, newcomer } => {
            let (phase, mut waits) = under_way(left_behind, state, current, newcomer);
            waits.extend(let_in);
            (phase, waits)
        }
        AuthorityState::New => (Phase::Idle, vec![]),
        AuthorityState::Active { current } | AuthorityState::Requested { current } => {
            let mut waits = remains(state);
            waits.extend(let_in);
            let refused = refused(state, current, views);
            let phase = if !waits.is_empty() {
                Phase::Finishing
            } else if refused.is_empty() {
                Phase::Idle
            } else {
                Phase::Refused
            };
            waits.extend(refused);
            (phase, waits)
        }
    };
    RollStatus {
        authority: state.authority.clone(),
        phase,
        waits,
        deadlines: deadlines(&state.authority, generations),
    }
}

/// How far a roll is to a generation that is there, and what it waits for.
fn under_way(
    left_behind: &Devices,
    state: &RollState,
    current: &HeldGeneration,
    newcomer: &Newcomer,
) -> (Phase, Vec<Wait>) {
    let missing = missing(state, current, newcomer.generation());
    if !newcomer.issues() || !missing.is_empty() {
        (Phase::Starting, missing)
    } else if left_behind.count > 0 {
        (Phase::Overlap, vec![Wait::Devices(left_behind.clone())])
    } else {
        (Phase::Overlap, vec![Wait::ToBeFinished])
    }
}

fn missing(state: &RollState, old: &HeldGeneration, new: &HeldGeneration) -> Vec<Wait> {
    let in_instance = |instance: &Instance| {
        let old = Side::of(old, instance);
        let side = Side::of(new, instance);
        let is_verified = instance
            .uploads(&new.certificate)
            .any(|held| held.properties.is_verified);
        let generation = new.number;
        let not_verified = (!old.names.is_empty()
            && !is_unverified(instance, &old)
            && !is_verified)
            .then(|| Wait::NotVerified {
                dps: instance.name.clone(),
                generation,
            });
        let without = holders(state, instance, &old).filter(|group| !side.is_in(group));
        let not_held = without.map(|group| Wait::NotHeld {
            dps: instance.name.clone(),
            group: group.enrollment_group_id.clone(),
            generation,
        });
        not_verified.into_iter().chain(not_held).collect::<Vec<_>>()
    };
    state.instances.iter().flat_map(in_instance).collect()
}

/// Where generations that play no part any more are still held. A compromised one may be held on
/// purpose, by a disabled group.
fn remains(state: &RollState) -> Vec<Wait> {
    let mut waits = Vec::new();
    for instance in &state.instances {
        for left in &state.generations.former {
            let side = Side::of_former(left, instance);
            let generation = left.generation.number;
            let enabled = holders(state, instance, &side)
                .filter(|group| group.provisioning_status == ProvisioningStatus::Enabled);
            waits.extend(enabled.map(|group| Wait::StillHeld {
                dps: instance.name.clone(),
                group: group.enrollment_group_id.clone(),
                generation,
            }));
            waits.extend(side.names.iter().map(|name| Wait::StillUploaded {
                dps: instance.name.clone(),
                name: name.clone(),
                generation,
            }));
        }
    }
    waits
}

/// Where the leaves of the generation that issues are refused because the CA certificate above them is gone, by
/// the breach roll of an authority above for one, or was never verified.
fn refused(state: &RollState, current: &HeldGeneration, views: &[DpsView]) -> Vec<Wait> {
    let mut waits = Vec::new();
    for (instance, view) in state.instances.iter().zip(views) {
        let outcome = state.outcome(view, &current.certificate);
        if let Outcome::Refused(Refusal::NoVerifiedCa(group)) = outcome {
            waits.push(Wait::Refused {
                dps: instance.name.clone(),
                group,
                authority: state.authority.clone(),
                generation: current.number,
            });
        }
    }
    waits
}

/// The compromised generations whose leaves a group lets in, known to the inventory or not: somebody has
/// taken away what kept them out.
fn compromised_let_in(state: &RollState, views: &[DpsView]) -> Vec<Wait> {
    let mut waits = Vec::new();
    for (instance, view) in state.instances.iter().zip(views) {
        for held in state.generations.compromised() {
            let outcome = state.outcome(view, &held.certificate);
            if let Outcome::Admitted(Entry::Group(group)) = outcome {
                waits.push(Wait::LetsIn {
                    dps: instance.name.clone(),
                    group,
                    generation: held.number,
                });
            }
        }
    }
    waits
}

fn deadlines(authority: &AuthorityName, generations: &Generations) -> Vec<Deadline> {
    let ends = |one: &HeldGeneration| Deadline {
        at: one.certificate.validity().not_after(),
        what: format!(
            "the certificate of {authority} generation {} ends, and with it every leaf below it",
            one.number
        ),
    };
    let newcomer = generations.newcomer().map(Newcomer::generation);
    let living = generations.current().into_iter().chain(newcomer);
    let mut deadlines: Vec<Deadline> = living.map(ends).collect();
    deadlines.sort_by_key(|deadline| deadline.at);
    deadlines
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::Starting => "starting",
            Self::Overlap => "overlap",
            Self::Finishing => "finishing",
        }
    }
}

impl RollStatus {
    /// Whether there is something to do or to wait for.
    pub fn is_waiting(&self) -> bool {
        !self.waits.is_empty() || self.phase == Phase::Starting
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVerified { dps, generation } => {
                write!(f, "DPS {dps} has not verified generation {generation} yet")
            }
            Self::NotHeld {
                dps,
                group,
                generation,
            } => write!(
                f,
                "enrollment group {group} in DPS {dps} does not hold generation {generation} yet"
            ),
            Self::Devices(devices) => write!(f, "{devices} to register with a new leaf"),
            Self::ToBeFinished => f.write_str("no device is left on the old generation: finish it"),
            Self::StillHeld {
                dps,
                group,
                generation,
            } => write!(
                f,
                "enrollment group {group} in DPS {dps} still holds generation {generation}"
            ),
            Self::StillUploaded {
                dps,
                name,
                generation,
            } => write!(
                f,
                "DPS {dps} still has CA certificate {name}, generation {generation}"
            ),
            Self::Refused {
                dps,
                group,
                authority,
                generation,
            } => write!(
                f,
                "DPS {dps} to have verified a CA certificate above enrollment group {group}: until then it refuses every leaf of generation {generation}, new ones too; if the authority above was rolled, roll this one as well: dps-pki roll start {authority}"
            ),
            Self::LetsIn {
                dps,
                group,
                generation,
            } => write!(
                f,
                "enrollment group {group} in DPS {dps} lets in leaves of generation {generation}, which is compromised; start the breach roll again to shut them out"
            ),
        }
    }
}
