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
pub(crate) fn lets_in(dps: &Documents, chain: &[Presented]) -> bool {
    lets_in_at(dps, chain, None)
}

/// The same at a moment, in seconds since 1970: a group lets in nobody whose leaf, or a certificate above it
/// up to the verified one, is outside of its dates.
pub(crate) fn lets_in_at(dps: &Documents, chain: &[Presented], at: Option<i64>) -> bool {
    let [leaf, above @ ..] = chain else {
        return false;
    };
    for entry in &dps.individuals {
        if text(&entry["registrationId"]).eq_ignore_ascii_case(&leaf.common_name) {
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

/// A certificate that a device presents, with what is compared of it: a walk asks thousands of times.
pub(crate) struct Presented {
    x509: X509,
    /// The subject's first, or nothing where it has none.
    common_name: String,
    sha1: String,
    sha256: String,
}

impl Presented {
    pub(crate) fn from_der(der: &[u8]) -> Self {
        let x509 = X509::from_der(der).expect("DER");
        let mut names = x509.subject_name().entries_by_nid(Nid::COMMONNAME);
        let name = names.next().map(|name| name.data().to_string());
        Self {
            common_name: name.transpose().expect("text").unwrap_or_default(),
            sha1: hex(&x509, MessageDigest::sha1()),
            sha256: hex(&x509, MessageDigest::sha256()),
            x509,
        }
    }
}

fn holds(dps: &Documents, group: &Value, certificate: &Presented) -> bool {
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
fn is_authority(authority: &Value, certificate: &Presented) -> bool {
    let properties = &authority["properties"];
    if !text(&properties["certificate"]).is_empty() {
        return is(text(&properties["certificate"]), certificate);
    }
    text(&properties["thumbprint"]).eq_ignore_ascii_case(&certificate.sha1)
}

fn is_within(certificate: &Presented, at: Option<i64>) -> bool {
    let Some(at) = at else {
        return true;
    };
    let at = Asn1Time::from_unix(at).expect("a moment");
    certificate.x509.not_before() <= at && certificate.x509.not_after() >= at
}

fn names(slots: &Value, certificate: &Presented) -> bool {
    ["primary", "secondary"].iter().any(|slot| {
        let told = text(&slots[slot]["info"]["sha256Thumbprint"]);
        is(text(&slots[slot]["certificate"]), certificate)
            || told.eq_ignore_ascii_case(&certificate.sha256)
    })
}

fn is_verified(dps: &Documents, certificate: &Presented) -> bool {
    dps.authorities.iter().any(|authority| {
        authority["properties"]["isVerified"] == true && is_authority(authority, certificate)
    })
}

fn is_enabled(entry: &Value) -> bool {
    entry["provisioningStatus"] != "disabled"
}

fn hex(certificate: &X509, kind: MessageDigest) -> String {
    let digest = certificate.digest(kind).expect("digest");
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether this PEM is that certificate. Fleets are made of the same few, so each PEM is read once.
fn is(pem: &str, certificate: &Presented) -> bool {
    thread_local! {
        static SHA256: RefCell<HashMap<String, String>> = RefCell::default();
    }
    if pem.is_empty() {
        return false;
    }
    SHA256.with_borrow_mut(|known| {
        if !known.contains_key(pem) {
            let read = X509::from_pem(pem.as_bytes()).expect("PEM");
            known.insert(pem.to_owned(), hex(&read, MessageDigest::sha256()));
        }
        known[pem] == certificate.sha256
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
