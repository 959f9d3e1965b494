//! Where secrets come from: `file:PATH`, `env:NAME`, `fd:N`, `stdin` or `prompt`, never an argument.
//!
//! The words are those of OpenSSL's pass-phrase options, with `prompt` for asking.
//! Invariant: a word that is not understood may be a secret, so no error repeats it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use pki_core::secret::SecretSource;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretWord {
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The first line of an open file descriptor.
    Descriptor(u32),
    /// The first line of standard input.
    Stdin,
    /// The person at the terminal.
    Prompt,
}

/// A text that is no [`SecretWord`]; it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "secrets are not given on the command line; write file:PATH, env:NAME, fd:N, stdin or prompt"
)]
pub struct SecretWordError;

impl FromStr for SecretWord {
    type Err = SecretWordError;

    fn from_str(text: &str) -> Result<Self, SecretWordError> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            Some(("fd", number)) => number
                .parse()
                .map(Self::Descriptor)
                .map_err(|_| SecretWordError),
            None if text == "stdin" => Ok(Self::Stdin),
            None if text == "prompt" => Ok(Self::Prompt),
            _ => Err(SecretWordError),
        }
    }
}

impl From<&SecretSource> for SecretWord {
    fn from(source: &SecretSource) -> Self {
        match source {
            SecretSource::Environment(name) => Self::Environment(name.clone()),
            SecretSource::File(path) => Self::File(path.into()),
        }
    }
}

/// Reads a [`SecretWord`] from an argument. Unlike clap's own, its error does not repeat the text.
#[derive(Debug, Clone, Copy)]
pub struct SecretWordParser;

impl TypedValueParser for SecretWordParser {
    type Value = SecretWord;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<SecretWord, clap::Error> {
        let word = value.to_str().unwrap_or_default().parse();
        word.map_err(|error: SecretWordError| {
            let name = argument.map(ToString::to_string).unwrap_or_default();
            let kind = clap::error::ErrorKind::ValueValidation;
            clap::Error::raw(kind, format!("{name}: {error}\n")).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_openssl_are_read() {
        let word = |text: &str| text.parse::<SecretWord>().expect(text);
        assert_eq!(word("file:/run/p:w"), SecretWord::File("/run/p:w".into()));
        assert_eq!(word("env:PW"), SecretWord::Environment("PW".to_owned()));
        assert_eq!(word("fd:3"), SecretWord::Descriptor(3));
        assert_eq!(
            (word("stdin"), word("prompt")),
            (SecretWord::Stdin, SecretWord::Prompt)
        );
    }

    #[test]
    fn a_secret_in_the_open_is_refused_and_not_repeated() {
        for text in [
            "hunter2",
            "pass:hunter2",
            "",
            "file:",
            "fd:x",
            "stdin:",
            "env:",
        ] {
            let error = text.parse::<SecretWord>().expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
