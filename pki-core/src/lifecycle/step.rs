//! A step of a plan: the record that it is about, what is done to it, and what it expects to find there.
//!
//! Every kind of record has a file here, with all that is particular about steps on it: names, keys, words,
//! what they change, how they compare with what was read back, and the form in which they are stored. What
//! they have in common is [`Kind`], written once for both kinds of enrollments (`enrollment`); nothing else in the core tells the kinds apart, so a new kind is a file,
//! a variant of [`Step`] and an arm of `Step::kind`.
//!
//! The action belongs to the kind, as a type: a leaf cannot be put, nor a group revoked.
//! Invariant: the stored form never changes. Plans that are open in homes are read by later versions, and
//! audit trails have its digest (`pki-core/tests/plan/stored.ndjson`).

mod authority;
mod ca;
mod enrollment;
mod expectation;
mod group;
mod hub_device;
mod individual;
mod leaf;
mod registration;
mod standing;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{FieldChange, Subject};
use crate::admission::{DpsView, ViewError};
use crate::enrollment::{Attestation, EnrollmentGroup, IndividualEnrollment, Mechanism};
use crate::ids::{AuthorityName, DpsName, EnrollmentGroupId, HubHostName, RegistrationId};
use crate::inventory::GenerationChange;

pub use authority::{AuthorityAction, AuthorityStep};
pub use ca::{CaAction, CaStep};
pub use expectation::{AsLeft, Expectation};
pub use group::{GroupAction, GroupStep};
pub use hub_device::{HubDeviceAction, HubDeviceStep};
pub use individual::{IndividualAction, IndividualStep};
pub use leaf::{LeafAction, LeafStep};
pub use registration::{RegistrationAction, RegistrationStep};
pub use standing::{Found, Standing};

/// One thing to do, to a record of this kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// An individual enrollment in DPS.
    Individual(IndividualStep),
    /// A registration record in DPS.
    Registration(RegistrationStep),
    /// A device identity on a hub.
    HubDevice(HubDeviceStep),
    /// A leaf in the inventory.
    Leaf(LeafStep),
    /// A CA certificate in DPS.
    Ca(CaStep),
    /// An enrollment group in DPS.
    Group(GroupStep),
    /// An authority in the inventory.
    Authority(AuthorityStep),
}

/// What a kind of step answers.
trait Kind: fmt::Display {
    /// The record that it writes: one key for all spellings of its name.
    fn key(&self) -> String;

    /// The name of the record, as people know it.
    fn name(&self) -> String;

    /// Who holds the record.
    fn plane(&self) -> Plane<'_>;

    /// How many calls it takes there.
    fn calls(&self) -> usize;

    /// What it concerns: plans that share a subject exclude each other.
    fn subjects(&self) -> Vec<Subject>;

    /// What it expects to find; `None` of the inventory, whose transactions keep its rules.
    fn expect(&self) -> Option<&Expectation>;

    /// The step compared with the record that was read back.
    fn standing(&self, found: &Found, expect: &Expectation) -> Standing;

    /// What the audit trail calls it.
    fn audit_word(&self) -> &'static str;

    /// Whether it is about one device, which stands for itself: CA certificates, groups and authorities build
    /// on each other.
    fn is_of_device(&self) -> bool;

    /// Whether DPS decides about devices by the record.
    fn changes_admission(&self) -> bool {
        false
    }

    /// Changes a view as the step changes DPS.
    fn apply_to(&self, _view: &mut DpsView) -> Result<(), ViewError> {
        Ok(())
    }

    /// Whether the record is there and disabled, and the step enables or deletes it.
    fn reopens(&self, _view: &DpsView) -> bool {
        false
    }

    /// Whether it enables or deletes a record that keeps devices out while it is disabled.
    fn takes_away(&self) -> bool {
        false
    }

    /// What differs from what is there, field by field.
    fn changes(&self) -> &[FieldChange] {
        &[]
    }
}

/// Who holds a record, and by which service it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane<'a> {
    /// DPS, by its service API, whose rate is limited.
    Service,
    /// DPS, by Azure Resource Manager.
    Management,
    /// A hub.
    Hub(&'a HubHostName),
    /// The inventory.
    Inventory,
}

