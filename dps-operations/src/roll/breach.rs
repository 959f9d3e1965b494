//! A breach roll of an authority: its compromised generation is shut out, then DPS is repaired, and its devices
//! leave their hubs, but for those that stay in.

use pki_core::admission::DpsView;
use pki_core::ids::Generation;
use pki_core::inventory::InventoryError;
use pki_core::lifecycle::roll::{
    self, AuthorityState, Below, Breach, Condemned, HeldGeneration, InstancePlan, Newcomer,
    RegisteredDevice, RollError,
};
use pki_core::lifecycle::{HubAction, Promise, Who};

use super::authority::AuthorityRoll;
use super::left_behind::ShutOut;
use super::rolling::Rolling;
use crate::hubs::UnreadHub;
use crate::planning::PlanningError;

/// How a compromised generation is shut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreachRequest {
    /// Which generation is compromised; if not given, the one that the current one has replaced, else the
    /// current one.
    pub generation: Option<Generation>,
    /// What happens to the hub identities of the devices below it.
    pub hub: HubAction,
    /// Have the authorities below verified themselves.
    pub with_intermediates: bool,
    /// Whether it is to be told whom it hits, while there is no generation to be rolled to.
    pub is_shown: bool,
}

/// A breach roll that was planned.
#[derive(Debug)]
pub struct BreachRoll {
    /// Its plans.
    pub rolling: Rolling,
    /// The devices whose hubs cannot be read.
    pub unread: Vec<UnreadHub>,
    /// What is to be told of hubs that were not searched.
    pub notes: Vec<String>,
}

