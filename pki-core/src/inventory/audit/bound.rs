//! What the trail did not bind before an upgrade, bound as it was found.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AuditEntry, AuditHash, FoundPlan};
use crate::inventory::RowKey;

/// What an upgrade has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AsFound {
    /// The digest of the requests; see [`FoundRequests`].
    #[serde(skip, default = "none")]
    pub(crate) requests: AuditHash,
    pub(crate) plans: Vec<FoundPlan>,
}

fn none() -> AuditHash {
    AuditHash::NONE
}

impl AsFound {
    pub(super) fn detail(&self) -> Value {
        json!({ "plans": self.plans })
    }

    /// What an entry says; `None` if it makes no sense.
    pub(super) fn read(entry: &AuditEntry) -> Option<Self> {
        let found: Self = serde_json::from_value(entry.detail()).ok()?;
        Some(Self {
            requests: entry.content?,
            ..found
        })
    }
}

/// The digest of the requests that are kept, one after the other by row: the row in 64 bits, and the
/// SHA-256 of the request.
pub(crate) struct FoundRequests(Context);

impl Default for FoundRequests {
    fn default() -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"dps-pki requests 1\n");
        Self(context)
    }
}

impl FoundRequests {
    pub(crate) fn add(&mut self, row: RowKey, request: AuditHash) {
        self.0.update(&row.number().to_be_bytes());
        self.0.update(request.as_octets());
    }

    pub(crate) fn finish(self) -> AuditHash {
        AuditHash::from_digest(self.0.finish())
    }
}
