//! Asking OpenSSL.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509StoreContextRef};

use super::{PathFailure, PathReport, PathStep};
use crate::certificate::Certificate;
use crate::time::Time;

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

/// The question: at which time and for what.
#[derive(Debug, Clone, Copy)]
pub struct PathOptions {
    at: Time,
    purpose: Purpose,
    strict: bool,
}

impl PathOptions {
    /// A device's path at a moment, checked strictly.
    pub fn new(at: Time) -> Self {
        Self {
            at,
            purpose: Purpose::Client,
            strict: true,
        }
    }

    /// For another purpose.
    #[must_use]
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Without the checks that only forbid bad form (missing key identifiers and the like), as a
    /// service does that takes certificates of others.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self {
            strict: false,
            ..self
        }
    }
}

/// Judges whether `leaf` has a path over `intermediates` to one of `anchors`. Every anchor is
/// trusted as it is, self-signed or not.
pub fn validate(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    options: PathOptions,
) -> PathReport {
    match ask(leaf, intermediates, anchors, options) {
        Ok(report) => report,
        Err(error) => PathReport {
            at: options.at,
            path: vec![PathStep::new(leaf, anchors)],
            failure: Some(PathFailure {
                depth: 0,
                subject: None,
                reason: format!("OpenSSL cannot read a certificate of the chain: {error}"),
            }),
        },
    }
}

fn ask(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    options: PathOptions,
) -> Result<PathReport, ErrorStack> {
    let mut untrusted = Stack::new()?;
    for certificate in intermediates {
        untrusted.push(X509::from_der(certificate.der())?)?;
    }
    let store = store(anchors, options)?;
    let target = X509::from_der(leaf.der())?;
    let mut context = X509StoreContext::new()?;
    context.init(&store, &target, &untrusted, |context| {
        let holds = context.verify_cert()?;
        Ok(report(context, holds, leaf, anchors, options))
    })
}

fn store(anchors: &[Certificate], options: PathOptions) -> Result<X509Store, ErrorStack> {
    /// 112 bits of security: RSA 2048, no SHA-1.
    const AUTH_LEVEL: i32 = 2;
    let mut parameters = X509VerifyParam::new()?;
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    if options.strict {
        parameters.set_flags(X509VerifyFlags::X509_STRICT)?;
        parameters.set_auth_level(AUTH_LEVEL);
    }
    parameters.set_time(options.at.unix_seconds());
    match options.purpose {
        Purpose::Client => parameters.set_purpose(X509PurposeId::SSL_CLIENT)?,
        Purpose::Server => parameters.set_purpose(X509PurposeId::SSL_SERVER)?,
        Purpose::Any => {}
    }
    let mut builder = X509StoreBuilder::new()?;
    builder.set_param(&parameters)?;
    for anchor in anchors {
        builder.add_cert(X509::from_der(anchor.der())?)?;
    }
    Ok(builder.build())
}

fn report(
    context: &X509StoreContextRef,
    holds: bool,
    leaf: &Certificate,
    anchors: &[Certificate],
    options: PathOptions,
) -> PathReport {
    let mut path: Vec<PathStep> = built_path(context)
        .iter()
        .map(|certificate| PathStep::new(certificate, anchors))
        .collect();
    if path.is_empty() {
        path.push(PathStep::new(leaf, anchors));
    }
    let failure = (!holds).then(|| {
        let depth = usize::try_from(context.error_depth()).unwrap_or_default();
        PathFailure {
            depth,
            subject: path.get(depth).map(|step| step.subject.clone()),
            reason: context.error().error_string().to_owned(),
        }
    });
    PathReport {
        at: options.at,
        path,
        failure,
    }
}

fn built_path(context: &X509StoreContextRef) -> Vec<Certificate> {
    let chain = context.chain().into_iter().flatten();
    chain
        .filter_map(|element| element.to_der().ok())
        .filter_map(|der| Certificate::from_der(&der).ok())
        .collect()
}
