//! The answer of a path validation.

use std::fmt;

use serde::Serialize;

use crate::certificate::Certificate;
use crate::ids::{SerialNumber, Sha256Thumbprint};
use crate::time::Time;

/// What a path validation found. A path that does not hold is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathReport {
    /// The moment for which the path was judged.
    pub at: Time,
    /// The certificates from the leaf upwards, as far as the path could be built.
    pub path: Vec<PathStep>,
    /// Why the path does not hold; `None` if it does.
    pub failure: Option<PathFailure>,
}

impl PathReport {
    /// Whether the leaf's path leads to a trust anchor with nothing wrong on the way.
    pub fn holds(&self) -> bool {
        self.failure.is_none()
    }
}

/// One certificate of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStep {
    /// Whose certificate it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Its identity.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// Its first moment of validity.
    pub not_before: Time,
    /// Its last moment of validity.
    pub not_after: Time,
    /// Whether it is one of the trust anchors.
    pub is_anchor: bool,
    /// What was checked of it.
    pub checks: Vec<PathCheck>,
}

impl PathStep {
    pub(super) fn new(
        certificate: &Certificate,
        anchors: &[Certificate],
        checks: Vec<PathCheck>,
    ) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial_number: certificate.serial_number().clone(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            not_before: certificate.validity().not_before(),
            not_after: certificate.validity().not_after(),
            is_anchor: anchors.contains(certificate),
            checks,
        }
    }
}

/// One check of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathCheck {
    /// Which check.
    pub check: CheckName,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What is wrong, or why it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckOutcome {
    /// Nothing is wrong.
    Passed,
    /// The path does not hold.
    Failed,
    /// It could not be, or need not be.
    NotChecked,
}

/// What is checked of a certificate, the most specific reason to refuse a path first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CheckName {
    /// It is not in its issuer's CRL (§6.3).
    Revocation,
    /// Its issuer's key made its signature (§6.1.3 a 1).
    Signature,
    /// It is valid at the moment asked for (§6.1.3 a 2).
    Validity,
    /// Its names lie within those that the authorities above allow (§6.1.3 b, c).
    NameConstraints,
    /// It may issue certificates (§6.1.4 k, n).
    Authority,
    /// No more authorities stand below it than it allows (§6.1.4 l, m).
    PathLength,
    /// It may be used for what was asked (§4.2.1.12).
    Purpose,
    /// It keeps the rules for its form that protect its reader (§4).
    Form,
    /// Anything else that the library refuses.
    Other,
    /// Its path goes on to a trust anchor.
    Trust,
}

impl CheckName {
    /// The word under which it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revocation => "revocation",
            Self::Signature => "signature",
            Self::Validity => "validity",
            Self::NameConstraints => "name-constraints",
            Self::Authority => "authority",
            Self::PathLength => "path-length",
            Self::Purpose => "purpose",
            Self::Form => "form",
            Self::Other => "other",
            Self::Trust => "trust",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PathCheck {
    pub(super) fn new(check: CheckName, problem: Option<String>) -> Self {
        Self {
            check,
            outcome: match problem {
                Some(_) => CheckOutcome::Failed,
                None => CheckOutcome::Passed,
            },
            detail: problem,
        }
    }

    pub(super) fn not_checked(check: CheckName, why: impl Into<String>) -> Self {
        Self {
            check,
            outcome: CheckOutcome::NotChecked,
            detail: Some(why.into()),
        }
    }
}

/// The most specific thing wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathFailure {
    /// Which certificate it is about: 0 for the leaf, growing towards the anchor.
    pub depth: usize,
    /// That certificate's subject, if the path got that far.
    pub subject: Option<String>,
    /// Which check failed.
    pub check: CheckName,
    /// What is wrong.
    pub reason: String,
}

impl PathFailure {
    /// The failed check that comes first in the order of [`CheckName`]; of several, the nearest to
    /// the leaf.
    pub(super) fn most_specific(path: &[PathStep]) -> Option<Self> {
        let failures = path.iter().enumerate().flat_map(|(depth, step)| {
            step.checks
                .iter()
                .filter(|check| check.outcome == CheckOutcome::Failed)
                .map(move |check| (check, depth, step))
        });
        let (check, depth, step) =
            failures.min_by_key(|(check, depth, _)| (check.check, *depth))?;
        Some(Self {
            depth,
            subject: Some(step.subject.clone()),
            check: check.check,
            reason: check.detail.clone().unwrap_or_default(),
        })
    }
}
