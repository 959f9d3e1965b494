//! Batches: one device of them as if its files had been given, or all of them into a folder.

use std::path::Path;

use pki_core::handout::{DeviceFiles, KeyForm, OpenedKey};
use pki_core::ids::RegistrationId;

use super::super::opening::{Keys, Opening, unlock};
use super::{Args, Form, Material, note_left_out};
use crate::batch_file::{BatchFile, looks_like_one};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};

fn usage(message: &str) -> CommandError {
    CommandError::new(ErrorKind::Usage, message)
}

impl Args {
    /// The batch that is to be converted, if it is one.
    pub(super) fn batch(&self, context: &Context) -> Result<Option<BatchFile>, CommandError> {
        let is_named = self.id.is_some() || self.identity.is_some();
        match self.files.as_slice() {
            [path] if is_named || looks_like_one(&context.files, path)? => {
                BatchFile::new(context, path, self.identity.as_deref()).map(Some)
            }
            [_, _, ..] if is_named => Err(usage(
                "--id and --identity are for a batch; name its file alone",
            )),
            _ => Ok(None),
        }
    }

    /// One device of a batch.
    pub(super) fn device(
        &self,
        context: &Context,
        batch: &BatchFile,
        id: &RegistrationId,
    ) -> Result<Material, CommandError> {
        let name = batch.name();
        let mut found = None;
        batch.each(|device| {
            if device.id == *id && found.replace(device).is_some() {
                let message = format!("{name}: {id} stands in it twice");
                return Err(CommandError::invalid_input(message));
            }
            Ok(())
        })?;
        let mut device = found.ok_or_else(|| {
            CommandError::not_found(format!("{name}: there is no device {id} in it"))
        })?;
        let certificates = device.full_chain();
        if self.wants_key() {
            unlock(&context.secrets, batch, &mut device)?;
        } else if device.key.take().is_some() {
            note_left_out(&context.ui, &name);
        }
        let key = match device.key {
            Some(OpenedKey::Plain(key)) => Some(key),
            _ => None,
        };
        Ok(Material {
            certificates,
            key,
            ..Material::default()
        })
    }

    /// Converts all devices of a batch into files of a folder.
    pub(super) fn open(&self, context: &Context, batch: &BatchFile) -> CommandResult {
        if self.trim_at.is_some() || self.name.is_some() {
            return Err(usage(
                "--trim-at and --name are for one device: name it with --id",
            ));
        }
        let out = self.out.as_deref().filter(|out| *out != Path::new("-"));
        let out = out.ok_or_else(|| {
            usage("a batch becomes a folder: name it with --out, or one device with --id")
        })?;
        let keys = if self.wants_key() {
            Keys::Opened
        } else {
            note_left_out(&context.ui, &batch.name());
            Keys::LeftOut
        };
        Opening {
            context,
            batch,
            files: self.files_of_each(context)?,
            keys,
            out,
        }
        .run()
    }

    fn files_of_each(&self, context: &Context) -> Result<DeviceFiles, CommandError> {
        match self.to {
            Form::Pem => {
                let sealer = self.sealer(&context.secrets, context.entropy.as_ref())?;
                let keys = sealer.map_or(KeyForm::Plain, KeyForm::Encrypted);
                Ok(DeviceFiles::Pem(keys))
            }
            Form::Pfx => self.pfx_form(&context.secrets).map(DeviceFiles::Pfx),
            Form::CHeader => Ok(DeviceFiles::CHeader),
            Form::Nvs => Ok(DeviceFiles::Nvs),
            Form::Der | Form::P7b => Err(usage(
                "this form is for one device of a batch: name it with --id",
            )),
        }
    }
}
