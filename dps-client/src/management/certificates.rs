//! CA certificates in DPS: upload, proof of possession, removal.
//!
//! Every write changes the ETag, the making of a code too: a proof wants the tag that came with the
//! code. To prove possession, [`Certificates::put`] the CA, ask for a code, sign a certificate whose
//! common name is that code with the CA's key, and [`Certificates::verify`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use pki_core::ids::CertificateName;
use pki_core::management::CaCertificate;
use serde::{Deserialize, Serialize};

use super::InstanceId;
use crate::api_version::ApiVersion;
use crate::error::{ClientError, found};
use crate::expect::{Expect, IfMatch, TagForm};
use crate::plane::{Operation, Plane};

/// How DPS comes to believe that an uploaded CA is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// By a proof that follows the upload; until then the CA admits nobody.
    Possession,
    /// By the word of whoever uploads it.
    SelfAttestation,
}

/// The CA certificates of one DPS instance.
#[derive(Debug, Clone)]
pub struct Certificates {
    plane: Plane,
    instance: InstanceId,
}

impl Certificates {
    /// The certificates of this instance.
    pub fn new(plane: Plane, instance: InstanceId) -> Self {
        Self { plane, instance }
    }

    /// All of them; DPS holds 25 at most and sends them in one answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self) -> Result<Vec<CaCertificate>, ClientError> {
        let operation = Operation::get(&self.instance.path(&["certificates"]));
        let list: CertificateList = self.plane.send(operation).await?.json()?;
        Ok(list.value)
    }

    /// The certificate of this name.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none.
    pub async fn get(&self, name: &CertificateName) -> Result<CaCertificate, ClientError> {
        self.plane
            .send(Operation::get(&self.path(name, &[])))
            .await?
            .json()
    }

    /// The certificate of this name, or `None`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find(&self, name: &CertificateName) -> Result<Option<CaCertificate>, ClientError> {
        found(self.get(name).await)
    }

    /// Uploads a CA certificate, given as DER.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_precondition_failed`] or [`ClientError::is_conflict`] if the
    /// expectation does not hold.
    pub async fn put(
        &self,
        name: &CertificateName,
        der: &[u8],
        verification: Verification,
        expect: &Expect,
    ) -> Result<CaCertificate, ClientError> {
        let operation = Operation::write(Method::PUT, &self.path(name, &[]))
            .if_match(expect.header(TagForm::AsGiven));
        let properties = Upload {
            certificate: STANDARD.encode(der),
            is_verified: (verification == Verification::SelfAttestation).then_some(true),
        };
        let operation = if *self.plane.api_version() < ApiVersion::NESTED_CERTIFICATE_BODY {
            operation.json(&properties)?
        } else {
            operation.json(&Nested { properties })?
        };
        self.plane.send(operation).await?.json()
    }

    /// Deletes a certificate, even one that groups refer to: these references then admit nobody.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_not_found`] if there is none.
    pub async fn delete(
        &self,
        name: &CertificateName,
        expect: &IfMatch,
    ) -> Result<(), ClientError> {
        self.plane
            .send(self.on_existing(Method::DELETE, name, &[], expect))
            .await?;
        Ok(())
    }

    /// Asks for a code to be proven. The answer has it in its properties, and the tag for the proof.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_precondition_failed`] if the expectation does not hold.
    pub async fn generate_verification_code(
        &self,
        name: &CertificateName,
        expect: &IfMatch,
    ) -> Result<CaCertificate, ClientError> {
        let operation = self.on_existing(Method::POST, name, &["generateVerificationCode"], expect);
        let answer = self.plane.send(operation).await?;
        let certificate: CaCertificate = answer.json()?;
        if certificate.properties.verification_code.is_none() {
            return Err(ClientError::Incomplete {
                operation: answer.operation,
                what: "verification code",
            });
        }
        Ok(certificate)
    }

    /// Proves possession with a verification certificate, given as DER.
    ///
    /// # Errors
    /// [`ClientError`]; status 400 if the proof is refused, [`ClientError::is_precondition_failed`] if
    /// the expectation does not hold: it wants the tag that came with the code.
    pub async fn verify(
        &self,
        name: &CertificateName,
        verification_der: &[u8],
        expect: &IfMatch,
    ) -> Result<CaCertificate, ClientError> {
        let proof = Proof {
            certificate: STANDARD.encode(verification_der),
        };
        let operation = self
            .on_existing(Method::POST, name, &["verify"], expect)
            .json(&proof)?;
        self.plane.send(operation).await?.json()
    }

    fn on_existing(
        &self,
        method: Method,
        name: &CertificateName,
        below: &[&str],
        expect: &IfMatch,
    ) -> Operation {
        let if_match = Expect::from(expect.clone()).header(TagForm::AsGiven);
        Operation::write(method, &self.path(name, below)).if_match(if_match)
    }

    fn path<'a>(&'a self, name: &'a CertificateName, below: &[&'a str]) -> Vec<&'a str> {
        self.instance
            .path(&[&["certificates", name.as_str()], below].concat())
    }
}

#[derive(Deserialize)]
struct CertificateList {
    value: Vec<CaCertificate>,
}

#[derive(Serialize)]
struct Nested<T> {
    properties: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_verified: Option<bool>,
}

#[derive(Serialize)]
struct Proof {
    certificate: String,
}