impl Step {
    /// The step that creates or changes a group. What is written holds each certificate once, whether the
    /// service has stored the copy that it shows or not.
    pub fn put_group(
        group: EnrollmentGroup,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        Self::Group(GroupStep::put(group, changes, expect))
    }

    /// The step that creates or changes an individual enrollment; as [`Self::put_group`].
    pub fn put_individual(
        enrollment: IndividualEnrollment,
        changes: Vec<FieldChange>,
        expect: Expectation,
    ) -> Self {
        Self::Individual(IndividualStep::put(enrollment, changes, expect))
    }

    /// Whether it may change whom DPS lets in; the other steps clean up after those that do.
    pub fn decides(&self) -> bool {
        matches!(self, Self::Ca(_) | Self::Group(_) | Self::Individual(_))
    }

    /// The step that deletes a group; its devices fall through to a group above it, if there is one.
    pub fn delete_group(id: EnrollmentGroupId, expect: Expectation) -> Self {
        let action = GroupAction::Delete { id };
        Self::Group(GroupStep { action, expect })
    }

    /// The step that deletes an individual enrollment; its device falls through to its group, if there is one.
    pub fn delete_individual(registration_id: RegistrationId, expect: Expectation) -> Self {
        let action = IndividualAction::Delete { registration_id };
        Self::Individual(IndividualStep { action, expect })
    }

    /// The step that deletes a registration record, so that the device has to register again.
    pub fn delete_registration(registration_id: RegistrationId, expect: Expectation) -> Self {
        Self::Registration(RegistrationStep {
            action: RegistrationAction::Delete,
            registration_id,
            expect,
        })
    }

    /// The step that gives the generations of an authority new parts in the inventory, all together.
    pub fn settle(authority: AuthorityName, changes: Vec<GenerationChange>) -> Self {
        Self::Authority(AuthorityStep {
            action: AuthorityAction::Settle,
            authority,
            changes,
        })
    }

    fn kind(&self) -> &dyn Kind {
        match self {
            Self::Ca(step) => step,
            Self::Group(step) => step,
            Self::Individual(step) => step,
            Self::Registration(step) => step,
            Self::HubDevice(step) => step,
            Self::Leaf(step) => step,
            Self::Authority(step) => step,
        }
    }

    /// The record that it writes: one key for all spellings of its name.
    pub(crate) fn key(&self) -> String {
        self.kind().key()
    }

    /// The name of what it is about.
    pub fn subject_name(&self) -> String {
        self.kind().name()
    }

    /// Who holds the record: `DPS dev`, a hub, or the inventory.
    pub fn place(&self, dps: &DpsName) -> String {
        match self.kind().plane() {
            Plane::Service | Plane::Management => format!("DPS {dps}"),
            Plane::Hub(hub) => hub.to_string(),
            Plane::Inventory => "the inventory".to_owned(),
        }
    }

    /// What it concerns. A hub knows a device by its device ID, which is the registration ID unless the
    /// enrollment says otherwise; the plan's other steps on the device name it then.
    pub fn subjects(&self) -> Vec<Subject> {
        self.kind().subjects()
    }

    /// What it expects to find; `None` of the inventory, whose transactions keep its rules.
    pub fn expect(&self) -> Option<&Expectation> {
        self.kind().expect()
    }

    /// What it expects to find, as the journal notes it.
    pub fn expectation(&self) -> Expectation {
        let expect = self.kind().expect().cloned();
        expect.unwrap_or_else(Expectation::as_left)
    }

