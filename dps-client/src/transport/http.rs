//! The adapter for real networks: HTTPS by reqwest and rustls.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::CONTENT_LENGTH;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, Url};

use super::{Request, Response, Routes, Transport, TransportError};
use crate::auth::DeviceIdentity;
use crate::cause::BoxError;

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
    /// Names that are dialled elsewhere than the machine's resolver says.
    pub routes: Routes,
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
            routes: Routes::default(),
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
    way: Arc<Way>,
    timeout: Duration,
}

/// Where requests go before they are at the service, for errors to name it.
#[derive(Debug)]
struct Way {
    proxies: Option<Matcher>,
    routes: Routes,
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
            .dns_resolver(options.routes.clone())
            .user_agent(&options.user_agent);
        if options.proxy == ProxyUse::Direct {
            builder = builder.no_proxy();
        }
        let way = Way {
            proxies: (options.proxy == ProxyUse::Environment).then(Matcher::from_system),
            routes: options.routes.clone(),
        };
        if let Some(identity) = &options.identity {
            builder = builder.identity(tls_identity(identity)?);
        }
        let client = trusting(builder, &options.trust)?.build();
        Ok(Self {
            client: client.map_err(|error| TransportSetupError::Client(error.into()))?,
            way: Arc::new(way),
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
        let status = answer.status();
        let headers = answer.headers().clone();
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
            let url = request.url.clone();
            self.exchange(request)
                .await
                .map_err(|error| self.way.classify(&url, self.timeout, error))
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

impl Way {
    /// The service as errors name it: by its name, and by where it was dialled if that is elsewhere.
    fn host(&self, url: &Url) -> String {
        let authority = url.authority();
        match url.host_str().and_then(|name| self.routes.of(name)) {
            Some(dialled) => format!("{authority} (at {dialled})"),
            None => authority.to_owned(),
        }
    }

    /// The proxy on the way to an address, without its user name and password.
    fn proxy(&self, url: &Url) -> Option<String> {
        let uri: Uri = url.as_str().parse().ok()?;
        let intercepted = self.proxies.as_ref()?.intercept(&uri)?;
        let host = intercepted.uri().host()?;
        let port = intercepted.uri().port_u16();
        Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    fn classify(&self, url: &Url, timeout: Duration, error: reqwest::Error) -> TransportError {
        let error = error.without_url();
        let host = self.host(url);
        if is_tls(&error) {
            TransportError::Tls {
                host,
                source: error.into(),
            }
        } else if error.is_connect() {
            self.no_connection(url, error)
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

    fn no_connection(&self, url: &Url, error: reqwest::Error) -> TransportError {
        let host = self.host(url);
        match self.proxy(url) {
            Some(proxy) if is_refused_by_proxy(&error) => TransportError::Tunnel {
                proxy,
                host,
                source: error.into(),
            },
            Some(proxy) => TransportError::Proxy {
                proxy,
                source: error.into(),
            },
            None => TransportError::Connect {
                host,
                source: error.into(),
            },
        }
    }
}

/// Whether a proxy answered, and not with a way to the service. The library's type for it is private,
/// so its words have to do.
fn is_refused_by_proxy(error: &(dyn Error + 'static)) -> bool {
    const TUNNEL: &str = "tunnel error: ";
    const DEAD: &str = "tunnel error: failed to create underlying connection";
    let text = error.to_string();
    if text.starts_with(TUNNEL) {
        return text != DEAD;
    }
    error.source().is_some_and(is_refused_by_proxy)
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
