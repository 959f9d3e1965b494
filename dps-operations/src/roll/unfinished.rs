//! What a breach roll has left to do that was cut short, or could not reach everything.
//!
//! Nothing is remembered of it but the journal: it is planned once more, as it was asked for, and what the plans
//! would still do is what is missing.

use std::collections::BTreeMap;

use pki_core::ids::{DpsName, Generation};
use pki_core::inventory::InventoryError;
use pki_core::lifecycle::roll::{InstancePlan, RollError, VERIFIES_BELOW, goal_of_replacing};
use pki_core::lifecycle::{HubAction, HubDeviceAction, Plan, Step};

use super::authority::AuthorityRoll;
use super::breach::BreachRequest;
use crate::hubs::UnreadHub;
use crate::planning::PlanningError;

/// A breach roll that is not done everywhere.
#[derive(Debug)]
pub struct Unfinished {
    /// The generation that it shuts out.
    pub compromised: Generation,
    /// How it was asked for, as far as the journal tells.
    pub request: BreachRequest,
    /// The steps that are left, by instance.
    pub steps: BTreeMap<DpsName, Vec<Step>>,
    /// The devices whose hubs cannot be read.
    pub unread: Vec<UnreadHub>,
    /// Why it cannot go on, if that is so.
    pub obstacle: Option<RollError>,
}

impl AuthorityRoll<'_> {
    /// What is left of the last breach roll, whatever generations were made since.
    pub(crate) async fn unfinished(&mut self) -> Result<Option<Unfinished>, PlanningError> {
        let Some(replaced) = self.state.generations.replaced() else {
            return Ok(None);
        };
        let compromised = replaced.number;
        let request = self.asked(compromised)?;
        let mut unfinished = Unfinished {
            compromised,
            request,
            steps: BTreeMap::new(),
            unread: vec![],
            obstacle: None,
        };
        match self.breach_plans(request).await {
            Ok((plans, hit)) => {
                unfinished.steps = by_instance(plans);
                unfinished.unread = hit.unread;
            }
            Err(PlanningError::Roll(error)) => unfinished.obstacle = Some(error),
            Err(error) => return Err(error),
        }
        Ok(Some(unfinished).filter(Unfinished::is_any))
    }

    /// Refuses another roll as long as a breach roll lacks something: a further generation would hide it, and what
    /// is compromised would stay on its hubs. It is asked before a key is made, too.
    ///
    /// # Errors
    /// [`RollError::BreachUnfinished`]; something cannot be read.
    pub async fn check_breach(&mut self) -> Result<(), PlanningError> {
        let Some(unfinished) = self.unfinished().await? else {
            return Ok(());
        };
        if unfinished.steps.is_empty() && unfinished.unread.is_empty() {
            return Ok(());
        }
        Err(PlanningError::Roll(RollError::BreachUnfinished {
            authority: self.state.authority.clone(),
            compromised: unfinished.compromised,
            left: unfinished.left(),
            hub: unfinished.request.hub,
            with_intermediates: unfinished.request.with_intermediates,
        }))
    }

    /// How the roll was asked for, as its plans tell.
    fn asked(&self, compromised: Generation) -> Result<BreachRequest, InventoryError> {
        let plans = self.plans_of_breach(compromised)?;
        let verifies_below = |plan: &Plan| plan.notes.iter().any(|note| note == VERIFIES_BELOW);
        Ok(BreachRequest {
            generation: Some(compromised),
            hub: hub_action(plans.iter().flat_map(|plan| &plan.steps)),
            with_intermediates: plans.iter().any(verifies_below),
            is_shown: false,
        })
    }

    /// All plans in the journal that replace a compromised generation.
    pub(super) fn plans_of_breach(
        &self,
        compromised: Generation,
    ) -> Result<Vec<Plan>, InventoryError> {
        let goal = goal_of_replacing(&self.state.authority, compromised);
        let mut plans = Vec::new();
        for summary in self.inventory.plans(usize::MAX)? {
            if summary.goal.starts_with(&goal)
                && let Some(record) = self.inventory.plan(summary.plan)?
            {
                plans.push(record.plan);
            }
        }
        Ok(plans)
    }
}

impl Unfinished {
    fn is_any(&self) -> bool {
        !self.steps.is_empty() || !self.unread.is_empty() || self.obstacle.is_some()
    }

    /// The first thing that it lacks, in words, or what holds it up.
    pub(crate) fn left(&self) -> String {
        if let Some(obstacle) = &self.obstacle {
            return obstacle.to_string();
        }
        if let Some((dps, steps)) = self.steps.first_key_value() {
            let first = steps.first().map(Step::to_string).unwrap_or_default();
            return format!("in DPS {dps} it has to {first}");
        }
        let unread = self.unread.first();
        let words = unread.map(|one| format!("the hub of {} cannot be read", one.registration_id));
        words.unwrap_or_default()
    }
}

fn by_instance(plans: Vec<InstancePlan>) -> BTreeMap<DpsName, Vec<Step>> {
    let mut left = BTreeMap::<DpsName, Vec<Step>>::new();
    for InstancePlan { dps, plan } in plans {
        if !plan.is_empty() {
            left.entry(dps).or_default().extend(plan.steps);
        }
    }
    left
}

/// What happens to hub identities; they are kept where registrations alone were forgotten.
fn hub_action<'a>(steps: impl Iterator<Item = &'a Step>) -> HubAction {
    let mut forgets = false;
    let mut action = None;
    for step in steps {
        match step {
            Step::Registration(_) => forgets = true,
            Step::HubDevice(step) => {
                action = Some(match step.action {
                    HubDeviceAction::Delete => HubAction::Delete,
                    HubDeviceAction::Disable { .. } | HubDeviceAction::Enable => HubAction::Disable,
                });
            }
            _ => {}
        }
    }
    match action {
        Some(action) => action,
        None if forgets => HubAction::Keep,
        None => HubAction::Disable,
    }
}
