//! The name of a plan in the journal.

use std::fmt;
use std::str::FromStr;

use super::{IdError, shortened};
use crate::text::serde_as_text;

/// The name of a plan: twelve hexadecimal digits, drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId([u8; Self::OCTETS]);

impl PlanId {
    /// How many octets it has.
    pub(crate) const OCTETS: usize = 6;

    /// The ID made of these octets, which must be random.
    pub fn from_random(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }
}

impl FromStr for PlanId {
    type Err = IdError;

    /// Digits may be in either case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let form = || IdError::Form {
            what: "plan",
            text: shortened(text),
            problem: "is not twelve hexadecimal digits",
        };
        let digits = text.as_bytes();
        if digits.len() != Self::OCTETS * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(form());
        }
        let mut octets = [0; Self::OCTETS];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| form())?;
            *octet = u8::from_str_radix(pair, 16).map_err(|_| form())?;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        f.pad(&digits)
    }
}

serde_as_text!(PlanId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        let id = PlanId::from_random([0x0a, 1, 2, 0xff, 0x10, 7]);
        assert_eq!(id.to_string(), "0a0102ff1007");
        assert_eq!("0A0102FF1007".parse(), Ok(id));
        for bad in [
            "",
            "0a0102ff100",
            "0a0102ff10070",
            "+a0102ff1007",
            "sensor-1-abc",
        ] {
            assert!(bad.parse::<PlanId>().is_err(), "{bad}");
        }
    }
}
