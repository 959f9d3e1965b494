//! MQTT packets on a stream of octets (MQTT 3.1.1 §2), by `mqtt-proto`.
//!
//! What is ours is where a packet ends and how long it may be. The limit is checked when the length
//! is known, before anything is kept for the packet.

use std::io;

use bytes::BytesMut;
use mqtt_proto::Error;
use mqtt_proto::v3::{Header, Packet, PacketType};
use tokio_util::codec::{Decoder, Encoder};

/// Reads and writes packets.
#[derive(Debug)]
pub(super) struct PacketCodec {
    longest: usize,
}

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum PacketError {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error("the packet is malformed: {0}")]
    Malformed(Error),
    #[error("the packet is longer than {0} bytes")]
    TooLong(usize),
}

impl PacketCodec {
    /// A codec for packets of at most so many octets.
    pub(super) fn new(longest: usize) -> Self {
        Self { longest }
    }

    /// The length of the packet at the start of `octets`, as soon as it can be seen.
    fn length(&self, octets: &[u8]) -> Result<Option<(PacketType, usize)>, PacketError> {
        let header = match Header::decode(octets) {
            Ok(header) => header,
            Err(error) if error.is_eof() => return Ok(None),
            Err(error) => return Err(PacketError::Malformed(error)),
        };
        // Octets of the length, octets that it counts, and the one before both.
        let lengths = [header.total_len, header.remaining_len].map(usize::try_from);
        match lengths {
            [Ok(own), Ok(rest)] if rest <= self.longest => Ok(Some((header.typ, 1 + own + rest))),
            _ => Err(PacketError::TooLong(self.longest)),
        }
    }
}

impl Decoder for PacketCodec {
    type Item = Packet;
    type Error = PacketError;

    fn decode(&mut self, octets: &mut BytesMut) -> Result<Option<Packet>, PacketError> {
        while let Some((kind, length)) = self.length(octets)? {
            if octets.len() < length {
                return Ok(None);
            }
            match Packet::decode(&octets.split_to(length)) {
                Ok(Some(packet)) => return Ok(Some(packet)),
                // Microsoft's C# client acknowledges what came with QoS 0, under packet ID 0.
                Err(Error::ZeroPid) if kind == PacketType::Puback => {}
                Ok(None) => return Err(PacketError::Malformed(Error::InvalidRemainingLength)),
                Err(error) => return Err(PacketError::Malformed(error)),
            }
        }
        Ok(None)
    }
}

impl Encoder<Packet> for PacketCodec {
    type Error = PacketError;

    fn encode(&mut self, packet: Packet, octets: &mut BytesMut) -> Result<(), PacketError> {
        let encoded = packet.encode().map_err(PacketError::Malformed)?;
        octets.extend_from_slice(encoded.as_ref());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_proto::v3::Publish;
    use mqtt_proto::{QosPid, TopicName};
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use proptest::sample::Index;

    use super::*;

    /// CONNECT with user name and password, SUBSCRIBE, PUBLISH with QoS 1, DISCONNECT.
    const SESSION: &[u8] = b"\x10\x15\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01d\x00\x03h/d\x00\x01p\
        \x82\x08\x00\x01\x00\x03a/#\x01\x32\x08\x00\x02t/\x00\x09{}\xe0\x00";

    fn packets(octets: &[u8]) -> usize {
        let mut octets = BytesMut::from(octets);
        let mut codec = PacketCodec::new(256);
        std::iter::from_fn(|| codec.decode(&mut octets).ok().flatten()).count()
    }

    fn publish(payload: usize) -> Packet {
        let topic = TopicName::try_from("topic").expect("a topic");
        let payload = Bytes::from(vec![b'x'; payload]);
        Packet::Publish(Publish::new(QosPid::Level0, topic, payload))
    }

    fn encoded(packet: Packet) -> BytesMut {
        let mut octets = BytesMut::new();
        let mut codec = PacketCodec::new(0);
        codec.encode(packet, &mut octets).expect("encodes");
        octets
    }

    /// The length takes one to three octets here (§2.2.3).
    #[test]
    fn packets_of_any_length_are_told_apart() {
        for payload in [0, 100, 200, 20_000] {
            let mut octets = encoded(publish(payload));
            octets.extend_from_slice(&encoded(Packet::Pingreq));
            let mut codec = PacketCodec::new(30_000);
            let mut next = || codec.decode(&mut octets).expect("decodes");
            assert_eq!(next(), Some(publish(payload)));
            assert_eq!(next(), Some(Packet::Pingreq));
            assert_eq!(next(), None);
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_refused_by_its_header_alone() {
        let octets = encoded(publish(200));
        let mut head = BytesMut::from(&octets[..3]);
        let outcome = PacketCodec::new(100).decode(&mut head);
        assert!(matches!(outcome, Err(PacketError::TooLong(100))));
        let mut head = BytesMut::from(&octets[..3]);
        assert!(matches!(PacketCodec::new(300).decode(&mut head), Ok(None)));
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_passed_over() {
        let mut octets = BytesMut::from(&[0x40, 2, 0, 0, 0xc0, 0][..]);
        let packet = PacketCodec::new(10).decode(&mut octets).expect("decodes");
        assert_eq!(packet, Some(Packet::Pingreq));
    }

    #[test]
    fn a_topic_that_is_no_text_is_malformed() {
        let mut octets = BytesMut::from(&[0x30, 4, 0, 2, 0xff, 0xfe][..]);
        let outcome = PacketCodec::new(10).decode(&mut octets);
        assert!(matches!(outcome, Err(PacketError::Malformed(_))));
    }

    #[test]
    fn a_session_is_four_packets() {
        assert_eq!(packets(SESSION), 4);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in any::<Vec<u8>>()) {
            let mut octets = BytesMut::from(octets.as_slice());
            let mut codec = PacketCodec::new(256);
            while let Ok(Some(_)) = codec.decode(&mut octets) {}
        }

        /// Nothing that is changed in a session or cut off it makes more of it than there is.
        #[test]
        fn no_mutant_of_a_session_makes_it_panic(
            changes in vec(any::<(Index, u8)>(), 1..6),
            end in any::<Index>(),
        ) {
            let mut octets = SESSION.to_vec();
            for (place, octet) in changes {
                *place.get_mut(&mut octets) = octet;
            }
            octets.truncate(end.index(SESSION.len() + 1));
            assert!(packets(&octets) <= octets.len() / 2);
        }
    }
}
