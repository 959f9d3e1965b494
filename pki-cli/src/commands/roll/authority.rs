//! Rolling an authority, in every DPS instance. What is compromised is in [`super::breach`].

use pki_core::admission::ChainElement;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation};
use pki_core::inventory::{Filter, GenerationState, Inventory as _, Status as State};
use pki_core::lifecycle::roll::{self, Finish, HeldGeneration, InstancePlan, RollState, Start};
use pki_core::lifecycle::{Fleet, Promise, Who};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::{Span, Time};

use super::instances::Instances;
use super::left_behind::Question;
use super::open::plans_of;
use super::report::{Status, Statuses};
use super::rolling::Rolling;
use super::{FinishArgs, Rolled, StartArgs, StatusArgs, device, refuse_option, resolve};
use crate::commands::authority::{declared, successor};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::issuance::refuse_not_begun;

impl StartArgs {
    pub(super) fn authority(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        name: &AuthorityName,
    ) -> CommandResult {
        refuse_option(self.cert.is_some(), "--cert", "an authority")?;
        if self.compromised {
            return self.breach(context, inventory, name);
        }
        let instances = Instances::gather(context)?;
        if !context.settings.dry_run {
            let declared = declared(context, name)?;
            successor(context, &mut inventory, declared, self.clock_is_right)?;
        } else if !has_successor(&inventory, name)? {
            return Err(not_made(name));
        }
        refuse_not_begun(context, &inventory, name)?;
        let roll = AuthorityRoll::gather(context, &inventory, &instances, name)?;
        let plans = roll.start(self)?;
        let promise = roll.lets_newcomer_in();
        let state = roll.state;
        Rolling::new(context, &instances, &state, &promise).carry_out(&mut inventory, plans)
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
        Rolling::new(context, &instances, &state, &promise).carry_out(&mut inventory, plans)
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
    let moved = if roll.is_current(newest) {
        roll::Devices::default()
    } else {
        roll.question().moved(&roll.fleet, &[roll.id(newest)])?
    };
    let plans = roll::abort(&moved, &roll.state)?;
    let state = roll.state;
    let promise = Promise::default();
    Rolling::new(context, &instances, &state, &promise).carry_out(&mut inventory, plans)
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
        let views = instances.views()?;
        let status = |name| {
            let roll = AuthorityRoll::gather(context, inventory, &instances, name)?;
            let going = roll.signers_below(&roll.gone());
            let left_behind = if roll.has_newcomer() {
                let moving = roll.question().left_behind(&roll.fleet, &going, &going)?;
                moving.together()
            } else {
                roll::Devices::default()
            };
            let status = roll::status(&left_behind, &roll.state, &views);
            let (shut_out, kept_off_hubs) = roll.worklist()?;
            Ok(Status {
                shut_out,
                kept_off_hubs,
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
        if self.detailed_exitcode && is_waiting {
            Ok(Outcome::SomethingToDo)
        } else {
            Ok(Outcome::Done)
        }
    }
}

/// The roll of one authority, with everything that it depends on.
pub(super) struct AuthorityRoll<'a> {
    pub(super) context: &'a Context,
    pub(super) inventory: &'a SqliteInventory,
    pub(super) instances: &'a Instances<'a>,
    pub(super) fleet: Fleet,
    pub(super) state: RollState,
}

impl<'a> AuthorityRoll<'a> {
    pub(super) fn gather(
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

    pub(super) fn question(&self) -> Question<'_> {
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

    /// Who signs leaves whose chain goes through one of these generations.
    pub(super) fn signers_below(&self, held: &[HeldGeneration]) -> Vec<AuthorityGeneration> {
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

    pub(super) fn has_newcomer(&self) -> bool {
        let states = [GenerationState::Next, GenerationState::Pending];
        states
            .into_iter()
            .any(|state| self.in_state(state).is_some())
    }

    fn is_current(&self, number: Generation) -> bool {
        let current = self.in_state(GenerationState::Current);
        current.is_some_and(|current| current.number == number)
    }

    pub(super) fn in_state(&self, state: GenerationState) -> Option<&HeldGeneration> {
        let mut newest_first = self.state.generations.iter().rev();
        newest_first.find(|held| held.state == state)
    }
}

pub(super) fn has_successor(
    inventory: &SqliteInventory,
    name: &AuthorityName,
) -> Result<bool, CommandError> {
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
