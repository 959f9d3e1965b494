//! What a device presents: its leaf, and what stands above it.

use serde::Serialize;

use crate::certificate::Certificate;
use crate::ids::{Sha1Thumbprint, Sha256Thumbprint};
use crate::time::Validity;

/// A chain of certificates from the leaf upwards, each issued by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedChain {
    common_name: Option<String>,
    elements: Vec<ChainElement>,
}

/// One certificate of a presented chain, by its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainElement {
    /// Whose certificate it is.
    pub subject: String,
    /// Its identity as ARM knows it.
    pub sha1_thumbprint: Sha1Thumbprint,
    /// Its identity as DPS's service plane knows it.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// When it is valid.
    pub validity: Validity,
}

impl From<&Certificate> for ChainElement {
    fn from(certificate: &Certificate) -> Self {
        Self {
            subject: certificate.subject().to_string(),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            validity: certificate.validity(),
        }
    }
}

impl PresentedChain {
    /// Links a leaf to its issuers, upwards, among the certificates that the device sent and those
    /// that DPS has verified: a device need not send the root, and may send only its leaf if a
    /// verified CA signed it. Each link is a CA with a matching name and a valid signature; what does
    /// not link is left out.
    pub fn link(leaf: &Certificate, sent: &[Certificate], verified: &[Certificate]) -> Self {
        let mut path = vec![leaf];
        while let Some(issuer) = next_issuer(&path, sent, verified) {
            path.push(issuer);
        }
        Self {
            common_name: leaf.common_name(),
            elements: path.into_iter().map(ChainElement::from).collect(),
        }
    }

    /// A chain whose links are known to hold, leaf first: one of our own, from the inventory.
    pub fn known(common_name: Option<String>, elements: Vec<ChainElement>) -> Self {
        Self {
            common_name,
            elements,
        }
    }

    /// The leaf's common name, if it has exactly one: the registration ID it claims.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The leaf, unless the chain is empty.
    pub fn leaf(&self) -> Option<&ChainElement> {
        self.elements.first()
    }

    /// The certificates above the leaf, nearest first.
    pub fn above_leaf(&self) -> &[ChainElement] {
        self.elements.get(1..).unwrap_or_default()
    }
}

fn next_issuer<'a>(
    path: &[&'a Certificate],
    sent: &'a [Certificate],
    verified: &'a [Certificate],
) -> Option<&'a Certificate> {
    let last = path.last()?;
    if last.is_self_issued() {
        return None;
    }
    let fresh = |candidate: &&Certificate| candidate.is_ca() && !path.contains(candidate);
    sent.iter()
        .chain(verified)
        .filter(fresh)
        .find(|candidate| last.is_issued_by(candidate))
}
