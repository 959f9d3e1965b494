//! One connection: from CONNECT to its end.
//!
//! Packets are read one by one and answered before the next is read, so a client that sends without
//! end or does not read holds one packet's memory and one time-out, not more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use mqtt_proto::v3::{Connack, Connect, ConnectReturnCode, Packet, Publish, Suback, Subscribe};
use mqtt_proto::{Error, Pid, Protocol, QoS, QosPid, TopicName};
use pki_core::certificate::Certificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::codec::{PacketCodec, PacketError};
use super::hub::HubLink;
use super::provisioning::{self, Registrant};
use super::user::User;
use crate::domain::Dps;
use crate::domain::connection::Event;

/// A hub takes messages of 256 KiB; the topic with its properties comes on top.
const PACKET_LONGEST: usize = (256 + 64) * 1024;
/// How long a client has for its CONNECT.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long one packet may take to be written.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// The longest keep-alive interval that a hub grants, in seconds; also for clients that want none.
const KEEP_ALIVE_MOST: u16 = 1767;

/// Serves one connection until either side ends it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    presented: Arc<[Certificate]>,
    dps: Arc<Dps>,
    end: CancellationToken,
) {
    let packets = Framed::new(stream, PacketCodec::new(PACKET_LONGEST));
    let opened = tokio::select! {
        opened = open(packets, presented, &dps) => opened,
        () = end.cancelled() => return,
    };
    let mut session = match opened {
        Ok(session) => session,
        Err(ending) => return tracing::debug!(%ending, "an MQTT connection was refused"),
    };
    let ending = session.run(&end).await;
    tracing::debug!(%ending, "an MQTT connection ended");
    if let (Role::Hub(link), false) = (&session.role, matches!(ending, Ending::Disconnected)) {
        link.publish_will();
    }
    // A client that is gone needs no farewell.
    let _ = timeout(WRITE_TIME, session.packets.close()).await;
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    #[error("the client disconnected")]
    Disconnected,
    #[error("the connection ended without DISCONNECT")]
    Gone,
    #[error("the client was silent for too long")]
    Silent,
    #[error("the client does not read")]
    Deaf,
    #[error("the client was refused: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("{0}")]
    NotAllowed(&'static str),
    #[error("the device was disabled, deleted, or connected elsewhere")]
    Dismissed,
    #[error("the connection is cut, as the behavior has it")]
    Cut,
    #[error("the emulator ends")]
    Shutdown,
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// What a device is to be told.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// What a connection is for.
enum Role {
    Registrant(Registrant),
    Hub(Box<HubLink>),
}

struct Session<S> {
    packets: Framed<S, PacketCodec>,
    role: Role,
    /// Topic filters with what was granted.
    subscriptions: Vec<(String, QoS)>,
    /// How long the client may be silent: one and a half times its keep-alive (§3.1.2.10).
    patience: Duration,
    next_id: Pid,
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut packets: Framed<S, PacketCodec>,
    presented: Arc<[Certificate]>,
    dps: &Arc<Dps>,
) -> Result<Session<S>, Ending> {
    let first = timeout(CONNECT_TIME, packets.next()).await;
    let connect = match first.map_err(|_| Ending::Silent)? {
        Some(Ok(Packet::Connect(connect))) => Ok(connect),
        Some(Ok(_)) => return Err(Ending::NotAllowed("the first packet is no CONNECT")),
        Some(Err(PacketError::Malformed(
            Error::UnexpectedProtocol(_) | Error::InvalidProtocol(..),
        ))) => Err(ConnectReturnCode::UnacceptableProtocolVersion),
        Some(Err(error)) => return Err(error.into()),
        None => return Err(Ending::Gone),
    };
    let judged = connect.and_then(|connect| {
        let role = Role::judge(&connect, presented, dps)?;
        Ok((role, connect.keep_alive))
    });
    let code = match &judged {
        Ok(_) => ConnectReturnCode::Accepted,
        Err(code) => *code,
    };
    send(&mut packets, Packet::Connack(Connack::new(false, code))).await?;
    let (role, keep_alive) = judged.map_err(Ending::Refused)?;
    let keep_alive = match keep_alive {
        0 => KEEP_ALIVE_MOST,
        seconds => seconds.min(KEEP_ALIVE_MOST),
    };
    Ok(Session {
        packets,
        role,
        subscriptions: Vec::new(),
        patience: Duration::from_secs(keep_alive.into()) * 3 / 2,
        next_id: Pid::default(),
    })
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    packets: &mut Framed<S, PacketCodec>,
    packet: Packet,
) -> Result<(), Ending> {
    let sent = timeout(WRITE_TIME, packets.send(packet)).await;
    Ok(sent.map_err(|_| Ending::Deaf)??)
}

/// What was granted for a topic. All filters end in `#`.
fn granted(subscriptions: &[(String, QoS)], topic: &str) -> Option<QoS> {
    subscriptions
        .iter()
        .find(|(filter, _)| topic.starts_with(filter.trim_end_matches('#')))
        .map(|(_, qos)| *qos)
}

impl Role {
    fn judge(
        connect: &Connect,
        presented: Arc<[Certificate]>,
        dps: &Arc<Dps>,
    ) -> Result<Self, ConnectReturnCode> {
        if connect.protocol != Protocol::V311 {
            return Err(ConnectReturnCode::UnacceptableProtocolVersion);
        }
        let refused = ConnectReturnCode::NotAuthorized;
        let name = connect.username.as_deref().ok_or(refused)?;
        let password = match connect.password.as_deref() {
            Some([]) => None,
            Some(octets) => Some(str::from_utf8(octets).map_err(|_| refused)?.to_owned()),
            None => None,
        };
        match User::parse(name).ok_or(refused)? {
            User::Registration {
                id_scope,
                id,
                api_version,
            } if connect.client_id.eq_ignore_ascii_case(id.as_str()) => {
                let registrant = Registrant {
                    id_scope,
                    id,
                    api_version,
                    authorization: password,
                    presented,
                    dps: Arc::clone(dps),
                };
                registrant.check().map_err(|_| refused)?;
                Ok(Self::Registrant(registrant))
            }
            User::Device { hub, id } if *connect.client_id == *id.as_str() => {
                let will = connect.last_will.as_ref();
                let password = password.as_deref();
                let link = HubLink::connect(dps, &hub, &id, password, &presented, will);
                Ok(Self::Hub(Box::new(link.map_err(|_| refused)?)))
            }
            _ => Err(refused),
        }
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            Self::Registrant(_) => filter == provisioning::ANSWERS,
            Self::Hub(link) => link.may_subscribe(filter),
        }
    }

    /// When a connection ends whatever its client does: a hub's token does not last.
    fn end(&self) -> Option<Instant> {
        match self {
            Self::Registrant(_) => None,
            Self::Hub(link) => link.expires,
        }
    }

    async fn event(&mut self) -> Option<Event> {
        match self {
            Self::Registrant(_) => std::future::pending().await,
            Self::Hub(link) => link.event().await,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn run(&mut self, end: &CancellationToken) -> Ending {
        let mut last_heard = Instant::now();
        loop {
            let silent_at = last_heard + self.patience;
            let deadline = self.role.end().map_or(silent_at, |end| end.min(silent_at));
            let turn = tokio::select! {
                packet = timeout_at(deadline, self.packets.next()) => match packet {
                    Ok(Some(Ok(packet))) => {
                        last_heard = Instant::now();
                        self.packet(packet).await
                    }
                    Ok(Some(Err(error))) => Err(error.into()),
                    Ok(None) => Err(Ending::Gone),
                    Err(_) => Err(Ending::Silent),
                },
                event = self.role.event() => self.event(event).await,
                () = end.cancelled() => Err(Ending::Shutdown),
            };
            if let Err(ending) = turn {
                return ending;
            }
        }
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), Ending> {
        match packet {
            Packet::Publish(publish) => self.published(publish).await,
            Packet::Subscribe(subscribe) => self.subscribed(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => {
                let gone = unsubscribe.topics;
                self.subscriptions
                    .retain(|(filter, _)| gone.iter().all(|topic| **topic != **filter));
                self.send(Packet::Unsuback(unsubscribe.pid)).await
            }
            Packet::Pingreq => self.send(Packet::Pingresp).await,
            Packet::Puback(_) => Ok(()),
            Packet::Disconnect => Err(Ending::Disconnected),
            _ => Err(Ending::NotAllowed("a client does not send this packet")),
        }
    }

    async fn published(&mut self, publish: Publish) -> Result<(), Ending> {
        let acknowledgement = match publish.qos_pid {
            QosPid::Level0 => None,
            QosPid::Level1(id) => Some(Packet::Puback(id)),
            QosPid::Level2(_) => return Err(Ending::NotAllowed("QoS 2 is not supported")),
        };
        if let Some(packet) = acknowledgement {
            // It leaves together with the answer, in one write, unless there is none.
            self.packets.feed(packet).await?;
        }
        let answer = match &mut self.role {
            Role::Registrant(registrant) => registrant
                .published(&publish.topic_name, publish.payload)
                .await
                .map(Some),
            Role::Hub(link) => {
                let topic = &publish.topic_name;
                link.published(topic, &publish.payload).await
            }
        };
        if let Some(message) = answer? {
            self.tell(message).await?;
        }
        let flushed = timeout(WRITE_TIME, self.packets.flush()).await;
        Ok(flushed.map_err(|_| Ending::Deaf)??)
    }

    async fn subscribed(&mut self, subscribe: Subscribe) -> Result<(), Ending> {
        let mut granted = Vec::with_capacity(subscribe.topics.len());
        for (filter, wanted) in &subscribe.topics {
            if !self.role.may_subscribe(filter) {
                return Err(Ending::NotAllowed("there is no such subscription"));
            }
            let qos = (*wanted).min(QoS::Level1);
            self.subscriptions.retain(|(known, _)| **known != **filter);
            self.subscriptions.push((filter.to_string(), qos));
            granted.push(qos.into());
        }
        self.send(Packet::Suback(Suback::new(subscribe.pid, granted)))
            .await
    }

    async fn event(&mut self, event: Option<Event>) -> Result<(), Ending> {
        let Role::Hub(link) = &mut self.role else {
            return Ok(());
        };
        let Some(message) = link.told(event).await? else {
            return Ok(());
        };
        if granted(&self.subscriptions, &message.topic).is_none() {
            link.unheard(&message);
            return Ok(());
        }
        self.tell(message).await
    }

    /// Publishes to the client, if it subscribed.
    async fn tell(&mut self, message: Message) -> Result<(), Ending> {
        let Some(qos) = granted(&self.subscriptions, &message.topic) else {
            return Ok(());
        };
        let qos = match qos {
            QoS::Level0 => QosPid::Level0,
            QoS::Level1 | QoS::Level2 => {
                self.next_id += 1;
                QosPid::Level1(self.next_id)
            }
        };
        let topic = TopicName::try_from(message.topic.as_str()).map_err(PacketError::Malformed)?;
        let publish = Publish::new(qos, topic, message.payload);
        self.send(Packet::Publish(publish)).await
    }

    async fn send(&mut self, packet: Packet) -> Result<(), Ending> {
        send(&mut self.packets, packet).await
    }
}
