//! Rolling the leaf that an individual enrollment names.

use pki_core::admission::{DpsView, decide};
use pki_core::certificate::{Certificate, pem};
use pki_core::enrollment::{CertificateSlot, IndividualEnrollment, Mechanism, X509Certificates};
use pki_core::ids::{RegistrationId, Sha256Thumbprint};
use pki_core::inventory::{CertificateState, Inventory as _, InventoryEntry, Status as State};
use pki_core::journal::Journal;
use pki_core::lifecycle::roll::{MovingDevice, RollError, Shown, device};
use pki_core::lifecycle::{Plan, Promise, Step, Subject, Who};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use serde::Serialize;

use super::left_behind::registered_at;
use super::report::{End, LeftBehind, Status};
use super::{FinishArgs, StartArgs, refuse_option};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::hubs::{UnreadHub, refuse_unread};
use crate::judged;
use crate::planes::{self, Planes};
use crate::registered::{Registered, is_shown, thumbprint, with_identities};
use crate::render::plan::{PlanAndImpact, PlanAndProof};
use crate::snapshot::{DpsSnapshot, chain_of};
use crate::unknown::unknown_device;

impl StartArgs {
    pub(super) fn device(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        id: &RegistrationId,
    ) -> CommandResult {
        refuse_option(self.overlap.is_some(), "--overlap", "a device")?;
        refuse_option(self.accept_stranded > 0, "--accept-stranded", "a device")?;
        refuse_option(self.with_intermediates, "--with-intermediates", "a device")?;
        let mut roll = DeviceRoll::gather(context, &inventory, id)?;
        if self.compromised {
            roll.look_on_every_hub(context)?;
        }
        let new = self.new_leaf(context, &inventory, &roll)?;
        let plan = if self.compromised {
            let old = roll.live(context.now());
            device::replace(id, &new, &old, self.hub.into(), &roll.state)?
        } else {
            device::start(id, &new, &roll.state)?
        };
        // The record stays as long as its hub was not seen to: it tells which that is.
        let mut plan = plan;
        if !roll.unread.is_empty() {
            plan.steps
                .retain(|step| !matches!(step, Step::Registration(_)));
        }
        let refused = if self.compromised {
            Who::Devices([id.clone()].into())
        } else {
            Who::Nobody
        };
        let ended = roll.carry_out(context, &mut inventory, plan, refused)?;
        // Only a compromised leaf's identity has to go from its hub.
        if self.compromised && !context.settings.dry_run {
            refuse_unread(&roll.unread)?;
        }
        Ok(ended)
    }

    /// The leaf that is named, or the newest one that the entry does not hold.
    fn new_leaf(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        roll: &DeviceRoll<'_>,
    ) -> Result<Certificate, CommandError> {
        let id = &roll.id;
        if let Some(path) = &self.cert {
            let leaf = pem::certificate(&context.read(path)?);
            let leaf = leaf.map_err(|error| CommandError::in_file(path, &error))?;
            let known = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
            return if known.is_some_and(|entry| entry.is_live(context.now())) {
                Ok(leaf)
            } else {
                Err(CommandError::refused(format!(
                    "{}: it is no valid leaf of this inventory",
                    path.display()
                ))
                .hint(format!("a new one comes from: dps-pki renew {id}")))
            };
        }
        let newest = roll
            .leaves
            .iter()
            .find(|entry| entry.is_live(context.now()));
        match newest {
            Some(entry) => Ok(entry.recorded.certificate().clone()),
            None => Err(CommandError::refused(format!(
                "the inventory has no valid leaf of {id} to roll to"
            ))
            .hint(format!("make one with: dps-pki renew {id}"))),
        }
    }
}

impl FinishArgs {
    pub(super) fn device(
        &self,
        context: &Context,
        mut inventory: SqliteInventory,
        id: &RegistrationId,
    ) -> CommandResult {
        refuse_option(self.with_intermediates, "--with-intermediates", "a device")?;
        let roll = DeviceRoll::gather(context, &inventory, id)?;
        let plan = match roll.ended(&inventory, &device::finish_goal(&roll.id))? {
            Some(nothing) => nothing,
            None => {
                let (_, stays) = roll.pair()?;
                let accept_stranded = self.accept_stranded > 0;
                device::finish(&roll.moving(), &stays, accept_stranded, &roll.state)?
            }
        };
        let refused = Who::Devices([id.clone()].into());
        roll.carry_out(context, &mut inventory, plan, refused)
    }
}

/// Takes the new leaf out of the entry again.
pub(super) fn abort(
    context: &Context,
    mut inventory: SqliteInventory,
    id: &RegistrationId,
) -> CommandResult {
    let roll = DeviceRoll::gather(context, &inventory, id)?;
    let plan = match roll.ended(&inventory, &device::abort_goal(&roll.id))? {
        Some(nothing) => nothing,
        None => {
            let (old, _) = roll.pair()?;
            device::abort(&roll.moving(), &old, &roll.state)?
        }
    };
    let refused = Who::Devices([id.clone()].into());
    roll.carry_out(context, &mut inventory, plan, refused)
}

