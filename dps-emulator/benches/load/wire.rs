//! The cheapest device there can be: its requests are written down before the clock starts, and of the
//! answers it reads no more than it needs to go on.
//!
//! Client and server share the cores in this benchmark, so that whatever a client does beyond this would
//! be counted as if the server had done it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::mqtt_client::Stream;

/// What every device calls the server.
const HOST: &str = "global.azure-devices-provisioning.net";

/// Longer than any answer to a device that registers.
const ANSWER_LONGEST: usize = 8 * 1024;

/// QoS 1 and nothing else, with the packet ID that all of ours have.
const PUBLISH: u8 = 0x32;
const PACKET_ID: [u8; 2] = [0, 9];

/// A device with everything made that it needs to register.
pub(crate) struct Device {
    connector: TlsConnector,
    name: ServerName<'static>,
    https: Https,
    mqtt: Mqtt,
}

/// The requests over HTTPS. A poll is its beginning, the operation, and its end.
struct Https {
    register: Vec<u8>,
    poll: [String; 2],
}

/// The packets over MQTT. A poll is a topic that ends in the operation.
struct Mqtt {
    connect: Vec<u8>,
    subscribe: Vec<u8>,
    register: Vec<u8>,
    poll: String,
}

impl Device {
    pub(crate) fn new(id: &str, id_scope: &str, connector: TlsConnector) -> Self {
        let user = crate::mqtt_client::dps_user(id_scope, id);
        Self {
            connector,
            name: ServerName::try_from(HOST).expect("a name"),
            https: Https::new(id, id_scope),
            mqtt: Mqtt::new(id, &user),
        }
    }

    /// A new connection, as far as TLS.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Stream {
        let stream = TcpStream::connect(address).await.expect("connects");
        stream.set_nodelay(true).expect("a socket");
        let session = self.connector.connect(self.name.clone(), stream).await;
        session.expect("a session")
    }

    /// A request and as many polls as it takes, which are two.
    pub(crate) async fn register_over_https(&self, stream: &mut Stream) {
        let mut answers = Answers::default();
        stream.write_all(&self.https.register).await.expect("sent");
        let length = answers.response(stream).await;
        let [begin, end] = &self.https.poll;
        let operation = operation_in(&answers.octets[..length]);
        let poll = format!("{begin}{operation}{end}");
        answers.pass(length);
        loop {
            stream.write_all(poll.as_bytes()).await.expect("sent");
            let length = answers.response(stream).await;
            let answer = &answers.octets[..length];
            let assigned = holds(answer, b"\"status\":\"assigned\"");
            assert!(assigned || holds(answer, b"\"status\":\"assigning\""));
            answers.pass(length);
            if assigned {
                return;
            }
        }
    }

    /// As the SDKs do: CONNECT, SUBSCRIBE, then a message to register and as many polls as it takes.
    pub(crate) async fn register_over_mqtt(&self, stream: &mut Stream) {
        let mut answers = Answers::default();
        stream.write_all(&self.mqtt.connect).await.expect("sent");
        answers.packet(stream, 0x20).await;
        stream.write_all(&self.mqtt.subscribe).await.expect("sent");
        answers.packet(stream, 0x90).await;
        stream.write_all(&self.mqtt.register).await.expect("sent");
        let answer = answers.message(stream).await;
        let poll = format!("{}{}", self.mqtt.poll, operation_in(&answer));
        let poll = publish(&poll, b" ");
        loop {
            stream.write_all(&poll).await.expect("sent");
            let answer = answers.message(stream).await;
            if holds(&answer, b"\"status\":\"assigned\"") {
                return;
            }
            assert!(holds(&answer, b"\"status\":\"assigning\""));
        }
    }
}

