//! `renew`: new leaves with the same CN, while the old ones are still valid or after.
//!
//! A device that made its own key gets a leaf for the same key, from the request that it once sent;
//! others get a new key. Nothing changes at DPS for a device in a group. Devices that are named one by one
//! are served as `issue` serves them; a list is a batch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{Device, DeviceKey, Place};
use pki_core::bulk::renewal::{Renewal, RenewalError, last_leaf};
use pki_core::csr::{IdFrom, SigningRequest, Stated};
use pki_core::declaration::Declaration;
use pki_core::ids::{AuthorityName, LeafName, ProfileName, RegistrationId};
use pki_core::inventory::{CertificateState, Inventory as _, InventoryEntry, NamedLabel};
use pki_core::sqlite::SqliteInventory;

use super::issue::{Target, profile_named};
use super::issue_batch::{BatchArgs, Listed, Purpose, Renewals};
use super::issue_each::{Leaves, Order, Replaced, Wish, check_orders, rehearse, serve};
use crate::batch_input::Source;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::home::Home;
use crate::inputs::Inputs;
use crate::named::is_file;
use crate::request_input::{Judge, policy};

#[derive(clap::Args)]
#[command(after_help = "\
Devices that are named one by one are renewed one by one, into a folder. A list, a counter, or an
option that says how a batch is written makes a batch of them, as it does for dps-pki issue: of one
authority, checked as a whole first, and gone on with by the same command. Columns of the list say
what is to be otherwise than in the last leaf.

Examples:
  dps-pki renew sensor-1 --out renewed
  dps-pki renew sensor-1 sensor-2 --authority factory --out renewed
  dps-pki renew --prefix sensor- --count 2 --out renewed.ndjson --plain-keys")]
pub(crate) struct Args {
    /// Registration IDs, or one list of devices: a file, or - for standard input
    #[arg(required_unless_present_any = ["devices", "prefix"], value_name = "ID")]
    ids: Vec<String>,

    /// A new request of the one device, which may bring a new key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["devices", "prefix"])]
    csr: Option<PathBuf>,

    /// Make new keys here, also for devices that made their own
    #[arg(long, conflicts_with = "csr")]
    new_key: bool,

    /// Which authority signs [default: for each device the one that signed its last leaf; for a batch
    /// the one of its first device]
    #[arg(long)]
    authority: Option<AuthorityName>,

    /// Which profile of pki.toml the leaves have
    #[arg(long, default_value = Declaration::DEFAULT_PROFILE)]
    profile: ProfileName,

    /// The folder to write them to, made if it does not exist; the file or folder of a batch, or - for
    /// standard output
    #[arg(long, value_name = "PATH", default_value = ".")]
    out: PathBuf,

    /// A label that the inventory keeps with each leaf beside those of the last one, as order=4711;
    /// several by several of these
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<NamedLabel>,

