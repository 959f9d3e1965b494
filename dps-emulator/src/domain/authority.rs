//! CA certificates in DPS: uploaded, proven, replaced, deleted.
//!
//! Every write changes the ETag, the making of a code too, so that a proof is always for the state
//! that its maker saw. Invariant: a different certificate is never verified by what was proven of the
//! one before.

use pki_core::admission::UploadedCa;
use pki_core::certificate::Certificate;
use pki_core::enrollment::{Mechanism, X509Certificates};
use pki_core::format::pem;
use pki_core::ids::{CertificateName, VerificationCode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Dps;
use super::possession::{self, PossessionError};
use crate::error::ServiceError;
use crate::store::{Conflict, IfMatch, Precondition, Record, Store};

/// A CA certificate in DPS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authority {
    #[serde(serialize_with = "to_pem", deserialize_with = "from_pem")]
    pub(crate) certificate: Certificate,
    /// The certificate's text as it came, which is how it is shown beside a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uploaded_text: Option<String>,
    pub(crate) is_verified: bool,
    /// The code to be proven, once one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<VerificationCode>,
}

/// A certificate that is uploaded.
pub(crate) struct Upload {
    pub(crate) certificate: Certificate,
    /// The certificate as it came.
    pub(crate) text: String,
    /// Whether its uploader attests possession of the key.
    pub(crate) attested: bool,
}

impl Authority {
    /// As admission sees it.
    pub(crate) fn uploaded(&self) -> UploadedCa {
        UploadedCa {
            sha1_thumbprint: self.certificate.sha1_thumbprint(),
            sha256_thumbprint: Some(self.certificate.sha256_thumbprint()),
            is_verified: self.is_verified,
        }
    }
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
        let present = store.authorities().iter();
        let mut present = present.map(|(_, record)| &record.value.certificate);
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

fn to_pem<S: Serializer>(certificate: &Certificate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&certificate.to_pem())
}

fn from_pem<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Certificate, D::Error> {
    let text = String::deserialize(deserializer)?;
    pem::certificate(text.as_bytes()).map_err(serde::de::Error::custom)
}
