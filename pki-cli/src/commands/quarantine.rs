//! `quarantine`: shut devices out everywhere, and prove it.

use std::fmt;
use std::path::Path;

use pki_core::admission::{Decision, DpsView, Outcome as Admission, PresentedChain, explain};
use pki_core::certificate::Certificate;
use pki_core::enrollment::IndividualEnrollment;
use pki_core::format::pem;
use pki_core::ids::{DeviceId, RegistrationId, SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{Inventory as _, InventoryEntry, Status};
use pki_core::lifecycle::{
    HubAction, HubIdentity, Impact, Plan, Quarantine, QuarantineState, quarantine,
};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::execute::Proposal;
use crate::planes::Planes;
use crate::render::plan::PlanAndImpact;
use crate::snapshot::{DpsSnapshot, chain_of, impact};

/// Shut a device out everywhere: disabled enrollment, registration record, hub identity
#[derive(clap::Args)]
#[command(after_help = "\
The registration ID is taken from the certificate wherever one is at hand: an entry under another ID
shuts nobody out. DPS and IoT Hub consult no CRL; this is what keeps a device out.

Examples:
  dps-pki quarantine sensor-2 --reason stolen
  dps-pki quarantine sensor-2.cert.pem --hub delete --yes")]
pub(crate) struct Args {
    /// Registration ID, certificate file, serial number or thumbprint
    #[arg(value_name = "WHAT", required = true)]
    what: Vec<String>,

    /// Why, for the hub identity and the record
    #[arg(long)]
    reason: Option<String>,

    /// What to do with the hub's device identity
    #[arg(long, value_enum, default_value = "disable")]
    hub: HubChoice,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum HubChoice {
    /// It stays, and the hub refuses the device
    Disable,
    /// It goes, with its twin
    Delete,
    /// It stays as it is: a connected device stays connected
    Keep,
}

/// A device to shut out, and its leaf if it is at hand.
struct Target {
    id: RegistrationId,
    leaf: Option<Certificate>,
    entry: Option<InventoryEntry>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let (name, declared) = context.dps()?;
        let planes = Planes::new(context, name, declared)?;
        let mut inventory = context.inventory()?;
        let targets: Result<Vec<Target>, CommandError> = self
            .what
            .iter()
            .map(|what| target(context, &inventory, what))
            .collect();
        for target in &targets? {
            self.shut_out(context, &planes, &mut inventory, target)?;
        }
        Ok(Outcome::Done)
    }

    fn shut_out(
        &self,
        context: &Context,
        planes: &Planes<'_>,
        inventory: &mut SqliteInventory,
        target: &Target,
    ) -> Result<(), CommandError> {
        let snapshot = context.block_on(DpsSnapshot::gather(planes))?;
        let view = snapshot.view()?;
        let state = context.block_on(state(planes, &snapshot, &view, target))?;
        let plan = quarantine(&self.request(target), &state);
        let after = plan.applied_to(&view)?;
        let impact = impact(context, inventory, &view, &after)?;
        let shown = PlanAndImpact {
            plan: &plan,
            impact: &impact,
            done: false,
        };
        let done = Proposal::new(&plan, &shown)
            .carry_out(context, planes, inventory)?
            .done;
        let proof = match context.settings.dry_run {
            true => None,
            false => Some(prove(context, planes, inventory, target)?),
        };
        context.ui.item(&Report {
            registration_id: &target.id,
            plan: &plan,
            impact: &impact,
            done,
            proof,
        })
    }

    fn request(&self, target: &Target) -> Quarantine {
        let delivered = |entry: &InventoryEntry| entry.state.status() == Status::Delivered;
        Quarantine {
            registration_id: target.id.clone(),
            leaf: target.leaf.clone(),
            revoke: target.entry.as_ref().is_some_and(delivered),
            reason: self.reason.clone(),
            hub: match self.hub {
                HubChoice::Disable => HubAction::Disable,
                HubChoice::Delete => HubAction::Delete,
                HubChoice::Keep => HubAction::Keep,
            },
        }
    }
}

/// Finds out what was named: a file, else a thumbprint, a serial number or a registration ID.
fn target(
    context: &Context,
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Target, CommandError> {
    let path = Path::new(what);
    if context.files.exists(path) {
        let read = pem::certificate(&context.read(path)?);
        let leaf = read.map_err(|error| CommandError::in_file(path, &error))?;
        let entry = inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())?;
        return of_leaf(leaf, entry);
    }
    if let Some(entry) = by_identity(inventory, what)? {
        return of_leaf(entry.recorded.certificate().clone(), Some(entry));
    }
    let id: RegistrationId = what.parse()?;
    let newest = inventory
        .live_leaves(&id, context.now())?
        .into_iter()
        .next();
    match newest {
        Some(entry) => of_leaf(entry.recorded.certificate().clone(), Some(entry)),
        None => {
            context.ui.warning(format!(
                "the inventory has no valid leaf of {id}: it is shut out by its ID alone, which must be the CN of its leaf"
            ));
            Ok(Target {
                id,
                leaf: None,
                entry: None,
            })
        }
    }
}

fn by_identity(
    inventory: &SqliteInventory,
    what: &str,
) -> Result<Option<InventoryEntry>, CommandError> {
    if let Ok(thumbprint) = what.parse::<Sha256Thumbprint>() {
        return Ok(inventory.by_sha256_thumbprint(&thumbprint)?);
    }
    if let Ok(thumbprint) = what.parse::<Sha1Thumbprint>() {
        return Ok(inventory
            .by_sha1_thumbprint(&thumbprint)?
            .into_iter()
            .next());
    }
    let Ok(serial) = what.parse::<SerialNumber>() else {
        return Ok(None);
    };
    let mut found = inventory.by_serial_number(&serial)?;
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(CommandError::refused(format!(
            "{count} certificates of different issuers have the serial number {serial}; name the thumbprint"
        ))),
    }
}

