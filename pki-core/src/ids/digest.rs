//! Binary identifiers with a textual form: serial numbers and thumbprints.

use std::fmt;
use std::str::FromStr;

use super::{IdError, shortened};
use crate::text::serde_as_text;

/// A certificate's serial number: an integer of at most 20 octets, unique per issuer (RFC 5280 §4.1.2.2).
/// Ours are positive; others have used zero. Printed as lower-case hex of its big-endian octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber {
    /// Zeros behind the last one, so that two numbers sort as their octets do.
    octets: [u8; Self::MOST_OCTETS],
    length: usize,
}

impl SerialNumber {
    /// The octets of a random serial number of ours: 127 bits of chance, positive, never zero.
    pub const RANDOM_OCTETS: usize = 16;

    /// What the serial numbers of a chunk begin with.
    pub const CHUNK_OCTETS: usize = 7;

    const MOST_OCTETS: usize = 20;

    /// Makes a serial number of 127 random bits: of 16 octets the top bit is cleared, so that the number
    /// is positive.
    pub fn from_random(mut octets: [u8; Self::RANDOM_OCTETS]) -> Self {
        octets[0] &= 0x7f;
        let significant = octets.iter().position(|octet| *octet != 0);
        // Zero is no serial number, and comes up once in 10^38 times.
        significant.map_or_else(|| Self::of(&[1]), |start| Self::of(&octets[start..]))
    }

    /// Makes a serial number of 18 octets for a certificate of a chunk: 54 random bits that the chunk's
    /// numbers have in common, behind two that keep them positive and of one length; the place in the
    /// chunk (3 octets); and 64 random bits of its own. So the numbers of a chunk ascend, and those of no
    /// other chunk lie between them.
    pub fn in_chunk(chunk: [u8; Self::CHUNK_OCTETS], place: u32, random: [u8; 8]) -> Self {
        let mut octets = [0; 18];
        octets[..7].copy_from_slice(&chunk);
        octets[0] = octets[0] & 0x3f | 0x40;
        octets[7..10].copy_from_slice(&place.to_be_bytes()[1..]);
        octets[10..].copy_from_slice(&random);
        Self::of(&octets)
    }

    /// Takes the big-endian octets of an integer; leading zeros are dropped, but for that of zero itself.
    ///
    /// # Errors
    /// [`IdError::Form`] if there is none, or the number is longer than 20 octets.
    pub fn from_be_octets(octets: &[u8]) -> Result<Self, IdError> {
        let last = octets.len().checked_sub(1);
        let start = octets.iter().position(|octet| *octet != 0).or(last);
        match start.map(|start| &octets[start..]) {
            Some(significant) if significant.len() <= Self::MOST_OCTETS => {
                Ok(Self::of(significant))
            }
            Some(_) => Err(Self::form(&hex(octets, LOWER), "is longer than 20 bytes")),
            None => Err(Self::form("", "is empty")),
        }
    }

    /// The big-endian octets without leading zeros.
    pub fn as_be_octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// Takes at most 20 octets, without an allocation: bulk issuance makes and copies many numbers.
    fn of(octets: &[u8]) -> Self {
        let mut padded = [0; Self::MOST_OCTETS];
        padded[..octets.len()].copy_from_slice(octets);
        Self {
            octets: padded,
            length: octets.len(),
        }
    }

    fn form(text: &str, problem: &'static str) -> IdError {
        IdError::Form {
            what: "serial number",
            text: shortened(text),
            problem,
        }
    }
}

impl FromStr for SerialNumber {
    type Err = IdError;

    /// Reads hex of either case, with or without `:` between octets, as `openssl` prints it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        let padded = if digits.len() % 2 == 1 {
            format!("0{digits}")
        } else {
            digits
        };
        let octets = from_hex(&padded).ok_or_else(|| Self::form(text, "is not hexadecimal"))?;
        Self::from_be_octets(&octets)
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pad_hex(self.as_be_octets(), LOWER, f)
    }
}

/// A digest of a certificate's DER as an identifier, printed as upper-case hex without separators.
macro_rules! thumbprint {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Takes the digest as it is.
            pub fn from_digest(digest: [u8; $length]) -> Self {
                Self(digest)
            }

            /// The digest's octets.
            pub fn as_octets(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Reads hex of either case, with or without `:` between octets.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits: String = text.chars().filter(|character| *character != ':').collect();
                let digest = from_hex(&digits).and_then(|octets| octets.try_into().ok());
                digest.map(Self).ok_or_else(|| IdError::Form {
                    what: $what,
                    text: shortened(text),
                    problem: concat!("is not ", $digits, " hexadecimal digits"),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                pad_hex(&self.0, UPPER, f)
            }
        }
    };
}

