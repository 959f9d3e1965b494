//! What one emulator carries: registrations a second, devices connected at once, memory by enrollment.
//!
//! `cargo bench -p dps-emulator --bench load [-- DEVICES [rates]]`; 2,000 devices unless told otherwise,
//! and with `rates` nothing but these. Client and emulator are one process on loopback, so that every
//! figure is of both together; the client is the cheapest there can be ([`wire`]). Each kind of
//! registration is held against bare TLS handshakes with the same certificates, keys and connections:
//! they take turns, a fifth of the devices each time, and medians are printed. Beside the rates stand
//! the processor times, which the load of others hardly moves.
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
#[path = "load/wire.rs"]
mod wire;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dps_emulator::EmulatorConfig;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use rcgen::SanType;
use reqwest::Method;
use rustls::client::Resumption;
use rustls::version;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use fixture::{Authority, Leaf, World, individual};
use mqtt_client::{Client, Stream, client_config};
use wire::Device;

/// Devices that are under way at a time.
const AT_ONCE: usize = 16;

/// How often handshakes and registrations take turns.
const ROUNDS: usize = 5;

/// Enrollments for which memory is told.
const ENROLLMENTS: usize = 100_000;

/// The most enrollments of one call.
const BULK: usize = 10;

const HUB: &str = "hub-1.azure-devices.net";

/// The lines of the table; the first is what the others are held against.
const KINDS: [&str; 7] = [
    "TLS 1.3 handshakes with a client certificate",
    "registrations over HTTPS, a new connection and chain each",
    "the same, with an alternative name of its own in each leaf",
    "registrations over HTTPS, a new connection each",
    "registrations over HTTPS, connections kept",
    "registrations over MQTT, a new connection and chain each",
    "registrations over MQTT, a new connection each",
];

/// How fast something went, and what it took.
#[derive(Debug, Clone, Copy)]
struct Figure {
    /// How many ended a second.
    rate: f64,
    /// Microseconds of processor time of each, client and server together.
    cost: f64,
}

/// Devices that an emulator lets in, none of which was there before.
struct Round {
    world: Arc<World>,
    https: Vec<Device>,
    /// Their leaves differ in more than a precedent leaves open, so that OpenSSL judges each.
    apart: Vec<Device>,
    mqtt: Vec<Device>,
}

impl Round {
    fn new(world: &Arc<World>, root: &Authority, name: &str, count: usize) -> Arc<Self> {
        let id_scope = world.emulator.id_scope().as_str();
        let devices = |kind: &str| {
            let device = |number: usize| {
                let id = format!("{kind}-{name}-{number}");
                let leaf = root.leaf_with(&id, &[], |leaf| {
                    if kind == "apart" {
                        let name = SanType::URI(id.as_str().try_into().expect("ASCII"));
                        leaf.subject_alt_names.push(name);
                    }
                });
                let mut config = client_config(world, Some(&leaf), &version::TLS13);
                // Each connection is a whole handshake.
                config.resumption = Resumption::disabled();
                Device::new(&id, id_scope, TlsConnector::from(Arc::new(config)))
            };
            (0..count).map(device).collect()
        };
        Arc::new(Self {
            world: Arc::clone(world),
            https: devices("https"),
            apart: devices("apart"),
            mqtt: devices("mqtt"),
        })
    }

    async fn connect(&self, device: &Device) -> Stream {
        device.connect(self.world.emulator.address()).await
    }

    async fn register_over_https(&self, device: &Device) {
        let mut stream = self.connect(device).await;
        device.register_over_https(&mut stream).await;
    }

    async fn register_over_mqtt(&self, number: usize) {
        let address = self.world.emulator.mqtt_address();
        let mut stream = self.mqtt[number].connect(address).await;
        self.mqtt[number].register_over_mqtt(&mut stream).await;
    }

    /// Everything of [`KINDS`], one after the other.
    async fn figures(self: &Arc<Self>) -> [Figure; KINDS.len()] {
        let handshakes = measure(self, |round, number| async move {
            drop(round.connect(&round.https[number]).await);
        });
        let handshakes = handshakes.await;
        let over_https = |round: Arc<Self>, number| async move {
            round.register_over_https(&round.https[number]).await;
        };
        let https_first = measure(self, over_https).await;
        let https_apart = measure(self, |round, number| async move {
            round.register_over_https(&round.apart[number]).await;
        });
        let https_apart = https_apart.await;
        let https_again = measure(self, over_https).await;
        let kept = self.kept().await;
        let over_mqtt = |round: Arc<Self>, number| async move {
            round.register_over_mqtt(number).await;
        };
        let mqtt_first = measure(self, over_mqtt).await;
        let mqtt_again = measure(self, over_mqtt).await;
        [
            handshakes,
            https_first,
            https_apart,
            https_again,
            kept,
            mqtt_first,
            mqtt_again,
        ]
    }

