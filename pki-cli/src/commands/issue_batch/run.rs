//! One run over a batch: opened or found, gone on with, delivered, its manifest made.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pki_core::bulk::input::{Device, SoundInput, digest};
use pki_core::bulk::{
    self, BulkError, Delivery, Finished, Issuance, Job, LeafTerms, Outlet, Progress,
};
use pki_core::declaration::LeafProfile;
use pki_core::handout::Renderer;
use pki_core::handout::digest::{OutputDigest, OutputHash};
use pki_core::handout::manifest::Manifest;
use pki_core::ids::AuthorityGeneration;
use pki_core::inventory::{BatchRecord, Inventory as _, InventoryError, Label, NewBatch};
use pki_core::key::software::SoftwareKeyGenerator;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::{Span, Time, TimeError};
use pki_core::wording::counted;
use serde_json::json;

use super::super::issue::Target;
use super::{Batch, Purpose};
use crate::batch_input::Source;
use crate::batch_output::{
    Folder, OutputLock, Pipe, SealedFile, StreamFile, Written, publish_finished,
};
use crate::error::{CommandError, ErrorKind};
use crate::files::own::Taken;
use crate::files::{Access, Existing};
use crate::issuance::OpenAuthority;
use crate::locks::Claim;
use crate::render::progress::ProgressLine;
use crate::runtime::Runtime;

/// One run over what is left of a batch.
pub(super) struct BatchRun<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) authority: &'a OpenAuthority,
    pub(super) profile: &'a LeafProfile,
    pub(super) source: &'a Source,
    fingerprint: OutputDigest,
    /// Whether nothing is to be changed: what it would do is judged.
    pub(super) rehearses: bool,
    /// When the run began: what is judged at this moment is signed at this moment.
    pub(super) now: Time,
    /// Set by Ctrl-C.
    stop: Arc<AtomicBool>,
}

