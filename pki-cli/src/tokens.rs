//! The tokens that a command has logged in to. They stay logged in until it ends, so that a PIN is asked
//! for once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pki_core::key::pkcs11::Token;

use crate::error::CommandError;

/// Tokens by module and by what the URI says of the token.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<(PathBuf, String), Token>>);

impl Tokens {
    /// The token of this place; the first time, the one that `log_in` gives.
    pub(crate) fn at(
        &self,
        place: (PathBuf, String),
        log_in: impl FnOnce() -> Result<Token, CommandError>,
    ) -> Result<Token, CommandError> {
        // Held while somebody is asked for the PIN: whoever comes second finds the token logged in.
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(&place) {
            return Ok(token.clone());
        }
        let token = log_in()?;
        tokens.insert(place, token.clone());
        Ok(token)
    }
}
