//! What one emulator carries: registrations a second, devices connected at once, memory by enrollment.
//!
//! `cargo bench -p dps-emulator --bench load [-- DEVICES]`; 1,000 devices unless told otherwise. Client and
//! emulator are one process on loopback, so that rates are of both together; the last column holds
//! each against a bare TLS handshake with a client certificate, measured the same way.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on stops, and prints what it saw"
)]

#[path = "../tests/emulator/fixture.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod fixture;
#[path = "../tests/emulator/mqtt_client.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod mqtt_client;

use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{Stream, StreamExt as _, stream};
use reqwest::Method;
use rustls::version;
use serde_json::json;
use tokio::net::TcpStream;

use fixture::{Authority, Device, Leaf, World, individual};
use mqtt_client::{Client, handshake};

/// Devices that are under way at a time.
const AT_ONCE: usize = 16;

/// Enrollments for which memory is told.
const ENROLLMENTS: usize = 100_000;

/// The most enrollments of one call.
const BULK: usize = 10;

const HUB: &str = "hub-1.azure-devices.net";

#[tokio::main]
async fn main() {
    // cargo adds `--bench`.
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count = count.unwrap_or(1_000);

    let world = World::start().await;
    let root = Authority::root("Load Root CA");
    world.enroll_group("load", &root, &root).await;
    let leaves: Vec<(String, Leaf)> = (0..count)
        .map(|number| format!("load-{number}"))
        .map(|id| (id.clone(), root.leaf(&id, &[])))
        .collect();

    println!("{count} devices, {AT_ONCE} at a time\n");
    println!(
        "{:<52} {:>10} {:>22}",
        "", "a second", "of it TLS handshake"
    );
    let handshakes = rate(stream::iter(&leaves).map(|(_, leaf)| shake_hands(&world, leaf)));
    let handshakes = handshakes.await;
    print_rate(
        "TLS 1.3 handshakes with a client certificate",
        handshakes,
        None,
    );

    let devices: Vec<Device<'_>> = leaves
        .iter()
        .map(|(id, leaf)| world.device(id, leaf))
        .collect();
    let new = rate(stream::iter(&devices).map(register)).await;
    print_rate(
        "registrations over HTTPS, a new connection each",
        new,
        Some(handshakes),
    );
    let kept = rate(stream::iter(&devices).map(register)).await;
    print_rate("registrations over HTTPS, connections kept", kept, None);
    drop(devices);
    let mqtt = rate(stream::iter(&leaves).map(|(id, leaf)| register_by_mqtt(&world, id, leaf)));
    let mqtt = mqtt.await;
    print_rate(
        "registrations over MQTT, a new connection each",
        mqtt,
        Some(handshakes),
    );

    connect_all(&world, &leaves).await;
    drop(world);
    fill().await;
}

async fn shake_hands(world: &World, leaf: &Leaf) {
    let stream = TcpStream::connect(world.emulator.address()).await;
    handshake(
        world,
        stream.expect("connects"),
        Some(leaf),
        &version::TLS13,
    )
    .await;
}

/// A request and as many polls as it takes, which are two.
async fn register(device: &Device<'_>) {
    let ended = device.register().await;
    assert_eq!(ended["status"], "assigned", "{ended}");
}

async fn register_by_mqtt(world: &World, id: &str, leaf: &Leaf) {
    let client = Client::to_dps(world, Some(leaf), id, None).await;
    let ended = client.expect("let in").register().await;
    assert_eq!(ended["body"]["status"], "assigned", "{ended}");
}

/// All devices connected to their hub at once, each with one message.
async fn connect_all(world: &World, leaves: &[(String, Leaf)]) {
    let (before, start) = (resident_kib(), Instant::now());
    let connecting = stream::iter(leaves).map(async |(id, leaf)| {
        let client = Client::to_hub(world, HUB, Some(leaf), id, None).await;
        client.expect("let in")
    });
    let mut clients: Vec<Client> = connecting.buffered(AT_ONCE).collect().await;
    let connected = start.elapsed();
    let start = Instant::now();
    join_all(
        clients
            .iter_mut()
            .zip(leaves)
            .map(async |(client, (id, _))| {
                let topic = format!("devices/{id}/messages/events/");
                client.publish(&topic, r#"{"temperature": 21.5}"#).await;
            }),
    )
    .await;
    println!(
        "\n{} devices connected to a hub at once, after {:.1} s; a message from each took {:.2} s",
        clients.len(),
        connected.as_secs_f64(),
        start.elapsed().as_secs_f64(),
    );
    let taken = resident_kib().saturating_sub(before);
    println!(
        "{} KiB a connection, both ends",
        taken / u64::try_from(clients.len().max(1)).unwrap_or(1)
    );
}

/// Individual enrollments by certificate, made through the service plane.
async fn fill() {
    let world = World::start().await;
    let root = Authority::root("Memory Root CA");
    let (before, start) = (resident_kib(), Instant::now());
    for first in (0..ENROLLMENTS).step_by(BULK) {
        let enrollments: Vec<_> = (first..first + BULK)
            .map(|number| format!("memory-{number}"))
            .map(|id| individual(&id, &root.leaf(&id, &[])))
            .collect();
        let body = json!({"mode": "create", "enrollments": enrollments});
        let reply = world.service(Method::POST, "/enrollments", body).await;
        assert_eq!(reply.body["isSuccessful"], true, "{reply:?}");
    }
    let octets = resident_kib().saturating_sub(before) * 1024;
    println!(
        "\n{ENROLLMENTS} enrollments made in {:.0} s: {} octets each",
        start.elapsed().as_secs_f64(),
        octets / u64::try_from(ENROLLMENTS).unwrap_or(1)
    );
}

/// How many of these end a second.
async fn rate<F: Future<Output = ()>>(work: impl Stream<Item = F>) -> f64 {
    let start = Instant::now();
    let done = work.buffer_unordered(AT_ONCE).count().await;
    let each = start.elapsed() / u32::try_from(done.max(1)).unwrap_or(u32::MAX);
    Duration::from_secs(1).div_duration_f64(each)
}

fn print_rate(title: &str, rate: f64, handshakes: Option<f64>) {
    let share = handshakes.map_or_else(String::new, |handshakes| {
        format!("{:.0} %", 100.0 * rate / handshakes)
    });
    println!("{title:<52} {rate:>10.0} {share:>22}");
}

/// Memory of this process that is not swapped out.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.expect("VmRSS").parse().expect("a number")
}
