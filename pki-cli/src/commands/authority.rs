//! `authority`: make the CAs that `pki.toml` declares, take over those that exist, sign those of others,
//! and show them.

mod adopt;
mod clock;
mod create;
mod import;
mod request;
mod sign;
mod takeover;

pub(super) use self::clock::check as check_clock;
pub(super) use self::create::successor;
pub(super) use self::takeover::{declared, generation_of};

use std::fmt;

use pki_core::certificate::Certificate;
use pki_core::declaration::AuthorityDeclaration;
use pki_core::encoding::p7b;
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{AuthorityRecord, GenerationRecord, Inventory as _, Recorded};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::home::Home;
use crate::issuance::{self, certificate_of, issuers, no_authority};
use crate::render::table::Table;
use crate::render::ui::Ui;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(create::Args),
    Request(request::Args),
    Sign(sign::Args),
    Adopt(adopt::Args),
    Import(Box<import::Args>),
    List,
    Show(ShowArgs),
    Export(ExportArgs),
}

/// Show an authority and its generations
#[derive(clap::Args)]
struct ShowArgs {
    /// The authority
    name: AuthorityName,
}

/// Write an authority's certificate to standard output
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority export root > root.pem
  dps-pki authority export factory --chain
  dps-pki authority export factory --generation 1 > factory-1.pem")]
struct ExportArgs {
    /// The authority
    name: AuthorityName,

    /// Which generation of it, also one that is to come [default: the current one]
    #[arg(long, value_name = "N", value_parser = generation_number)]
    generation: Option<Generation>,

    /// With the certificates above it, up to the root
    #[arg(long)]
    chain: bool,

    /// How it is encoded
    #[arg(long, value_enum, default_value = "pem")]
    format: Encoding,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Encoding {
    /// Text between BEGIN and END lines
    Pem,
    /// The bare bytes
    Der,
    /// PKCS#7
    P7b,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        match &self.command {
            Command::Create(args) => args.run(context),
            Command::Request(args) => args.run(context),
            Command::Sign(args) => args.run(context),
            Command::Adopt(args) => args.run(context),
            Command::Import(args) => args.run(context),
            Command::List => list(&context.home, &context.ui),
            Command::Show(args) => args.run(context),
            Command::Export(args) => args.run(context),
        }
    }
}

/// Reads the number of a generation.
pub(super) fn generation_number(text: &str) -> Result<Generation, String> {
    let number = text.parse().ok();
    let wrong = || "generations are numbered from 1 on".to_owned();
    number.and_then(Generation::new).ok_or_else(wrong)
}

fn list(home: &Home, ui: &Ui) -> CommandResult {
    let inventory = home.inventory()?;
    let mut rows = Vec::new();
    for declared in &home.declaration()?.authorities {
        let record = inventory.authority(&declared.name)?;
        let record = record.as_ref();
        let waiting = || {
            record
                .and_then(AuthorityRecord::pending)
                .filter(|pending| pending.certificate.is_none())
        };
        if let Some(waiting) = waiting() {
            rows.push(AuthorityRow::new(&declared.name, waiting, "requested"));
        }
        match record.and_then(AuthorityRecord::current) {
            Some(current) => rows.push(AuthorityRow::new(&declared.name, current, "current")),
            None if waiting().is_none() => rows.push(AuthorityRow::planned(declared)),
            None => {}
        }
    }
    ui.result(&Authorities(rows))?;
    Ok(Outcome::Done)
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let Some(record) = inventory.authority(&self.name)? else {
            return Err(no_authority(&context.home, &self.name)?);
        };
        let row = |generation: &GenerationRecord| {
            AuthorityRow::new(&self.name, generation, generation.state.as_str())
        };
        let rows = record.generations.iter().map(row).collect();
        context.ui.result(&Authorities(rows))?;
        Ok(Outcome::Done)
    }
}

impl ExportArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        let record =
            issuance::generation_of(&context.home, &inventory, &self.name, self.generation)?;
        let certificate = certificate_of(&self.name, &record)?;
        let above = if self.chain {
            issuers(&inventory, &certificate)?
        } else {
            Vec::new()
        };
        let chain: Vec<Certificate> = [certificate].into_iter().chain(above).collect();
        let octets = match (self.format, chain.as_slice()) {
            (Encoding::Pem, chain) => chain
                .iter()
                .map(Certificate::to_pem)
                .collect::<String>()
                .into_bytes(),
            (Encoding::P7b, chain) => {
                p7b::write(chain).map_err(|error| CommandError::failed(error.to_string()))?
            }
            (Encoding::Der, [certificate]) => certificate.der().to_vec(),
            (Encoding::Der, chain) => {
                let message = format!(
                    "the chain has {} certificates, and DER holds one",
                    chain.len()
                );
                return Err(CommandError::refused(message).hint("--format p7b holds them all"));
            }
        };
        context.ui.raw(&octets)?;
        Ok(Outcome::Done)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Authorities(Vec<AuthorityRow>);

/// One generation of an authority, for people and scripts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorityRow {
    authority: AuthorityName,
    generation: Option<Generation>,
    status: String,
    subject: String,
    issuer: Option<String>,
    serial_number: Option<String>,
    sha1_thumbprint: Option<String>,
    sha256_thumbprint: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    key: Option<String>,
}

impl AuthorityRow {
    /// A generation, with its certificate if it has one yet.
    fn new(name: &AuthorityName, record: &GenerationRecord, status: &str) -> Self {
        let certificate = record.certificate.as_ref().map(Recorded::certificate);
        let of = |fact: fn(&Certificate) -> String| certificate.map(fact);
        Self {
            authority: name.clone(),
            generation: Some(record.generation),
            status: status.to_owned(),
            subject: certificate.map_or_else(
                || record.subject.to_string(),
                |certificate| certificate.subject().to_string(),
            ),
            issuer: of(|certificate| certificate.issuer().to_string()),
            serial_number: of(|certificate| certificate.serial_number().to_string()),
            sha1_thumbprint: of(|certificate| certificate.sha1_thumbprint().to_string()),
            sha256_thumbprint: of(|certificate| certificate.sha256_thumbprint().to_string()),
            not_before: of(|certificate| certificate.validity().not_before().to_string()),
            not_after: of(|certificate| certificate.validity().not_after().to_string()),
            key: Some(record.key_reference.as_str().to_owned()),
        }
    }

    fn planned(declared: &AuthorityDeclaration) -> Self {
        Self {
            authority: declared.name.clone(),
            generation: None,
            status: "not made yet".to_owned(),
            subject: declared.subject.to_string(),
            issuer: None,
            serial_number: None,
            sha1_thumbprint: None,
            sha256_thumbprint: None,
            not_before: None,
            not_after: None,
            key: None,
        }
    }
}

impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "AUTHORITY",
            "GENERATION",
            "STATUS",
            "VALID UNTIL",
            "SUBJECT",
        ]);
        for row in &self.0 {
            let generation = row
                .generation
                .map(|number| number.to_string())
                .unwrap_or_default();
            let until = row.not_after.clone().unwrap_or_default();
            let name = row.authority.to_string();
            table.row([
                name,
                generation,
                row.status.clone(),
                until,
                row.subject.clone(),
            ]);
        }
        write!(f, "{table}")
    }
}
