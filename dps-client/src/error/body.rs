//! Error bodies in the shapes that the services use.
//!
//! | who | shape |
//! | --- | --- |
//! | DPS, service and device plane | `{"errorCode": 401002, "message", "trackingId"}` |
//! | ARM, the provider | `{"code": 412001, "httpStatusCode", "message"}`, its identifier inside the message |
//! | ARM itself | `{"error": {"code": "ResourceNotFound", "message"}}` |
//! | IoT Hub | `{"Message": "ErrorCode:X;text", "ExceptionMessage": "Tracking ID:…"}`, or with a whole error in JSON as the `Message` |

use serde_json::Value;

/// What an error body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) tracking_id: Option<String>,
}

impl Said {
    /// Reads a body in any of the shapes.
    pub(super) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body)
            .map_or_else(|_| Self::text(body), |body: Value| Self::json(&body))
    }

    fn json(body: &Value) -> Self {
        if let Some(nested) = body.get("error").filter(|nested| nested.is_object()) {
            return Self::json(nested);
        }
        if let Some(message) = body.get("Message").and_then(Value::as_str) {
            return Self::hub(
                message,
                body.get("ExceptionMessage").and_then(Value::as_str),
            );
        }
        let message = body
            .get("message")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let tracking_id = body
            .get("trackingId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Self {
            code: body
                .get("errorCode")
                .or_else(|| body.get("code"))
                .and_then(code_text),
            tracking_id: tracking_id.or_else(|| correlation_identifier(message.as_deref()?)),
            message,
        }
    }

    /// IoT Hub: `ErrorCode:X;text`, or (since 2021) a whole error in JSON inside the string.
    fn hub(message: &str, exception: Option<&str>) -> Self {
        if let Ok(inner @ Value::Object(_)) = serde_json::from_str(message) {
            return Self::json(&inner);
        }
        let tracking_id = exception
            .and_then(|text| text.trim().strip_prefix("Tracking ID:"))
            .map(|id| id.trim().to_owned());
        let (code, message) = match message.strip_prefix("ErrorCode:") {
            Some(rest) => {
                let (code, text) = rest.split_once(';').unwrap_or((rest, ""));
                (Some(code.trim().to_owned()), text.trim())
            }
            None => (None, message),
        };
        Self {
            code,
            message: (!message.is_empty()).then(|| message.to_owned()),
            tracking_id,
        }
    }

    /// No JSON: most likely from something between us and the service.
    fn text(body: &[u8]) -> Self {
        const MOST: usize = 200;
        let text = String::from_utf8_lossy(body);
        let text: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(MOST)
            .collect();
        Self {
            message: (!text.is_empty()).then_some(text),
            ..Self::default()
        }
    }
}

fn code_text(code: &Value) -> Option<String> {
    match code {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// ARM's provider writes the identifier into the middle of its message.
fn correlation_identifier(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("correlation identifier: ")?;
    let id = rest.split([',', ' ']).next()?;
    (!id.is_empty()).then(|| id.to_owned())
}
