//! Chains in the order that DPS and TLS want: leaf, intermediates, root, nothing else.

use crate::certificate::Certificate;

/// A chain from its first certificate up to the last that was at hand, each issued by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBundle(Vec<Certificate>);

/// Why certificates do not make a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The next certificate did not issue the one before it.
    #[error("{subject} was not issued by any of the certificates at hand; its issuer is {issuer}")]
    Broken {
        /// The certificate whose issuer is missing.
        subject: String,
        /// Who its issuer should be.
        issuer: String,
    },
}

impl ChainBundle {
    /// Finds the issuers of `first` among `others`, in any order, up to a self-signed certificate or
    /// to where they end.
    pub fn build(first: &Certificate, others: &[Certificate]) -> Self {
        let mut chain = vec![first.clone()];
        while let Some(issuer) = next(&chain, others) {
            chain.push(issuer.clone());
        }
        Self(chain)
    }

    /// As [`ChainBundle::build`], and the chain must end in a self-signed certificate.
    ///
    /// # Errors
    /// [`BundleError::Broken`] names the certificate whose issuer is missing.
    pub fn complete(first: &Certificate, others: &[Certificate]) -> Result<Self, BundleError> {
        let bundle = Self::build(first, others);
        match bundle.0.last() {
            Some(last) if !last.is_self_issued() => Err(BundleError::Broken {
                subject: last.subject().to_string(),
                issuer: last.issuer().to_string(),
            }),
            _ => Ok(bundle),
        }
    }

    /// The certificates, the first one first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// The certificates as one PEM text.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(Certificate::to_pem).collect()
    }
}

fn next<'a>(chain: &[Certificate], others: &'a [Certificate]) -> Option<&'a Certificate> {
    let last = chain.last().filter(|last| !last.is_self_issued())?;
    others
        .iter()
        .find(|other| !chain.contains(other) && last.is_issued_by(other))
}
