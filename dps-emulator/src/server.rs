//! The listener: TLS sessions, HTTP/1.1 with keep-alive, limits, and an orderly end.
//!
//! Every session's client certificates are read once and handed to each of its requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use pki_core::certificate::Certificate;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::domain::Dps;
use crate::error::ServiceError;
use crate::planes::{self, Request};
use crate::tls;

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

/// Serves until `end` resolves or its sender is dropped, then lets open requests finish.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    dps: Arc<Dps>,
    mut end: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = &mut end => break,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, dps, watcher) = (acceptor.clone(), Arc::clone(&dps), graceful.watcher());
        tokio::spawn(async move {
            session(stream, acceptor, dps, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(FAREWELL_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

async fn session(stream: TcpStream, acceptor: TlsAcceptor, dps: Arc<Dps>, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "the TLS handshake failed"),
        Err(_) => return tracing::debug!("the TLS handshake took too long"),
    };
    let presented = tls::presented(stream.get_ref().1.peer_certificates());
    let service =
        service_fn(move |request| respond(Arc::clone(&dps), Arc::clone(&presented), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME)
        .max_buf_size(HEADERS_MOST)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "the connection ended");
    }
}

async fn respond(
    dps: Arc<Dps>,
    presented: Arc<[Certificate]>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let request = read(body)
        .await
        .and_then(|body| Request::new(parts, body, presented));
    Ok(match request {
        Ok(request) => planes::answer(&dps, &request),
        Err(error) => planes::unreadable(&dps, &error),
    })
}

async fn read(body: Incoming) -> Result<Bytes, ServiceError> {
    let reading = timeout(BODY_TIME, Limited::new(body, BODY_MOST).collect());
    match reading.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ServiceError::TooLarge(BODY_MOST)),
        Ok(Err(error)) => Err(ServiceError::MalformedBody(error.to_string())),
        Err(_) => Err(ServiceError::MalformedBody("it took too long".to_owned())),
    }
}
