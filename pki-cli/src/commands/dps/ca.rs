//! `dps ca`: the CA certificates that a DPS instance holds.

use std::path::PathBuf;

use futures::TryStreamExt as _;
use pki_core::enrollment::{EnrollmentGroup, Mechanism, X509Certificates};
use pki_core::ids::CertificateName;
use pki_core::lifecycle::{CaAction, CaStep, Expectation, Found, Promise, Step, Who};
use pki_core::management::CaCertificate;
use pki_core::time::Time;

use super::{ca_proof, declared, impact};
use crate::commands::change::{Change, deleted_before};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes::{self, Planes};
use crate::render::document::Listed;

/// CA certificates: what the chain of a device has to reach
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(ListArgs),
    Upload(UploadArgs),
    Prove(ProveArgs),
    Delete(DeleteArgs),
}

/// List the CA certificates
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps ca list")]
struct ListArgs {}

/// Upload a CA certificate that pki.toml declares
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps ca upload root --dry-run")]
struct UploadArgs {
    /// Its name in DPS
    name: CertificateName,
}

/// Prove to DPS that we hold the key of a CA certificate that was uploaded
///
/// DPS gives a code, the key of the CA signs a certificate over it, and DPS checks that. Where the key is
/// held offline, these are three commands: ask for the code here, prove it there with "dps-pki
/// possession", hand the proof in here.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps ca prove root --yes --passphrase-file pki-passphrase
  dps-pki dps ca prove root --request-out root.request.json --yes
  dps-pki dps ca prove root --proof proof.pem --yes")]
struct ProveArgs {
    /// Its name in DPS
    name: CertificateName,

    /// Only ask for a code, and write it with what it is for to this file, for the machine with the key
    #[arg(long, value_name = "FILE")]
    request_out: Option<PathBuf>,

    /// Only hand in this proof, which was made on the machine with the key
    #[arg(long, value_name = "FILE", conflicts_with = "request_out")]
    proof: Option<PathBuf>,
}

/// Delete a CA certificate: devices whose chain reaches no other verified one are refused
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki dps ca delete root --dry-run")]
struct DeleteArgs {
    /// Its name in DPS
    name: CertificateName,

    /// Also where devices that a group keeps out are let in by another group
    #[arg(long)]
    let_devices_in: bool,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::List(args) => args.run(context),
            Command::Upload(args) => declared::upload_ca(context, &args.name),
            Command::Prove(args) => match (&args.request_out, &args.proof) {
                (Some(path), _) => ca_proof::request(context, &args.name, path),
                (None, Some(path)) => ca_proof::hand_in(context, &args.name, path),
                (None, None) => declared::prove_ca(context, &args.name),
            },
            Command::Delete(args) => args.run(context),
        }
    }
}

impl ListArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let certificates = planes::chosen(context)?.certificates()?;
        let found = context
            .runtime
            .block_on(async { Ok(certificates.list().await?) })?;
        let mut list = Listed::new(&["NAME", "VERIFIED", "EXPIRES", "SHA-1", "SUBJECT"]);
        for certificate in &found {
            list.push(certificate, cells(certificate));
        }
        context.ui.result(&list)?;
        Ok(Outcome::Done)
    }
}

fn cells(certificate: &CaCertificate) -> [String; 5] {
    let properties = &certificate.properties;
    let thumbprint = properties
        .thumbprint
        .map(|thumbprint| thumbprint.to_string());
    [
        certificate.name.to_string(),
        if properties.is_verified { "yes" } else { "no" }.to_owned(),
        properties.expiry.as_deref().map(moment).unwrap_or_default(),
        thumbprint.unwrap_or_default(),
        properties.subject.clone().unwrap_or_default(),
    ]
}

/// A date of the service as we print all moments; one that it writes otherwise stays as it is.
fn moment(date: &str) -> String {
    Time::from_rfc1123(date).map_or_else(|_| date.to_owned(), |moment| moment.to_string())
}

impl DeleteArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let planes = planes::chosen(context)?;
        let certificates = planes.certificates()?;
        let found = context
            .runtime
            .block_on(async { Ok(certificates.find(&self.name).await?) })?;
        let Some(before) = found else {
            let message = format!("DPS {} has no CA certificate {}", planes.name(), self.name);
            let missing = CommandError::not_found(message);
            return deleted_before(context, &planes, &self.goal(), missing);
        };
        let Some(etag) = before.etag.clone() else {
            let message = format!("DPS sent CA certificate {} without an ETag", self.name);
            return Err(CommandError::new(ErrorKind::Service, message));
        };
        let Some(thumbprint) = before.properties.thumbprint else {
            let message = format!("DPS sent CA certificate {} without a thumbprint", self.name);
            return Err(CommandError::new(ErrorKind::Service, message));
        };
        let step = Step::Ca(CaStep {
            name: self.name.clone(),
            sha1_thumbprint: thumbprint,
            action: CaAction::deletion(),
            expect: Expectation::Etag(etag),
        });
        let change = self.change(context, &planes)?;
        if !self.let_devices_in {
            change.refuse_gains("if that is meant, say --let-devices-in")?;
        }
        let promise = Promise {
            refuses: Who::Anybody,
            lets_in: if self.let_devices_in {
                Who::Anybody
            } else {
                Who::Nobody
            },
            ..Promise::default()
        };
        let read = Found::Ca(Some(Box::new(before)));
        change.carry_out_as(context, &planes, step, &read, &promise)
    }

    fn change(&self, context: &Context, planes: &Planes<'_>) -> Result<Change, CommandError> {
        let groups = planes.groups()?;
        let groups: Vec<EnrollmentGroup> = context
            .runtime
            .block_on(async { Ok(groups.list(None).try_collect().await?) })?;
        let notes = groups
            .iter()
            .filter(|group| self.is_named_by(group))
            .map(|group| {
                format!(
                    "enrollment group {} refers to it, and admits nobody through it any more",
                    group.enrollment_group_id
                )
            });
        let notes = notes.collect();
        let impact = impact::on_fleet(context, planes, |view| {
            view.remove_ca(&self.name);
            Ok(())
        })?;
        Ok(Change {
            action: "ca-deleted",
            summary: self.goal(),
            goal: None,
            subject: self.name.to_string(),
            place: format!("DPS {}", planes.name()),
            changes: vec![],
            notes,
            impact,
        })
    }

    fn goal(&self) -> String {
        format!("delete CA certificate {}", self.name)
    }

    fn is_named_by(&self, group: &EnrollmentGroup) -> bool {
        match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                slots.iter().any(|name| *name == self.name)
            }
            _ => false,
        }
    }
}
