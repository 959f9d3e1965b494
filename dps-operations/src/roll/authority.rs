//! Rolling an authority, in every DPS instance. What is compromised is in [`super::breach`].

use pki_core::admission::ChainElement;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation};
use pki_core::inventory::{Filter, Inventory, Status};
use pki_core::journal::Journal;
use pki_core::lifecycle::roll::{
    self, Devices, Finish, Former, Generations, HeldGeneration, Newcomer, Phase, RollError,
    RollState, RollStatus, Start,
};
use pki_core::lifecycle::{Fleet, Promise, Who};
use pki_core::profile::Role;
use pki_core::time::{Span, Time};

use super::instances::Instances;
use super::left_behind::{Moving, Question};
use super::rolling::Rolling;
use super::unfinished::Unfinished;
use super::worklist::Worklist;
use crate::planning::PlanningError;

/// How a new generation is put beside the old one.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartRequest {
    /// How long both stand; until the old certificate ends if not given.
    pub overlap: Option<Span>,
    /// How many leaves may still be valid when the overlap ends.
    pub accept_stranded: u64,
}

/// How an old generation is taken away.
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishRequest {
    /// How many devices may be left behind, and be refused from then on.
    pub accept_stranded: u64,
    /// Have the authorities below verified themselves.
    pub with_intermediates: bool,
}

/// Where a roll stands.
#[derive(Debug)]
pub struct AuthorityStatus {
    /// What it waits for, and what stops working when.
    pub status: RollStatus,
    /// The devices that have not moved.
    pub left_behind: Devices,
    /// The hubs that do not tell who has moved, and why.
    pub unread_hubs: Vec<String>,
    /// The devices below a compromised generation.
    pub worklist: Worklist,
    /// What is left of a breach roll.
    pub unfinished: Option<Unfinished>,
}

/// The roll of one authority, with everything that it depends on.
pub struct AuthorityRoll<'a> {
    pub(super) inventory: &'a dyn Journal,
    pub(super) instances: &'a Instances<'a>,
    pub(super) at: Time,
    /// How many devices a report names at most; all without a limit.
    pub(super) named: Option<usize>,
    pub(super) fleet: Fleet,
    pub(super) state: RollState,
}

impl<'a> AuthorityRoll<'a> {
    /// Gathers it as it is at a moment.
    ///
    /// # Errors
    /// [`PlanningError::NoAuthority`]; the inventory cannot be read.
    pub fn gather(
        inventory: &'a dyn Journal,
        instances: &'a Instances<'a>,
        name: &AuthorityName,
        (at, named): (Time, Option<usize>),
    ) -> Result<Self, PlanningError> {
        let fleet = Fleet::gather(inventory, at, [])?;
        let state = instances.state(inventory, &fleet, name)?;
        Ok(Self {
            inventory,
            instances,
            at,
            named,
            fleet,
            state,
        })
    }

    /// Puts the new generation beside the old one.
    ///
    /// # Errors
    /// [`PlanningError`]: leaves would be stranded, there is none, one above it is to be rolled first, or the
    /// inventory cannot be read.
    pub fn start(self, request: StartRequest) -> Result<Rolling, PlanningError> {
        self.check_issuer()?;
        let current = self.state.generations.current();
        let ends = current.map(|held| held.certificate.validity().not_after());
        let overlap_until = match (request.overlap, ends) {
            (Some(overlap), _) => self.at.checked_add(overlap)?,
            (None, Some(ends)) => ends,
            (None, None) => self.at,
        };
        let leaves_beyond = match current {
            Some(held) => self.leaves_beyond(held.number, overlap_until)?,
            None => 0,
        };
        let start = Start {
            overlap_until,
            leaves_beyond,
            accept_stranded: request.accept_stranded,
        };
        let plans = roll::start(&start, &self.state)?;
        let promise = self.lets_newcomer_in();
        Ok(self.rolling(plans, promise, None))
    }

