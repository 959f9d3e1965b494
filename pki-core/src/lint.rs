//! Rules that a certificate must keep, one check a function, each with its source.
//!
//! The checks read decoded bytes, not a request: what is wrong in an encoding is wrong in the
//! certificate. They are asked before every signature ([`crate::issue`]), by path validation on top
//! of the library's verdict ([`crate::path`]), and about certificates that others made
//! ([`certificate`], [`chain`]). Errors refuse, warnings are told.
//! Not here: signatures and trust, which are [`crate::path`]'s.
//! Invariant: a check's word ([`Finding::check`]) is stable; scripts filter by it.

mod chain;
mod device_registry;
mod dps;
mod extensions;
mod issuer;
mod names;
mod structure;

use std::fmt;

use serde::Serialize;
use spki::AlgorithmIdentifierOwned;
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use crate::certificate::{Certificate, validity_of};
use crate::profile::Role;
use crate::time::{Span, Time, Validity};

pub use chain::{
    ChainFindings, SMALL_TLS_BUFFER, chain, chain_size, chain_too_large, reaches_verified_ca,
};
pub(crate) use dps::public_key_problem;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The certificate must not be signed.
    Error,
    /// It may be, but somebody will trip over it.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
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

/// From where and for whom a certificate is looked at.
#[derive(Debug, Clone, Copy)]
pub struct LintOptions {
    /// The moment for which it is judged.
    pub at: Time,
    /// How long devices may lie on a shelf before they are first switched on.
    pub warehouse_time: Option<Span>,
}

impl LintOptions {
    /// Judged for a moment; nothing is known of warehouses.
    pub fn new(at: Time) -> Self {
        Self {
            at,
            warehouse_time: None,
        }
    }
}

/// The role that a certificate claims: a CA that issued itself is a root, another CA an
/// intermediate, everything else a leaf.
pub fn claimed_role(certificate: &Certificate) -> Role {
    match (certificate.is_ca(), certificate.is_self_issued()) {
        (true, true) => Role::Root,
        (true, false) => Role::Intermediate,
        (false, _) => Role::Leaf,
    }
}

/// Runs every check over a signed certificate; those that compare it with its issuer only if that
/// is at hand.
pub fn certificate(
    certificate: &Certificate,
    role: Role,
    issuer: Option<&Certificate>,
    options: LintOptions,
) -> Vec<Finding> {
    let facts = issuer.map(IssuerFacts::of);
    let candidate = Candidate::signed(certificate, role, facts.as_ref(), options);
    candidate
        .findings(&[&structure::CHECKS, &extensions::CHECKS, &names::CHECKS])
        .into_iter()
        .chain(candidate.findings(&[&issuer::CHECKS, &issuer::SIGNED_CHECKS, &dps::CHECKS]))
        .collect()
}

/// What keeps Azure Device Registry from taking a CA certificate; of one that is no CA's, nothing.
pub fn for_device_registry(
    certificate: &Certificate,
    role: Role,
    options: LintOptions,
) -> Vec<Finding> {
    if !role.is_authority() {
        return Vec::new();
    }
    let candidate = Candidate::signed(certificate, role, None, options);
    candidate.findings(&[&device_registry::CHECKS])
}

/// The errors of form in one certificate of a path, which [`crate::path`] adds to the library's.
pub(crate) fn form_errors(certificate: &Certificate, at: Time) -> Vec<Finding> {
    let role = claimed_role(certificate);
    let options = LintOptions::new(at);
    let candidate = Candidate::signed(certificate, role, None, options);
    let mut findings = candidate.findings(&[
        &structure::FORM_CHECKS,
        &extensions::FORM_CHECKS,
        &names::CHECKS,
    ]);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
}

/// What a check looks at.
pub(crate) struct Candidate<'a> {
    role: Role,
    tbs: &'a TbsCertificate,
    /// Outside of what is signed; none while nothing is signed.
    signature_algorithm: Option<&'a AlgorithmIdentifierOwned>,
    certificate: Option<&'a Certificate>,
    issuer: Option<&'a IssuerFacts<'a>>,
    validity: Option<Validity>,
    options: LintOptions,
}

