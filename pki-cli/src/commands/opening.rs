//! The devices of a batch that arrived, written into a folder as they are flashed.
//!
//! The batch is read twice: judged as a whole, then written, so that nothing is written of one that was
//! cut short or changed.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::bulk::Outlet as _;
use pki_core::bulk::input::digest;
use pki_core::handout::{DeviceFiles, OpenedDevice, OpenedKey, Released, RenderError, Shards};
use pki_core::wording::counted;
use serde::Serialize;

use crate::batch_file::BatchFile;
use crate::batch_output::{Folder, OutputLock, check_name};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::render::progress::ProgressLine;
use crate::secrets::Secrets;

/// A batch that is to be opened.
pub(super) struct Opening<'a> {
    pub(super) context: &'a Context,
    pub(super) batch: &'a BatchFile,
    pub(super) files: DeviceFiles,
    pub(super) keys: Keys,
    pub(super) out: &'a Path,
}

/// What becomes of the devices' keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// They stay in the batch.
    LeftOut,
    /// Those that are encrypted stay so.
    AsTheyAre,
    /// Those that are encrypted are opened.
    Opened,
}

impl Opening<'_> {
    pub(super) fn run(&self) -> CommandResult {
        let files = &self.context.files;
        if self.out == Path::new("-") {
            let message = "the devices' files go into a folder; name one with --out";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        files.check_new_folder(self.out)?;
        files.check_output(self.out)?;
        check_name(self.out)?;
        let devices = self.judge()?;
        if self.context.settings.dry_run {
            let devices = counted(devices, "device", "devices");
            let out = self.out.display();
            let told = format!("would write the files of {devices} to {out}");
            self.context.ui.note(told);
            return Ok(Outcome::Done);
        }
        let out = files.resolve(self.out);
        let _lock = OutputLock::take(&out, self.out)?;
        let mut folder = Folder::begin_anew(&out)?;
        let written = self.write(&mut folder, devices);
        if let Err(error) = written.and_then(|()| folder.publish()) {
            folder.discard();
            return Err(error);
        }
        self.context.ui.result(&Summary {
            batch: self.batch.name().to_owned(),
            devices,
            output: self.out.to_owned(),
        })?;
        Ok(Outcome::Done)
    }

    /// How many devices there are, if all of it is sound.
    fn judge(&self) -> Result<u64, CommandError> {
        let mut seen = HashSet::new();
        let mut devices = 0;
        self.batch.each(|device| {
            devices += 1;
            if seen.insert(digest(&device.id)) {
                return Ok(());
            }
            let name = self.batch.name();
            let message = format!("{name}: {} stands in it twice", device.id);
            Err(CommandError::invalid_input(message))
        })?;
        Ok(devices)
    }

    fn write(&self, folder: &mut Folder, devices: u64) -> Result<(), CommandError> {
        let shards = Shards::of(devices);
        let mut line = ProgressLine::new(&self.context.ui, "devices", devices, 0);
        let mut written = 0;
        let ended = self.batch.each(|mut device| {
            self.prepare_key(&mut device)?;
            let files = device.files(&self.files, shards, written);
            let files = files.map_err(|error| self.not_rendered(&error))?;
            let released = Released {
                files,
                ..Released::default()
            };
            folder
                .append(&released)
                .map_err(|error| self.failed(error))?;
            written += 1;
            line.show(written);
            Ok(())
        });
        line.end();
        ended?;
        folder.finish().map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn prepare_key(&self, device: &mut OpenedDevice) -> Result<(), CommandError> {
        match self.keys {
            Keys::LeftOut => device.key = None,
            Keys::AsTheyAre => {}
            Keys::Opened => unlock(&self.context.secrets, self.batch, device)?,
        }
        Ok(())
    }

    fn not_rendered(&self, error: &RenderError) -> CommandError {
        CommandError::refused(format!("{}: {error}", self.batch.name()))
    }

    fn failed(&self, error: std::io::Error) -> CommandError {
        CommandError::failed(format!("cannot write {}", self.out.display())).because(error)
    }
}

/// Opens the private key of a device, if it is encrypted, with the passphrase that was given.
pub(super) fn unlock(
    secrets: &Secrets,
    batch: &BatchFile,
    device: &mut OpenedDevice,
) -> Result<(), CommandError> {
    let Some(OpenedKey::Encrypted(_)) = device.key else {
        return Ok(());
    };
    let name = batch.name();
    let id = device.id.clone();
    let Some(passphrase) = secrets.given_passphrase()? else {
        let message = format!("{name}: the private key of {id} is encrypted");
        return Err(CommandError::refused(message)
            .hint("give its passphrase with --passphrase-file or --passphrase-from"));
    };
    device
        .unlock(passphrase)
        .map_err(|error| CommandError::refused(format!("{name}: {id}: {error}")))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    batch: String,
    devices: u64,
    output: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = counted(self.devices, "device", "devices");
        let out = self.output.display();
        write!(f, "opened {}: {devices} in {out}", self.batch)
    }
}
