//! Certificates for tests that need some and do not care how they were made: an authority whose key
//! is made once, leaves below it. OpenSSL signs them, so they do not depend on our own issuing, with
//! Ed25519, so that the same call gives the same certificate.
#![expect(
    clippy::expect_used,
    reason = "a test whose samples cannot be made has failed"
)]

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::{X509, X509Name};

use crate::certificate::Certificate;
use crate::time::{Time, Validity};

/// An authority that signs whatever it is told to.
pub struct SampleAuthority {
    name: String,
    key: PKey<Private>,
}

impl SampleAuthority {
    /// An authority with this common name and a new key.
    ///
    /// # Panics
    /// If OpenSSL fails.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: PKey::generate_ed25519().expect("a key"),
        }
    }

    /// A certificate for its own key, signed by itself.
    ///
    /// # Panics
    /// If OpenSSL fails.
    pub fn root(&self, serial: u32, validity: Validity) -> Certificate {
        self.certificate(&self.name, serial, validity)
    }

    /// A certificate with this common name; its key follows from the name.
    ///
    /// # Panics
    /// If OpenSSL fails.
    pub fn certificate(&self, common_name: &str, serial: u32, validity: Validity) -> Certificate {
        let der = self.sign(common_name, serial, validity).expect("signed");
        Certificate::from_der(&der).expect("a certificate")
    }

    fn key_of(&self, common_name: &str) -> Result<PKey<Private>, ErrorStack> {
        if common_name == self.name {
            return Ok(self.key.clone());
        }
        // Registration IDs have no case.
        let seed = hash(
            MessageDigest::sha256(),
            common_name.to_lowercase().as_bytes(),
        )?;
        PKey::private_key_from_raw_bytes(&seed, Id::ED25519)
    }

    fn sign(
        &self,
        common_name: &str,
        serial: u32,
        validity: Validity,
    ) -> Result<Vec<u8>, ErrorStack> {
        let moment = |time: Time| Asn1Time::from_unix(time.unix_seconds());
        let serial = BigNum::from_u32(serial)?;
        let subject = name(common_name)?;
        let issuer = name(&self.name)?;
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(Asn1Integer::from_bn(&serial)?.as_ref())?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(&issuer)?;
        builder.set_not_before(moment(validity.not_before())?.as_ref())?;
        builder.set_not_after(moment(validity.not_after())?.as_ref())?;
        builder.set_pubkey(&*self.key_of(common_name)?)?;
        builder.sign(&self.key, MessageDigest::null())?;
        builder.build().to_der()
    }
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_text("CN", common_name)?;
    Ok(builder.build())
}
