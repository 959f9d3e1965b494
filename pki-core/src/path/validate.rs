//! Asking OpenSSL.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509PurposeId, X509StoreContext, X509StoreContextRef};

use super::report::{CheckName, CheckOutcome, PathCheck};
use super::{PathFailure, PathReport, PathStep, examine, search};
use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::time::{Span, Time};

/// What the leaf is to be used for (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Authenticating a TLS client: a device.
    Client,
    /// Authenticating a TLS server.
    Server,
    /// Anything: purposes are not checked.
    Any,
}

/// The question: at which time, for what, and how strictly.
#[derive(Debug, Clone, Copy)]
pub struct PathOptions<'a> {
    at: Time,
    purpose: Purpose,
    strict: bool,
    weak: bool,
    most_intermediates: Option<u8>,
    crls: &'a [Crl],
    every_list: bool,
}

impl<'a> PathOptions<'a> {
    /// A device's path at a moment, checked strictly.
    pub fn new(at: Time) -> Self {
        Self {
            at,
            purpose: Purpose::Client,
            strict: true,
            weak: false,
            most_intermediates: None,
            crls: &[],
            every_list: true,
        }
    }

    /// For another purpose.
    #[must_use]
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Without the checks that only forbid bad form (missing key identifiers and the like). Weak keys
    /// and signatures are refused still.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self {
            strict: false,
            ..self
        }
    }

    /// With keys and signatures of any strength that the library knows, as a service may take them.
    #[must_use]
    pub fn weak(self) -> Self {
        Self { weak: true, ..self }
    }

    /// With no more than so many certificates between leaf and anchor.
    #[must_use]
    pub fn most_intermediates(self, most: u8) -> Self {
        Self {
            most_intermediates: Some(most),
            ..self
        }
    }

    /// Refusing what these lists revoke and, if there are any, certificates below the anchor of whose
    /// issuer there is none.
    #[must_use]
    pub fn crls(self, crls: &'a [Crl]) -> Self {
        Self { crls, ..self }
    }

    /// Taking certificates of whose issuer there is no list as not revoked.
    #[must_use]
    pub fn lists_at_hand(self) -> Self {
        Self {
            every_list: false,
            ..self
        }
    }

    pub(super) fn wants_every_list(&self) -> bool {
        self.every_list
    }

    pub(super) fn moment(&self) -> Time {
        self.at
    }

    pub(super) fn wanted(&self) -> Purpose {
        self.purpose
    }

    /// Whether the answer depends on nothing of a plain leaf's own but its signature and its dates.
    pub(super) fn leaves_only_signature_and_dates(&self) -> bool {
        self.weak && !self.strict && self.crls.is_empty()
    }

    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }
}

/// Everything that a validation is about.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) leaf: &'a Certificate,
    pub(super) intermediates: &'a [Certificate],
    pub(super) anchors: &'a [Certificate],
    pub(super) crls: &'a [Crl],
    pub(super) options: PathOptions<'a>,
}

/// Judges whether `leaf` has a path over `intermediates` to one of `anchors`, in whatever order they are. Every
/// anchor is trusted as it is, self-signed or not.
pub fn validate(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    options: PathOptions<'_>,
) -> PathReport {
    let question = Question {
        leaf,
        intermediates,
        anchors,
        crls: options.crls,
        options,
    };
    let report = question.answer();
    if report.holds() || !search::has_choice(intermediates, anchors) {
        return report;
    }
    question.by_another_way().unwrap_or(report)
}

/// What the library said of the path that it built.
struct Verdict {
    path: Vec<Certificate>,
    /// At which depth, and why, the path does not hold.
    refusal: Option<(usize, PathCheck)>,
}

