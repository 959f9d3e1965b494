//! `crl`: the list of what an authority has revoked.

mod number;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::Certificate;
use pki_core::crl::{Crl, CrlContent, CrlNumber, RevokedEntry, pem};
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation, SerialNumber};
use pki_core::inventory::{CertificateState, Filter, Inventory, InventoryEntry, Status};
use pki_core::time::{Span, Time};
use pki_core::wording::counted;
use serde::Serialize;
use serde_json::json;

use super::audit::checkpoint::{self, KeptCheckpoint};
use super::authority::generation_number;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::{Access, Files};
use crate::inputs::Inputs;
use crate::issuance::OpenAuthority;
use crate::locks::HomeLock;
use crate::render::ui::Ui;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki crl factory --out factory.crl
  dps-pki crl root --next-update 90d --format der --out root.crl
  dps-pki crl factory --after-crl old/factory.crl --out factory.crl --force
  dps-pki crl factory --checkpoint checkpoint.json --out factory.crl")]
pub(crate) struct Args {
    /// The authority
    #[arg(value_name = "AUTHORITY")]
    name: AuthorityName,

    /// Which generation of it [default: the current one]
    #[arg(long, value_name = "N", value_parser = generation_number)]
    generation: Option<Generation>,

    /// How long the list holds: the next must be out by then
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    next_update: Span,

    /// The last CRL of this authority that was made elsewhere: the number goes on after its own, from
    /// now on
    #[arg(long, value_name = "FILE")]
    after_crl: Option<PathBuf>,

