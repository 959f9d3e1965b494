//! What must hold before a certificate that others signed may issue here, one check a function.
//!
//! For the certificate itself and for every one above it: that it is a CA's, that it may sign, that
//! what stands below has room, that it is valid, and that its issuer is the next one, by signature and
//! by name. All that fails is told, not the first alone.
//! Not here: whether DPS or devices will accept the chain, which [`crate::path`] and
//! [`crate::issue`]'s checks answer.

use crate::certificate::Certificate;
use crate::key::SignatureError;
use crate::name::DistinguishedName;
use crate::time::Time;
use crate::wording::counted;

/// A certificate that is to become a generation of an authority.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// The public half of the key at hand, as SubjectPublicKeyInfo DER.
    pub public_key: &'a [u8],
    /// The name that it should bear.
    pub subject: &'a DistinguishedName,
    /// How many authorities are to stand below it, one under the other.
    pub depth_below: usize,
    /// The certificates that may stand above it, in any order, with any others.
    pub pool: &'a [Certificate],
}

/// A check that failed. `whose` is the subject of the certificate at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptionFault {
    /// The key is another one.
    #[error("the key does not belong to the certificate")]
    Key,
    /// The name is another one than was declared or asked for.
    #[error("the subject is {found:?}, but {wanted:?} is wanted")]
    Subject {
        /// The certificate's.
        found: String,
        /// The declared one.
        wanted: String,
    },
    /// Only version 3 has extensions (RFC 5280 §4.1.2.1).
    #[error("{whose}: it is a certificate of version {version}, which says nothing of CAs")]
    Version {
        /// The subject.
        whose: String,
        /// The version.
        version: u8,
    },
    /// RFC 5280 §4.2.1.9.
    #[error("{whose}: it is not a CA's, basicConstraints does not say CA:TRUE")]
    NotACa {
        /// The subject.
        whose: String,
    },
    /// RFC 5280 §4.2.1.3.
    #[error("{whose}: it may not sign certificates, its key usage lacks keyCertSign")]
    MayNotSign {
        /// The subject.
        whose: String,
    },
    /// RFC 5280 §4.2.1.9.
    #[error("{whose}: its pathLen is {path_length}, but {} to stand below it", counted(*.depth, "authority is", "authorities are"))]
    PathLength {
        /// The subject.
        whose: String,
        /// The limit.
        path_length: u8,
        /// How many there would be.
        depth: usize,
    },
    /// It begins later.
    #[error("{whose}: it is not valid before {not_before}")]
    NotYetValid {
        /// The subject.
        whose: String,
        /// When it begins.
        not_before: Time,
    },
    /// It has ended.
    #[error("{whose}: it expired at {not_after}")]
    Expired {
        /// The subject.
        whose: String,
        /// When it ended.
        not_after: Time,
    },
    /// RFC 5280 §4.1.2.4: names are compared as bytes by most verifiers.
    #[error(
        "{whose}: its issuer field is {named:?}, which is not byte for byte {issuer:?}, whose key signed it"
    )]
    IssuerName {
        /// The subject.
        whose: String,
        /// What the issuer field says.
        named: String,
        /// The subject of the certificate whose key signed.
        issuer: String,
    },
    /// The certificate with the issuer's name did not sign it.
    #[error("{whose}: its signature is not that of {issuer}: {source}")]
    Signature {
        /// The subject.
        whose: String,
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// Nothing at hand bears the issuer's name.
    #[error("{whose}: the certificate of its issuer {issuer} is missing")]
    IssuerMissing {
        /// The subject.
        whose: String,
        /// The issuer.
        issuer: String,
    },
}

impl AdoptionFault {
    /// The check that failed, in one word of the certificate's own language.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Subject { .. } => "subject",
            Self::Version { .. } => "version",
            Self::NotACa { .. } => "basicConstraints",
            Self::MayNotSign { .. } => "keyUsage",
            Self::PathLength { .. } => "pathLen",
            Self::NotYetValid { .. } | Self::Expired { .. } => "validity",
            Self::IssuerName { .. } => "issuerName",
            Self::Signature { .. } => "signature",
            Self::IssuerMissing { .. } => "issuer",
        }
    }
}

