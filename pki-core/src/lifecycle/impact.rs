//! Impact: what a change does to devices, by comparing admission before and after.
//!
//! Classes of leaves are decided about once, exceptions one by one ([`Fleet`]). What is found is
//! grouped by who signed the leaves and by what DPS decides before and after, so that a group whose
//! devices would fall through to another one shows. What is counted are leaves, of which a device may
//! have several. Names are looked up afterwards, and only those that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::{Exception, Fleet};
use crate::admission::{
    DpsView, Entry, InvalidCertificate, Outcome, Refusal, outcome_below, outcome_of,
};
use crate::ids::{AuthorityGeneration, EnrollmentGroupId, RegistrationId};
use crate::inventory::{Inventory, InventoryError};
use crate::time::Time;

/// Who loses admission, who gains it, and who is unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Impact {
    /// Every pair of decisions that occurs, by the generation that signed the leaves.
    pub movements: Vec<Movement>,
    /// How many devices of which a leaf loses admission are left without an admitted one; `None` if they
    /// were not counted.
    pub devices_left_out: Option<u64>,
}

/// Leaves of one generation about which DPS decides alike, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Which generation signed them; `None` if that was done outside of this home.
    pub signed_by: Option<AuthorityGeneration>,
    /// What DPS decides now.
    pub before: Verdict,
    /// What it will decide.
    pub after: Verdict,
    /// How many leaves.
    pub leaves: u64,
    /// Their devices, as far as they were looked up.
    pub named: Vec<RegistrationId>,
    /// The classes of the fleet that are in it as a whole.
    classes: Vec<usize>,
}

/// What a change means for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It is admitted now and will not be.
    Loses,
    /// It is kept out now and will be admitted.
    Gains,
    /// It is admitted before and after.
    StaysAdmitted,
    /// It is kept out before and after.
    StaysOut,
    /// Nobody here knows whether it is admitted, and nothing changes in that.
    NotKnown,
}

/// An [`Outcome`] for many devices at once: an individual enrollment is each device's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Let in by this entry.
    Admitted(Decider),
    /// This entry decides, and it is disabled.
    Disabled(Decider),
    /// The individual enrollment names another certificate.
    OtherCertificate,
    /// The individual enrollment does not attest by certificates.
    OtherAttestation,
    /// This group would decide, but the chain reaches no verified CA certificate.
    NoVerifiedCa(EnrollmentGroupId),
    /// A group would decide, but a certificate above the leaves is outside of its dates.
    NotValid(InvalidCertificate),
    /// Nothing holds the device or anything of its chain.
    NoEntry,
    /// This entry decides, and has a status that nobody here knows.
    NotKnown(Decider, String),
}

/// The entry that decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decider {
    /// The device's own enrollment.
    Individual,
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

/// Devices of one group that another group will decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallThrough<'a> {
    /// Which group decides now.
    pub from: &'a EnrollmentGroupId,
    /// Which group will.
    pub to: &'a EnrollmentGroupId,
    /// Whether it lets them in.
    pub is_admitted: bool,
    /// How many leaves.
    pub leaves: u64,
}

impl Impact {
    /// Decides about every class and every exception twice and compares.
    pub fn compare(before: &DpsView, after: &DpsView, fleet: &Fleet) -> Self {
        let mut tally = Tally::default();
        for (index, class) in fleet.classes.iter().enumerate() {
            if class.leaves > 0 {
                let decide = |view| Verdict::from(outcome_below(view, &class.above));
                let movement = tally.movement(&class.signed_by, decide(before), decide(after));
                movement.leaves += class.leaves;
                movement.classes.push(index);
            }
        }
        for one in &fleet.exceptions {
            tally.except(before, after, fleet, one);
        }
        tally.impact()
    }

    /// Decides about these exceptions alone, by their places in [`Fleet::exceptions`].
    pub(super) fn of_exceptions(
        before: &DpsView,
        after: &DpsView,
        fleet: &Fleet,
        places: &[usize],
    ) -> Self {
        let mut tally = Tally::default();
        for place in places {
            tally.except(before, after, fleet, &fleet.exceptions[*place]);
        }
        tally.impact()
    }