impl<'a> BatchRun<'a> {
    /// The run of a command; finds out which batch it is about. From now on Ctrl-C ends it in order.
    pub(super) fn new(
        batch: &'a Batch<'a>,
        authority: &'a OpenAuthority,
        profile: &'a LeafProfile,
        source: &'a Source,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            batch,
            authority,
            profile,
            source,
            fingerprint: fingerprint(batch, authority, source)?,
            rehearses: false,
            now: batch.context.now(),
            stop: stop_on_interrupt(&batch.context.runtime)?,
        })
    }

    /// The same run, which changes nothing.
    pub(super) fn rehearsing(self) -> Self {
        let rehearses = true;
        Self { rehearses, ..self }
    }

    /// The same run, over devices of which more is known.
    pub(super) fn over(self, source: &'a Source) -> Self {
        Self { source, ..self }
    }

    /// Locks the output; standard output has no place of its own, so that the home keeps its lock.
    pub(super) fn lock(&self) -> Result<OutputLock, CommandError> {
        let Batch {
            context, target, ..
        } = self.batch;
        if self.batch.to_stdout() {
            OutputLock::take(&self.note_path(), Path::new("standard output"))
        } else {
            OutputLock::take(&context.files.resolve(&target.out), &target.out)
        }
    }

    /// Where the home keeps what was written to standard output, until the batch is complete.
    fn note_path(&self) -> PathBuf {
        let digest = self.fingerprint.to_string();
        let home = self.batch.context.home.layout.root();
        home.join(format!("batch-{}", digest.get(..12).unwrap_or(&digest)))
    }

    /// Removes what was kept until the batch was complete.
    pub(super) fn forget_note(&self) {
        if self.batch.to_stdout() {
            // What is left of it harms nobody: it belongs to this batch alone.
            self.batch.context.files.remove(&self.note_path());
        }
    }

    /// Finds the batch that a run of the same command left open, or completed.
    pub(super) fn find(
        &self,
        inventory: &SqliteInventory,
    ) -> Result<Option<BatchRecord>, CommandError> {
        let known = inventory.batch(&self.name()?)?;
        Ok(known.filter(|batch| batch.fingerprint == *self.fingerprint.as_octets()))
    }

    /// Opens a batch that was judged.
    pub(super) fn open(
        &self,
        inventory: &mut SqliteInventory,
        checked: &SoundInput,
    ) -> Result<BatchRecord, CommandError> {
        let target = self.batch.target;
        let new = NewBatch {
            name: self.name()?,
            signed_by: self.authority.generation(),
            fingerprint: *self.fingerprint.as_octets(),
            total: checked.devices,
            output: target.out.display().to_string(),
            format: self.batch.format.word().to_owned(),
        };
        Ok(match self.batch.purpose {
            Purpose::Issue | Purpose::Renew(_) => inventory.open_batch(new, self.now)?,
            Purpose::Replace(replacement) => {
                inventory.replace_batch(new, &replacement.lost, self.now)?
            }
        })
    }

    pub(super) fn name(&self) -> Result<Label, CommandError> {
        match (self.batch.purpose, &self.batch.options.name) {
            (Purpose::Replace(replacement), _) => Ok(replacement.batch.clone()),
            (_, Some(name)) => Ok(name.clone()),
            (_, None) => default_name(self.batch.target, &self.fingerprint),
        }
    }

    /// Claims the devices, all or none: what is recorded of one of them and not delivered is nobody's who
    /// is still at it.
    pub(super) fn claim(&self, mut digests: Vec<u128>) -> Result<Claim, CommandError> {
        if digests.is_empty() {
            let devices = self.source.devices()?.filter_map(Result::ok);
            digests = devices.map(|device| digest(&device.id)).collect();
        }
        let mut devices = self.source.devices()?.filter_map(Result::ok);
        Claim::take(self.batch.context, digests, |claimed| {
            let first = devices.find(|device| digest(&device.id) == claimed);
            first.map(|device| device.id.into())
        })
    }

    /// Voids what was cut short, goes on where it stopped, and returns the manifest.
    pub(super) fn issue(
        &self,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        renderer: &Renderer,
    ) -> Result<Manifest, CommandError> {
        let now = self.now;
        let reason = "its batch was cut short before it was delivered";
        let voided = inventory.void_undelivered(&batch.name, reason, now)?;
        if batch.delivered > 0 || voided > 0 {
            self.batch.context.ui.note(format!(
                "batch {}: going on after {} of {}; {voided} cut short and void",
                batch.name,
                batch.delivered,
                counted(batch.total, "device", "devices")
            ));
        }
        let written = self.write(inventory, batch, renderer)?;
        self.manifest(inventory, batch, written)
    }

    fn write(
        &self,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        renderer: &Renderer,
    ) -> Result<Written, CommandError> {
        let out = self.batch.context.files.resolve(&self.batch.target.out);
        let taken = if self.batch.context.files.replaces() {
            Taken::IsReplaced
        } else {
            Taken::Stays
        };
        if self.batch.to_stdout() {
            return self.write_to_stdout(inventory, batch, renderer);
        }
        if batch.delivered == batch.total {
            return publish_finished(&out, self.batch.format.is_folder(), taken);
        }
        if self.batch.format.is_folder() {
            let mut folder = Folder::open(&out, batch.output_octets)?;
            self.run(inventory, batch, renderer, &mut folder, Delivery::Chunkwise)?;
            return folder.publish();
        }
        if !self.batch.options.recipients.is_empty() {
            let recipients = &self.batch.options.recipients;
            let mut sealed = SealedFile::open(&out, taken, recipients, renderer.ending())?;
            self.run(inventory, batch, renderer, &mut sealed, Delivery::AtEnd)?;
            return sealed.publish();
        }
        let mut file = StreamFile::open(&out, taken, batch.output_octets, renderer.ending())?;
        self.run(inventory, batch, renderer, &mut file, Delivery::Chunkwise)?;
        file.publish()
    }

    fn write_to_stdout(
        &self,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        renderer: &Renderer,
    ) -> Result<Written, CommandError> {
        let context = self.batch.context;
        let note = self.note_path();
        if batch.delivered == batch.total {
            let kept = context.files.read(&note)?;
            return serde_json::from_slice(&kept)
                .map_err(|error| CommandError::in_file(&note, &error));
        }
        let keep = |written: &Written| {
            let text = serde_json::to_vec(written)?;
            let kept = context
                .files
                .write(&note, &text, Access::Public, Existing::Replace);
            kept.map_err(|error| io::Error::other(error.to_string()))
        };
        let recipients = &self.batch.options.recipients;
        let mut pipe = Pipe::open(context.ui.stdout(), recipients, renderer.ending(), &keep)?;
        self.run(inventory, batch, renderer, &mut pipe, Delivery::AtEnd)?;
        pipe.written()
            .map_err(|error| CommandError::failed("cannot write standard output").because(error))
    }

    fn run(
        &self,
        inventory: &mut SqliteInventory,
        batch: &BatchRecord,
        renderer: &Renderer,
        output: &mut dyn Outlet,
        delivery: Delivery,
    ) -> Result<(), CommandError> {
        /// Devices of a chunk: one transaction and one sync.
        const CHUNK: usize = 1000;
        let profile = self.profile;
        let now = self.now;
        // A batch that is gone on with gives what was judged when it was opened, however long ago.
        let begin = batch.started_at;
        let usual = self.terms(profile, profile.validity, begin)?;
        let terms = |device: &Device| {
            if device.has_own_terms() {
                self.terms_of(device, begin).map(Cow::Owned)
            } else {
                Ok(Cow::Borrowed(&usual))
            }
        };
        let issuance = Issuance {
            batch: Some(batch.name.clone()),
            issuer: self.authority.issuer(),
            signer: self.authority.signer(),
            generator: &SoftwareKeyGenerator,
            entropy: self.batch.context.entropy.as_ref(),
            now,
            terms: &terms,
            renderer,
        };
        let job = Job {
            issuance,
            jobs: self.batch.options.jobs(),
            total: batch.total,
            chunk: CHUNK.min(if is_slow(profile) { 50 } else { CHUNK }),
            delivery,
        };
        let mut line = ProgressLine::new(
            &self.batch.context.ui,
            "devices",
            batch.total,
            batch.delivered,
        );
        let from = Progress {
            delivered: batch.delivered,
            output_octets: batch.output_octets,
        };
        let devices = self.source.devices()?;
        let ended = bulk::run(
            &job,
            inventory,
            devices,
            from,
            output,
            &self.stop,
            &mut |progress| {
                line.show(progress.delivered);
            },
        );
        line.end();
        match ended.map_err(|error| in_batch(error, delivery))? {
            Finished::All(_) => Ok(()),
            Finished::Stopped(progress) => Err(stopped(batch, progress, delivery)),
        }
    }

    /// What the leaf of a device is to be that begins at a moment.
    pub(super) fn terms_of(&self, device: &Device, begin: Time) -> Result<LeafTerms, TimeError> {
        self.terms(self.profile(device), self.span(device), begin)
    }

    fn terms(
        &self,
        profile: &LeafProfile,
        span: Span,
        begin: Time,
    ) -> Result<LeafTerms, TimeError> {
        Ok(LeafTerms {
            key: profile.key,
            validity: self.authority.validity(begin, span)?,
            content: profile.content(),
        })
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn profile(&self, device: &Device) -> &LeafProfile {
        let declaration = self.batch.context.home.declaration().ok();
        let named = device.profile.as_ref().zip(declaration);
        let named = named.and_then(|(name, declaration)| declaration.profiles.get(name));
        named.unwrap_or(self.profile)
    }

    fn span(&self, device: &Device) -> Span {
        let of_profile = || self.profile(device).validity;
        device.validity.unwrap_or_else(of_profile)
    }

    fn manifest(
        &self,
        inventory: &SqliteInventory,
        batch: &BatchRecord,
        written: Written,
    ) -> Result<Manifest, CommandError> {
        let AuthorityGeneration { name, generation } = self.authority.generation();
        let out = &self.batch.target.out;
        let output = if self.batch.to_stdout() {
            "-".into()
        } else {
            out.file_name().unwrap_or_default().to_string_lossy()
        };
        let (first, last) = inventory.ends_of_batch(&batch.name)?.unzip();
        Ok(Manifest {
            manifest_version: Manifest::FORM,
            batch: batch.name.clone(),
            authority: name,
            generation,
            authority_certificate: self.authority.certificate().sha256_thumbprint(),
            profile: self.batch.target.profile.clone(),
            devices: batch.total,
            first_serial_number: first,
            last_serial_number: last,
            output: output.into_owned(),
            output_sha256: written.digest,
            output_octets: written.octets,
            recipients: self
                .batch
                .options
                .recipients
                .iter()
                .map(ToString::to_string)
                .collect(),
            started_at: batch.started_at,
            completed_at: self.batch.context.now(),
            tool: concat!("dps-pki ", env!("CARGO_PKG_VERSION")).to_owned(),
            signature: None,
        })
    }

    pub(super) fn manifest_text(&self, manifest: Manifest) -> Result<String, CommandError> {
        let failed = |error: pki_core::handout::manifest::ManifestError| {
            CommandError::failed(error.to_string())
        };
        let manifest = if self.batch.options.sign_manifest {
            manifest
                .sign(self.authority.certificate(), self.authority.signer())
                .map_err(failed)?
        } else {
            manifest
        };
        manifest.to_json().map_err(failed)
    }
}

