//! Queries: all entries of a kind. The service documents no filter, so none is offered.

use http::HeaderName;
use pki_core::enrollment::Enrollment;
use serde_json::json;

use super::enrollments::Enrollments;
use crate::page::{Records, records};
use crate::plane::Operation;

const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");

impl<E: Enrollment> Enrollments<E> {
    /// All entries, `page_size` at a time, or as many as the service likes.
    pub fn list(&self, page_size: Option<u32>) -> Records<E> {
        let query = json!({"query": format!("SELECT * FROM {}", E::COLLECTION)});
        let operation = Operation::read_by_post(&[E::COLLECTION, "query"]).value(&query);
        records(self.plane.clone(), sized(operation, page_size))
    }
}

/// A query that wishes for pages of this size.
pub(super) fn sized(query: Operation, page_size: Option<u32>) -> Operation {
    match page_size {
        Some(size) => query.header(MAX_ITEM_COUNT, size.to_string()),
        None => query,
    }
}