fn of_leaf(leaf: Certificate, entry: Option<InventoryEntry>) -> Result<Target, CommandError> {
    let subject = leaf.subject();
    if leaf.is_ca() {
        let message = format!(
            "{subject} is a CA, not a device: shut out what is below it with a disabled group"
        );
        return Err(CommandError::refused(message));
    }
    let name = leaf.common_name().ok_or_else(|| {
        CommandError::invalid_input(format!(
            "the subject {subject} has no single CN to be the registration ID"
        ))
    })?;
    Ok(Target {
        id: name.parse()?,
        leaf: Some(leaf),
        entry,
    })
}

/// What DPS and the hubs know of the device.
async fn state(
    planes: &Planes<'_>,
    snapshot: &DpsSnapshot,
    view: &DpsView,
    target: &Target,
) -> Result<QuarantineState, CommandError> {
    let mut entries = snapshot.individuals.iter();
    let individual = entries.find(|entry| entry.registration_id == target.id);
    let thumbprint = target.leaf.as_ref().map(Certificate::sha256_thumbprint);
    let naming = thumbprint
        .map(|leaf| view.individuals_naming(&leaf))
        .unwrap_or_default();
    let elsewhere = naming.into_iter().filter(|id| **id != target.id);
    let mut state = QuarantineState {
        individual: individual.cloned(),
        registration: planes.registrations()?.find(&target.id).await?,
        entries_under_other_ids: elsewhere.cloned().collect(),
        ..QuarantineState::default()
    };
    find_identities(planes, target, &mut state).await?;
    Ok(state)
}

/// Looks for the device on the hub that its record names; without a record, which somebody or a run
/// that was cut may have deleted, on every hub that is known.
async fn find_identities(
    planes: &Planes<'_>,
    target: &Target,
    state: &mut QuarantineState,
) -> Result<(), CommandError> {
    let record = state.registration.as_ref();
    let id = record.and_then(|record| record.device_id.clone());
    let id = id.or_else(|| {
        state
            .individual
            .as_ref()
            .map(IndividualEnrollment::hub_device_id)
    });
    let id = id.unwrap_or_else(|| DeviceId::from(&target.id));
    let named = record.and_then(|record| record.assigned_hub.clone());
    let is_named = named.is_some();
    let hubs = match named {
        Some(hub) => vec![hub],
        None => planes.known_hubs().await?,
    };
    for hub in hubs {
        match planes.device_on(&hub, &id).await {
            Ok(device) => {
                let found = device.map(|device| HubIdentity { hub, device });
                state.hub_identities.extend(found);
            }
            Err(error) if is_named => return Err(error),
            Err(error) => state.hubs_not_seen.push(format!("{hub} ({error})")),
        }
    }
    Ok(())
}

/// Reads everything back and decides again: the device must be out.
fn prove(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    target: &Target,
) -> Result<Decision, CommandError> {
    let snapshot = context.block_on(DpsSnapshot::gather(planes))?;
    let chain = match &target.leaf {
        Some(leaf) => chain_of(inventory, leaf)?,
        None => PresentedChain::known(Some(target.id.to_string()), vec![]),
    };
    let decision = explain(&snapshot.view()?, &chain);
    match decision.outcome {
        Admission::Disabled(_) => Ok(decision),
        ref outcome => {
            let message = format!("{} is still not shut out: {outcome}", target.id);
            Err(CommandError::new(ErrorKind::Conflict, message).hint("run it again"))
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    registration_id: &'a RegistrationId,
    plan: &'a Plan,
    impact: &'a Impact,
    done: bool,
    proof: Option<Decision>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, impact) = (self.plan, self.impact);
        write!(
            f,
            "{}",
            PlanAndImpact {
                plan,
                impact,
                done: self.done
            }
        )?;
        match &self.proof {
            Some(proof) => write!(
                f,
                "\nread back from DPS: {} is {}",
                self.registration_id, proof.outcome
            ),
            None => Ok(()),
        }
    }
}
