//! What becomes of an enrollment's attestation when it is written, and what is shown of it.
//!
//! Certificates are read and described by us; keys that are left out are made. A slot that comes with
//! `info` alone, as every client sends it back, keeps the certificate it holds. A single certificate is
//! answered in both slots, as [`SingleCertificate`] says.
//! Invariant: a stored slot has both the certificate (PEM) and its `info`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki_core::certificate::pem;
use pki_core::enrollment::{
    Attestation, CertificateInfo, CertificateSlot, Mechanism, OtherMembers, Slots, SymmetricKey,
    SymmetricKeys, X509Certificates,
};
use pki_core::ids::CertificateName;

use super::Dps;
use crate::choices::SingleCertificate;
use crate::error::ServiceError;
use crate::store::Store;

/// How much of symmetric keys is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In the answer to a PUT, and by `attestationmechanism`.
    Shown,
    /// By GET and query.
    Hidden,
}

/// Whether a CA certificate that a record refers to has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum References {
    /// By the rules of the planes.
    Held,
    /// It may have been deleted since: a record that is told of as it was.
    MayBeGone,
}

impl Dps {
    /// Turns an attestation as it was sent into what is stored. `present` is what the record holds.
    pub(crate) fn accept_attestation(
        &self,
        store: &Store,
        sent: Attestation,
        present: Option<&Attestation>,
        references: References,
    ) -> Result<Attestation, ServiceError> {
        let mechanism = match sent.mechanism {
            Mechanism::X509(certificates) => {
                let present = match present.map(|attestation| &attestation.mechanism) {
                    Some(Mechanism::X509(present)) => Some(present),
                    _ => None,
                };
                Mechanism::X509(self.accept_certificates(
                    store,
                    certificates,
                    present,
                    references,
                )?)
            }
            Mechanism::SymmetricKey(keys) => {
                let mut keys = keys.unwrap_or_default();
                if let Some(Mechanism::SymmetricKey(Some(present))) =
                    present.map(|attestation| &attestation.mechanism)
                    && self.choices().keep_keys_on_update
                {
                    let kept = present.clone();
                    keys.primary_key = keys.primary_key.or(kept.primary_key);
                    keys.secondary_key = keys.secondary_key.or(kept.secondary_key);
                }
                Mechanism::SymmetricKey(Some(self.accept_keys(keys)?))
            }
            other => other,
        };
        Ok(Attestation { mechanism, ..sent })
    }

    fn accept_certificates(
        &self,
        store: &Store,
        sent: X509Certificates,
        present: Option<&X509Certificates>,
        references: References,
    ) -> Result<X509Certificates, ServiceError> {
        match sent {
            X509Certificates::Client(slots) => {
                let present = match present {
                    Some(X509Certificates::Client(present)) => Some(present),
                    _ => None,
                };
                Ok(X509Certificates::Client(self.accept_slots(slots, present)?))
            }
            X509Certificates::Signing(slots) => {
                let present = match present {
                    Some(X509Certificates::Signing(present)) => Some(present),
                    _ => None,
                };
                Ok(X509Certificates::Signing(
                    self.accept_slots(slots, present)?,
                ))
            }
            X509Certificates::CaReferences(names) => {
                occupied(&names)?;
                let may_be_gone = references == References::MayBeGone;
                if !may_be_gone && !self.choices().allow_unknown_references {
                    names.iter().try_for_each(|name| known(store, name))?;
                }
                Ok(X509Certificates::CaReferences(names))
            }
            _ => Err(ServiceError::ArgumentInvalid(
                "This kind of X.509 attestation is not known.".to_owned(),
            )),
        }
    }

    fn accept_keys(&self, sent: SymmetricKeys) -> Result<SymmetricKeys, ServiceError> {
        let accept = |key: Option<SymmetricKey>| match key {
            Some(key) => checked(key),
            None => Ok(self.random().key()?),
        };
        Ok(SymmetricKeys {
            primary_key: Some(accept(sent.primary_key)?),
            secondary_key: Some(accept(sent.secondary_key)?),
            ..SymmetricKeys::default()
        })
    }

    fn accept_slots(
        &self,
        sent: Slots<CertificateSlot>,
        present: Option<&Slots<CertificateSlot>>,
    ) -> Result<Slots<CertificateSlot>, ServiceError> {
        let mirrors = self.choices().single_certificate;
        let mut present = present.cloned();
        if let Some(present) = &mut present
            && mirrors != SingleCertificate::Once
        {
            copy_single(present);
        }
        let mut accepted = accept_slots(sent, present.as_ref())?;
        match mirrors {
            SingleCertificate::Shown => forget_copy(&mut accepted),
            SingleCertificate::Stored => copy_single(&mut accepted),
            SingleCertificate::Once => {}
        }
        Ok(accepted)
    }

