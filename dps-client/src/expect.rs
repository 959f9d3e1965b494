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

/// How the wildcard stands in `If-Match`: IoT Hub wants it in quotes, the others take it bare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wildcard {
    Bare,
    Quoted,
}

impl Expect {
    /// The value of `If-Match`, if one is sent.
    pub(crate) fn header(&self, wildcard: Wildcard) -> Option<String> {
        match (self, wildcard) {
            (Self::Absent, _) => None,
            (Self::Etag(etag), _) => Some(etag.quoted()),
            (Self::Any, Wildcard::Bare) => Some("*".to_owned()),
            (Self::Any, Wildcard::Quoted) => Some("\"*\"".to_owned()),
        }
    }
}
