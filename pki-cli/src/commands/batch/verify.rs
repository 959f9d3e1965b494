//! `batch verify`: is this output the one that the manifest describes, and who says so?
//!
//! Every check is made and told, also when one before it has failed, and so is what could not be
//! checked. It works without a home: then the authority's certificate has to be given.

mod folder;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use pki_core::certificate::{Certificate, pem};
use pki_core::handout::manifest::{Manifest, ManifestError};
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{GenerationState, Inventory as _};
use pki_core::path::{PathOptions, Purpose, validate};
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Time;
use pki_core::wording::counted;
use serde::Serialize;

use self::folder::{BadFile, LIST, check_files, is_below};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::files::Files;
use crate::inputs::Inputs;
use crate::render::ui::Ui;

/// Check that an output is the one that its manifest describes, and who signed the manifest
///
/// Without a home, give the authority's certificate to have the signature checked. A manifest that
/// is not signed is told with a warning; it shows damage, but anybody could have written it. Exit code
/// 4 if a check fails.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki batch verify line-7.ndjson.manifest.json
  dps-pki batch verify line-7.ndjson.manifest.json --require-signature --output json")]
pub(super) struct VerifyArgs {
    /// The manifest; - for standard input
    manifest: PathBuf,

    /// The output, a file or a folder [default: what the manifest names, beside it]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// The authority's certificate, alone or with its chain; the manifest must be signed by it
    /// [default: the one in the home]
    #[arg(long, value_name = "FILE")]
    authority_cert: Option<PathBuf>,

    /// File of certificates to trust: the authority's path must lead to one of them
    #[arg(long = "anchor", value_name = "FILE", num_args = 1.., requires = "authority_cert")]
    anchors: Vec<PathBuf>,

    /// The moment to judge the authority's path for [default: now]
    #[arg(long, value_name = "TIME", requires = "anchors")]
    at: Option<Time>,

    /// Fail unless the manifest is signed and the signature could be checked
    #[arg(long)]
    require_signature: bool,
}

impl VerifyArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let content = context.inputs.read(&self.manifest)?;
        let manifest = Manifest::from_json(&content)
            .map_err(|error| CommandError::in_file(&self.manifest, &error))?;
        let home = home(context)?;
        let output = self.output(&manifest)?;
        let mut checks = check_output(&context.files, &manifest, &output)?;
        checks.extend(self.check_signature(
            &context.inputs,
            context.now(),
            &manifest,
            home.as_ref(),
        )?);
        checks.extend(
            home.map(|home| check_record(&manifest, &home))
                .transpose()?,
        );
        let verdict = Verdict {
            holds: checks
                .iter()
                .all(|check| check.finding != CheckResult::Fails),
            batch: manifest.batch.to_string(),
            authority: manifest.authority.clone(),
            generation: manifest.generation,
            devices: manifest.devices,
            output,
            checks,
        };
        verdict.warn(&context.ui);
        context.ui.result(&verdict)?;
        verdict.into_outcome()
    }

    fn output(&self, manifest: &Manifest) -> Result<PathBuf, CommandError> {
        if let Some(path) = &self.file {
            return Ok(path.clone());
        }
        if is_below(Path::new(&manifest.output)) {
            Ok(self.manifest.with_file_name(&manifest.output))
        } else {
            Err(CommandError::invalid_input(format!(
                "{}: it names {:?} as its output, which is not beside it",
                self.manifest.display(),
                manifest.output
            ))
            .hint("say where the output is with --file PATH"))
        }
    }

    /// Whoever names an authority or anchor is not content with a manifest that lost its signature.
    fn wants_signature(&self) -> bool {
        self.require_signature || self.authority_cert.is_some()
    }

    fn check_signature(
        &self,
        inputs: &Inputs,
        now: Time,
        manifest: &Manifest,
        home: Option<&SqliteInventory>,
    ) -> Result<Vec<Check>, CommandError> {
        let unchecked = if self.wants_signature() {
            CheckResult::Fails
        } else {
            CheckResult::NotChecked
        };
        let signature = |finding, detail: &str| Check::new("signature", finding, detail);
        if manifest.signature.is_none() {
            let detail = "the manifest is not signed; anybody could have written it";
            return Ok(vec![signature(unchecked, detail)]);
        }
        let (authority, trust) = match &self.authority_cert {
            Some(path) => self.given_authority(inputs, now, manifest, path)?,
            None => home_authority(manifest, home)?,
        };
        let Some(authority) = authority else {
            let detail =
                "the authority's certificate is not at hand; give it with --authority-cert";
            return Ok(vec![signature(unchecked, detail), trust]);
        };
        let checked = manifest.verify_signature(&authority);
        Ok(vec![
            told("signature", checked, || {
                "the authority signed this manifest".to_owned()
            }),
            trust,
        ])
    }

    /// The certificate that the manifest names, from a file, and whether it leads to an anchor.
    fn given_authority(
        &self,
        inputs: &Inputs,
        now: Time,
        manifest: &Manifest,
        path: &Path,
    ) -> Result<(Option<Certificate>, Check), CommandError> {
        let mut given = certificates(inputs, path)?;
        let named = |certificate: &Certificate| {
            certificate.sha256_thumbprint() == manifest.authority_certificate
        };
        let Some(place) = given.iter().position(named) else {
            let detail = format!(
                "the manifest names {} (SHA-256), which is not in {}",
                manifest.authority_certificate,
                path.display()
            );
            return Ok((None, Check::new("authority", CheckResult::Fails, detail)));
        };
        let authority = given.swap_remove(place);
        let check = self.check_path(inputs, now, &authority, &given)?;
        Ok((Some(authority), check))
    }

    fn check_path(
        &self,
        inputs: &Inputs,
        now: Time,
        authority: &Certificate,
        intermediates: &[Certificate],
    ) -> Result<Check, CommandError> {
        if self.anchors.is_empty() {
            let detail = "its certificate was given and is taken as it is; --anchor has it checked";
            return Ok(Check::new("authority", CheckResult::NotChecked, detail));
        }
        let mut anchors = Vec::new();
        for path in &self.anchors {
            anchors.extend(certificates(inputs, path)?);
        }
        let at = self.at.unwrap_or(now);
        let options = PathOptions::new(at).purpose(Purpose::Any);
        let report = validate(authority, intermediates, &anchors, options);
        Ok(match report.failure {
            None => Check::new(
                "authority",
                CheckResult::Holds,
                "its path leads to an anchor",
            ),
            Some(failure) => {
                let detail = format!("its path does not hold at {at}: {}", failure.reason);
                Check::new("authority", CheckResult::Fails, detail)
            }
        })
    }
}

