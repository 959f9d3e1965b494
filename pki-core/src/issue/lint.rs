//! The checks before a signature, one function each, with their sources.
//!
//! They read the very bytes that will be signed, decoded again, not the request: what is wrong in the
//! encoding is wrong in the certificate. Errors refuse, warnings are told.

use std::fmt;
use std::sync::Arc;

use const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use der::{Decode as _, Encode as _};
use serde::Serialize;
use spki::SubjectPublicKeyInfoRef;
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};

use super::sign::same_name;
use super::{Composed, Linted};
use crate::certificate::validity_of;
use crate::ids::{AuthorityName, RegistrationId};
use crate::name::DistinguishedName;
use crate::profile::Role;
use crate::time::{Span, Time, Validity};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The certificate must not be signed.
    Error,
    /// It may be, but somebody will trip over it.
    Warning,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which check: a stable word for scripts.
    pub check: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Where the rule stands.
    pub source: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.source)
    }
}

/// The checks refused a certificate; nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("authority {authority} must not sign this {role} certificate: {}", sentences(.findings))]
pub struct LintError {
    /// Who was to sign.
    pub authority: AuthorityName,
    /// What was to be signed.
    pub role: &'static str,
    /// Every error found.
    pub findings: Vec<Finding>,
}

fn sentences(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl Composed {
    /// Runs every check for issuance at a moment.
    ///
    /// # Errors
    /// [`LintError`] with all errors found; warnings travel with the result.
    pub fn lint(self, now: Time) -> Result<Linted, LintError> {
        let subject = Subject::of(&self, now);
        let findings: Vec<Finding> = CHECKS.iter().filter_map(|check| check(&subject)).collect();
        let (errors, warnings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        if !errors.is_empty() {
            let (authority, role) = (self.issuer.name, self.role.as_str());
            return Err(LintError {
                authority,
                role,
                findings: errors,
            });
        }
        let registration_id = self.registration_id();
        Ok(Linted {
            role: self.role,
            registration_id,
            serial_number: self.serial_number,
            validity: self.validity,
            issuer: Arc::new(self.issuer),
            tbs_der: self.tbs_der,
            warnings,
        })
    }

    fn registration_id(&self) -> Option<RegistrationId> {
        if self.role != Role::Leaf {
            return None;
        }
        let subject = DistinguishedName::from_name(self.tbs.subject().clone());
        subject.common_name()?.parse().ok()
    }
}

/// What a check looks at.
struct Subject<'a> {
    role: Role,
    tbs: &'a TbsCertificate,
    issuer: &'a super::Issuer,
    validity: Option<Validity>,
    now: Time,
}

impl<'a> Subject<'a> {
    fn of(composed: &'a Composed, now: Time) -> Self {
        let validity = composed.tbs.validity();
        Self {
            role: composed.role,
            tbs: &composed.tbs,
            issuer: &composed.issuer,
            validity: validity_of(&validity.not_before, &validity.not_after),
            now,
        }
    }

    fn key_usage(&self) -> Option<KeyUsage> {
        Some(self.tbs.get_extension::<KeyUsage>().ok()??.1)
    }

    fn basic_constraints(&self) -> Option<BasicConstraints> {
        Some(self.tbs.get_extension::<BasicConstraints>().ok()??.1)
    }
}

type Check = fn(&Subject<'_>) -> Option<Finding>;

const CHECKS: [Check; 15] = [
    serial_number_has_64_random_bits,
    validity_is_not_over,
    issuer_is_valid_now,
    validity_lies_within_the_issuer,
    issuer_name_is_its_subject,
    issuer_may_sign,
    path_length_allows,
    authority_is_marked_as_one,
    end_entity_is_no_authority,
    key_usage_fits_the_role,
    purposes_let_a_client_in,
    key_identifiers_are_there,
    public_key_is_strong,
    common_name_is_a_registration_id,
    leaf_can_be_rolled_in_time,
];

fn error(check: &'static str, message: String, source: &'static str) -> Option<Finding> {
    Some(Finding {
        check,
        severity: Severity::Error,
        message,
        source,
    })
}

fn warning(check: &'static str, message: String, source: &'static str) -> Option<Finding> {
    Some(Finding {
        check,
        severity: Severity::Warning,
        message,
        source,
    })
}

fn serial_number_has_64_random_bits(subject: &Subject<'_>) -> Option<Finding> {
    let octets = subject.tbs.serial_number().as_bytes();
    let positive = octets.first().is_some_and(|octet| octet & 0x80 == 0);
    if positive && (8..=20).contains(&octets.len()) {
        return None;
    }
    let message = format!(
        "the serial number has {} octets or is not positive",
        octets.len()
    );
    error("serial-number", message, "RFC 5280 §4.1.2.2")
}

fn validity_is_not_over(subject: &Subject<'_>) -> Option<Finding> {
    let Some(validity) = subject.validity else {
        return error(
            "validity",
            "the validity is empty".into(),
            "RFC 5280 §4.1.2.5",
        );
    };
    if validity.not_after() > subject.now {
        return None;
    }
    let message = format!("it would already be over, on {}", validity.not_after());
    error("validity", message, "RFC 5280 §4.1.2.5")
}

fn issuer_is_valid_now(subject: &Subject<'_>) -> Option<Finding> {
    let validity = subject.issuer.certificate.as_ref()?.validity();
    if validity.contains(subject.now) {
        return None;
    }
    let message = if subject.now > validity.not_after() {
        format!(
            "the authority's own certificate expired on {}",
            validity.not_after()
        )
    } else {
        format!(
            "the authority's own certificate is not valid before {}",
            validity.not_before()
        )
    };
    error("issuer-validity", message, "RFC 5280 §6.1.3")
}

fn validity_lies_within_the_issuer(subject: &Subject<'_>) -> Option<Finding> {
    let issuer = subject.issuer.certificate.as_ref()?.validity();
    let validity = subject.validity?;
    if issuer.encloses(validity) {
        return None;
    }
    let message = format!(
        "it would be valid from {} to {}, but its issuer only from {} to {}",
        validity.not_before(),
        validity.not_after(),
        issuer.not_before(),
        issuer.not_after()
    );
    error("nested-validity", message, "RFC 5280 §6.1.3")
}

fn issuer_name_is_its_subject(subject: &Subject<'_>) -> Option<Finding> {
    if same_name(subject.tbs.issuer(), &subject.issuer.subject_der) {
        return None;
    }
    let message = "the issuer field differs from the issuer's subject in its bytes".into();
    error("issuer-name", message, "RFC 5280 §4.1.2.4")
}

fn issuer_may_sign(subject: &Subject<'_>) -> Option<Finding> {
    let issuer = subject.issuer.certificate.as_ref()?;
    if !issuer.is_ca() {
        let message = "the issuer's certificate is not that of a CA (basicConstraints)".into();
        return error("issuer-ca", message, "RFC 5280 §4.2.1.9");
    }
    if issuer
        .key_usage()
        .is_some_and(|usage| !usage.key_cert_sign())
    {
        let message = "the issuer's key usage does not allow signing certificates".into();
        return error("issuer-ca", message, "RFC 5280 §4.2.1.3");
    }
    None
}

fn path_length_allows(subject: &Subject<'_>) -> Option<Finding> {
    if !subject.role.is_authority() {
        return None;
    }
    let allowed = subject
        .issuer
        .certificate
        .as_ref()?
        .basic_constraints()?
        .path_len_constraint?;
    let own = subject
        .basic_constraints()
        .and_then(|constraints| constraints.path_len_constraint);
    if allowed > 0 && own.is_none_or(|own| own < allowed) {
        return None;
    }
    let message = match own {
        Some(own) if allowed > 0 => {
            format!("its path length {own} does not fit below the issuer's {allowed}")
        }
        _ => "the issuer's path length 0 allows no authority below it".into(),
    };
    error("path-length", message, "RFC 5280 §4.2.1.9")
}

fn authority_is_marked_as_one(subject: &Subject<'_>) -> Option<Finding> {
    if !subject.role.is_authority() || subject.basic_constraints().is_some_and(|found| found.ca) {
        return None;
    }
    error(
        "basic-constraints",
        "an authority must say CA:TRUE".into(),
        "RFC 5280 §4.2.1.9",
    )
}

fn end_entity_is_no_authority(subject: &Subject<'_>) -> Option<Finding> {
    if subject.role.is_authority() || !subject.basic_constraints().is_some_and(|found| found.ca) {
        return None;
    }
    error(
        "basic-constraints",
        "an end entity must not say CA:TRUE".into(),
        "RFC 5280 §4.2.1.9",
    )
}

fn key_usage_fits_the_role(subject: &Subject<'_>) -> Option<Finding> {
    let usage = subject.key_usage();
    let fits = match subject.role {
        Role::Root | Role::Intermediate => {
            usage.is_some_and(|usage| usage.key_cert_sign() && usage.crl_sign())
        }
        Role::Leaf | Role::Verification => usage.is_some_and(|usage| {
            usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
        }),
    };
    if fits {
        return None;
    }
    let message = format!(
        "the key usage does not fit a {} certificate",
        subject.role.as_str()
    );
    error("key-usage", message, "RFC 5280 §4.2.1.3")
}

fn purposes_let_a_client_in(subject: &Subject<'_>) -> Option<Finding> {
    if subject.role.is_authority() {
        return None;
    }
    let purposes = subject
        .tbs
        .get_extension::<ExtendedKeyUsage>()
        .ok()
        .flatten();
    if purposes.is_some_and(|(_, usage)| usage.0.contains(&ID_KP_CLIENT_AUTH)) {
        return None;
    }
    let message = "its extended key usage does not include clientAuth, which DPS needs".into();
    error("extended-key-usage", message, "RFC 5280 §4.2.1.12")
}

fn key_identifiers_are_there(subject: &Subject<'_>) -> Option<Finding> {
    let own = subject
        .tbs
        .get_extension::<SubjectKeyIdentifier>()
        .ok()
        .flatten();
    let issuer = subject
        .tbs
        .get_extension::<AuthorityKeyIdentifier>()
        .ok()
        .flatten();
    if own.is_some() && (issuer.is_some() || subject.role == Role::Root) {
        return None;
    }
    let message = "a key identifier is missing or stands twice".into();
    error("key-identifiers", message, "RFC 5280 §4.2.1.1, §4.2.1.2")
}

fn public_key_is_strong(subject: &Subject<'_>) -> Option<Finding> {
    let spki = subject.tbs.subject_public_key_info().to_der().ok()?;
    match SubjectPublicKeyInfoRef::from_der(&spki) {
        Ok(spki) => public_key_problem(&spki),
        Err(_) => error(
            "public-key",
            "its key cannot be read".into(),
            "RFC 5280 §4.1.2.7",
        ),
    }
}

/// What is wrong with a public key: weak, or of a kind that relying parties do not take.
pub(super) fn public_key_problem(spki: &SubjectPublicKeyInfoRef<'_>) -> Option<Finding> {
    const SOURCE: &str = "NIST SP 800-57 part 1 §5.6.1";
    match (spki.algorithm.oid, spki.algorithm.parameters_oid().ok()) {
        (ID_EC_PUBLIC_KEY, Some(SECP_256_R_1 | SECP_384_R_1)) | (ID_ED_25519, None) => None,
        (RSA_ENCRYPTION, _) => weak_rsa(spki.subject_public_key.raw_bytes(), SOURCE),
        _ => {
            let message = "its key is not RSA, ECDSA P-256 or P-384, or Ed25519".into();
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
        return error(
            "public-key",
            "its RSA key cannot be read".into(),
            "RFC 8017 appendix A.1.1",
        );
    };
    let bits = key.modulus.as_bytes().len() * 8;
    if !(2048..=4096).contains(&bits) {
        return error(
            "public-key",
            format!("its RSA key has {bits} bits, not 2048 to 4096"),
            source,
        );
    }
    if key.exponent.as_bytes() != [1, 0, 1] {
        let message = "its RSA key has another exponent than 65537".into();
        return error("public-key", message, "NIST SP 800-56B §6.2");
    }
    None
}

fn common_name_is_a_registration_id(subject: &Subject<'_>) -> Option<Finding> {
    const SOURCE: &str = "DPS: registration ID; RFC 5280 appendix A.1";
    let names = DistinguishedName::from_name(subject.tbs.subject().clone()).common_names();
    match (subject.role, names.as_slice()) {
        (Role::Root | Role::Intermediate, []) => error(
            "subject",
            "an authority must have a CN".into(),
            "RFC 5280 §4.1.2.6",
        ),
        (Role::Leaf, [name]) if name.parse::<RegistrationId>().is_err() => error(
            "subject",
            format!("its CN {name:?} is no registration ID"),
            SOURCE,
        ),
        (Role::Root | Role::Intermediate, _) | (_, [_]) => None,
        (_, names) => error(
            "subject",
            format!("its subject has {} CNs", names.len()),
            SOURCE,
        ),
    }
}

/// Devices spend years in a warehouse, but a leaf that outlives ten of them is never rolled.
fn leaf_can_be_rolled_in_time(subject: &Subject<'_>) -> Option<Finding> {
    const LONG: Span = Span::from_days(10 * 365);
    let validity = subject.validity?;
    if subject.role != Role::Leaf || validity.not_after() - validity.not_before() <= LONG {
        return None;
    }
    let message = "the leaf is valid for more than ten years".into();
    warning("long-validity", message, "NIST SP 800-57 part 1 §5.3")
}
