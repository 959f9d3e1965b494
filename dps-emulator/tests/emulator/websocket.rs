//! MQTT over WebSocket, on the port of HTTPS.

use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use rumqttc::mqttbytes::v4::{Codec, ConnAck, ConnectReturnCode, Packet};
use rustls::version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::fixture::{Authority, Leaf, World};
use crate::mqtt_client::{Stream, connect, dps_user, handshake};

async fn https(world: &World, leaf: &Leaf) -> Stream {
    let stream = TcpStream::connect(world.emulator.address()).await;
    handshake(
        world,
        stream.expect("connects"),
        Some(leaf),
        &version::TLS12,
    )
    .await
}

async fn websocket(world: &World, leaf: &Leaf) -> WebSocketStream<Stream> {
    let uri = "wss://global.azure-devices-provisioning.net:443/$iothub/websocket";
    let mut request = uri.into_client_request().expect("a request");
    let mqtt = HeaderValue::from_static("mqtt");
    request.headers_mut().insert("Sec-WebSocket-Protocol", mqtt);
    let (socket, response) = client_async(request, https(world, leaf).await)
        .await
        .expect("upgraded");
    // Node's client fails without it.
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    socket
}

fn encoded(packet: Packet) -> Bytes {
    let mut octets = BytesMut::new();
    codec().encode(packet, &mut octets).expect("encodes");
    octets.freeze()
}

fn codec() -> Codec {
    Codec {
        max_incoming_size: 1 << 20,
        max_outgoing_size: 1 << 20,
    }
}

/// The next packet, from whatever frames it comes in.
async fn packet(socket: &mut WebSocketStream<Stream>) -> Packet {
    let mut octets = BytesMut::new();
    while let Some(message) = socket.next().await {
        octets.extend_from_slice(&message.expect("a frame").into_data());
        if let Some(packet) = codec().decode(&mut octets).expect("a packet") {
            return packet;
        }
    }
    panic!("the connection ended");
}

/// Frames and packets need not have the same ends (MQTT 3.1.1 §6).
#[tokio::test]
async fn packets_may_span_frames_and_share_them() {
    let world = World::start().await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let mut socket = websocket(&world, &leaf).await;
    let user = dps_user(world.emulator.id_scope().as_str(), "dev-1");
    let connect = encoded(Packet::Connect(connect("dev-1", &user, None)));
    let (first, rest) = connect.split_at(5);
    let [first, rest] = [first, rest].map(Bytes::copy_from_slice);
    socket.send(Message::Binary(first)).await.expect("sent");
    socket
        .send(Message::Ping(Bytes::new()))
        .await
        .expect("sent");
    socket.send(Message::Binary(rest)).await.expect("sent");
    let expected = ConnAck::new(ConnectReturnCode::Success, false);
    assert!(matches!(socket.next().await, Some(Ok(Message::Pong(_)))));
    assert_eq!(packet(&mut socket).await, Packet::ConnAck(expected));

    let pings = [encoded(Packet::PingReq), encoded(Packet::PingReq)].concat();
    socket
        .send(Message::Binary(pings.into()))
        .await
        .expect("sent");
    for _ in 0..2 {
        assert_eq!(packet(&mut socket).await, Packet::PingResp);
    }
}

#[tokio::test]
async fn text_and_oversized_frames_end_the_connection() {
    let world = World::start().await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let giant = Bytes::from(vec![0x10; 1 << 20]);
    for message in [Message::text("CONNECT"), Message::Binary(giant)] {
        let mut socket = websocket(&world, &leaf).await;
        // The server may be gone before all of it is written.
        let _ = socket.send(message).await;
        while let Some(Ok(message)) = socket.next().await {
            assert!(message.is_close(), "{message:?}");
        }
    }
}

/// Without the subprotocol, the version or the key it is a request for a path that there is not.
#[tokio::test]
async fn an_incomplete_handshake_is_no_upgrade() {
    let world = World::start().await;
    let leaf = Authority::root("Root").leaf("dev-1", &[]);
    let complete = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n";
    for (path, left_out, status) in [
        ("/$iothub/websocket", "", "101"),
        ("/%24iothub/websocket", "", "101"),
        ("/$iothub/other", "", "404"),
        (
            "/$iothub/websocket",
            "Sec-WebSocket-Protocol: mqtt\r\n",
            "404",
        ),
        ("/$iothub/websocket", "Sec-WebSocket-Version: 13\r\n", "404"),
        ("/$iothub/websocket", "Upgrade: websocket\r\n", "404"),
    ] {
        let mut stream = https(&world, &leaf).await;
        let headers = complete.replace(left_out, "");
        let headers = if left_out.is_empty() {
            complete
        } else {
            &headers
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.expect("answered");
        assert_eq!(
            str::from_utf8(&line),
            Ok(&*format!("HTTP/1.1 {status}")),
            "{path} {left_out}"
        );
    }
}
