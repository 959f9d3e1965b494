//! Several entries in one request. It is no transaction: entries fail one by one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures::future::try_join_all;
use http::Method;
use pki_core::enrollment::{Enrollment, ErrorCode};
use serde::{Deserialize, Serialize};

use super::enrollments::Enrollments;
use crate::error::ClientError;
use crate::plane::Operation;
use crate::retry::Repeat;

/// What a bulk operation does with each of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BulkMode {
    /// Make it; fails for one that is there.
    Create,
    /// Replace it, whatever its state, if its document has an ETag; the live service fails one without as
    /// an entry that exists already.
    Update,
    /// Replace it as it was when it had the ETag inside the document.
    #[serde(rename = "updateIfMatchETag")]
    UpdateIfMatchEtag,
    /// Delete it, whatever its state.
    Delete,
}

/// What became of a bulk operation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Whether all entries succeeded.
    pub is_successful: bool,
    /// Those that failed.
    #[serde(default, deserialize_with = "crate::nullable::list")]
    pub errors: Vec<BulkError>,
}

/// Why one entry of a bulk operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkError {
    /// The entry's registration ID or enrollment group ID.
    #[serde(alias = "registrationId", alias = "enrollmentGroupId")]
    pub id: String,
    /// Why, as a number or a word.
    #[serde(default)]
    pub error_code: Option<ErrorCode>,
    /// Why, in words.
    #[serde(default)]
    pub error_status: Option<String>,
}

impl BulkMode {
    fn repeat(self) -> Repeat {
        match self {
            Self::Update | Self::UpdateIfMatchEtag => Repeat::Harmless,
            // The second time each entry would report that it is there, or gone, already.
            Self::Create | Self::Delete => Repeat::Harmful,
        }
    }
}

impl<E: Enrollment> Enrollments<E> {
    /// The most entries that one bulk operation takes.
    pub const BULK: usize = 10;

    /// Writes several entries in one request.
    ///
    /// # Errors
    /// [`ClientError::TooManyRecords`] for more than [`Self::BULK`]; [`ClientError`] if the request as a
    /// whole fails. Entries that fail are in the result.
    pub async fn bulk(&self, mode: BulkMode, entries: &[E]) -> Result<BulkResult, ClientError> {
        if entries.len() > Self::BULK {
            return Err(ClientError::TooManyRecords {
                count: entries.len(),
                most: Self::BULK,
            });
        }
        let entries = match mode {
            BulkMode::Create | BulkMode::Delete => entries.iter().map(Cow::Borrowed).collect(),
            BulkMode::Update | BulkMode::UpdateIfMatchEtag => {
                try_join_all(entries.iter().map(|entry| self.with_present_keys(entry))).await?
            }
        };
        let entries: Vec<&E> = entries.iter().map(Cow::as_ref).collect();
        let body = Bulk {
            mode,
            entries: BTreeMap::from([(E::COLLECTION, entries)]),
        };
        let mut operation = Operation::write(Method::POST, &[E::COLLECTION]).json(&body)?;
        if mode.repeat() == Repeat::Harmless {
            operation = operation.repeatable();
        }
        self.plane.send(operation).await?.json()
    }
}

/// The request's body: the entries stand under the name of their collection.
#[derive(Serialize)]
struct Bulk<'a, E> {
    mode: BulkMode,
    #[serde(flatten)]
    entries: BTreeMap<&'static str, Vec<&'a E>>,
}
