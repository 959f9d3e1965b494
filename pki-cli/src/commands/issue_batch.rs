//! Batches, of `issue`, `renew` and `sign`: identities for a whole line.
//!
//! The whole input is checked first. Then chunks go through [`pki_core::bulk`]; this file chooses the
//! input, the output and the form of the keys; [`run`] does the rest.

mod args;
mod judge;
mod renewals;
mod replacement;
mod run;
mod split;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::{fmt, thread};

use pki_core::bulk::input::SoundInput;
use pki_core::encoding::{Pfx, PfxEncryption};
use pki_core::handout::seal::KeySealer;
use pki_core::handout::{DeviceFiles, Form, KeyForm, Renderer, Shards};
use pki_core::inventory::{BatchRecord, BatchState, Inventory as _, Label};
use pki_core::secret::Passphrase;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

pub(super) use self::args::{BatchArgs, BatchOptions, Format, KeyArgs, Listed};
pub(super) use self::renewals::Renewals;
pub(super) use self::replacement::Replacement;
use self::run::BatchRun;
use super::issue::Target;
use crate::batch_input::{Input, Source};
use crate::batch_output::{MANIFEST, beside};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::Access;
use crate::issuance::OpenAuthority;
use crate::once::once;
use crate::render::ui::Ui;

/// A batch that is to be issued: everything but its devices.
pub(super) struct Batch<'a> {
    pub(super) context: &'a Context,
    pub(super) target: &'a Target,
    pub(super) options: &'a BatchOptions,
    pub(super) keys: &'a KeyArgs,
    pub(super) format: Format,
    pub(super) purpose: &'a Purpose<'a>,
}

/// What the leaves of a batch are to the leaves that its devices have.
pub(super) enum Purpose<'a> {
    /// There are none.
    Issue,
    /// They follow the last ones.
    Renew(Renewals<'a>),
    /// They take the place of those of a batch that was lost.
    Replace(Replacement),
}

