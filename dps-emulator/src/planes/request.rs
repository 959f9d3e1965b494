//! A request as the planes see it: read whole, path decoded, with what the TLS session proved.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, IF_MATCH};
use http::{HeaderMap, Method, Uri};
use percent_encoding::percent_decode_str;
use pki_core::certificate::Certificate;
use pki_core::time::Time;
use serde_json::Value;

use crate::domain::admission::Credential;
use crate::error::ServiceError;
use crate::nesting::{DEEPEST, is_too_deep};
use crate::policy::Policy;
use crate::sas::SasToken;
use crate::store::IfMatch;

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    authority: Option<String>,
    body: Bytes,
    /// The certificates of the TLS session, leaf first.
    presented: Arc<[Certificate]>,
    peer: Option<IpAddr>,
}

impl Request {
    pub(crate) fn new(
        parts: http::request::Parts,
        body: Bytes,
        presented: Arc<[Certificate]>,
    ) -> Result<Self, ServiceError> {
        check_repeated(&parts.headers)?;
        let segments = parts
            .uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decoded)
            .collect::<Option<_>>();
        Ok(Self {
            method: parts.method,
            segments: segments.ok_or(ServiceError::NoSuchPath)?,
            query: query(&parts.uri),
            authority: parts.uri.authority().map(ToString::to_string),
            headers: parts.headers,
            body,
            presented,
            peer: None,
        })
    }

    /// The same request, known to come from this address.
    #[must_use]
    pub(crate) fn sent_by(self, peer: Option<IpAddr>) -> Self {
        Self { peer, ..self }
    }

    /// Where the request comes from, if that is known.
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// The segments of the path, decoded, as they were written.
    pub(crate) fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The segments in lower case, to match keywords with.
    pub(crate) fn folded(&self) -> Vec<String> {
        self.segments
            .iter()
            .map(|segment| segment.to_ascii_lowercase())
            .collect()
    }

    pub(crate) fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    /// The version of the API, which every plane demands: a date between the first and the newest
    /// known one, previews included.
    pub(crate) fn api_version(&self) -> Result<&str, ServiceError> {
        let given = self.parameter("api-version");
        match given {
            Some(version) if is_known_version(version) => Ok(version),
            _ => Err(ServiceError::ApiVersion(
                given.unwrap_or_default().to_owned(),
            )),
        }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The name by which the client addresses the server, without the port.
    pub(crate) fn host(&self) -> Option<&str> {
        let host = self.header(HOST.as_str()).or(self.authority.as_deref());
        host.map(crate::sas::without_port)
    }

    pub(crate) fn if_match(&self) -> Result<IfMatch, ServiceError> {
        match self.headers.get(IF_MATCH).map(|value| value.to_str()) {
            None => Ok(IfMatch::from_header(None)),
            Some(Ok(value)) if !value.trim().is_empty() => Ok(IfMatch::from_header(Some(value))),
            Some(_) => Err(ServiceError::ArgumentInvalid("ETag is invalid".to_owned())),
        }
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        self.header(AUTHORIZATION.as_str())
    }

    /// The token of a `Bearer` authorization.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.authorization()?.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
    }

    /// The policy whose key signed the request's token for this server and path, if one did.
    pub(crate) fn signing_policy<'p>(
        &self,
        policies: impl IntoIterator<Item = &'p Policy>,
        hosts: &[String],
        at: Time,
    ) -> Option<&'p Policy> {
        let token = SasToken::parse(self.authorization()?)?;
        let covers = token.covers(hosts.iter().map(String::as_str), &self.segments);
        if !covers || !token.is_live(at) {
            return None;
        }
        policies
            .into_iter()
            .filter(|policy| token.policy().is_none_or(|name| policy.name == name))
            .find(|policy| token.is_signed_by_any(&policy.keys))
    }

    /// What a device shows: its token if it sends one, else the certificates of its session.
    pub(crate) fn credential(&self) -> Option<Credential<'_>> {
        match self.authorization() {
            Some(token) => Some(Credential::Token(token)),
            None if self.presented.is_empty() => None,
            None => Some(Credential::Chain(&self.presented)),
        }
    }

    /// The body as JSON; an empty or blank one is `null`.
    pub(crate) fn json(&self) -> Result<Value, ServiceError> {
        let value = self.json_of_any_depth()?;
        if is_too_deep(&value) {
            let problem = format!("it is nested more than {DEEPEST} levels deep");
            return Err(ServiceError::MalformedBody(problem));
        }
        Ok(value)
    }

    /// The same for a document that holds such bodies.
    pub(crate) fn json_of_any_depth(&self) -> Result<Value, ServiceError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| ServiceError::MalformedBody(error.to_string()))
    }
}

/// Refuses a second one of the headers that decide what a request may do: which of them counts would be
/// a guess, and another one between client and server may guess otherwise.
fn check_repeated(headers: &HeaderMap) -> Result<(), ServiceError> {
    for name in [AUTHORIZATION, HOST, IF_MATCH] {
        if headers.get_all(&name).iter().count() > 1 {
            return Err(ServiceError::ArgumentInvalid(format!(
                "The header {name} occurs more than once."
            )));
        }
    }
    Ok(())
}

fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn is_known_version(version: &str) -> bool {
    // IoT Edge asks hubs for 2017-11-08-preview; this is the first version that a hub had.
    const FIRST: &str = "2016-02-03";
    const NEWEST: &str = "2026-11-15";
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let is_date = format!("{date}T00:00:00Z").parse::<Time>().is_ok();
    is_date && (FIRST..=NEWEST).contains(&date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_are_dates_within_the_known_range() {
        for good in [
            "2017-11-15",
            "2017-11-08-preview",
            "2018-09-01-preview",
            "2021-10-01",
            "2026-11-01",
        ] {
            assert!(is_known_version(good), "{good}");
        }
        for bad in [
            "",
            "2016-01-01",
            "2031-01-01",
            "2021-10-01x",
            "latest",
            "2021/10/01",
            "2021-13-01",
            "2021-02-30",
        ] {
            assert!(!is_known_version(bad), "{bad}");
        }
    }
}
