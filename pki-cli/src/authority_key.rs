//! Keys of authorities, wherever they are: in an encrypted file of the home, or in a token.
//!
//! The inventory names the place of each generation's key; this module goes there.

use std::path::PathBuf;

use pki_core::declaration::{AuthorityDeclaration, AuthorityKey};
use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{Inventory, KeyReference};
use pki_core::key::pkcs11::{FoundToken, Module, Token, TokenError, TokenSigner};
use pki_core::key::software::{SoftwareKeyGenerator, SoftwareSigner};
use pki_core::key::{
    KeyAlgorithm, KeyGenerator as _, Pkcs11Uri, PrivateKey, Signer, read_private_key,
    to_encrypted_pem,
};
use secrecy::SecretString;

use crate::context::Context;
use crate::error::{CommandError, in_key_file};
use crate::files::{Access, Existing};
use crate::home::Home;
use crate::secret::SecretWord;

/// The key of a generation that is about to be recorded.
pub(crate) struct NewKey {
    /// Signs with it.
    pub(crate) signer: Box<dyn Signer>,
    /// Where it is, or will be once it was stored.
    pub(crate) reference: KeyReference,
    /// What is to be written into the home, unless the key is in a token.
    sealed: Option<String>,
}

impl NewKey {
    /// Makes the key that a declaration wants for a generation, or finds it in its token. An object
    /// that a run made for this generation before it was cut short is taken up again.
    pub(crate) fn make(
        context: &Context,
        declared: &AuthorityDeclaration,
        generation: Generation,
    ) -> Result<Self, CommandError> {
        match &declared.key {
            AuthorityKey::Home(algorithm) => {
                let key = SoftwareKeyGenerator.generate(*algorithm)?;
                Self::sealed(context, &declared.name, generation, &key)
            }
            AuthorityKey::MadeInToken { algorithm, store } => {
                let base = store.object.as_deref().unwrap_or(declared.name.as_str());
                let token = token(context, store)?;
                let object = format!("{base}.{generation}");
                let named = |id| store.with_object(object.clone()).with_id(id);
                let uri = named(token_id(context, &declared.name, generation)?);
                let found = find_or_make(&token, &uri, *algorithm);
                let Err(half @ TokenError::NoPublicKey { .. }) = found else {
                    return Self::of_kind(&uri, found?, *algorithm);
                };
                let half = CommandError::from(half);
                context.ui.warning(format!("{half}; another key is made"));
                half.hints.iter().for_each(|hint| context.ui.note(hint));
                let id = new_token_id(context, &declared.name, generation, Existing::Replace)?;
                let uri = named(id);
                Self::of_kind(&uri, find_or_make(&token, &uri, *algorithm)?, *algorithm)
            }
            AuthorityKey::InToken(uri) => Self::found(context, uri),
        }
    }

    /// Encrypts a key under the home's passphrase, to be stored there.
    pub(crate) fn sealed(
        context: &Context,
        name: &AuthorityName,
        generation: Generation,
        key: &PrivateKey,
    ) -> Result<Self, CommandError> {
        let sealed = to_encrypted_pem(key, context.new_passphrase()?, context.entropy.as_ref())
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let mut random = [0; 8];
        context.entropy.fill(&mut random)?;
        Ok(Self {
            signer: Box::new(SoftwareSigner::new(key)?),
            reference: reference(&Home::new_key(name, generation, random))?,
            sealed: Some(sealed),
        })
    }

    /// Takes up the key of another generation, where it is.
    pub(crate) fn kept(context: &Context, reference: &KeyReference) -> Result<Self, CommandError> {
        Ok(Self {
            signer: open(context, reference)?,
            reference: reference.clone(),
            sealed: None,
        })
    }

    /// Takes up a key that a token holds.
    pub(crate) fn found(context: &Context, uri: &Pkcs11Uri) -> Result<Self, CommandError> {
        let signer = token(context, uri)?.signer(uri)?;
        Self::in_token(uri, signer)
    }

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

    /// Writes the key into the home, if that is where it belongs: in a place of its own, synced. It
    /// becomes the generation's by the transaction that records this place.
    pub(crate) fn store(&self, context: &Context) -> Result<(), CommandError> {
        let Some(sealed) = &self.sealed else {
            return Ok(());
        };
        let path = context.home.resolve(self.reference.as_str());
        if let Some(folder) = path.parent() {
            context.files.create_folder(folder, Access::Secret)?;
        }
        context
            .files
            .write(&path, sealed.as_bytes(), Access::Secret, Existing::Keep)
    }

    /// Removes what [`Self::store`] wrote, if the generation that it was for was not recorded. If that is
    /// not certain, it stays.
    pub(crate) fn discard(&self, context: &Context, inventory: &dyn Inventory) {
        let Ok(authorities) = inventory.authorities() else {
            return;
        };
        let mut generations = authorities
            .iter()
            .flat_map(|authority| &authority.generations);
        let is_recorded = generations.any(|known| known.key_reference == self.reference);
        if self.sealed.is_some() && !is_recorded {
            let path = context.home.resolve(self.reference.as_str());
            // What stays is told by the next run that makes a key.
            context.files.remove(&path);
        }
    }
}

