//! `authority sign`: the certificate of an authority elsewhere, by one of this home.
//!
//! The request comes from another home's `authority request`, or from another vendor's CA; the answer goes
//! to `authority adopt` there. A run that was cut short is finished by the next: its certificate is in the
//! inventory, and needs no key of ours a second time.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::authority::{AuthoritySpec, check_subordinate};
use pki_core::certificate::{Certificate, pem};
use pki_core::crl::RevocationReason;
use pki_core::csr::SigningRequest;
use pki_core::delivery;
use pki_core::ids::{
    AuthorityGeneration, AuthorityName, Generation, SerialNumber, Sha1Thumbprint, Sha256Thumbprint,
};
use pki_core::inventory::{
    CertificateState, Filter, GenerationState, Inventory, InventoryEntry, NewCertificate, Recorded,
    Status,
};
use pki_core::issue::Linted;
use pki_core::key::{KeyAlgorithm, KeyIdentity};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::{Span, Time, Validity};
use serde::Serialize;

use super::takeover;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Access;
use crate::issuance::OpenAuthority;
use crate::render::outside::Outside;

/// Sign the request of an authority elsewhere, such as a plant below an offline root
///
/// The request comes from "authority request" of another home, or from another vendor's CA. Its signature
/// and key are checked, and what its certificate will say is shown before it is signed; of what the request
/// asks for, only key and subject are taken. The output has the certificate, then those above it up to
/// the root: what "authority adopt" reads.
///
/// Run again, the command gives the same certificate; with --again, another one for the same key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority sign plant.csr.pem --issuer root --validity 5y --out plant.pem --yes
  dps-pki authority sign plant.csr.pem --issuer root --validity 5y --dry-run")]
pub(super) struct Args {
    /// The request, in PEM or DER; - for standard input
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// The authority that signs it
    #[arg(long, value_name = "AUTHORITY")]
    issuer: AuthorityName,

    /// How long the certificate is valid, such as 5y: at most as long as its issuer's
    #[arg(long, value_name = "DURATION")]
    validity: Span,

    /// How many authorities may stand between it and its devices
    #[arg(long, value_name = "N", default_value_t = 0)]
    path_length: u8,

    /// Let its key sign other data too (digitalSignature in its key usage), as Azure Device Registry wants
    /// of a CA that is brought there
    #[arg(long)]
    digital_signature: bool,

