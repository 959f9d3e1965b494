//! Where a secret is, in one word.

use std::fmt;
use std::str::FromStr;

use crate::text::read_as_text;

/// Where a secret is: `env:NAME` or `file:PATH`. The secret itself is never in `pki.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The environment variable of this name.
    Environment(String),
    /// The first line of this file; a relative path starts at the home.
    File(String),
}

/// A text that is no [`SecretSource`]; it may be a secret, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret never stands here itself; write env:NAME or file:PATH, and put it there")]
pub struct SecretSourceError;

impl FromStr for SecretSource {
    type Err = SecretSourceError;

    fn from_str(text: &str) -> Result<Self, SecretSourceError> {
        let is_variable = |name: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() && is_variable(name) => {
                Ok(Self::Environment(name.to_owned()))
            }
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            _ => Err(SecretSourceError),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

read_as_text!(SecretSource);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_open_is_refused_and_not_repeated() {
        let connection = "HostName=a;SharedAccessKeyName=b;SharedAccessKey=c2VjcmV0";
        let error = connection.parse::<SecretSource>().expect_err("inline");
        assert!(!error.to_string().contains("c2VjcmV0"));
        for bad in [
            "env:", "file:", "env:A B", "env:1A", "stdin", "fd:3", "hunter2",
        ] {
            assert!(bad.parse::<SecretSource>().is_err(), "{bad}");
        }
        let word: SecretSource = "env:DPS_CONNECTION".parse().expect("word");
        assert_eq!(word.to_string(), "env:DPS_CONNECTION");
    }
}
