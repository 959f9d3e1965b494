//! A second opinion on admission, written from the DPS documentation alone
//! (<https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation>): it reads the documents as
//! JSON and the certificates with OpenSSL, and shares no code with the crate.

use std::cell::RefCell;
use std::collections::HashMap;

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::X509;
use serde_json::Value;

/// Whether DPS lets in a device that presents this chain, leaf first.
///
/// 1. An individual enrollment whose registration ID is the leaf's common name decides.
/// 2. Else the enrollment group of the certificate that signed the leaf decides, else that of the next
///    one above, and so on.
/// 3. The first entry found decides: enabled lets in, disabled refuses.
/// 4. A device of a group must reach a certificate that was verified.
pub(crate) fn lets_in(dps: &Documents, chain: &[X509]) -> bool {
    let [leaf, above @ ..] = chain else {
        return false;
    };
    let name = common_name(leaf);
    for entry in &dps.individuals {
        if text(&entry["registrationId"]).eq_ignore_ascii_case(&name) {
            return is_enabled(entry)
                && names(&entry["attestation"]["x509"]["clientCertificates"], leaf);
        }
    }
    for signer in above {
        let mut groups: Vec<&Value> = dps.groups.iter().collect();
        groups.sort_by_key(|group| text(&group["enrollmentGroupId"]).to_lowercase());
        if let Some(group) = groups.into_iter().find(|group| holds(dps, group, signer)) {
            let is_verified = above
                .iter()
                .any(|certificate| is_verified(dps, certificate));
            return is_enabled(group) && is_verified;
        }
    }
    false
}

/// What DPS holds, as its interfaces show it.
pub(crate) struct Documents {
    pub(crate) authorities: Vec<Value>,
    pub(crate) groups: Vec<Value>,
    pub(crate) individuals: Vec<Value>,
}

fn holds(dps: &Documents, group: &Value, certificate: &X509) -> bool {
    let x509 = &group["attestation"]["x509"];
    if names(&x509["signingCertificates"], certificate) {
        return true;
    }
    ["primary", "secondary"].iter().any(|slot| {
        let reference = text(&x509["caReferences"][slot]);
        dps.authorities.iter().any(|authority| {
            text(&authority["name"]).eq_ignore_ascii_case(reference)
                && is(text(&authority["properties"]["certificate"]), certificate)
        })
    })
}

fn names(slots: &Value, certificate: &X509) -> bool {
    ["primary", "secondary"]
        .iter()
        .any(|slot| is(text(&slots[slot]["certificate"]), certificate))
}

fn is_verified(dps: &Documents, certificate: &X509) -> bool {
    dps.authorities.iter().any(|authority| {
        authority["properties"]["isVerified"] == true
            && is(text(&authority["properties"]["certificate"]), certificate)
    })
}

fn is_enabled(entry: &Value) -> bool {
    entry["provisioningStatus"] != "disabled"
}

fn is(pem: &str, certificate: &X509) -> bool {
    !pem.is_empty() && remembered(pem) == digest(certificate)
}

fn digest(certificate: &X509) -> Vec<u8> {
    let digest = certificate.digest(MessageDigest::sha256());
    digest.expect("digest").to_vec()
}

/// The digest of a certificate in PEM: fleets are made of the same few.
fn remembered(pem: &str) -> Vec<u8> {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Vec<u8>>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let read = || digest(&X509::from_pem(pem.as_bytes()).expect("PEM"));
        known.entry(pem.to_owned()).or_insert_with(read).clone()
    })
}

fn common_name(leaf: &X509) -> String {
    let mut names = leaf.subject_name().entries_by_nid(Nid::COMMONNAME);
    let name = names.next().expect("a common name");
    name.data().to_string().expect("text")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