/// Where the roll of a device stands.
pub(super) fn status(
    context: &Context,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<Status, CommandError> {
    let roll = DeviceRoll::gather(context, inventory, id)?;
    let held = roll.held();
    let (phase, waits) = match held.len() {
        0 | 1 => ("idle", vec![]),
        _ if roll.moving().has_moved() => {
            let text = "it has registered since its enrollment holds the new leaf: finish it";
            ("overlap", vec![text.to_owned()])
        }
        _ => (
            "overlap",
            vec![format!("{id} to register with its new leaf")],
        ),
    };
    let ends = held.iter().map(|leaf| End {
        at: leaf.validity().not_after(),
        what: format!("leaf {} of {id} ends", leaf.serial_number()),
    });
    let mut deadlines: Vec<End> = ends.collect();
    deadlines.sort_by_key(|end| end.at);
    Ok(Status {
        name: id.to_string(),
        phase,
        waits,
        open_plans: vec![],
        left_behind: LeftBehind::default(),
        shut_out: LeftBehind::default(),
        kept_off_hubs: LeftBehind::default(),
        deadlines,
    })
}

/// A device with everything that rolling its leaf depends on.
struct DeviceRoll<'a> {
    id: RegistrationId,
    planes: Planes<'a>,
    snapshot: DpsSnapshot,
    state: device::DeviceState,
    /// Its hub, if that cannot be read.
    unread: Vec<UnreadHub>,
    /// Its leaves of the inventory that got out, newest first.
    leaves: Vec<InventoryEntry>,
}

impl<'a> DeviceRoll<'a> {
    fn gather(
        context: &'a Context,
        inventory: &SqliteInventory,
        id: &RegistrationId,
    ) -> Result<Self, CommandError> {
        let planes = planes::chosen(context)?;
        let (snapshot, record, registered) = context.block_on(async {
            let snapshot = DpsSnapshot::gather(&planes).await?;
            let record = planes.registrations()?.find(id).await?;
            let registered = with_identities(&planes, record.iter().cloned().collect()).await;
            Ok((snapshot, record, registered))
        })?;
        let mut leaves = inventory.certificates_of(id)?;
        leaves.retain(|entry| {
            let got_out = matches!(entry.state.status(), State::Delivered | State::Revoked);
            got_out && entry.recorded.role() == Role::Leaf
        });
        let entry = snapshot.individual(id).cloned();
        if entry.is_none() && record.is_none() && leaves.is_empty() {
            return Err(unknown_device(inventory, id)?);
        }
        Ok(Self {
            // As DPS writes it, if it knows it.
            id: entry
                .as_ref()
                .map_or(id, |entry| &entry.registration_id)
                .clone(),
            planes,
            state: device::DeviceState {
                individual: entry,
                registration: record,
                hub_identity: registered
                    .devices
                    .into_iter()
                    .find_map(|device| device.hub_identity),
            },
            unread: registered.unread,
            snapshot,
            leaves,
        })
    }

    /// Looks for the identity wherever it may be, if no record names its hub: somebody may have deleted that.
    fn look_on_every_hub(&mut self, context: &Context) -> Result<(), CommandError> {
        let record = self.state.registration.as_ref();
        if record.is_some_and(|record| record.assigned_hub.is_some()) {
            return Ok(());
        }
        let mut registered = Registered::default();
        let ids = [self.id.clone()].into();
        context.block_on(async {
            let found = registered.add_unlisted(&self.planes, ids, |_| true);
            Ok(found.await?)
        })?;
        for note in registered.notes() {
            context.ui.warning(note);
        }
        let mut devices = registered.devices.into_iter();
        self.state.hub_identity = devices.find_map(|device| device.hub_identity);
        self.unread.extend(registered.unread);
        Ok(())
    }

    fn slots(&self) -> Vec<Sha256Thumbprint> {
        self.state
            .individual
            .as_ref()
            .map(slots)
            .unwrap_or_default()
    }

    /// The leaves of the inventory that the entry holds, newest first.
    fn held(&self) -> Vec<Certificate> {
        let slots = self.slots();
        let leaves = self.leaves.iter().map(|entry| entry.recorded.certificate());
        let held = leaves.filter(|leaf| slots.contains(&leaf.sha256_thumbprint()));
        held.cloned().collect()
    }

    /// Its valid leaves, and whatever else the entry holds: whoever has one key may have them all.
    fn live(&self, at: Time) -> Vec<Certificate> {
        let slots = self.slots();
        let is_meant = |entry: &&InventoryEntry| {
            let leaf = entry.recorded.certificate();
            entry.is_live(at) || slots.contains(&leaf.sha256_thumbprint())
        };
        let meant = self.leaves.iter().filter(is_meant);
        meant
            .map(|entry| entry.recorded.certificate().clone())
            .collect()
    }

