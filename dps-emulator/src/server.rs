//! The listeners: connections counted, TLS sessions, HTTP/1.1 with keep-alive or MQTT, an orderly end.
//!
//! Every session's client certificates are read once and handed to whatever is spoken in it. What a
//! client may take is bounded: connections in all, time for the handshake, for headers and for a
//! body, and the size of each.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::header::HOST;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use pki_core::certificate::Certificate;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::Dps;
use crate::error::ServiceError;
use crate::planes::{self, Request};
use crate::{mqtt, tls, websocket};

/// A bulk request of the hub with 100 devices stays far below.
const BODY_MOST: usize = 1024 * 1024;
const HEADERS_MOST: usize = 64 * 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const HEADERS_TIME: Duration = Duration::from_secs(30);
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long open requests have to end when the server does.
const FAREWELL_TIME: Duration = Duration::from_secs(5);
const CONNECTIONS_MOST: usize = 2048;
/// After a failed accept (no file descriptors left, say): a pause instead of a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is spoken at a listener once TLS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// All planes, and MQTT over WebSocket.
    Https,
    /// MQTT.
    Mqtt,
}

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Server {
    acceptor: TlsAcceptor,
    dps: Arc<Dps>,
    /// Connections that may still come.
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Server {
    /// A server that ends when `end` is cancelled.
    pub(crate) fn new(acceptor: TlsAcceptor, dps: Arc<Dps>, end: CancellationToken) -> Self {
        Self {
            acceptor,
            dps,
            places: Arc::new(Semaphore::new(CONNECTIONS_MOST)),
            tasks: TaskTracker::new(),
            end,
        }
    }

    /// Serves until the end, then lets open requests finish.
    pub(crate) async fn serve(self, listeners: Vec<(TcpListener, Protocol)>) {
        for (listener, protocol) in listeners {
            self.tasks.spawn(self.clone().listen(listener, protocol));
        }
        self.tasks.close();
        self.end.cancelled().await;
        if timeout(FAREWELL_TIME, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were still open at the end");
        }
    }

    async fn listen(self, listener: TcpListener, protocol: Protocol) {
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                () = self.end.cancelled() => return,
            };
            let Some((stream, place)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let server = self.clone();
            self.tasks.spawn(server.session(stream, place, protocol));
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                None
            }
        }
    }

    async fn session(self, stream: TcpStream, place: OwnedSemaphorePermit, protocol: Protocol) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let peer = stream.peer_addr().ok().map(|address| address.ip());
        let stream = match timeout(HANDSHAKE_TIME, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "the TLS handshake failed"),
            Err(_) => return tracing::debug!("the TLS handshake took too long"),
        };
        let presented = tls::presented(stream.get_ref().1.peer_certificates());
        match protocol {
            Protocol::Https => self.https(stream, presented, peer, place).await,
            Protocol::Mqtt => mqtt::serve(stream, presented, self.dps, self.end).await,
        }
    }

    async fn https(
        self,
        stream: TlsStream<TcpStream>,
        presented: Arc<[Certificate]>,
        peer: Option<IpAddr>,
        place: OwnedSemaphorePermit,
    ) {
        let place = Arc::new(place);
        let service = service_fn(|request| {
            let server = self.clone();
            let presented = Arc::clone(&presented);
            server.respond(presented, peer, request, Arc::clone(&place))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIME)
            .max_buf_size(HEADERS_MOST)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the connection ended");
        }
    }

    async fn respond(
        self,
        presented: Arc<[Certificate]>,
        peer: Option<IpAddr>,
        mut request: http::Request<Incoming>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<http::Response<Full<Bytes>>, CutOff> {
        if let Some((response, upgrade)) = websocket::upgrade(&mut request) {
            let tasks = self.tasks.clone();
            tasks.spawn(self.websocket(presented, upgrade, place));
            return Ok(response);
        }
        let (parts, body) = request.into_parts();
        let response = match whole(parts, body, presented).await {
            Ok(request) => planes::answer(&self.dps, &request.sent_by(peer)).await,
            Err(error) => planes::unreadable(&self.dps, &error),
        };
        match response.extensions().get::<planes::Cut>() {
            Some(planes::Cut) => Err(CutOff),
            None => Ok(response),
        }
    }

    async fn websocket(
        self,
        presented: Arc<[Certificate]>,
        upgrade: OnUpgrade,
        _place: Arc<OwnedSemaphorePermit>,
    ) {
        match websocket::octets(upgrade).await {
            Ok(stream) => mqtt::serve(stream, presented, self.dps, self.end).await,
            Err(error) => tracing::debug!(%error, "the connection was not upgraded"),
        }
    }
}

/// The behavior wants this connection cut.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut, as the behavior has it")]
struct CutOff;

async fn whole(
    parts: http::request::Parts,
    body: Incoming,
    presented: Arc<[Certificate]>,
) -> Result<Request, ServiceError> {
    // RFC 9112 §3.2. Which hub is meant depends on it.
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        let problem = "The header host is missing.".to_owned();
        return Err(ServiceError::ArgumentInvalid(problem));
    }
    Request::new(parts, read(body).await?, presented)
}

async fn read(body: Incoming) -> Result<Bytes, ServiceError> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > BODY_MOST) {
        return Err(ServiceError::TooLarge(BODY_MOST));
    }
    let reading = timeout(BODY_TIME, Limited::new(body, BODY_MOST).collect());
    match reading.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ServiceError::TooLarge(BODY_MOST)),
        Ok(Err(error)) => Err(ServiceError::MalformedBody(error.to_string())),
        Err(_) => Err(ServiceError::MalformedBody("it took too long".to_owned())),
    }
}