fn certificates(inputs: &Inputs, path: &Path) -> Result<Vec<Certificate>, CommandError> {
    let content = inputs.read(path)?;
    pem::certificates(&content).map_err(|error| CommandError::in_file(path, &error))
}

/// The inventory of the home, if there is a home; whoever receives a batch has none.
fn home(context: &Context) -> Result<Option<SqliteInventory>, CommandError> {
    let is_there = context.files.exists(&context.home.layout.inventory_file());
    if is_there || context.settings.home.is_some() {
        Ok(Some(context.home.inventory()?))
    } else {
        Ok(None)
    }
}

/// The certificate that the home has for the generation in the manifest, and whether to believe it.
fn home_authority(
    manifest: &Manifest,
    home: Option<&SqliteInventory>,
) -> Result<(Option<Certificate>, Check), CommandError> {
    let check = |finding, detail: &str| Check::new("authority", finding, detail);
    let Some(home) = home else {
        return Ok((
            None,
            check(CheckResult::NotChecked, "there is no home that knows it"),
        ));
    };
    let record = home.authority(&manifest.authority)?;
    let generation = record
        .as_ref()
        .and_then(|record| record.generation(manifest.generation));
    let known = generation.and_then(|generation| {
        let recorded = generation.certificate.as_ref()?;
        Some((recorded.certificate().clone(), generation.state))
    });
    Ok(match known {
        None => (
            None,
            check(CheckResult::NotChecked, "this home does not know it"),
        ),
        Some((certificate, GenerationState::Compromised)) => {
            let detail = "it is compromised: others can sign in its name";
            (Some(certificate), check(CheckResult::Fails, detail))
        }
        Some((certificate, state)) => {
            let detail = format!("it is in this home, and {state}");
            (Some(certificate), check(CheckResult::Holds, &detail))
        }
    })
}

