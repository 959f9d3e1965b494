//! Leaves for devices one after the other, as `issue`, `sign` and `renew` give them out.
//!
//! Each is recorded and written before the next is begun, by [`run_each`]; a run that was cut is gone on
//! with by the same command.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::bulk::input::{Device, Place, brought_keys, digest};
use pki_core::bulk::{BulkError, Issuance, LeafTerms, Rehearsal, WorkError, run_each};
use pki_core::certificate::Certificate;
use pki_core::declaration::LeafProfile;
use pki_core::delivery;
use pki_core::handout::{DeviceFiles, Form, KeyForm, Renderer, Shards};
use pki_core::ids::{AuthorityName, LeafName, RegistrationId, SerialNumber};
use pki_core::inventory::{Inventory as _, InventoryError, Recorded, Status};
use pki_core::issue::{Finding, IssueError};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::issuance::{Folder, OpenAuthority};
use crate::locks::Claim;
use crate::render::table::Table;
use crate::render::ui::Ui;

/// One leaf to issue: for a key that is to be made, or for a request.
pub(super) struct Order {
    pub(super) device: Device,
    /// The extensions that its request asks for and does not get.
    pub(super) dropped: Vec<String>,
    /// The leaf that it is to follow, which may still be valid.
    pub(super) renews: Option<Replaced>,
}

/// The leaf that a renewal replaces.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replaced {
    pub(super) serial_number: SerialNumber,
    pub(super) not_after: Time,
}

impl Order {
    /// An order of a key and a leaf.
    pub(super) fn new(id: LeafName) -> Self {
        Self {
            device: Device::new(Place::Line(1), id),
            dropped: Vec::new(),
            renews: None,
        }
    }
}

/// Everything that can be wrong is found before the first key is made.
pub(super) fn check_orders(orders: &[Order]) -> Result<(), CommandError> {
    let mut seen = HashSet::new();
    for order in orders {
        let id = &order.device.id;
        if !seen.insert(id) {
            return Err(CommandError::invalid_input(format!(
                "registration ID {id} is given twice"
            )));
        }
    }
    Ok(())
}

/// Where devices get their leaves, one after the other.
struct Counter<'a> {
    context: &'a Context,
    inventory: &'a mut SqliteInventory,
    authority: OpenAuthority,
    folder: Folder<'a>,
    terms: LeafTerms,
    /// When all leaves begin: what was judged at this moment is still right for the last one.
    begin: Time,
}

/// Serves orders, each in its turn: what is served stays served if a later one fails. All are judged
/// before the first.
pub(super) fn serve(
    context: &Context,
    inventory: &mut SqliteInventory,
    authority: &AuthorityName,
    profile: &LeafProfile,
    out: &Path,
    orders: &[Order],
) -> Result<Vec<Leaf>, CommandError> {
    let mut counter = Counter::open(context, inventory, authority, profile, out)?;
    let digests = orders.iter().map(|order| digest(&order.device.id));
    let mut ids = orders.iter().map(|order| &*order.device.id);
    let _claim = Claim::take(context, digests.collect(), |claimed| {
        ids.find(|id| digest(id) == claimed).cloned()
    })?;
    let judged = counter.judge(orders)?;
    counter.serve(orders, judged)
}

/// Judges orders as [`serve`] does, and tells who would get a leaf. Nothing is written.
pub(super) fn rehearse(
    context: &Context,
    inventory: &mut SqliteInventory,
    authority: &AuthorityName,
    profile: &LeafProfile,
    out: &Path,
    orders: &[Order],
) -> Result<Vec<RegistrationId>, CommandError> {
    let mut counter = Counter::open(context, inventory, authority, profile, out)?;
    let judged = counter.judge(orders)?;
    let mut unserved = Vec::new();
    for (order, judged) in orders.iter().zip(judged) {
        match judged {
            Judged::Unserved(_) => unserved.push((*order.device.id).clone()),
            Judged::Served(served) if context.settings.dry_run => served.tell(&context.ui),
            Judged::Served(_) => {}
        }
    }
    Ok(unserved)
}

/// What was found of an order.
enum Judged {
    /// Its leaf can be issued; what is worth saying of it without refusing.
    Unserved(Vec<Finding>),
    /// It would give a leaf a second time.
    Served(Served),
}

/// A leaf that an order would give a second time.
struct Served {
    leaf: Recorded,
    told: String,
}

impl Served {
    fn tell(&self, ui: &Ui) {
        let told = &self.told;
        ui.warning(format!("{told}; nothing was issued"));
    }
}

impl<'a> Counter<'a> {
    fn open(
        context: &'a Context,
        inventory: &'a mut SqliteInventory,
        authority: &AuthorityName,
        profile: &LeafProfile,
        out: &Path,
    ) -> Result<Self, CommandError> {
        let authority = OpenAuthority::open_or_stand_in(context, inventory, authority)?;
        authority.warn_of_chain(&context.home, &context.ui)?;
        // Its certificate and key fit, and it may sign.
        authority.signing()?;
        let begin = context.now();
        let validity = authority.validity(begin, profile.validity);
        Ok(Self {
            context,
            inventory,
            folder: Folder::new(context, out),
            terms: LeafTerms {
                key: profile.key,
                validity: validity.map_err(IssueError::from)?,
                content: profile.content(),
            },
            authority,
            begin,
        })
    }

