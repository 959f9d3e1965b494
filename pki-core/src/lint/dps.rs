//! What DPS, and devices in a warehouse, ask of a certificate beyond RFC 5280.

use const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use der::{Decode as _, Encode as _};
use spki::SubjectPublicKeyInfoRef;
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::{Candidate, Check, Finding, error, warning};
use crate::ids::{LONGEST_COMMON_NAME, RegistrationId};
use crate::name::DistinguishedName;
use crate::profile::Role;
use crate::time::Span;

pub(super) const CHECKS: [Check; 5] = [
    public_key_is_strong,
    purposes_let_a_client_in,
    common_name_is_a_registration_id,
    leaf_can_be_rolled_in_time,
    leaf_outlasts_the_warehouse,
];

fn public_key_is_strong(candidate: &Candidate<'_>) -> Option<Finding> {
    let spki = candidate.tbs.subject_public_key_info().to_der().ok()?;
    match SubjectPublicKeyInfoRef::from_der(&spki) {
        Ok(spki) => public_key_problem(&spki),
        Err(_) => error("public-key", "its key cannot be read", "RFC 5280 §4.1.2.7"),
    }
}

/// What is wrong with a public key: weak, or of a kind that relying parties do not take.
pub(crate) fn public_key_problem(spki: &SubjectPublicKeyInfoRef<'_>) -> Option<Finding> {
    const SOURCE: &str = "NIST SP 800-57 part 1 §5.6.1";
    match (spki.algorithm.oid, spki.algorithm.parameters_oid().ok()) {
        (ID_EC_PUBLIC_KEY, Some(SECP_256_R_1 | SECP_384_R_1)) | (ID_ED_25519, None) => None,
        (ID_EC_PUBLIC_KEY, None) => {
            let message =
                "its key has the parameters of its curve written out, and no name of a curve";
            error("public-key", message, "RFC 5480 §2.1.1")
        }
        (RSA_ENCRYPTION, _) => weak_rsa(spki.subject_public_key.raw_bytes(), SOURCE),
        _ => {
            let message = "its key is not RSA, ECDSA P-256 or P-384, or Ed25519";
            error("public-key", message, SOURCE)
        }
    }
}

#[derive(der::Sequence)]
struct RsaPublicKey {
    modulus: der::asn1::Uint,
    exponent: der::asn1::Uint,
}

fn weak_rsa(public_key: &[u8], source: &'static str) -> Option<Finding> {
    let Ok(key) = RsaPublicKey::from_der(public_key) else {
        let message = "its RSA key cannot be read";
        return error("public-key", message, "RFC 8017 appendix A.1.1");
    };
    let bits = key.modulus.as_bytes().len() * 8;
    if !(2048..=4096).contains(&bits) {
        let message = format!("its RSA key has {bits} bits, not 2048 to 4096");
        return error("public-key", message, source);
    }
    if key.exponent.as_bytes() != [1, 0, 1] {
        let message = "its RSA key has another exponent than 65537";
        return error("public-key", message, "NIST SP 800-56B §6.2");
    }
    None
}

fn purposes_let_a_client_in(candidate: &Candidate<'_>) -> Option<Finding> {
    if candidate.role.is_authority() {
        return None;
    }
    let purposes = candidate.extension::<ExtendedKeyUsage>();
    if purposes.is_some_and(|(_, usage)| usage.0.contains(&ID_KP_CLIENT_AUTH)) {
        return None;
    }
    let message = "its extended key usage does not include clientAuth, which DPS needs";
    error("client-auth", message, "RFC 5280 §4.2.1.12")
}

fn common_name_is_a_registration_id(candidate: &Candidate<'_>) -> Option<Finding> {
    const SOURCE: &str = "DPS: registration ID; RFC 5280 appendix A.1";
    let names = DistinguishedName::from_name(candidate.tbs.subject().clone()).common_names();
    match (candidate.role, names.as_slice()) {
        (Role::Root | Role::Intermediate, []) => error(
            "subject",
            "an authority must have a CN",
            "RFC 5280 §4.1.2.6",
        ),
        (Role::Leaf, [name]) if name.chars().count() > LONGEST_COMMON_NAME => {
            let message = format!(
                "its CN has {} characters, not 64 at most",
                name.chars().count()
            );
            error("registration-id", message, SOURCE)
        }
        (Role::Leaf, [name]) if name.parse::<RegistrationId>().is_err() => error(
            "registration-id",
            format!("its CN {name:?} is no registration ID"),
            SOURCE,
        ),
        (Role::Root | Role::Intermediate, _) | (_, [_]) => None,
        (_, names) => error(
            "registration-id",
            format!("its subject has {} CNs", names.len()),
            SOURCE,
        ),
    }
}

/// Devices spend years in a warehouse, but a leaf that outlives ten of them is never rolled.
fn leaf_can_be_rolled_in_time(candidate: &Candidate<'_>) -> Option<Finding> {
    const LONG: Span = Span::from_days(10 * 365);
    let validity = candidate.validity?;
    if candidate.role != Role::Leaf || validity.not_after() - validity.not_before() <= LONG {
        return None;
    }
    let message = "the leaf is valid for more than ten years";
    warning("long-validity", message, "NIST SP 800-57 part 1 §5.3")
}

/// A device that is unpacked with an expired leaf cannot register to get another.
fn leaf_outlasts_the_warehouse(candidate: &Candidate<'_>) -> Option<Finding> {
    let validity = candidate.validity?;
    let warehouse = candidate.options.warehouse_time?;
    let unpacked = candidate.options.at + warehouse;
    if candidate.role != Role::Leaf || validity.not_after() >= unpacked {
        return None;
    }
    let message = format!(
        "the leaf expires on {}, within the warehouse time of {warehouse}",
        validity.not_after()
    );
    error(
        "warehouse-time",
        message,
        "DPS: a device registers with a valid leaf",
    )
}