impl Https {
    fn new(id: &str, id_scope: &str) -> Self {
        let below = format!("/{id_scope}/registrations/{id}");
        let version = "?api-version=2021-06-01 HTTP/1.1\r\n";
        let body = format!(r#"{{"registrationId":"{id}"}}"#);
        let register = format!(
            "PUT {below}/register{version}host: {HOST}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            register: register.into_bytes(),
            poll: [
                format!("GET {below}/operations/"),
                format!("{version}host: {HOST}\r\n\r\n"),
            ],
        }
    }
}

impl Mqtt {
    fn new(id: &str, user: &str) -> Self {
        // User name and no password, a keep-alive of 60 seconds (MQTT 3.1.1 §3.1.2).
        let mut connect = b"\0\x04MQTT\x04\x80\0\x3c".to_vec();
        put_text(&mut connect, id);
        put_text(&mut connect, user);
        let mut subscribe = b"\0\x07".to_vec();
        put_text(&mut subscribe, "$dps/registrations/res/#");
        subscribe.push(1);
        Self {
            connect: packet(0x10, &connect),
            subscribe: packet(0x82, &subscribe),
            register: publish(crate::mqtt_client::REGISTER, br#"{"payload":null}"#),
            poll: "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=r-1&operationId="
                .to_owned(),
        }
    }
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    put_text(&mut body, topic);
    body.extend(PACKET_ID);
    body.extend(payload);
    packet(PUBLISH, &body)
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("short");
    body.extend(length.to_be_bytes());
    body.extend(text.as_bytes());
}

/// A packet of at most 16,383 octets behind its length (MQTT 3.1.1 §2.2.3).
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let [low, high] = [length % 128, length / 128].map(|part| u8::try_from(part).expect("short"));
    let mut packet = vec![kind];
    if high == 0 {
        packet.push(low);
    } else {
        packet.extend([low | 0x80, high]);
    }
    packet.extend(body);
    packet
}

/// What came and was not yet looked at.
#[derive(Default)]
struct Answers {
    octets: Vec<u8>,
}

impl Answers {
    /// The length of the response that these octets begin with, once it is whole.
    async fn response(&mut self, stream: &mut Stream) -> usize {
        loop {
            if let Some(head) = place(&self.octets, b"\r\n\r\n") {
                let length = head + 4 + content_length(&self.octets[..head]);
                if self.octets.len() >= length {
                    return length;
                }
            }
            self.more(stream).await;
        }
    }

    /// The next packet, which is of this kind.
    async fn packet(&mut self, stream: &mut Stream, kind: u8) -> Vec<u8> {
        loop {
            if let Some(length) = packet_length(&self.octets)
                && self.octets.len() >= length
            {
                assert_eq!(self.octets[0] & 0xf0, kind, "another packet");
                return self.octets.drain(..length).collect();
            }
            self.more(stream).await;
        }
    }

    /// The next message, which comes behind the acknowledgement of ours.
    async fn message(&mut self, stream: &mut Stream) -> Vec<u8> {
        self.packet(stream, 0x40).await;
        self.packet(stream, 0x30).await
    }

    fn pass(&mut self, length: usize) {
        self.octets.drain(..length);
    }

    async fn more(&mut self, stream: &mut Stream) {
        self.octets.reserve(ANSWER_LONGEST);
        let read = stream.read_buf(&mut self.octets).await.expect("an answer");
        assert!(read > 0, "the connection ended");
    }
}

fn packet_length(octets: &[u8]) -> Option<usize> {
    let low = usize::from(*octets.get(1)?);
    if low < 128 {
        return Some(2 + low);
    }
    let high = usize::from(*octets.get(2)?);
    Some(3 + low - 128 + high * 128)
}

fn content_length(head: &[u8]) -> usize {
    let name = b"content-length: ";
    let value = place(head, name).expect("a length") + name.len();
    let digits = head[value..]
        .iter()
        .take_while(|octet| octet.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

fn operation_in(answer: &[u8]) -> &str {
    let name = br#""operationId":""#;
    let value = place(answer, name).expect("an operation") + name.len();
    let rest = &answer[value..];
    let end = place(rest, b"\"").expect("its end");
    str::from_utf8(&rest[..end]).expect("ASCII")
}

fn holds(answer: &[u8], words: &[u8]) -> bool {
    place(answer, words).is_some()
}

fn place(octets: &[u8], words: &[u8]) -> Option<usize> {
    let mut windows = octets.windows(words.len());
    windows.position(|window| window == words)
}
