//! A second opinion on admission, written from the DPS documentation alone
//! (<https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation>): it reads the documents as
//! JSON and the certificates with OpenSSL, and shares no code with the crate.

use std::cell::RefCell;
use std::collections::HashMap;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::X509;
use serde_json::Value;

/// Whether DPS lets in a device that presents this chain, leaf first.
///
/// 1. An individual enrollment whose registration ID is the leaf's common name decides.
/// 2. Else the enrollment group of the certificate that signed the leaf decides, else that of the next
///    one above, and so on.
/// 3. The first entry found decides: enabled lets in, disabled refuses. Of several groups with one
///    certificate a disabled one decides ("once a certificate is in a disabled entry, every attempt with
///    it fails").
/// 4. The group's certificate must be verified, or one above it.
pub(crate) fn lets_in(dps: &Documents, chain: &[X509]) -> bool {
    lets_in_at(dps, chain, None)
}

/// The same at a moment, in seconds since 1970: a group lets in nobody whose leaf, or a certificate above it
/// up to the verified one, is outside of its dates.
pub(crate) fn lets_in_at(dps: &Documents, chain: &[X509], at: Option<i64>) -> bool {
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
    for (place, signer) in above.iter().enumerate() {
        let holding: Vec<&Value> = dps
            .groups
            .iter()
            .filter(|group| holds(dps, group, signer))
            .collect();
        if !holding.is_empty() {
            let anchor = above[place..]
                .iter()
                .position(|certificate| is_verified(dps, certificate));
            let Some(anchor) = anchor else {
                return false;
            };
            let path = &chain[..=1 + place + anchor];
            return holding.into_iter().all(is_enabled)
                && path.iter().all(|certificate| is_within(certificate, at));
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
                && is_authority(authority, certificate)
        })
    })
}

/// By the certificate, where the service gave it, else by its SHA-1 thumbprint.
fn is_authority(authority: &Value, certificate: &X509) -> bool {
    let properties = &authority["properties"];
    if !text(&properties["certificate"]).is_empty() {
        return is(text(&properties["certificate"]), certificate);
    }
    let digest = certificate.digest(MessageDigest::sha1()).expect("digest");
    text(&properties["thumbprint"]).eq_ignore_ascii_case(&hex(&digest))
}

fn is_within(certificate: &X509, at: Option<i64>) -> bool {
    let Some(at) = at else {
        return true;
    };
    let at = Asn1Time::from_unix(at).expect("a moment");
    certificate.not_before() <= at && certificate.not_after() >= at
}

fn names(slots: &Value, certificate: &X509) -> bool {
    ["primary", "secondary"].iter().any(|slot| {
        let told = text(&slots[slot]["info"]["sha256Thumbprint"]);
        is(text(&slots[slot]["certificate"]), certificate)
            || (!told.is_empty() && told.eq_ignore_ascii_case(&hex(&digest(certificate))))
    })
}

fn is_verified(dps: &Documents, certificate: &X509) -> bool {
    dps.authorities.iter().any(|authority| {
        authority["properties"]["isVerified"] == true && is_authority(authority, certificate)
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

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