impl Question<'_> {
    fn answer(&self) -> PathReport {
        self.ask().unwrap_or_else(|error| PathReport {
            at: self.options.at,
            path: vec![PathStep::new(self.leaf, self.anchors, vec![])],
            failure: Some(PathFailure {
                depth: 0,
                subject: None,
                check: CheckName::Other,
                reason: format!("OpenSSL cannot read a certificate of the chain: {error}"),
            }),
        })
    }

    /// The first other way that holds.
    fn by_another_way(&self) -> Option<PathReport> {
        search::ways(self.leaf, self.intermediates, self.anchors)
            .into_iter()
            .find_map(|way| {
                let intermediates: Vec<Certificate> =
                    way.intermediates.into_iter().cloned().collect();
                let alone = Question {
                    intermediates: &intermediates,
                    anchors: std::slice::from_ref(way.anchor),
                    ..*self
                };
                Some(alone.answer()).filter(PathReport::holds)
            })
    }

    fn ask(&self) -> Result<PathReport, ErrorStack> {
        let verdict = self.verdict()?;
        let holds = verdict.refusal.is_none();
        let checks = |depth: usize| examine::checks(&verdict.path, depth, holds, self);
        let mut path: Vec<PathStep> = (0..verdict.path.len())
            .map(|depth| PathStep::new(&verdict.path[depth], self.anchors, checks(depth)))
            .collect();
        if let Some((depth, refusal)) = verdict.refusal {
            let place = depth.min(path.len() - 1);
            add_refusal(&mut path[place].checks, refusal);
        } else {
            for step in &mut path {
                step.checks
                    .push(PathCheck::new(CheckName::NameConstraints, None));
            }
        }
        Ok(PathReport {
            at: self.options.at,
            failure: PathFailure::most_specific(&path),
            path,
        })
    }

    fn verdict(&self) -> Result<Verdict, ErrorStack> {
        let mut untrusted = Stack::new()?;
        for certificate in self.intermediates {
            untrusted.push(certificate.library()?)?;
        }
        let store = self.store()?;
        let target = self.leaf.library()?;
        let mut context = X509StoreContext::new()?;
        context.init(&store, &target, &untrusted, |context| {
            let holds = context.verify_cert()?;
            let mut path = self.built_path(context);
            if path.is_empty() {
                path.push(self.leaf.clone());
            }
            let refusal = (!holds).then(|| refusal(context));
            Ok(Verdict { path, refusal })
        })
    }

    fn store(&self) -> Result<X509Store, ErrorStack> {
        /// 112 bits of security: RSA 2048, no SHA-1.
        const AUTH_LEVEL: i32 = 2;
        let mut parameters = X509VerifyParam::new()?;
        parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        if self.options.strict {
            parameters.set_flags(X509VerifyFlags::X509_STRICT)?;
        }
        if !self.options.weak {
            parameters.set_auth_level(AUTH_LEVEL);
        }
        if let Some(most) = self.options.most_intermediates {
            parameters.set_depth(most.into());
        }
        parameters.set_time(self.moment_for_the_library().unix_seconds());
        match self.options.purpose {
            Purpose::Client => parameters.set_purpose(X509PurposeId::SSL_CLIENT)?,
            Purpose::Server => parameters.set_purpose(X509PurposeId::SSL_SERVER)?,
            Purpose::Any => {}
        }
        let mut builder = X509StoreBuilder::new()?;
        builder.set_param(&parameters)?;
        for anchor in self.anchors {
            builder.add_cert(anchor.library()?)?;
        }
        Ok(builder.build())
    }

    /// The path as the certificates that were handed in, which know what was found out about them.
    fn built_path(&self, context: &X509StoreContextRef) -> Vec<Certificate> {
        let chain = context.chain().into_iter().flatten();
        chain
            .filter_map(|element| element.to_der().ok())
            .filter_map(|der| {
                let known = self
                    .known()
                    .find(|certificate| certificate.der() == der)
                    .cloned();
                known.or_else(|| Certificate::from_der(&der).ok())
            })
            .collect()
    }

    fn known(&self) -> impl Iterator<Item = &Certificate> {
        let handed_in = self.intermediates.iter().chain(self.anchors);
        handed_in.chain([self.leaf])
    }

    /// A certificate is valid through its last second (RFC 5280 §4.1.2.5), but OpenSSL counts that
    /// as expired. Where a certificate is in its last second it is asked for the one before; what
    /// begins in this very second is then refused with the rest.
    fn moment_for_the_library(&self) -> Time {
        let at = self.options.at;
        if self
            .known()
            .any(|certificate| certificate.validity().not_after() == at)
        {
            at - Span::from_seconds(1)
        } else {
            at
        }
    }
}

/// The library's words stand beside ours unless ours say the same more exactly.
fn add_refusal(checks: &mut Vec<PathCheck>, refusal: PathCheck) {
    let known = checks
        .iter()
        .any(|check| check.check == refusal.check && check.outcome == CheckOutcome::Failed);
    if !known {
        checks.retain(|check| check.check != refusal.check);
        checks.push(refusal);
    }
}

fn refusal(context: &X509StoreContextRef) -> (usize, PathCheck) {
    let depth = usize::try_from(context.error_depth()).unwrap_or_default();
    let code = context.error().as_raw();
    let words = context.error().error_string();
    (
        depth,
        PathCheck::new(check_of(code), Some(words.to_owned())),
    )
}

/// Which check a verdict of OpenSSL belongs to (`X509_V_ERR_…` in `openssl/x509_vfy.h`).
fn check_of(code: i32) -> CheckName {
    match code {
        2 | 18..=21 | 27 | 29 | 33 => CheckName::Trust,
        4 | 6 | 7 => CheckName::Signature,
        9 | 10 | 13 | 14 => CheckName::Validity,
        24 | 32 | 79 => CheckName::Authority,
        22 | 25 | 38 => CheckName::PathLength,
        26 | 28 => CheckName::Purpose,
        47..=53 => CheckName::NameConstraints,
        34 | 66..=68 | 76..=78 | 80..=94 => CheckName::Form,
        _ => CheckName::Other,
    }
}
