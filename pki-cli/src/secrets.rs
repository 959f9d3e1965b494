//! The secrets of one command, read from where words say that they are, and the passphrase of its home.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pki_core::secret::SecretSource;
use secrecy::{ExposeSecret as _, SecretString};

use crate::dialog::Dialog;
use crate::error::CommandError;
use crate::files::Files;
use crate::home::Home;
use crate::inputs::Inputs;
use crate::once::once;
use crate::secret_word::SecretWord;

/// Reads secrets.
pub struct Secrets {
    pub(crate) home: Arc<Home>,
    pub(crate) files: Arc<Files>,
    pub(crate) inputs: Arc<Inputs>,
    pub(crate) dialog: Arc<Dialog>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// Where the passphrase is, as flag or environment say.
    pub(crate) given: Option<SecretWord>,
    pub(crate) passphrase: OnceLock<SecretString>,
}

impl Secrets {
    /// The passphrase that opens this home's authority keys.
    ///
    /// # Errors
    /// `Refused` if it is neither given nor can be asked for; else as [`Self::read`].
    pub fn passphrase(&self) -> Result<&SecretString, CommandError> {
        let word = self.given.as_ref().unwrap_or(&SecretWord::Prompt);
        once(&self.passphrase, || {
            self.read(word, "Passphrase of the authority keys: ")
        })
    }

    /// The passphrase for keys that are about to be made: asked for twice, if asked for.
    ///
    /// # Errors
    /// As [`Self::passphrase`]; `Refused` if the two answers differ.
    pub fn new_passphrase(&self) -> Result<&SecretString, CommandError> {
        let asked = matches!(self.given, None | Some(SecretWord::Prompt));
        if self.passphrase.get().is_some() || !asked {
            return self.passphrase();
        }
        once(&self.passphrase, || {
            let first = self
                .dialog
                .secret("New passphrase for the authority keys: ")?;
            let second = self.dialog.secret("The same again: ")?;
            if first.expose_secret() == second.expose_secret() {
                Ok(first)
            } else {
                Err(CommandError::refused("the two passphrases differ"))
            }
        })
    }

    /// The passphrase if one was given by flag or environment; nobody is asked.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn given_passphrase(&self) -> Result<Option<&SecretString>, CommandError> {
        match &self.given {
            Some(_) => self.passphrase().map(Some),
            None => Ok(None),
        }
    }

    /// Reads a secret from where a word says it is; `question` is for [`SecretWord::Prompt`].
    ///
    /// # Errors
    /// `InvalidInput` if there is nothing; `Refused` if there is no terminal to ask at; else as
    /// [`Files::read`].
    pub fn read(&self, word: &SecretWord, question: &str) -> Result<SecretString, CommandError> {
        match word {
            SecretWord::File(path) => {
                self.home.warn_of_readable(path, "the secret in");
                first_line(&self.files.read(path)?, &path.display().to_string())
            }
            SecretWord::Environment(name) => {
                let variable = format!("the environment variable {name}");
                let value = self
                    .environment
                    .get(OsStr::new(name))
                    .ok_or_else(|| CommandError::invalid_input(format!("{variable} is not set")))?;
                first_line(value.as_encoded_bytes(), &variable)
            }
            SecretWord::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                let content = self.files.read(&path)?;
                first_line(&content, &format!("file descriptor {number}"))
            }
            SecretWord::Stdin => first_line(&self.inputs.read_stdin()?, "standard input"),
            SecretWord::Prompt => self.dialog.secret(question),
        }
    }

    /// Reads a secret from where a declaration or a URI says it is: files are named from the home.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn declared(
        &self,
        source: &SecretSource,
        question: &str,
    ) -> Result<SecretString, CommandError> {
        let word = match SecretWord::from(source) {
            SecretWord::File(path) => SecretWord::File(self.home.layout.resolve(path)),
            word => word,
        };
        self.read(&word, question)
    }

    /// Asks for a secret; `None` if there is nobody to ask.
    ///
    /// # Errors
    /// As [`Dialog::secret`].
    pub(crate) fn ask(&self, question: &str) -> Result<Option<SecretString>, CommandError> {
        if !self.dialog.can_ask() {
            return Ok(None);
        }
        self.dialog.secret(question).map(Some)
    }
}

/// The first line, without its end: editors and `echo` add one.
fn first_line(content: &[u8], name: &str) -> Result<SecretString, CommandError> {
    let line = content
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(CommandError::invalid_input(format!(
            "{name}: there is no secret on its first line"
        ))),
        Ok(text) => Ok(SecretString::from(text)),
        Err(_) => Err(CommandError::invalid_input(format!(
            "{name}: the secret is not UTF-8"
        ))),
    }
}
