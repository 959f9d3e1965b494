//! Pages of a query: size and continuation in, a page and the next continuation out.
//!
//! A continuation is the key of the last record shown, so that records which come and go between two
//! pages shift nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Answer, Request};
use crate::choices::Choices;
use crate::error::ServiceError;

const CONTINUATION: &str = "x-ms-continuation";
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";

/// What a client asks for.
pub(super) struct PageRequest {
    size: usize,
    /// Whether the client named a size; else the answer does not tell it either.
    is_sized: bool,
    after: Option<String>,
}

impl PageRequest {
    pub(super) fn from_request(request: &Request, choices: &Choices) -> Result<Self, ServiceError> {
        let named = request.header(MAX_ITEM_COUNT);
        let asked = match named {
            None => choices.page_default,
            Some(text) => match text.trim().parse::<usize>() {
                Ok(size) if size > 0 => size,
                _ => return Err(invalid(MAX_ITEM_COUNT)),
            },
        };
        let granted = if choices.short_pages {
            asked.div_ceil(2)
        } else {
            asked
        };
        let after = request.header(CONTINUATION).map(key).transpose()?;
        Ok(Self {
            size: granted.clamp(1, choices.page_most.max(1)),
            is_sized: named.is_some(),
            after,
        })
    }

    /// The most items on the page.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The key behind which the page starts.
    pub(super) fn after<K: std::str::FromStr>(&self) -> Result<Option<K>, ServiceError> {
        let key = self.after.as_deref().map(str::parse).transpose();
        key.map_err(|_| invalid(CONTINUATION))
    }

    /// Takes a page from what follows, and says where the next one starts.
    pub(super) fn answer(
        &self,
        item_type: &str,
        items: impl Iterator<Item = Result<(String, Value), ServiceError>>,
    ) -> Result<Answer, ServiceError> {
        let mut items = items.take(self.size + 1).collect::<Result<Vec<_>, _>>()?;
        let has_more = items.len() > self.size;
        items.truncate(self.size);
        let last = items.last().map(|(key, _)| URL_SAFE_NO_PAD.encode(key));
        let body = items.into_iter().map(|(_, value)| value).collect();
        let mut answer = Answer::ok(Value::Array(body)).with_header("x-ms-item-type", item_type);
        if self.is_sized {
            answer = answer.with_header(MAX_ITEM_COUNT, self.size);
        }
        Ok(match last.filter(|_| has_more) {
            Some(last) => answer.with_header(CONTINUATION, last),
            None => answer,
        })
    }
}

fn key(continuation: &str) -> Result<String, ServiceError> {
    let octets = URL_SAFE_NO_PAD.decode(continuation.trim()).ok();
    let text = octets.and_then(|octets| String::from_utf8(octets).ok());
    text.ok_or_else(|| invalid(CONTINUATION))
}

fn invalid(header: &str) -> ServiceError {
    ServiceError::ArgumentInvalid(format!("The header {header} is invalid."))
}
