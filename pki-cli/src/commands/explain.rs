//! `explain`: would DPS admit this device, which entry decides, and why.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::admission::{Decision, PresentedChain, explain};
use pki_core::certificate::{Certificate, pem};
use pki_core::ids::RegistrationId;
use pki_core::inventory::Inventory as _;
use pki_core::path::{PathOptions, Purpose, validate};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Files;
use crate::inputs::Inputs;
use crate::named::is_file;
use crate::planes;
use crate::snapshot::{DpsSnapshot, chain_of};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki explain sensor-1
  dps-pki explain sensor-1 --at 2027-01-01T00:00:00Z
  dps-pki explain sensor-1.cert.pem --chain sensor-1-full-chain.cert.pem")]
pub(crate) struct Args {
    /// A registration ID of the inventory, or a certificate file
    #[arg(value_name = "ID|CERT")]
    device: String,

    /// What the device sends above its leaf, if that is not what the inventory knows
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,

    /// Decide as DPS would at this moment [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let inventory = context.home.inventory()?;
        let leaf = self.leaf(&context.inputs, &context.files, &inventory)?;
        let id = leaf.common_name().and_then(|name| name.parse().ok());
        let ids: Vec<&RegistrationId> = id.iter().collect();
        let snapshot = context
            .runtime
            .wait_for(DpsSnapshot::around(planes.instance(), &ids))?;
        let at = self.at.unwrap_or_else(|| context.now());
        let chain = self.presented(&context.inputs, &inventory, &leaf, &snapshot, at)?;
        let mut view = snapshot.view()?;
        view.set_moment(at);
        let decision = explain(&view, &chain);
        context.ui.result(&Explanation {
            at,
            expires: first_to_expire(&leaf, &chain),
            registration_id: leaf.common_name().and_then(|name| name.parse().ok()),
            subject: leaf.subject().to_string(),
            decision,
        })?;
        Ok(Outcome::Done)
    }

    fn leaf(
        &self,
        inputs: &Inputs,
        files: &Files,
        inventory: &SqliteInventory,
    ) -> Result<Certificate, CommandError> {
        let path = Path::new(&self.device);
        if is_file(files, inventory, &self.device)? {
            let read = pem::certificate(&inputs.read(path)?);
            return read.map_err(|error| CommandError::in_file(path, &error));
        }
        let id: RegistrationId = self.device.parse()?;
        let newest = inventory
            .certificates_of(&id)?
            .into_iter()
            .next()
            .ok_or_else(|| {
                CommandError::not_found(format!(
                    "the inventory has no leaf of {id}, and there is no such file"
                ))
            })?;
        Ok(newest.recorded.certificate().clone())
    }

    fn presented(
        &self,
        inputs: &Inputs,
        inventory: &SqliteInventory,
        leaf: &Certificate,
        snapshot: &DpsSnapshot,
        at: Time,
    ) -> Result<PresentedChain, CommandError> {
        let Some(path) = &self.chain else {
            return Ok(chain_of(inventory, leaf)?);
        };
        let sent = pem::certificates(&inputs.read(path)?)
            .map_err(|error| CommandError::in_file(path, &error))?;
        let verified = snapshot.verified(inventory)?;
        let sent = best_way_first(leaf, &sent, &verified, at);
        Ok(PresentedChain::link(leaf, &sent, &verified))
    }
}

/// The certificates that a device sends, those first over which its path to a verified CA holds, in whatever
/// order they stand in the file. DPS takes weak keys and bad form.
fn best_way_first(
    leaf: &Certificate,
    sent: &[Certificate],
    verified: &[Certificate],
    at: Time,
) -> Vec<Certificate> {
    let options = PathOptions::new(at).purpose(Purpose::Any).lenient().weak();
    let report = validate(leaf, sent, verified, options);
    let is_on_path = |one: &Certificate| {
        let mut path = report.path.iter();
        report.holds() && path.any(|step| step.sha256_thumbprint == one.sha256_thumbprint())
    };
    let (mut ordered, others): (Vec<_>, Vec<_>) =
        sent.iter().chain(verified).cloned().partition(is_on_path);
    ordered.extend(others);
    ordered
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    registration_id: Option<RegistrationId>,
    /// Whom it is about if that is no device; anybody may have made the file.
    #[serde(skip)]
    subject: String,
    /// When it is decided.
    at: Time,
    /// The certificate of the chain that ends first.
    expires: Option<Expiry>,
    #[serde(flatten)]
    decision: Decision,
}

/// A certificate and when it ends.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expiry {
    subject: String,
    not_after: Time,
}

fn first_to_expire(leaf: &Certificate, chain: &PresentedChain) -> Option<Expiry> {
    let own = Expiry {
        subject: leaf.subject().to_string(),
        not_after: leaf.validity().not_after(),
    };
    let above = chain.above_leaf().iter().map(|element| Expiry {
        subject: element.subject.clone(),
        not_after: element.validity.not_after(),
    });
    [own]
        .into_iter()
        .chain(above)
        .min_by_key(|one| one.not_after)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registration_id {
            Some(id) => writeln!(f, "{id}:")?,
            None => writeln!(f, "{}:", self.subject)?,
        }
        write!(f, "{}", self.decision)?;
        match &self.expires {
            Some(first) if first.not_after < self.at => {
                write!(f, "\n{} ended at {}", first.subject, first.not_after)
            }
            Some(first) => write!(
                f,
                "\nthe first to expire is {}, at {}",
                first.subject, first.not_after
            ),
            None => Ok(()),
        }
    }
}