    /// The number of the last CRL that was made elsewhere, in decimal, if the list itself is lost; after a
    /// home was restored from a backup, that of the last list that was handed out
    #[arg(
        long,
        visible_alias = "after-number",
        value_name = "NUMBER",
        conflicts_with = "after_crl"
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(..=number::GREATEST))]
    after: Option<u64>,

    /// An entry of the audit trail that was noted elsewhere, or a file that "audit checkpoint" made: if the
    /// trail does not have it, the home was restored from an older backup and would give out a number
    /// twice, so no list is made
    #[arg(long = "checkpoint", value_name = "SEQUENCE:HASH|FILE")]
    checkpoints: Vec<KeptCheckpoint>,

    /// How it is encoded
    #[arg(long, value_enum, default_value = "pem")]
    format: Encoding,

    /// The file to write; an older list there is replaced with --force [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Encoding {
    /// Text between BEGIN and END lines
    Pem,
    /// The bare bytes
    Der,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        // No number is taken for a list that has no place to go.
        if let Some(path) = &self.out {
            context.files.check_output(path)?;
        }
        let mut inventory = context.home.inventory()?;
        let _lock = self.lock(context)?;
        self.refuse_restored(context, &inventory)?;
        let authority =
            OpenAuthority::open_generation(&context.keys, &inventory, &self.name, self.generation)?;
        let signed_by = authority.generation();
        let revoked = revoked_by_key(&inventory, &signed_by, authority.certificate())?;
        let last_elsewhere = self.last_elsewhere(
            &context.inputs,
            &context.ui,
            authority.certificate(),
            &revoked,
        )?;
        let now = context.now();
        let next_update = now + self.next_update;
        let count = revoked.len();
        if context.settings.dry_run {
            let report = Report::new(&signed_by, None, (now, next_update), count);
            context.ui.result(&report)?;
            return Ok(Outcome::Done);
        }
        if let Some(last) = last_elsewhere {
            number::continue_after(&mut inventory, &signed_by, last, now)?;
        }
        let facts = json!({
            "generation": signed_by.generation,
            "revoked": count,
            "nextUpdate": next_update,
        });
        let number = number::take(&mut inventory, &signed_by.name, facts, now)?;
        let content = CrlContent {
            number,
            this_update: now,
            next_update,
            revoked,
        };
        let crl = Crl::issue(authority.certificate(), authority.signer(), content)?;
        let report = Report::new(&signed_by, Some(number), (now, next_update), count);
        self.hand_out(&context.files, &context.ui, &crl, report)
    }

    /// Of two lists the one with the greater number must not know less; a dry run takes no number.
    fn lock(&self, context: &Context) -> Result<Option<HomeLock>, CommandError> {
        if context.settings.dry_run {
            return Ok(None);
        }
        let key = format!("crl-{}", self.name);
        let does = format!("makes a CRL of authority {}", self.name);
        HomeLock::wait(&context.home, &context.ui, &key, &does).map(Some)
    }

    /// Numbers are those of the trail's entries: one that goes on from an older backup gives them out again.
    fn refuse_restored(
        &self,
        context: &Context,
        inventory: &dyn Inventory,
    ) -> Result<(), CommandError> {
        let goes_on = self.after.is_some() || self.after_crl.is_some();
        for checkpoint in checkpoint::heads(context, &self.checkpoints, None)? {
            let found = inventory.audit_entries(checkpoint.sequence.saturating_sub(1), 1)?;
            let holds = found.iter().any(|entry| entry.head() == checkpoint);
            if !holds && !goes_on {
                let message = format!(
                    "the audit trail does not have the entry {checkpoint}: this home was restored from an \
                     older backup, and would give out CRL numbers twice"
                );
                return Err(CommandError::refused(message).hint(
                    "name the last list that was handed out, with --after-crl FILE or --after-number NUMBER",
                ));
            }
        }
        Ok(())
    }

    /// The number that the last list had which was made elsewhere, if one is named.
    fn last_elsewhere(
        &self,
        inputs: &Inputs,
        ui: &Ui,
        issuer: &Certificate,
        revoked: &[RevokedEntry],
    ) -> Result<Option<CrlNumber>, CommandError> {
        let Some(file) = &self.after_crl else {
            return Ok(self.after.map(CrlNumber::new));
        };
        let last = read_list(inputs, file, issuer)?;
        warn_of_dropped(ui, file, &last, revoked);
        let number = last
            .number()
            .filter(|number| number.number() <= number::GREATEST);
        let lacks = || {
            let name = file.display();
            CommandError::invalid_input(format!("{name}: it has no number to go on after"))
                .hint("a list without a number needs none after it: leave out --after-crl")
        };
        number.map(Some).ok_or_else(lacks)
    }

    fn hand_out(&self, files: &Files, ui: &Ui, crl: &Crl, mut report: Report) -> CommandResult {
        let octets = match self.format {
            Encoding::Pem => crl.to_pem().into_bytes(),
            Encoding::Der => crl.der().to_vec(),
        };
        match &self.out {
            Some(path) => {
                files.write_output(path, &octets, Access::Public)?;
                report.file = Some(path.clone());
                ui.result(&report)?;
            }
            None if ui.is_json() => {
                report.pem = Some(crl.to_pem());
                ui.result(&report)?;
            }
            None => ui.raw(&octets)?,
        }
        Ok(Outcome::Done)
    }
}

/// The one list of a file, which this authority must have signed.
fn read_list(inputs: &Inputs, file: &Path, issuer: &Certificate) -> Result<Crl, CommandError> {
    let name = file.display();
    let read = pem::crls(&inputs.read(file)?);
    let lists = read.map_err(|error| CommandError::in_file(file, &error))?;
    let Ok([list]) = <[Crl; 1]>::try_from(lists) else {
        let message = format!("{name}: it holds several CRLs");
        return Err(CommandError::invalid_input(message));
    };
    if *list.issuer() != issuer.subject() {
        let message = format!("{name}: it is a CRL of {}", list.issuer());
        return Err(CommandError::invalid_input(message));
    }
    let signed = list.verify(issuer);
    signed.map_err(|error| CommandError::in_file(file, &error))?;
    Ok(list)
}