    /// An attestation as an answer shows it.
    pub(crate) fn show_attestation(&self, stored: &Attestation, keys: Keys) -> Attestation {
        let mut shown = stored.clone();
        if let Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) =
            &mut shown.mechanism
            && self.choices().single_certificate == SingleCertificate::Shown
        {
            copy_single(slots);
        }
        match &mut shown.mechanism {
            Mechanism::SymmetricKey(shown) if keys == Keys::Hidden => *shown = None,
            Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots))
                if !self.choices().show_certificates =>
            {
                let slots = slots.primary.iter_mut().chain(&mut slots.secondary);
                slots.for_each(|slot| slot.certificate = None);
            }
            _ => {}
        }
        shown
    }
}

/// Own keys have 16 to 64 octets.
fn checked(key: SymmetricKey) -> Result<SymmetricKey, ServiceError> {
    match STANDARD.decode(key.expose_base64()) {
        Ok(octets) if (16..=64).contains(&octets.len()) => Ok(key),
        _ => Err(ServiceError::ArgumentInvalid(
            "A symmetric key must be base64 of 16 to 64 bytes.".to_owned(),
        )),
    }
}

fn known(store: &Store, name: &CertificateName) -> Result<(), ServiceError> {
    match store.authorities().get(name) {
        Some(_) => Ok(()),
        None => Err(ServiceError::ArgumentInvalid(format!(
            "caReferences names {name}, but no such certificate was uploaded."
        ))),
    }
}

fn occupied<T>(slots: &Slots<T>) -> Result<(), ServiceError> {
    if slots.primary.is_none() && slots.secondary.is_none() {
        return Err(ServiceError::ArgumentInvalid(
            "An X.509 attestation needs a certificate in its primary or secondary slot.".to_owned(),
        ));
    }
    Ok(())
}

/// Puts a single certificate into the secondary slot too.
fn copy_single(slots: &mut Slots<CertificateSlot>) {
    if slots.secondary.is_none() {
        slots.secondary.clone_from(&slots.primary);
    }
}

/// Takes a copy that a client sent back out again: what is only shown is not stored.
fn forget_copy(slots: &mut Slots<CertificateSlot>) {
    let thumbprint = |slot: &CertificateSlot| slot.sha256_thumbprint();
    let primary = slots.primary.as_ref().and_then(thumbprint);
    if primary.is_some() && slots.secondary.as_ref().and_then(thumbprint) == primary {
        slots.secondary = None;
    }
}

fn accept_slots(
    sent: Slots<CertificateSlot>,
    present: Option<&Slots<CertificateSlot>>,
) -> Result<Slots<CertificateSlot>, ServiceError> {
    occupied(&sent)?;
    let primary = present.and_then(|slots| slots.primary.as_ref());
    let secondary = present.and_then(|slots| slots.secondary.as_ref());
    let accept = |slot: Option<CertificateSlot>, present| {
        slot.map(|slot| accept_slot(slot, present)).transpose()
    };
    Ok(Slots {
        primary: accept(sent.primary, primary)?,
        secondary: accept(sent.secondary, secondary)?,
        other: sent.other,
    })
}

fn accept_slot(
    sent: CertificateSlot,
    present: Option<&CertificateSlot>,
) -> Result<CertificateSlot, ServiceError> {
    let refuse = |problem: &str| Err(ServiceError::ArgumentInvalid(problem.to_owned()));
    if let Some(text) = &sent.certificate {
        let Some(certificate) = pem::certificate_in_json(text) else {
            return refuse("A certificate slot holds no certificate that can be read.");
        };
        return Ok(CertificateSlot {
            certificate: Some(certificate.to_pem()),
            info: Some(CertificateInfo::of(&certificate)),
            other: OtherMembers::new(),
        });
    }
    let Some(told) = sent.info else {
        return refuse("A certificate slot has neither certificate nor info.");
    };
    match present {
        Some(present) if present.sha256_thumbprint() == Some(told.sha256_thumbprint) => {
            Ok(present.clone())
        }
        _ => refuse("A certificate slot has info alone, and not that of the certificate it holds."),
    }
}
