//! `explain`: would DPS admit this device, which entry decides, and why.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::admission::{Decision, PresentedChain, explain};
use pki_core::certificate::Certificate;
use pki_core::format::pem;
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::inventory::sqlite::SqliteInventory;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::planes::Planes;
use crate::snapshot::{DpsSnapshot, chain_of};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki explain sensor-1
  dps-pki explain sensor-1.cert.pem --chain sensor-1-full-chain.cert.pem")]
pub(crate) struct Args {
    /// A registration ID of the inventory, or a certificate file
    #[arg(value_name = "ID|CERT")]
    device: String,

    /// What the device sends above its leaf, if that is not what the inventory knows
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = Planes::chosen(context)?;
        let inventory = context.inventory()?;
        let leaf = self.leaf(context, &inventory)?;
        let id = leaf.common_name().and_then(|name| name.parse().ok());
        let ids: Vec<&RegistrationId> = id.iter().collect();
        let snapshot = context.block_on(DpsSnapshot::around(&planes, &ids))?;
        let chain = self.presented(context, &inventory, &leaf, &snapshot)?;
        let decision = explain(&snapshot.view()?, &chain);
        context.ui.result(&Explanation {
            registration_id: leaf.common_name().and_then(|name| name.parse().ok()),
            subject: leaf.subject().to_string(),
            decision,
        })?;
        Ok(Outcome::Done)
    }

    fn leaf(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<Certificate, CommandError> {
        let path = Path::new(&self.device);
        if context.files.exists(path) {
            let read = pem::certificate(&context.read(path)?);
            return read.map_err(|error| CommandError::in_file(path, &error));
        }
        let id: RegistrationId = self.device.parse()?;
        let mut known = inventory.certificates_of(&id)?.into_iter();
        let newest = known.next().ok_or_else(|| {
            CommandError::not_found(format!(
                "the inventory has no leaf of {id}, and there is no such file"
            ))
        })?;
        Ok(newest.recorded.certificate().clone())
    }

    fn presented(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
        leaf: &Certificate,
        snapshot: &DpsSnapshot,
    ) -> Result<PresentedChain, CommandError> {
        let Some(path) = &self.chain else {
            return chain_of(inventory, leaf);
        };
        let sent = pem::certificates(&context.read(path)?);
        let sent = sent.map_err(|error| CommandError::in_file(path, &error))?;
        let verified = snapshot.verified(inventory)?;
        Ok(PresentedChain::link(leaf, &sent, &verified))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    registration_id: Option<RegistrationId>,
    /// Whom it is about if that is no device; anybody may have made the file.
    #[serde(skip)]
    subject: String,
    #[serde(flatten)]
    decision: Decision,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registration_id {
            Some(id) => writeln!(f, "{id}:")?,
            None => writeln!(f, "{}:", self.subject)?,
        }
        write!(f, "{}", self.decision)
    }
}
