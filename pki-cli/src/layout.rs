//! The layout of a home: where everything lies in the folder that holds one PKI.
//!
//! ```text
//! pki.toml                                what is declared
//! inventory.db                            what has happened
//! plan-PLAN.lock                          held while a plan is carried out
//! locks/                                  who works on what; kept between commands
//! authorities/NAME/GENERATION.cert.pem    an authority's certificate
//! authorities/NAME/GENERATION-*.key.pem   its encrypted key; the inventory says which
//! authorities/NAME/GENERATION.token-id    what tells its key in a token from those of other homes
//! ```

use std::path::{Path, PathBuf};

use pki_core::ids::{AuthorityName, Generation, PlanId};

/// The places in a PKI home, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    const DECLARATION: &str = "pki.toml";

    /// The home at a path.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home that was named, seen from a directory, else the nearest one.
    pub fn named(home: Option<&Path>, directory: &Path) -> Self {
        match home {
            Some(home) => Self::at(directory.join(home)),
            None => Self::nearest(directory),
        }
    }

    /// The nearest folder with a `pki.toml`, from `start` upwards, else `start` itself.
    pub fn nearest(start: &Path) -> Self {
        let holds = |folder: &&Path| folder.join(Self::DECLARATION).is_file();
        Self::at(start.ancestors().find(holds).unwrap_or(start))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is declared.
    pub fn declaration_file(&self) -> PathBuf {
        self.root.join(Self::DECLARATION)
    }

    /// What has happened.
    pub fn inventory_file(&self) -> PathBuf {
        self.root.join("inventory.db")
    }

    /// What the process holds that carries out a plan.
    pub fn plan_lock(&self, plan: PlanId) -> PathBuf {
        self.root.join(format!("plan-{plan}.lock"))
    }

    /// The authorities' folder.
    pub fn authorities(&self) -> PathBuf {
        self.root.join("authorities")
    }

    /// One authority's folder.
    pub fn authority(&self, name: &AuthorityName) -> PathBuf {
        self.authorities().join(name.as_str())
    }

    /// The certificate of a generation.
    pub fn certificate(&self, name: &AuthorityName, generation: Generation) -> PathBuf {
        self.authority(name).join(format!("{generation}.cert.pem"))
    }

    /// Where the encrypted key of a new generation goes, seen from the home: under a name that no other
    /// run can have, so that no key is ever written in the place of another.
    pub fn new_key(name: &AuthorityName, generation: Generation, random: [u8; 8]) -> String {
        let random = u64::from_be_bytes(random);
        format!("authorities/{name}/{generation}-{random:016x}.key.pem")
    }

    /// The identifier of a generation's key in a token.
    pub fn token_id(&self, name: &AuthorityName, generation: Generation) -> PathBuf {
        self.authority(name).join(format!("{generation}.token-id"))
    }

    /// Where commands say what they work on.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// A path as `pki.toml` writes it: relative ones start at the home.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }
}
