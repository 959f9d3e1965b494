//! What a change of one record does to the devices of the inventory.

use futures::TryStreamExt as _;
use pki_core::admission::{DpsView, PresentedChain, ViewError};
use pki_core::certificate::Certificate;
use pki_core::enrollment::IndividualEnrollment;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory;
use pki_core::lifecycle::{Fleet, Impact};

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::planes::Planes;
use crate::render::ui::Ui;
use crate::snapshot::{DpsSnapshot, chain_of};

/// The impact on all devices of the inventory; `None`, and a warning, where DPS cannot be read as a
/// whole, as by those who may not look at the management plane.
pub(super) fn on_fleet(
    context: &Context,
    planes: &Planes<'_>,
    change: impl FnOnce(&mut DpsView) -> Result<(), ViewError>,
) -> Result<Option<Impact>, CommandError> {
    let Some(snapshot) = told(
        &context.ui,
        context
            .runtime
            .wait_for(DpsSnapshot::gather(planes.instance())),
    )?
    else {
        return Ok(None);
    };
    let (before, after) = changed(&snapshot, change)?;
    let inventory = context.home.inventory()?;
    crate::snapshot::impact(
        &context.settings,
        context.now(),
        &inventory,
        &before,
        &after,
    )
    .map(Some)
}

/// The impact on one device, leaf by leaf: those of the inventory that have not ended, revoked ones
/// too, since DPS reads no CRL, and `leaf`. `None` as for [`on_fleet`].
pub(super) fn on_device(
    context: &Context,
    planes: &Planes<'_>,
    present: Option<&IndividualEnrollment>,
    id: &RegistrationId,
    leaf: Option<&Certificate>,
    change: impl FnOnce(&mut DpsView) -> Result<(), ViewError>,
) -> Result<Option<Impact>, CommandError> {
    let gathered = context.runtime.block_on(async {
        Ok(DpsSnapshot {
            authorities: planes.certificates()?.list().await?,
            groups: planes.groups()?.list(None).try_collect().await?,
            individuals: present.cloned().into_iter().collect(),
            at: Some(planes.now()),
        })
    });
    let Some(snapshot) = told(&context.ui, gathered)? else {
        return Ok(None);
    };
    let inventory = context.home.inventory()?;
    let recorded = inventory.unexpired_leaves(id, context.now())?;
    let mut leaves: Vec<Certificate> = recorded
        .iter()
        .map(|entry| entry.recorded.certificate().clone())
        .collect();
    leaves.extend(leaf.filter(|leaf| !leaves.contains(leaf)).cloned());
    let chains = leaves.iter().map(|leaf| chain_of(&inventory, leaf));
    let chains: Vec<PresentedChain> = chains.collect::<Result<_, _>>()?;
    let (before, after) = changed(&snapshot, change)?;
    Ok(Some(Impact::compare(
        &before,
        &after,
        &Fleet::of_chains(&chains),
    )))
}

/// Turns a failure to read into a warning: an emergency does not wait for the management plane.
fn told(
    ui: &Ui,
    gathered: Result<DpsSnapshot, CommandError>,
) -> Result<Option<DpsSnapshot>, CommandError> {
    match gathered {
        Err(error) if error.kind != ErrorKind::Interrupted => {
            ui.warning(format!("the impact on devices cannot be told: {error}"));
            Ok(None)
        }
        gathered => gathered.map(Some),
    }
}

/// What DPS decides by, before the change and after it.
fn changed(
    snapshot: &DpsSnapshot,
    change: impl FnOnce(&mut DpsView) -> Result<(), ViewError>,
) -> Result<(DpsView, DpsView), CommandError> {
    let before = snapshot.view()?;
    let mut after = before.clone();
    change(&mut after)?;
    Ok((before, after))
}
