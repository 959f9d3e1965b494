//! How a list is written: what a person says of it, and what its beginning tells.

use std::fmt;
use std::str::FromStr;

/// What is said of a list beforehand. What is left out is found out, or is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListForm {
    /// What stands between its columns; else the header tells.
    pub separator: Option<Separator>,
    /// What the column of registration IDs is called; else `registration_id`.
    pub id_column: Option<String>,
    /// What it is written in; else UTF-8. A byte-order mark stands above it.
    pub encoding: Option<ListEncoding>,
}

/// What stands between the columns of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
}

impl Separator {
    const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    pub(super) fn octet(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }

    /// The one under which a header has the column of IDs; else the one that makes most columns of it.
    pub(super) fn of(header: &[u8], id_column: &str) -> Self {
        // Of equals the last is taken, and a comma is likeliest.
        let likeliest_last = Self::ALL.into_iter().rev();
        let best = likeliest_last.max_by_key(|separator| {
            let heads = separator.split(header);
            (heads.iter().any(|head| head == id_column), heads.len())
        });
        best.unwrap_or(Self::Comma)
    }

    fn split(self, line: &[u8]) -> Vec<String> {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).delimiter(self.octet());
        let mut reader = builder.from_reader(line);
        let record = reader.byte_records().next().and_then(Result::ok);
        let heads = record.iter().flatten();
        heads
            .map(|head| String::from_utf8_lossy(head).trim().to_owned())
            .collect()
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comma => "commas",
            Self::Semicolon => "semicolons",
            Self::Tab => "tabs",
        })
    }
}

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "comma" | "," => Ok(Self::Comma),
            "semicolon" | ";" => Ok(Self::Semicolon),
            "tab" | "\t" | "\\t" => Ok(Self::Tab),
            _ => Err("it is none of comma, semicolon and tab".to_owned()),
        }
    }
}

/// What the characters of a list are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEncoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, the low octet of each unit first: what Windows writes.
    Utf16Le,
    /// UTF-16, the high octet of each unit first.
    Utf16Be,
    /// Windows-1252, which ISO 8859-1 is a part of.
    Windows1252,
}

impl ListEncoding {
    /// The encoding whose byte-order mark a text begins with.
    pub(super) fn of_mark(beginning: &[u8]) -> Option<Self> {
        match beginning {
            [0xef, 0xbb, 0xbf, ..] => Some(Self::Utf8),
            [0xff, 0xfe, ..] => Some(Self::Utf16Le),
            [0xfe, 0xff, ..] => Some(Self::Utf16Be),
            _ => None,
        }
    }

    /// What turns it into UTF-8; nothing for UTF-8, whose octets are checked record by record.
    pub(super) fn decoder(self) -> Option<&'static encoding_rs::Encoding> {
        match self {
            Self::Utf8 => None,
            Self::Utf16Le => Some(encoding_rs::UTF_16LE),
            Self::Utf16Be => Some(encoding_rs::UTF_16BE),
            Self::Windows1252 => Some(encoding_rs::WINDOWS_1252),
        }
    }
}

impl fmt::Display for ListEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le | Self::Utf16Be => "UTF-16",
            Self::Windows1252 => "Windows-1252",
        })
    }
}

impl FromStr for ListEncoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Ok(Self::Utf8),
            "utf-16" | "utf16" | "utf-16le" => Ok(Self::Utf16Le),
            "utf-16be" => Ok(Self::Utf16Be),
            "windows-1252" | "cp1252" | "iso-8859-1" | "latin1" => Ok(Self::Windows1252),
            _ => Err("it is none of utf-8, utf-16, utf-16be and windows-1252".to_owned()),
        }
    }
}
