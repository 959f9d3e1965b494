//! MQTT in WebSocket frames (RFC 6455), at the path that Microsoft's SDKs use.
//!
//! The handshake is HTTP's: [`upgrade`] answers it, and once the connection is no HTTP any more,
//! [`octets`] is a stream. Where frames end means nothing to MQTT (MQTT 3.1.1 §6).

use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

/// Where DPS and hubs take WebSocket connections; the SDKs write it with and without encoding.
const PATHS: [&str; 2] = ["/$iothub/websocket", "/%24iothub/websocket"];
const SUBPROTOCOL: &str = "mqtt";
/// A frame may hold one MQTT packet, and a packet may span frames.
const FRAME_LONGEST: usize = 512 * 1024;

/// Answers a request to speak WebSocket from here on, and gives what is to come; `None` if the
/// request is for something else.
pub(crate) fn upgrade(
    request: &mut Request<Incoming>,
) -> Option<(Response<Full<Bytes>>, OnUpgrade)> {
    if !PATHS.contains(&request.uri().path()) {
        return None;
    }
    let headers = request.headers();
    let is_upgrade = lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && lists(headers, &SEC_WEBSOCKET_VERSION, "13")
        && lists(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)?;
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answers = response.headers_mut();
    answers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answers.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().ok()?);
    // Node's client insists on it.
    answers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Some((response, hyper::upgrade::on(request)))
}

/// Whether a header lists a word.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let mut words = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

/// The payload of binary frames as a stream, in both directions.
pub(crate) async fn octets(
    upgrade: OnUpgrade,
) -> Result<impl AsyncRead + AsyncWrite + Unpin, hyper::Error> {
    let upgraded = upgrade.await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_LONGEST))
        .max_frame_size(Some(FRAME_LONGEST));
    let stream = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (sink, frames) = socket.split();
    let received = frames.filter_map(async |frame| match frame {
        Ok(Message::Binary(octets)) => Some(Ok(octets)),
        Ok(Message::Text(_)) => Some(Err(io::Error::other("a text frame is no MQTT"))),
        Ok(_) => None,
        Err(error) => Some(Err(failure(error))),
    });
    let sent = sink
        .with(async |octets: Bytes| Ok::<_, Error>(Message::Binary(octets)))
        .sink_map_err(failure);
    let reader = StreamReader::new(Box::pin(received));
    let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sent)));
    Ok(tokio::io::join(reader, writer))
}

fn failure(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