    #[command(flatten)]
    batch: BatchArgs,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        match self.listed(context, &inventory)? {
            Some(devices) => self.renew_batch(context, inventory, devices),
            None => self.renew_each(context, inventory),
        }
    }

    /// The devices of a batch, if one is asked for.
    fn listed(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<Option<Listed>, CommandError> {
        if self.batch.is_given() {
            return self.batch.listed(context).map(Some);
        }
        let mut lists = Vec::new();
        for word in &self.ids {
            if is_file(&context.files, inventory, word)? {
                lists.push(word);
            }
        }
        match lists[..] {
            [] if self.batch.says_how_it_is_written() => {
                Ok(Some(Listed::of(Source::named(&self.ids)?)))
            }
            [] => Ok(None),
            [list] if self.ids.len() == 1 && self.csr.is_none() => {
                self.batch.list(context, Path::new(list)).map(Some)
            }
            [list, ..] => Err(CommandError::new(
                ErrorKind::Usage,
                format!("the list {list} is a batch by itself; nothing else can be named with it"),
            )),
        }
    }

    fn renew_batch(
        &self,
        context: &Context,
        inventory: SqliteInventory,
        devices: Listed,
    ) -> CommandResult {
        if self.csr.is_some() {
            let message = "--csr is the request of one device; a list has a column csr";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        let authority = match &self.authority {
            Some(named) => named.clone(),
            None => authority_of_first(&inventory, &devices.source)?,
        };
        drop(inventory);
        let target = Target {
            authority,
            profile: self.profile.clone(),
            out: self.out.clone(),
            labels: self.labels.clone(),
        };
        self.batch.check_usage(context, &target)?;
        let declaration = context.home.declaration()?;
        let renewals = Renewals {
            judge: Judge::new(context, declaration, &self.profile, IdFrom::CommonName),
            new_keys: self.new_key,
            moves: self.authority.is_some(),
        };
        let purpose = Purpose::Renew(renewals);
        self.batch.issue(context, &target, devices, &purpose)
    }

    fn renew_each(&self, context: &Context, mut inventory: SqliteInventory) -> CommandResult {
        let profile = profile_named(context, &self.profile)?;
        let ids: Result<Vec<RegistrationId>, _> = self.ids.iter().map(|id| id.parse()).collect();
        let ids = ids?;
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

    fn order(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        id: RegistrationId,
    ) -> Result<(AuthorityName, Order), CommandError> {
        let last = last_leaf(inventory.certificates_of(&id)?).ok_or_else(|| {
            CommandError::not_found(format!("the inventory has no leaf of {id}"))
                .hint("a first leaf comes from: dps-pki issue, or dps-pki sign")
        })?;
        let certificate = last.recorded.certificate();
        let replaced = Replaced {
            serial_number: certificate.serial_number().clone(),
            not_after: certificate.validity().not_after(),
        };
        context.ui.note(standing(context, &id, &last, &replaced));
        let device = self.next(
            &context.home,
            &context.inputs,
            inventory,
            LeafName::try_from(id)?,
            &last,
        )?;
        let authority = self.authority_of(&last, &device.id)?;
        let order = Order {
            device,
            dropped: Vec::new(),
            renews: Some(replaced),
        };
        Ok((authority, order))
    }

    /// The device as its next leaf is to be.
    fn next(
        &self,
        home: &Home,
        inputs: &Inputs,
        inventory: &SqliteInventory,
        id: LeafName,
        last: &InventoryEntry,
    ) -> Result<Device, CommandError> {
        let policy = policy(home, &self.profile)?;
        let mut device = Device::new(Place::Line(1), id.clone());
        device.label(&self.labels);
        if let Some(path) = &self.csr {
            let request = SigningRequest::read(&inputs.read(path)?)
                .map_err(|error| CommandError::in_file(path, &error))?;
            let stated = Stated {
                id: Some(&id),
                file_name: None,
            };
            let admitted = policy.admit(&request, stated);
            admitted.map_err(|error| CommandError::in_file(path, &error))?;
            device.key = DeviceKey::Proven(request.into_proven_key());
        }
        let renewal = Renewal {
            policy: &policy,
            new_keys: self.new_key,
        };
        let kept = if device.key == DeviceKey::New && !self.new_key {
            inventory.request(last.recorded.row())?
        } else {
            None
        };
        let followed = renewal.follow(device, last, kept.as_deref());
        followed.map_err(|error| cannot_be_renewed(&id, &error))
    }

    fn authority_of(
        &self,
        last: &InventoryEntry,
        id: &RegistrationId,
    ) -> Result<AuthorityName, CommandError> {
        let signed_by = last.recorded.signed_by().map(|signed_by| &signed_by.name);
        self.authority
            .as_ref()
            .or(signed_by)
            .cloned()
            .ok_or_else(|| {
                let message = format!("the last leaf of {id} was signed outside of this home");
                CommandError::new(ErrorKind::Usage, message)
                    .hint("name an authority with --authority")
            })
    }
}

/// The authority that signed the last leaf of the first device that has one from here.
fn authority_of_first(
    inventory: &SqliteInventory,
    source: &Source,
) -> Result<AuthorityName, CommandError> {
    for device in source.devices()?.filter_map(Result::ok) {
        let last = last_leaf(inventory.certificates_of(&device.id)?);
        if let Some(signed_by) = last.as_ref().and_then(|last| last.recorded.signed_by()) {
            return Ok(signed_by.name.clone());
        }
    }
    let message =
        format!("{source}: the inventory has no leaf of its devices that was signed here");
    Err(CommandError::not_found(message)
        .hint("a first leaf comes from: dps-pki issue, or dps-pki sign")
        .hint(
            "leaves that were signed elsewhere are renewed by the authority that --authority names",
        ))
}

/// What became of the leaf that is renewed.
fn standing(
    context: &Context,
    id: &RegistrationId,
    last: &InventoryEntry,
    replaced: &Replaced,
) -> String {
    let id = last.recorded.registration_id().unwrap_or(id);
    let serial = &replaced.serial_number;
    let end = replaced.not_after;
    match &last.state {
        CertificateState::Revoked { at, reason } => {
            format!("{id}: its leaf {serial} was revoked on {at} ({reason})")
        }
        _ if end < context.now() => format!("{id}: its leaf {serial} expired on {end}"),
        _ => format!("{id}: its leaf {serial} stays valid until {end}"),
    }
}

fn cannot_be_renewed(id: &RegistrationId, error: &RenewalError) -> CommandError {
    let refused = CommandError::refused(format!("{id}: {error}"));
    match error {
        RenewalError::Revoked(_) => {
            refused.hint("give a request for a new key with --csr, or make one here with --new-key")
        }
        _ => refused,
    }
}
