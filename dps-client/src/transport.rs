//! The port to the network: one request in, one response out.
//!
//! Requests and responses are plain data, so everything above this line is tested with documented
//! exchanges and without a socket. The adapter for real use is [`HttpTransport`]; the one that plays
//! exchanges is `ScriptedTransport` (feature `testing`).
//! Not here: whether a request is sent again ([`crate::retry`]) and how it is authorized
//! ([`crate::auth`]).

mod http;
mod routes;
#[cfg(feature = "testing")]
mod scripted;

use std::fmt;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HeaderMap};
use ::http::{Method, StatusCode};
use futures::future::BoxFuture;
use url::Url;

pub use self::http::{HttpOptions, HttpTransport, ProxyUse, TransportSetupError, Trust};
pub use self::routes::Routes;
#[cfg(feature = "testing")]
pub use self::scripted::{Exchange, Fate, Fault, Script, ScriptedRequest, ScriptedTransport};

use crate::cause::BoxError;

/// A request as it goes to the network.
#[derive(Clone)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// The whole address, with `api-version`.
    pub url: Url,
    /// Headers, with `Authorization`.
    pub headers: HeaderMap,
    /// The body; `None` sends none, not an empty one.
    pub body: Option<Vec<u8>>,
}

impl fmt::Debug for Request {
    /// Leaves out the body and the authorization, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self
            .headers
            .iter()
            .filter(|(name, _)| *name != AUTHORIZATION);
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url.as_str())
            .field("headers", &headers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A response as it came from the network.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, empty if there was none.
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    /// Leaves out the body: answers may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Carries requests to a service.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for its response, whatever its status.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// Why there is no response. What matters most is whether the service can have seen the request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection came about: the service has not seen the request.
    #[error("cannot connect to {host}")]
    Connect {
        /// Where to.
        host: String,
        /// What the network said.
        source: BoxError,
    },
    /// No connection to the proxy came about that leads to the service, which has not seen the request.
    #[error("cannot connect to the proxy {proxy}")]
    Proxy {
        /// The proxy, without its user name and password.
        proxy: String,
        /// What the network said.
        source: BoxError,
    },
    /// The proxy opened no way to the service, which has not seen the request.
    #[error("the proxy {proxy} opens no way to {host}")]
    Tunnel {
        /// The proxy, without its user name and password.
        proxy: String,
        /// Where to.
        host: String,
        /// What the proxy said.
        source: BoxError,
    },
    /// The TLS handshake failed: the peer is not trusted, or it refused us.
    #[error("no secure connection to {host}")]
    Tls {
        /// Where to.
        host: String,
        /// What the handshake said.
        source: BoxError,
    },
    /// No answer came in time; the service may have seen the request.
    #[error("no answer from {host} within {after:?}")]
    Timeout {
        /// Where to.
        host: String,
        /// How long the request was given.
        after: Duration,
    },
    /// The connection broke before the whole answer was there; the service may have seen the request.
    #[error("the connection to {host} broke")]
    Interrupted {
        /// Where to.
        host: String,
        /// What the network said.
        source: BoxError,
    },
}
