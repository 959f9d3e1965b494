//! Secrets: a passphrase with what is known of its strength, and the word that says where one is.
//!
//! Not here: reading one from where it is, which takes files and an environment.

mod source;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

pub use source::{SecretSource, SecretSourceError};

use crate::ports::{Entropy, EntropyError};

/// A passphrase, with what is known of its strength.
pub enum Passphrase {
    /// Somebody chose it: it may be guessed, so that each guess is made to cost 600 000 rounds of
    /// PBKDF2 (about 0.2 s), and opening a key costs the same.
    Chosen(SecretString),
    /// [`Passphrase::random`] made it: 125 bits are not guessed however cheap a guess is, and 1 000
    /// rounds do, the fewest that RFC 8018 §4.2 names.
    Random(SecretString),
}

impl Passphrase {
    /// 32 characters that are not mistaken for one another.
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    const GROUPS: usize = 5;
    const GROUP: usize = 5;

    /// Makes a passphrase of 25 random characters in five groups: 125 bits.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut octets = Zeroizing::new([0; Self::GROUPS * Self::GROUP]);
        entropy.fill(&mut *octets)?;
        let mut text = String::with_capacity(octets.len() + Self::GROUPS);
        for (place, octet) in octets.iter().enumerate() {
            if place > 0 && place % Self::GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(Self::ALPHABET[usize::from(octet & 31)]));
        }
        Ok(Self::Random(SecretString::from(text)))
    }

    /// Takes a passphrase that was handed in: one of the exact form that [`Passphrase::random`]
    /// makes is taken for random, so that a run that goes on treats it like the run that made it.
    pub fn read(secret: SecretString) -> Self {
        let groups = secret.expose_secret().split('-');
        let of_ours = |group: &str| {
            group.len() == Self::GROUP && group.bytes().all(|c| Self::ALPHABET.contains(&c))
        };
        if groups.clone().count() == Self::GROUPS && groups.clone().all(of_ours) {
            Self::Random(secret)
        } else {
            Self::Chosen(secret)
        }
    }

    /// The passphrase itself.
    pub fn secret(&self) -> &SecretString {
        match self {
            Self::Chosen(secret) | Self::Random(secret) => secret,
        }
    }

    /// How often it is hashed before it is a key.
    pub(crate) fn rounds(&self) -> u32 {
        match self {
            Self::Chosen(_) => 600_000,
            Self::Random(_) => 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn a_random_passphrase_is_known_again_and_a_chosen_one_never_taken_for_it() {
        let random = Passphrase::random(&SeededEntropy::new(1)).expect("entropy");
        let text = random.secret().expose_secret().to_owned();
        assert_eq!(text.len(), 29, "{text}");
        assert_eq!(Passphrase::read(text.clone().into()).rounds(), 1_000);
        for chosen in [
            "",
            "----",
            "correct horse",
            &text[1..],
            &text.to_uppercase(),
        ] {
            assert_eq!(
                Passphrase::read(chosen.into()).rounds(),
                600_000,
                "{chosen}"
            );
        }
    }
}