    /// Compares over the valid leaves of an inventory, and names the first `names` devices of each
    /// movement that loses or gains; `None` names all of them.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn over_inventory(
        before: &DpsView,
        after: &DpsView,
        inventory: &dyn Inventory,
        at: Time,
        names: Option<usize>,
    ) -> Result<Self, InventoryError> {
        let individual = before.individual_ids().chain(after.individual_ids());
        let fleet = Fleet::gather(inventory, at, individual)?;
        let mut impact = Self::compare(before, after, &fleet);
        impact.name(&fleet, inventory, at, names)?;
        Ok(impact)
    }

    /// Looks up who loses and who gains: at most `names` of each movement, `None` for all.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn name(
        &mut self,
        fleet: &Fleet,
        inventory: &dyn Inventory,
        at: Time,
        names: Option<usize>,
    ) -> Result<(), InventoryError> {
        for movement in self.movements.iter_mut().filter(|one| one.is_change()) {
            let is_full = |named: &Vec<_>| names.is_some_and(|most| named.len() >= most);
            for class in &movement.classes {
                if is_full(&movement.named) {
                    break;
                }
                fleet.name_members(*class, inventory, at, |id| {
                    movement.named.push(id);
                    if is_full(&movement.named) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })?;
            }
            movement.named.truncate(names.unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// Counts the devices that lose a leaf and have no other one that is admitted: all that lose one,
    /// but those of which a leaf is admitted afterwards. This comes before [`Self::name`], which keeps
    /// only the first names.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn count_devices_left_out(
        &mut self,
        after: &DpsView,
        fleet: &Fleet,
        inventory: &dyn Inventory,
        at: Time,
    ) -> Result<(), InventoryError> {
        let mut named = self.clone();
        named.name(fleet, inventory, at, None)?;
        let losing = named.with(Effect::Loses).flat_map(|one| &one.named);
        let mut left_out: BTreeSet<&RegistrationId> = losing.collect();
        let admitted = self.movements.iter().filter(|one| one.after.is_admitted());
        for class in admitted.flat_map(|one| &one.classes) {
            if left_out.is_empty() {
                break;
            }
            fleet.name_members(*class, inventory, at, |id| {
                left_out.remove(&id);
                ControlFlow::Continue(())
            })?;
        }
        for one in &fleet.exceptions {
            let above = &fleet.classes[one.class].above;
            if Verdict::from(outcome_of(after, &one.id, &one.leaf, above)).is_admitted() {
                left_out.remove(&one.id);
            }
        }
        self.devices_left_out = Some(u64::try_from(left_out.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// The movements with this effect.
    pub fn with(&self, effect: Effect) -> impl Iterator<Item = &Movement> {
        self.movements
            .iter()
            .filter(move |movement| movement.effect() == effect)
    }

    /// How many leaves see this effect.
    pub fn count(&self, effect: Effect) -> u64 {
        self.with(effect).map(|movement| movement.leaves).sum()
    }

    /// Groups whose devices another group will decide about.
    pub fn falls_through(&self) -> impl Iterator<Item = FallThrough<'_>> {
        self.movements.iter().filter_map(|movement| {
            let from = movement.before.group()?;
            let to = movement.after.group()?;
            (from != to).then_some(FallThrough {
                from,
                to,
                is_admitted: movement.after.is_admitted(),
                leaves: movement.leaves,
            })
        })
    }

    /// Whether no device's admission changes.
    pub fn is_none(&self) -> bool {
        !self.movements.iter().any(Movement::is_change)
    }
}

/// Movements while they are counted.
#[derive(Default)]
struct Tally(BTreeMap<(Option<AuthorityGeneration>, Verdict, Verdict), Movement>);

impl Tally {
    fn except(&mut self, before: &DpsView, after: &DpsView, fleet: &Fleet, one: &Exception) {
        let class = &fleet.classes[one.class];
        let decide = |view| Verdict::from(outcome_of(view, &one.id, &one.leaf, &class.above));
        let movement = self.movement(&class.signed_by, decide(before), decide(after));
        movement.leaves += 1;
        if movement.is_change() {
            movement.named.push(one.id.clone());
        }
    }

    fn impact(self) -> Impact {
        Impact {
            movements: self.0.into_values().collect(),
            devices_left_out: None,
        }
    }

    fn movement(
        &mut self,
        signed_by: &Option<AuthorityGeneration>,
        before: Verdict,
        after: Verdict,
    ) -> &mut Movement {
        let key = (signed_by.clone(), before.clone(), after.clone());
        self.0.entry(key).or_insert_with(|| Movement {
            signed_by: signed_by.clone(),
            before,
            after,
            leaves: 0,
            named: Vec::new(),
            classes: Vec::new(),
        })
    }
}

impl Movement {
    /// What it means for these devices.
    pub fn effect(&self) -> Effect {
        match (self.before.admits(), self.after.admits()) {
            (Some(true), Some(true)) => Effect::StaysAdmitted,
            (Some(false), Some(false)) => Effect::StaysOut,
            (None, None) => Effect::NotKnown,
            // What nobody knows may be either: a change is told as the one that somebody has to ask for.
            (Some(true), _) | (None, Some(false)) => Effect::Loses,
            (Some(false), _) | (None, Some(true)) => Effect::Gains,
        }
    }

    fn is_change(&self) -> bool {
        matches!(self.effect(), Effect::Loses | Effect::Gains)
    }
}

impl Verdict {
    /// Whether the device is let in.
    pub fn is_admitted(&self) -> bool {
        self.admits() == Some(true)
    }

    /// Whether the device is let in; `None` if that cannot be told.
    pub fn admits(&self) -> Option<bool> {
        match self {
            Self::Admitted(_) => Some(true),
            Self::NotKnown(..) => None,
            Self::Disabled(_)
            | Self::OtherCertificate
            | Self::OtherAttestation
            | Self::NoVerifiedCa(_)
            | Self::NotValid(_)
            | Self::NoEntry => Some(false),
        }
    }

    /// The group that decides, or that would.
    pub fn group(&self) -> Option<&EnrollmentGroupId> {
        match self {
            Self::Admitted(Decider::Group(id))
            | Self::Disabled(Decider::Group(id))
            | Self::NotKnown(Decider::Group(id), _)
            | Self::NoVerifiedCa(id) => Some(id),
            Self::Admitted(Decider::Individual)
            | Self::Disabled(Decider::Individual)
            | Self::NotKnown(Decider::Individual, _)
            | Self::OtherCertificate
            | Self::OtherAttestation
            | Self::NotValid(_)
            | Self::NoEntry => None,
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Admitted(entry) => Self::Admitted(entry.into()),
            Outcome::Disabled(entry) => Self::Disabled(entry.into()),
            Outcome::Refused(Refusal::OtherCertificate(_)) => Self::OtherCertificate,
            Outcome::Refused(Refusal::OtherAttestation(_)) => Self::OtherAttestation,
            Outcome::Refused(Refusal::NoVerifiedCa(id)) => Self::NoVerifiedCa(id),
            Outcome::Refused(Refusal::NotValid(certificate)) => Self::NotValid(certificate),
            Outcome::NotKnown(entry, word) => Self::NotKnown(entry.into(), word),
            // A leaf without a registration ID finds no entry either.
            Outcome::Refused(Refusal::NoEntry | Refusal::NoRegistrationId) => Self::NoEntry,
        }
    }
}

impl From<Entry> for Decider {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Individual(_) => Self::Individual,
            Entry::Group(id) => Self::Group(id),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted(decider) => write!(f, "admitted by {decider}"),
            Self::Disabled(decider) => write!(f, "refused: {decider} is disabled"),
            Self::OtherCertificate => {
                f.write_str("refused: its individual enrollment names another certificate")
            }
            Self::OtherAttestation => {
                f.write_str("refused: its individual enrollment does not attest by certificates")
            }
            Self::NoVerifiedCa(id) => {
                write!(f, "refused: {}", Refusal::NoVerifiedCa(id.clone()))
            }
            Self::NotValid(certificate) => write!(f, "refused: {certificate}"),
            Self::NoEntry => write!(f, "refused: {}", Refusal::NoEntry),
            Self::NotKnown(decider, word) => write!(
                f,
                "not known: {decider} has the provisioning status {word:?}"
            ),
        }
    }
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Individual => f.write_str("its individual enrollment"),
            Self::Group(id) => write!(f, "enrollment group {id}"),
        }
    }
}

