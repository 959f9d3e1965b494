//! The home: the folder that holds one PKI, and where everything in it lies.
//!
//! ```text
//! pki.toml                                what is declared
//! inventory.db                            what has happened
//! plan-PLAN.lock                          held while a plan is carried out
//! authorities/NAME/GENERATION.cert.pem    an authority's certificate
//! authorities/NAME/GENERATION.key.pem     its encrypted key
//! ```

use std::path::{Path, PathBuf};

use pki_core::ids::{AuthorityName, Generation, PlanId};

/// A PKI home, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    const DECLARATION: &str = "pki.toml";

    /// The home at a path.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
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
    pub fn declaration(&self) -> PathBuf {
        self.root.join(Self::DECLARATION)
    }

    /// What has happened.
    pub fn inventory(&self) -> PathBuf {
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

    /// The encrypted key of a generation.
    pub fn key(&self, name: &AuthorityName, generation: Generation) -> PathBuf {
        self.authority(name).join(format!("{generation}.key.pem"))
    }

    /// A path as `pki.toml` writes it: relative ones start at the home.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }
}