impl Candidate<'_> {
    /// Makes every check at a moment, and gives the certificates above the candidate up to the root,
    /// nearest first.
    ///
    /// # Errors
    /// Every check that failed.
    pub fn check(&self, at: Time) -> Result<Vec<Certificate>, Vec<AdoptionFault>> {
        let mut faults = Vec::new();
        faults.extend(self.check_key().err());
        faults.extend(self.check_subject().err());
        let judged = self.chains().into_iter().map(|(chain, broken)| {
            let faults = self.faults_of(&chain, broken, at);
            (chain, faults)
        });
        // Of chains that all have faults the first one with the fewest is told.
        let best = judged.min_by_key(|(_, faults)| faults.len());
        let (chain, of_chain) = best.unwrap_or_default();
        faults.extend(of_chain);
        if faults.is_empty() {
            Ok(chain.into_iter().skip(1).collect())
        } else {
            Err(faults)
        }
    }

    fn faults_of(
        &self,
        chain: &[Certificate],
        broken: Option<AdoptionFault>,
        at: Time,
    ) -> Vec<AdoptionFault> {
        let mut faults = Vec::new();
        for (place, certificate) in chain.iter().enumerate() {
            faults.extend(check_version(certificate).err());
            faults.extend(check_ca(certificate).err());
            faults.extend(check_key_usage(certificate).err());
            faults.extend(check_path_length(certificate, self.depth_below + place).err());
            faults.extend(check_validity(certificate, at).err());
        }
        faults.extend(broken);
        faults
    }

    fn check_key(&self) -> Result<(), AdoptionFault> {
        if self.certificate.public_key() == self.public_key {
            Ok(())
        } else {
            Err(AdoptionFault::Key)
        }
    }

    /// As people read the name: string types are the signer's to choose.
    fn check_subject(&self) -> Result<(), AdoptionFault> {
        let subject = self.certificate.subject();
        if subject.is_named_as(self.subject) {
            return Ok(());
        }
        let found = subject.to_string();
        let wanted = self.subject.to_string();
        Err(AdoptionFault::Subject { found, wanted })
    }

    /// The candidate and those above it, by every way up that names and signatures allow, and where each
    /// breaks off before a root.
    fn chains(&self) -> Vec<(Vec<Certificate>, Option<AdoptionFault>)> {
        /// More than any set of CAs has that people cross-sign.
        const MOST: usize = 64;
        const LONGEST: usize = 16;
        let mut begun = vec![vec![self.certificate.clone()]];
        let mut chains = Vec::new();
        while let Some(chain) = begun.pop()
            && chains.len() < MOST
        {
            let Some(last) = chain.last() else {
                continue;
            };
            if last.is_self_issued() {
                let broken = check_own_signature(last).err();
                chains.push((chain, broken));
                continue;
            }
            match issuers_of(last, self.pool) {
                Ok(mut issuers) => {
                    issuers.retain(|issuer| !chain.contains(issuer));
                    if issuers.is_empty() || chain.len() == LONGEST {
                        let broken = missing(last);
                        chains.push((chain, Some(broken)));
                        continue;
                    }
                    // The last one is gone on with first.
                    let longer = issuers.into_iter().rev();
                    begun.extend(longer.map(|issuer| {
                        let mut longer = chain.clone();
                        longer.push(issuer.clone());
                        longer
                    }));
                }
                Err(fault) => chains.push((chain, Some(fault))),
            }
        }
        chains
    }
}

fn check_version(certificate: &Certificate) -> Result<(), AdoptionFault> {
    match certificate.version() {
        3 => Ok(()),
        version => Err(AdoptionFault::Version {
            whose: whose(certificate),
            version,
        }),
    }
}

fn check_ca(certificate: &Certificate) -> Result<(), AdoptionFault> {
    if certificate.is_ca() {
        Ok(())
    } else {
        Err(AdoptionFault::NotACa {
            whose: whose(certificate),
        })
    }
}

/// A certificate without key usage may do everything.
fn check_key_usage(certificate: &Certificate) -> Result<(), AdoptionFault> {
    match certificate.key_usage() {
        Some(usage) if !usage.key_cert_sign() => Err(AdoptionFault::MayNotSign {
            whose: whose(certificate),
        }),
        _ => Ok(()),
    }
}

fn check_path_length(certificate: &Certificate, depth: usize) -> Result<(), AdoptionFault> {
    let constraints = certificate.basic_constraints();
    match constraints.and_then(|constraints| constraints.path_len_constraint) {
        Some(path_length) if usize::from(path_length) < depth => Err(AdoptionFault::PathLength {
            whose: whose(certificate),
            path_length,
            depth,
        }),
        _ => Ok(()),
    }
}

fn check_validity(certificate: &Certificate, at: Time) -> Result<(), AdoptionFault> {
    let not_before = certificate.validity().not_before();
    let not_after = certificate.validity().not_after();
    if at < not_before {
        let whose = whose(certificate);
        return Err(AdoptionFault::NotYetValid { whose, not_before });
    }
    if at > not_after {
        let whose = whose(certificate);
        return Err(AdoptionFault::Expired { whose, not_after });
    }
    Ok(())
}

/// A root is trusted by name and key, so that a weak algorithm of its own signature harms nobody.
fn check_own_signature(root: &Certificate) -> Result<(), AdoptionFault> {
    match root.verify_signature(&root.public_key()) {
        Err(source @ SignatureError::Mismatch) => Err(AdoptionFault::Signature {
            whose: whose(root),
            issuer: whose(root),
            source,
        }),
        _ => Ok(()),
    }
}

/// An issuer is found by its signature first: a name that differs in its bytes alone is the mistake
/// that is hardest to see. There are several if it was cross-signed or renewed; one at least.
fn issuers_of<'a>(
    certificate: &Certificate,
    pool: &'a [Certificate],
) -> Result<Vec<&'a Certificate>, AdoptionFault> {
    let named = certificate.issuer();
    let signed = |issuer: &&Certificate| certificate.verify_signature(&issuer.public_key()).is_ok();
    let (same_name, others): (Vec<_>, Vec<_>) =
        pool.iter().partition(|issuer| issuer.subject() == named);
    let issuers: Vec<&Certificate> = same_name.iter().copied().filter(signed).collect();
    if !issuers.is_empty() {
        return Ok(issuers);
    }
    if let Some(issuer) = others.iter().copied().find(signed) {
        return Err(AdoptionFault::IssuerName {
            whose: whose(certificate),
            named: named.to_string(),
            issuer: whose(issuer),
        });
    }
    let refused = same_name.iter().find_map(|issuer| {
        let source = certificate.verify_signature(&issuer.public_key()).err()?;
        Some(AdoptionFault::Signature {
            whose: whose(certificate),
            issuer: whose(issuer),
            source,
        })
    });
    Err(refused.unwrap_or_else(|| missing(certificate)))
}

fn missing(certificate: &Certificate) -> AdoptionFault {
    AdoptionFault::IssuerMissing {
        whose: whose(certificate),
        issuer: certificate.issuer().to_string(),
    }
}

fn whose(certificate: &Certificate) -> String {
    certificate.subject().to_string()
}
