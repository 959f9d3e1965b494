//! A batch as a file that arrived, sealed or not.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;

use pki_core::handout::seal::{Identities, SEALED, UnsealError, UnsealingReader};
use pki_core::handout::{OpenedDevice, OpenedError, begins_as_batch, each_device};

use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::files::Files;
use crate::inputs::{Inputs, Rereadable};

/// What age writes if it is told to write text.
const ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A batch, and what opens it.
pub(crate) struct BatchFile {
    input: Rereadable,
    /// `None` if it is not sealed.
    identities: Option<Identities>,
}

/// Why the devices were not gone through.
enum Ended {
    Unreadable(OpenedError),
    ByVisitor(CommandError),
}

impl From<OpenedError> for Ended {
    fn from(error: OpenedError) -> Self {
        Self::Unreadable(error)
    }
}

/// Whether a file begins as a batch does. Pipes are not asked: what is read of them is gone.
pub(crate) fn looks_like_one(files: &Files, path: &Path) -> Result<bool, CommandError> {
    if path == Path::new("-") {
        return Ok(false);
    }
    let file = files.open_stream(path)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(false);
    }
    let mut opened = BufReader::with_capacity(512, file);
    let beginning = beginning(&path.display(), &mut opened)?;
    Ok(begins_as_batch(beginning) || beginning.starts_with(SEALED))
}

impl BatchFile {
    /// A batch, with the file of age identities that opens it if it is sealed.
    pub(crate) fn new(
        context: &Context,
        path: &Path,
        identity: Option<&Path>,
    ) -> Result<Self, CommandError> {
        let inputs = &context.inputs;
        let input = inputs.rereadable(path)?;
        let mut opened = input.open()?;
        let beginning = beginning(&input.name(), &mut opened)?;
        if beginning.starts_with(ARMORED) {
            let message = format!("{}: it is an age file in armor", input.name());
            return Err(CommandError::invalid_input(message)
                .hint("open it with age --decrypt, and give what that writes as - here"));
        }
        let is_sealed = beginning.starts_with(SEALED);
        let identities = match identity {
            None if is_sealed => {
                let message = format!("{} is sealed", input.name());
                return Err(CommandError::refused(message)
                    .hint("say where the identity is that opens it: --identity FILE"));
            }
            Some(path) if is_sealed => {
                let identities = read_identities(inputs, path)?;
                context.home.permissions().check_identity(path)?;
                Some(identities)
            }
            _ => None,
        };
        Ok(Self { input, identities })
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        self.input.name()
    }

    /// Hands each device to `visit`, from the first to the end of the batch.
    pub(crate) fn each(
        &self,
        mut visit: impl FnMut(OpenedDevice) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let visit = |device| visit(device).map_err(Ended::ByVisitor);
        let input = self.input.open()?;
        let ended = match &self.identities {
            None => each_device(input, visit),
            Some(identities) => {
                let opened = UnsealingReader::new(input, identities);
                let opened = opened.map_err(|error| self.does_not_open(&error))?;
                each_device(BufReader::with_capacity(1 << 16, opened), visit)
            }
        };
        ended.map_err(|ended| match ended {
            Ended::Unreadable(error) => {
                CommandError::invalid_input(format!("{}: {error}", self.name()))
            }
            Ended::ByVisitor(error) => error,
        })
    }

    fn does_not_open(&self, error: &UnsealError) -> CommandError {
        let kind = match error {
            UnsealError::NotForUs => ErrorKind::Refused,
            UnsealError::Read(_) => ErrorKind::Failed,
            _ => ErrorKind::InvalidInput,
        };
        CommandError::new(kind, format!("{}: {error}", self.name()))
    }
}

fn beginning<'a>(
    name: &dyn fmt::Display,
    opened: &'a mut dyn BufRead,
) -> Result<&'a [u8], CommandError> {
    opened
        .fill_buf()
        .map_err(|error| CommandError::failed(format!("cannot read {name}")).because(error))
}

fn read_identities(inputs: &Inputs, path: &Path) -> Result<Identities, CommandError> {
    let content = inputs.read(path)?;
    Identities::read(&content).map_err(|error| CommandError::in_file(path, &error))
}
