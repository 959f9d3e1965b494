//! The files of one device: their names, who may read them, and the folder they go to.
//!
//! Names are those of the DPS tutorials. Writing them is the caller's.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::rendered::Piece;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner alone: keys, encrypted or not.
    Secret,
    /// Everybody.
    Public,
}

impl Access {
    /// The mode bits: 0600 or 0644.
    pub fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// One file of a device.
pub struct Entry {
    /// Its path below the output, with `/` between folder and name.
    pub path: String,
    /// Who may read it.
    pub access: Access,
    /// What is in it.
    pub content: Piece,
}

/// A file name from a registration ID and an ending: `line-7%3A0042.key.pem`. Characters that a file
/// system may forbid are percent-encoded.
pub fn file_name(id: &str, ending: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    let mut name = String::with_capacity(id.len() + ending.len());
    name.extend(utf8_percent_encode(id, PLAIN));
    name.push_str(ending);
    name
}

/// The endings of what is written for an ID, as the tutorials name them.
pub mod ending {
    /// The private key.
    pub const KEY: &str = ".key.pem";
    /// The certificate.
    pub const CERTIFICATE: &str = ".cert.pem";
    /// The signing request.
    pub const REQUEST: &str = ".csr.pem";
    /// The certificate, its issuers and the root.
    pub const FULL_CHAIN: &str = "-full-chain.cert.pem";
}

/// How the devices of a batch are spread over folders: one folder up to 10 000 of them, else folders
/// of 1 000 each, numbered in the order of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    digits: Option<usize>,
}

impl Shards {
    const MOST_IN_ONE: u64 = 10_000;
    const SIZE: u64 = 1_000;

    /// The folders for a batch of this many devices.
    pub fn of(total: u64) -> Self {
        let last = total.saturating_sub(1) / Self::SIZE;
        Self {
            digits: (total > Self::MOST_IN_ONE).then(|| last.to_string().len().max(3)),
        }
    }

    /// The path of a file of the device at `index` of the input, counted from 0.
    pub(super) fn path(self, index: u64, name: String) -> String {
        match self.digits {
            Some(digits) => format!("{:0digits$}/{name}", index / Self::SIZE),
            None => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_hold_nothing_that_a_file_system_forbids() {
        assert_eq!(
            file_name("Line-7:00.4_2", ".key.pem"),
            "Line-7%3A00.4_2.key.pem"
        );
    }

    #[test]
    fn folders_of_a_thousand_begin_above_ten_thousand_devices() {
        let path = |total, index| Shards::of(total).path(index, "a".into());
        assert_eq!(path(10_000, 9_999), "a");
        assert_eq!(path(10_001, 0), "000/a");
        assert_eq!(path(10_001, 10_000), "010/a");
        assert_eq!(path(1_000_000, 999_999), "999/a");
        assert_eq!(path(1_000_001, 999), "0000/a");
        assert_eq!(path(0, 0), "a");
    }
}