    /// How far the devices of the generations that go are on their way to a new leaf.
    ///
    /// # Errors
    /// [`PlanningError`] if something cannot be read.
    pub async fn moving(&mut self) -> Result<Moving, PlanningError> {
        let gone = self.state.generations.outgoing();
        let going = self.signers_of(&gone);
        let mut unread_hubs = self.count_left_below(&going).await?;
        let own: Vec<AuthorityGeneration> = gone
            .iter()
            .map(|former| self.id(former.generation.number))
            .collect();
        let question = self.question();
        let moving = question.left_behind(&self.fleet, &own, &going).await?;
        unread_hubs.extend(moving.unread_hubs);
        Ok(Moving {
            unread_hubs,
            ..moving
        })
    }

    /// Takes the old generation away; the new one stays alone. `moving` are its devices, as
    /// [`Self::moving`] found them.
    ///
    /// # Errors
    /// [`PlanningError`]: devices would be left behind, or none is rolled.
    pub fn finish(self, request: FinishRequest, moving: Moving) -> Result<Rolling, PlanningError> {
        let finish = Finish {
            left_behind: moving.left_behind,
            not_known: moving.not_known,
            accept_stranded: request.accept_stranded,
            with_intermediates: request.with_intermediates,
        };
        let plans = roll::finish(&finish, &self.state)?;
        // Only the old leaves may be refused; whose they are, the planner has looked at.
        let going = self.signers_of(&self.state.generations.outgoing());
        let promise = Promise {
            refuses: Who::SignedBy(going.into_iter().collect()),
            ..Promise::default()
        };
        Ok(self.rolling(plans, promise, None))
    }

    /// Takes the new generation away again.
    ///
    /// # Errors
    /// [`PlanningError`]: devices have moved, or the inventory cannot be read.
    pub fn abort(self) -> Result<Rolling, PlanningError> {
        let moved = match self.withdrawn() {
            Some(number) => self.question().moved(&self.fleet, &[self.id(number)])?,
            None => Devices::default(),
        };
        let plans = roll::abort(&moved, &self.state)?;
        Ok(self.rolling(plans, Promise::default(), None))
    }

    /// Where the roll stands.
    ///
    /// # Errors
    /// [`PlanningError`] if something cannot be read.
    pub async fn status(&mut self) -> Result<AuthorityStatus, PlanningError> {
        let unfinished = self.unfinished().await?;
        let views = self.instances.views()?;
        let going = self.signers_of(&self.state.generations.outgoing());
        let moving = if self.state.generations.newcomer().is_some() {
            let question = self.question();
            let waited_for = self.waited_for(&going);
            question
                .left_behind(&self.fleet, &waited_for, &going)
                .await?
        } else {
            Moving::default()
        };
        let left_behind = moving.together();
        let mut status = roll::status(&left_behind, &self.state, &views);
        if unfinished.is_some() && status.phase == Phase::Idle {
            status.phase = Phase::Finishing;
        }
        Ok(AuthorityStatus {
            status,
            left_behind,
            unread_hubs: moving.unread_hubs,
            worklist: self.worklist(&views).await?,
            unfinished,
        })
    }

    /// Whose devices the end of the roll waits for: those of the generations that go, and those below that reach
    /// a verified CA certificate by nothing else.
    fn waited_for(&self, going: &[AuthorityGeneration]) -> Vec<AuthorityGeneration> {
        // Where the end cannot be planned yet, all of them may be.
        let Ok(stranded) = roll::stranded_by_finish(&self.state) else {
            return going.to_vec();
        };
        let is_waited_for = |signer: &&AuthorityGeneration| {
            signer.name == self.state.authority || stranded.contains(signer)
        };
        going.iter().filter(is_waited_for).cloned().collect()
    }

