//! Which certificates of the inventory are meant, for `list` and `export` alike.

use std::ops::ControlFlow;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use pki_core::ids::AuthorityName;
use pki_core::inventory::{
    AuthorityRecord, Filter, IdPattern, Inventory, InventoryEntry, Label, NamedLabel, Standing,
    Status, has_successor,
};
use pki_core::time::{Span, Time};

use crate::commands::batch;
use crate::error::CommandError;
use crate::home::Home;
use crate::unknown::with_nearest;

/// Conditions, all of which must be met.
#[derive(clap::Args)]
pub(super) struct Conditions {
    /// Signed by this authority, any generation of it
    #[arg(long, value_name = "NAME")]
    authority: Option<AuthorityName>,

    /// In this state
    #[arg(long, value_parser = status_word())]
    status: Option<Standing>,

    /// Due for renewal: ends within this time from now, or has ended, and nothing has taken its place
    #[arg(long, value_name = "DURATION")]
    expiring_within: Option<Span>,

    /// Whose registration ID fits, where * stands for any characters and ? for one
    #[arg(long, value_name = "GLOB")]
    id: Option<IdPattern>,

    /// Issued in this batch
    #[arg(long, value_name = "NAME")]
    batch: Option<Label>,

    /// With this label
    #[arg(long, value_name = "NAME=VALUE")]
    label: Option<NamedLabel>,
}

fn status_word() -> impl TypedValueParser<Value = Standing> {
    let words = Standing::ALL.iter().map(|standing| standing.as_str());
    PossibleValuesParser::new(words)
        .try_map(|word| Standing::from_word(&word).ok_or("there is no such state"))
}

impl Conditions {
    /// Gives the certificates page by page, until there are no more or `take` breaks off.
    pub(super) fn pages(
        &self,
        home: &Home,
        now: Time,
        inventory: &dyn Inventory,
        mut take: impl FnMut(Vec<InventoryEntry>) -> Result<ControlFlow<()>, CommandError>,
    ) -> Result<(), CommandError> {
        const PAGE: usize = 500;
        self.check_names(home, inventory)?;
        let filter = self.filter(now)?;
        let authorities = inventory.authorities()?;
        let mut after = None;
        loop {
            let page = inventory.list(&filter, after.as_ref(), PAGE)?;
            let mut entries = page.entries;
            if let Some(standing) = self.status {
                entries.retain(|entry| entry.standing(now) == standing);
            }
            if self.expiring_within.is_some() {
                entries = without_successor(inventory, &authorities, entries)?;
            }
            if take(entries)?.is_break() {
                return Ok(());
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// An authority that was made, or is at least declared, a batch that was begun; else it is a
    /// typing error.
    fn check_names(&self, home: &Home, inventory: &dyn Inventory) -> Result<(), CommandError> {
        if let Some(name) = &self.authority {
            let declaration = home.declaration()?;
            if declaration.authority(name).is_none() && inventory.authority(name)?.is_none() {
                let error = CommandError::not_found(format!("there is no authority {name}"));
                let known = declaration.authorities.iter().map(|one| one.name.as_str());
                let error = with_nearest(error, name.as_str(), &known.collect::<Vec<_>>());
                return Err(error.hint("see them with: dps-pki authority list"));
            }
        }
        match &self.batch {
            Some(name) if inventory.batch(name)?.is_none() => Err(batch::not_found(name)),
            _ => Ok(()),
        }
    }

    fn filter(&self, now: Time) -> Result<Filter, CommandError> {
        let is_due = self.expiring_within.map(|_| Status::Delivered);
        let ends_before = match (self.expiring_within, self.status) {
            (Some(span), _) => Some(now.checked_add(span)?),
            (None, Some(Standing::Expired)) => Some(now),
            (None, _) => None,
        };
        Ok(Filter {
            authority: self.authority.clone(),
            status: self.status.map(Standing::status).or(is_due),
            expiring_before: ends_before,
            registration_id: self.id.clone(),
            batch: self.batch.clone(),
            label: self.label.clone(),
            ..Filter::default()
        })
    }
}

/// Those that somebody has to renew.
fn without_successor(
    inventory: &dyn Inventory,
    authorities: &[AuthorityRecord],
    entries: Vec<InventoryEntry>,
) -> Result<Vec<InventoryEntry>, CommandError> {
    let mut due = Vec::with_capacity(entries.len());
    for entry in entries {
        if !has_successor(inventory, authorities, &entry)? {
            due.push(entry);
        }
    }
    Ok(due)
}
