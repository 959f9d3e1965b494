//! Leaves for devices one after the other, as `issue`, `sign` and `renew` give them out.
//!
//! Each is recorded, written and marked before the next is begun; a run that was cut is gone on with by
//! the same command.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::alternative_name::AlternativeName;
use pki_core::authority::LeafSpec;
use pki_core::bulk::input::{self, Device, DeviceKey, Place};
use pki_core::bulk::{LeafPlan, Rehearsal};
use pki_core::certificate::Certificate;
use pki_core::csr::ProvenKey;
use pki_core::declaration::LeafProfile;
use pki_core::delivery::{self, DeliveryError, Outlet as _, Resumed};
use pki_core::ids::{AuthorityName, LeafName, RegistrationId, SerialNumber};
use pki_core::inventory::{
    Inventory as _, InventoryEntry, InventoryError, Labels, NewCertificate, Recorded, RowKey,
    Status, Uniqueness,
};
use pki_core::issue::{IssueError, Issued};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::key::{KeyGenerator as _, PrivateKey};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::CommandError;
use crate::issuance::{Folder, OpenAuthority};
use crate::locks::{Asked, Claim, Claimed};
use crate::render::table::Table;

/// One leaf to issue: for a key that is to be made, or for a request.
pub(super) struct Order {
    pub(super) id: LeafName,
    /// Where its request stands.
    pub(super) place: Option<Place>,
    /// The device's own key; `None` for one that is to be made.
    pub(super) key: Option<ProvenKey>,
    /// The extensions that its request asks for and does not get.
    pub(super) dropped: Vec<String>,
    /// The names under which others reach the device.
    pub(super) alternative_names: Vec<AlternativeName>,
    /// What people noted of the device.
    pub(super) labels: Labels,
    /// The leaf that it is to follow, which may still be valid.
    pub(super) renews: Option<Replaced>,
}

/// The leaf that a renewal replaces.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Replaced {
    #[serde(skip)]
    pub(super) row: RowKey,
    pub(super) serial_number: SerialNumber,
    pub(super) not_after: Time,
}

impl Order {
    /// An order of a key and a leaf.
    pub(super) fn new(id: LeafName) -> Self {
        Self {
            id,
            place: None,
            key: None,
            dropped: Vec::new(),
            alternative_names: Vec::new(),
            labels: Labels::default(),
            renews: None,
        }
    }

    /// The device that it is for, as a batch has it.
    fn device(&self) -> Device {
        let key = self.key.clone();
        Device {
            alternative_names: self.alternative_names.clone(),
            key: key.map_or(DeviceKey::New, DeviceKey::Proven),
            ..Device::new(Place::Line(1), self.id.clone())
        }
    }
}