    /// The step compared with the record that was read back; `expect` is what the step was to find.
    pub fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        self.kind().standing(found, expect)
    }

    /// Changes a view as this step changes DPS. Steps on hubs and the inventory change nothing there.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn apply_to(&self, view: &mut DpsView) -> Result<(), ViewError> {
        self.kind().apply_to(view)
    }

    /// Whether DPS decides about devices by what it changes.
    pub fn changes_admission(&self) -> bool {
        self.kind().changes_admission()
    }

    /// Whether it is about one device, which stands for itself.
    pub fn is_of_device(&self) -> bool {
        self.kind().is_of_device()
    }

    /// The device whose individual enrollment it changes: nobody else is decided about otherwise.
    pub fn device(&self) -> Option<&RegistrationId> {
        match self {
            Self::Individual(step) => Some(step.id()),
            _ => None,
        }
    }

    /// What differs from what is there, field by field.
    pub fn changes(&self) -> &[FieldChange] {
        self.kind().changes()
    }

    /// How many operations of the service plane it takes, for the rate budget.
    pub fn service_operations(&self) -> usize {
        match self.kind().plane() {
            Plane::Service => self.kind().calls(),
            Plane::Management | Plane::Hub(_) | Plane::Inventory => 0,
        }
    }

    /// How many calls the management plane or a hub gets.
    pub(crate) fn other_calls(&self) -> usize {
        match self.kind().plane() {
            Plane::Management | Plane::Hub(_) => self.kind().calls(),
            Plane::Service | Plane::Inventory => 0,
        }
    }

    /// What the audit trail calls it.
    pub(crate) fn audit_word(&self) -> &'static str {
        self.kind().audit_word()
    }

    /// Whether it was made from a record as it was read: sent now, it would find what it expects.
    pub(super) fn is_made_from(&self, read: &Found) -> bool {
        let expect = self.expectation();
        match self.standing(read, &expect) {
            Standing::AsExpected(_) => true,
            Standing::Done(tag) => expect == Expectation::of(tag.as_ref()),
            Standing::Changed(_) | Standing::There | Standing::Gone => false,
        }
    }

    pub(super) fn reopens(&self, view: &DpsView) -> bool {
        self.kind().reopens(view)
    }

    pub(super) fn takes_away(&self) -> bool {
        self.kind().takes_away()
    }

    /// The step as it is stored: without keys that its document brings.
    pub(crate) fn without_keys(&self) -> Self {
        let mut step = self.clone();
        if let Some(attestation) = step.attestation_mut()
            && attestation_brings_keys(attestation)
        {
            attestation.mechanism = Mechanism::SymmetricKey(None);
        }
        step
    }

    /// Whether its document brings keys, which the journal does not store.
    pub fn brings_keys(&self) -> bool {
        let attestation = match self {
            Self::Group(step) => step.document().map(|group| &group.attestation),
            Self::Individual(step) => step.document().map(|entry| &entry.attestation),
            _ => None,
        };
        attestation.is_some_and(attestation_brings_keys)
    }

    fn attestation_mut(&mut self) -> Option<&mut Attestation> {
        match self {
            Self::Group(GroupStep {
                action: GroupAction::Put { group, .. },
                ..
            }) => Some(&mut group.attestation),
            Self::Individual(IndividualStep {
                action: IndividualAction::Put { enrollment, .. },
                ..
            }) => Some(&mut enrollment.attestation),
            _ => None,
        }
    }

    /// Whether what it leads to is what another step leads to, whatever either expects to find.
    pub fn has_effect_of(&self, other: &Self) -> bool {
        self.effect() == other.effect()
    }

    fn effect(&self) -> Value {
        let mut effect = json!(self.without_keys());
        for member in ["expect", "changes"] {
            effect[member] = Value::Null;
        }
        for document in ["group", "enrollment"] {
            if let Some(document) = effect.get_mut(document) {
                document["etag"] = Value::Null;
            }
        }
        effect
    }

    /// Whether it can be sent in one call with another: both create, or both change as read.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Individual(one), Self::Individual(other)) => one.goes_with(other),
            _ => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

fn attestation_brings_keys(attestation: &Attestation) -> bool {
    let Mechanism::SymmetricKey(Some(keys)) = &attestation.mechanism else {
        return false;
    };
    keys.primary_key.is_some() || keys.secondary_key.is_some()
}

/// What a put does to a record, by what it expects to find.
fn verb(expect: &Expectation) -> &'static str {
    match expect {
        Expectation::Absent => "create",
        Expectation::Etag(_) | Expectation::AsLeftByPlan(_) => "change",
    }
}

/// Whether the status is all that changes, and is `enabled` then.
fn status_alone(changes: &[FieldChange]) -> Option<bool> {
    match changes {
        [change] if change.field == "provisioningStatus" => Some(change.to == json!("enabled")),
        _ => None,
    }
}
