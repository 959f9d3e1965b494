//! Deprovisioning: devices and groups leave for good, in two halves and in this order: disenrolled in
//! DPS, then deregistered from the hub with their registration records.
//!
//! A device that a group admits cannot be disenrolled by deleting anything of its own: a disabled
//! entry keeps it out. A group is disabled first, so that nobody comes back while its devices leave.

use super::below::disabled;
use super::quarantine::{
    HubAction, Quarantine, QuarantineState, disabled as disabled_entry, new_entry, quarantine,
};
use super::roll::RegisteredDevice;
use super::{Expectation, Plan, Step};
use crate::admission::{Outcome, Refusal};
use crate::certificate::Certificate;
use crate::enrollment::{EnrollmentGroup, IndividualEnrollment, ProvisioningStatus};
use crate::ids::{EnrollmentGroupId, RegistrationId};
use crate::wording::{counted, fitting};

/// What the goals of these plans begin with, in the journal too.
pub const GOAL_OF_DEPROVISIONING: &str = "deprovision ";

/// A device that is to leave.
#[derive(Debug, Clone)]
pub struct Deprovision {
    /// The device.
    pub registration_id: RegistrationId,
    /// Its leaf, if it is at hand.
    pub leaf: Option<Certificate>,
    /// What DPS would decide without an individual enrollment, of all its leaves about the one that is
    /// nearest to admission; `None` if that cannot be told.
    pub without_entry: Option<Outcome>,
}

/// Plans that a device leaves. Its entry is deleted only where no group holds anything of its chain,
/// since a group that is disabled today is enabled tomorrow; and never if it is disabled: then it is what
/// keeps the device out.
pub fn deprovision(request: &Deprovision, state: &QuarantineState) -> Plan {
    let id = &request.registration_id;
    let stays_out = request.without_entry == Some(Outcome::Refused(Refusal::NoEntry));
    let entry = state.individual.as_ref();
    let is_disabled =
        entry.is_some_and(|entry| entry.provisioning_status == ProvisioningStatus::Disabled);
    let shut_out = Quarantine {
        registration_id: id.clone(),
        leaf: request.leaf.clone(),
        revoke: vec![],
        reason: Some("deprovisioned".into()),
        hub: HubAction::Delete,
    };
    let mut plan = quarantine(&shut_out, state);
    plan.goal = format!("{GOAL_OF_DEPROVISIONING}{id}");
    if is_disabled {
        plan.notes.push(format!(
            "individual enrollment {id} is disabled and stays: deleting it may let the device in"
        ));
    } else if stays_out {
        plan.steps
            .retain(|step| !matches!(step, Step::Individual(_)));
        let delete = entry
            .map(|entry| Step::delete_individual(id.clone(), Expectation::of(entry.etag.as_ref())));
        plan.steps.splice(0..0, delete);
    } else {
        let why = match &request.without_entry {
            Some(Outcome::Admitted(_)) => format!("a group admits {id}"),
            Some(_) => format!("a group holds a certificate of {id}'s chain"),
            None => format!("nobody knows what group holds the chain of {id}"),
        };
        plan.notes.push(format!(
            "{why}, so a disabled individual enrollment keeps it out, and must stay"
        ));
    }
    plan
}

/// The individual enrollment of a device that has a leaf below the certificates of a leaving group.
#[derive(Debug, Clone)]
pub struct MemberEntry {
    /// The enrollment.
    pub entry: IndividualEnrollment,
    /// What it is there for.
    pub purpose: Purpose,
    /// Whether some group holds a certificate of the device's chains when the group has left.
    pub is_held: bool,
}

/// What the individual enrollment of a group's device is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody wants it for its own sake: the device is not the group's then.
    Own,
    /// It keeps the device out.
    ShutsOut,
    /// The device has come back by it. A plan of the same kind that was cut may have disabled it.
    BringsBack,
}

/// A device without an individual enrollment that another group lets in, by a leaf that it had before those
/// of the leaving group.
#[derive(Debug, Clone)]
pub struct EarlierLeaf {
    /// The device.
    pub registration_id: RegistrationId,
    /// Its newest leaf, by which it is the leaving group's.
    pub newest: Certificate,
}

impl MemberEntry {
    /// The step that deletes it, once the group is gone and nothing holds anything of its chain. One that
    /// was disabled before stays: it is what keeps the device out.
    fn deleted(&self) -> Option<Step> {
        if self.purpose != Purpose::BringsBack || self.is_held {
            return None;
        }
        Some(match disabled_entry(&self.entry) {
            Some(disable) => Step::Individual(disable.then_delete()),
            None => Step::delete_individual(
                self.entry.registration_id.clone(),
                Expectation::of(self.entry.etag.as_ref()),
            ),
        })
    }
}

/// The devices of a leaving group, with what there is of them.
#[derive(Debug, Clone, Default)]
pub struct GroupMembers {
    /// Those with a registration record or an identity on a hub.
    pub registered: Vec<RegisteredDevice>,
    /// The individual enrollments of devices below its certificates.
    pub entries: Vec<MemberEntry>,
    /// Those that an earlier leaf would go on to let in.
    pub by_earlier_leaves: Vec<EarlierLeaf>,
    /// Those that have moved to a leaf by which another group lets them in: they are not the group's any more.
    pub moved: Vec<RegistrationId>,
}

