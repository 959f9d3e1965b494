//! What DPS and the hubs know of the devices, gathered once for all of them: DPS page by page, the hubs
//! side by side.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use pki_core::admission::{ChainElement, DpsView, Outcome, Refusal, outcome_below};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{
    IndividualEnrollment, Mechanism, ProvisioningStatus, RegistrationState, RegistrationStatus,
    X509Certificates,
};
use pki_core::ids::{DeviceId, EnrollmentGroupId, HubHostName, RegistrationId, Sha256Thumbprint};
use pki_core::inventory::{Inventory, InventoryError};
use pki_core::lifecycle::{HubAction, QuarantineState, Verdict};
use pki_core::time::Time;

use crate::dps::Dps;
use crate::gather::{DpsSnapshot, GatherError, chain_of};
use crate::hubs::{Hubs, UnreadHub};
use crate::instance::{Instance, Surroundings};
use crate::registered::identity;
use crate::target::Target;

/// Up to so many devices, each one's registration record is asked for; beyond, all records are read
/// page by page and from the individual enrollments, since the rate of calls is limited.
const FEW: usize = 20;

/// How many hub lookups are under way at once.
const SIDE_BY_SIDE: usize = 16;

/// What is there of some devices, in their order.
#[derive(Debug)]
pub struct Gathered {
    /// What planners take.
    pub states: Vec<QuarantineState>,
    /// The devices whose hubs cannot be read.
    pub unread: Vec<UnreadHub>,
}

impl Gathered {
    /// Whether DPS or a hub has anything of a device, by its place in the order that was asked for.
    pub(crate) fn is_there(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| {
            state.individual.is_some()
                || state.registration.is_some()
                || !state.hub_identities.is_empty()
        })
    }
}

/// Looks at DPS, the inventory, and unless the identities are kept at the hubs.
///
/// # Errors
/// [`GatherError`] if DPS or the inventory cannot be read; a hub that cannot is told of each device.
pub async fn gather(
    around: Surroundings<'_>,
    snapshot: &DpsSnapshot,
    targets: &[Target],
    action: HubAction,
) -> Result<Gathered, GatherError> {
    let individuals: HashMap<&RegistrationId, &IndividualEnrollment> = snapshot
        .individuals
        .iter()
        .map(|entry| (&entry.registration_id, entry))
        .collect();
    let naming = entries_by_leaf(&snapshot.individuals);
    let mut registrations =
        registrations(around.instance.dps, snapshot, &individuals, targets).await?;
    let view = snapshot.view()?;
    let mut states = Vec::with_capacity(targets.len());
    for target in targets {
        let leaf = target.leaf.as_ref();
        let elsewhere = leaf.and_then(|leaf| naming.get(&leaf.sha256_thumbprint()));
        let elsewhere = elsewhere
            .into_iter()
            .flatten()
            .filter(|id| **id != target.id);
        states.push(QuarantineState {
            individual: individuals.get(&target.id).map(|entry| (*entry).clone()),
            registration: registrations.remove(&target.id),
            entries_under_other_ids: elsewhere.cloned().collect(),
            group: group_of(around.journal, &view, leaf)?,
            ..QuarantineState::default()
        });
    }
    if action == HubAction::Keep {
        let unread = vec![];
        return Ok(Gathered { states, unread });
    }
    Ok(on_hubs(around.instance, targets, states).await)
}

/// The group that decides about a leaf that has no individual enrollment.
fn group_of(
    inventory: &dyn Inventory,
    view: &DpsView,
    leaf: Option<&Certificate>,
) -> Result<Option<EnrollmentGroupId>, InventoryError> {
    let Some(leaf) = leaf else {
        return Ok(None);
    };
    let chain = chain_of(inventory, leaf)?;
    let verdict = Verdict::from(outcome_below(view, chain.above_leaf()));
    Ok(verdict.group().cloned())
}

/// What DPS would decide about a device without an individual enrollment: of all leaves that got out and
/// have not ended, revoked ones too since DPS reads no CRL, about the one that is nearest to admission.
/// `None` if no leaf is known.
///
/// # Errors
/// [`InventoryError`] if the inventory cannot be read.
pub fn without_entry(
    inventory: &dyn Inventory,
    view: &DpsView,
    target: &Target,
    at: Time,
) -> Result<Option<Outcome>, InventoryError> {
    let leaves = unexpired(inventory, target, at)?;
    let mut nearest: Option<Outcome> = None;
    for leaf in &leaves {
        let chain = chain_of(inventory, leaf)?;
        let above: &[ChainElement] = chain.above_leaf();
        let outcome = outcome_below(view, above);
        let is_nearer = nearest
            .as_ref()
            .is_none_or(|nearest| nearness(&outcome) > nearness(nearest));
        if is_nearer {
            nearest = Some(outcome);
        }
    }
    Ok(nearest)
}

/// The leaves by which a device may come: the one that was named, and all that got out and have not ended, revoked
/// ones too since DPS reads no CRL.
pub(crate) fn unexpired(
    inventory: &dyn Inventory,
    target: &Target,
    at: Time,
) -> Result<Vec<Certificate>, InventoryError> {
    let mut leaves: Vec<Certificate> = target.leaf.iter().cloned().collect();
    for entry in inventory.unexpired_leaves(&target.id, at)? {
        let leaf = entry.recorded.certificate();
        if !leaves.contains(leaf) {
            leaves.push(leaf.clone());
        }
    }
    Ok(leaves)
}

fn nearness(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Admitted(_) => 3,
        Outcome::Disabled(_) | Outcome::NotKnown(..) => 2,
        Outcome::Refused(Refusal::NoEntry) => 0,
        _ => 1,
    }
}

