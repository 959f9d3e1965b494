//! What Azure Device Registry asks of a CA that is brought there, beyond RFC 5280: of the external CA, and of
//! the issuing CA that it signs (Microsoft's page "Create an intermediate CA signed by an external CA",
//! September 2026).

use const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_EC_PUBLIC_KEY, SECP_256_R_1,
    SECP_384_R_1, SECP_521_R_1,
};
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::{Candidate, Check, Finding, error, warning};
use crate::profile::Role;
use crate::time::Span;

const SOURCE: &str = "Azure Device Registry: requirements for an external CA";

pub(super) const CHECKS: [Check; 6] = [
    key_is_on_a_named_curve,
    signature_is_ecdsa,
    key_usage_has_digital_signature,
    purposes_include_client_auth,
    a_year_is_left,
    external_ca_has_path_length_one,
];

fn key_is_on_a_named_curve(candidate: &Candidate<'_>) -> Option<Finding> {
    let algorithm = &candidate.tbs.subject_public_key_info().algorithm;
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|found| found.decode_as().ok());
    let is_taken = matches!(curve, Some(SECP_256_R_1 | SECP_384_R_1 | SECP_521_R_1));
    if algorithm.oid == ID_EC_PUBLIC_KEY && is_taken {
        return None;
    }
    let message = "its key is not on P-256, P-384 or P-521, named by its OID";
    error("adr-key", message, SOURCE)
}

fn signature_is_ecdsa(candidate: &Candidate<'_>) -> Option<Finding> {
    let found = candidate.tbs.signature().oid;
    if [ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512].contains(&found) {
        return None;
    }
    let message = "its signature is not ECDSA with SHA-256, SHA-384 or SHA-512";
    error("adr-signature", message, SOURCE)
}

fn key_usage_has_digital_signature(candidate: &Candidate<'_>) -> Option<Finding> {
    if candidate
        .key_usage()
        .is_some_and(|usage| usage.digital_signature())
    {
        return None;
    }
    let message = "its key usage lacks digitalSignature";
    error("adr-key-usage", message, SOURCE)
}

fn purposes_include_client_auth(candidate: &Candidate<'_>) -> Option<Finding> {
    let (_, usage) = candidate.extension::<ExtendedKeyUsage>()?;
    if usage.0.contains(&ID_KP_CLIENT_AUTH) {
        return None;
    }
    let message = "its extended key usage does not include clientAuth; it needs none at all";
    error("adr-extended-key-usage", message, SOURCE)
}

fn a_year_is_left(candidate: &Candidate<'_>) -> Option<Finding> {
    const YEAR: Span = Span::from_days(365);
    let not_after = candidate.validity?.not_after();
    if not_after >= candidate.options.at + YEAR {
        return None;
    }
    let message = format!("it expires on {not_after}, and 365 days must be left");
    error("adr-validity", message, SOURCE)
}

/// The page wants 1, and the recipe of Azure's own command line makes 2: nobody knows what is refused.
fn external_ca_has_path_length_one(candidate: &Candidate<'_>) -> Option<Finding> {
    let path_length = candidate.basic_constraints()?.path_len_constraint;
    if candidate.role != Role::Root || path_length == Some(1) {
        return None;
    }
    let message = "its path length is not 1, as that of an external CA should be";
    warning("adr-path-length", message, SOURCE)
}
