//! Rolling an authority, in every DPS instance.

use std::collections::BTreeSet;

use pki_core::admission::{ChainElement, DpsView, Outcome as Admission, outcome_below};
use pki_core::authority::ChainBundle;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, Generation, RegistrationId, Sha256Thumbprint,
};
use pki_core::inventory::{
    AuthorityRecord, Filter, GenerationRecord, GenerationState, Inventory as _, Status as State,
};
use pki_core::lifecycle::roll::{
    self, Breach, Finish, HeldGeneration, InstancePlan, RegisteredDevice, RollState, Start,
};
use pki_core::lifecycle::{Fleet, Plan, Promise, Step, Who};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::{Span, Time};
use pki_core::wording::counted;

use super::instances::Instances;
use super::left_behind::{Question, names};
use super::open::plans_of;
use super::report::{LeftBehind, Planned, Proof, Report, Status, Statuses};
use super::{FinishArgs, Rolled, StartArgs, StatusArgs, device, refuse_option, resolve};
use crate::commands::authority::{declared, successor};
use crate::config::NAMED;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::hubs::{UnreadHub, refuse_unread};
use crate::issuance::refuse_not_begun;
use crate::judged::Judged;
use crate::render::plan::PlanAndImpact;

impl StartArgs {
    pub(super) fn authority(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        refuse_option(self.cert.is_some(), "--cert", "an authority")?;
        let instances = Instances::gather(context).map_err(|error| {
            if self.compromised && error.kind == ErrorKind::Service {
                let instead = format!("dps-pki quarantine --authority {name}");
                error.hint(format!(
                    "shut it out wherever DPS can be reached: {instead}"
                ))
            } else {
                error
            }
        })?;
        let record = inventory.authority(name)?;
        let replaced = self.compromised && record.is_some_and(|record| was_replaced(&record));
        if !replaced {
            if context.settings.dry_run && !has_successor(&inventory, name)? {
                return match self.compromised {
                    true => self.shown_without_successor(context, inventory, &instances, name),
                    false => Err(not_made(name)),
                };
            }
            if !context.settings.dry_run {
                let declared = declared(context, name)?;
                successor(context, &mut inventory, declared, self.clock_is_right)?;
            }
        }
        refuse_not_begun(context, &inventory, name)?;
        let roll = AuthorityRoll::gather(context, &inventory, &instances, name)?;
        let mut unread = Vec::new();
        let (plans, promise) = match self.compromised {
            true => {
                let (request, hubs) = self.breach(&roll)?;
                unread = hubs;
                (roll::replace(&request, &roll.state)?, shuts_out())
            }
            false => (roll.start(self)?, roll.lets_newcomer_in()),
        };
        let state = roll.state;
        if replaced && plans.iter().all(|one| one.plan.is_empty()) {
            context.ui.note(format!(
                "if the present generation is compromised as well, make the next one first: dps-pki authority create {name} --next"
            ));
        }
        let ended = carry_out(context, &mut inventory, &instances, &state, plans, &promise)?;
        if !context.settings.dry_run {
            refuse_unread(&unread)?;
        }
        Ok(ended)
    }
}

impl StartArgs {
    /// What is asked for, and the devices whose hubs cannot be read.
    fn breach(&self, roll: &AuthorityRoll<'_>) -> Result<(Breach, Vec<UnreadHub>), CommandError> {
        let (devices, unread) = roll.compromised_devices()?;
        let request = Breach {
            devices,
            hub: self.hub.into(),
            with_intermediates: self.with_intermediates,
        };
        Ok((request, unread))
    }

    /// What a breach roll would do before there is a generation to take the place of the compromised one:
    /// whom it shuts out, and how. The hour in which one wants to know is not that in which keys are made.
    fn shown_without_successor(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        instances: &Instances<'_>,
        name: &AuthorityName,
    ) -> CommandResult {
        let roll = AuthorityRoll::gather(context, &inventory, instances, name)?;
        let (request, _) = self.breach(&roll)?;
        let plans = roll::shut_out(&request, &roll.state)?;
        let state = roll.state;
        carry_out(
            context,
            &mut inventory,
            instances,
            &state,
            plans,
            &shuts_out(),
        )
    }
}

