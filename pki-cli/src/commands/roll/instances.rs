//! Every DPS instance of `pki.toml`, all of which a roll concerns, and those that cannot be reached.

use std::collections::BTreeMap;
use std::fmt;

use dps_operations::roll::Instances;
use pki_core::declaration::DpsDeclaration;
use pki_core::ids::{AuthorityName, DpsName};
use pki_core::sqlite::SqliteInventory;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::authority::{generations_of, roll_of};
use crate::config::Settings;
use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::home::Home;
use crate::planes::{self, Planes};
use crate::runtime::Runtime;
use crate::snapshot::DpsSnapshot;

/// Those that can be read, and why the others cannot.
pub(super) struct Reachable<'a> {
    pub(super) planes: Vec<Planes<'a>>,
    pub(super) snapshots: Vec<DpsSnapshot>,
    pub(super) unreached: Vec<Unreached>,
}

/// An instance in which something was not done, and why.
#[derive(Debug)]
pub(super) struct Unreached {
    pub(super) dps: DpsName,
    pub(super) error: CommandError,
}

/// All of them.
pub(super) fn all(context: &Context) -> Result<Vec<Planes<'_>>, CommandError> {
    let declared = declared(&context.home, &context.settings)?.iter();
    declared
        .map(|(name, declared)| planes::of(context, name, declared))
        .collect()
}

/// Looks at all of them.
pub(super) fn gather<'a>(
    runtime: &Runtime,
    planes: &'a [Planes<'_>],
) -> Result<Instances<'a>, CommandError> {
    runtime.wait_for(Instances::gather(planes.iter().map(Planes::instance)))
}

/// Looks at those that can be reached: what is compromised is shut out wherever that can be done.
///
/// # Errors
/// [`CommandError`] of the first one if none can be read.
pub(super) fn reachable(context: &Context) -> Result<Reachable<'_>, CommandError> {
    let mut reached = reach(context, declared(&context.home, &context.settings)?)?;
    if reached.planes.is_empty() && !reached.unreached.is_empty() {
        return Err(reached.unreached.swap_remove(0).error);
    }
    Ok(reached)
}

fn reach<'a>(
    context: &'a Context,
    declared: &'a BTreeMap<DpsName, DpsDeclaration>,
) -> Result<Reachable<'a>, CommandError> {
    let mut reached = Reachable {
        planes: Vec::new(),
        snapshots: Vec::new(),
        unreached: Vec::new(),
    };
    for (name, declared) in declared {
        let read = planes::of(context, name, declared).and_then(|planes| {
            let snapshot = context
                .runtime
                .wait_for(DpsSnapshot::gather(planes.instance()))?;
            Ok((planes, snapshot))
        });
        match read {
            Ok((planes, snapshot)) => {
                reached.planes.push(planes);
                reached.snapshots.push(snapshot);
            }
            Err(error) => reached.unreached.push(Unreached::noted(name, error)?),
        }
    }
    Ok(reached)
}

/// Refuses to make a further generation of an authority while its last breach roll lacks something, as far as the
/// instances can be reached: that comes first.
///
/// # Errors
/// [`CommandError`] with the command that completes it.
pub(in crate::commands) fn check_breach(
    context: &Context,
    inventory: &SqliteInventory,
    name: &AuthorityName,
) -> Result<(), CommandError> {
    let generations = generations_of(&context.home, inventory, name)?;
    if generations.replaced().is_none() {
        return Ok(());
    }
    let Reachable {
        planes,
        snapshots,
        unreached,
    } = reach(context, &context.home.declaration()?.dps)?;
    for one in &unreached {
        context.ui.warning(format!(
            "{one}; whether the breach roll of {name} is done there cannot be told"
        ));
    }
    let instances = Instances::of(planes.iter().map(Planes::instance).zip(snapshots));
    let mut roll = roll_of(context, inventory, &instances, name)?;
    context.runtime.wait_for(roll.check_breach())
}

/// The instances of `pki.toml`.
fn declared<'a>(
    home: &'a Home,
    settings: &Settings,
) -> Result<&'a BTreeMap<DpsName, DpsDeclaration>, CommandError> {
    if settings.dps.is_some() {
        let message =
            "an authority is rolled in every DPS instance of pki.toml, so --dps means nothing here";
        return Err(CommandError::new(ErrorKind::Usage, message));
    }
    // One that is missing altogether gets its own error.
    let declared = &home.declaration()?.dps;
    if declared.is_empty() {
        home.dps()?;
    }
    Ok(declared)
}

impl Unreached {
    /// Takes note of an instance in which something was not done.
    ///
    /// # Errors
    /// The error itself, if it is none of the instance.
    pub(super) fn noted(dps: &DpsName, error: CommandError) -> Result<Self, CommandError> {
        let is_of_all = matches!(
            error.kind,
            ErrorKind::Interrupted | ErrorKind::OutputClosed | ErrorKind::Bug
        );
        if is_of_all {
            return Err(error);
        }
        Ok(Self {
            dps: dps.clone(),
            error,
        })
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DPS {}: {}", self.dps, self.error)
    }
}

impl Serialize for Unreached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Unreached", 2)?;
        line.serialize_field("dps", &self.dps)?;
        line.serialize_field("error", &self.error.to_string())?;
        line.end()
    }
}
