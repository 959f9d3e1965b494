//! Why certificates are revoked (RFC 5280 §5.3.1).

use crate::text::words;

/// Why a certificate was revoked (RFC 5280 §5.3.1). `removeFromCRL` is left out: it occurs in delta
/// CRLs only, which we do not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevocationReason {
    /// No reason given.
    Unspecified,
    /// The subject's key is known to others.
    KeyCompromise,
    /// The key of an authority is known to others.
    CaCompromise,
    /// The subject's name or other facts have changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// For the time being.
    CertificateHold,
    /// A privilege in it was withdrawn.
    PrivilegeWithdrawn,
    /// The key of an attribute authority is known to others.
    AaCompromise,
}

words!(RevocationReason {
    Unspecified = "unspecified",
    KeyCompromise = "keyCompromise",
    CaCompromise = "cACompromise",
    AffiliationChanged = "affiliationChanged",
    Superseded = "superseded",
    CessationOfOperation = "cessationOfOperation",
    CertificateHold = "certificateHold",
    PrivilegeWithdrawn = "privilegeWithdrawn",
    AaCompromise = "aACompromise",
});

impl RevocationReason {
    /// The number of the reason in a CRL (`CRLReason`).
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }
}
