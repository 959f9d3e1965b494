//! SoftHSM: tokens in a folder of their own, for one test. The library reads where they are from the
//! environment of its process, which is why tests that load it run in a child.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes tokens as anybody does"
)]

use std::path::PathBuf;
use std::process::Command;

use crate::skip::skip;

/// What the library takes its settings from.
pub(crate) const SETTINGS: &str = "SOFTHSM2_CONF";

/// The PIN of every token that is made here.
pub(crate) const PIN: &str = "987654";

/// A folder of tokens.
pub(crate) struct SoftHsm {
    folder: tempfile::TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// An empty folder; `None`, visibly, where SoftHSM is not installed. In CI it must be.
    pub(crate) fn start() -> Option<Self> {
        const PLACES: [&str; 4] = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib64/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
            "/opt/homebrew/lib/softhsm/libsofthsm2.so",
        ];
        let Some(module) = PLACES
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
        else {
            skip("SoftHSM");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).expect("a folder");
        let settings = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(folder.path().join("softhsm2.conf"), settings).expect("settings");
        Some(Self { folder, module })
    }

    /// The library.
    pub(crate) fn module(&self) -> &PathBuf {
        &self.module
    }

    /// The file that [`SETTINGS`] must name.
    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// Removes the public keys of all tokens, and tells how many there were.
    #[allow(dead_code, reason = "not every test that has tokens does")]
    pub(crate) fn remove_public_keys(&self) -> usize {
        // CKA_CLASS, a number, CKO_PUBLIC_KEY: as SoftHSM writes an attribute into an object's file.
        let class: Vec<u8> = [0_u64, 2, 2]
            .into_iter()
            .flat_map(u64::to_be_bytes)
            .collect();
        let mut removed = 0;
        let tokens = std::fs::read_dir(self.folder.path().join("tokens")).expect("tokens");
        for token in tokens {
            let objects = std::fs::read_dir(token.expect("a token").path()).expect("objects");
            for object in objects {
                let path = object.expect("an object").path();
                let content = std::fs::read(&path).expect("read");
                if content.windows(class.len()).any(|part| part == class) {
                    std::fs::remove_file(path).expect("removed");
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Makes a token.
    pub(crate) fn token(&self, label: &str) {
        let words = [
            "--init-token",
            "--free",
            "--so-pin",
            "12345678",
            "--pin",
            PIN,
            "--label",
            label,
        ];
        let made = Command::new("softhsm2-util")
            .args(words)
            .env(SETTINGS, self.settings())
            .output();
        let made = made.expect("softhsm2-util");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}
