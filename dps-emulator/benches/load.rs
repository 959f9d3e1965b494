//! What one emulator carries: registrations a second, devices connected at once, memory by enrollment.
//!
//! `cargo bench -p dps-emulator --bench load [-- DEVICES [rates]]`; 2,000 devices unless told otherwise,
//! and with `rates` nothing but these. Client and emulator are one process on loopback, so that rates are of
//! both together. Everything that a device needs is made beforehand, and its client does no more than it
//! must; each rate is held against that of bare TLS handshakes with the same certificates, keys and
//! connections, measured the same way in the same run.
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

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dps_emulator::EmulatorConfig;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use reqwest::Method;
use rustls::client::Resumption;
use rustls::{ClientConfig, version};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use fixture::{Authority, Leaf, World, individual};
use mqtt_client::{Client, Stream, client_config, dps_user};

/// Devices that are under way at a time.
const AT_ONCE: usize = 16;

/// Enrollments for which memory is told.
const ENROLLMENTS: usize = 100_000;

/// The most enrollments of one call.
const BULK: usize = 10;

const HUB: &str = "hub-1.azure-devices.net";

/// A device with everything made that it needs to connect.
struct Device {
    id: String,
    connector: TlsConnector,
}

/// An emulator's addresses, and devices that it lets in.
struct Site {
    https: SocketAddr,
    mqtt: SocketAddr,
    id_scope: String,
    devices: Vec<Device>,
}

impl Site {
    fn new(world: &World, leaves: &[(String, Leaf)]) -> Arc<Self> {
        let device = |(id, leaf): &(String, Leaf)| {
            let mut config: ClientConfig = client_config(world, Some(leaf), &version::TLS13);
            // Each connection is a whole handshake.
            config.resumption = Resumption::disabled();
            Device {
                id: id.clone(),
                connector: TlsConnector::from(Arc::new(config)),
            }
        };
        Arc::new(Self {
            https: world.emulator.address(),
            mqtt: world.emulator.mqtt_address(),
            id_scope: world.emulator.id_scope().to_string(),
            devices: leaves.iter().map(device).collect(),
        })
    }

    async fn connect(&self, device: &Device, address: SocketAddr) -> Stream {
        let stream = TcpStream::connect(address).await.expect("connects");
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("global.azure-devices-provisioning.net").expect("a name");
        let session = device.connector.connect(name, stream).await;
        session.expect("a session")
    }

    /// A new connection to the device plane that speaks HTTP.
    async fn http(&self, device: &Device) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(device, self.https).await);
        let (sender, connection) = http1::handshake(stream).await.expect("HTTP");
        tokio::spawn(connection);
        sender
    }

    /// A request and as many polls as it takes, which are two.
    async fn register(&self, device: &Device, sender: &mut SendRequest<Full<Bytes>>) {
        let below = format!("/{}/registrations/{}", self.id_scope, device.id);
        let body = json!({"registrationId": device.id}).to_string();
        let mut answer = ask(sender, "PUT", &format!("{below}/register"), body).await;
        let operation = answer["operationId"].as_str().expect("an operation");
        let path = format!("{below}/operations/{operation}");
        while answer["status"] == "assigning" {
            answer = ask(sender, "GET", &path, String::new()).await;
        }
        assert_eq!(answer["status"], "assigned", "{answer}");
    }

    async fn register_by_mqtt(&self, device: &Device) {
        let stream = self.connect(device, self.mqtt).await;
        let user = dps_user(&self.id_scope, &device.id);
        let client = Client::begin(stream, &device.id, &user, None).await;
        let ended = client.expect("let in").register().await;
        assert_eq!(ended["body"]["status"], "assigned", "{ended}");
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    body: String,
) -> Value {
    let request = hyper::Request::builder()
        .method(method)
        .uri(format!("{path}?api-version=2021-06-01"))
        .header("host", "global.azure-devices-provisioning.net")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)));
    let answer = sender.send_request(request.expect("a request")).await;
    let body = answer.expect("an answer").into_body().collect().await;
    serde_json::from_slice(&body.expect("a body").to_bytes()).expect("JSON")
}

