//! The registration record: what became of a device's last attempt to register.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OtherMembers;
use crate::document::{keeps_nulls, told};
use crate::ids::{DeviceId, Etag, HubHostName, RegistrationId};
use crate::text::wire_words;

/// A registration record (`DeviceRegistrationState`, service API 2021-10-01).
///
/// Records outlive the entry that admitted the device; those of refused and failed attempts are kept
/// as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct RegistrationState {
    /// Whose record it is.
    pub registration_id: RegistrationId,
    /// When the record was made, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_date_time_utc: Option<String>,
    /// The hub that the device belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_hub: Option<HubHostName>,
    /// The device's name on that hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// Where the attempt stands.
    pub status: RegistrationStatus,
    /// How an assigned device got its hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substatus: Option<Substatus>,
    /// When it last changed, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated_date_time_utc: Option<String>,
    /// Why an attempt failed, as a number or a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<ErrorCode>,
    /// Why an attempt failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What a custom allocation handed to the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What the record was when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// Members that this crate does not know, and those that were null.
    #[serde(flatten, serialize_with = "told")]
    pub other: OtherMembers,
}

keeps_nulls!(RegistrationState);

impl RegistrationState {
    /// A record with a status and nothing else yet.
    pub fn new(registration_id: RegistrationId, status: RegistrationStatus) -> Self {
        Self {
            registration_id,
            status,
            substatus: None,
            assigned_hub: None,
            device_id: None,
            created_date_time_utc: None,
            last_updated_date_time_utc: None,
            error_code: None,
            error_message: None,
            payload: None,
            etag: None,
            other: OtherMembers::new(),
        }
    }
}

/// Why something failed, as the service's own code: a number nearly always (`404201`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorCode {
    /// A number; its thousands are an HTTP status.
    Number(u32),
    /// A word, or a number that is written as a text.
    Word(String),
}

impl ErrorCode {
    /// The number, if it is one in any writing.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Word(word) => word.parse().ok(),
        }
    }
}

impl From<u32> for ErrorCode {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Where a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationStatus {
    /// No hub yet.
    Unassigned,
    /// Being worked on: ask again.
    Assigning,
    /// The device has its hub.
    Assigned,
    /// Something went wrong; the error says what.
    Failed,
    /// The deciding entry is disabled.
    Disabled,
    /// A status that this crate does not know.
    Other(String),
}

wire_words!(RegistrationStatus {
    Unassigned = "unassigned",
    Assigning = "assigning",
    Assigned = "assigned",
    Failed = "failed",
    Disabled = "disabled",
});

/// How an assigned device got its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Substatus {
    /// For the first time.
    InitialAssignment,
    /// Moved to another hub with its twin.
    DeviceDataMigrated,
    /// Moved to another hub with a fresh twin.
    DeviceDataReset,
    /// Sent back to the hub it had.
    ReprovisionedToInitialAssignment,
    /// A substatus that this crate does not know.
    Other(String),
}

wire_words!(Substatus {
    InitialAssignment = "initialAssignment",
    DeviceDataMigrated = "deviceDataMigrated",
    DeviceDataReset = "deviceDataReset",
    ReprovisionedToInitialAssignment = "reprovisionedToInitialAssignment",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_is_a_number_or_a_word_and_goes_back_as_it_came() {
        let codes: Vec<ErrorCode> =
            serde_json::from_str(r#"[404201, "404201", "NotFound"]"#).expect("codes");
        let numbers: Vec<_> = codes.iter().map(ErrorCode::number).collect();
        assert_eq!(numbers, [Some(404_201), Some(404_201), None]);
        let written = serde_json::to_string(&codes).expect("written");
        assert_eq!(written, r#"[404201,"404201","NotFound"]"#);
    }
}