impl FinishArgs {
    pub(super) fn authority(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        let instances = Instances::gather(context)?;
        let mut roll = AuthorityRoll::gather(context, &inventory, &instances, name)?;
        let gone = roll.gone();
        let going = roll.signers_below(&gone);
        roll.count_left_below(&going)?;
        let own: Vec<AuthorityGeneration> = gone.iter().map(|held| roll.id(held.number)).collect();
        let moving = roll.question().left_behind(&roll.fleet, &own, &going)?;
        let request = Finish {
            left_behind: moving.left_behind,
            not_known: moving.not_known,
            accept_stranded: self.accept_stranded,
            with_intermediates: self.with_intermediates,
        };
        let plans = roll::finish(&request, &roll.state)?;
        // Only the old leaves may be refused; whose they are, the planner has looked at.
        let promise = Promise {
            refuses: Who::SignedBy(going.iter().cloned().collect()),
            ..Promise::default()
        };
        let state = roll.state;
        carry_out(context, &mut inventory, &instances, &state, plans, &promise)
    }
}

/// Takes the new generation away again.
pub(super) fn abort(
    context: &Context,
    mut inventory: SqliteInventory,
    name: &AuthorityName,
) -> CommandResult {
    let instances = Instances::gather(context)?;
    let roll = AuthorityRoll::gather(context, &inventory, &instances, name)?;
    let newest = roll.state.generations.last().map(|newest| newest.number);
    let newest = newest.unwrap_or(Generation::FIRST);
    let moved = match roll.is_current(newest) {
        true => roll::Devices::default(),
        false => roll.question().moved(&roll.fleet, &[roll.id(newest)])?,
    };
    let plans = roll::abort(&moved, &roll.state)?;
    let state = roll.state;
    carry_out(
        context,
        &mut inventory,
        &instances,
        &state,
        plans,
        &Promise::default(),
    )
}

impl StatusArgs {
    pub(super) fn run(&self, context: &Context, inventory: &SqliteInventory) -> CommandResult {
        let names = match &self.name {
            None => inventory
                .authorities()?
                .into_iter()
                .map(|record| record.name)
                .collect(),
            Some(name) => match resolve(context, inventory, name, self.device)? {
                Rolled::Authority(name) => vec![name],
                Rolled::Device(id) => {
                    let status = device::status(context, inventory, &id)?;
                    return self.show(context, inventory, vec![status]);
                }
            },
        };
        let instances = Instances::gather(context)?;
        let status = |name| {
            let roll = AuthorityRoll::gather(context, inventory, &instances, name)?;
            let going = roll.signers_below(&roll.gone());
            let left_behind = match roll.has_newcomer() {
                true => {
                    let moving = roll.question().left_behind(&roll.fleet, &going, &going)?;
                    moving.together()
                }
                false => roll::Devices::default(),
            };
            let status = roll::status(&left_behind, &roll.state);
            Ok(Status {
                shut_out: roll.worklist()?,
                ..Status::of(&status, &left_behind)
            })
        };
        let statuses: Result<_, CommandError> = names.iter().map(status).collect();
        self.show(context, inventory, statuses?)
    }

    fn show(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        mut statuses: Vec<Status>,
    ) -> CommandResult {
        for status in &mut statuses {
            status.open_plans = plans_of(context, inventory, &status.name)?;
        }
        let is_waiting = statuses.iter().any(Status::is_waiting);
        context.ui.result(&Statuses(statuses))?;
        match self.detailed_exitcode && is_waiting {
            true => Ok(Outcome::SomethingToDo),
            false => Ok(Outcome::Done),
        }
    }
}

/// The roll of one authority, with everything that it depends on.
struct AuthorityRoll<'a> {
    context: &'a Context,
    inventory: &'a SqliteInventory,
    instances: &'a Instances<'a>,
    fleet: Fleet,
    state: RollState,
}

impl<'a> AuthorityRoll<'a> {
    fn gather(
        context: &'a Context,
        inventory: &'a SqliteInventory,
        instances: &'a Instances<'a>,
        name: &AuthorityName,
    ) -> Result<Self, CommandError> {
        let fleet = Fleet::gather(inventory, context.now(), [])?;
        let state = instances.state(context, inventory, &fleet, name)?;
        Ok(Self {
            context,
            inventory,
            instances,
            fleet,
            state,
        })
    }