    pub(super) fn rolling(
        self,
        plans: Vec<roll::InstancePlan>,
        promise: Promise,
        compromised: Option<Generation>,
    ) -> Rolling {
        Rolling {
            state: self.state,
            plans,
            promise,
            compromised,
            at: self.at,
            named: self.named,
        }
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            inventory: self.inventory,
            instances: self.instances,
            at: self.at,
            most: self.named.unwrap_or(usize::MAX),
        }
    }

    fn id(&self, generation: Generation) -> AuthorityGeneration {
        AuthorityGeneration {
            name: self.state.authority.clone(),
            generation,
        }
    }

    /// Of the leaves below the authorities below, only those count whose devices have not moved. Returns the
    /// hubs that do not tell.
    async fn count_left_below(
        &mut self,
        going: &[AuthorityGeneration],
    ) -> Result<Vec<String>, PlanningError> {
        let mut unread_hubs = Vec::new();
        for index in 0..self.state.below.len() {
            let below = &self.state.below[index];
            let signer = AuthorityGeneration {
                name: below.authority.clone(),
                generation: below.generation,
            };
            if going.contains(&signer) {
                let question = self.question();
                let left = question.left_behind(&self.fleet, &[signer], going).await?;
                self.state.below[index].leaves = left.left_behind.count;
                unread_hubs.extend(left.unread_hubs);
            }
        }
        Ok(unread_hubs)
    }

    /// How many leaves of a generation are valid after a moment.
    fn leaves_beyond(&self, generation: Generation, until: Time) -> Result<u64, PlanningError> {
        let filter = Filter {
            authority: Some(self.state.authority.clone()),
            generation: Some(generation),
            status: Some(Status::Delivered),
            role: Some(Role::Leaf),
            expiring_from: Some(until.checked_add(Span::from_seconds(1))?),
            ..Filter::default()
        };
        Ok(self.inventory.count(&filter)?)
    }

    /// Who signs leaves whose chain goes through one of these generations.
    pub(super) fn signers_below<'h>(
        &self,
        held: impl IntoIterator<Item = &'h HeldGeneration>,
    ) -> Vec<AuthorityGeneration> {
        let thumbprints: Vec<_> = held
            .into_iter()
            .map(|held| held.certificate.sha256_thumbprint())
            .collect();
        let goes_through = |above: &[ChainElement]| {
            above
                .iter()
                .any(|element| thumbprints.contains(&element.sha256_thumbprint))
        };
        let below = self
            .fleet
            .classes
            .iter()
            .filter(|class| goes_through(&class.above));
        below.filter_map(|class| class.signed_by.clone()).collect()
    }

    fn signers_of(&self, former: &[Former]) -> Vec<AuthorityGeneration> {
        self.signers_below(former.iter().map(|one| &one.generation))
    }

    /// The newest generation, if it is one that an abort withdraws: it comes, or was withdrawn before.
    fn withdrawn(&self) -> Option<Generation> {
        let newest = self.state.generations.all().last().map(|held| held.number);
        let current = self.state.generations.current().map(|held| held.number);
        newest.filter(|newest| Some(*newest) != current)
    }

    /// A roll that is started again, since a group came to hold the old generation meanwhile, lets in the
    /// leaves that the new one has signed, there too.
    fn lets_newcomer_in(&self) -> Promise {
        let newcomer = self.state.generations.newcomer().map(Newcomer::generation);
        Promise {
            lets_in: Who::SignedBy(self.signers_below(newcomer).into_iter().collect()),
            ..Promise::default()
        }
    }
}

/// The generations of an authority, each with its part; `None` if there is no such authority.
///
/// # Errors
/// [`PlanningError`]: the inventory cannot be read, or contradicts itself.
pub fn generations(
    inventory: &dyn Inventory,
    name: &AuthorityName,
) -> Result<Option<Generations>, PlanningError> {
    let record = inventory.authority(name)?;
    let generations = record.as_ref().map(Generations::of).transpose();
    Ok(generations.map_err(RollError::from)?)
}
