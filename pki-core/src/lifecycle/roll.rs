//! Rolling: one generation of an authority takes the place of another, or one leaf that of another.
//!
//! An expiry roll never refuses a device with a valid leaf: [`start`] puts the new generation beside
//! the old one, devices move, [`finish`] takes the old one away; [`abort`] takes the new one away
//! while nobody has moved. A breach roll ([`replace`]) shuts the old generation out first and repairs
//! afterwards. Leaves that individual enrollments name are rolled by [`device`].
//!
//! Where a roll stands follows from the states of the generations in the inventory and from what DPS
//! holds; nothing else is remembered, so every planner can be asked again after a plan was cut short,
//! and plans what is missing. A generation becomes *next* only when DPS admits by it: leaves may be
//! issued from it from then on.
//! Invariant: the slots alternate, and a new certificate ends in the primary one.

mod breach;
pub mod device;
mod expiry;
mod slots;
mod status;

use std::collections::BTreeSet;
use std::fmt;

use crate::admission::{ChainElement, DpsView, Outcome, ViewError, outcome_below};
use crate::authority::ChainBundle;
use crate::certificate::Certificate;
use crate::declaration::VerifiedBy;
use crate::enrollment::{EnrollmentGroup, Mechanism, X509Certificates};
use crate::ids::{
    AuthorityGeneration, AuthorityName, CertificateName, DpsName, EnrollmentGroupId, Generation,
    RegistrationId, Sha1Thumbprint,
};
use crate::inventory::{AuthorityRecord, GenerationState};
use crate::management::CaCertificate;
use crate::time::Time;
use crate::wording::{counted, fitting};

use super::below::is_block;
use super::declared::is_same;
use super::{BelowError, Plan};

pub(super) use slots::changes as device_slot_changes;

pub use breach::{Breach, RegisteredDevice, goal_of_replacing, replace, shut_out};
pub use expiry::{Finish, Start, abort, finish, start};
pub use status::{Deadline, Phase, RollStatus, Wait, status};

/// An authority with everything that rolling it depends on.
#[derive(Debug, Clone)]
pub struct RollState {
    /// Which authority.
    pub authority: AuthorityName,
    /// Its generations that have a certificate, oldest first.
    pub generations: Vec<HeldGeneration>,
    /// Every CA certificate of this home, to build chains from.
    pub certificates: Vec<Certificate>,
    /// The authorities whose certificates were signed by one of the generations.
    pub below: Vec<Below>,
    /// The DPS instances that may hold it.
    pub instances: Vec<Instance>,
}

/// A generation as the inventory holds it.
#[derive(Debug, Clone)]
pub struct HeldGeneration {
    /// Its number.
    pub number: Generation,
    /// What part it plays.
    pub state: GenerationState,
    /// Its certificate.
    pub certificate: Certificate,
}

/// An authority below the one that is rolled.
#[derive(Debug, Clone)]
pub struct Below {
    /// Its name.
    pub authority: AuthorityName,
    /// Which generation of it.
    pub generation: Generation,
    /// Its certificate.
    pub certificate: Certificate,
    /// How many valid leaves it has signed.
    pub leaves: u64,
}

/// What one DPS instance holds.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name in `pki.toml`.
    pub name: DpsName,
    /// Its CA certificates.
    pub authorities: Vec<CaCertificate>,
    /// Its groups.
    pub groups: Vec<EnrollmentGroup>,
    /// The names under which `pki.toml` wants the authority's CA certificate there.
    pub declared: Vec<CertificateName>,
    /// How it comes to believe that a CA certificate is ours.
    pub verified_by: VerifiedBy,
    /// The certificates of authorities below that an earlier run of a breach roll has cut off here, and that
    /// were not verified since: [`Journal::cut_off`](crate::journal::Journal::cut_off) tells.
    pub cut_off: BTreeSet<Sha1Thumbprint>,
}

/// What to do in one DPS instance. Where there are several, they are carried out in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct InstancePlan {
    /// The instance's name in `pki.toml`.
    pub dps: DpsName,
    /// What to do there.
    pub plan: Plan,
}

/// Devices that stand in the way of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub named: Vec<RegistrationId>,
}

/// A device on its way from an old leaf to a new one.
#[derive(Debug, Clone)]
pub struct MovingDevice {
    /// Which device.
    pub id: RegistrationId,
    /// Since when it has a leaf below the new generation.
    pub new_leaf_since: Option<Time>,
    /// When its registration record last changed.
    pub registered_at: Option<Time>,
    /// Which leaf it showed when it registered last, as the identity on its hub tells.
    pub shown: Shown,
}

