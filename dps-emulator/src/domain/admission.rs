//! Who a device is, and whether it is let in: by the chain it presented, or by a token.
//!
//! A chain is judged by [`pki_core::admission::decide`]; a path below a group must also hold
//! (dates, constraints, signatures) up to a verified CA. A token is verified with the keys of the
//! individual enrollment of its registration ID, else with those derived from each group's.
//! The first entry found decides, as for certificates: an individual enrollment that exists is never
//! passed over in favour of a group.

use std::sync::Arc;

use pki_core::admission::{Entry, Outcome, PresentedChain, Refusal, decide};
use pki_core::certificate::Certificate;
use pki_core::enrollment::{Mechanism, ProvisioningStatus, SymmetricKeys};
use pki_core::hub::{HubAuthentication, Thumbprints};
use pki_core::ids::RegistrationId;

use super::Dps;
use super::paths::JudgedChain;
use crate::error::ServiceError;
use crate::sas::{SasToken, derived_keys};
use crate::store::Store;
use crate::store::registration::Proven;

const UNAUTHORIZED: ServiceError = ServiceError::Unauthorized("Unauthorized");

/// What a device shows to prove who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// The certificates of its TLS session, leaf first; the session proved the leaf's key.
    Chain(&'a [Certificate]),
    /// The value of its `Authorization` header, or an MQTT password.
    Token(&'a str),
}

/// A credential with everything checked that depends on no entry, so that it happens outside of the
/// lock.
pub(crate) enum Presented<'a> {
    /// A chain whose links hold.
    Chain {
        leaf: &'a Certificate,
        judged: Arc<JudgedChain>,
    },
    /// A token that can be read; its signature is still to be checked.
    Token(SasToken<'a>),
}

/// The answer to a device at the door; a refusal is an error.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) entry: Entry,
    pub(crate) is_enabled: bool,
    pub(crate) proven: Proven,
    /// How the device will prove itself to its hub.
    pub(crate) authentication: HubAuthentication,
}

impl Dps {
    /// Reads a credential and checks its signatures.
    pub(crate) fn present<'a>(
        &self,
        credential: Option<Credential<'a>>,
    ) -> Result<Presented<'a>, ServiceError> {
        match credential {
            Some(Credential::Chain([leaf, sent @ ..])) => {
                let trust = self.store().trust();
                let judged = self.chains.judge(leaf, sent, &trust, self.now());
                Ok(Presented::Chain { leaf, judged })
            }
            Some(Credential::Token(token)) => {
                let token = SasToken::parse(token).ok_or(UNAUTHORIZED)?;
                Ok(Presented::Token(token))
            }
            Some(Credential::Chain([])) | None => Err(UNAUTHORIZED),
        }
    }

    /// Whether a credential is a device's own, whatever its enrollment says about it.
    pub(crate) fn recognize(
        &self,
        id: &RegistrationId,
        credential: Credential<'_>,
    ) -> Result<(), ServiceError> {
        let presented = self.present(Some(credential))?;
        self.admit(&self.store(), id, &presented).map(drop)
    }

    /// Decides about a device that claims a registration ID.
    pub(crate) fn admit(
        &self,
        store: &Store,
        id: &RegistrationId,
        presented: &Presented<'_>,
    ) -> Result<Verdict, ServiceError> {
        match presented {
            Presented::Chain { leaf, judged } => self.admit_by_chain(store, id, leaf, judged),
            Presented::Token(token) => self.admit_by_token(store, id, token),
        }
    }

    fn admit_by_chain(
        &self,
        store: &Store,
        id: &RegistrationId,
        leaf: &Certificate,
        judged: &JudgedChain,
    ) -> Result<Verdict, ServiceError> {
        let chain = &judged.chain;
        let claimed = chain.common_name().and_then(|name| name.parse().ok());
        if claimed.as_ref() != Some(id) {
            return Err(UNAUTHORIZED);
        }
        let decision = decide(store.view(), chain);
        let thumbprint = leaf.sha256_thumbprint();
        tracing::debug!(registration_id = %id, %thumbprint, %decision, "admission");
        let (entry, is_enabled) = match decision.outcome {
            Outcome::Admitted(entry) => (entry, true),
            Outcome::Disabled(entry) => (entry, false),
            Outcome::Refused(refusal) => return Err(refused(store, &refusal, chain)),
            _ => return Err(UNAUTHORIZED),
        };
        if is_enabled {
            self.check_validity(&entry, leaf, judged.path_failure.as_deref())?;
        }
        Ok(Verdict {
            entry,
            is_enabled,
            proven: Proven::Leaf(thumbprint),
            authentication: self_signed(leaf, self.choices().copy_thumbprint),
        })
    }

    fn check_validity(
        &self,
        entry: &Entry,
        leaf: &Certificate,
        path_failure: Option<&str>,
    ) -> Result<(), ServiceError> {
        let now = self.now();
        let failure = match entry {
            Entry::Group(_) => path_failure.map(str::to_owned),
            Entry::Individual(_) => (self.choices().check_individual_dates
                && !leaf.validity().contains(now))
            .then(|| format!("it is not valid at {now}")),
        };
        failure.map_or(Ok(()), |reason| {
            Err(ServiceError::InvalidCertificate(reason))
        })
    }

    fn admit_by_token(
        &self,
        store: &Store,
        id: &RegistrationId,
        token: &SasToken<'_>,
    ) -> Result<Verdict, ServiceError> {
        let id_scope = self.settings.id_scope.as_str();
        if !token.is_live(self.now()) || !token.covers_registration(id_scope, id) {
            return Err(UNAUTHORIZED);
        }
        let by_group = keys_by_group(store, token, id);
        let (entry, status, keys) = match store.individuals().get(id) {
            None => by_group.ok_or(UNAUTHORIZED)?,
            Some(record) => {
                let entry = Entry::Individual(id.clone());
                let status = record.value.provisioning_status.clone();
                match &record.value.attestation.mechanism {
                    Mechanism::SymmetricKey(Some(keys)) if token.is_signed_by_any(keys) => {
                        (entry, status, keys.clone())
                    }
                    // A disabled entry shuts out a group's device whatever it attests by itself.
                    _ => match by_group {
                        Some((_, _, keys)) if status == ProvisioningStatus::Disabled => {
                            (entry, status, keys)
                        }
                        _ => return Err(UNAUTHORIZED),
                    },
                }
            }
        };
        Ok(Verdict {
            entry,
            is_enabled: status == ProvisioningStatus::Enabled,
            proven: Proven::Key,
            authentication: shared_keys(keys),
        })
    }
}