/// Whether the manifest is the one that the home kept when the batch was completed.
fn check_record(manifest: &Manifest, home: &SqliteInventory) -> Result<Check, CommandError> {
    let check = |finding, detail: &str| Check::new("record", finding, detail);
    let Some(batch) = home.batch(&manifest.batch)? else {
        return Ok(check(
            CheckResult::NotChecked,
            "this home knows no batch of this name",
        ));
    };
    let kept = batch
        .manifest
        .as_deref()
        .map(str::as_bytes)
        .map(Manifest::from_json);
    Ok(match kept {
        Some(Ok(kept)) if kept == *manifest => {
            check(CheckResult::Holds, "the home has kept the same manifest")
        }
        Some(_) => check(
            CheckResult::Fails,
            "the home has kept another manifest of this batch",
        ),
        None => check(CheckResult::Fails, "by the home the batch is not complete"),
    })
}

fn check_output(
    files: &Files,
    manifest: &Manifest,
    output: &Path,
) -> Result<Vec<Check>, CommandError> {
    let place = files.resolve(output);
    if !place.is_dir() {
        let opened = open(files, output)?;
        let checked = manifest.verify_output(opened);
        return Ok(vec![told("output", checked, || {
            as_stated(manifest, output)
        })]);
    }
    let list = output.join(LIST);
    let checked = manifest.verify_output(open(files, &list)?);
    let is_right = checked.is_ok();
    let list_check = told("output", checked, || as_stated(manifest, &list));
    let files = if is_right {
        check_files(&place, open(files, &list)?).map_err(|error| {
            CommandError::failed(format!("cannot read {}", output.display())).because(error)
        })?
    } else {
        Check::new(
            "files",
            CheckResult::NotChecked,
            "their list is not the right one",
        )
    };
    Ok(vec![list_check, files])
}

fn open(files: &Files, path: &Path) -> Result<File, CommandError> {
    let opened = files.open_stream(path);
    opened.map_err(|error| error.hint("say where the output is with --file PATH"))
}

fn as_stated(manifest: &Manifest, path: &Path) -> String {
    format!(
        "{} has the {} bytes and the SHA-256 that the manifest states",
        path.display(),
        manifest.output_octets
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum CheckResult {
    Holds,
    Fails,
    NotChecked,
}

/// One check, and what came of it.
#[derive(Serialize)]
struct Check {
    check: &'static str,
    finding: CheckResult,
    detail: String,
    /// Told one by one with the error.
    #[serde(skip)]
    files: Vec<BadFile>,
}

impl Check {
    fn new(check: &'static str, finding: CheckResult, detail: impl Into<String>) -> Self {
        Self {
            check,
            finding,
            detail: detail.into(),
            files: Vec::new(),
        }
    }
}

/// The check whose answer the manifest itself has given.
fn told(
    check: &'static str,
    answer: Result<(), ManifestError>,
    holds: impl Fn() -> String,
) -> Check {
    match answer {
        Ok(()) => Check::new(check, CheckResult::Holds, holds()),
        Err(error) => Check::new(check, CheckResult::Fails, error.to_string()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    holds: bool,
    batch: String,
    authority: AuthorityName,
    generation: Generation,
    devices: u64,
    output: PathBuf,
    checks: Vec<Check>,
}

impl Verdict {
    /// Whoever trusts the manifest should know that its signature was not checked.
    fn warn(&self, ui: &Ui) {
        let unchecked =
            |check: &&Check| check.check == "signature" && check.finding == CheckResult::NotChecked;
        if let Some(check) = self.checks.iter().find(unchecked) {
            ui.warning(&check.detail);
        }
    }

    fn into_outcome(self) -> CommandResult {
        let mut failed = self
            .checks
            .into_iter()
            .filter(|check| check.finding == CheckResult::Fails);
        let Some(first) = failed.next() else {
            return Ok(Outcome::Done);
        };
        let message = format!(
            "batch {} does not verify: {}: {}",
            self.batch, first.check, first.detail
        );
        let files: Vec<BadFile> = std::iter::once(first)
            .chain(failed)
            .flat_map(|check| check.files)
            .collect();
        Err(CommandError::refused(message).lines(&files))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds {
            "verifies"
        } else {
            "does not verify"
        };
        let authority = &self.authority;
        let generation = self.generation;
        let devices = counted(self.devices, "device", "devices");
        write!(
            f,
            "batch {} {word}: {devices} by {authority} {generation}",
            self.batch
        )?;
        for Check {
            check,
            finding,
            detail,
            ..
        } in &self.checks
        {
            let finding = match finding {
                CheckResult::Holds => "holds",
                CheckResult::Fails => "FAILS",
                CheckResult::NotChecked => "not checked",
            };
            write!(f, "\n  {check:<10}  {finding:<11}  {detail}")?;
        }
        Ok(())
    }
}
