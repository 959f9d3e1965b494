//! `authority`: make the CAs that `pki.toml` declares, and show them.

use std::fmt;
use std::path::PathBuf;

use pki_core::authority::{AuthoritySpec, create_root};
use pki_core::certificate::Certificate;
use pki_core::declaration::AuthorityDeclaration;
use pki_core::format::p7b;
use pki_core::ids::{AuthorityName, Generation, SerialNumber};
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::inventory::{
    AuthorityRecord, GenerationChange, GenerationRecord, GenerationState, Inventory as _,
    NewCertificate, NewGeneration,
};
use pki_core::issue::Issued;
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{KeyGenerator as _, PrivateKey, Signer as _, to_encrypted_pem};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Existing};
use crate::issuance::{OpenAuthority, certificate_of, current, issuers, open_key, policy};
use crate::render::table::Table;

/// Make, list and export authorities
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List,
    Show(ShowArgs),
    Export(ExportArgs),
}

/// Make the authorities that pki.toml declares and that do not exist yet
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority create --passphrase-file ~/.pki-passphrase
  dps-pki authority create root")]
struct CreateArgs {
    /// Only these; their issuers must exist
    names: Vec<AuthorityName>,
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
  dps-pki authority export factory --chain")]
struct ExportArgs {
    /// The authority
    name: AuthorityName,

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
            Command::List => list(context),
            Command::Show(args) => args.run(context),
            Command::Export(args) => args.run(context),
        }
    }
}

impl CreateArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let declared = self.declared(context)?;
        let mut inventory = context.inventory()?;
        let mut made = Vec::new();
        for authority in declared {
            made.push(create(context, &mut inventory, authority)?);
        }
        context.ui.result(&Authorities(made))?;
        Ok(Outcome::Done)
    }

    fn declared<'a>(
        &self,
        context: &'a Context,
    ) -> Result<Vec<&'a AuthorityDeclaration>, CommandError> {
        let declaration = context.declaration()?;
        for name in &self.names {
            if declaration.authority(name).is_none() {
                let known: Vec<&str> = declaration
                    .authorities
                    .iter()
                    .map(|authority| authority.name.as_str())
                    .collect();
                let message = format!("pki.toml declares no authority {name}");
                let hint = format!("declared are: {}", known.join(", "));
                return Err(CommandError::not_found(message).hint(hint));
            }
        }
        let wanted =
            |one: &&AuthorityDeclaration| self.names.is_empty() || self.names.contains(&one.name);
        Ok(declaration.authorities.iter().filter(wanted).collect())
    }
}

/// Makes an authority unless it exists; finishes or voids what a run left that was cut short.
pub(crate) fn create(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
) -> Result<AuthorityRow, CommandError> {
    let record = inventory.authority(&declared.name)?;
    if let Some(current) = record.as_ref().and_then(AuthorityRecord::current) {
        return AuthorityRow::new(&declared.name, current, "exists");
    }
    let pending = record.as_ref().and_then(AuthorityRecord::pending);
    if context.settings.dry_run {
        return Ok(AuthorityRow::planned(declared));
    }
    if let Some(pending) = pending
        && settle_pending(context, inventory, &declared.name, pending)?
    {
        return AuthorityRow::new(&declared.name, pending, "finished");
    }
    let last = record.as_ref().and_then(|record| record.generations.last());
    let generation = last.map_or(Generation::FIRST, |last| last.generation.next());
    let key = SoftwareKeyGenerator.generate(declared.key)?;
    let issued = issue(context, inventory, declared, generation, &key)?;
    let row = AuthorityRow::of(&declared.name, generation, issued.certificate(), "created");
    deliver(context, inventory, declared, generation, issued, &key)?;
    Ok(row)
}

/// A pending generation whose key and certificate reached the home becomes current; one whose key is
/// lost is voided. Tells whether it is current now.
fn settle_pending(
    context: &Context,
    inventory: &mut SqliteInventory,
    name: &AuthorityName,
    pending: &GenerationRecord,
) -> Result<bool, CommandError> {
    let certificate = certificate_of(name, pending)?;
    let arrived = context
        .files
        .exists(&context.home.certificate(name, pending.generation))
        && open_key(context, pending.key_reference.as_str())?.public_key()
            == certificate.public_key();
    let to = if arrived {
        GenerationState::Current
    } else {
        GenerationState::Voided
    };
    let change = GenerationChange {
        generation: pending.generation,
        to,
    };
    inventory.settle_generations(name, &[change], context.now())?;
    if !arrived {
        context.ui.note(format!(
            "authority {name}: generation {} was cut short before its key was stored, and is void",
            pending.generation
        ));
    }
    Ok(arrived)
}

