//! Attestations from certificates: what goes into an entry that we write.

use super::{Attestation, CertificateSlot, Slots, X509Certificates};
use crate::certificate::Certificate;
use crate::ids::CertificateName;

/// An individual enrollment's attestation by this leaf alone.
pub fn by_leaf(leaf: &Certificate) -> Attestation {
    Attestation::x509(X509Certificates::Client(primary(leaf)))
}

/// A group's attestation by this signing certificate alone.
pub fn by_signing_certificate(authority: &Certificate) -> Attestation {
    Attestation::x509(X509Certificates::Signing(primary(authority)))
}

/// A group's attestation by a CA certificate that DPS holds under this name.
pub fn by_ca_reference(name: CertificateName) -> Attestation {
    Attestation::x509(X509Certificates::CaReferences(Slots::primary(name)))
}

fn primary(certificate: &Certificate) -> Slots<CertificateSlot> {
    Slots::primary(CertificateSlot::from_pem(certificate.to_pem()))
}