/// The documented texts; all of them have the same number.
fn refused(store: &Store, refusal: &Refusal, chain: &PresentedChain) -> ServiceError {
    match refusal {
        Refusal::NoEntry if reaches_verified(store, chain) => {
            ServiceError::Unauthorized("Signing certificate info did not match chain elements")
        }
        Refusal::NoEntry | Refusal::NoVerifiedCa(_) => {
            ServiceError::Unauthorized("CA certificate not found.")
        }
        _ => UNAUTHORIZED,
    }
}

fn reaches_verified(store: &Store, chain: &PresentedChain) -> bool {
    let trust = store.trust();
    chain.above_leaf().iter().any(|element| {
        trust
            .verified
            .iter()
            .map(Certificate::sha256_thumbprint)
            .any(|thumbprint| thumbprint == element.sha256_thumbprint)
    })
}

/// The group whose derived key made the token, if any, with the device's keys.
fn keys_by_group(
    store: &Store,
    token: &SasToken<'_>,
    id: &RegistrationId,
) -> Option<(Entry, ProvisioningStatus, SymmetricKeys)> {
    store.groups().iter().find_map(|(group_id, record)| {
        let Mechanism::SymmetricKey(Some(group)) = &record.value.attestation.mechanism else {
            return None;
        };
        let derived = derived_keys(group, id);
        let keys = derived
            .into_iter()
            .find(|keys| token.is_signed_by_any(keys))?;
        Some((
            Entry::Group(group_id.clone()),
            record.value.provisioning_status.clone(),
            keys,
        ))
    })
}

/// The identity that DPS makes for X.509: the SHA-256 of the leaf that was presented, in both slots or
/// in the first.
fn self_signed(leaf: &Certificate, is_copied: bool) -> HubAuthentication {
    let thumbprint = leaf.sha256_thumbprint().to_string();
    HubAuthentication {
        kind: Some("selfSigned".to_owned()),
        symmetric_key: None,
        x509_thumbprint: Some(Thumbprints {
            primary_thumbprint: Some(thumbprint.clone()),
            secondary_thumbprint: is_copied.then_some(thumbprint),
            ..Thumbprints::default()
        }),
        other: serde_json::Map::new(),
    }
}

fn shared_keys(keys: SymmetricKeys) -> HubAuthentication {
    HubAuthentication {
        kind: Some("sas".to_owned()),
        symmetric_key: Some(keys),
        x509_thumbprint: None,
        other: serde_json::Map::new(),
    }
}