/// Plans that a group and all its devices leave. `falls_to` are the groups that would decide about its devices
/// if it were deleted, enabled or not, since those that are disabled today are enabled tomorrow: then it stays,
/// disabled.
pub fn deprovision_group(
    group: &EnrollmentGroup,
    members: &GroupMembers,
    falls_to: &[EnrollmentGroupId],
) -> Plan {
    let entries = &members.entries;
    let id = &group.enrollment_group_id;
    let shut_out = shut_out_earlier_leaves(id, members);
    let mut plan = Plan::new(shut_out.goal);
    let disable = disabled(group);
    let delete = match &disable {
        Some(disable) => Step::Group(disable.then_delete()),
        None => Step::delete_group(id.clone(), Expectation::of(group.etag.as_ref())),
    };
    plan.steps.extend(disable.map(Step::Group));
    let back = entries
        .iter()
        .filter(|member| member.purpose == Purpose::BringsBack);
    let disabled_back = back.filter_map(|member| disabled_entry(&member.entry));
    plan.steps.extend(disabled_back.map(Step::Individual));
    plan.steps.extend(shut_out.steps);
    if falls_to.is_empty() {
        plan.steps.push(delete);
        // Not before: while the group is there, somebody may enable it.
        plan.steps
            .extend(entries.iter().filter_map(MemberEntry::deleted));
    } else {
        let groups: Vec<&str> = falls_to.iter().map(EnrollmentGroupId::as_str).collect();
        plan.notes.push(format!(
            "enrollment group {id} stays, disabled: without it {} would decide about its devices",
            groups.join(", ")
        ));
    }
    plan.notes.extend(shut_out.notes);
    plan.notes.extend(notes_on(entries, falls_to.is_empty()));
    plan.notes.extend(note_on_moved(&members.moved));
    plan
}

/// Plans what keeps out the devices of a group that an earlier leaf would go on to let in, and takes its
/// devices off their hubs. DPS denies by registration ID only, so each gets an entry.
pub fn shut_out_earlier_leaves(group: &EnrollmentGroupId, members: &GroupMembers) -> Plan {
    let mut plan = Plan::new(format!(
        "{GOAL_OF_DEPROVISIONING}enrollment group {group} and its devices"
    ));
    let earlier = &members.by_earlier_leaves;
    plan.steps.extend(earlier.iter().map(|device| {
        let id = device.registration_id.clone();
        new_entry(id, Some(&device.newest), Some(group.clone()))
    }));
    let leave = |device: &RegisteredDevice| device.deregister(HubAction::Delete, "deprovisioned");
    plan.steps.extend(members.registered.iter().flat_map(leave));
    if !earlier.is_empty() {
        let ids: Vec<&str> = earlier
            .iter()
            .map(|device| device.registration_id.as_str())
            .collect();
        plan.notes.push(format!(
            "{} out and must stay, disabled, since another group lets {} in by an earlier leaf: {}",
            counted(
                ids.len(),
                "individual enrollment is made that keeps a device of the group",
                "individual enrollments are made that keep devices of the group"
            ),
            fitting(ids.len(), "it", "them"),
            some_of(&ids)
        ));
    }
    plan
}

fn note_on_moved(moved: &[RegistrationId]) -> Option<String> {
    let ids: Vec<&str> = moved.iter().map(RegistrationId::as_str).collect();
    (!ids.is_empty()).then(|| {
        format!(
            "{} to a leaf by which another group lets {} in, and {} left alone: {}; to have {} leave as well: dps-pki deprovision {}",
            counted(ids.len(), "device has moved", "devices have moved"),
            fitting(ids.len(), "it", "them"),
            fitting(ids.len(), "is", "are"),
            some_of(&ids),
            fitting(ids.len(), "it", "them"),
            ids.first().filter(|_| ids.len() == 1).unwrap_or(&"ID…"),
        )
    })
}

/// What is to be told of the individual enrollments that are there afterwards.
fn notes_on(entries: &[MemberEntry], goes: bool) -> Vec<String> {
    let ids = |is_meant: &dyn Fn(&&MemberEntry) -> bool| -> Vec<&str> {
        let meant = entries.iter().filter(is_meant);
        meant
            .map(|member| member.entry.registration_id.as_str())
            .collect()
    };
    let is_own = |member: &&MemberEntry| member.purpose == Purpose::Own;
    let own = ids(&is_own);
    let is_deleted = |member: &MemberEntry| goes && member.deleted().is_some();
    let kept = ids(&|member| !is_own(member) && !is_deleted(member));
    let mut notes = Vec::new();
    if !kept.is_empty() {
        notes.push(format!(
            "{} out and must stay, disabled: {}",
            counted(
                kept.len(),
                "individual enrollment keeps a device of the group",
                "individual enrollments keep devices of the group"
            ),
            some_of(&kept)
        ));
    }
    if !own.is_empty() {
        notes.push(format!(
            "{} decided about by {} own and left alone: {}; to have {} leave as well: dps-pki deprovision {}",
            counted(own.len(), "device below the group's certificates is", "devices below the group's certificates are"),
            fitting(own.len(), "an individual enrollment of its", "individual enrollments of their"),
            some_of(&own),
            fitting(own.len(), "it", "them"),
            own.first().filter(|_| own.len() == 1).unwrap_or(&"ID…"),
        ));
    }
    notes
}

/// The first few names.
fn some_of(names: &[&str]) -> String {
    const NAMED: usize = 10;
    match names.get(NAMED..) {
        Some(more) if !more.is_empty() => {
            format!("{} and {} more", names[..NAMED].join(", "), more.len())
        }
        _ => names.join(", "),
    }
}
