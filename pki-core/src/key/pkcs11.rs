//! Keys in tokens and hardware modules, by PKCS#11 (version 2.40 and later).
//!
//! A [`Module`] is the vendor's library, a [`Token`] one that somebody has logged in to, and a
//! [`TokenSigner`] a key in it. Private keys are made in the token and never leave it.
//! Not here: which object is meant ([`Pkcs11Uri`]), and where the PIN comes from, which the caller
//! says. Messages are digested here and signed there for ECDSA; for RSA and Ed25519 the token does
//! both.
//! Invariant: a session belongs to one thread at a time (`sessions`).

mod error;
mod object;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256, SHA384};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::UserType;
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::SecretString;

pub use error::TokenError;

use self::sessions::Sessions;
use super::{KeyAlgorithm, KeyError, Pkcs11Uri, Signer};

/// The library that speaks to tokens of one kind.
#[derive(Debug, Clone)]
pub struct Module {
    library: Pkcs11,
    path: PathBuf,
}

/// A token that was found and not logged in to yet.
#[derive(Debug, Clone)]
pub struct FoundToken {
    module: Module,
    slot: Slot,
    info: TokenInfo,
}

/// A token that somebody has logged in to.
#[derive(Debug, Clone)]
pub struct Token {
    sessions: Arc<Sessions>,
    label: String,
}

/// A signer whose key is in a token.
#[derive(Debug)]
pub struct TokenSigner {
    sessions: Arc<Sessions>,
    key: ObjectHandle,
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
}

impl Module {
    /// Loads the library and starts it, unless this process has done so before.
    ///
    /// # Errors
    /// [`TokenError::Module`].
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = |error: Error| TokenError::Module {
            path: path.to_owned(),
            reason: error::reason(&error),
        };
        let library = Pkcs11::new(path).map_err(failed)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(Self {
                library,
                path: path.to_owned(),
            }),
            Err(error) => Err(failed(error)),
        }
    }

    /// Finds the one token that a URI means.
    ///
    /// # Errors
    /// [`TokenError::NoToken`], [`TokenError::SeveralTokens`]; [`TokenError::Module`] if the library
    /// cannot tell.
    pub fn find(&self, uri: &Pkcs11Uri) -> Result<FoundToken, TokenError> {
        let present = self.tokens().map_err(|error| TokenError::Module {
            path: self.path.clone(),
            reason: error::reason(&error),
        })?;
        let labels = |tokens: &[(Slot, TokenInfo)]| {
            let label = |(_, info): &(Slot, TokenInfo)| info.label().to_owned();
            tokens.iter().map(label).collect()
        };
        let meant: Vec<_> = present
            .iter()
            .filter(|(slot, info)| is_meant(uri, *slot, info))
            .cloned()
            .collect();
        match <[_; 1]>::try_from(meant) {
            Ok([(slot, info)]) => Ok(FoundToken {
                module: self.clone(),
                slot,
                info,
            }),
            Err(meant) if meant.is_empty() => Err(TokenError::NoToken {
                wanted: uri.token_part(),
                present: labels(&present),
            }),
            Err(meant) => Err(TokenError::SeveralTokens {
                wanted: uri.token_part(),
                meant: labels(&meant),
            }),
        }
    }

    fn tokens(&self) -> Result<Vec<(Slot, TokenInfo)>, Error> {
        let slots = self.library.get_slots_with_initialized_token()?;
        slots
            .into_iter()
            .map(|slot| Ok((slot, self.library.get_token_info(slot)?)))
            .collect()
    }
}

fn is_meant(uri: &Pkcs11Uri, slot: Slot, info: &TokenInfo) -> bool {
    let is = |wanted: &Option<String>, found: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.trim_end() == found.trim_end())
    };
    is(&uri.token, info.label())
        && is(&uri.manufacturer, info.manufacturer_id())
        && is(&uri.model, info.model())
        && is(&uri.serial, info.serial_number())
        && uri.slot_id.is_none_or(|id| id == slot.id())
}