#[tokio::main]
async fn main() {
    // cargo adds `--bench`.
    let count = std::env::args().find_map(|argument| argument.parse().ok());
    let count = count.unwrap_or(2_000);
    let only_rates = std::env::args().any(|argument| argument == "rates");

    let root = Authority::root("Load Root CA");
    let leaves: Vec<(String, Leaf)> = (0..count)
        .map(|number| format!("load-{number}"))
        .map(|id| (id.clone(), root.leaf(&id, &[])))
        .collect();
    println!("{count} devices, {AT_ONCE} at a time\n");
    println!("{:<56} {:>10} {:>14}", "", "a second", "of handshakes");

    let world = World::start().await;
    world.enroll_group("load", &root, &root).await;
    print_rates(&Site::new(&world, &leaves), "").await;

    let folder = tempfile::tempdir().expect("a folder");
    let kept = World::with(EmulatorConfig {
        state: Some(folder.path().join("state.db")),
        ..EmulatorConfig::default()
    });
    let kept = kept.await;
    kept.enroll_group("load", &root, &root).await;
    print_rates(&Site::new(&kept, &leaves), ", --state").await;
    drop(kept);

    if !only_rates {
        connect_all(&world, &leaves).await;
        drop(world);
        fill().await;
    }
}

/// Bare handshakes, then registrations in three ways, each as a share of the handshakes.
async fn print_rates(site: &Arc<Site>, kind: &str) {
    let handshakes = rate(site, |site, number| async move {
        drop(site.connect(&site.devices[number], site.https).await);
    });
    let handshakes = handshakes.await;
    let title = "TLS 1.3 handshakes with a client certificate";
    print_rate(title, kind, handshakes, None);

    let new = rate(site, |site, number| async move {
        let device = &site.devices[number];
        let mut sender = site.http(device).await;
        site.register(device, &mut sender).await;
    });
    let title = "registrations over HTTPS, a new connection each";
    print_rate(title, kind, new.await, Some(handshakes));

    let title = "registrations over HTTPS, connections kept";
    print_rate(title, kind, kept_rate(site).await, Some(handshakes));

    let mqtt = rate(site, |site, number| async move {
        site.register_by_mqtt(&site.devices[number]).await;
    });
    let title = "registrations over MQTT, a new connection each";
    print_rate(title, kind, mqtt.await, Some(handshakes));
}

/// Registrations a second of devices that are connected already.
async fn kept_rate(site: &Arc<Site>) -> f64 {
    let senders = Arc::new(Mutex::new(Vec::new()));
    let opened = Arc::clone(&senders);
    rate(site, move |site, number| {
        let opened = Arc::clone(&opened);
        async move {
            let sender = site.http(&site.devices[number]).await;
            let mut opened = opened.lock().expect("a lock");
            opened.push((number, sender));
        }
    })
    .await;
    rate(site, move |site, _| {
        let taken = senders.lock().expect("a lock").pop();
        async move {
            let (number, mut sender) = taken.expect("a connection");
            site.register(&site.devices[number], &mut sender).await;
        }
    })
    .await
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

/// How many of these end a second: so many workers at a time, on all cores, take one device after another.
async fn rate<W, F>(site: &Arc<Site>, work: W) -> f64
where
    W: Fn(Arc<Site>, usize) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let count = site.devices.len();
    let next = Arc::new(AtomicUsize::new(0));
    let work = Arc::new(work);
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let site = Arc::clone(site);
        let work = Arc::clone(&work);
        let next = Arc::clone(&next);
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                work(Arc::clone(&site), number).await;
            }
        });
    }
    workers.join_all().await;
    let each = start.elapsed() / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    Duration::from_secs(1).div_duration_f64(each)
}

fn print_rate(title: &str, kind: &str, rate: f64, handshakes: Option<f64>) {
    let share = handshakes.map_or_else(String::new, |handshakes| {
        format!("{:.2}", rate / handshakes)
    });
    let title = format!("{title}{kind}");
    println!("{title:<56} {rate:>10.0} {share:>14}");
}

/// Memory of this process that is not swapped out.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.expect("VmRSS").parse().expect("a number")
}