    /// Whatever an order can be refused for is found before the first key is made; and who needs none.
    fn judge(&mut self, orders: &[Order]) -> Result<Vec<Judged>, CommandError> {
        let mut served = Vec::with_capacity(orders.len());
        for order in orders {
            served.push(self.served_before(order)?);
        }
        let unserved: Vec<&Order> = orders
            .iter()
            .zip(&served)
            .filter(|(_, served)| served.is_none())
            .map(|(order, _)| order)
            .collect();
        self.refuse_known_keys(&unserved)?;
        let issuer = self.authority.issuer();
        let mut rehearsal = Rehearsal::new(issuer, self.begin, &SoftwareKeyGenerator)?;
        let mut judged = Vec::with_capacity(orders.len());
        for (order, served) in orders.iter().zip(served) {
            judged.push(match served {
                Some(served) => Judged::Served(served),
                None => {
                    let findings = rehearsal.judge(&order.device, &self.terms)?;
                    self.make_room(&order.device)?;
                    Judged::Unserved(findings)
                }
            });
        }
        Ok(judged)
    }

    /// Whose key is known to others, or another device's, gets no leaf for it.
    fn refuse_known_keys(&self, orders: &[&Order]) -> Result<(), CommandError> {
        let keys = brought_keys(orders.iter().map(|order| &order.device));
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            let id = pair[0].0.clone();
            let other = pair[1].0.clone();
            return Err(InventoryError::KeyTwice { id, other }.into());
        }
        let holders = self.inventory.key_holders(&keys, self.context.now())?;
        let Some(holder) = holders.first() else {
            return Ok(());
        };
        let order = orders.iter().find(|order| *order.device.id == holder.id);
        // A renewal is of the request that the inventory keeps, which stands in no file.
        let in_file = order.filter(|order| order.renews.is_none());
        Err(CommandError::key_taken(
            holder,
            in_file.map(|order| &order.device.place),
        ))
    }

    /// Issues to those who have no leaf yet, and tells what became of all orders.
    fn serve(&mut self, orders: &[Order], judged: Vec<Judged>) -> Result<Vec<Leaf>, CommandError> {
        let mut recorded = Vec::with_capacity(orders.len());
        let mut devices = Vec::new();
        for (order, judged) in orders.iter().zip(&judged) {
            let finished = match judged {
                Judged::Served(served) => Some(served.leaf.clone()),
                Judged::Unserved(_) => self.resume(&order.device)?,
            };
            if finished.is_none() {
                devices.push(order.device.clone());
            }
            recorded.push(finished);
        }
        for (order, judged) in orders.iter().zip(&judged) {
            match judged {
                Judged::Served(served) => served.tell(&self.context.ui),
                Judged::Unserved(findings) => {
                    for finding in findings {
                        let warning = format!("{}: {finding}", order.device.id);
                        self.context.ui.warning(warning);
                    }
                }
            }
        }
        let mut issued = self.issue(devices)?.into_iter();
        let mut leaves = Vec::with_capacity(orders.len());
        for ((order, judged), recorded) in orders.iter().zip(judged).zip(recorded) {
            let Some(recorded) = recorded.or_else(|| issued.next()) else {
                return Err(CommandError::failed(
                    "fewer leaves were issued than asked for",
                ));
            };
            let status = match judged {
                Judged::Served(_) => "alreadyIssued",
                Judged::Unserved(_) => "issued",
            };
            leaves.push(Leaf {
                dropped_extensions: order.dropped.clone(),
                replaces: order.renews.clone(),
                ..Leaf::new(&recorded, status, self.folder.paths(&order.device))
            });
        }
        Ok(leaves)
    }

    /// Finishes or voids what a run left that was cut short; returns the leaf that only lacked its mark.
    fn resume(&mut self, device: &Device) -> Result<Option<Recorded>, CommandError> {
        if !self.is_known(&device.id)? {
            return Ok(None);
        }
        let folder = &self.folder;
        let has_arrived = |recorded: &Recorded| folder.holds(device, recorded);
        let now = self.context.now();
        let finished = delivery::resume(self.inventory, &device.id, has_arrived, now)?;
        Ok(finished.into_iter().next())
    }

    fn issue(&mut self, devices: Vec<Device>) -> Result<Vec<Recorded>, CommandError> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        self.folder.create()?;
        let form = Form::Folder(DeviceFiles::Pem(KeyForm::Plain), Shards::of(1));
        let renderer = Renderer::new(form, &self.authority.chain());
        let terms = |_: &Device| Ok(Cow::Borrowed(&self.terms));
        let issuance = Issuance {
            batch: None,
            issuer: self.authority.issuer(),
            signer: self.authority.signer(),
            generator: &SoftwareKeyGenerator,
            entropy: self.context.entropy.as_ref(),
            now: self.begin,
            terms: &terms,
            renderer: &renderer,
        };
        let issued = run_each(&issuance, self.inventory, devices, &mut self.folder);
        issued.map_err(|error| match error {
            BulkError::Inventory(error) => error.into(),
            BulkError::Work(WorkError::Issue { source, .. }) => source.into(),
            BulkError::Work(WorkError::Key(error)) => error.into(),
            BulkError::Work(WorkError::Entropy(error)) => error.into(),
            error => {
                let refusal = self.folder.refusal();
                refusal.unwrap_or_else(|| CommandError::failed(error.to_string()))
            }
        })
    }

    /// Refuses files of others in the way. Those that a run left which was cut short, or several, are
    /// written over.
    fn make_room(&mut self, device: &Device) -> Result<(), CommandError> {
        let inventory = &*self.inventory;
        self.folder.make_room(device, || {
            let mut dead = inventory.certificates_of(&device.id)?;
            dead.retain(|entry| {
                let status = entry.state.status();
                matches!(status, Status::Undelivered | Status::Voided)
            });
            Ok(dead.into_iter().map(|entry| entry.recorded).collect())
        })
    }

    /// Whether anything was ever recorded of a device. Most are new, and one look tells.
    fn is_known(&self, id: &RegistrationId) -> Result<bool, CommandError> {
        Ok(self.inventory.any_id_between(id, id)?)
    }

    /// The leaf that an order would give a second time. A device has one valid leaf, unless the order
    /// is to renew it; then it is what an earlier run of the same command left in the same folder.
    fn served_before(&mut self, order: &Order) -> Result<Option<Served>, CommandError> {
        let device = &order.device;
        let id = &device.id;
        if !self.is_known(id)? {
            return Ok(None);
        }
        let Some(leaf) = delivery::served(self.inventory, id, self.context.now())? else {
            return Ok(None);
        };
        let serial = leaf.certificate().serial_number();
        let end = leaf.certificate().validity().not_after();
        let is_here = self.folder.holds(device, &leaf);
        let told = match &order.renews {
            None => {
                let told =
                    format!("{id} has a valid leaf already, serial number {serial}, until {end}");
                if !is_here {
                    return Err(self.elsewhere(&told));
                }
                told
            }
            Some(_) if is_here && self.is_renewal(&leaf)? => {
                format!("{id} was renewed to here already, serial number {serial}, until {end}")
            }
            Some(_) => return Ok(None),
        };
        Ok(Some(Served { leaf, told }))
    }

    /// The refusal to say that all is done where the files that were asked for are not.
    fn elsewhere(&self, told: &str) -> CommandError {
        let folder = self.folder.place();
        CommandError::refused(format!("{told}, and its files are not in {folder}"))
            .hint("a key that was delivered is nowhere else: look where it was written to")
            .hint("to give the device another leaf: dps-pki renew ID")
    }

    /// Whether there was a leaf of the same device before.
    fn is_renewal(&self, leaf: &Recorded) -> Result<bool, CommandError> {
        let Some(id) = leaf.registration_id() else {
            return Ok(false);
        };
        let all = self.inventory.certificates_of(id)?;
        let mut earlier = all.iter().filter(|entry| entry.recorded.row() < leaf.row());
        Ok(earlier.any(|entry| entry.recorded.role() == Role::Leaf && entry.was_delivered()))
    }
}

