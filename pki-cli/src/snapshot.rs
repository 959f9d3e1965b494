//! What DPS holds, and what a change does to the devices of the inventory, as far as the output names them.

use dps_operations::{Planes, Surroundings};
use pki_core::admission::DpsView;
use pki_core::inventory::Inventory;
use pki_core::journal::Journal;
use pki_core::lifecycle::Impact;
use pki_core::time::Time;

use crate::config::{NAMED, OutputFormat, Settings};
use crate::error::CommandError;

pub(crate) use dps_operations::gather::{DpsSnapshot, chain_of};

/// What an operation sees of an instance and of this home; devices are named as far as the output shows
/// them.
pub(crate) fn around<'a>(
    settings: &Settings,
    planes: &'a Planes<'_>,
    journal: &'a dyn Journal,
) -> Surroundings<'a> {
    Surroundings {
        instance: planes.instance(),
        journal,
        named: names(settings),
    }
}

/// What a change does to the valid leaves of the inventory; the devices are named as far as the output
/// shows them.
pub(crate) fn impact(
    settings: &Settings,
    now: Time,
    inventory: &dyn Inventory,
    before: &DpsView,
    after: &DpsView,
) -> Result<Impact, CommandError> {
    impact_at(settings, inventory, before, after, now)
}

/// The same at a moment: of the leaves that are valid then.
pub(crate) fn impact_at(
    settings: &Settings,
    inventory: &dyn Inventory,
    before: &DpsView,
    after: &DpsView,
    at: Time,
) -> Result<Impact, CommandError> {
    Ok(Impact::over_inventory(
        before,
        after,
        inventory,
        at,
        names(settings),
    )?)
}

/// How many devices of an impact are named: as many as the output shows.
pub(crate) fn names(settings: &Settings) -> Option<usize> {
    match settings.output {
        OutputFormat::Text => Some(NAMED),
        OutputFormat::Json => None,
    }
}
