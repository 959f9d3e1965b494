//! Keys of authorities, wherever they are: in an encrypted file of the home, or in a token.
//!
//! The inventory names the place of each generation's key; this module goes there.

use std::path::PathBuf;
use std::sync::Arc;

use pki_core::declaration::{AuthorityDeclaration, AuthorityKey};
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{Inventory, KeyReference};
use pki_core::key::pkcs11::{FoundToken, Module, Token, TokenError, TokenSigner};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{
    KeyAlgorithm, KeyGenerator as _, Pkcs11Uri, PrivateKey, Signer, read_private_key,
    to_encrypted_pem,
};
use pki_core::ports::Entropy;
use secrecy::SecretString;

use crate::error::{CommandError, in_key_file};
use crate::files::{Access, Existing, Files};
use crate::home::Home;
use crate::layout::Layout;
use crate::render::ui::Ui;
use crate::secrets::Secrets;
use crate::tokens::Tokens;

/// The keys of authorities that a command makes, finds and opens.
pub(crate) struct AuthorityKeys {
    pub(crate) home: Arc<Home>,
    pub(crate) files: Arc<Files>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) ui: Arc<Ui>,
    /// The library that speaks to tokens, where a URI names none.
    pub(crate) module: Option<PathBuf>,
    pub(crate) tokens: Tokens,
}

/// The key of a generation that is about to be recorded.
pub(crate) struct NewKey {
    /// Signs with it.
    pub(crate) signer: Box<dyn Signer>,
    /// Where it is, or will be once it was stored.
    pub(crate) reference: KeyReference,
    /// What is to be written into the home, unless the key is in a token.
    sealed: Option<String>,
}

impl AuthorityKeys {
    /// Makes the key that a declaration wants for a generation, or finds it in its token. An object
    /// that a run made for this generation before it was cut short is taken up again.
    pub(crate) fn make(
        &self,
        declared: &AuthorityDeclaration,
        generation: Generation,
    ) -> Result<NewKey, CommandError> {
        match &declared.key {
            AuthorityKey::Home(algorithm) => {
                let key = SoftwareKeyGenerator.generate(*algorithm)?;
                self.seal(&declared.name, generation, &key)
            }
            AuthorityKey::MadeInToken { algorithm, store } => {
                self.make_in_token(&declared.name, generation, *algorithm, store)
            }
            AuthorityKey::InToken(uri) => self.find(uri),
        }
    }

    /// Encrypts a key under the home's passphrase, to be stored there.
    pub(crate) fn seal(
        &self,
        name: &AuthorityName,
        generation: Generation,
        key: &PrivateKey,
    ) -> Result<NewKey, CommandError> {
        let passphrase = self.secrets.new_passphrase()?;
        let sealed = to_encrypted_pem(key, passphrase, self.entropy.as_ref())
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let mut random = [0; 8];
        self.entropy.fill(&mut random)?;
        Ok(NewKey {
            signer: Box::new(SoftwareSigner::new(key)?),
            reference: reference(&Layout::new_key(name, generation, random))?,
            sealed: Some(sealed),
        })
    }

    fn make_in_token(
        &self,
        name: &AuthorityName,
        generation: Generation,
        algorithm: KeyAlgorithm,
        store: &Pkcs11Uri,
    ) -> Result<NewKey, CommandError> {
        let base = store.object.as_deref().unwrap_or(name.as_str());
        let token = self.token(store)?;
        let object = format!("{base}.{generation}");
        let named = |id| store.with_object(object.clone()).with_id(id);
        let uri = named(self.token_id(name, generation)?);
        let found = find_or_make(&token, &uri, algorithm);
        let Err(half @ TokenError::NoPublicKey { .. }) = found else {
            return NewKey::of_kind(&uri, found?, algorithm);
        };
        let half = CommandError::from(half);
        self.ui.warning(format!("{half}; another key is made"));
        half.hints.iter().for_each(|hint| self.ui.note(hint));
        let uri = named(self.new_token_id(name, generation, Existing::Replace)?);
        NewKey::of_kind(&uri, find_or_make(&token, &uri, algorithm)?, algorithm)
    }