    fn question(&self) -> Question<'_> {
        Question {
            context: self.context,
            inventory: self.inventory,
            instances: self.instances,
        }
    }

    fn id(&self, generation: Generation) -> AuthorityGeneration {
        AuthorityGeneration {
            name: self.state.authority.clone(),
            generation,
        }
    }

    /// Of the leaves below the authorities below, only those count whose devices have not moved.
    fn count_left_below(&mut self, going: &[AuthorityGeneration]) -> Result<(), CommandError> {
        for index in 0..self.state.below.len() {
            let below = &self.state.below[index];
            let signer = AuthorityGeneration {
                name: below.authority.clone(),
                generation: below.generation,
            };
            if going.contains(&signer) {
                let left = self.question().left_behind(&self.fleet, &[signer], going)?;
                self.state.below[index].leaves = left.left_behind.count;
            }
        }
        Ok(())
    }

    fn start(&self, args: &StartArgs) -> Result<Vec<InstancePlan>, CommandError> {
        let current = self.in_state(GenerationState::Current);
        let ends = current.map(|held| held.certificate.validity().not_after());
        let overlap_until = match (args.overlap, ends) {
            (Some(overlap), _) => self.context.now().checked_add(overlap)?,
            (None, Some(ends)) => ends,
            (None, None) => self.context.now(),
        };
        let leaves_beyond = match current {
            Some(held) => self.leaves_beyond(held.number, overlap_until)?,
            None => 0,
        };
        let request = Start {
            overlap_until,
            leaves_beyond,
            accept_stranded: args.accept_stranded,
        };
        Ok(roll::start(&request, &self.state)?)
    }

    /// How many leaves of a generation are valid after a moment.
    fn leaves_beyond(&self, generation: Generation, until: Time) -> Result<u64, CommandError> {
        let filter = Filter {
            authority: Some(self.state.authority.clone()),
            generation: Some(generation),
            status: Some(State::Delivered),
            role: Some(Role::Leaf),
            expiring_from: Some(until.checked_add(Span::from_seconds(1))?),
            ..Filter::default()
        };
        Ok(self.inventory.count(&filter)?)
    }

    /// The devices that a breach roll takes off their hubs, by instance, and those whose hubs cannot be read.
    fn compromised_devices(
        &self,
    ) -> Result<(Vec<Vec<RegisteredDevice>>, Vec<UnreadHub>), CommandError> {
        let compromised = self.compromised();
        let mut devices = Vec::new();
        let mut unread = Vec::new();
        for (index, instance) in self.state.instances.iter().enumerate() {
            let Some(old) = compromised else {
                break;
            };
            let below = self.signers_below(std::slice::from_ref(old));
            let holds = |group: &_| instance.holds(group, old);
            let is_below = |signer: &AuthorityGeneration| below.contains(signer);
            let is_again = old.state == GenerationState::Compromised;
            let question = self.question();
            let members = question.members(&self.fleet, &below, |_| true)?;
            let registered =
                question.registered_below(index, holds, is_below, is_again, members)?;
            for note in registered.notes() {
                self.context.ui.warning(note);
            }
            devices.push(registered.devices);
            unread.extend(registered.unread);
        }
        Ok((devices, unread))
    }

    /// The generation that is compromised: the current one, or after a breach roll the one that was.
    fn compromised(&self) -> Option<&HeldGeneration> {
        let current = self.in_state(GenerationState::Current);
        match self.has_newcomer() {
            true => current,
            false => self.in_state(GenerationState::Compromised).or(current),
        }
    }

    /// The devices below a compromised generation that no instance lets in: each needs a new leaf.
    fn worklist(&self) -> Result<LeftBehind, CommandError> {
        let compromised = self.state.generations.iter();
        let compromised: BTreeSet<Sha256Thumbprint> = compromised
            .filter(|held| held.state == GenerationState::Compromised)
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        if compromised.is_empty() {
            return Ok(LeftBehind::default());
        }
        let views = self.instances.views()?;
        let individual = views.iter().flat_map(DpsView::individual_ids);
        let now = self.context.now();
        let fleet = Fleet::gather(self.inventory, now, individual)?;
        let out = fleet.shut_out_below(&compromised, &views, self.inventory, now)?;
        Ok(LeftBehind::of(&out, names(self.context)))
    }

    /// Who signs leaves whose chain goes through one of these generations.
    fn signers_below(&self, held: &[HeldGeneration]) -> Vec<AuthorityGeneration> {
        let thumbprints: Vec<_> = held
            .iter()
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        let goes_through = |above: &[ChainElement]| {
            above
                .iter()
                .any(|element| thumbprints.contains(&element.sha256_thumbprint))
        };
        let classes = self.fleet.classes.iter();
        let below = classes.filter(|class| goes_through(&class.above));
        below.filter_map(|class| class.signed_by.clone()).collect()
    }

    /// The generations that go when the roll is finished.
    fn gone(&self) -> Vec<HeldGeneration> {
        let is_gone = |state| match state {
            GenerationState::Current => self.in_state(GenerationState::Next).is_some(),
            GenerationState::Retired | GenerationState::Compromised => true,
            _ => false,
        };
        let generations = self.state.generations.iter();
        let gone = generations.filter(|one| is_gone(one.state));
        gone.cloned().collect()
    }

    /// A roll that is started again, since a group came to hold the old generation meanwhile, lets in the
    /// leaves that the new one has signed, there too.
    fn lets_newcomer_in(&self) -> Promise {
        let newcomers =
            self.state.generations.iter().filter(|held| {
                matches!(held.state, GenerationState::Next | GenerationState::Pending)
            });
        let newcomers: Vec<HeldGeneration> = newcomers.cloned().collect();
        Promise {
            lets_in: Who::SignedBy(self.signers_below(&newcomers).into_iter().collect()),
            ..Promise::default()
        }
    }

    fn has_newcomer(&self) -> bool {
        let states = [GenerationState::Next, GenerationState::Pending];
        states
            .into_iter()
            .any(|state| self.in_state(state).is_some())
    }

    fn is_current(&self, number: Generation) -> bool {
        let current = self.in_state(GenerationState::Current);
        current.is_some_and(|current| current.number == number)
    }

    fn in_state(&self, state: GenerationState) -> Option<&HeldGeneration> {
        let mut newest_first = self.state.generations.iter().rev();
        newest_first.find(|held| held.state == state)
    }
}