/// Everything that can be wrong is found before the first key is made.
pub(super) fn check_orders(orders: &[Order]) -> Result<(), CommandError> {
    let mut seen = HashSet::new();
    for order in orders {
        let id = &order.id;
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
    profile: &'a LeafProfile,
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
    let _claim = claim(context, orders)?;
    counter.judge(orders)?;
    let leaf = |order: &Order| {
        Ok(Leaf {
            dropped_extensions: order.dropped.clone(),
            replaces: order.renews.clone(),
            ..counter.serve(order)?
        })
    };
    orders.iter().map(leaf).collect()
}

/// Claims the devices of all orders: what is recorded of one of them and not delivered is nobody's who is
/// still at it.
fn claim(context: &Context, orders: &[Order]) -> Result<Claim, CommandError> {
    let digests = orders
        .iter()
        .map(|order| input::digest(&order.id))
        .collect();
    let claimed = match Claim::ask(context, digests)? {
        Asked::Granted(claim) => return Ok(claim),
        Asked::Refused(claimed) => claimed,
    };
    let mut ids = orders.iter().map(|order| &order.id);
    let first = ids.find(|id| input::digest(id) == claimed.digest);
    Err(refused(first.map(|id| &**id), &claimed))
}

/// Another run is issuing to some devices, of which one is named.
pub(super) fn refused(first: Option<&RegistrationId>, claimed: &Claimed) -> CommandError {
    let first = first.map_or_else(|| "a device".to_owned(), ToString::to_string);
    let devices = match claimed.more {
        0 => first,
        more => format!(
            "{first} and {}",
            counted(more, "more device", "more devices")
        ),
    };
    let message = format!(
        "{} is issuing to {devices} right now; nothing was issued",
        claimed.holder
    );
    CommandError::refused(message).hint("wait for it to end, and see: dps-pki inventory show ID")
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
    let served = counter.judge(orders)?;
    if context.settings.dry_run {
        served.iter().for_each(|served| served.tell(context));
    }
    let is_served = |id: &RegistrationId| served.iter().any(|served| *served.id == *id);
    let ids = orders.iter().map(|order| &*order.id);
    Ok(ids.filter(|id| !is_served(id)).cloned().collect())
}

/// A leaf that an order would give a second time.
struct Served {
    id: LeafName,
    leaf: Recorded,
    told: String,
}

impl Served {
    fn tell(&self, context: &Context) {
        let told = &self.told;
        context.ui.warning(format!("{told}; nothing was issued"));
    }
}

impl<'a> Counter<'a> {
    fn open(
        context: &'a Context,
        inventory: &'a mut SqliteInventory,
        authority: &AuthorityName,
        profile: &'a LeafProfile,
        out: &Path,
    ) -> Result<Self, CommandError> {
        let authority = OpenAuthority::open_or_stand_in(context, inventory, authority)?;
        authority.warn_of_chain(context, inventory)?;
        Ok(Self {
            context,
            inventory,
            folder: Folder::new(context, out, authority.chain()),
            authority,
            profile,
            begin: context.now(),
        })
    }

    /// Whatever an order can be refused for is found before the first key is made; and who needs none.
    fn judge(&mut self, orders: &[Order]) -> Result<Vec<Served>, CommandError> {
        self.authority.signing()?;
        let validity = self
            .authority
            .validity(self.begin, self.profile.validity)
            .map_err(IssueError::from)?;
        let plan = LeafPlan {
            key: self.profile.key,
            validity,
            content: self.profile.content(),
        };
        let issuer = self.authority.issuer();
        let mut rehearsal = Rehearsal::new(issuer, self.begin, &SoftwareKeyGenerator)?;
        let mut served = Vec::new();
        let mut unserved = Vec::new();
        for order in orders {
            match self.served_before(order)? {
                Some(before) => served.push(before),
                None => unserved.push(order),
            }
        }
        self.refuse_known_keys(&unserved)?;
        for order in unserved {
            rehearsal.judge(&order.device(), &plan)?;
            self.make_room(order)?;
        }
        Ok(served)
    }

    /// Whose key is known to others, or another device's, gets no leaf for it.
    fn refuse_known_keys(&self, orders: &[&Order]) -> Result<(), CommandError> {
        let brought = orders.iter().filter_map(|order| {
            let key = order.key.as_ref()?;
            Some((&*order.id, key.identity()))
        });
        let mut keys: Vec<_> = brought.collect();
        keys.sort_unstable_by_key(|(_, key)| *key);
        if let Some(pair) = keys.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            let id = pair[0].0.clone();
            let other = pair[1].0.clone();
            return Err(InventoryError::KeyTwice { id, other }.into());
        }
        let holders = self.inventory.key_holders(&keys, self.context.now())?;
        let Some(holder) = holders.first() else {
            return Ok(());
        };
        let order = orders.iter().find(|order| *order.id == holder.id);
        Err(CommandError::key_taken(
            holder,
            order.and_then(|order| order.place.as_ref()),
        ))
    }

    fn serve(&mut self, order: &Order) -> Result<Leaf, CommandError> {
        let (id, now) = (&order.id, self.context.now());
        self.folder.serving(order.key.is_none());
        if let Some(served) = self.served_before(order)? {
            served.tell(self.context);
            let files = self.folder.paths(&served.id);
            return Ok(Leaf::new(&served.leaf, "alreadyIssued", files));
        }
        let resumed = if self.is_known(id)? {
            delivery::resume(self.inventory, id, &self.folder, now)?
        } else {
            Resumed::default()
        };
        if let Some(finished) = resumed.finished.first() {
            return Ok(Leaf::new(finished, "issued", self.folder.paths(id)));
        }
        self.make_room(order)?;
        self.folder.create()?;
        let (issued, key) = self.issue(order)?;
        for finding in issued.warnings() {
            self.context.ui.warning(format!("{id}: {finding}"));
        }
        let new = NewCertificate {
            request: order.key.as_ref().map(|key| key.request().to_vec()),
            labels: order.labels.clone(),
            uniqueness: match &order.renews {
                Some(replaced) => Uniqueness::Renews(replaced.row),
                None => Uniqueness::OnlyLeaf,
            },
            ..issued.into()
        };
        let delivered = delivery::deliver(self.inventory, new, key.as_ref(), &mut self.folder, now);
        let recorded = delivered.map_err(|error| match error {
            DeliveryError::Outlet(error) => error,
            DeliveryError::Inventory(error) => error.into(),
            error => CommandError::failed(error.to_string()),
        })?;
        Ok(Leaf::new(&recorded, "issued", self.folder.paths(id)))
    }

    /// Refuses files of others in the way. Those that a run left which was cut short, or several, are
    /// written over.
    fn make_room(&mut self, order: &Order) -> Result<(), CommandError> {
        let id = &order.id;
        self.folder.serving(order.key.is_none());
        let inventory = &*self.inventory;
        self.folder.make_room(id, || {
            let mut dead = inventory.certificates_of(id)?;
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
        let (id, now) = (&order.id, self.context.now());
        if !self.is_known(id)? {
            return Ok(None);
        }
        self.folder.serving(order.key.is_none());
        let live = self.inventory.live_leaves(id, now)?;
        let Some(newest) = live.first().map(|entry| &entry.recorded) else {
            return Ok(None);
        };
        let certificate = newest.certificate();
        let (serial, end) = (
            certificate.serial_number(),
            certificate.validity().not_after(),
        );
        let told = match &order.renews {
            None => {
                let told =
                    format!("{id} has a valid leaf already, serial number {serial}, until {end}");
                if !self.folder.holds(newest) {
                    return Err(self.elsewhere(&told));
                }
                told
            }
            Some(_) if self.is_renewal(newest)? && self.folder.holds(newest) => {
                format!("{id} was renewed to here already, serial number {serial}, until {end}")
            }
            Some(_) => return Ok(None),
        };
        Ok(Some(Served {
            id: id.clone(),
            leaf: newest.clone(),
            told,
        }))
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
        Ok(earlier.any(|entry| entry.recorded.role() == Role::Leaf && was_delivered(entry)))
    }

    fn issue(&self, order: &Order) -> Result<(Issued, Option<PrivateKey>), CommandError> {
        let serial = SerialNumber::random(self.context.entropy.as_ref())?;
        let now = self.begin;
        let spec = LeafSpec {
            validity: self.profile.validity,
            content: self.profile.content(),
            alternative_names: order.alternative_names.clone(),
        };
        let authority = self.authority.signing()?;
        let id = &order.id;
        match &order.key {
            Some(key) => Ok((authority.sign_request(id, key, &spec, &serial, now)?, None)),
            None => {
                let key = SoftwareKeyGenerator.generate(self.profile.key)?;
                let public_key = key.public_key().to_vec();
                let issued = authority.issue_leaf(id, public_key, &spec, &serial, now)?;
                Ok((issued, Some(key)))
            }
        }
    }
}

/// Whether a device got this certificate, whatever became of it since.
pub(super) fn was_delivered(entry: &InventoryEntry) -> bool {
    matches!(entry.state.status(), Status::Delivered | Status::Revoked)
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
