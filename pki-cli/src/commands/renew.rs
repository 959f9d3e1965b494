//! `renew`: a new leaf with the same CN, while the old one is still valid or after.
//!
//! A device that made its own key gets a leaf for the same key, from the request that it once sent;
//! others get a new key. Nothing changes at DPS for a device in a group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pki_core::alternative_name::AlternativeName;
use pki_core::bulk::input::{Device, DeviceKey, Place};
use pki_core::csr::{ProvenKey, SigningRequest, Stated};
use pki_core::declaration::Declaration;
use pki_core::ids::{AuthorityName, LeafName, ProfileName, RegistrationId};
use pki_core::inventory::{CertificateState, Inventory, InventoryEntry};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;

use super::issue::profile_named;
use super::issue_each::{
    Leaves, Order, Replaced, Wish, check_orders, rehearse, serve, was_delivered,
};
use crate::batch_input::{ListArgs, Source};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::Files;
use crate::home::Home;
use crate::inputs::Inputs;
use crate::named::is_file;
use crate::request_input::policy;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki renew sensor-1 --out renewed
  dps-pki renew sensor-1 sensor-2 --authority factory --out renewed")]
pub(crate) struct Args {
    /// Registration IDs, files of them one a line, or - for standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    /// A new request of the one device, which may bring a new key
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,

    /// Make new keys here, also for devices that made their own
    #[arg(long, conflicts_with = "csr")]
    new_key: bool,

    /// Which authority signs [default: for each device the one that signed its last leaf]
    #[arg(long)]
    authority: Option<AuthorityName>,

    /// Which profile of pki.toml the leaves have
    #[arg(long, default_value = Declaration::DEFAULT_PROFILE)]
    profile: ProfileName,

    /// The folder to write them to, made if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let profile = profile_named(context, &self.profile)?;
        let mut inventory = context.home.inventory()?;
        let ids = self.ids(&context.inputs, &context.files, &inventory)?;
        if self.csr.is_some() && ids.len() != 1 {
            let message = format!(
                "--csr is the request of one device; {} are given",
                ids.len()
            );
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        // All are looked at before the first is renewed.
        let mut by_authority: BTreeMap<AuthorityName, Vec<Order>> = BTreeMap::new();
        for id in ids {
            let (authority, order) = self.order(context, &inventory, id)?;
            by_authority.entry(authority).or_default().push(order);
        }
        for orders in by_authority.values() {
            check_orders(orders)?;
        }
        let out = &self.out;
        let mut would_issue = Vec::new();
        // What one authority would refuse is found before another has signed.
        if context.settings.dry_run || by_authority.len() > 1 {
            for (authority, orders) in &by_authority {
                let inventory = &mut inventory;
                let judged = rehearse(context, inventory, authority, profile, out, orders)?;
                would_issue.extend(judged);
            }
        }
        if context.settings.dry_run {
            context.ui.result(&Wish { would_issue })?;
            return Ok(Outcome::Done);
        }
        let mut leaves = Vec::new();
        for (authority, orders) in &by_authority {
            let inventory = &mut inventory;
            leaves.extend(serve(context, inventory, authority, profile, out, orders)?);
        }
        context.ui.result(&Leaves(leaves))?;
        Ok(Outcome::Done)
    }

    /// The IDs that are named, those in files among them.
    fn ids(
        &self,
        inputs: &Inputs,
        files: &Files,
        inventory: &dyn Inventory,
    ) -> Result<Vec<RegistrationId>, CommandError> {
        let mut ids = Vec::new();
        for word in &self.ids {
            let path = Path::new(word);
            if !is_file(files, inventory, word)? {
                ids.push(word.parse()?);
                continue;
            }
            let source = Source::list(inputs, files, path, &ListArgs::default())?;
            for device in source.devices()? {
                let bad = |bad| CommandError::invalid_input(format!("{source}: {bad}"));
                let device: Device = device.map_err(bad)?;
                if device != Device::new(device.place.clone(), device.id.clone()) {
                    let message =
                        format!("{source}: a list for renewals has registration IDs only");
                    return Err(CommandError::invalid_input(message));
                }
                ids.push(device.id.into());
            }
        }
        Ok(ids)
    }

