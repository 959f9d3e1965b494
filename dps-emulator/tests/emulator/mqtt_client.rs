//! A device over MQTT, with the packets of another library than the emulator's.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use rumqttc::mqttbytes::v4::{
    Codec, ConnAck, Connect, ConnectReturnCode, Login, Packet, Publish, SubAck, Subscribe,
    SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Protocol, QoS};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::Framed;

use crate::fixture::{Leaf, World};

/// Longer than any answer takes, shorter than a test may.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection as far as TLS.
pub(crate) type Stream = TlsStream<TcpStream>;

/// A connection that speaks MQTT.
pub(crate) struct Client {
    pub(crate) packets: Framed<Stream, Codec>,
}

/// A TLS session with the emulator's MQTT port.
pub(crate) async fn tls(world: &World, leaf: Option<&Leaf>) -> Stream {
    let stream = TcpStream::connect(world.emulator.mqtt_address()).await;
    handshake(world, stream.expect("connects"), leaf, &version::TLS13).await
}

/// A TLS session over a connection, in one version.
pub(crate) async fn handshake(
    world: &World,
    stream: TcpStream,
    leaf: Option<&Leaf>,
    version: &'static SupportedProtocolVersion,
) -> Stream {
    let config = client_config(world, leaf, version);
    let name = ServerName::try_from("global.azure-devices-provisioning.net").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.expect("a session")
}

/// How a device speaks TLS.
pub(crate) fn client_config(
    world: &World,
    leaf: Option<&Leaf>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(world.emulator.trust_anchor_pem().as_bytes());
    roots.add(anchor.expect("PEM")).expect("an anchor");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("PEM");
            let chain = CertificateDer::pem_slice_iter(leaf.chain_pem().as_bytes())
                .collect::<Result<_, _>>()
                .expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a key")
        }
    }
}

impl Client {
    /// Connects and tells what CONNACK said.
    pub(crate) async fn connect(
        world: &World,
        leaf: Option<&Leaf>,
        id: &str,
        user: &str,
        password: Option<&str>,
    ) -> Result<Self, ConnectReturnCode> {
        Self::begin(tls(world, leaf).await, id, user, password).await
    }

    /// Says CONNECT in a session and tells what CONNACK said.
    pub(crate) async fn begin(
        stream: Stream,
        id: &str,
        user: &str,
        password: Option<&str>,
    ) -> Result<Self, ConnectReturnCode> {
        let mut client = Self::over(stream);
        client
            .send(Packet::Connect(connect(id, user, password)))
            .await;
        match client.next().await {
            Some(Packet::ConnAck(ConnAck {
                session_present: false,
                code: ConnectReturnCode::Success,
            })) => Ok(client),
            Some(Packet::ConnAck(ConnAck { code, .. })) => {
                assert_eq!(client.next().await, None, "a refusal ends the connection");
                Err(code)
            }
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    /// A device at DPS, by certificate or token.
    pub(crate) async fn to_dps(
        world: &World,
        leaf: Option<&Leaf>,
        id: &str,
        token: Option<&str>,
    ) -> Result<Self, ConnectReturnCode> {
        let user = dps_user(world.emulator.id_scope().as_str(), id);
        Self::connect(world, leaf, id, &user, token).await
    }

    /// A device at its hub, by certificate or token.
    pub(crate) async fn to_hub(
        world: &World,
        hub: &str,
        leaf: Option<&Leaf>,
        id: &str,
        token: Option<&str>,
    ) -> Result<Self, ConnectReturnCode> {
        let user = format!("{hub}/{id}/?api-version=2021-04-12&DeviceClientType=test");
        Self::connect(world, leaf, id, &user, token).await
    }

    pub(crate) fn over(stream: Stream) -> Self {
        let codec = Codec {
            max_incoming_size: 1 << 20,
            max_outgoing_size: 1 << 24,
        };
        Self {
            packets: Framed::new(stream, codec),
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        self.packets.send(packet).await.expect("sent");
    }

    /// The next packet, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        let next = timeout(PATIENCE, self.packets.next()).await;
        next.expect("in time")?.ok()
    }

    /// Whether the other side ended the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.next().await.is_none()
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 7;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(SubAck {
                pkid: 7,
                return_codes,
            })) => return_codes[0],
            other => panic!("no SUBACK but {other:?}"),
        }
    }

    /// Publishes with QoS 1 and takes the acknowledgement, which comes before any answer.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = 9;
        self.send(Packet::Publish(publish)).await;
        match self.next().await {
            Some(Packet::PubAck(ack)) => assert_eq!(ack.pkid, 9),
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    /// The next packet, which is published to us.
    pub(crate) async fn told(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("nothing was published but {other:?}"),
        }
    }

    /// Publishes and gives the topic and the body of the answer.
    pub(crate) async fn ask(&mut self, topic: &str, payload: &str) -> (String, Value) {
        self.publish(topic, payload).await;
        let answer = self.told().await;
        assert_eq!(
            answer.qos,
            QoS::AtLeastOnce,
            "as the subscription was granted"
        );
        assert!(answer.payload.is_ascii());
        let body = match answer.payload.as_ref() {
            [] => Value::Null,
            octets => serde_json::from_slice(octets).expect("JSON"),
        };
        (answer.topic, body)
    }

    /// Registers as the SDKs do: subscribes, registers, and polls until it is over.
    pub(crate) async fn register(&mut self) -> Value {
        let granted = self
            .subscribe("$dps/registrations/res/#", QoS::AtLeastOnce)
            .await;
        assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
        let (topic, mut body) = self.ask(REGISTER, r#"{"payload": null}"#).await;
        let mut topic = topic;
        while topic == "$dps/registrations/res/202/?$rid=r-1&retry-after=3" {
            let operation = body["operationId"].as_str().expect("an operation");
            let poll = format!(
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=r-1&operationId={operation}"
            );
            (topic, body) = self.ask(&poll, " ").await;
        }
        let status = topic.trim_start_matches("$dps/registrations/res/");
        let status: u16 = status[..3].parse().expect("a status");
        json!({"status": status, "topic": topic, "body": body})
    }
}

pub(crate) const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=r-1";

pub(crate) fn dps_user(id_scope: &str, id: &str) -> String {
    format!("{id_scope}/registrations/{id}/api-version=2019-03-31&ClientVersion=test%2F1")
}

pub(crate) fn connect(id: &str, user: &str, password: Option<&str>) -> Connect {
    let mut connect = Connect::new(id);
    connect.protocol = Protocol::V4;
    connect.keep_alive = 60;
    // Python's SDK asks for a session that is kept; there is none.
    connect.clean_session = false;
    connect.login = Some(Login::new(user, password.unwrap_or_default()));
    connect
}
