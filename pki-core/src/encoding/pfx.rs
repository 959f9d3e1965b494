//! One PKCS#12 file a device (RFC 7292): its key, its certificate and the issuers.
//!
//! OpenSSL makes them. Salts are per file and the passphrase is stretched three times for each, so
//! that a batch under a chosen passphrase takes most of a second a device; see [`Passphrase`].

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use secrecy::ExposeSecret as _;

use super::identity::Identity;
use crate::certificate::Certificate;
use crate::key::PrivateKey;
use crate::secret::Passphrase;

/// How PKCS#12 files are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PfxEncryption {
    /// AES-256-CBC under PBKDF2-HMAC-SHA-256, MAC with SHA-256: OpenSSL, Java 8u301, Windows 10 1709,
    /// and later.
    Modern,
    /// Triple DES and SHA-1 (RFC 7292 appendix C), for older Windows and Java. Never RC2: whatever
    /// needs this opens triple DES for certificates too, and OpenSSL 3 does not open RC2.
    Legacy,
}

/// How to make PKCS#12 files.
pub struct Pfx {
    /// What opens them.
    pub passphrase: Passphrase,
    /// How they are encrypted.
    pub encryption: PfxEncryption,
}

impl Pfx {
    /// Makes the file of one identity that has its private key. `None` if it lacks key or certificate.
    ///
    /// # Errors
    /// [`ErrorStack`] if OpenSSL cannot make it.
    pub fn of_identity(
        &self,
        name: &str,
        identity: &Identity,
    ) -> Result<Option<Vec<u8>>, ErrorStack> {
        match (&identity.key, identity.certificates.split_first()) {
            (Some(key), Some((certificate, issuers))) => {
                self.pack(name, key, certificate, issuers).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Makes the file of a key, its certificate and the issuers.
    pub(crate) fn pack(
        &self,
        name: &str,
        key: &PrivateKey,
        certificate: &Certificate,
        issuers: &[Certificate],
    ) -> Result<Vec<u8>, ErrorStack> {
        let certificate = X509::from_der(certificate.der())?;
        let key = PKey::private_key_from_pkcs8(key.expose_pkcs8_der())?;
        let mut above = Stack::new()?;
        for issuer in issuers {
            above.push(X509::from_der(issuer.der())?)?;
        }
        let (cipher, digest) = match self.encryption {
            PfxEncryption::Modern => (Nid::AES_256_CBC, MessageDigest::sha256()),
            PfxEncryption::Legacy => (
                Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC,
                MessageDigest::sha1(),
            ),
        };
        let rounds = self.passphrase.rounds();
        let mut builder = Pkcs12::builder();
        builder
            .name(name)
            .pkey(&key)
            .cert(&certificate)
            .ca(above)
            .key_algorithm(cipher)
            .cert_algorithm(cipher)
            .key_iter(rounds)
            .mac_iter(rounds)
            .mac_md(digest);
        builder
            .build2(self.passphrase.secret().expose_secret())?
            .to_der()
    }
}
