//! What `pki.toml` declares: authorities, leaf profiles, DPS instances and their groups.
//!
//! `file` has the tables as they are written, read by serde, strictly: a key that nobody knows is an error
//! that names the nearest one. `resolve` checks cross references and limits once. What comes out is
//! trusted by the rest: issuers exist and come first, nothing outlives its issuer, and DPS can reach
//! a CA above each group.
//! Not here: where the file lies, and what has become of the declaration ([`crate::authority`]).
//! Invariant: a secret never stands in the file, only the word that says where it is
//! ([`SecretSource`](crate::secret::SecretSource)); errors repeat no value that could be one.

mod cloud;
mod dps;
mod error;
mod file;
mod named_files;
mod reader;
mod resolve;

use std::collections::BTreeMap;

pub use cloud::Cloud;
pub use dps::{
    ApiVersions, CaDeclaration, DpsDeclaration, EntraIdentity, GroupAttestation, GroupDeclaration,
    HubDeclaration, ManagementDeclaration, SignIn, VerifiedBy,
};
pub use dps::{Endpoint, EndpointError};
pub use error::{DeclarationError, DeclarationProblem, nearest};

use crate::ids::{AuthorityName, DpsName, ProfileName};
use crate::key::{KeyAlgorithm, Pkcs11Uri};
use crate::name::DistinguishedName;
use crate::profile::{CrlUrl, KeyPurpose, LeafContent};
use crate::time::Span;

/// A checked `pki.toml`.
///
/// ```
/// use pki_core::declaration::Declaration;
/// let declaration = Declaration::parse(
///     r#"
///     [authority.root]
///     subject = "CN=Contoso Root CA"
///     key = "ecdsa-p384"
///     validity = "20y"
///     "#,
/// )?;
/// assert!(declaration.authorities[0].issuer.is_none());
/// # Ok::<(), pki_core::declaration::DeclarationError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The authorities, every issuer before those that it issues, else in the order of the file.
    pub authorities: Vec<AuthorityDeclaration>,
    /// What leaves look like, by name.
    pub profiles: BTreeMap<ProfileName, LeafProfile>,
    /// How long before the moment of issue certificates begin to be valid.
    pub backdate: Span,
    /// The DPS instances, by name.
    pub dps: BTreeMap<DpsName, DpsDeclaration>,
}

/// A declared authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityDeclaration {
    /// What commands call it.
    pub name: AuthorityName,
    /// Who signs it; `None` for a root, which signs itself.
    pub issuer: Option<AuthorityName>,
    /// The subject of each of its certificates.
    pub subject: DistinguishedName,
    /// What key each generation gets, and where that is kept.
    pub key: AuthorityKey,
    /// How long each generation is valid.
    pub validity: Span,
    /// How many authorities may stand between it and a leaf; unlimited if `None`.
    pub path_length: Option<u8>,
    /// Whether its key usage has digitalSignature, beside keyCertSign and cRLSign.
    pub digital_signature: bool,
}

/// What key the generations of an authority get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityKey {
    /// One that is made here and kept encrypted in the home: `key = "ecdsa-p384"`.
    Home(KeyAlgorithm),
    /// One that is made in a token, an object for each generation: `key = "ecdsa-p384"` and
    /// `key-store = "pkcs11:…"`. The object's label is the URI's, or else the authority's name.
    MadeInToken {
        /// The kind of key.
        algorithm: KeyAlgorithm,
        /// The token.
        store: Pkcs11Uri,
    },
    /// One that a token holds already, of whatever kind it is: `key = "pkcs11:…"`.
    InToken(Pkcs11Uri),
}

impl AuthorityKey {
    /// The kind of key, where the declaration says it.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        match self {
            Self::Home(algorithm) | Self::MadeInToken { algorithm, .. } => Some(*algorithm),
            Self::InToken(_) => None,
        }
    }
}

/// What the leaves of a profile look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafProfile {
    /// The kind of key that a device gets.
    pub key: KeyAlgorithm,
    /// The kinds of keys that devices may bring with a signing request; `None` for all strong ones.
    pub csr_keys: Option<Vec<KeyAlgorithm>>,
    /// How long a leaf is valid.
    pub validity: Span,
    /// What a leaf may be used for: never empty, each purpose once.
    pub extended_key_usage: Vec<KeyPurpose>,
    /// Where the issuer's CRL can be fetched.
    pub crl_distribution_point: Option<CrlUrl>,
    /// How long devices may lie on a shelf before they are first switched on.
    pub warehouse_time: Option<Span>,
}

impl LeafProfile {
    /// What its leaves say.
    pub fn content(&self) -> LeafContent {
        LeafContent {
            purposes: self.extended_key_usage.clone(),
            crl_distribution_point: self.crl_distribution_point.clone(),
            warehouse_time: self.warehouse_time,
        }
    }
}

impl Declaration {
    /// The profile that is used where none is named.
    pub const DEFAULT_PROFILE: &'static str = "device";
    /// What [`Self::backdate`] is unless declared: enough for clocks that are a little slow.
    pub const DEFAULT_BACKDATE: Span = Span::from_seconds(5 * 60);

    /// Reads and checks the text of a `pki.toml`.
    ///
    /// # Errors
    /// [`DeclarationError`]: one thing that is wrong, with its line, table and key. What is wrong within a table
    /// comes before what tables say of one another, and there the first in the file comes first.
    pub fn parse(text: &str) -> Result<Self, DeclarationError> {
        let document = reader::Document::parse(text)?;
        let file = document.read()?;
        resolve::resolve(file).map_err(|fault| document.error(fault))
    }

    /// The authority of this name.
    pub fn authority(&self, name: &AuthorityName) -> Option<&AuthorityDeclaration> {
        self.authorities
            .iter()
            .find(|authority| authority.name == *name)
    }

    /// The authority of this name, then its issuer, and so on up to the root.
    pub fn ancestry(&self, name: &AuthorityName) -> impl Iterator<Item = &AuthorityDeclaration> {
        std::iter::successors(self.authority(name), |authority| {
            self.authority(authority.issuer.as_ref()?)
        })
    }

    /// The names of the authorities that this one issues.
    pub fn issued_by(&self, name: &AuthorityName) -> impl Iterator<Item = &AuthorityDeclaration> {
        self.authorities
            .iter()
            .filter(move |authority| authority.issuer.as_ref() == Some(name))
    }
}