/// Whether the key that a reference names is gone. A token that is not at hand may still hold its.
pub(crate) fn is_lost(context: &Context, reference: &KeyReference) -> bool {
    let in_token = reference.as_str().starts_with(Pkcs11Uri::SCHEME);
    let path = context.home.resolve(reference.as_str());
    !in_token && !context.files.exists(&path)
}

/// Takes up a key in a token, to sign with.
pub(crate) fn open_in_token(
    context: &Context,
    uri: &Pkcs11Uri,
) -> Result<Box<dyn Signer>, CommandError> {
    Ok(Box::new(token(context, uri)?.signer(uri)?))
}

/// Opens the key of a generation.
pub(crate) fn open(
    context: &Context,
    reference: &KeyReference,
) -> Result<Box<dyn Signer>, CommandError> {
    if reference.as_str().starts_with(Pkcs11Uri::SCHEME) {
        let uri: Pkcs11Uri = reference
            .as_str()
            .parse()
            .map_err(|error| CommandError::failed(format!("{reference}: {error}")))?;
        return open_in_token(context, &uri);
    }
    let path = context.home.resolve(reference.as_str());
    context.permissions().check_key(&path)?;
    let content = context.files.read(&path)?;
    let key = read_private_key(&content, Some(context.passphrase()?))
        .map_err(|error| in_key_file(&path, &error))?;
    Ok(Box::new(SoftwareSigner::new(&key)?))
}

/// The identifier of the object that is a generation's key. Other homes may use the token too, with
/// authorities of the same names, and no token keeps labels apart; so it is random, and kept in the home
/// before the object is made: whoever goes on after a run that was cut short finds that object and no other.
fn token_id(
    context: &Context,
    name: &AuthorityName,
    generation: Generation,
) -> Result<Vec<u8>, CommandError> {
    let path = context.home.token_id(name, generation);
    if context.files.exists(&path) {
        context.permissions().check_unwritable(&path)?;
        let text = context.files.read_text(&path)?;
        let id = u64::from_str_radix(text.trim(), 16)
            .map_err(|error| CommandError::in_file(&path, &error))?;
        return Ok(id.to_be_bytes().to_vec());
    }
    new_token_id(context, name, generation, Existing::Keep)
}

/// Makes an identifier and keeps it, maybe in place of one whose object cannot be used.
fn new_token_id(
    context: &Context,
    name: &AuthorityName,
    generation: Generation,
    existing: Existing,
) -> Result<Vec<u8>, CommandError> {
    let path = context.home.token_id(name, generation);
    let mut id = [0; 8];
    context.entropy.fill(&mut id)?;
    if let Some(folder) = path.parent() {
        context.files.create_folder(folder, Access::Secret)?;
    }
    let text = format!("{:016x}\n", u64::from_be_bytes(id));
    let files = &context.files;
    files.write(&path, text.as_bytes(), Access::Secret, existing)?;
    Ok(id.to_vec())
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

/// The token of a URI, logged in.
fn token(context: &Context, uri: &Pkcs11Uri) -> Result<Token, CommandError> {
    /// More than a bulk issuance has workers on any machine; a token may have fewer.
    const SESSIONS: usize = 64;
    let path = module_path(context, uri)?;
    let place = (path.clone(), uri.token_part());
    context.tokens.at(place, || {
        let found = Module::load(&path)?.find(uri)?;
        let pin = pin(context, uri, &found)?;
        Ok(found.log_in(pin, SESSIONS)?)
    })
}

fn module_path(context: &Context, uri: &Pkcs11Uri) -> Result<PathBuf, CommandError> {
    let in_uri = uri.module_path.as_ref();
    let named = in_uri.map(|path| context.home.resolve(path));
    let in_environment = || context.settings.pkcs11_module.as_deref();
    let path = named.or_else(|| Some(context.files.resolve(in_environment()?)));
    let unnamed = || {
        CommandError::invalid_input(format!(
            "nothing says which PKCS#11 module speaks to the token {}",
            uri.token_part()
        ))
        .hint("set DPS_PKI_PKCS11_MODULE, or add ?module-path=/usr/lib/…/module.so to the URI")
    };
    path.ok_or_else(unnamed)
}

fn pin(
    context: &Context,
    uri: &Pkcs11Uri,
    token: &FoundToken,
) -> Result<Option<SecretString>, CommandError> {
    if !token.needs_pin() {
        return Ok(None);
    }
    let question = format!("PIN of the token {}: ", token.label());
    match uri.pin_source.as_ref().map(SecretWord::from) {
        Some(SecretWord::File(path)) => {
            let word = SecretWord::File(context.home.resolve(path));
            context.secret(&word, &question).map(Some)
        }
        Some(word) => context.secret(&word, &question).map(Some),
        None if context.can_ask() => context.secret(&SecretWord::Prompt, &question).map(Some),
        None => Err(CommandError::from(TokenError::PinNeeded {
            token: token.label().to_owned(),
        })),
    }
}

fn reference(text: &str) -> Result<KeyReference, CommandError> {
    text.parse()
        .map_err(|error: pki_core::inventory::TextError| CommandError::failed(error.to_string()))
}