/// From its first step on a breach roll refuses whom it hits, and lets nobody in.
fn shuts_out() -> Promise {
    Promise {
        refuses: Who::Anybody,
        ..Promise::default()
    }
}

/// Whether a breach roll has run, and no further generation is there.
fn was_replaced(record: &AuthorityRecord) -> bool {
    let is_compromised = |one: &GenerationRecord| one.state == GenerationState::Compromised;
    let newest = record.generations.last();
    record.generations.iter().any(is_compromised)
        && newest.is_some_and(|newest| newest.state == GenerationState::Current)
}

fn has_successor(inventory: &SqliteInventory, name: &AuthorityName) -> Result<bool, CommandError> {
    let record = inventory.authority(name)?;
    let newcomer = record
        .as_ref()
        .and_then(|record| record.next().or_else(|| record.pending()));
    Ok(newcomer.is_some_and(|one| one.certificate.is_some()))
}

fn not_made(name: &AuthorityName) -> CommandError {
    let message =
        format!("authority {name} has no generation to be rolled to yet, and a dry run makes none");
    CommandError::refused(message).hint(format!(
        "make it with: dps-pki authority create {name} --next; DPS does not change by that"
    ))
}

/// Checks the plans of all instances, carries them out in their order, and reads back what DPS decides.
fn carry_out(
    context: &Context,
    inventory: &mut SqliteInventory,
    instances: &Instances<'_>,
    state: &RollState,
    plans: Vec<InstancePlan>,
    promise: &Promise,
) -> CommandResult {
    let before = instances.views()?;
    let mut after = before.clone();
    let mut planned: Vec<Planned> = Vec::new();
    let mut parts = Vec::new();
    for (planes, view) in instances.planes.iter().zip(&mut after) {
        let here = plans.iter().filter(|one| one.dps == *planes.name());
        let here: Vec<Plan> = here.map(|one| one.plan.clone()).collect();
        let whole = whole(&here);
        let (checked, impact) = Judged::parts(context, inventory, view, here, promise)?;
        *view = whole.applied_to(view)?;
        let still_admitted = still_admitted(context, inventory, state, view, &whole)?;
        let mut whole = whole;
        whole.notes.extend(still_admitted.iter().take(NAMED).map(|id| {
            format!("{id} has an individual enrollment that lets it in with a leaf below the compromised certificate; shut it out with: dps-pki quarantine {id}")
        }));
        if still_admitted.len() > NAMED {
            whole.notes.push(format!(
                "and {} more have one; all of them are named with --output json",
                still_admitted.len() - NAMED
            ));
        }
        planned.push(Planned {
            still_admitted,
            dps: planes.name().clone(),
            impact,
            estimate: whole.estimate(planes.rate()),
            plan: whole,
        });
        parts.push(checked.into_iter());
    }
    let mut done = false;
    for InstancePlan { dps, .. } in &plans {
        let index = instances.index(dps);
        let part = index.and_then(|index| Some((index, parts[index].next()?)));
        let Some((index, plan)) = part else {
            continue;
        };
        let (planes, impact) = (&instances.planes[index], &planned[index].impact);
        let judged = Judged::of(plan, impact.clone(), planes.rate());
        let shown = PlanAndImpact::proposed(&judged);
        let proposal = Proposal {
            question: format!(
                "DPS {dps}: {}: carry out {}?",
                judged.plan.goal,
                counted(judged.plan.steps.len(), "step", "steps")
            ),
            ..Proposal::new(&judged.plan, &shown)
        };
        done |= proposal.carry_out(context, planes, inventory)?.done;
    }
    let proof = match context.settings.dry_run {
        true => vec![],
        false => prove(context, instances, state, &before, &after)?,
    };
    context.ui.result(&Report {
        plans: planned,
        done,
        proof,
    })?;
    Ok(Outcome::Done)
}