    /// Sign it anew although the key has a valid certificate, for instance one that ends soon
    #[arg(long)]
    again: bool,

    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let request = read(context, &self.request)?;
        let mut inventory = context.home.inventory()?;
        let issuer = OpenAuthority::open_or_stand_in(context, &inventory, &self.issuer)?;
        let _lock = if context.settings.dry_run {
            None
        } else {
            Some(takeover::lock(&context.home, &context.ui, &self.issuer)?)
        };
        self.refuse(&inventory, &request, &issuer)?;
        let known = signed_before(&inventory, &request, &issuer.generation(), context.now())?;
        let before = known.iter().rfind(|entry| self.repeats(entry));
        if let (None, Some(other)) = (before, known.last().filter(|_| !self.again)) {
            return Err(self.differs(other.recorded.certificate()));
        }
        self.check_out(context, before)?;
        let (recorded, status) = match before {
            Some(entry) => (entry.recorded.clone(), "exists"),
            None => match self.sign(context, &mut inventory, &request, &issuer, &known)? {
                Some(signed) => (signed, "signed"),
                None => return Ok(Outcome::Done),
            },
        };
        if context.settings.dry_run {
            context.ui.note("it was signed before; nothing was changed");
            return Ok(Outcome::Done);
        }
        self.hand_out(context, &issuer, &recorded, status)?;
        if before.is_none_or(is_undelivered) {
            inventory.mark_delivered(&[recorded.row()], context.now())?;
        }
        Ok(Outcome::Done)
    }

    /// What the request itself, and what is known of its key, has against it.
    fn refuse(
        &self,
        inventory: &SqliteInventory,
        request: &SigningRequest,
        issuer: &OpenAuthority,
    ) -> Result<(), CommandError> {
        let refused =
            |reason: String| CommandError::refused(format!("{}: {reason}", self.request.display()));
        check_subordinate(request, &issuer.chain()).map_err(|error| refused(error.to_string()))?;
        match against_key(inventory, &KeyIdentity::of(request.public_key()))? {
            Some(reason) => Err(refused(reason)),
            None => Ok(()),
        }
    }

    /// Whether a certificate is the one that is asked for: what a run left that was cut short, or any that
    /// says the same.
    fn repeats(&self, entry: &InventoryEntry) -> bool {
        let certificate = entry.recorded.certificate();
        let constraints = certificate.basic_constraints();
        let usage = certificate.key_usage();
        let validity = certificate.validity();
        let end = validity.not_before() + self.validity;
        (!self.again || is_undelivered(entry))
            && constraints.and_then(|found| found.path_len_constraint) == Some(self.path_length)
            && usage.is_some_and(|found| found.digital_signature() == self.digital_signature)
            // By what it was backdated, and what its issuer's beginning took off that.
            && validity.not_after() >= end
            && validity.not_after() - end <= Span::from_days(1)
    }

    fn differs(&self, other: &Certificate) -> CommandError {
        let message = format!(
            "{}: its key has a certificate that says something else, serial number {}, valid until {}",
            self.request.display(),
            other.serial_number(),
            other.validity().not_after()
        );
        CommandError::refused(message)
            .hint(format!(
                "see: dps-pki inventory show {}",
                other.serial_number()
            ))
            .hint("to have another one beside it, add --again")
    }

    /// The same certificate may be written again; nothing else is replaced.
    fn check_out(
        &self,
        context: &Context,
        before: Option<&InventoryEntry>,
    ) -> Result<(), CommandError> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        context.files.check_generated(out, |kept| {
            before.is_some_and(|entry| begins_with(kept, entry.recorded.certificate()))
        })
    }

    /// Shows what is to be signed, asks, signs and records; nothing comes of a dry run.
    fn sign(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        request: &SigningRequest,
        issuer: &OpenAuthority,
        known: &[InventoryEntry],
    ) -> Result<Option<Recorded>, CommandError> {
        let spec = AuthoritySpec {
            subject: request.subject().clone(),
            validity: self.validity,
            path_length: Some(self.path_length),
            digital_signature: self.digital_signature,
        };
        let serial = SerialNumber::random(context.entropy.as_ref())?;
        let signing = issuer.signing()?;
        let public_key = request.public_key().to_vec();
        let checked = signing.check_intermediate(&spec, public_key, &serial, context.now())?;
        self.show(context, request, issuer, &checked, known);
        if context.settings.dry_run {
            context.ui.note("nothing was signed");
            return Ok(None);
        }
        context
            .dialog
            .confirm("sign it? Whoever holds its key can make devices and be believed")?;
        let new = NewCertificate {
            request: Some(request.der().to_vec()),
            ..NewCertificate::from(signing.sign(checked)?)
        };
        Ok(Some(delivery::record(inventory, new, context.now())?))
    }

    fn show(
        &self,
        context: &Context,
        request: &SigningRequest,
        issuer: &OpenAuthority,
        checked: &Linted,
        known: &[InventoryEntry],
    ) {
        context.ui.note(Offer {
            args: self,
            request,
            issuer: issuer.generation(),
            validity: checked.validity(),
        });
        for finding in checked.warnings() {
            context.ui.warning(finding);
        }
        for entry in known {
            let certificate = entry.recorded.certificate();
            context.ui.warning(format!(
                "its key has a certificate already, serial number {}, valid until {}",
                certificate.serial_number(),
                certificate.validity().not_after()
            ));
        }
    }

    fn hand_out(
        &self,
        context: &Context,
        issuer: &OpenAuthority,
        recorded: &Recorded,
        status: &'static str,
    ) -> Result<(), CommandError> {
        let certificate = recorded.certificate();
        let above: String = issuer.chain().iter().map(Certificate::to_pem).collect();
        let pem = certificate.to_pem() + &above;
        if let Some(out) = &self.out {
            let is_same = |kept: &[u8]| begins_with(kept, certificate);
            let files = &context.files;
            files.write_generated(out, pem.as_bytes(), Access::Public, is_same)?;
        } else if !context.ui.is_json() {
            return context.ui.raw(pem.as_bytes());
        }
        context.ui.result(&Report {
            authority: issuer.generation().name,
            generation: issuer.generation().generation,
            status,
            subject: certificate.subject().to_string(),
            serial_number: certificate.serial_number(),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            not_before: certificate.validity().not_before(),
            not_after: certificate.validity().not_after(),
            file: self.out.as_deref(),
            pem: self.out.is_none().then_some(pem),
        })
    }
}

fn read(context: &Context, path: &Path) -> Result<SigningRequest, CommandError> {
    let content = context.inputs.read(path)?;
    SigningRequest::read(&content).map_err(|error| CommandError::in_file(path, &error))
}

fn is_undelivered(entry: &InventoryEntry) -> bool {
    entry.state.status() == Status::Undelivered
}

/// Whether a file begins with a certificate: one that this command wrote.
fn begins_with(kept: &[u8], certificate: &Certificate) -> bool {
    pem::certificate(kept).is_ok_and(|first| first == *certificate)
}

/// The certificates of authorities that meet a filter.
fn authorities(
    inventory: &SqliteInventory,
    role: Role,
    by: Option<&AuthorityGeneration>,
) -> Result<Vec<InventoryEntry>, CommandError> {
    /// More authorities than any home has signed.
    const MOST: usize = 100_000;
    let filter = Filter {
        authority: by.map(|by| by.name.clone()),
        generation: by.map(|by| by.generation),
        role: Some(role),
        ..Filter::default()
    };
    Ok(inventory.list(&filter, None, MOST)?.entries)
}