/// Set by Ctrl-C, which finishes the chunk that is being committed.
fn stop_on_interrupt(runtime: &Runtime) -> Result<Arc<AtomicBool>, CommandError> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    runtime.get()?.spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            told.store(true, Ordering::Relaxed);
        }
    });
    Ok(stop)
}

/// What tells this command from any other: input, authority, profile, output and form.
fn fingerprint(
    batch: &Batch<'_>,
    authority: &OpenAuthority,
    source: &Source,
) -> Result<OutputDigest, CommandError> {
    let Batch {
        context,
        target,
        options,
        keys,
        format,
        purpose,
    } = batch;
    let recipients: Vec<String> = options.recipients.iter().map(ToString::to_string).collect();
    // A slash behind a folder's name makes no other folder of it.
    let out: PathBuf = if batch.to_stdout() {
        target.out.clone()
    } else {
        context.files.resolve(&target.out).components().collect()
    };
    let mut options = json!({
        "authority": authority.certificate().sha256_thumbprint(),
        "profile": target.profile,
        "out": out,
        "format": format.word(),
        "plainKeys": keys.plain_keys,
        "recipients": recipients,
        "input": source.digest()?,
    });
    match purpose {
        Purpose::Issue => {}
        Purpose::Renew(renewals) => {
            options["renews"] = json!({ "newKeys": renewals.new_keys });
        }
        Purpose::Replace(replacement) => options["replaces"] = json!(replacement.fingerprint()),
    }
    let said = source.said_of_it();
    if !said.is_empty() {
        options["said"] = json!(said);
    }
    let mut hash = OutputHash::new();
    hash.update(options.to_string().as_bytes());
    Ok(hash.digest())
}