/// Which leaf a device showed when it registered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// One below the new generation.
    New,
    /// One that goes.
    Old,
    /// Nobody could look, or the identity names no leaf that is known.
    #[default]
    Unknown,
}

impl MovingDevice {
    /// Whether it has shown its new leaf, as far as that is known. A registration record does not tell
    /// which leaf was shown; the identity on the hub does. Where that cannot be read, a device that has
    /// the new leaf and registers afterwards may have shown it: see [`Self::is_known`].
    pub fn has_moved(&self) -> bool {
        match self.shown {
            Shown::New => true,
            Shown::Old => false,
            Shown::Unknown => self.has_registered_since(),
        }
    }

    /// Whether it is known if it has moved: a device that was not there since it has its new leaf has not.
    pub fn is_known(&self) -> bool {
        self.shown != Shown::Unknown || !self.has_registered_since()
    }

    /// Moments are whole seconds here, and what happens within one does not tell which came first.
    fn has_registered_since(&self) -> bool {
        matches!((self.new_leaf_since, self.registered_at), (Some(since), Some(at)) if at > since)
    }
}

impl Devices {
    /// Counts those that have not moved, and names the first `names` of them.
    pub fn left_behind(devices: impl IntoIterator<Item = MovingDevice>, names: usize) -> Self {
        let devices = devices.into_iter();
        Self::of(devices.filter(|device| !device.has_moved()), names)
    }

    /// Counts those of which nobody knows if they have moved, and names the first `names` of them.
    pub fn not_known(devices: impl IntoIterator<Item = MovingDevice>, names: usize) -> Self {
        let devices = devices.into_iter();
        Self::of(devices.filter(|device| !device.is_known()), names)
    }

    fn of(devices: impl Iterator<Item = MovingDevice>, names: usize) -> Self {
        let mut counted = Self::default();
        for device in devices {
            counted.count += 1;
            if counted.named.len() < names {
                counted.named.push(device.id);
            }
        }
        counted
    }
}

impl fmt::Display for Devices {
    /// `3 devices (a, b, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.count, "device", "devices"))?;
        if self.named.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.named.iter().map(RegistrationId::as_str).collect();
        write!(f, " ({}", names.join(", "))?;
        let is_all = u64::try_from(names.len()).is_ok_and(|named| named == self.count);
        f.write_str(if is_all { ")" } else { ", …)" })
    }
}