impl Batch<'_> {
    /// Refuses what cannot be meant, before anything is read.
    pub(super) fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message| Err(CommandError::new(ErrorKind::Usage, message));
        if !self.options.recipients.is_empty() && self.format.is_folder() {
            return usage("--recipient seals one stream; choose --format ndjson or tar");
        }
        if self.target.out == Path::new(".") {
            return usage("a batch goes to a file or a folder; name one with --out");
        }
        if self.format.takes_plain_keys_only() && self.keys.key_passphrase_from.is_some() {
            return usage(
                "a private key in this form is not encrypted: say --plain-keys if that is meant",
            );
        }
        if self.to_stdout() && self.format.is_folder() {
            return usage("standard output is one stream; choose --format ndjson or tar");
        }
        if self.options.manifest.as_ref() == Some(&self.target.out) {
            return usage("the output and its manifest are two files; choose another --manifest");
        }
        Ok(())
    }

    /// Whether it goes to standard output.
    fn to_stdout(&self) -> bool {
        self.target.out == Path::new("-")
    }

    /// Where the manifest goes, if it goes to a file: the inventory keeps it anyway.
    fn manifest_path(&self) -> Option<PathBuf> {
        let beside_output = || (!self.to_stdout()).then(|| beside(&self.target.out, MANIFEST));
        self.options.manifest.clone().or_else(beside_output)
    }

    /// Tells what became of the batch: as the result, unless that is the batch itself.
    fn tell(&self, summary: &Summary) -> Result<(), CommandError> {
        if self.to_stdout() {
            self.context.ui.note(summary);
            Ok(())
        } else {
            self.context.ui.result(summary)
        }
    }

    fn summary(&self, batch: &BatchRecord) -> Summary {
        Summary {
            batch: batch.name.clone(),
            devices: batch.delivered,
            status: batch.state.to_string(),
            output: self.target.out.clone(),
            manifest: self.manifest_path(),
            dropped_extensions: BTreeMap::new(),
        }
    }

    /// Issues the batch that `read` reads, or what is left of it.
    pub(super) fn run(
        &self,
        read: impl FnOnce() -> Result<Input, CommandError> + Send,
    ) -> CommandResult {
        let context = self.context;
        let target = self.target;
        target.check_labels()?;
        target.profile(context)?;
        // Beside each other: a list of 200,000 takes about as long as the stretching of a passphrase.
        let (input, opened) = thread::scope(|scope| {
            let reading = scope.spawn(read);
            let opened = self.open();
            let input = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            (input, opened)
        });
        let input = input?.labelled(&target.labels);
        let form = self.known_form(&input)?;
        let (mut inventory, authority) = opened?;
        authority.warn_of_chain(&context.home, &context.ui)?;
        note_dropped(&context.ui, &input.asked);
        if context.settings.dry_run {
            let would = self.rehearse(&mut inventory, &authority, &input)?;
            context.ui.note(would);
            return Ok(Outcome::Done);
        }
        let dropped_extensions = input.asked.clone();
        let batch = self.serve(&mut inventory, &authority, input, form)?;
        self.tell(&Summary {
            dropped_extensions,
            ..self.summary(&batch)
        })?;
        Ok(Outcome::Done)
    }

    /// How the output is written, if that is known before the last leaves of renewals are: they tell which
    /// keys are made.
    fn known_form(&self, input: &Input) -> Result<Option<Form>, CommandError> {
        let total = input.checked.devices;
        if total == 0 {
            let message = format!("{} names no device", input.source);
            return Err(CommandError::invalid_input(message));
        }
        match self.purpose {
            Purpose::Renew(_) => Ok(None),
            Purpose::Issue | Purpose::Replace(_) => self.form(&input.checked).map(Some),
        }
    }

    /// Issues the batch, or what is left of it.
    fn serve(
        &self,
        inventory: &mut SqliteInventory,
        authority: &OpenAuthority,
        input: Input,
        form: Option<Form>,
    ) -> Result<BatchRecord, CommandError> {
        let Input {
            source,
            mut checked,
            ..
        } = input;
        let profile = self.target.profile(self.context)?;
        let run = BatchRun::new(self, authority, profile, &source)?;
        run.keep_off_homes()?;
        let _lock = run.lock()?;
        let found = run.find(inventory)?;
        if let Some(batch) = found.as_ref().filter(|batch| is_complete(batch)) {
            let told = self.find_complete(&run, inventory, batch)?;
            self.context.ui.note(told);
            return Ok(batch.clone());
        }
        // Nobody else issues to one of its devices until this run ends.
        let _claim = run.claim(std::mem::take(&mut checked.digests))?;
        let devices = self.devices(&run, inventory, found.as_ref(), checked)?;
        let run = run.over(devices.source.as_ref().unwrap_or(&source));
        let checked = devices.checked;
        let form = form.map_or_else(|| self.form(&checked), Ok)?;
        let batch = match found {
            Some(batch) => {
                run.judge_rest(inventory, &batch, &checked)?;
                batch
            }
            None => {
                run.judge_new(inventory, &checked)?;
                self.confirm()?;
                run.open(inventory, &checked)?
            }
        };
        let renderer = Renderer::new(form, &authority.chain());
        self.finish(&run, inventory, &batch, &renderer)
    }

    /// Issues what is left of a batch, and completes it with its manifest.
    fn finish(
        &self,
        run: &BatchRun<'_>,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        renderer: &Renderer,
    ) -> Result<BatchRecord, CommandError> {
        let manifest = run.issue(inventory, batch, renderer)?;
        let text = run.manifest_text(manifest)?;
        if let Some(path) = self.manifest_path() {
            // A run that was cut short right after may have written it.
            let is_ours = |kept: &[u8]| is_manifest_of(kept, &batch.name);
            let files = &self.context.files;
            files.write_generated(&path, text.as_bytes(), Access::Public, is_ours)?;
        }
        let batch = inventory.complete_batch(&batch.name, &text, self.context.now())?;
        run.forget_note();
        Ok(batch)
    }

    /// What is said if nothing is left to do, and the output is where it was delivered to.
    fn find_complete(
        &self,
        run: &BatchRun<'_>,
        inventory: &SqliteInventory,
        batch: &BatchRecord,
    ) -> Result<String, CommandError> {
        run.check_output_is_here(inventory, batch)?;
        let name = &batch.name;
        Ok(match (self.purpose, batch.completed_at) {
            (Purpose::Renew(_), Some(at)) => format!(
                "batch {name} is complete already: its devices were renewed on {at}; another --out renews them once more"
            ),
            _ => format!("batch {name} is complete already"),
        })
    }

    /// Asks before leaves are withdrawn.
    fn confirm(&self) -> Result<(), CommandError> {
        match self.purpose {
            Purpose::Replace(replacement) => self.context.dialog.confirm(&replacement.question()),
            Purpose::Issue | Purpose::Renew(_) => Ok(()),
        }
    }

    /// The devices to issue to: of renewals, with their last leaves.
    fn devices(
        &self,
        run: &BatchRun<'_>,
        inventory: &mut SqliteInventory,
        batch: Option<&BatchRecord>,
        checked: SoundInput,
    ) -> Result<Devices, CommandError> {
        let source = None;
        match self.purpose {
            Purpose::Issue => Ok(Devices { source, checked }),
            Purpose::Replace(replacement) => {
                run.settle(inventory, replacement)?;
                Ok(Devices { source, checked })
            }
            Purpose::Renew(renewals) => {
                let (source, checked) = run.follow(inventory, batch, renewals, checked.devices)?;
                Ok(Devices {
                    source: Some(source),
                    checked,
                })
            }
        }
    }

    /// Judges all that a run would, and returns what it would do.
    fn rehearse(
        &self,
        inventory: &mut SqliteInventory,
        authority: &OpenAuthority,
        input: &Input,
    ) -> Result<String, CommandError> {
        let profile = self.target.profile(self.context)?;
        let run = BatchRun::new(self, authority, profile, &input.source)?.rehearsing();
        run.keep_off_homes()?;
        if !self.context.settings.dry_run {
            // That a part cannot be written is found before another is issued.
            drop(run.lock()?);
        }
        let found = run.find(inventory)?;
        if let Some(batch) = found.as_ref().filter(|batch| is_complete(batch)) {
            return self.find_complete(&run, inventory, batch);
        }
        let devices = self.devices(&run, inventory, found.as_ref(), input.checked.clone())?;
        let run = run.over(devices.source.as_ref().unwrap_or(&input.source));
        if matches!(self.purpose, Purpose::Renew(_)) {
            self.form(&devices.checked)?;
        }
        let left = match &found {
            Some(batch) => {
                run.judge_rest(inventory, batch, &devices.checked)?;
                batch.total - batch.delivered
            }
            None => {
                run.judge_new(inventory, &devices.checked)?;
                devices.checked.devices
            }
        };
        Ok(format!(
            "would issue {} to {}",
            counted(left, "leaf", "leaves"),
            self.target.out.display()
        ))
    }

    fn open(&self) -> Result<(SqliteInventory, OpenAuthority), CommandError> {
        let inventory = self.context.home.inventory()?;
        let name = &self.target.authority;
        let authority = OpenAuthority::open_or_stand_in(self.context, &inventory, name)?;
        Ok((inventory, authority))
    }

    fn form(&self, checked: &SoundInput) -> Result<Form, CommandError> {
        let shards = Shards::of(checked.devices);
        if self.format == Format::Pfx {
            return Ok(Form::Folder(DeviceFiles::Pfx(self.pfx(checked)?), shards));
        }
        let keys = match checked.new_keys {
            0 => KeyForm::Plain,
            _ => self.key_form()?,
        };
        Ok(match self.format {
            Format::Ndjson => Form::Ndjson(keys),
            Format::Tar => Form::Tar(DeviceFiles::Pem(keys)),
            Format::CHeader => Form::Folder(DeviceFiles::CHeader, shards),
            Format::Nvs => Form::Folder(DeviceFiles::Nvs, shards),
            Format::Dir | Format::Pfx => Form::Folder(DeviceFiles::Pem(keys), shards),
        })
    }

    fn pfx(&self, checked: &SoundInput) -> Result<Pfx, CommandError> {
        let own = checked.devices - checked.new_keys;
        if own > 0 {
            let keep = counted(own, "device keeps its own", "devices keep their own");
            let message = format!("a PKCS#12 file holds the device's key, and {keep}");
            return Err(CommandError::refused(message).hint("choose --format dir"));
        }
        let passphrase = self.key_passphrase()?.ok_or_else(|| {
            CommandError::refused("PKCS#12 files need a passphrase")
                .hint("give it with --key-passphrase-from file:PATH or env:NAME")
        })?;
        let encryption = PfxEncryption::Modern;
        Ok(Pfx {
            passphrase,
            encryption,
        })
    }

    fn key_form(&self) -> Result<KeyForm, CommandError> {
        if let Some(passphrase) = self.key_passphrase()? {
            let sealer = KeySealer::new(&passphrase, self.context.entropy.as_ref());
            let sealer = sealer.map_err(|error| CommandError::failed(error.to_string()))?;
            return Ok(KeyForm::Encrypted(sealer));
        }
        if self.keys.plain_keys || !self.options.recipients.is_empty() {
            return Ok(KeyForm::Plain);
        }
        let refused = CommandError::refused("the devices' keys would be written in the clear");
        if self.format.takes_plain_keys_only() {
            return Err(
                refused.hint("this form has no other keys; --plain-keys says that it is meant")
            );
        }
        Err(refused.hint(
            "choose: --recipient age1… seals the output, --key-passphrase-from WHERE encrypts each key, --plain-keys writes them as they are",
        ))
    }

    fn key_passphrase(&self) -> Result<Option<Passphrase>, CommandError> {
        let question = "Passphrase of the devices' keys: ";
        let Some(word) = &self.keys.key_passphrase_from else {
            return Ok(None);
        };
        // Nobody is asked for each part of a list.
        let secrets = &self.context.secrets;
        let secret = once(&self.keys.passphrase, || secrets.read(word, question))?;
        Ok(Some(Passphrase::read(secret.clone())))
    }
}

