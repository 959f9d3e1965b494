//! Homes and keys that others can read or write, and clocks that are ahead.
#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use crate::support::{PASSPHRASE, World};
use dps_client::transport::{
    HttpOptions, Request, Response, Transport, TransportError, TransportSetupError,
};
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::{AUTHORIZATION, DATE};
use pki_cli::host::{Network, Terminal};
use pki_core::testing::FixedClock;
use pki_core::time::{Span, Time};

fn furnished() -> World {
    World::after(&["init", "authority create"])
}

fn set_mode(world: &World, name: &str, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(world.path(name), permissions).expect(name);
}

/// The file of the factory's key.
fn key(world: &World) -> String {
    let folder = "authorities/factory";
    let files = std::fs::read_dir(world.path(folder)).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    let name = names.find(|name| name.ends_with(".key.pem"));
    format!("{folder}/{}", name.expect("a key"))
}

const ISSUE: &str = "issue sensor-1 --authority factory --out devices --dry-run";
const CRL: &str = "crl factory";

/// As ssh does with its keys.
#[test]
fn an_authority_key_that_others_can_read_is_not_used() {
    let world = furnished();
    let key = key(&world);
    for mode in [0o640, 0o604, 0o644, 0o440] {
        set_mode(&world, &key, mode);
        let refused = world.run(CRL);
        assert_eq!(refused.code, 4, "{mode:o}: {}", refused.stderr);
        refused.stderr_has("chmod go=");
        refused.stderr_has("--lax-permissions");
        world.done(&format!("{CRL} --lax-permissions"));
    }
    for mode in [0o600, 0o400] {
        set_mode(&world, &key, mode);
        world.done(CRL);
    }
}

#[test]
fn what_others_can_write_is_not_used() {
    for (name, sound) in [
        (".", 0o755),
        ("pki.toml", 0o644),
        ("inventory.db", 0o600),
        ("authorities", 0o755),
        ("authorities/factory", 0o700),
        ("the key", 0o600),
    ] {
        let mut world = furnished();
        let key = key(&world);
        let name = if name == "the key" { &key } else { name };
        set_mode(&world, name, sound);
        world.done(CRL);
        for bit in [0o020, 0o002] {
            set_mode(&world, name, sound | bit);
            let refused = world.run(CRL);
            assert_eq!(refused.code, 4, "{name}: {}", refused.stderr);
            assert!(
                refused.stderr.contains("others can write it"),
                "{name}: {}",
                refused.stderr
            );
        }
        world.set("DPS_PKI_LAX_PERMISSIONS", "1");
        world.done(CRL);
    }
}

/// Containers mount secrets so that all can read them.
#[test]
fn a_passphrase_and_an_inventory_that_others_can_read_are_warned_of_once() {
    let mut world = furnished();
    world.write("passphrase", format!("{PASSPHRASE}\n"));
    world.set("DPS_PKI_PASSPHRASE", "");
    set_mode(&world, "passphrase", 0o444);
    set_mode(&world, "inventory.db", 0o644);
    let line = format!("{ISSUE} --passphrase-file passphrase");
    let warned = world.done(&line).stderr;
    assert_eq!(warned.matches("others can read").count(), 2, "{warned}");
    set_mode(&world, "passphrase", 0o400);
    set_mode(&world, "inventory.db", 0o600);
    let silent = world.done(&line).stderr;
    assert!(!silent.contains("others can read"), "{silent}");
}

/// Only root can give files away, so only root can try it.
#[test]
fn what_belongs_to_somebody_else_is_not_used() {
    let mut world = furnished();
    if std::os::unix::fs::chown(world.path("pki.toml"), Some(12345), None).is_err() {
        return;
    }
    let refused = world.run(CRL);
    refused.ends_with(4).stderr_has("belongs to user 12345");
    // Under sudo root would leave files there that the user cannot use.
    world.set("SUDO_UID", "12345");
    let refused = world.run(CRL);
    refused.ends_with(4).stderr_has("sudo -u '#12345' dps-pki");
    world.done(&format!("{CRL} --lax-permissions"));
}