    /// Registrations of devices that are connected already.
    async fn kept(self: &Arc<Self>) -> Figure {
        let streams = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&streams);
        measure(self, move |round, number| {
            let opened = Arc::clone(&opened);
            async move {
                let stream = round.connect(&round.https[number]).await;
                opened.lock().expect("a lock").push((number, stream));
            }
        })
        .await;
        measure(self, move |round, _| {
            let taken = streams.lock().expect("a lock").pop();
            async move {
                let (number, mut stream) = taken.expect("a connection");
                round.https[number].register_over_https(&mut stream).await;
            }
        })
        .await
    }
}

#[tokio::main]
async fn main() {
    // cargo adds `--bench`.
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count: usize = count.unwrap_or(2_000);
    let only_rates = std::env::args().any(|argument| argument == "rates");

    let root = Authority::root("Load Root CA");
    println!("{count} devices, {AT_ONCE} at a time, medians of {ROUNDS} rounds\n");
    println!(
        "{:<66} {:>8} {:>7} {:>7} {:>7}",
        "", "a second", "share", "CPU µs", "share"
    );

    let world = Arc::new(World::start().await);
    world.enroll_group("load", &root, &root).await;
    print_rates(&world, &root, count, "").await;

    let folder = tempfile::tempdir().expect("a folder");
    let kept = World::with(EmulatorConfig {
        state: Some(folder.path().join("state.db")),
        ..EmulatorConfig::default()
    });
    let kept = Arc::new(kept.await);
    kept.enroll_group("load", &root, &root).await;
    print_rates(&kept, &root, count, ", --state").await;
    drop(kept);

    if !only_rates {
        let leaves: Vec<(String, Leaf)> = (0..count)
            .map(|number| format!("load-{number}"))
            .map(|id| (id.clone(), root.leaf(&id, &[])))
            .collect();
        let registering = stream::iter(&leaves).map(async |(id, leaf)| {
            let client = Client::to_dps(&world, Some(leaf), id, None).await;
            client.expect("let in").register().await
        });
        let registered = registering.buffered(AT_ONCE).count().await;
        assert_eq!(registered, count);
        connect_all(&world, &leaves).await;
        drop(world);
        fill().await;
    }
}

/// The table, each line with its share of the handshakes: of their rate, and of their processor time.
async fn print_rates(world: &Arc<World>, root: &Authority, count: usize, suffix: &str) {
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        let round = Round::new(world, root, &number.to_string(), count / ROUNDS);
        rounds.push(round.figures().await);
    }
    let median = |of: &dyn Fn(&[Figure; KINDS.len()]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for (kind, title) in KINDS.iter().enumerate() {
        let title = format!("{title}{suffix}");
        let rate = median(&|figures| figures[kind].rate);
        let rate_share = median(&|figures| figures[kind].rate / figures[0].rate);
        let cost = median(&|figures| figures[kind].cost);
        let cost_share = median(&|figures| figures[0].cost / figures[kind].cost);
        println!("{title:<66} {rate:>8.0} {rate_share:>7.2} {cost:>7.0} {cost_share:>7.2}");
    }
}

/// All devices connected to their hub at once, each with one message.
async fn connect_all(world: &World, leaves: &[(String, Leaf)]) {
    let before = resident_kib();
    let start = Instant::now();
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
    let before = resident_kib();
    let start = Instant::now();
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

/// Does this for every device: so many workers at a time, on all cores, take one after another.
async fn measure<W, F>(round: &Arc<Round>, work: W) -> Figure
where
    W: Fn(Arc<Round>, usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let count = round.https.len();
    let next = Arc::new(AtomicUsize::new(0));
    let work = Arc::new(work);
    let start = Instant::now();
    let processor = processor_microseconds();
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let round = Arc::clone(round);
        let work = Arc::clone(&work);
        let next = Arc::clone(&next);
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                work(Arc::clone(&round), number).await;
            }
        });
    }
    workers.join_all().await;
    let count = f64::from(u32::try_from(count).expect("not that many"));
    Figure {
        rate: count / start.elapsed().as_secs_f64(),
        cost: (processor_microseconds() - processor) / count,
    }
}

/// Processor time of all threads of this process so far.
fn processor_microseconds() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let times = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        let text = fs::read_to_string(path).expect("a thread's times");
        let nanoseconds = text.split_whitespace().next().expect("a time");
        nanoseconds.parse::<f64>().expect("a number") / 1e3
    });
    times.sum()
}

/// Memory of this process that is not swapped out.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.expect("VmRSS").parse().expect("a number")
}
