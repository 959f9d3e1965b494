//! Why a token did not do what it was asked to, in words that say what to do about it.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};
use cryptoki::slot::Slot;

use super::Module;
use crate::key::KeyAlgorithm;

/// Why a key in a token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The library is missing, is none, or does not start.
    #[error("the PKCS#11 module {} cannot be used: {reason}", path.display())]
    Module {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system or the library says.
        reason: String,
    },
    /// No token fits the URI.
    #[error(
        "there is no token {wanted}; {}",
        list("present are", "there is none at all", present)
    )]
    NoToken {
        /// The part of the URI that is about the token.
        wanted: String,
        /// The labels of the tokens that are there.
        present: Vec<String>,
    },
    /// Several tokens fit the URI.
    #[error("several tokens are {wanted}: {}; add serial or slot-id", meant.join(", "))]
    SeveralTokens {
        /// The part of the URI that is about the token.
        wanted: String,
        /// Their labels.
        meant: Vec<String>,
    },
    /// The token wants a PIN and none was given.
    #[error("the token {token} wants a PIN")]
    PinNeeded {
        /// The token's label.
        token: String,
    },
    /// The token refuses the PIN.
    #[error("the token {token} refuses the PIN{}", if *last { "; the next wrong one locks it" } else { "" })]
    WrongPin {
        /// The token's label.
        token: String,
        /// Whether the token says that it takes one more at most.
        last: bool,
    },
    /// The token takes no PIN any more.
    #[error(
        "the token {token} is locked after too many wrong PINs; its security officer must set a new one"
    )]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// The token's user has no PIN yet, or one that has expired.
    #[error("the token {token} has no valid PIN; its security officer must set one")]
    PinNotSet {
        /// The token's label.
        token: String,
    },
    /// The URI does not say which object.
    #[error("the URI names no object; add object=LABEL or id=OCTETS")]
    Unnamed,
    /// There is no such private key.
    #[error(
        "the token {token} holds no private key {wanted}; {}",
        list("present are", "it holds none", present)
    )]
    NoKey {
        /// The token's label.
        token: String,
        /// Label or identifier.
        wanted: String,
        /// The labels of the private keys that are there.
        present: Vec<String>,
    },
    /// Several private keys fit.
    #[error("the token {token} holds {count} private keys {wanted}; add id to the URI")]
    SeveralKeys {
        /// The token's label.
        token: String,
        /// Label or identifier.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// There is no public key beside the private one, which does not tell it either: a run that made the pair
    /// was cut short, or another process changed the token meanwhile.
    #[error("the token {token} holds no public key beside the private key {wanted}")]
    NoPublicKey {
        /// The token's label.
        token: String,
        /// Label or identifier.
        wanted: String,
    },
    /// The key is of a kind that we do not sign with.
    #[error(
        "the key {wanted} in the token {token} is neither ECDSA on P-256 or P-384, nor Ed25519, nor RSA of 2048, 3072 or 4096 bits"
    )]
    KeyKind {
        /// The token's label.
        token: String,
        /// Label or identifier.
        wanted: String,
    },
    /// A key was to be made under a label that is taken.
    #[error("the token {token} holds a key {wanted} already")]
    KeyExists {
        /// The token's label.
        token: String,
        /// The label.
        wanted: String,
    },
    /// The PIN is to be given again before every signature with this key (CKA_ALWAYS_AUTHENTICATE).
    #[error(
        "the key {wanted} in the token {token} wants the PIN before every single signature (CKA_ALWAYS_AUTHENTICATE), which is not supported; use a key without that attribute"
    )]
    PinForEachSignature {
        /// The token's label.
        token: String,
        /// Label or identifier.
        wanted: String,
    },
    /// The token makes no keys of this kind.
    #[error("the token {token} makes no keys of the kind {algorithm}; declare another kind")]
    CannotMake {
        /// The token's label.
        token: String,
        /// The kind.
        algorithm: KeyAlgorithm,
    },
    /// The token fails.
    #[error("the token {token} could not {action}: {reason}")]
    Failed {
        /// The token's label.
        token: String,
        /// What it was asked to do.
        action: &'static str,
        /// The name of the return value, as the PKCS#11 pages spell it.
        reason: String,
    },
}

impl TokenError {
    pub(super) fn failed(token: &str, action: &'static str, error: &Error) -> Self {
        Self::Failed {
            token: token.to_owned(),
            action,
            reason: reason(error),
        }
    }

    pub(super) fn of_login(token: &str, module: &Module, slot: Slot, error: &Error) -> Self {
        let last = || {
            let info = module.library.get_token_info(slot);
            info.is_ok_and(|info| info.user_pin_final_try())
        };
        Self::of_login_code(token, error, last)
    }

    fn of_login_code(token: &str, error: &Error, last: impl Fn() -> bool) -> Self {
        let label = || token.to_owned();
        let Error::Pkcs11(code, _) = error else {
            return Self::failed(token, "log in", error);
        };
        match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Self::WrongPin {
                token: label(),
                last: last(),
            },
            RvError::PinLocked => Self::PinLocked { token: label() },
            RvError::PinExpired | RvError::UserPinNotInitialized => {
                Self::PinNotSet { token: label() }
            }
            _ => Self::failed(token, "log in", error),
        }
    }
}

/// A failure in a few words: the name of the return value, where the library has paragraphs.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, _) => format!("{code:?}"),
        Error::LibraryLoading(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn list(some: &str, none: &str, labels: &[String]) -> String {
    match labels {
        [] => none.to_owned(),
        labels => format!("{some} {}", labels.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    /// Not every token can be brought into these states by a test.
    #[test]
    fn what_a_token_says_at_login_is_told_apart() {
        let said = |code, last| {
            let error = Error::Pkcs11(code, Function::Login);
            TokenError::of_login_code("factory", &error, || last).to_string()
        };
        let wrong = "the token factory refuses the PIN";
        assert_eq!(said(RvError::PinIncorrect, false), wrong);
        assert_eq!(said(RvError::PinLenRange, false), wrong);
        assert!(said(RvError::PinIncorrect, true).ends_with("; the next wrong one locks it"));
        assert!(said(RvError::PinLocked, false).contains("is locked after too many wrong PINs"));
        assert!(said(RvError::UserPinNotInitialized, false).contains("has no valid PIN"));
        let other = "the token factory could not log in: DeviceError";
        assert_eq!(said(RvError::DeviceError, false), other);
    }
}
