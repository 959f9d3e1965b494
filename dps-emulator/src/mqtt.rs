//! Devices over MQTT 3.1.1: at DPS and at their hubs, over TLS (port 8883) and WebSocket.
//!
//! The user name says what a connection is for ([`user`]): [`provisioning`] turns topics into the
//! requests of the device plane, [`hub`] is a device at its hub. [`session`] is what both have in
//! common, [`codec`] the packets themselves.
//!
//! As the service does: sessions are never kept, QoS 2 is granted as 1 and ends the connection if it
//! is published with, a PUBLISH is acknowledged before it is answered, and an answer has the QoS that
//! its subscription was granted.

mod codec;
mod hub;
mod provisioning;
mod session;
mod user;

pub(crate) use session::serve;