/// The devices of a batch as they are issued to.
struct Devices {
    /// Where they stand, if that is not where they are listed.
    source: Option<Source>,
    checked: SoundInput,
}

fn is_complete(batch: &BatchRecord) -> bool {
    batch.state == BatchState::Complete
}

/// Whether a file is the manifest of a batch.
fn is_manifest_of(content: &[u8], name: &Label) -> bool {
    let read: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    read.is_some_and(|manifest| manifest["batch"] == name.to_string())
}

/// Says what requests ask for and do not get.
fn note_dropped(ui: &Ui, asked: &BTreeMap<String, u64>) {
    for (extension, requests) in asked {
        let ask = counted(*requests, "request asks", "requests ask");
        ui.note(format!(
            "{ask} for {extension}; the profile decides instead"
        ));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    batch: Label,
    devices: u64,
    status: String,
    output: PathBuf,
    /// Its file, if there is one.
    manifest: Option<PathBuf>,
    /// The extensions that requests asked for and did not get, and how many asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dropped_extensions: BTreeMap<String, u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = match self.output.to_str() {
            Some("-") => "standard output".into(),
            _ => self.output.to_string_lossy(),
        };
        write!(
            f,
            "batch {}: {} in {output}",
            self.batch,
            counted(self.devices, "device", "devices")
        )?;
        match &self.manifest {
            Some(manifest) => write!(f, "\nmanifest: {}", manifest.display()),
            None => Ok(()),
        }
    }
}