/// The certificates that a generation has signed for the key and subject of a request, and that hold.
fn signed_before(
    inventory: &SqliteInventory,
    request: &SigningRequest,
    by: &AuthorityGeneration,
    now: Time,
) -> Result<Vec<InventoryEntry>, CommandError> {
    let key = KeyIdentity::of(request.public_key());
    let mut found = authorities(inventory, Role::Intermediate, Some(by))?;
    found.retain(|entry| {
        let certificate = entry.recorded.certificate();
        matches!(
            entry.state.status(),
            Status::Undelivered | Status::Delivered
        ) && certificate.key_identity() == key
            && certificate.subject() == *request.subject()
            && certificate.validity().not_after() >= now
    });
    Ok(found)
}

/// What the inventory knows of a key that keeps it from being an authority's.
fn against_key(
    inventory: &SqliteInventory,
    key: &KeyIdentity,
) -> Result<Option<String>, CommandError> {
    if !inventory.any_key(&[key.beginning()])? {
        return Ok(None);
    }
    for authority in inventory.authorities()? {
        let compromised = authority.generations.iter().find(|one| {
            let certificate = one.certificate.as_ref().map(Recorded::certificate);
            one.state == GenerationState::Compromised
                && certificate.is_some_and(|held| held.key_identity() == *key)
        });
        if let Some(one) = compromised {
            let (name, number) = (&authority.name, one.generation);
            return Ok(Some(format!(
                "its key is that of {name} generation {number}, which is compromised"
            )));
        }
    }
    let mut with_key = authorities(inventory, Role::Intermediate, None)?;
    with_key.extend(authorities(inventory, Role::Root, None)?);
    with_key.retain(|entry| entry.recorded.certificate().key_identity() == *key);
    if with_key.is_empty() {
        return Ok(Some("its key is that of a device".into()));
    }
    let revoked = with_key.iter().find(|entry| is_key_compromised(entry));
    Ok(revoked.map(|entry| {
        let serial = entry.recorded.certificate().serial_number();
        format!("its key is compromised: certificate {serial} was revoked for that")
    }))
}

fn is_key_compromised(entry: &InventoryEntry) -> bool {
    let CertificateState::Revoked { reason, .. } = &entry.state else {
        return false;
    };
    matches!(
        reason,
        RevocationReason::KeyCompromise | RevocationReason::CaCompromise
    )
}

/// What is to be signed, for the person who is asked.
struct Offer<'a> {
    args: &'a Args,
    request: &'a SigningRequest,
    issuer: AuthorityGeneration,
    validity: Validity,
}

impl Offer<'_> {
    /// What the request asks for and does not get.
    fn denied(&self) -> Vec<String> {
        const DECIDED: [&str; 3] = [
            "id-ce-basicConstraints",
            "id-ce-keyUsage",
            "id-ce-subjectKeyIdentifier",
        ];
        let mut denied = self.request.requested_extensions();
        denied.retain(|name| !DECIDED.contains(&name.as_str()));
        let constraints = self.request.basic_constraints();
        let asked = constraints.and_then(|asked| asked.path_len_constraint);
        if asked.is_some_and(|asked| asked != self.args.path_length) {
            denied.extend(asked.map(|asked| format!("path length {asked}")));
        }
        let usage = self.request.key_usage();
        if usage.is_some_and(|usage| usage.digital_signature()) && !self.args.digital_signature {
            denied.push("digitalSignature (see --digital-signature)".into());
        }
        denied
    }
}

impl fmt::Display for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = KeyAlgorithm::of_public_key(self.request.public_key());
        let key = key.map_or("of another size", KeyAlgorithm::name);
        let signs = if self.args.digital_signature {
            "certificates, CRLs and other data"
        } else {
            "certificates and CRLs"
        };
        let below = match self.args.path_length {
            0 => "devices only".to_owned(),
            more => format!("devices, and up to {more} more in a line"),
        };
        writeln!(f, "{} signs an authority:", self.issuer)?;
        writeln!(f, "  subject      {}", Outside(self.request.subject()))?;
        writeln!(f, "  key          {key}, for {signs}")?;
        writeln!(
            f,
            "  stand below  {below} (path length {})",
            self.args.path_length
        )?;
        let begin = self.validity.not_before();
        write!(f, "  valid        {begin} to {}", self.validity.not_after())?;
        let denied = self.denied();
        if denied.is_empty() {
            return Ok(());
        }
        write!(f, "\n  not granted  {}", denied.join(", "))
    }
}

/// What was signed: a file, or the certificate itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    authority: AuthorityName,
    generation: Generation,
    status: &'static str,
    subject: String,
    serial_number: &'a SerialNumber,
    sha1_thumbprint: Sha1Thumbprint,
    sha256_thumbprint: Sha256Thumbprint,
    not_before: Time,
    not_after: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            authority,
            generation,
            serial_number,
            not_after,
            ..
        } = self;
        let subject = Outside(&self.subject);
        let has = if self.status == "exists" {
            "signed before"
        } else {
            "signed"
        };
        write!(
            f,
            "{has} by {authority} {generation}: {subject}, serial number {serial_number}, valid until {not_after}"
        )?;
        match self.file {
            Some(file) => write!(f, "; written to {}", Outside(file.display())),
            None => Ok(()),
        }
    }
}