impl Serialize for Impact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("Impact", 7)?;
        document.serialize_field("loses", &self.count(Effect::Loses))?;
        document.serialize_field("gains", &self.count(Effect::Gains))?;
        document.serialize_field("staysAdmitted", &self.count(Effect::StaysAdmitted))?;
        document.serialize_field("staysOut", &self.count(Effect::StaysOut))?;
        match self.count(Effect::NotKnown) {
            0 => document.skip_field("notKnown")?,
            leaves => document.serialize_field("notKnown", &leaves)?,
        }
        match self.devices_left_out {
            Some(devices) => document.serialize_field("devicesLeftOut", &devices)?,
            None => document.skip_field("devicesLeftOut")?,
        }
        document.serialize_field("movements", &self.movements)?;
        document.end()
    }
}

impl Serialize for Movement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let signed_by = self.signed_by.as_ref();
        let mut document = serializer.serialize_struct("Movement", 7)?;
        document.serialize_field("effect", &self.effect())?;
        document.serialize_field("authority", &signed_by.map(|signer| &signer.name))?;
        document.serialize_field("generation", &signed_by.map(|signer| signer.generation))?;
        document.serialize_field("before", &self.before.to_string())?;
        document.serialize_field("after", &self.after.to_string())?;
        document.serialize_field("leaves", &self.leaves)?;
        document.serialize_field("named", &self.named)?;
        document.end()
    }
}