/// Keys that take so long that a chunk of a thousand would be minutes without a trace.
fn is_slow(profile: &LeafProfile) -> bool {
    use pki_core::key::KeyAlgorithm::{Rsa2048, Rsa3072, Rsa4096};
    matches!(profile.key, Rsa2048 | Rsa3072 | Rsa4096)
}

fn in_batch(error: BulkError, delivery: Delivery) -> CommandError {
    let hint = match delivery {
        Delivery::Chunkwise => "what was delivered stays delivered; the same command goes on",
        Delivery::AtEnd => "nothing of it counts as delivered; the same command begins it anew",
    };
    match error {
        BulkError::Inventory(error @ InventoryError::LeafExists { .. }) => {
            CommandError::from(error).hint("or revoke that leaf; then the same command goes on")
        }
        BulkError::Inventory(error) => CommandError::from(error).hint(hint),
        BulkError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => {
            CommandError::failed("the reader of standard output has gone before the batch's end")
                .hint(hint)
        }
        BulkError::Output(source) => CommandError::failed("the output cannot be written")
            .because(source)
            .hint(hint),
        BulkError::Work(error) => CommandError::refused(error.to_string()).hint(hint),
        error => CommandError::new(ErrorKind::Bug, error.to_string()),
    }
}

fn stopped(batch: &BatchRecord, progress: Progress, delivery: Delivery) -> CommandError {
    let name = &batch.name;
    let (message, hint) = match delivery {
        Delivery::Chunkwise => (
            format!(
                "batch {name}: stopped after {} of {}",
                progress.delivered,
                counted(batch.total, "device", "devices")
            ),
            "the same command goes on from there",
        ),
        Delivery::AtEnd => (
            format!(
                "batch {name}: stopped; an output that is sealed or a pipe is whole or nothing"
            ),
            "the same command begins it anew, with new keys",
        ),
    };
    CommandError::new(ErrorKind::Interrupted, message).hint(hint)
}

fn default_name(target: &Target, fingerprint: &OutputDigest) -> Result<Label, CommandError> {
    let digest = fingerprint.to_string();
    let name = format!(
        "{}-{}",
        target.authority,
        digest.get(..12).unwrap_or(&digest)
    );
    name.parse()
        .map_err(|error: pki_core::inventory::TextError| CommandError::failed(error.to_string()))
}