/// What the checks know of who signs.
pub(crate) struct IssuerFacts<'a> {
    /// Its name, byte for byte.
    pub(crate) subject_der: Vec<u8>,
    /// Its public key as SubjectPublicKeyInfo DER.
    pub(crate) public_key: Vec<u8>,
    /// Its certificate; none for a root that is about to sign itself.
    pub(crate) certificate: Option<&'a Certificate>,
}

impl<'a> IssuerFacts<'a> {
    fn of(certificate: &'a Certificate) -> Self {
        Self {
            subject_der: certificate.subject().to_der(),
            public_key: certificate.public_key(),
            certificate: Some(certificate),
        }
    }
}

impl<'a> Candidate<'a> {
    /// What is about to be signed.
    pub(crate) fn unsigned(
        tbs: &'a TbsCertificate,
        role: Role,
        issuer: &'a IssuerFacts<'a>,
        options: LintOptions,
    ) -> Self {
        let validity = tbs.validity();
        Self {
            role,
            tbs,
            signature_algorithm: None,
            certificate: None,
            issuer: Some(issuer),
            validity: validity_of(&validity.not_before, &validity.not_after),
            options,
        }
    }

    fn signed(
        certificate: &'a Certificate,
        role: Role,
        issuer: Option<&'a IssuerFacts<'a>>,
        options: LintOptions,
    ) -> Self {
        let parsed = certificate.parsed();
        Self {
            role,
            tbs: parsed.tbs_certificate(),
            signature_algorithm: Some(parsed.signature_algorithm()),
            certificate: Some(certificate),
            issuer,
            validity: Some(certificate.validity()),
            options,
        }
    }

    /// What every check before a signature finds.
    pub(crate) fn before_signature(&self) -> Vec<Finding> {
        self.findings(&[
            &structure::CHECKS,
            &extensions::CHECKS,
            &names::CHECKS,
            &issuer::CHECKS,
            &dps::CHECKS,
        ])
    }

    fn findings(&self, groups: &[&[Check]]) -> Vec<Finding> {
        let checks = groups.iter().copied().flatten();
        checks.filter_map(|check| check(self)).collect()
    }

    /// An extension that is there once and readable.
    fn extension<T>(&self) -> Option<(bool, T)>
    where
        T: const_oid::AssociatedOid + der::DecodeOwned,
        T: for<'d> der::Decode<'d, Error = der::Error>,
    {
        self.tbs.get_extension::<T>().ok().flatten()
    }

    fn key_usage(&self) -> Option<KeyUsage> {
        self.extension().map(|(_, usage)| usage)
    }

    fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.extension().map(|(_, constraints)| constraints)
    }

    /// Whether it says of itself that it may sign certificates.
    fn claims_authority(&self) -> bool {
        self.basic_constraints().is_some_and(|found| found.ca)
    }

    fn is_self_issued(&self) -> bool {
        self.tbs.subject() == self.tbs.issuer()
    }

    /// Whether its own key made its signature; a root that is about to sign itself counts.
    fn is_self_signed(&self) -> bool {
        match self.certificate {
            Some(certificate) => certificate.is_issued_by(certificate),
            None => self.role == Role::Root,
        }
    }
}

type Check = fn(&Candidate<'_>) -> Option<Finding>;

fn error(check: &'static str, message: impl Into<String>, source: &'static str) -> Option<Finding> {
    finding(check, Severity::Error, message, source)
}

fn warning(
    check: &'static str,
    message: impl Into<String>,
    source: &'static str,
) -> Option<Finding> {
    finding(check, Severity::Warning, message, source)
}

fn finding(
    check: &'static str,
    severity: Severity,
    message: impl Into<String>,
    source: &'static str,
) -> Option<Finding> {
    let message = message.into();
    Some(Finding {
        check,
        severity,
        message,
        source,
    })
}
