//! CA certificates in DPS: uploaded, proven, replaced, deleted.
//!
//! Every write changes the ETag, the making of a code too, so that a proof is always for the state
//! that its maker saw. Invariant: a different certificate is never verified by what was proven of the
//! one before.

use pki_core::certificate::Certificate;
use pki_core::enrollment::{Mechanism, X509Certificates};
use pki_core::ids::CertificateName;

use super::Dps;
use crate::error::ServiceError;
use crate::possession::{self, PossessionError};
use crate::store::authority::Authority;
use crate::store::{Conflict, IfMatch, Precondition, Record, Store};

/// A certificate that is uploaded.
pub(crate) struct Upload {
    pub(crate) certificate: Certificate,
    /// The certificate as it came.
    pub(crate) text: String,
    /// Whether its uploader attests possession of the key.
    pub(crate) attested: bool,
}

impl Dps {
    /// Uploads a certificate, or replaces one: creating needs no `If-Match`, replacing does.
    pub(crate) fn put_authority(
        &self,
        name: &CertificateName,
        upload: Upload,
        if_match: IfMatch,
    ) -> Result<Record<Authority>, ServiceError> {
        self.change(|store| {
            let present = store.authorities().get(name).map(|record| &record.value);
            if present.is_none() {
                self.check_new(store, &upload.certificate)?;
            }
            let precondition = match (&present, if_match) {
                (None, _) => Precondition::Absent,
                (Some(_), IfMatch::Absent) => return Err(ServiceError::PreconditionFailed),
                (Some(_), if_match) => if_match.replacing(),
            };
            let authority = match present {
                Some(present) if present.certificate == upload.certificate => Authority {
                    is_verified: present.is_verified || upload.attested,
                    uploaded_text: Some(upload.text),
                    ..present.clone()
                },
                _ => Authority {
                    certificate: upload.certificate,
                    uploaded_text: Some(upload.text),
                    is_verified: upload.attested,
                    code: None,
                },
            };
            self.write(store, name, authority, &precondition)
        })
    }

    /// Makes a new code to be proven; the one before is void.
    pub(crate) fn generate_code(
        &self,
        name: &CertificateName,
        if_match: IfMatch,
    ) -> Result<Record<Authority>, ServiceError> {
        self.change(|store| {
            let mut authority = authority(store, name)?;
            authority.code = Some(self.random().verification_code()?);
            self.write(store, name, authority, &if_match.replacing())
        })
    }

    /// Takes a proof of possession; the code is used up.
    pub(crate) fn verify_authority(
        &self,
        name: &CertificateName,
        proof: &Certificate,
        if_match: IfMatch,
    ) -> Result<Record<Authority>, ServiceError> {
        self.change(|store| {
            let mut authority = authority(store, name)?;
            let precondition = if_match.replacing();
            let checked = store.authorities().check(name, &precondition);
            checked.map_err(|conflict| refusal(conflict, name))?;
            let code = authority.code.take().ok_or(PossessionError::NoCode)?;
            let judged_at = self.choices().check_proof_dates.then(|| self.now());
            possession::prove(&authority.certificate, &code, proof, judged_at)?;
            authority.is_verified = true;
            self.write(store, name, authority, &precondition)
        })
    }

    /// Deletes a certificate, also one that groups refer to.
    pub(crate) fn delete_authority(
        &self,
        name: &CertificateName,
        if_match: IfMatch,
    ) -> Result<(), ServiceError> {
        self.change(|store| {
            if !self.choices().delete_referred_certificates && is_referred_to(store, name) {
                return Err(ServiceError::ArgumentInvalid(format!(
                    "Certificate {name} is referred to by an enrollment group."
                )));
            }
            let removed = store.remove_authority(name, &if_match.replacing());
            removed.map_err(|conflict| refusal(conflict, name))
        })
    }

    fn check_new(&self, store: &Store, certificate: &Certificate) -> Result<(), ServiceError> {
        let mut present = store
            .authorities()
            .iter()
            .map(|(_, record)| &record.value.certificate);
        if !self.choices().allow_duplicate_certificates && present.any(|one| one == certificate) {
            return Err(ServiceError::ArgumentInvalid(
                "This certificate is there under another name.".to_owned(),
            ));
        }
        let count = store.authorities().len();
        self.check_quota("CA certificates", count, |quotas| quotas.certificates)
    }

    fn write(
        &self,
        store: &mut Store,
        name: &CertificateName,
        authority: Authority,
        precondition: &Precondition,
    ) -> Result<Record<Authority>, ServiceError> {
        store
            .put_authority(name, authority, precondition, self.now())
            .map_err(|conflict| refusal(conflict, name))?;
        let record = store.authorities().get(name).cloned();
        record.ok_or_else(|| refusal(Conflict::Missing, name))
    }
}

fn is_referred_to(store: &Store, name: &CertificateName) -> bool {
    store
        .groups()
        .iter()
        .any(|(_, record)| match &record.value.attestation.mechanism {
            Mechanism::X509(X509Certificates::CaReferences(names)) => {
                names.iter().any(|referred| referred == name)
            }
            _ => false,
        })
}

fn authority(store: &Store, name: &CertificateName) -> Result<Authority, ServiceError> {
    let record = store.authorities().get(name);
    record
        .map(|record| record.value.clone())
        .ok_or_else(|| refusal(Conflict::Missing, name))
}

fn refusal(conflict: Conflict, name: &CertificateName) -> ServiceError {
    match conflict {
        Conflict::Missing => ServiceError::CertificateNotFound(name.to_string()),
        Conflict::Exists | Conflict::Stale => ServiceError::PreconditionFailed,
    }
}