impl FoundToken {
    /// The token's label.
    pub fn label(&self) -> &str {
        self.info.label().trim_end()
    }

    /// Whether a PIN must be given: there is a login, and no pad on the token to enter it.
    pub fn needs_pin(&self) -> bool {
        self.info.login_required() && !self.info.protected_authentication_path()
    }

    /// Logs in as the token's user; of `sessions` at most so many are open at a time.
    ///
    /// # Errors
    /// [`TokenError::PinNeeded`], [`TokenError::WrongPin`], [`TokenError::PinLocked`],
    /// [`TokenError::PinNotSet`]; [`TokenError::Failed`] for what else the token says.
    pub fn log_in(self, pin: Option<SecretString>, sessions: usize) -> Result<Token, TokenError> {
        let label = self.label().to_owned();
        if self.needs_pin() && pin.is_none() {
            return Err(TokenError::PinNeeded { token: label });
        }
        let failed = |error: Error| TokenError::of_login(&label, &self.module, self.slot, &error);
        let session = self
            .module
            .library
            .open_rw_session(self.slot)
            .map_err(failed)?;
        if self.info.login_required() {
            match session.login(UserType::User, pin.as_ref()) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let library = self.module.library.clone();
        let sessions = Sessions::beginning_with(session, library, self.slot, sessions);
        Ok(Token {
            sessions: Arc::new(sessions),
            label,
        })
    }
}

impl Token {
    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Takes the private key that a URI means into use.
    ///
    /// # Errors
    /// [`TokenError::NoKey`], [`TokenError::SeveralKeys`], [`TokenError::NoPublicKey`],
    /// [`TokenError::KeyKind`], [`TokenError::PinForEachSignature`]; [`TokenError::Failed`].
    pub fn signer(&self, uri: &Pkcs11Uri) -> Result<TokenSigner, TokenError> {
        let session = self
            .sessions
            .take()
            .map_err(|error| self.failed("open a session", &error))?;
        let found = object::find(&session, &self.label, uri)?;
        Ok(TokenSigner {
            sessions: self.sessions.clone(),
            key: found.key,
            algorithm: found.algorithm,
            public_key: found.public_key,
        })
    }

    /// Makes a key pair in the token, to be found under the label of a URI. The private key is never
    /// to leave it.
    ///
    /// # Errors
    /// [`TokenError::Unnamed`] without a label; [`TokenError::KeyExists`];
    /// [`TokenError::CannotMake`] for kinds of keys that the token does not know;
    /// [`TokenError::Failed`].
    pub fn generate(
        &self,
        uri: &Pkcs11Uri,
        algorithm: KeyAlgorithm,
    ) -> Result<TokenSigner, TokenError> {
        let session = self
            .sessions
            .take()
            .map_err(|error| self.failed("open a session", &error))?;
        let known = self
            .sessions
            .mechanisms()
            .map_err(|error| self.failed("tell what it can do", &error))?;
        object::generate(&session, &self.label, uri, algorithm, &known)?;
        drop(session);
        self.signer(uri)
    }

    fn failed(&self, action: &'static str, error: &Error) -> TokenError {
        TokenError::failed(&self.label, action, error)
    }
}

impl Signer for TokenSigner {
    fn key_algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |error: Error| KeyError::Token {
            action: "sign",
            reason: error::reason(&error),
        };
        let session = self.sessions.take().map_err(failed)?;
        let sign = |data: &[u8]| {
            let mechanism = object::signing_mechanism(self.algorithm);
            session.sign(&mechanism, self.key, data).map_err(failed)
        };
        let digested = |algorithm: &'static digest::Algorithm| {
            object::ecdsa_der(&sign(digest::digest(algorithm, message).as_ref())?)
        };
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => digested(&SHA256),
            KeyAlgorithm::EcdsaP384 => digested(&SHA384),
            KeyAlgorithm::Ed25519
            | KeyAlgorithm::Rsa2048
            | KeyAlgorithm::Rsa3072
            | KeyAlgorithm::Rsa4096 => sign(message),
        }
    }
}