/// What was issued to whom.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Leaves(pub(super) Vec<Leaf>);

/// What was issued, or was there already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leaf {
    registration_id: Option<RegistrationId>,
    status: &'static str,
    serial_number: String,
    sha1_thumbprint: String,
    sha256_thumbprint: String,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    files: Vec<PathBuf>,
    /// What its request asked for and did not get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped_extensions: Vec<String>,
    /// The leaf before it, which stays valid until its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<Replaced>,
}

impl Leaf {
    fn new(recorded: &Recorded, status: &'static str, files: Vec<PathBuf>) -> Self {
        let certificate: &Certificate = recorded.certificate();
        Self {
            registration_id: recorded.registration_id().cloned(),
            status,
            serial_number: certificate.serial_number().to_string(),
            sha1_thumbprint: certificate.sha1_thumbprint().to_string(),
            sha256_thumbprint: certificate.sha256_thumbprint().to_string(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            not_before: certificate.validity().not_before().to_string(),
            not_after: certificate.validity().not_after().to_string(),
            files,
            dropped_extensions: Vec::new(),
            replaces: None,
        }
    }
}

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["DEVICE", "SERIAL NUMBER", "VALID UNTIL", "FILES"]);
        for leaf in &self.0 {
            let id = leaf
                .registration_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let files: Vec<String> = leaf
                .files
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            table.row([
                id,
                leaf.serial_number.clone(),
                leaf.not_after.clone(),
                files.join(" "),
            ]);
        }
        write!(f, "{table}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wish {
    pub(super) would_issue: Vec<RegistrationId>,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self
            .would_issue
            .iter()
            .map(RegistrationId::as_str)
            .collect();
        write!(f, "would issue leaves for: {}", ids.join(", "))
    }
}
