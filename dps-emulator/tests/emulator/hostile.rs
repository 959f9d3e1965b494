//! Clients that mean harm: refused with as little as they deserve, and the next client is served.

use std::time::{Duration, Instant};

use dps_emulator::EmulatorConfig;
use reqwest::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use rustls::version;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{Authority, Leaf, World, individual};
use crate::mqtt_client::{Client, REGISTER, Stream, connect, dps_user, handshake, tls};

/// More than the time for a handshake or a CONNECT.
const LONG: Duration = Duration::from_secs(15);

fn leaf() -> Leaf {
    Authority::root("Stranger").leaf("dev-1", &[])
}

async fn device(world: &World) -> Client {
    let client = Client::to_dps(world, Some(&leaf()), "dev-1", None).await;
    client.expect("connects")
}

/// Whether the other side ends the connection, in whatever way, without a word.
async fn is_dropped(mut stream: impl tokio::io::AsyncRead + Unpin) -> bool {
    let mut octets = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut octets)).await;
    end.is_ok() && octets.is_empty()
}

async fn https(world: &World) -> Stream {
    let stream = TcpStream::connect(world.emulator.address()).await;
    handshake(world, stream.expect("connects"), None, &version::TLS13).await
}

async fn answered(stream: &mut Stream) -> String {
    let mut octets = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut octets)).await;
    // A server that has said its word need not say goodbye.
    let _ = read.expect("in time");
    String::from_utf8_lossy(&octets).into_owned()
}

#[tokio::test]
async fn broken_packets_end_the_connection() {
    let world = World::start().await;
    let cases: [(&str, &[u8]); 10] = [
        ("no packet type", &[0x00, 0]),
        ("reserved packet type", &[0xf0, 0]),
        ("reserved flags", &[0x62, 2, 0, 1, 0x81, 0]),
        ("endless length", &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (
            "topic beyond the packet",
            &[0x30, 4, 0xff, 0xff, b'a', b'b'],
        ),
        ("topic that is no UTF-8", &[0x30, 4, 0, 2, 0xff, 0xfe]),
        ("wildcard in a topic", &[0x30, 3, 0, 1, b'#']),
        ("QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1]),
        ("subscription to nothing", &[0x82, 2, 0, 1]),
        ("packet of a server", &[0x20, 2, 0, 0]),
    ];
    for (case, octets) in cases {
        let mut client = device(&world).await;
        let stream = client.packets.get_mut();
        stream.write_all(octets).await.expect("sent");
        assert!(client.is_closed().await, "{case}");
    }
    device(&world).await;
}

#[tokio::test]
async fn a_connection_begins_with_connect_of_3_1_1() {
    let world = World::start().await;
    let user = dps_user(world.emulator.id_scope().as_str(), "dev-1");
    let mut stream = tls(&world, Some(&leaf())).await;
    stream.write_all(&[0xc0, 0]).await.expect("sent");
    assert!(is_dropped(stream).await, "PINGREQ first");

    let mut twice = device(&world).await;
    let again = Packet::Connect(connect("dev-1", &user, None));
    twice.send(again).await;
    assert!(twice.is_closed().await, "CONNECT twice");

    let mut mqtt_5 = tls(&world, Some(&leaf())).await;
    let connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00";
    mqtt_5.write_all(connect).await.expect("sent");
    let mut answer = Vec::new();
    let _ = timeout(LONG, mqtt_5.read_to_end(&mut answer))
        .await
        .expect("in time");
    assert_eq!(answer, [0x20, 2, 0, 1], "unacceptable protocol version");
}

/// By its header alone: the body of 200 MB never comes.
#[tokio::test]
async fn a_giant_packet_is_refused_by_its_length() {
    let world = World::start().await;
    let mut client = device(&world).await;
    let header = [0x30, 0x80, 0x84, 0xaf, 0x5f];
    let stream = client.packets.get_mut();
    stream.write_all(&header).await.expect("sent");
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let world = World::start().await;
    let begun = Instant::now();
    let half_open = TcpStream::connect(world.emulator.mqtt_address())
        .await
        .expect("connects");
    let no_connect = tls(&world, None).await;
    let mut slow = tls(&world, None).await;
    slow.write_all(&[0x10]).await.expect("sent");
    let dropped = tokio::join!(
        is_dropped(half_open),
        is_dropped(no_connect),
        is_dropped(slow)
    );
    assert_eq!(dropped, (true, true, true));
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "but others get their time"
    );
}

/// One and a half times the keep-alive interval (MQTT 3.1.1 §3.1.2.10).
#[tokio::test]
async fn who_does_not_keep_alive_is_dropped() {
    let world = World::start().await;
    let user = dps_user(world.emulator.id_scope().as_str(), "dev-1");
    let mut request = connect("dev-1", &user, None);
    request.keep_alive = 1;
    let mut client = Client::over(tls(&world, Some(&leaf())).await);
    client.send(Packet::Connect(request)).await;
    assert!(matches!(client.next().await, Some(Packet::ConnAck(_))));
    let begun = Instant::now();
    assert!(client.is_closed().await);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// Answers are not piled up for a client that never reads them: the emulator stops reading instead.
#[tokio::test]
async fn a_client_that_does_not_read_holds_up_itself_alone() {
    let world = World::start().await;
    let mut deaf = device(&world).await;
    deaf.subscribe("$dps/registrations/res/#", QoS::AtLeastOnce)
        .await;
    let flood = async {
        for _ in 0..200_000 {
            let publish = Publish::new(REGISTER, QoS::AtMostOnce, "{");
            deaf.send(Packet::Publish(publish)).await;
        }
    };
    let flooded = timeout(Duration::from_secs(3), flood).await;
    assert!(flooded.is_err(), "nothing holds the client back");
    let mut other = device(&world).await;
    other.send(Packet::PingReq).await;
    assert_eq!(other.next().await, Some(Packet::PingResp));
}

#[tokio::test]
async fn giant_headers_and_bodies_are_refused() {
    let world = World::start().await;
    let mut headers = https(&world).await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(10 << 20)
    );
    // The server may be gone before all of it is written.
    let _ = headers.write_all(request.as_bytes()).await;
    let answer = answered(&mut headers).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );

    let mut body = https(&world).await;
    let head = "PUT /enrollments/dev-1?api-version=2021-10-01 HTTP/1.1\r\nHost: x\r\n\
        Connection: close\r\nContent-Length: 10485760\r\n\r\n";
    body.write_all(head.as_bytes()).await.expect("sent");
    let answer = answered(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("413001"), "{answer}");
}