    /// A plan without steps where one of this goal was carried out, and the entry is as that left it.
    fn ended(&self, journal: &dyn Journal, goal: &str) -> Result<Option<Plan>, CommandError> {
        let subject = Subject::Device(self.id.clone());
        let earlier = journal.finished_plan(self.planes.name(), goal, &subject)?;
        let left_so = |step: &Step| match step {
            Step::Individual(step) => step
                .document()
                .is_some_and(|entry| slots(entry) == self.slots()),
            _ => false,
        };
        let ended = earlier.filter(|record| record.plan.steps.iter().any(left_so));
        Ok(ended.map(|record| Plan::new(record.plan.goal)))
    }

    /// The old and the new leaf of a roll that is under way.
    fn pair(&self) -> Result<(Certificate, Certificate), CommandError> {
        let id = &self.id;
        let slots = self.slots();
        match (self.held().as_slice(), slots.len()) {
            ([new, old], _) => Ok((old.clone(), new.clone())),
            (_, 0) => Err(RollError::NoLeafEntry { id: id.clone() }.into()),
            (_, 1) => Err(CommandError::refused(format!(
                "the leaf of {id} is not being rolled"
            ))),
            _ => Err(CommandError::refused(format!(
                "individual enrollment {id} holds a leaf that is not in the inventory"
            ))
            .hint(format!(
                "put what it is to hold with: dps-pki dps device put {id}"
            ))),
        }
    }

    /// The entry's last change put the new leaf into it; what registered afterwards may have shown it.
    fn moving(&self) -> MovingDevice {
        let entry = self.state.individual.as_ref();
        let changed = entry.and_then(|entry| entry.other.get("lastUpdatedDateTimeUtc")?.as_str());
        let changed: Option<Time> = changed.and_then(|changed| changed.parse().ok());
        let delivered = self.leaves.first().and_then(|entry| match entry.state {
            CertificateState::Delivered { at } => Some(at),
            _ => None,
        });
        MovingDevice {
            id: self.id.clone(),
            new_leaf_since: changed.max(delivered),
            registered_at: self.state.registration.as_ref().and_then(registered_at),
            shown: self.shown(),
        }
    }

    /// Which of its leaves it showed last, as its identity on the hub tells: the newest is the new one.
    fn shown(&self) -> Shown {
        let identity = self.state.hub_identity.as_ref();
        let Some(thumbprint) = identity.and_then(|found| thumbprint(&found.device)) else {
            return Shown::Unknown;
        };
        let mut held = self.held().into_iter();
        match held.position(|leaf| is_shown(&leaf, thumbprint)) {
            Some(0) => Shown::New,
            Some(_) => Shown::Old,
            None => Shown::Unknown,
        }
    }

    fn carry_out(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        plan: Plan,
        refuses: Who,
    ) -> CommandResult {
        let before = self.snapshot.view()?;
        let after = plan.applied_to(&before)?;
        let promise = Promise {
            refuses,
            lets_in: Who::Devices([self.id.clone()].into()),
            ..Promise::default()
        };
        let judged = judged::plan(context, &self.planes, inventory, &before, plan, &promise)?;
        let shown = PlanAndImpact::proposed(&judged);
        let done = Proposal::new(&judged.plan, &shown)
            .carry_out(context, &self.planes, inventory)?
            .done;
        let proof = if context.settings.dry_run {
            vec![]
        } else {
            self.prove(context, inventory, &after)?
        };
        let read_back = proof.iter().map(|proof| {
            let (serial, outcome) = (&proof.serial_number, &proof.outcome);
            format!("leaf {serial} of {} is {outcome}", self.id)
        });
        context.ui.result(&PlanAndProof {
            registration_id: &self.id,
            planned: PlanAndImpact { done, ..shown },
            read_back: read_back.collect(),
            proof,
        })?;
        Ok(Outcome::Done)
    }

    /// Reads DPS again and decides about each leaf that has not ended: as planned.
    fn prove(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        wanted: &DpsView,
    ) -> Result<Vec<Proof>, CommandError> {
        let found = context
            .wait_for(DpsSnapshot::about(&self.planes, &[&self.id]))?
            .view()?;
        let now = context.now();
        let mut proofs = Vec::new();
        for entry in &self.leaves {
            let leaf = entry.recorded.certificate();
            if leaf.validity().not_after() < now {
                continue;
            }
            let chain = chain_of(inventory, leaf)?;
            let (found, wanted) = (decide(&found, &chain), decide(wanted, &chain));
            if found.outcome != wanted.outcome {
                let message = format!(
                    "DPS decides otherwise than planned: {} is {}",
                    self.id, found.outcome
                );
                return Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"));
            }
            proofs.push(Proof {
                serial_number: leaf.serial_number().to_string(),
                outcome: found.outcome.to_string(),
            });
        }
        Ok(proofs)
    }
}

/// The leaves that an entry names.
fn slots(entry: &IndividualEnrollment) -> Vec<Sha256Thumbprint> {
    match &entry.attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots)) => slots
            .iter()
            .filter_map(CertificateSlot::sha256_thumbprint)
            .collect(),
        _ => vec![],
    }
}

/// What DPS decides about a leaf, read back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    serial_number: String,
    outcome: String,
}
