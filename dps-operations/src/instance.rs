//! One declared DPS instance, and what is recorded here: what every operation sees.

use std::num::NonZeroU32;

use dps_client::Limit;
use pki_core::declaration::DpsDeclaration;
use pki_core::ids::{DpsName, HubHostName};
use pki_core::journal::Journal;
use pki_core::ports::Clock;
use pki_core::time::Time;

use crate::dps::{Dps, DpsError};

/// A declared DPS instance with its hubs.
#[derive(Clone, Copy)]
pub struct Instance<'a> {
    /// Which one it is.
    pub name: &'a DpsName,
    /// What is declared of it.
    pub declared: &'a DpsDeclaration,
    /// Leads to it.
    pub dps: &'a dyn Dps,
    /// Tells when it was read.
    pub clock: &'a dyn Clock,
}

/// What an operation sees: one instance, and the inventory with its journal.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The instance.
    pub instance: Instance<'a>,
    /// Certificates, authorities and plans.
    pub journal: &'a dyn Journal,
    /// How many devices a report names at most; all without a limit.
    pub named: Option<usize>,
}

impl Instance<'_> {
    /// The present moment.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// How many calls a minute its service plane gets at most.
    pub fn rate(&self) -> NonZeroU32 {
        self.declared.rate.unwrap_or(Limit::DEFAULT_PER_MINUTE)
    }

    /// The hubs that `pki.toml` names.
    pub fn declared_hubs(&self) -> Vec<HubHostName> {
        let of_groups = self.declared.groups.values().flat_map(|group| &group.hubs);
        let hubs = self.declared.hubs.keys().chain(of_groups);
        hubs.cloned().collect()
    }

    /// Every hub that is known: those that the instance is linked to, and those that `pki.toml` names.
    ///
    /// # Errors
    /// [`DpsError`] if the management plane does not answer.
    pub async fn known_hubs(&self) -> Result<Vec<HubHostName>, DpsError> {
        let mut hubs = self.declared_hubs();
        hubs.extend(self.dps.linked_hubs().await?);
        hubs.sort();
        hubs.dedup();
        Ok(hubs)
    }
}

impl Surroundings<'_> {
    /// The present moment.
    pub fn now(&self) -> Time {
        self.instance.now()
    }
}