/// Why an authority or a device is not rolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RollError {
    /// The authority has no generation that issues.
    #[error("authority {authority} has no current generation")]
    NoCurrent {
        /// Which one.
        authority: AuthorityName,
    },
    /// There is nothing to roll to.
    #[error(
        "authority {authority} has no generation after {current} yet; it takes a new key and certificate first"
    )]
    NoSuccessor {
        /// Which one.
        authority: AuthorityName,
        /// The generation that issues.
        current: Generation,
    },
    /// No roll is under way.
    #[error("authority {authority} is not being rolled")]
    NotUnderWay {
        /// Which one.
        authority: AuthorityName,
    },
    /// Both slots of a group hold certificates, and not ours alone.
    #[error(
        "both slots of enrollment group {group} in DPS {dps} are taken, and one holds a certificate that is none of {authority}'s generations {old} and {new}; free a slot first"
    )]
    SlotsTaken {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
        /// What was to be rolled.
        authority: AuthorityName,
        /// From this generation.
        old: Generation,
        /// To this one.
        new: Generation,
    },
    /// Devices of the new generation would not be admitted where those of the old one are.
    #[error("DPS {dps} would not admit the devices of {authority} generation {generation}: {why}")]
    NotAdmitted {
        /// The instance.
        dps: DpsName,
        /// What was to be rolled.
        authority: AuthorityName,
        /// To this generation.
        generation: Generation,
        /// What DPS would decide.
        why: String,
    },
    /// Leaves outlive the time that the two generations stand side by side.
    #[error(
        "{} of {authority} generation {generation} {} valid beyond {until} and would be refused from then on; only {accepted} {} accepted",
        counted(*.leaves, "leaf", "leaves"),
        fitting(*.leaves, "is", "are"),
        fitting(*.accepted, "was", "were")
    )]
    Stranded {
        /// What was to be rolled.
        authority: AuthorityName,
        /// The generation that goes.
        generation: Generation,
        /// When it goes.
        until: Time,
        /// How many leaves are valid longer.
        leaves: u64,
        /// How many were accepted.
        accepted: u64,
    },
    /// Devices have not moved yet.
    #[error(
        "not registered with a new leaf yet, of {authority} generation {generation}: {devices}; only {accepted} {} accepted",
        fitting(*.accepted, "was", "were")
    )]
    LeftBehind {
        /// What is being rolled.
        authority: AuthorityName,
        /// The generation that goes.
        generation: Generation,
        /// Those that are left.
        devices: Devices,
        /// How many were accepted.
        accepted: u64,
    },
    /// Nobody knows whether devices have moved.
    #[error(
        "registered since they have a new leaf, of {authority} generation {generation}, and nobody can tell with which leaf, since their hubs cannot be read: {devices}; only {accepted} {} accepted",
        fitting(*.accepted, "was", "were")
    )]
    NotKnown {
        /// What is being rolled.
        authority: AuthorityName,
        /// The generation that goes.
        generation: Generation,
        /// Those of which it is not known.
        devices: Devices,
        /// How many were accepted.
        accepted: u64,
    },
    /// Devices have moved already, and going back would strand them.
    #[error(
        "moved to leaves of {authority} generation {generation} already, which would be refused: {devices}; finish the roll, or roll them back first"
    )]
    Moved {
        /// What is being rolled.
        authority: AuthorityName,
        /// The generation that was to be withdrawn.
        generation: Generation,
        /// Those that have moved.
        devices: Devices,
    },
    /// A group does not hold the new generation yet.
    #[error(
        "enrollment group {group} in DPS {dps} does not hold {authority} generation {generation} yet; start the roll again to complete it"
    )]
    NotHeldYet {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
        /// What is being rolled.
        authority: AuthorityName,
        /// The generation that is missing.
        generation: Generation,
    },
    /// An authority below would lose its way to a verified CA certificate.
    #[error(
        "{} of {below} generation {generation} {} a verified CA certificate in DPS {dps} only by what is taken away: {why}; roll {below} first, or have it verified itself (with intermediates)",
        counted(*.leaves, "leaf", "leaves"),
        fitting(*.leaves, "reaches", "reach")
    )]
    StrandsBelow {
        /// The instance.
        dps: DpsName,
        /// The authority below.
        below: AuthorityName,
        /// Its generation.
        generation: Generation,
        /// How many leaves.
        leaves: u64,
        /// What DPS would decide.
        why: String,
    },
    /// The name for the new CA certificate is not one, or is in use.
    #[error("the CA certificate of {authority} cannot be named {name:?} in DPS {dps}: {problem}")]
    Name {
        /// The instance.
        dps: DpsName,
        /// Whose certificate it is.
        authority: AuthorityName,
        /// The name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The device has no individual enrollment, or one that names no leaf.
    #[error(
        "{id} has no individual enrollment with a leaf; a device of a group needs no roll, only a new leaf"
    )]
    NoLeafEntry {
        /// Which device.
        id: RegistrationId,
    },
    /// The new leaf names another device.
    #[error(
        "the new leaf is for {found:?}, not for {id}: DPS would not match it with the enrollment"
    )]
    OtherDevice {
        /// Which device.
        id: RegistrationId,
        /// The leaf's common name.
        found: Option<String>,
    },
    /// Both slots of an individual enrollment are taken.
    #[error(
        "both slots of individual enrollment {id} are taken; finish or abort the roll that is under way"
    )]
    DeviceSlotsTaken {
        /// Which device.
        id: RegistrationId,
    },
    /// The leaf to be kept is in no slot.
    #[error("individual enrollment {id} does not hold that leaf")]
    LeafNotHeld {
        /// Which device.
        id: RegistrationId,
    },
    /// The device has not registered with its new leaf.
    #[error("{id} has not registered since its enrollment holds the new leaf")]
    DeviceLeftBehind {
        /// Which device.
        id: RegistrationId,
    },
    /// Nobody knows with which leaf the device has registered.
    #[error(
        "{id} has registered since its enrollment holds the new leaf, and nobody can tell with which leaf, since its hub cannot be read"
    )]
    DeviceNotKnown {
        /// Which device.
        id: RegistrationId,
    },
    /// The device has registered with its new leaf.
    #[error("{id} has registered since its enrollment holds the new leaf, and may use it")]
    DeviceMoved {
        /// Which device.
        id: RegistrationId,
    },
    /// The compromised generation cannot be shut out by a group.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl HeldGeneration {
    /// The generations of an authority that have a certificate.
    pub fn of(authority: &AuthorityRecord) -> Vec<Self> {
        let with_certificate = authority.generations.iter().filter_map(|record| {
            let recorded = record.certificate.as_ref()?;
            Some(Self {
                number: record.generation,
                state: record.state,
                certificate: recorded.certificate().clone(),
            })
        });
        with_certificate.collect()
    }
}

impl RollState {
    fn in_state(&self, state: GenerationState) -> Option<&HeldGeneration> {
        let mut newest_first = self.generations.iter().rev();
        newest_first.find(|one| one.state == state)
    }

