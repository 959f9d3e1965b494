//! What a device shows in the TLS handshake.

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// A device's certificate chain and private key.
///
/// The chain starts with the leaf and goes up to, not necessarily including, a CA that DPS has
/// verified. The leaf's common name is the registration ID.
#[derive(Debug)]
pub struct DeviceIdentity {
    chain: String,
    key: SecretString,
}

impl DeviceIdentity {
    /// Takes the chain, leaf first, and the unencrypted PKCS#8 key, both as PEM.
    pub fn new(chain_pem: impl Into<String>, key_pem: SecretString) -> Self {
        Self {
            chain: chain_pem.into(),
            key: key_pem,
        }
    }

    /// Chain and key in one text, as the TLS library takes them.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        let key = self.key.expose_secret();
        // The exact capacity: a text that grows leaves copies of the key behind.
        let mut pem = Zeroizing::new(String::with_capacity(self.chain.len() + 1 + key.len()));
        pem.push_str(&self.chain);
        pem.push('\n');
        pem.push_str(key);
        pem
    }
}
