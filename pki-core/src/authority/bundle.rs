//! Chains in the order that DPS and TLS want: leaf, intermediates, root, nothing else.

use std::cmp::Reverse;

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
    /// to where they end. Of several ways one to a self-signed certificate is taken, of several
    /// certificates for one key a self-signed one, then the one that ends last.
    pub fn build(first: &Certificate, others: &[Certificate]) -> Self {
        let mut search = Search {
            others,
            left: Search::MOST_STEPS,
            longest: Vec::new(),
        };
        let whole = search.whole(&mut vec![first]);
        let chain = whole.unwrap_or(search.longest);
        Self(chain.into_iter().cloned().collect())
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

struct Search<'a> {
    others: &'a [Certificate],
    /// How many certificates may still be looked at from: a hostile set would have ways without end.
    left: usize,
    /// The longest chain that was found, which leads to no self-signed certificate.
    longest: Vec<&'a Certificate>,
}

impl<'a> Search<'a> {
    const MOST_STEPS: usize = 256;

    /// The first chain that ends in a self-signed certificate.
    fn whole(&mut self, chain: &mut Vec<&'a Certificate>) -> Option<Vec<&'a Certificate>> {
        let last = *chain.last()?;
        if last.is_self_issued() {
            return Some(chain.clone());
        }
        if chain.len() > self.longest.len() {
            self.longest.clone_from(chain);
        }
        self.left = self.left.checked_sub(1)?;
        for issuer in self.issuers_of(last) {
            if chain.contains(&issuer) {
                continue;
            }
            chain.push(issuer);
            let whole = self.whole(chain);
            chain.pop();
            if whole.is_some() {
                return whole;
            }
        }
        None
    }

    fn issuers_of(&self, last: &Certificate) -> Vec<&'a Certificate> {
        let others = self.others.iter();
        let mut issuers: Vec<&Certificate> =
            others.filter(|other| last.is_issued_by(other)).collect();
        issuers.sort_by_key(|one| {
            (
                !one.is_self_issued(),
                Reverse(one.validity().not_after()),
                one.sha256_thumbprint(),
            )
        });
        issuers
    }
}