    fn current(&self) -> Result<&HeldGeneration, RollError> {
        let current = self.in_state(GenerationState::Current);
        current.ok_or_else(|| RollError::NoCurrent {
            authority: self.authority.clone(),
        })
    }

    /// The generation that is being rolled in, or is about to.
    fn newcomer(&self) -> Option<&HeldGeneration> {
        let next = self.in_state(GenerationState::Next);
        next.or_else(|| self.in_state(GenerationState::Pending))
    }

    fn successor(&self, current: &HeldGeneration) -> Result<&HeldGeneration, RollError> {
        self.newcomer().ok_or_else(|| RollError::NoSuccessor {
            authority: self.authority.clone(),
            current: current.number,
        })
    }

    /// Generations that play no part any more.
    fn leftovers(&self) -> Vec<&HeldGeneration> {
        let is_left = |state| {
            matches!(
                state,
                GenerationState::Retired | GenerationState::Compromised | GenerationState::Voided
            )
        };
        let left = self.generations.iter().filter(|one| is_left(one.state));
        left.collect()
    }

    /// Whether the newest generation has taken the place of an older one.
    fn is_rolled(&self) -> bool {
        let has_gone = |one: &HeldGeneration| {
            matches!(
                one.state,
                GenerationState::Retired | GenerationState::Compromised
            )
        };
        let newest = self.generations.last();
        newest.is_some_and(|newest| newest.state == GenerationState::Current)
            && self.generations.iter().any(has_gone)
    }

    /// Whether a group is one that the toolkit made to keep a generation out: it is no holder to be rolled,
    /// and stays.
    fn is_block(&self, group: &EnrollmentGroup) -> bool {
        self.generations
            .iter()
            .any(|one| is_block(&self.id(one.number), &one.certificate, group))
    }

    fn id(&self, generation: Generation) -> AuthorityGeneration {
        AuthorityGeneration {
            name: self.authority.clone(),
            generation,
        }
    }

    /// Whether DPS admits devices below a certificate, right below it or by an authority below that is known.
    fn admits_below(&self, view: &DpsView, certificate: &Certificate) -> bool {
        let thumbprint = certificate.sha256_thumbprint();
        let is_below = |below: &&Below| {
            let chain = ChainBundle::build(&below.certificate, &self.certificates);
            let mut above = chain.certificates().iter();
            above.any(|above| above.sha256_thumbprint() == thumbprint)
        };
        let below = self.below.iter().filter(is_below);
        let below = below.map(|below| &below.certificate);
        below
            .chain([certificate])
            .any(|one| matches!(self.outcome(view, one), Outcome::Admitted(_)))
    }

    /// What DPS decides about the devices right below a certificate.
    fn outcome(&self, view: &DpsView, certificate: &Certificate) -> Outcome {
        let chain = ChainBundle::build(certificate, &self.certificates);
        let above: Vec<ChainElement> = chain
            .certificates()
            .iter()
            .map(ChainElement::from)
            .collect();
        outcome_below(view, &above)
    }
}

impl Instance {
    /// Whether a group holds a generation, by its certificate or by the name of a CA.
    pub fn holds(&self, group: &EnrollmentGroup, generation: &HeldGeneration) -> bool {
        slots::Side::of(generation, self).is_in(group)
    }

    fn view(&self) -> Result<DpsView, ViewError> {
        DpsView::from_documents(&self.authorities, &self.groups, [])
    }

    /// Names of the authority that groups refer to and under which nothing is uploaded: what the first
    /// step of a breach roll leaves behind.
    fn dangling(&self) -> Vec<CertificateName> {
        let is_ours = |name: &&CertificateName| {
            self.declared.iter().any(|declared| {
                let number = name.as_str().strip_prefix(declared.as_str());
                number.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        };
        let is_gone =
            |name: &&CertificateName| !self.authorities.iter().any(|held| held.name == **name);
        let references =
            self.groups
                .iter()
                .filter_map(|group| match &group.attestation.mechanism {
                    Mechanism::X509(X509Certificates::CaReferences(slots)) => Some(slots),
                    _ => None,
                });
        let names = references.flat_map(|slots| slots.iter());
        let names: BTreeSet<_> = names.filter(is_ours).filter(is_gone).collect();
        names.into_iter().cloned().collect()
    }

    /// Whether a group refers to the name of a CA.
    fn refers_to(&self, name: &CertificateName) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                slots.iter().any(|held| held == name)
            }
            _ => false,
        })
    }

    /// What it holds of a certificate under the name of a CA.
    fn uploads<'a>(
        &'a self,
        certificate: &'a Certificate,
    ) -> impl Iterator<Item = &'a CaCertificate> {
        let held = self.authorities.iter();
        held.filter(move |held| is_same(held, certificate))
    }
}
