//! Everything below an authority: a disabled group, and the registered devices off their hubs.
//!
//! The group decides before any group above it does, and must stay: deleting it lets its devices fall
//! through to an enabled group above. Devices with an entry of their own are decided about by that.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use pki_core::admission::{ChainElement, DpsView, outcome_below};
use pki_core::certificate::Certificate;
use pki_core::enrollment::RegistrationState;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, DpsName, EnrollmentGroupId, RegistrationId,
    Sha256Thumbprint,
};
use pki_core::inventory::{AuthorityRecord, GenerationState, Inventory};
use pki_core::lifecycle::{
    Class, Fleet, HubAction, HubIdentity, Plan, Promise, Step, Who, quarantine_below,
};
use pki_core::sqlite::SqliteInventory;

use super::Args;
use crate::commands::everywhere::{Problems, Within, others};
use crate::config::NAMED;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::Proposal;
use crate::hubs::{UnreadHub, refuse_unread};
use crate::issuance::no_authority;
use crate::judged;
use crate::planes::Planes;
use crate::registered::{records_of_groups, shows_leaf_of, with_identities};
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::DpsSnapshot;

impl Args {
    pub(super) fn below_everywhere(
        &self,
        context: &Context,
        all: &[Planes<'_>],
        inventory: &mut SqliteInventory,
        authority: &AuthorityName,
    ) -> CommandResult {
        let below = Below::of(context, inventory, authority)?;
        let mut problems = Problems::default();
        for planes in all {
            let dps = (all.len() > 1).then(|| planes.name());
            let done = self.below(context, planes, dps, inventory, (authority, &below));
            problems.note(dps, done)?;
        }
        problems.note(None, elsewhere(context, authority, &below))?;
        problems.end()
    }

    fn below(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        dps: Option<&DpsName>,
        inventory: &mut SqliteInventory,
        (authority, below): (&AuthorityName, &Below),
    ) -> Result<(), CommandError> {
        let snapshot = context.wait_for(DpsSnapshot::gather(planes))?;
        let before = snapshot.view()?;
        let mut plan = below.plan(&snapshot, &before)?;
        let staying = below.own_entries(context, inventory, &plan.applied_to(&before)?)?;
        plan.notes.extend(notes_of(authority, &staying));
        let unread = self.deregister(context, planes, inventory, (&snapshot, below), &mut plan)?;
        let promise = Promise {
            refuses: Who::Anybody,
            ..Promise::default()
        };
        let judged = judged::plan(context, planes, inventory, &before, plan, &promise)?;
        let mut shown = Outline(PlanAndImpact::proposed(&judged));
        let done = Proposal::new(&judged.plan, &shown)
            .within(dps)
            .carry_out(context, planes, inventory)?
            .done;
        if !context.settings.dry_run {
            let found = context.wait_for(DpsSnapshot::gather(planes))?.view()?;
            below.refuse_admitted(authority, &found)?;
        }
        shown.0.done = done;
        context.ui.item(&Within { dps, result: shown })?;
        if context.settings.dry_run {
            Ok(())
        } else {
            refuse_unread(&unread)
        }
    }

    /// The registered devices below, those of the groups that are disabled of which the inventory knows no
    /// leaf, and those that a hub knows without a record.
    fn deregister(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        inventory: &dyn Inventory,
        (snapshot, below): (&DpsSnapshot, &Below),
        plan: &mut Plan,
    ) -> Result<Vec<UnreadHub>, CommandError> {
        let hub: HubAction = self.hub.into();
        if hub == HubAction::Keep {
            let note = "the hub identities are kept: devices that are connected stay connected";
            plan.notes.push(note.into());
            return Ok(vec![]);
        }
        let disabled: BTreeSet<&EnrollmentGroupId> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Group(step) => Some(step.id()),
                _ => None,
            })
            .collect();
        let signers: BTreeSet<_> = below
            .classes()
            .filter_map(|one| one.signed_by.as_ref())
            .collect();
        let now = context.now();
        let is_below =
            |group: &EnrollmentGroupId, id: &RegistrationId| -> Result<bool, CommandError> {
                let leaves = inventory.unexpired_leaves(id, now)?;
                let mut known = leaves.iter().filter_map(|leaf| leaf.recorded.signed_by());
                Ok(if leaves.is_empty() {
                    disabled.contains(group)
                } else {
                    known.any(|signer| signers.contains(signer))
                })
            };
        let groups = snapshot
            .groups
            .iter()
            .map(|group| &group.enrollment_group_id);
        let members = below.members(context, inventory)?;
        let registered = context.block_on(async {
            let wanted = |group: &EnrollmentGroupId, record: &RegistrationState| {
                Ok(record.assigned_hub.is_some() && is_below(group, &record.registration_id)?)
            };
            let records = records_of_groups(planes, groups, wanted).await?;
            let mut registered = with_identities(planes, records).await;
            let is_meant = |found: &HubIdentity| {
                shows_leaf_of(inventory, found, now, |signer| signers.contains(signer))
            };
            registered.add_unlisted(planes, members, is_meant).await?;
            Ok(registered)
        })?;
        let reason = self.reason.as_deref().unwrap_or("its issuer is shut out");
        let steps = registered
            .devices
            .iter()
            .flat_map(|device| device.deregister(hub, reason));
        let steps: Vec<Step> = steps.collect();
        plan.steps.extend(steps);
        plan.notes.extend(registered.notes());
        Ok(registered.unread)
    }
}