/// RFC 9112 §3.2 for the host; of the others no one could tell which of two counts.
#[tokio::test]
async fn headers_that_decide_come_once() {
    let world = World::start().await;
    let once = "Host: localhost\r\nAuthorization: x\r\nIf-Match: *\r\n";
    let no_host = "Authorization: x\r\nIf-Match: *\r\n";
    for (headers, more, status) in [
        (once, "", "401"),
        (no_host, "", "400"),
        (once, "Host: localhost\r\n", "400"),
        (once, "Authorization: x\r\n", "400"),
        (once, "If-Match: *\r\n", "400"),
    ] {
        let mut stream = https(&world).await;
        let request = format!(
            "DELETE /enrollments/dev-1?api-version=2021-10-01 HTTP/1.1\r\n\
             {headers}{more}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let answer = answered(&mut stream).await;
        let begin = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&begin), "{headers}{more}: {answer}");
    }
}

/// A record that is accepted must not make the state unreadable: it is kept some levels deeper.
#[tokio::test]
async fn what_is_nested_too_deeply_is_refused_and_the_rest_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmulatorConfig {
        state: Some(folder.path().join("state.db")),
        ..EmulatorConfig::default()
    };
    let nested = |levels: usize| {
        let mut document = individual("dev-1", &leaf());
        document["initialTwin"] = (1..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        document
    };
    let path = "/enrollments/dev-1";
    let world = World::with(config.clone()).await;
    let refused = world.service(Method::PUT, path, nested(65)).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.body["errorCode"], 400_006);
    let accepted = world.service(Method::PUT, path, nested(64)).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    world.emulator.shutdown().await.expect("ends");

    let world = World::with(config).await;
    let kept = world.service(Method::GET, path, Value::Null).await;
    assert_eq!(kept.body["initialTwin"], nested(64)["initialTwin"]);
}

/// A forged chain: the names of the real authorities, the keys of somebody else.
#[tokio::test]
async fn a_forged_chain_is_answered_401() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    world.enroll_group("line-a", &root, &factory).await;
    let forged_root = Authority::root("Root");
    let forged = forged_root.intermediate("Factory");
    for (case, leaf) in [
        (
            "forged from the root",
            forged.leaf("dev-1", &[&forged, &forged_root]),
        ),
        (
            "real chain, forged leaf",
            forged.leaf("dev-1", &[&factory, &root]),
        ),
        ("self-signed", Authority::root("dev-1").leaf("dev-1", &[])),
    ] {
        let client = Client::to_dps(&world, Some(&leaf), "dev-1", None).await;
        let result = client.expect("connects").register().await;
        assert_eq!(result["status"], 401, "{case}");
        assert_eq!(result["body"]["errorCode"], 401_002, "{case}");
    }
}
