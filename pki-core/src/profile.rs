//! What a certificate of a role may contain.

use serde::{Deserialize, Serialize};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A self-signed authority.
    Root,
    /// An authority signed by another.
    Intermediate,
    /// A device.
    Leaf,
    /// A proof of possession of an authority's key.
    Verification,
}