/// The instances that `--dps` leaves out and that would let devices in are named.
fn elsewhere(
    context: &Context,
    authority: &AuthorityName,
    below: &Below,
) -> Result<(), CommandError> {
    let mut left = Vec::new();
    for planes in others(context)? {
        let name = planes.name();
        let view = context.wait_for(DpsSnapshot::gather(&planes));
        match view.and_then(|snapshot| below.refuse_admitted(authority, &snapshot.view()?)) {
            Ok(()) => {}
            Err(error) => left.push(format!("DPS {name}: {error}")),
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    if context.settings.dry_run {
        for line in &left {
            context.ui.warning(line);
        }
        return Ok(());
    }
    let message = "not shut out everywhere: --dps leaves other instances out";
    Err(CommandError::new(ErrorKind::PartlyFailed, message)
        .lines(&left)
        .hint("run it again without --dps: it concerns all of them then"))
}

/// An authority's generations and every class of leaves below them.
pub(in crate::commands) struct Below {
    goal: String,
    /// The generations and those below, nearest to the authority first, with their certificates.
    held: Vec<(AuthorityGeneration, Certificate)>,
    fleet: Fleet,
    thumbprints: BTreeSet<Sha256Thumbprint>,
}

impl Below {
    /// Below every generation of an authority that came to life.
    pub(in crate::commands) fn of(
        context: &Context,
        inventory: &dyn Inventory,
        name: &AuthorityName,
    ) -> Result<Self, CommandError> {
        let record = inventory.authority(name)?;
        let own = record.as_ref().map(certificates).unwrap_or_default();
        if own.is_empty() {
            Err(no_authority(context, name)?)
        } else {
            Self::certificates(context, inventory, own)
        }
    }

    /// Below these generations.
    pub(in crate::commands) fn certificates(
        context: &Context,
        inventory: &dyn Inventory,
        own: Vec<(AuthorityGeneration, Certificate)>,
    ) -> Result<Self, CommandError> {
        let names: BTreeSet<&str> = own.iter().map(|(id, _)| id.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let goal = format!("shut out everything below {}", names.join(", "));
        let thumbprints = own.iter().map(|(_, held)| held.sha256_thumbprint());
        let thumbprints: BTreeSet<Sha256Thumbprint> = thumbprints.collect();
        let fleet = Fleet::gather(inventory, context.now(), [])?;
        let is_below = |id: &AuthorityGeneration| {
            let mut classes = fleet.classes.iter();
            let class = classes.find(|class| class.signed_by.as_ref() == Some(id));
            class.is_some_and(|class| goes_through(&class.above, &thumbprints))
        };
        let mut held = own;
        for other in inventory.authorities()? {
            for (id, certificate) in certificates(&other) {
                let is_own = thumbprints.contains(&certificate.sha256_thumbprint());
                if !is_own && is_below(&id) {
                    held.push((id, certificate));
                }
            }
        }
        Ok(Self {
            goal,
            held,
            fleet,
            thumbprints,
        })
    }

    /// The classes of leaves below.
    fn classes(&self) -> impl Iterator<Item = &Class> {
        let classes = self.fleet.classes.iter();
        classes.filter(|class| goes_through(&class.above, &self.thumbprints))
    }

    /// The devices below that have a leaf.
    fn members(
        &self,
        context: &Context,
        inventory: &dyn Inventory,
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let mut ids = BTreeSet::new();
        for (index, class) in self.fleet.classes.iter().enumerate() {
            if goes_through(&class.above, &self.thumbprints) {
                self.fleet
                    .name_members(index, inventory, context.now(), |id| {
                        ids.insert(id);
                        ControlFlow::Continue(())
                    })?;
            }
        }
        Ok(ids)
    }

    /// Groups for the authority itself, and for those below it that another group would still admit.
    pub(in crate::commands) fn plan(
        &self,
        snapshot: &DpsSnapshot,
        before: &DpsView,
    ) -> Result<Plan, CommandError> {
        let mut plan = Plan::new(&self.goal);
        let mut view = before.clone();
        let is_own = |certificate: &&Certificate| {
            self.thumbprints.contains(&certificate.sha256_thumbprint())
        };
        let held = self.held.iter().map(|(_, certificate)| certificate);
        let own: Vec<Certificate> = held.filter(is_own).cloned().collect();
        for (id, certificate) in &self.held {
            let is_own = self.thumbprints.contains(&certificate.sha256_thumbprint());
            let class = self
                .fleet
                .classes
                .iter()
                .find(|one| one.signed_by.as_ref() == Some(id));
            let is_in = class.is_some_and(|class| is_admitted(&view, &class.above));
            if !is_own && !is_in {
                continue;
            }
            let one = quarantine_below(
                id,
                certificate,
                &own,
                &snapshot.authorities,
                &snapshot.groups,
            )?;
            for step in one.steps {
                if !plan.steps.contains(&step) {
                    step.apply_to(&mut view)?;
                    plan.steps.push(step);
                }
            }
            for note in one.notes {
                if !plan.notes.contains(&note) {
                    plan.notes.push(note);
                }
            }
        }
        Ok(plan)
    }

    /// The devices below that an enrollment of their own lets in: nothing that happens to a group shuts them out.
    fn own_entries(
        &self,
        context: &Context,
        inventory: &dyn Inventory,
        after: &DpsView,
    ) -> Result<BTreeSet<RegistrationId>, CommandError> {
        let fleet = Fleet::gather(inventory, context.now(), after.individual_ids())?;
        Ok(fleet.own_entries_below(&self.thumbprints, after))
    }

    fn refuse_admitted(&self, name: &AuthorityName, found: &DpsView) -> Result<(), CommandError> {
        match self
            .classes()
            .find(|class| is_admitted(found, &class.above))
        {
            None => Ok(()),
            Some(class) => {
                let message = format!(
                    "devices below {name} are still not shut out: {}",
                    outcome_below(found, &class.above)
                );
                Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"))
            }
        }
    }
}

fn notes_of(authority: &AuthorityName, staying: &BTreeSet<RegistrationId>) -> Vec<String> {
    let named = staying.iter().take(NAMED);
    let mut notes: Vec<String> = named
        .map(|id| {
            format!("{id} has an individual enrollment that lets it in with a leaf below {authority}; shut it out with: dps-pki quarantine {id}")
        })
        .collect();
    if staying.len() > NAMED {
        notes.push(format!("and {} more have one", staying.len() - NAMED));
    }
    notes
}

/// The generations that came to life.
fn certificates(record: &AuthorityRecord) -> Vec<(AuthorityGeneration, Certificate)> {
    let lived = record.generations.iter().filter(|one| {
        !matches!(
            one.state,
            GenerationState::Voided | GenerationState::Pending
        )
    });
    let held = lived.filter_map(|one| {
        let id = AuthorityGeneration {
            name: record.name.clone(),
            generation: one.generation,
        };
        Some((id, one.certificate.as_ref()?.certificate().clone()))
    });
    held.collect()
}

fn goes_through(above: &[ChainElement], thumbprints: &BTreeSet<Sha256Thumbprint>) -> bool {
    above
        .iter()
        .any(|element| thumbprints.contains(&element.sha256_thumbprint))
}

/// Whether devices are let in, as far as anybody can tell.
fn is_admitted(view: &DpsView, above: &[ChainElement]) -> bool {
    outcome_below(view, above).admits() != Some(false)
}
