//! The adapter for real networks: HTTPS by reqwest and rustls.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::header::CONTENT_LENGTH;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method};

use super::{BoxError, Request, Response, Transport, TransportError};
use crate::auth::DeviceIdentity;

/// Whose server certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// The system's roots: right for Azure.
    #[default]
    System,
    /// The system's roots and these, as PEM; for networks that intercept TLS.
    SystemAnd(String),
    /// These roots alone, as PEM; for the emulator.
    Only(String),
}

/// Whether requests go through a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyUse {
    /// As `HTTPS_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Straight to the service; for the emulator.
    Direct,
}

/// How [`HttpTransport`] connects.
#[derive(Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Whose server certificates are believed.
    pub trust: Trust,
    /// The certificate and key that a device shows; `None` for the other planes.
    pub identity: Option<DeviceIdentity>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a request may take in all.
    pub timeout: Duration,
    /// Whether requests go through a proxy.
    pub proxy: ProxyUse,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for HttpOptions {
    /// The system's roots, no identity, 10 seconds to connect and 30 for a request.
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            proxy: ProxyUse::Environment,
            user_agent: concat!("dps-pki/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why an [`HttpTransport`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportSetupError {
    /// The trust anchors are no PEM certificates.
    #[error("the trust anchors are not readable as PEM certificates")]
    TrustAnchors(#[source] BoxError),
    /// There is no certificate among the trust anchors.
    #[error("there is no certificate among the trust anchors")]
    NoTrustAnchor,
    /// The device's certificate and key cannot be used.
    #[error("the device's certificate chain and private key are not readable as PEM")]
    Identity(#[source] BoxError),
    /// Certificate and key do not match, or the system's trust store cannot be read.
    #[error("the TLS client cannot be set up")]
    Client(#[source] BoxError),
}

/// HTTPS to a service. Connections are kept and shared among clones.
///
/// Redirects are never followed: no service here sends one, and a token must not travel to another
/// host.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: Client,
    timeout: Duration,
}

impl HttpTransport {
    /// Sets up TLS; nothing is sent yet.
    ///
    /// # Errors
    /// [`TransportSetupError`] if trust anchors or identity are unusable.
    pub fn new(options: &HttpOptions) -> Result<Self, TransportSetupError> {
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout)
            .user_agent(&options.user_agent);
        if options.proxy == ProxyUse::Direct {
            builder = builder.no_proxy();
        }
        if let Some(identity) = &options.identity {
            builder = builder.identity(tls_identity(identity)?);
        }
        let client = trusting(builder, &options.trust)?.build();
        Ok(Self {
            client: client.map_err(|error| TransportSetupError::Client(error.into()))?,
            timeout: options.timeout,
        })
    }

    async fn exchange(&self, request: Request) -> Result<Response, reqwest::Error> {
        let bodiless = request.body.is_none() && request.method == Method::POST;
        let mut outgoing = self
            .client
            .request(request.method, request.url)
            .headers(request.headers);
        if bodiless {
            // The library leaves this out, and front ends then answer 411 (RFC 9110 §8.6).
            outgoing = outgoing.header(CONTENT_LENGTH, 0);
        }
        if let Some(body) = request.body {
            outgoing = outgoing.body(body);
        }
        let answer = outgoing.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Response {
            status,
            headers,
            body: answer.bytes().await?.into(),
        })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        async move {
            let host = request.url.authority().to_owned();
            self.exchange(request)
                .await
                .map_err(|error| classify(host, self.timeout, error))
        }
        .boxed()
    }
}

fn trusting(builder: ClientBuilder, trust: &Trust) -> Result<ClientBuilder, TransportSetupError> {
    Ok(match trust {
        Trust::System => builder,
        Trust::SystemAnd(pem) => builder.tls_certs_merge(anchors(pem)?),
        Trust::Only(pem) => builder.tls_certs_only(anchors(pem)?),
    })
}

fn anchors(pem: &str) -> Result<Vec<Certificate>, TransportSetupError> {
    let anchors = Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|error| TransportSetupError::TrustAnchors(error.into()))?;
    if anchors.is_empty() {
        return Err(TransportSetupError::NoTrustAnchor);
    }
    Ok(anchors)
}

fn tls_identity(identity: &DeviceIdentity) -> Result<Identity, TransportSetupError> {
    Identity::from_pem(identity.to_pem().as_bytes())
        .map_err(|error| TransportSetupError::Identity(error.into()))
}

fn classify(host: String, timeout: Duration, error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if is_tls(&error) {
        TransportError::Tls {
            host,
            source: error.into(),
        }
    } else if error.is_connect() {
        TransportError::Connect {
            host,
            source: error.into(),
        }
    } else if error.is_timeout() {
        TransportError::Timeout {
            host,
            after: timeout,
        }
    } else {
        TransportError::Interrupted {
            host,
            source: error.into(),
        }
    }
}

/// Whether TLS is at the bottom of it. An [`io::Error`] hides what it wraps from `source()`.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let next = wrapped
        .map(|inner| -> &(dyn Error + 'static) { inner })
        .or_else(|| error.source());
    error.is::<rustls::Error>() || next.is_some_and(is_tls)
}