#[test]
fn root_begins_no_home_in_a_folder_of_somebody_else() {
    let world = World::new();
    std::fs::create_dir(world.path("theirs")).expect("folder");
    if std::os::unix::fs::chown(world.path("theirs"), Some(12345), None).is_err() {
        return;
    }
    let refused = world.run("init theirs");
    refused.ends_with(4);
    assert!(!world.path("theirs/pki.toml").exists());
    world.done("init ours");
}

fn at(world: &mut World, time: Time) {
    world.clock = Arc::new(FixedClock(time));
}

#[test]
fn a_generation_is_not_made_by_a_clock_that_is_ahead_unless_that_is_asked_for() {
    let mut world = furnished();
    let right = world.clock.now();
    at(&mut world, right + Span::from_days(400));
    let line = "authority create factory --next";
    let refused = world.run(line);
    refused.ends_with(4);
    assert!(
        refused.stderr.contains("is the clock right")
            && refused.stderr.contains("--clock-is-right"),
        "{}",
        refused.stderr
    );
    world.done(&format!("{line} --clock-is-right"));
    // Where it is met that the clock was not right, it is said, and what ends it.
    at(&mut world, right);
    let start = world.run("roll start factory --dry-run");
    assert_ne!(start.code, 0);
    // A day is no reason to ask.
    let mut other = furnished();
    at(&mut other, right + Span::from_days(1));
    other.done(line);
}

/// A network on which every service answers that it is this late, to whatever it is asked.
struct Tells(Time);

impl Network for Tells {
    fn transport(&self, _: &HttpOptions) -> Result<Arc<dyn Transport>, TransportSetupError> {
        Ok(Arc::new(Self(self.0)))
    }
}

impl Transport for Tells {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        assert!(!request.headers.contains_key(AUTHORIZATION));
        let response = Response {
            status: StatusCode::NOT_FOUND,
            headers: [(DATE, self.0.to_rfc1123().parse().expect("a header"))]
                .into_iter()
                .collect(),
            body: Vec::new(),
        };
        Box::pin(async { Ok(response) })
    }
}

const NEXT: &str = "authority create factory --next";

/// A home in which nothing has happened for a year; a DPS of it tells the time, as long as it is asked.
fn rested() -> (World, Time) {
    let mut world = furnished();
    world.write("emulator-ca.pem", "whatever");
    let late = world.clock.now() + Span::from_days(400);
    at(&mut world, late);
    (world, late)
}

#[test]
fn a_dps_that_tells_the_time_is_a_witness() {
    let (mut world, late) = rested();
    world.network = Arc::new(Tells(late - Span::from_days(400)));
    for line in [NEXT.to_owned(), format!("{NEXT} --dry-run")] {
        let ahead = world.run(&line);
        ahead.ends_with(4);
        assert!(
            ahead.stderr.contains("this machine's clock is ahead")
                && ahead.stderr.contains("DPS local says"),
            "{}",
            ahead.stderr
        );
    }
    world.network = Arc::new(Tells(late));
    world.done(&format!("{NEXT} --dry-run"));
    let made = world.done(NEXT);
    made.stderr_has("DPS local says as well");
}

#[test]
fn where_no_dps_tells_the_time_a_person_does() {
    let (mut world, _) = rested();
    let dry = world.run(&format!("{NEXT} --dry-run"));
    dry.ends_with(4);
    world.terminal = Terminal {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    // A yes that was given beforehand is one to something else.
    let beforehand = world.run(&format!("{NEXT} --yes"));
    beforehand.ends_with(4);
    world.answer = "n";
    let no = world.run(NEXT);
    no.ends_with(4);
    world.answer = "y";
    world.done(NEXT);
}