impl AuthorityRoll<'_> {
    /// Shuts the compromised generation out, and puts the new one in its place.
    ///
    /// # Errors
    /// [`PlanningError`] if there is no plan, or something cannot be read.
    pub async fn breach(mut self, request: BreachRequest) -> Result<BreachRoll, PlanningError> {
        let (plans, hit) = self.breach_plans(request).await?;
        let condemned = self.state.condemned(request.generation)?;
        let compromised = condemned.generation().number;
        let is_done = plans.iter().all(|one| one.plan.is_empty()) && hit.unread.is_empty();
        if is_done && request.generation.is_none() && condemned.is_replaced() {
            self.check_unchanged_since(compromised)?;
        }
        let promise = self.shuts_out(request, condemned);
        Ok(BreachRoll {
            rolling: self.rolling(plans, promise, Some(compromised)),
            unread: hit.unread,
            notes: hit.notes,
        })
    }

    /// Refuses to call a breach roll done again where another generation was made or rolled in since: whoever asks
    /// may mean the one that issues now.
    fn check_unchanged_since(&self, compromised: Generation) -> Result<(), PlanningError> {
        let AuthorityState::Active { current } = &self.state.generations.state else {
            return Err(self.which_generation(compromised));
        };
        let came_by_it = format!(", by generation {}", current.number);
        let plans = self.plans_of_breach(compromised)?;
        if plans.iter().any(|plan| plan.goal.ends_with(&came_by_it)) {
            Ok(())
        } else {
            Err(self.which_generation(compromised))
        }
    }

    fn which_generation(&self, compromised: Generation) -> PlanningError {
        let current = self.state.generations.current();
        PlanningError::Roll(RollError::WhichGeneration {
            authority: self.state.authority.clone(),
            compromised,
            current: current.map_or(compromised, |held| held.number),
        })
    }

    /// The plans, and whom they hit.
    pub(super) async fn breach_plans(
        &mut self,
        request: BreachRequest,
    ) -> Result<(Vec<InstancePlan>, Hit), PlanningError> {
        let condemned = self.state.condemned(request.generation)?;
        let is_again = condemned.is_replaced();
        let old = condemned.generation().clone();
        self.recall_cut_off(&old)?;
        // Who is taken off a hub follows from who is admitted when the rest is done.
        let without_hubs = self.plans(request, vec![])?;
        let mut after = self.instances.views()?;
        for InstancePlan { dps, plan } in &without_hubs {
            if let Some(index) = self.instances.index(dps) {
                after[index] = plan.applied_to(&after[index])?;
            }
        }
        let mut hit = self.compromised_devices(&old, is_again, &after).await?;
        let devices = std::mem::take(&mut hit.devices);
        Ok((self.plans(request, devices)?, hit))
    }

    fn plans(
        &self,
        request: BreachRequest,
        devices: Vec<Vec<RegisteredDevice>>,
    ) -> Result<Vec<InstancePlan>, RollError> {
        let breach = Breach {
            generation: request.generation,
            devices,
            hub: request.hub,
            with_intermediates: request.with_intermediates,
        };
        if request.is_shown {
            roll::shut_out(&breach, &self.state)
        } else {
            roll::replace(&breach, &self.state)
        }
    }

    /// Reads in the journal whom a run that was cut short has cut off.
    fn recall_cut_off(&mut self, old: &HeldGeneration) -> Result<(), InventoryError> {
        let ca = old.certificate.sha1_thumbprint();
        let goal = roll::goal_of_replacing(&self.state.authority, old.number);
        for instance in &mut self.state.instances {
            instance.cut_off = self.inventory.cut_off(&instance.name, &goal, &ca)?;
        }
        Ok(())
    }

    /// The authorities below that a run that was cut short has cut off somewhere.
    fn cut_off(&self) -> Vec<HeldGeneration> {
        let is_cut_off = |below: &&Below| {
            let thumbprint = below.certificate.sha1_thumbprint();
            self.state
                .instances
                .iter()
                .any(|instance| instance.cut_off.contains(&thumbprint))
        };
        let below = self.state.below.iter().filter(is_cut_off);
        below
            .map(|below| HeldGeneration {
                number: below.generation,
                certificate: below.certificate.clone(),
            })
            .collect()
    }

    /// From its first step on a breach roll refuses whom it hits, and lets in nobody but those who have
    /// leaves of the new generation, or of an authority below that it is to have verified and has cut off
    /// before.
    fn shuts_out(&self, request: BreachRequest, condemned: Condemned<'_>) -> Promise {
        let generations = &self.state.generations;
        let comes = if condemned.is_replaced() {
            generations.current()
        } else {
            generations.newcomer().map(Newcomer::generation)
        };
        let cut_off = if request.with_intermediates {
            self.cut_off()
        } else {
            vec![]
        };
        let coming = comes.into_iter().chain(&cut_off);
        Promise {
            refuses: Who::Anybody,
            lets_in: Who::SignedBy(self.signers_below(coming).into_iter().collect()),
            ..Promise::default()
        }
    }

    /// The devices that a breach roll takes off their hubs, by instance. `after` is what the instances decide
    /// when the rest is done.
    async fn compromised_devices(
        &self,
        old: &HeldGeneration,
        is_again: bool,
        after: &[DpsView],
    ) -> Result<Hit, PlanningError> {
        let mut hit = Hit::default();
        let signers = self.signers_below([old]);
        for (index, (instance, after)) in self.state.instances.iter().zip(after).enumerate() {
            let shut_out = ShutOut {
                fleet: &self.fleet,
                signers: &signers,
                after,
                is_again,
            };
            let registered = self
                .question()
                .registered_below(index, &shut_out, |group| instance.holds(group, old))
                .await?;
            hit.notes.extend(registered.notes());
            hit.devices.push(registered.devices);
            let unread = registered.unread.into_iter();
            if self.state.instances.len() > 1 {
                hit.unread
                    .extend(unread.map(|one| one.within(&instance.name)));
            } else {
                hit.unread.extend(unread);
            }
        }
        Ok(hit)
    }
}

/// Whom a breach roll hits.
#[derive(Default)]
pub(super) struct Hit {
    devices: Vec<Vec<RegisteredDevice>>,
    pub(super) unread: Vec<UnreadHub>,
    notes: Vec<String>,
}
