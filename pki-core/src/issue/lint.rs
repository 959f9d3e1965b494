//! The gate before a signature: every check of [`crate::lint`] over the very bytes to be signed.

use std::sync::Arc;

use super::{Composed, Linted};
use crate::ids::AuthorityName;
use crate::lint::{Candidate, Finding, IssuerFacts, LintOptions, Severity};
use crate::time::Time;

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
        let findings = self.findings(now);
        let (errors, warnings): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        if !errors.is_empty() {
            let authority = self.issuer.name;
            let role = self.role.as_str();
            return Err(LintError {
                authority,
                role,
                findings: errors,
            });
        }
        Ok(Linted {
            role: self.role,
            leaf_name: self.leaf_name,
            serial_number: self.serial_number,
            validity: self.validity,
            issuer: Arc::new(self.issuer),
            tbs_der: self.tbs_der,
            warnings,
        })
    }

    fn findings(&self, now: Time) -> Vec<Finding> {
        let issuer = IssuerFacts {
            subject_der: self.issuer.subject_der.clone(),
            public_key: self.issuer.public_key.clone(),
            certificate: self.issuer.certificate.as_ref(),
        };
        let options = LintOptions {
            at: now,
            warehouse_time: self.warehouse_time,
        };
        Candidate::unsigned(&self.tbs, self.role, &issuer, options).before_signature()
    }
}
