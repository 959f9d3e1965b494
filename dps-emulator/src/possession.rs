//! Proof of possession: a certificate that names the code, signed by exactly the CA in question
//! ([verify certificates](https://learn.microsoft.com/azure/iot-dps/how-to-verify-certificates)).

use pki_core::certificate::Certificate;
use pki_core::ids::VerificationCode;
use pki_core::time::Time;

/// Why a proof of possession is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PossessionError {
    #[error("Proof-Of-Possession failed. No verification code was generated for this certificate.")]
    NoCode,
    #[error(
        "Proof-Of-Possession failed. The subject '{subject}' of the verification certificate does not \
         have the verification code as its one CN."
    )]
    OtherCode { subject: String },
    #[error(
        "Proof-Of-Possession failed. Issuer certificate '{issuer}' cannot be found in the certificate \
         chain."
    )]
    OtherIssuer { issuer: String },
    #[error("Proof-Of-Possession failed. The verification certificate is not valid at {at}.")]
    OutOfDates { at: Time },
}

/// Checks that `proof` shows possession of the key of `authority`: its one CN is the code, that key
/// signed it, and it is within its dates, if a moment is given to judge them at. Version 1 certificates count as well.
pub(crate) fn prove(
    authority: &Certificate,
    code: &VerificationCode,
    proof: &Certificate,
    at: Option<Time>,
) -> Result<(), PossessionError> {
    if proof.common_name().as_deref() != Some(code.as_str()) {
        return Err(PossessionError::OtherCode {
            subject: proof.subject().to_string(),
        });
    }
    if !proof.is_issued_by(authority) {
        return Err(PossessionError::OtherIssuer {
            issuer: proof.issuer().to_string(),
        });
    }
    match at {
        Some(at) if !proof.validity().contains(at) => Err(PossessionError::OutOfDates { at }),
        _ => Ok(()),
    }
}