/// The devices that stay in with a leaf below a compromised generation, by an enrollment of their own.
fn still_admitted(
    context: &Context,
    inventory: &SqliteInventory,
    state: &RollState,
    after: &DpsView,
    plan: &Plan,
) -> Result<Vec<RegistrationId>, CommandError> {
    let settled = plan.steps.iter().filter_map(|step| match step {
        Step::SettleGenerations { changes, .. } => Some(changes),
        _ => None,
    });
    let settled: Vec<_> = settled.flatten().collect();
    let is_compromised = |held: &&HeldGeneration| {
        let changed = settled
            .iter()
            .find(|change| change.generation == held.number);
        changed.map_or(held.state, |change| change.to) == GenerationState::Compromised
    };
    let compromised = state.generations.iter().filter(is_compromised);
    let compromised: BTreeSet<Sha256Thumbprint> = compromised
        .map(|held| held.certificate.sha256_thumbprint())
        .collect();
    if compromised.is_empty() {
        return Ok(vec![]);
    }
    let fleet = Fleet::gather(inventory, context.now(), after.individual_ids())?;
    let admitted = fleet.own_entries_below(&compromised, after);
    Ok(admitted.into_iter().collect())
}

/// What is done in one instance, as one plan.
fn whole(parts: &[Plan]) -> Plan {
    let mut whole = Plan::new("");
    for plan in parts {
        whole.goal.clone_from(&plan.goal);
        whole.steps.extend(plan.steps.iter().cloned());
        whole.notes.extend(plan.notes.iter().cloned());
    }
    whole
}

/// Reads DPS again: about the devices of every generation, it must decide as planned.
fn prove(
    context: &Context,
    instances: &Instances<'_>,
    state: &RollState,
    before: &[DpsView],
    wanted: &[DpsView],
) -> Result<Vec<Proof>, CommandError> {
    let found = instances.read_back(context)?;
    let mut proofs = Vec::new();
    let views = found.iter().zip(before.iter().zip(wanted));
    for (planes, (found, (before, wanted))) in instances.planes.iter().zip(views) {
        for held in &state.generations {
            let chain = ChainBundle::build(&held.certificate, &state.certificates);
            let above: Vec<ChainElement> = chain
                .certificates()
                .iter()
                .map(ChainElement::from)
                .collect();
            let [found, before, wanted] =
                [found, before, wanted].map(|view| outcome_below(view, &above));
            if is_admitted(&found) != is_admitted(&wanted) {
                let message = format!(
                    "DPS {} decides otherwise than planned: devices of {} generation {} are {found}",
                    planes.name(),
                    state.authority,
                    held.number
                );
                return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
            }
            // A root signs no devices: that none is admitted right below it, before or after, is no news.
            if !is_admitted(&before) && !is_admitted(&wanted) {
                continue;
            }
            proofs.push(Proof {
                dps: planes.name().clone(),
                authority: state.authority.clone(),
                generation: held.number,
                outcome: found.to_string(),
            });
        }
    }
    Ok(proofs)
}

fn is_admitted(outcome: &Admission) -> bool {
    matches!(outcome, Admission::Admitted(_))
}