fn issue(
    context: &Context,
    inventory: &SqliteInventory,
    declared: &AuthorityDeclaration,
    generation: Generation,
    key: &PrivateKey,
) -> Result<Issued, CommandError> {
    let signer = SoftwareSigner::new(key)?;
    let serial = SerialNumber::random(context.entropy.as_ref())?;
    let spec = AuthoritySpec {
        subject: declared.subject.clone(),
        validity: declared.validity,
        path_length: declared.path_length,
    };
    let now = context.now();
    let Some(issuer) = &declared.issuer else {
        let (name, policy) = (declared.name.clone(), policy(context)?);
        return Ok(create_root(
            name, generation, &spec, &signer, policy, &serial, now,
        )?);
    };
    let issuer = OpenAuthority::open(context, inventory, issuer)?;
    let public_key = signer.public_key().to_vec();
    Ok(issuer
        .signing()?
        .issue_intermediate(&spec, public_key, &serial, now)?)
}

/// Recorded, then key and certificate into the home, then current.
fn deliver(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
    generation: Generation,
    issued: Issued,
    key: &PrivateKey,
) -> Result<(), CommandError> {
    let name = &declared.name;
    let sealed = to_encrypted_pem(key, context.new_passphrase()?, context.entropy.as_ref())
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let reference = format!("authorities/{name}/{generation}.key.pem");
    let new = NewGeneration {
        authority: name.clone(),
        generation,
        subject: declared.subject.clone(),
        key_reference: reference
            .parse()
            .map_err(|error: pki_core::inventory::TextError| {
                CommandError::failed(error.to_string())
            })?,
    };
    let recorded = inventory.record_authority(new, NewCertificate::from(issued), context.now())?;
    let home = &context.home;
    context
        .files
        .create_folder(&home.authority(name), Access::Secret)?;
    let (key_path, path) = (
        home.key(name, generation),
        home.certificate(name, generation),
    );
    context.files.write(
        &key_path,
        sealed.as_bytes(),
        Access::Secret,
        Existing::Replace,
    )?;
    let pem = recorded.certificate().to_pem();
    context
        .files
        .write(&path, pem.as_bytes(), Access::Public, Existing::Replace)?;
    let change = GenerationChange {
        generation,
        to: GenerationState::Current,
    };
    Ok(inventory.settle_generations(name, &[change], context.now())?)
}

fn list(context: &Context) -> CommandResult {
    let inventory = context.inventory()?;
    let mut rows = Vec::new();
    for declared in &context.declaration()?.authorities {
        match inventory
            .authority(&declared.name)?
            .as_ref()
            .and_then(AuthorityRecord::current)
        {
            Some(current) => rows.push(AuthorityRow::new(&declared.name, current, "current")?),
            None => rows.push(AuthorityRow::planned(declared)),
        }
    }
    context.ui.result(&Authorities(rows))?;
    Ok(Outcome::Done)
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.inventory()?;
        current(context, &inventory, &self.name)?;
        let generations = inventory
            .authority(&self.name)?
            .map(|record| record.generations);
        let rows: Result<Vec<AuthorityRow>, CommandError> = generations
            .iter()
            .flatten()
            .map(|generation| AuthorityRow::new(&self.name, generation, generation.state.as_str()))
            .collect();
        context.ui.result(&Authorities(rows?))?;
        Ok(Outcome::Done)
    }
}

impl ExportArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.inventory()?;
        let certificate = certificate_of(&self.name, &current(context, &inventory, &self.name)?)?;
        let above = match self.chain {
            true => issuers(&inventory, &certificate)?,
            false => Vec::new(),
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
    key: Option<PathBuf>,
}

impl AuthorityRow {
    fn new(
        name: &AuthorityName,
        record: &GenerationRecord,
        status: &str,
    ) -> Result<Self, CommandError> {
        let certificate = certificate_of(name, record)?;
        let row = Self::of(name, record.generation, &certificate, status);
        Ok(Self {
            key: Some(PathBuf::from(record.key_reference.as_str())),
            ..row
        })
    }

    fn of(
        name: &AuthorityName,
        generation: Generation,
        certificate: &Certificate,
        status: &str,
    ) -> Self {
        Self {
            authority: name.clone(),
            generation: Some(generation),
            status: status.to_owned(),
            subject: certificate.subject().to_string(),
            issuer: Some(certificate.issuer().to_string()),
            serial_number: Some(certificate.serial_number().to_string()),
            sha1_thumbprint: Some(certificate.sha1_thumbprint().to_string()),
            sha256_thumbprint: Some(certificate.sha256_thumbprint().to_string()),
            not_before: Some(certificate.validity().not_before().to_string()),
            not_after: Some(certificate.validity().not_after().to_string()),
            key: None,
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
