//! Direct methods in the service API of a hub: the one request whose answer is a device's.

use http::Method;

use super::hub::access::Access;
use super::{Answer, Request, hub};
use crate::domain::Dps;
use crate::error::ServiceError;

/// Whether a request calls a method of a device.
pub(super) fn is_meant(request: &Request) -> bool {
    let folded = request.folded();
    let words: Vec<&str> = folded.iter().map(String::as_str).collect();
    request.method == Method::POST && matches!(words.as_slice(), ["twins", _, "methods"])
}

pub(super) async fn answer(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    let hub = Access::of(dps, request)?.for_service()?;
    request.api_version()?;
    let name = request.segments().get(1).map_or("", String::as_str);
    let call = serde_json::from_value(request.json()?)
        .map_err(|error| ServiceError::MalformedBody(error.to_string()))?;
    let result = dps.call_method(&hub, &hub::device_id(name)?, &call).await?;
    Answer::document(&result)
}
