//! `issue`: keys and leaves for devices; and the counter at which `sign` and `renew` serve one after
//! the other too.

use std::fmt;
use std::path::PathBuf;

use pki_core::authority::LeafSpec;
use pki_core::certificate::Certificate;
use pki_core::csr::ProvenKey;
use pki_core::declaration::{Declaration, LeafProfile};
use pki_core::delivery::{self, DeliveryError};
use pki_core::ids::{AuthorityName, ProfileName, RegistrationId, SerialNumber};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{Inventory as _, NewCertificate, Recorded};
use pki_core::issue::Issued;
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::key::{KeyGenerator as _, PrivateKey};
use serde::Serialize;

use super::issue_batch::BatchArgs;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::issuance::{Folder, OpenAuthority};
use crate::render::table::Table;

/// Issue key, leaf and full chain for devices, a few or a whole line
#[derive(clap::Args)]
#[command(after_help = "\
A batch is checked as a whole before the first key is made. Cut anywhere, the same command goes on
where it stopped and repeats nothing.

Examples:
  dps-pki issue sensor-1 sensor-2 --authority factory --out devices
  dps-pki issue --prefix line-7- --count 50 --authority factory --out line-7.ndjson --plain-keys")]
pub(crate) struct IssueArgs {
    /// Registration IDs
    #[arg(required_unless_present_any = ["devices", "prefix"], value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    batch: BatchArgs,

    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args)]
pub(super) struct Target {
    /// Which authority signs
    #[arg(long)]
    pub(super) authority: AuthorityName,

    /// Which profile of pki.toml the leaves have
    #[arg(long, default_value = Declaration::DEFAULT_PROFILE)]
    pub(super) profile: ProfileName,

    /// The folder that they go to, made if it does not exist; the file or folder of a batch
    #[arg(long, value_name = "PATH", default_value = ".")]
    pub(super) out: PathBuf,
}

/// One leaf to issue: for a key that is to be made, or for a request.
pub(super) struct Order {
    pub(super) id: RegistrationId,
    /// The device's own key; `None` for one that is to be made.
    pub(super) key: Option<ProvenKey>,
    /// The extensions that its request asks for and does not get.
    pub(super) dropped: Vec<String>,
}

impl Order {
    /// An order of a key and a leaf.
    pub(super) fn new(id: RegistrationId) -> Self {
        Self {
            id,
            key: None,
            dropped: Vec::new(),
        }
    }
}

impl IssueArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        if self.batch.is_given() {
            return self.batch.run(context, &self.target);
        }
        let ids: Result<Vec<RegistrationId>, _> = self.ids.iter().map(|id| id.parse()).collect();
        let orders = ids?.into_iter().map(Order::new).collect();
        self.target.run(context, orders, true)
    }
}

impl Target {
    pub(super) fn run(
        &self,
        context: &Context,
        orders: Vec<Order>,
        with_keys: bool,
    ) -> CommandResult {
        check_orders(&orders)?;
        let profile = self.profile(context)?;
        let mut inventory = context.inventory()?;
        let authority = OpenAuthority::open(context, &inventory, &self.authority)?;
        let folder = Folder::new(context, &self.out, authority.chain(), with_keys);
        if context.settings.dry_run {
            let ids = orders.iter().map(|order| order.id.clone()).collect();
            context.ui.result(&Wish { would_issue: ids })?;
            return Ok(Outcome::Done);
        }
        folder.create()?;
        let mut counter = Counter {
            context,
            inventory: &mut inventory,
            authority,
            folder,
            profile,
        };
        let mut leaves = Vec::new();
        for order in &orders {
            leaves.push(Leaf {
                dropped_extensions: order.dropped.clone(),
                ..counter.serve(order)?
            });
        }
        context.ui.result(&Leaves(leaves))?;
        Ok(Outcome::Done)
    }

    pub(super) fn profile<'a>(
        &self,
        context: &'a Context,
    ) -> Result<&'a LeafProfile, CommandError> {
        let profiles = &context.declaration()?.profiles;
        profiles.get(&self.profile).ok_or_else(|| {
            let known: Vec<&str> = profiles.keys().map(ProfileName::as_str).collect();
            CommandError::not_found(format!("pki.toml declares no profile {}", self.profile))
                .hint(format!("declared are: {}", known.join(", ")))
        })
    }
}

/// Everything that can be wrong is found before the first key is made.
fn check_orders(orders: &[Order]) -> Result<(), CommandError> {
    for (index, order) in orders.iter().enumerate() {
        let id = &order.id;
        let length = id.as_str().len();
        if length > RegistrationId::LONGEST_COMMON_NAME {
            return Err(CommandError::invalid_input(format!(
                "registration ID {id} has {length} characters; in a certificate it is the CN, which holds at most 64"
            )));
        }
        if orders[..index].iter().any(|earlier| earlier.id == *id) {
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
}

impl Counter<'_> {
    fn serve(&mut self, order: &Order) -> Result<Leaf, CommandError> {
        let (id, now) = (&order.id, self.context.now());
        if let Some(live) = self.inventory.live_leaves(id, now)?.first() {
            self.context.ui.warning(format!(
                "{id} has a valid leaf already, serial number {}, until {}; nothing was issued",
                live.recorded.certificate().serial_number(),
                live.recorded.certificate().validity().not_after()
            ));
            return Ok(Leaf::new(&live.recorded, "alreadyIssued", vec![]));
        }
        let resumed = delivery::resume(self.inventory, id, &self.folder, now)?;
        if let Some(finished) = resumed.finished.first() {
            return Ok(Leaf::new(finished, "issued", self.folder.paths(id)));
        }
        self.folder.replacing(!resumed.voided.is_empty());
        self.folder.check_free(id)?;
        let (issued, key) = self.issue(order)?;
        let new = NewCertificate {
            request: order.key.as_ref().map(|key| key.request().to_vec()),
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

    fn issue(&self, order: &Order) -> Result<(Issued, Option<PrivateKey>), CommandError> {
        let serial = SerialNumber::random(self.context.entropy.as_ref())?;
        let now = self.context.now();
        let spec = LeafSpec {
            validity: self.profile.validity,
            content: self.profile.content(),
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

#[derive(Serialize)]
#[serde(transparent)]
struct Leaves(Vec<Leaf>);

/// What was issued, or was there already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Leaf {
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
            let files = if files.is_empty() {
                "(issued before)".to_owned()
            } else {
                files.join(" ")
            };
            table.row([
                id,
                leaf.serial_number.clone(),
                leaf.not_after.clone(),
                files,
            ]);
        }
        write!(f, "{table}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    would_issue: Vec<RegistrationId>,
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
