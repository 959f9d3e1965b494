//! Individual enrollments for many devices: each is let in with its leaf and no other.
//!
//! What an existing entry says besides stays as it is, so a disabled one stays disabled. New entries and
//! changed ones are written ten a call ([`crate::execute`]).
//! Not here: which devices are meant, and with which leaves (the front end's).

use std::collections::HashMap;

use pki_core::admission::{Decision, DpsView};
use pki_core::certificate::Certificate;
use pki_core::enrollment::compose::by_leaf;
use pki_core::enrollment::{IndividualEnrollment, ProvisioningStatus};
use pki_core::ids::RegistrationId;
use pki_core::lifecycle::{Expectation, Found, Plan, Promise, Standing, Step, Who, differences};
use pki_core::wording::counted;
use serde_json::Value;

use crate::document::without_keys;
use crate::execute::StepFailure;
use crate::gather::{DpsSnapshot, GatherError};
use crate::instance::Surroundings;
use crate::judge::{Judge, JudgeError, Judged};
use crate::quarantine::read_back;
use crate::target::Target;

/// Who is enrolled.
#[derive(Debug, Clone)]
pub struct Request {
    /// The devices, each once.
    pub devices: Vec<Device>,
    /// What the journal calls them all: it says the same when what is left of them is asked for again.
    pub called: String,
}

/// A device and the leaf that lets it in.
#[derive(Debug, Clone)]
pub struct Device {
    /// The CN of its leaf.
    pub id: RegistrationId,
    /// Its leaf.
    pub leaf: Certificate,
}

/// What is to be done in one instance.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    view: DpsView,
}

/// What became of a device, read back.
#[derive(Debug)]
pub struct DeviceReport<'a> {
    /// The device.
    pub registration_id: &'a RegistrationId,
    /// What DPS decides about it and its leaf.
    pub proof: &'a Decision,
    /// The step that failed for it.
    pub failure: Option<&'a StepFailure>,
}

impl Request {
    /// Looks at an instance, and plans what is to be written there.
    ///
    /// # Errors
    /// [`GatherError`] if DPS cannot be read.
    pub async fn prepare(&self, around: Surroundings<'_>) -> Result<Prepared, GatherError> {
        let snapshot = DpsSnapshot::about(around.instance, &self.ids()).await?;
        let entries = snapshot.individuals.iter();
        let entries: HashMap<&RegistrationId, &IndividualEnrollment> = entries
            .map(|entry| (&entry.registration_id, entry))
            .collect();
        let mut plan = Plan::new(self.called.clone());
        let mut disabled: u64 = 0;
        for device in &self.devices {
            let before = entries.get(&device.id).copied();
            disabled += u64::from(before.is_some_and(is_disabled));
            plan.steps.extend(device.step(before));
        }
        // Entries of a kind go together in a call.
        plan.steps
            .sort_by_key(|step| step.expectation() != Expectation::Absent);
        if disabled > 0 {
            let entries = counted(disabled, "entry is", "entries are");
            plan.notes.push(format!(
                "{entries} disabled and stay so: what is disabled is enabled by name"
            ));
        }
        Ok(Prepared {
            plan,
            view: snapshot.view()?,
        })
    }

    /// Reads everything back, and decides about each device with its leaf, in their order.
    ///
    /// # Errors
    /// [`GatherError`] if DPS or the inventory cannot be read.
    pub async fn read_back(&self, around: Surroundings<'_>) -> Result<Vec<Decision>, GatherError> {
        let target = |device: &Device| Target {
            leaf: Some(device.leaf.clone()),
            ..Target::without_leaf(device.id.clone())
        };
        let targets: Vec<Target> = self.devices.iter().map(target).collect();
        read_back(around, &targets).await
    }

    /// What became of each device.
    pub fn report<'a>(
        &'a self,
        proofs: &'a [Decision],
        failed: &'a [StepFailure],
    ) -> impl Iterator<Item = DeviceReport<'a>> {
        let decided = self.devices.iter().zip(proofs);
        decided.map(|(device, proof)| DeviceReport {
            registration_id: &device.id,
            proof,
            failure: failed
                .iter()
                .find(|failure| failure.subject.eq_ignore_ascii_case(device.id.as_str())),
        })
    }

    fn ids(&self) -> Vec<&RegistrationId> {
        self.devices.iter().map(|device| &device.id).collect()
    }
}

impl Device {
    /// The step that writes its entry; none if that is so already.
    fn step(&self, before: Option<&IndividualEnrollment>) -> Option<Step> {
        let attestation = by_leaf(&self.leaf);
        let after = match before {
            Some(before) => IndividualEnrollment {
                attestation,
                ..before.clone()
            },
            None => IndividualEnrollment::new(self.id.clone(), attestation),
        };
        let shown = before.map_or(Value::Null, without_keys);
        let changes = differences(&shown, &without_keys(&after));
        let expect = match before {
            Some(before) => Expectation::of(before.etag.as_ref()),
            None => Expectation::Absent,
        };
        let step = Step::put_individual(after, changes, expect.clone());
        let found = Found::Individual(before.cloned().map(Box::new));
        let is_done = matches!(step.standing(&found, &expect), Standing::Done(_));
        (!is_done).then_some(step)
    }
}

fn is_disabled(entry: &IndividualEnrollment) -> bool {
    entry.provisioning_status == ProvisioningStatus::Disabled
}

impl Prepared {
    /// Puts the plan through the checker: it decides about these devices, and nobody else.
    ///
    /// # Errors
    /// [`JudgeError`]: it would do more, or the inventory cannot be read.
    pub fn judge(&self, around: Surroundings<'_>, request: &Request) -> Result<Judged, JudgeError> {
        let ids = request.ids();
        let meant = || Who::Devices(ids.iter().map(|id| (*id).clone()).collect());
        let promise = Promise {
            refuses: meant(),
            lets_in: meant(),
            ..Promise::default()
        };
        let judge = Judge::of(around, &self.view);
        judge.plan_of_devices(self.plan.clone(), &promise, around.instance.rate(), &ids)
    }
}