thumbprint! {
    /// SHA-1 of a certificate's DER: what ARM and the portal show. An identifier only, never trusted.
    Sha1Thumbprint, 20, "SHA-1 thumbprint", "40"
}

thumbprint! {
    /// SHA-256 of a certificate's DER: what DPS writes into a hub's identity registry.
    Sha256Thumbprint, 32, "SHA-256 thumbprint", "64"
}

/// Debug that shows the textual form.
macro_rules! debug_as_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

debug_as_text!(SerialNumber);
serde_as_text!(SerialNumber);
debug_as_text!(Sha1Thumbprint);
serde_as_text!(Sha1Thumbprint);
debug_as_text!(Sha256Thumbprint);
serde_as_text!(Sha256Thumbprint);

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn hex(octets: &[u8], digits: &[u8; 16]) -> String {
    let nibbles = octets.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
    nibbles
        .map(|nibble| char::from(digits[usize::from(nibble)]))
        .collect()
}

/// Prints at most 32 octets, without a string in between: bulk output does so for every device.
fn pad_hex(octets: &[u8], digits: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 64];
    for (pair, octet) in text.chunks_exact_mut(2).zip(octets) {
        pair[0] = digits[usize::from(octet >> 4)];
        pair[1] = digits[usize::from(octet & 0xf)];
    }
    let text = text.get(..2 * octets.len()).ok_or(fmt::Error)?;
    f.pad(str::from_utf8(text).map_err(|_| fmt::Error)?)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5280 §4.1.2.2: positive, at most 20 octets.
    #[test]
    fn serial_numbers_of_ours_are_positive_and_all_are_short() {
        let least = SerialNumber::from_random([0; 16]);
        let most = SerialNumber::from_random([0xff; 16]);
        assert_eq!(least.as_be_octets(), [1]);
        assert!(most.to_string().starts_with("7fff"));
        let zero = SerialNumber::from_be_octets(&[0, 0]).expect("what others have used");
        assert_eq!(zero.to_string(), "00");
        assert!(SerialNumber::from_be_octets(&[]).is_err());
        assert!(SerialNumber::from_be_octets(&[1; 21]).is_err());
        assert_eq!(
            SerialNumber::from_be_octets(&[0, 1])
                .expect("one")
                .as_be_octets(),
            [1]
        );
    }

    /// Batches that are begun in the same moment do not get into each other's way.
    #[test]
    fn numbers_of_a_chunk_ascend_and_none_of_another_lies_between() {
        let of = |chunk: u8, place| SerialNumber::in_chunk([chunk; 7], place, [0xff - chunk; 8]);
        let one: Vec<SerialNumber> = (0..300).map(|place| of(1, place)).collect();
        let other: Vec<SerialNumber> = (0..300).map(|place| of(2, place)).collect();
        assert!(one.is_sorted() && other.is_sorted());
        assert!(one.last() < other.first());
        for chunk in [0, 0x3f, 0x80, 0xff] {
            let serial = of(chunk, 0);
            let octets = serial.as_be_octets();
            assert_eq!((octets.len(), octets[0] >> 6), (18, 1), "{serial}");
        }
    }

    #[test]
    fn serial_numbers_read_what_openssl_prints() {
        let expected = SerialNumber::from_be_octets(&[0x0a, 0xbc]).expect("serial");
        for text in ["0ABC", "abc", "0a:bc"] {
            assert_eq!(text.parse::<SerialNumber>().expect(text), expected);
        }
        assert!("xyz".parse::<SerialNumber>().is_err());
    }

    #[test]
    fn thumbprints_are_upper_case_and_read_either() {
        let thumbprint = Sha1Thumbprint::from_digest([0xab; 20]);
        assert_eq!(thumbprint.to_string(), "AB".repeat(20));
        assert_eq!(
            "ab".repeat(20).parse::<Sha1Thumbprint>().expect("hex"),
            thumbprint
        );
        assert!("ab".repeat(19).parse::<Sha1Thumbprint>().is_err());
    }
}