    fn order(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        id: RegistrationId,
    ) -> Result<(AuthorityName, Order), CommandError> {
        let mut leaves = inventory.certificates_of(&id)?;
        leaves.retain(|entry| entry.recorded.role() == Role::Leaf && was_delivered(entry));
        let newest = leaves.first().ok_or_else(|| {
            CommandError::not_found(format!("the inventory has no leaf of {id}"))
                .hint("a first leaf comes from: dps-pki issue, or dps-pki sign")
        })?;
        // The same CN, in the case that it was first written in.
        let id = newest.recorded.registration_id().cloned().unwrap_or(id);
        let id = LeafName::try_from(id)?;
        let certificate = newest.recorded.certificate();
        let replaced = Replaced {
            serial_number: certificate.serial_number().clone(),
            not_after: certificate.validity().not_after(),
        };
        let serial = &replaced.serial_number;
        let end = replaced.not_after;
        context.ui.note(match &newest.state {
            CertificateState::Revoked { at, reason } => {
                format!("{id}: its leaf {serial} was revoked on {at} ({reason})")
            }
            _ if end < context.now() => format!("{id}: its leaf {serial} expired on {end}"),
            _ => format!("{id}: its leaf {serial} stays valid until {end}"),
        });
        let key = self.key(&context.home, &context.inputs, inventory, newest, &id)?;
        let authority = self.authority_of(newest, &id)?;
        let labels = newest.recorded.labels().iter();
        let device = Device {
            key: key.map_or(DeviceKey::New, DeviceKey::Proven),
            alternative_names: AlternativeName::of(certificate),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            replaces: Some(newest.recorded.row()),
            ..Device::new(Place::Line(1), id)
        };
        let order = Order {
            device,
            dropped: Vec::new(),
            renews: Some(replaced),
        };
        Ok((authority, order))
    }

    fn authority_of(
        &self,
        newest: &InventoryEntry,
        id: &RegistrationId,
    ) -> Result<AuthorityName, CommandError> {
        let last = newest.recorded.signed_by().map(|signed_by| &signed_by.name);
        self.authority.as_ref().or(last).cloned().ok_or_else(|| {
            let message = format!("the last leaf of {id} was signed outside of this home");
            CommandError::new(ErrorKind::Usage, message).hint("name an authority with --authority")
        })
    }

    /// The device's own key, if it has one.
    fn key(
        &self,
        home: &Home,
        inputs: &Inputs,
        inventory: &SqliteInventory,
        newest: &InventoryEntry,
        id: &RegistrationId,
    ) -> Result<Option<ProvenKey>, CommandError> {
        let policy = policy(home, &self.profile)?;
        if let Some(path) = &self.csr {
            let request = SigningRequest::read(&inputs.read(path)?)
                .map_err(|error| CommandError::in_file(path, &error))?;
            let stated = Stated {
                id: Some(id),
                file_name: None,
            };
            let admitted = policy.admit(&request, stated);
            admitted.map_err(|error| CommandError::in_file(path, &error))?;
            return Ok(Some(request.into_proven_key()));
        }
        let kept = if self.new_key {
            None
        } else {
            inventory.request(newest.recorded.row())?
        };
        let Some(kept) = kept else {
            return Ok(None);
        };
        let read = SigningRequest::from_der(&kept);
        let request = read
            .ok()
            .filter(|request| {
                newest.recorded.certificate().public_key() == request.public_key()
            })
            .ok_or_else(|| {
                CommandError::refused(format!(
                    "the request that is kept of {id} is not the one of its leaf; the inventory was changed"
                ))
            })?;
        if let CertificateState::Revoked { reason, .. } = &newest.state {
            let message = format!(
                "the last leaf of {id} was revoked ({reason}), and the device made its key"
            );
            return Err(CommandError::refused(message)
                .hint("give a request for a new key with --csr, or make one here with --new-key"));
        }
        policy
            .check_key(&request)
            .map_err(|error| CommandError::refused(format!("{id}: {error}")))?;
        Ok(Some(request.into_proven_key()))
    }
}
