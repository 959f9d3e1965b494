//! Identifiers: every name, number and digest that the toolkit passes around, each with its rules.
//!
//! A value here was parsed once, by the parser that cites its source; the rest of the code trusts it.
//! Bare strings stop at arguments, files and wire code.
//! Documents read from a service go through the same parsers, by serde.
//! Not here: distinguished names ([`crate::name`]) and moments ([`crate::time`]).

mod digest;
mod etag;
mod plan;
mod text;

use std::fmt;
use std::num::NonZeroU32;

pub use digest::{SerialNumber, Sha1Thumbprint, Sha256Thumbprint};
pub use etag::Etag;
pub use plan::PlanId;
pub use text::{
    AuthorityName, CertificateName, DeviceId, DpsName, EnrollmentGroupId, HubHostName, IdScope,
    LONGEST_COMMON_NAME, LeafName, ProfileName, RegistrationId, VerificationCode,
};

/// Why a text is not the identifier it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// What the text should have been.
        what: &'static str,
    },
    /// The text is longer than the field allows.
    #[error("{what} {text:?} has {length} characters, at most {most} are allowed")]
    TooLong {
        /// What the text should have been.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// Its length in characters.
        length: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// The text holds a character outside the field's alphabet.
    #[error(
        "{what} {text:?} has the character {character:?} at position {position}; allowed are {allowed}"
    )]
    Character {
        /// What the text should have been.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// The first offending character.
        character: char,
        /// Its place, counted from 1.
        position: usize,
        /// The alphabet in words.
        allowed: &'static str,
    },
    /// A registration ID is too long for the common name of a leaf (RFC 5280 appendix A.1).
    #[error(
        "registration ID {id} has {length} characters; in a certificate it is the CN, which holds at most 64"
    )]
    LongerThanCommonName {
        /// The ID.
        id: RegistrationId,
        /// Its length in characters.
        length: usize,
    },
    /// The text does not have the field's form.
    #[error("{what} {text:?} {problem}")]
    Form {
        /// What the text should have been.
        what: &'static str,
        /// The text, shortened.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The number of an authority's key and certificate: 1 for the first, growing by one with each roll.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Generation(NonZeroU32);

impl Generation {
    /// The first generation of an authority.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The generation with this number, or `None` for zero.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number itself, 1 or more.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One generation of an authority, by name and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityGeneration {
    /// The authority.
    pub name: AuthorityName,
    /// Its generation.
    pub generation: Generation,
}

impl fmt::Display for AuthorityGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {}", self.name, self.generation)
    }
}

/// Text for an error message: at most 80 characters of it.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("…".chars()).collect()
}
