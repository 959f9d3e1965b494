//! Everything random that an instance makes, drawn from its [`Entropy`] port: identifiers, keys, codes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki_core::enrollment::{SymmetricKey, SymmetricKeys};
use pki_core::ids::VerificationCode;
use pki_core::ports::{Entropy, EntropyError};
use uuid::{Builder, Uuid};

/// Makes random values of the kinds that DPS makes.
#[derive(Clone, Copy)]
pub(crate) struct Random<'a>(pub(crate) &'a dyn Entropy);

impl Random<'_> {
    /// A random UUID (version 4).
    pub(crate) fn uuid(self) -> Result<Uuid, EntropyError> {
        Ok(Builder::from_random_bytes(self.octets()?).into_uuid())
    }

    /// An operation ID in DPS's form: a digit, 16 hex digits and a UUID.
    pub(crate) fn operation_id(self) -> Result<String, EntropyError> {
        let prefix = u64::from_be_bytes(self.octets()?);
        Ok(format!("5.{prefix:016x}.{}", self.uuid()?))
    }

    /// Two keys of 64 octets, the length that DPS generates.
    pub(crate) fn keys(self) -> Result<SymmetricKeys, EntropyError> {
        Ok(SymmetricKeys {
            primary_key: Some(self.key()?),
            secondary_key: Some(self.key()?),
            ..SymmetricKeys::default()
        })
    }

    /// One key of 64 octets.
    pub(crate) fn key(self) -> Result<SymmetricKey, EntropyError> {
        Ok(SymmetricKey::from_base64(
            STANDARD.encode(self.octets::<64>()?),
        ))
    }

    /// A token that opens the control endpoint: 32 octets in hex.
    pub(crate) fn control_token(self) -> Result<String, EntropyError> {
        let octets = self.octets::<32>()?;
        Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// A verification code: 48 upper-case hex digits.
    pub(crate) fn verification_code(self) -> Result<VerificationCode, EntropyError> {
        let octets = self.octets::<24>()?;
        let digits: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
        digits.parse().map_err(|_| EntropyError)
    }

    /// A hub's generation ID: decimal digits.
    pub(crate) fn generation_id(self) -> Result<String, EntropyError> {
        Ok(u64::from_be_bytes(self.octets()?).to_string())
    }

    fn octets<const N: usize>(self) -> Result<[u8; N], EntropyError> {
        let mut octets = [0; N];
        self.0.fill(&mut octets)?;
        Ok(octets)
    }
}
