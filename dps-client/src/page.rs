//! Answers that come in pages, as a stream of what is on them.
//!
//! The data planes hand a continuation token from header to header, and leave it out on the last
//! page. The next page is asked for when the one before it has been read.

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http::HeaderName;
use serde::de::DeserializeOwned;

use crate::error::ClientError;
use crate::plane::{Answer, Operation, Plane};

/// Records, page by page. After an error the stream ends.
pub type Records<T> = BoxStream<'static, Result<T, ClientError>>;

const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");

/// Where the reading of pages stands.
enum Next {
    First,
    Page(String),
    End,
}

/// Sends a query again and again, until it has no next page.
pub(crate) fn records<T>(plane: Plane, query: Operation) -> Records<T>
where
    T: DeserializeOwned + Send + 'static,
{
    let pages = stream::try_unfold(Next::First, move |next| {
        let plane = plane.clone();
        let query = query.clone();
        async move {
            let query = match next {
                Next::First => query,
                Next::Page(token) => query.header(CONTINUATION, token),
                Next::End => return Ok(None),
            };
            let answer = plane.send(query).await?;
            let page: Vec<T> = answer.json()?;
            let records = stream::iter(page.into_iter().map(Ok));
            Ok::<_, ClientError>(Some((records, continuation(&answer))))
        }
    });
    pages.try_flatten().boxed()
}

fn continuation(answer: &Answer) -> Next {
    let token = answer
        .response
        .headers
        .get(CONTINUATION)
        .and_then(|token| token.to_str().ok());
    match token.map(str::trim) {
        Some(token) if !token.is_empty() => Next::Page(token.to_owned()),
        _ => Next::End,
    }
}