    /// Takes up the key of another generation, where it is.
    pub(crate) fn kept(&self, reference: &KeyReference) -> Result<NewKey, CommandError> {
        Ok(NewKey {
            signer: self.open(reference)?,
            reference: reference.clone(),
            sealed: None,
        })
    }

    /// Takes up a key that a token holds.
    pub(crate) fn find(&self, uri: &Pkcs11Uri) -> Result<NewKey, CommandError> {
        let signer = self.token(uri)?.signer(uri)?;
        NewKey::in_token(uri, signer)
    }

    /// Writes a key into the home, if that is where it belongs: in a place of its own, synced. It
    /// becomes the generation's by the transaction that records this place.
    pub(crate) fn store(&self, key: &NewKey) -> Result<(), CommandError> {
        let Some(sealed) = &key.sealed else {
            return Ok(());
        };
        let path = self.home.layout.resolve(key.reference.as_str());
        if let Some(folder) = path.parent() {
            self.files.create_folder(folder, Access::Secret)?;
        }
        self.files
            .write(&path, sealed.as_bytes(), Access::Secret, Existing::Keep)
    }

    /// Removes what [`Self::store`] wrote, if the generation that it was for was not recorded. If that is
    /// not certain, it stays.
    pub(crate) fn discard(&self, key: &NewKey, inventory: &dyn Inventory) {
        let Ok(authorities) = inventory.authorities() else {
            return;
        };
        let mut generations = authorities
            .iter()
            .flat_map(|authority| &authority.generations);
        let is_recorded = generations.any(|known| known.key_reference == key.reference);
        if key.sealed.is_some() && !is_recorded {
            let path = self.home.layout.resolve(key.reference.as_str());
            // What stays is told by the next run that makes a key.
            self.files.remove(&path);
        }
    }

    /// Whether the key that a reference names is gone. A token that is not at hand may still hold its.
    pub(crate) fn is_lost(&self, reference: &KeyReference) -> bool {
        let in_token = reference.as_str().starts_with(Pkcs11Uri::SCHEME);
        let path = self.home.layout.resolve(reference.as_str());
        !in_token && !self.files.exists(&path)
    }

    /// Opens the key of a generation.
    pub(crate) fn open(&self, reference: &KeyReference) -> Result<Box<dyn Signer>, CommandError> {
        if reference.as_str().starts_with(Pkcs11Uri::SCHEME) {
            let uri: Pkcs11Uri = reference
                .as_str()
                .parse()
                .map_err(|error| CommandError::failed(format!("{reference}: {error}")))?;
            return self.open_in_token(&uri);
        }
        let path = self.home.layout.resolve(reference.as_str());
        self.home.permissions().check_key(&path)?;
        let content = self.files.read(&path)?;
        let key = read_private_key(&content, Some(self.secrets.passphrase()?))
            .map_err(|error| in_key_file(&path, &error))?;
        Ok(Box::new(SoftwareSigner::new(&key)?))
    }

    /// Takes up a key in a token, to sign with.
    pub(crate) fn open_in_token(&self, uri: &Pkcs11Uri) -> Result<Box<dyn Signer>, CommandError> {
        Ok(Box::new(self.token(uri)?.signer(uri)?))
    }

    /// The identifier of the object that is a generation's key. Other homes may use the token too, with
    /// authorities of the same names, and no token keeps labels apart; so it is random, and kept in the
    /// home before the object is made: whoever goes on after a run that was cut short finds that object
    /// and no other.
    fn token_id(
        &self,
        name: &AuthorityName,
        generation: Generation,
    ) -> Result<Vec<u8>, CommandError> {
        let path = self.home.layout.token_id(name, generation);
        if self.files.exists(&path) {
            self.home.permissions().check_unwritable(&path)?;
            let text = self.files.read_text(&path)?;
            let id = u64::from_str_radix(text.trim(), 16)
                .map_err(|error| CommandError::in_file(&path, &error))?;
            return Ok(id.to_be_bytes().to_vec());
        }
        self.new_token_id(name, generation, Existing::Keep)
    }

