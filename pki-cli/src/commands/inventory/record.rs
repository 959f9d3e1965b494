//! What the inventory knows of a certificate, beside what that says itself: for lists and exports alike.

use std::collections::BTreeMap;

use pki_core::ids::{AuthorityName, Generation, RegistrationId};
use pki_core::inventory::{CertificateState, InventoryEntry, Recorded};
use pki_core::profile::Role;
use pki_core::time::Time;
use serde::Serialize;

/// For whom a certificate is, who signed it, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordFacts {
    pub(super) registration_id: Option<RegistrationId>,
    pub(super) role: Role,
    pub(super) authority: Option<AuthorityName>,
    pub(super) generation: Option<Generation>,
    pub(super) status: &'static str,
    /// When it was delivered, voided or revoked; none for what was only recorded.
    pub(super) status_at: Option<Time>,
    /// Why it was voided or revoked.
    pub(super) reason: Option<String>,
    pub(super) recorded_at: Time,
    pub(super) batch: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl RecordFacts {
    /// What is known at a moment.
    pub(super) fn of(entry: &InventoryEntry, at: Time) -> Self {
        let recorded = &entry.recorded;
        let (status_at, reason) = last_change(&entry.state);
        Self {
            registration_id: recorded.registration_id().cloned(),
            role: recorded.role(),
            authority: recorded.signed_by().map(|by| by.name.clone()),
            generation: recorded.signed_by().map(|by| by.generation),
            status: entry.standing(at).as_str(),
            status_at,
            reason,
            recorded_at: entry.recorded_at,
            batch: recorded.batch().map(ToString::to_string),
            labels: labels(recorded),
        }
    }
}

/// When a certificate got its state, and why it was voided or revoked.
fn last_change(state: &CertificateState) -> (Option<Time>, Option<String>) {
    match state {
        CertificateState::Undelivered => (None, None),
        CertificateState::Delivered { at } => (Some(*at), None),
        CertificateState::Voided { at, reason } => (Some(*at), Some(reason.clone())),
        CertificateState::Revoked { at, reason } => (Some(*at), Some(reason.to_string())),
    }
}

fn labels(recorded: &Recorded) -> BTreeMap<String, String> {
    recorded
        .labels()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
