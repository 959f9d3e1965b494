//! A certificate with its issuers in order and, if there is one, its private key: what PKCS#12, C
//! headers and NVS hold.

use crate::authority::ChainBundle;
use crate::certificate::Certificate;
use crate::ids::Sha256Thumbprint;
use crate::key::PrivateKey;

/// One identity, put in order.
pub struct Identity {
    /// The certificate first, then its issuers as far as they were at hand.
    pub certificates: Vec<Certificate>,
    /// The private key of the first certificate.
    pub key: Option<PrivateKey>,
}

/// One identity as it is written: borrowed, since a key is in one place only.
#[derive(Clone, Copy)]
pub struct IdentityParts<'a> {
    /// The certificate first, then its issuers.
    pub certificates: &'a [Certificate],
    /// The private key of the first certificate.
    pub key: Option<&'a PrivateKey>,
}

/// Why what was at hand is not one identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no certificate.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// More than any chain has; putting them in order would take too long.
    #[error("there are {count} certificates in it; a chain has at most {most}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are taken.
        most: usize,
    },
    /// The private key belongs to none of the certificates.
    #[error("the private key belongs to none of the certificates")]
    ForeignKey,
    /// The certificates are not one chain.
    #[error("{subject} is not part of the chain of {first}; convert one chain at a time")]
    Unrelated {
        /// The certificate that does not belong there.
        subject: String,
        /// The first certificate of the chain.
        first: String,
    },
}

impl Identity {
    /// What is written of it.
    pub fn parts(&self) -> IdentityParts<'_> {
        IdentityParts {
            certificates: &self.certificates,
            key: self.key.as_ref(),
        }
    }

    /// Certificates in one identity.
    const MOST: usize = 32;

    /// Puts certificates in order. The first one is that of the key; without a key, the one that
    /// issued no other.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn assemble(
        certificates: &[Certificate],
        key: Option<PrivateKey>,
    ) -> Result<Self, IdentityError> {
        let count = certificates.len();
        if count > Self::MOST {
            return Err(IdentityError::TooMany {
                count,
                most: Self::MOST,
            });
        }
        let lowest = lowest(certificates).ok_or(IdentityError::NoCertificate)?;
        let first = match &key {
            Some(key) => certificates
                .iter()
                .find(|certificate| certificate.public_key() == key.public_key())
                .ok_or(IdentityError::ForeignKey)?,
            None => lowest,
        };
        let chain = ChainBundle::build(first, certificates);
        let chain = chain.certificates();
        match certificates.iter().find(|one| !chain.contains(one)) {
            Some(stranger) => Err(IdentityError::Unrelated {
                subject: stranger.subject().to_string(),
                first: first.subject().to_string(),
            }),
            None => Ok(Self {
                certificates: chain.to_vec(),
                key,
            }),
        }
    }

    /// Leaves out what stands above a CA certificate that DPS has verified: the chain ends with it.
    /// Returns whether the chain reaches it.
    pub fn trim_at(&mut self, verified: &Sha256Thumbprint) -> bool {
        let place = self
            .certificates
            .iter()
            .position(|certificate| certificate.sha256_thumbprint() == *verified);
        if let Some(place) = place {
            self.certificates.truncate(place + 1);
        }
        place.is_some()
    }
}

/// The first certificate that issued no other one.
fn lowest(certificates: &[Certificate]) -> Option<&Certificate> {
    let issued_another = |issuer: &Certificate| {
        let mut others = certificates.iter().filter(|other| *other != issuer);
        others.any(|other| other.is_issued_by(issuer))
    };
    let lowest = certificates.iter().find(|one| !issued_another(one));
    lowest.or_else(|| certificates.first())
}