/// Which individual enrollments name which leaf.
fn entries_by_leaf(
    individuals: &[IndividualEnrollment],
) -> HashMap<Sha256Thumbprint, Vec<RegistrationId>> {
    let mut naming: HashMap<_, Vec<RegistrationId>> = HashMap::new();
    for entry in individuals {
        if let Mechanism::X509(X509Certificates::Client(slots)) = &entry.attestation.mechanism {
            for thumbprint in slots.iter().filter_map(|slot| slot.sha256_thumbprint()) {
                let ids = naming.entry(thumbprint).or_default();
                ids.push(entry.registration_id.clone());
            }
        }
    }
    naming
}

async fn registrations(
    dps: &dyn Dps,
    snapshot: &DpsSnapshot,
    individuals: &HashMap<&RegistrationId, &IndividualEnrollment>,
    targets: &[Target],
) -> Result<HashMap<RegistrationId, RegistrationState>, GatherError> {
    let mut found = HashMap::new();
    let few = targets.len() <= FEW;
    if !few {
        let wanted: HashSet<&RegistrationId> = targets.iter().map(|target| &target.id).collect();
        for group in &snapshot.groups {
            let mut pages = dps.list_registrations(&group.enrollment_group_id);
            while let Some(record) = pages.try_next().await? {
                if wanted.contains(&record.registration_id) {
                    found.insert(record.registration_id.clone(), record);
                }
            }
        }
    }
    for id in targets.iter().map(|target| &target.id) {
        if found.contains_key(id) {
            continue;
        }
        // A query of entries does not send registrations along (recorded), and no group lists a device that
        // registers by an entry of its own: without this call neither its hub and its name there nor the
        // record that is to be deleted would be known.
        let record = match individuals.get(id) {
            Some(entry) if !few => match told_by(entry) {
                Some(told) => told,
                None => dps.registration(id).await?,
            },
            None if !few => None,
            _ => dps.registration(id).await?,
        };
        found.extend(record.map(|record| (id.clone(), record)));
    }
    Ok(found)
}

/// The registration record of an entry's device, as far as it can be told without a call: the service
/// sends it with the entry. A disabled entry without one keeps its device out whether it has one or not.
fn told_by(entry: &IndividualEnrollment) -> Option<Option<RegistrationState>> {
    match entry.registration_state() {
        Some(told) if told.status == RegistrationStatus::Unassigned => Some(None),
        Some(told) => Some(Some(told)),
        None if entry.provisioning_status == ProvisioningStatus::Disabled => Some(None),
        None => None,
    }
}

/// Looks for the devices on the hubs that their records name, or on all that are known: somebody, or a run
/// that was cut, may have deleted the record.
async fn on_hubs(
    instance: Instance<'_>,
    targets: &[Target],
    states: Vec<QuarantineState>,
) -> Gathered {
    let has_hub = |state: &QuarantineState| {
        let record = state.registration.as_ref();
        record.is_some_and(|record| record.assigned_hub.is_some())
    };
    let (known, unknown) = if states.iter().all(has_hub) {
        (vec![], None)
    } else {
        match instance.known_hubs().await {
            Ok(known) => (known, None),
            Err(error) => (instance.declared_hubs(), Some(error.to_string())),
        }
    };
    let hubs = &Hubs::of(instance.dps);
    let known = &known;
    let looked_up = stream::iter(targets.iter().zip(states))
        .map(|(target, state)| find(hubs, known, target, state))
        .buffered(SIDE_BY_SIDE);
    let found: Vec<(QuarantineState, Option<UnreadHub>)> = looked_up.collect().await;
    let mut gathered = Gathered {
        states: Vec::with_capacity(found.len()),
        unread: Vec::new(),
    };
    for (mut state, unread) in found {
        if !has_hub(&state) {
            state.hubs_not_seen.extend(
                unknown
                    .iter()
                    .map(|error| format!("the hubs that are linked ({error})")),
            );
        }
        gathered.states.push(state);
        gathered.unread.extend(unread);
    }
    gathered
}

/// Looks for a device on the hub that its record names, or on all of them.
async fn find(
    hubs: &Hubs<'_>,
    known: &[HubHostName],
    target: &Target,
    mut state: QuarantineState,
) -> (QuarantineState, Option<UnreadHub>) {
    let unread = |hub: &str| UnreadHub {
        registration_id: target.id.clone(),
        hub: hub.to_owned(),
    };
    let record = state.registration.as_ref();
    if let Some(record) = record.filter(|record| record.assigned_hub.is_some()) {
        match identity(hubs, record).await {
            Ok(found) => state.hub_identities.extend(found),
            Err(error) => state.unread_hub = Some(error),
        }
        let failed = state.unread_hub.as_deref().map(unread);
        return (state, failed);
    }
    let id = record.and_then(|record| record.device_id.clone());
    let entry = state.individual.as_ref();
    let id = id.or_else(|| entry.map(IndividualEnrollment::hub_device_id));
    let id = id.unwrap_or_else(|| DeviceId::from(&target.id));
    for hub in known {
        match hubs.find(hub, &id).await {
            Ok(found) => state.hub_identities.extend(found),
            Err(error) => state.hubs_not_seen.push(error),
        }
    }
    // Whoever knocks after it was shut out has a record that names no hub any more; its identity may be on
    // the one that cannot be read all the same.
    let is_missing = state.hub_identities.is_empty();
    let failed = state.hubs_not_seen.first().filter(|_| is_missing);
    let failed = failed.map(|hub| unread(hub));
    (state, failed)
}
