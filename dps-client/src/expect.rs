//! What a write expects to find. There is no default: nothing is overwritten blindly.

use pki_core::ids::Etag;

/// What a write that makes or replaces a record expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// No such record: a conflict (409) if there is one. No `If-Match` is sent.
    Absent,
    /// The record as it was when it had this tag: a failed precondition (412) otherwise.
    Etag(Etag),
    /// A record in whatever state.
    Any,
}

/// What an operation on an existing record expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// The record as it was when it had this tag: a failed precondition (412) otherwise.
    Etag(Etag),
    /// The record in whatever state.
    Any,
}

impl From<IfMatch> for Expect {
    fn from(if_match: IfMatch) -> Self {
        match if_match {
            IfMatch::Etag(etag) => Self::Etag(etag),
            IfMatch::Any => Self::Any,
        }
    }
}

/// How a tag stands in `If-Match`, as clients were recorded to send it with success. The wildcard is
/// bare everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagForm {
    /// As the record has it, without quotes of ours: ARM and DPS.
    AsGiven,
    /// In one pair of quotes (RFC 9110 §8.8.3): IoT Hub.
    Quoted,
}

impl Expect {
    /// The value of `If-Match`, if one is sent.
    pub(crate) fn header(&self, form: TagForm) -> Option<String> {
        match (self, form) {
            (Self::Absent, _) => None,
            (Self::Etag(etag), TagForm::AsGiven) => Some(etag.as_str().to_owned()),
            (Self::Etag(etag), TagForm::Quoted) => Some(etag.quoted()),
            (Self::Any, _) => Some("*".to_owned()),
        }
    }
}
