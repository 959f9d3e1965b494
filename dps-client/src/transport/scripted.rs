//! The adapter for tests: plays exchanges from a script and insists on every detail of a request.
//!
//! Scripts are the files of `fixtures/dps-wire`, or are made in a test.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::http::header::{ACCEPT, AUTHORIZATION};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use serde::Deserialize;
use serde_json::Value;

use super::{HttpOptions, Request, Response, Transport, TransportError};

/// What is said in one conversation, and where that is documented.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The documentation.
    pub source: String,
    /// What is said, in order.
    pub exchanges: Vec<Exchange>,
}

/// A request that must come, and what becomes of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Exchange {
    /// The request.
    pub request: ScriptedRequest,
    /// Its fate.
    #[serde(flatten)]
    pub fate: Fate,
}

/// A request in plain words.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedRequest {
    /// The verb.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All headers but `accept` and `authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, or `None` if there is none.
    #[serde(default)]
    pub body: Option<Value>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is answered.
    Response {
        /// The status.
        status: u16,
        /// The headers.
        #[serde(default)]
        headers: HashMap<String, String>,
        /// The body.
        #[serde(default)]
        body: Option<Value>,
    },
    /// It is not.
    Fault(Fault),
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// There is no connection.
    Unreachable,
    /// There is no answer in time.
    Timeout,
    /// The connection breaks.
    Interrupted,
}

/// Plays exchanges in order.
///
/// # Panics
/// On a request that is not the next of the script.
#[derive(Debug)]
pub struct ScriptedTransport {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: VecDeque<Exchange>,
    authorizations: Vec<Option<String>>,
}

impl ScriptedTransport {
    /// Plays these exchanges.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Self {
        let left = exchanges.into_iter().collect();
        Self {
            state: Mutex::new(State {
                left,
                authorizations: Vec::new(),
            }),
        }
    }

    /// How many exchanges have not been played yet.
    pub fn left(&self) -> usize {
        self.state().left.len()
    }

    /// The `Authorization` header of every request so far.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.state().authorizations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&self, request: &Request) -> Result<Response, TransportError> {
        let sent = ScriptedRequest::from(request);
        let mut state = self.state();
        let authorization = request.headers.get(AUTHORIZATION);
        state.authorizations.push(authorization.map(text));
        let Some(next) = state.left.pop_front() else {
            panic!("the script is over, but there came {sent:#?}");
        };
        assert_eq!(
            sent, next.request,
            "the request (left) is not what the script wants (right)"
        );
        next.fate.meet(request.url.authority())
    }
}

impl Transport for ScriptedTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        ready(self.play(&request)).boxed()
    }
}

impl From<&Request> for ScriptedRequest {
    fn from(request: &Request) -> Self {
        let headers = request
            .headers
            .iter()
            .filter(|(name, _)| ![ACCEPT, AUTHORIZATION].contains(name));
        let body = request.body.as_deref().map(|body| {
            serde_json::from_slice(body)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body)))
        });
        Self {
            method: request.method.to_string(),
            target: request.url[url::Position::BeforePath..].to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body,
        }
    }
}

impl Fate {
    fn meet(self, host: &str) -> Result<Response, TransportError> {
        let host = host.to_owned();
        match self {
            Self::Response {
                status,
                headers,
                body,
            } => Ok(Response {
                status: StatusCode::from_u16(status).unwrap_or_default(),
                headers: header_map(&headers),
                body: body
                    .map(|body| body.to_string().into_bytes())
                    .unwrap_or_default(),
            }),
            Self::Fault(Fault::Unreachable) => Err(TransportError::Connect {
                host,
                source: "connection refused".into(),
            }),
            Self::Fault(Fault::Timeout) => Err(TransportError::Timeout {
                host,
                after: HttpOptions::default().timeout,
            }),
            Self::Fault(Fault::Interrupted) => Err(TransportError::Interrupted {
                host,
                source: "connection reset".into(),
            }),
        }
    }
}

fn header_map(headers: &HashMap<String, String>) -> HeaderMap {
    HeaderMap::try_from(headers).unwrap_or_else(|error| panic!("the script's headers: {error}"))
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