    /// Makes an identifier and keeps it, maybe in place of one whose object cannot be used.
    fn new_token_id(
        &self,
        name: &AuthorityName,
        generation: Generation,
        existing: Existing,
    ) -> Result<Vec<u8>, CommandError> {
        let path = self.home.layout.token_id(name, generation);
        let mut id = [0; 8];
        self.entropy.fill(&mut id)?;
        if let Some(folder) = path.parent() {
            self.files.create_folder(folder, Access::Secret)?;
        }
        let text = format!("{:016x}\n", u64::from_be_bytes(id));
        self.files
            .write(&path, text.as_bytes(), Access::Secret, existing)?;
        Ok(id.to_vec())
    }

    /// The token of a URI, logged in.
    fn token(&self, uri: &Pkcs11Uri) -> Result<Token, CommandError> {
        /// More than a bulk issuance has workers on any machine; a token may have fewer.
        const SESSIONS: usize = 64;
        let path = self.module_path(uri)?;
        let place = (path.clone(), uri.token_part());
        self.tokens.at(place, || {
            let found = Module::load(&path)?.find(uri)?;
            let pin = self.pin(uri, &found)?;
            Ok(found.log_in(pin, SESSIONS)?)
        })
    }

    fn module_path(&self, uri: &Pkcs11Uri) -> Result<PathBuf, CommandError> {
        if let Some(path) = &uri.module_path {
            return Ok(self.home.layout.resolve(path));
        }
        let module = self.module.as_ref().ok_or_else(|| {
            CommandError::invalid_input(format!(
                "nothing says which PKCS#11 module speaks to the token {}",
                uri.token_part()
            ))
            .hint("set DPS_PKI_PKCS11_MODULE, or add ?module-path=/usr/lib/…/module.so to the URI")
        })?;
        Ok(self.files.resolve(module))
    }

    fn pin(
        &self,
        uri: &Pkcs11Uri,
        token: &FoundToken,
    ) -> Result<Option<SecretString>, CommandError> {
        if !token.needs_pin() {
            return Ok(None);
        }
        let question = format!("PIN of the token {}: ", token.label());
        if let Some(source) = &uri.pin_source {
            return self.secrets.declared(source, &question).map(Some);
        }
        let pin = self.secrets.ask(&question)?;
        let needed = || TokenError::PinNeeded {
            token: token.label().to_owned(),
        };
        Ok(Some(pin.ok_or_else(needed)?))
    }
}

impl NewKey {
    /// Takes up a key that was made or found for a generation, if it is of the declared kind.
    fn of_kind(
        uri: &Pkcs11Uri,
        signer: TokenSigner,
        algorithm: KeyAlgorithm,
    ) -> Result<Self, CommandError> {
        let found = signer.key_algorithm();
        if found == algorithm {
            return Self::in_token(uri, signer);
        }
        Err(CommandError::refused(format!(
            "{uri} is a key of the kind {found}, but pki.toml declares {algorithm}"
        ))
        .hint("remove the object, or change key or key-store in pki.toml"))
    }

    fn in_token(uri: &Pkcs11Uri, signer: TokenSigner) -> Result<Self, CommandError> {
        Ok(Self {
            signer: Box::new(signer),
            reference: reference(&uri.to_string())?,
            sealed: None,
        })
    }
}

fn find_or_make(
    token: &Token,
    uri: &Pkcs11Uri,
    algorithm: KeyAlgorithm,
) -> Result<TokenSigner, TokenError> {
    match token.signer(uri) {
        Err(TokenError::NoKey { .. }) => {
            token.generate(uri, algorithm)?;
            token.signer(uri)
        }
        found => found,
    }
}

fn reference(text: &str) -> Result<KeyReference, CommandError> {
    text.parse()
        .map_err(|error: pki_core::inventory::TextError| CommandError::failed(error.to_string()))
}
