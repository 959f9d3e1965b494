//! Every reader of input from outside, one function each: it may refuse anything, but it must come
//! back. cargo-fuzz runs them one at a time, the ordinary tests replay the corpus through all of them.
#![allow(dead_code, reason = "each fuzz target uses one")]

use dps_client::auth::{ConnectionString, sas_token};
use pki_core::bulk::input::{DeviceList, ListForm};
use pki_core::certificate::{Certificate, pem};
use pki_core::crl::Crl;
use pki_core::csr::SigningRequest;
use pki_core::declaration::Declaration;
use pki_core::encoding::Identity;
use pki_core::encoding::contents::Contents;
use pki_core::enrollment::{CertificateInfo, EnrollmentGroup, IndividualEnrollment};
use pki_core::handout::{OpenedError, each_device};
use pki_core::key::read_private_key;
use pki_core::lint::{self, LintOptions};
use pki_core::path::{self, PathOptions};
use pki_core::time::Time;

/// The name of a target, as its corpus is called, and what it runs.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const ALL: [Target; 12] = [
    ("pem_bundle", pem_bundle),
    ("certificate", certificate),
    ("signing_request", signing_request),
    ("private_key", private_key),
    ("crl", crl),
    ("contents", contents),
    ("batch", batch),
    ("device_list", device_list),
    ("declaration", declaration),
    ("connection_string", connection_string),
    ("shared_access_key", shared_access_key),
    ("enrollment", enrollment),
];

/// PEM with anything around it, or DER; the first certificate's path to the last is judged.
pub(crate) fn pem_bundle(data: &[u8]) {
    let _ = pki_core::pem::blocks(data);
    let Ok(chain) = pem::certificates(data) else {
        return;
    };
    let _ = lint::chain(&chain, None, LintOptions::new(Time::FOREVER));
    if let [leaf, intermediates @ .., anchor] = &chain[..] {
        let anchors = std::slice::from_ref(anchor);
        let begin = leaf.validity().not_before();
        let _ = path::validate(leaf, intermediates, anchors, PathOptions::new(begin));
    }
}

/// The DER of a certificate, with everything that is said about one.
pub(crate) fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::from_der(data) else {
        return;
    };
    assert_eq!(certificate.der(), data);
    let _ = CertificateInfo::of(&certificate);
    let role = lint::claimed_role(&certificate);
    let options = LintOptions::new(Time::FOREVER);
    let _ = lint::certificate(&certificate, role, Some(&certificate), options);
}

/// A CSR in PEM or DER.
pub(crate) fn signing_request(data: &[u8]) {
    if let Ok(request) = SigningRequest::read(data) {
        let _ = request.requested_extensions();
    }
}

/// A private key in PEM or DER. Encrypted ones are not opened: that is slow on purpose.
pub(crate) fn private_key(data: &[u8]) {
    let _ = read_private_key(data, None);
}

/// A file of any form, PKCS#7 and PKCS#12 among them; opened with the empty passphrase.
pub(crate) fn contents(data: &[u8]) {
    if let Ok(contents) = Contents::read(data, None) {
        let _ = Identity::assemble(&contents.certificates(), None);
    }
}

/// The DER of a CRL.
pub(crate) fn crl(data: &[u8]) {
    if let Ok(crl) = Crl::from_der(data) {
        assert!(
            crl.revoked()
                .iter()
                .all(|entry| crl.entry(&entry.serial_number).is_some())
        );
    }
}

/// A batch that arrived, as NDJSON or an archive.
pub(crate) fn batch(data: &[u8]) {
    let _ = each_device(data, |device| {
        assert!(!device.full_chain().is_empty());
        Ok::<_, OpenedError>(())
    });
}

/// The devices of a batch, as CSV or one a line.
pub(crate) fn device_list(data: &[u8]) {
    if let Ok(list) = DeviceList::open(data, &ListForm::default()) {
        let _ = list.count();
    }
}

/// A `pki.toml`.
pub(crate) fn declaration(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Declaration::parse(text);
    }
}

/// A connection string of DPS or a hub.
pub(crate) fn connection_string(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<ConnectionString>();
    }
}

/// A shared access key as people paste it; tokens are made with it.
pub(crate) fn shared_access_key(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = sas_token("mydps.azure-devices-provisioning.net", text, 0, None);
    }
}

/// An enrollment document: whatever is read is written back and read again.
pub(crate) fn enrollment(data: &[u8]) {
    if let Ok(individual) = serde_json::from_slice::<IndividualEnrollment>(data) {
        let written = serde_json::to_vec(&individual).unwrap_or_default();
        assert!(serde_json::from_slice::<IndividualEnrollment>(&written).is_ok());
    }
    if let Ok(group) = serde_json::from_slice::<EnrollmentGroup>(data) {
        let written = serde_json::to_vec(&group).unwrap_or_default();
        assert!(serde_json::from_slice::<EnrollmentGroup>(&written).is_ok());
    }
}