/// Whoever relies on lists would take what the last one revoked, and this one does not, for good again.
fn warn_of_dropped(ui: &Ui, file: &Path, last: &Crl, revoked: &[RevokedEntry]) {
    const SHOWN: usize = 5;
    let kept: HashSet<&SerialNumber> = revoked.iter().map(|entry| &entry.serial_number).collect();
    let dropped: Vec<&SerialNumber> = last
        .revoked()
        .iter()
        .map(|entry| &entry.serial_number)
        .filter(|serial| !kept.contains(serial))
        .collect();
    if dropped.is_empty() {
        return;
    }
    let shown = dropped.iter().take(SHOWN).map(ToString::to_string);
    let more = if dropped.len() > SHOWN { ", …" } else { "" };
    ui.warning(format!(
        "{} revokes {} that the new list does not: {}{more}; unless they have expired, \
         bring them in with dps-pki inventory import, and make the list again",
        file.display(),
        counted(dropped.len(), "certificate", "certificates"),
        shown.collect::<Vec<String>>().join(", ")
    ));
}

/// What was revoked of all that the key of a generation has signed: its certificate may be the renewal of
/// another generation's, and relying parties know keys and names.
fn revoked_by_key(
    inventory: &dyn Inventory,
    signed_by: &AuthorityGeneration,
    certificate: &Certificate,
) -> Result<Vec<RevokedEntry>, CommandError> {
    let mut found = revoked(inventory, signed_by)?;
    let authority = inventory.authority(&signed_by.name)?;
    for one in authority.iter().flat_map(|one| &one.generations) {
        let recorded = one.certificate.as_ref();
        let has_key = recorded
            .is_some_and(|held| held.certificate().key_identity() == certificate.key_identity());
        if has_key && one.generation != signed_by.generation {
            let other = AuthorityGeneration {
                name: signed_by.name.clone(),
                generation: one.generation,
            };
            found.extend(revoked(inventory, &other)?);
        }
    }
    Ok(found)
}

/// What this generation has revoked.
fn revoked(
    inventory: &dyn Inventory,
    signed_by: &AuthorityGeneration,
) -> Result<Vec<RevokedEntry>, CommandError> {
    let filter = Filter {
        authority: Some(signed_by.name.clone()),
        generation: Some(signed_by.generation),
        status: Some(Status::Revoked),
        ..Filter::default()
    };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = inventory.list(&filter, after.as_ref(), 1000)?;
        found.extend(page.entries.iter().filter_map(entry));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn entry(entry: &InventoryEntry) -> Option<RevokedEntry> {
    let CertificateState::Revoked { at, reason } = entry.state else {
        return None;
    };
    let serial_number = entry.recorded.certificate().serial_number().clone();
    Some(RevokedEntry {
        serial_number,
        at,
        reason,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    authority: AuthorityName,
    generation: Generation,
    /// None in a dry run, which takes no number.
    #[serde(skip_serializing_if = "Option::is_none")]
    crl_number: Option<CrlNumber>,
    this_update: Time,
    next_update: Time,
    revoked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

impl Report {
    fn new(
        signed_by: &AuthorityGeneration,
        crl_number: Option<CrlNumber>,
        (this_update, next_update): (Time, Time),
        revoked: usize,
    ) -> Self {
        Self {
            authority: signed_by.name.clone(),
            generation: signed_by.generation,
            crl_number,
            this_update,
            next_update,
            revoked,
            file: None,
            pem: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.crl_number {
            Some(number) => write!(f, "CRL {number}")?,
            None => write!(f, "would make the CRL")?,
        }
        write!(
            f,
            " of {} {}: {} revoked",
            self.authority, self.generation, self.revoked
        )?;
        write!(f, ", the next one is due on {}", self.next_update)?;
        match &self.file {
            Some(file) => write!(f, "; written to {}", file.display()),
            None => Ok(()),
        }
    }
}
