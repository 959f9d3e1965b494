//! Why an authority or a device is not rolled, in sentences with what to do.

use super::{Contradiction, Devices};
use crate::admission::ViewError;
use crate::ids::{
    AuthorityGeneration, AuthorityName, DpsName, EnrollmentGroupId, Generation, RegistrationId,
};
use crate::lifecycle::{BelowError, HubAction};
use crate::time::Time;
use crate::wording::{counted, fitting};

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
    /// What comes next would be as compromised as what goes.
    #[error(
        "generation {newcomer} of authority {authority} has the same key as generation {compromised}, which is compromised"
    )]
    SameKey {
        /// Which one.
        authority: AuthorityName,
        /// The generation that is compromised.
        compromised: Generation,
        /// The one that would replace it.
        newcomer: Generation,
    },
    /// DPS or a hub is not closed yet to a compromised generation, or DPS not opened to the one that took its place.
    #[error(
        "the breach roll of authority {authority} generation {compromised} comes first, and is not done: {left}"
    )]
    BreachUnfinished {
        /// What was being rolled.
        authority: AuthorityName,
        /// The generation that is compromised.
        compromised: Generation,
        /// The first thing that it lacks.
        left: String,
        /// What it was to do with the identities on the hubs.
        hub: HubAction,
        /// Whether the authorities below were to be verified themselves.
        with_intermediates: bool,
    },
    /// Its breach roll is done, and what was made or rolled since leaves open which one is meant now.
    #[error(
        "generation {compromised} of authority {authority} is shut out, and generation {current} in its place: if that is compromised as well, it is to be named"
    )]
    WhichGeneration {
        /// Which authority.
        authority: AuthorityName,
        /// The generation that was replaced.
        compromised: Generation,
        /// The one in its place.
        current: Generation,
    },
    /// What is named has never issued, or has the key of the one that issues.
    #[error(
        "generation {named} of authority {authority} is not the one that issues, which is {current}, nor an earlier one with a key of its own that issued"
    )]
    NotCondemned {
        /// Which authority.
        authority: AuthorityName,
        /// What was named.
        named: Generation,
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
    /// What it is rolled to is below a compromised certificate, and DPS has verified nothing in between.
    #[error(
        "new leaves of {authority} would be refused: {compromised}, above it, is compromised, and DPS has verified nothing in between"
    )]
    BelowCompromised {
        /// What was to be rolled.
        authority: AuthorityName,
        /// The generation above it.
        compromised: AuthorityGeneration,
        /// The authority right below that, which is to be rolled first.
        first: Option<AuthorityName>,
        /// The generation that was made already, if one was.
        made: Option<Generation>,
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
        "the new leaf is for {}, not for {id}: DPS would not match it with the enrollment",
        found.as_deref().unwrap_or("nobody")
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
    /// The rows of the inventory cannot be true together.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
}
