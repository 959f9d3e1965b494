//! Rolls for real: authorities and leaves, by expiry and after a breach, with devices that register at
//! every stage. Each is done under every answer that the service may have to a single certificate.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use dps_pki_tests::{Device, Emulator, Home, SingleCertificate};
use serde_json::{Value, json};

/// Each roll under every answer that the service may have to a single certificate.
macro_rules! under_each_service {
    ($($name:ident,)*) => {
        under_each_service!(in shown, Shown, $($name,)*);
        under_each_service!(in stored, Stored, $($name,)*);
        under_each_service!(in once, Once, $($name,)*);
    };
    (in $module:ident, $service:ident, $($name:ident,)*) => {
        mod $module {
            use dps_pki_tests::SingleCertificate;

            $(#[test]
            fn $name() {
                super::$name(SingleCertificate::$service);
            })*
        }
    };
}

under_each_service! {
    an_intermediate_expires,
    a_root_expires_and_nobody_needs_a_new_leaf,
    an_intermediate_is_compromised,
    a_root_is_compromised,
    a_roll_is_aborted,
    the_leaf_of_an_individual_enrollment_is_rolled,
    a_device_is_readmitted_with_its_new_leaf_only,
    devices_and_groups_leave_for_good,
    everything_below_an_intermediate_is_shut_out,
    a_certificate_of_a_foreign_ca_is_refused,
}

/// Two devices of the factory that have registered.
fn fleet(service: SingleCertificate) -> (Home, Emulator) {
    let (home, emulator) = Home::with_dps_that(service);
    home.dps_pki("issue a b --authority factory --out devices")
        .ok();
    for id in ["a", "b"] {
        assert_eq!(Device::new(&home, &emulator, id).register(), "assigned");
    }
    (home, emulator)
}

/// Registers until the roll of `name` has seen it: within one second nobody can tell whether that was
/// before the new leaf or after.
fn settle(home: &Home, device: &Device<'_>, name: &str, left: u64) {
    for _ in 0..100 {
        assert_eq!(device.register(), "assigned");
        let status = home.json(&format!("roll status {name}"));
        let text = status[0]["waits"].to_string();
        if status[0]["leftBehind"]["count"] == left && !text.contains("with its new leaf") {
            return;
        }
    }
    panic!("it does not come");
}

/// Said again, a command says that it is done, and nothing is planned for it.
fn nothing_to_do(home: &Home, line: &str) {
    let plans = home.json("journal list");
    let again = home.dps_pki(line).ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    assert_eq!(home.json("journal list"), plans);
}

fn states(home: &Home, authority: &str) -> Vec<(u64, String)> {
    let shown = home.json(&format!("authority show {authority}"));
    let rows = shown.as_array().expect("rows").iter();
    rows.map(|row| {
        let number = row["generation"].as_u64().expect("a number");
        (number, row["status"].as_str().expect("a word").to_owned())
    })
    .collect()
}

/// The CA certificates that DPS holds, by name.
fn names_of_cas(home: &Home) -> Vec<String> {
    let held = home.json("dps ca list");
    let name = |ca: &Value| ca["name"].as_str().expect("a name").to_owned();
    held.as_array().expect("a list").iter().map(name).collect()
}

/// Intermediate held by groups, expiry: secondary slot, devices move, the old one goes; nobody is
/// refused on the way.
fn an_intermediate_expires(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let [a, b] = ["a", "b"].map(|id| Device::new(&home, &emulator, id));
    home.dps_pki("roll status --detailed-exitcode").ok();
    home.dps_pki("roll finish factory --yes").ends_with(4);
    home.dps_pki("roll start factory --dry-run").ends_with(4);
    home.dps_pki("authority create factory --next").ok();
    let planned = home.dps_pki("roll start factory --dry-run").ok();
    planned.stdout_has("change enrollment group factory, enabled");
    home.dps_pki("roll start factory").ends_with(4);
    let started = home.dps_pki("roll start factory --yes").ok();
    started.stdout_has("devices of factory generation 2 are admitted by enrollment group factory");
    let again = home.dps_pki("roll start factory --yes").ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    home.dps_pki("plan --detailed-exitcode").ok();
    assert_eq!(a.register(), "assigned");

    let waiting = home
        .dps_pki("roll status factory --detailed-exitcode")
        .ends_with(10);
    waiting.stdout_has("2 devices (a, b)");
    home.renew("a");
    settle(&home, &a, "factory", 1);
    let refused = home.dps_pki("roll finish factory --yes").ends_with(4);
    refused.stderr_has("1 device (b)");
    let refused = home.dps_pki("roll abort factory --yes").ends_with(4);
    refused.stderr_has("1 device (a)");
    home.renew("b");
    home.dps_pki("roll finish factory --yes").ends_with(4);
    settle(&home, &b, "factory", 0);
    home.dps_pki("roll finish factory --yes").ok();
    nothing_to_do(&home, "roll finish factory --yes");
    assert_eq!(
        (a.register(), b.register()),
        ("assigned".into(), "assigned".into())
    );
    let old = a.with_files("a-old");
    assert_eq!(old.ask_to_register().code, 401);
    assert_eq!(
        states(&home, "factory"),
        [(1, "retired".to_owned()), (2, "current".to_owned())]
    );
    let group = home.json("dps group show factory");
    let slots = &group["attestation"]["x509"]["signingCertificates"];
    let issued_by = home.json("authority show factory")[1]["sha256Thumbprint"].clone();
    assert_eq!(slots["primary"]["info"]["sha256Thumbprint"], issued_by);
    // Free, unless the service shows the one certificate there as well.
    let other = &slots["secondary"]["info"]["sha256Thumbprint"];
    match service {
        SingleCertificate::Once => assert!(other.is_null(), "{group}"),
        SingleCertificate::Shown | SingleCertificate::Stored => {
            assert_eq!(*other, issued_by, "{group}");
        }
    }
    home.dps_pki("roll status --detailed-exitcode").ok();
    home.dps_pki("plan --detailed-exitcode").ok();
    home.dps_pki("audit verify").ok();
    assert_eq!(home.json("journal list --open"), json!([]));
}

/// Root that is verified while groups hold what is below it, expiry: the new one is proven under a
/// name of its own; before the old one goes, what is below is verified itself.
fn a_root_expires_and_nobody_needs_a_new_leaf(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let [a, b] = ["a", "b"].map(|id| Device::new(&home, &emulator, id));
    home.dps_pki("roll start root --yes").ok();
    assert_eq!(names_of_cas(&home), ["root", "root-2"]);
    assert_eq!(a.register(), "assigned");
    let refused = home.dps_pki("roll finish root --yes").ends_with(4);
    refused.stderr_has("--with-intermediates");
    home.dps_pki("roll finish root --with-intermediates --yes")
        .ok();
    assert_eq!(
        (a.register(), b.register()),
        ("assigned".into(), "assigned".into())
    );
    assert_eq!(names_of_cas(&home), ["factory", "root-2"]);
    home.dps_pki("plan --detailed-exitcode").ok();
}

/// Intermediate held by groups, breach: replaced at once, its devices off their hubs.
fn an_intermediate_is_compromised(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let [a, b] = ["a", "b"].map(|id| Device::new(&home, &emulator, id));
    let hit = home.json("impact authority factory");
    assert_eq!(hit["impact"]["loses"], 2, "{hit}");
    assert_eq!(hit["impact"]["movements"][0]["named"], json!(["a", "b"]));
    home.dps_pki("roll start factory --compromised --yes").ok();
    for id in ["a", "b"] {
        let on_hub = home.json(&format!(
            "hub device show {id} --hub hub-1.azure-devices.net"
        ));
        assert_eq!(on_hub["status"], "disabled", "{on_hub}");
        home.dps_pki(&format!("dps registration show {id}"))
            .ends_with(8);
    }
    assert_eq!(a.register(), "disabled", "by the group that shuts out");
    home.renew("b");
    assert_eq!(b.register(), "assigned");
    assert_eq!(
        states(&home, "factory"),
        [(1, "compromised".to_owned()), (2, "current".to_owned())]
    );
    // Once b has registered in another second than the one in which it got its leaf, it is left alone.
    let is_left_alone = || {
        assert_eq!(b.register(), "assigned");
        let again = home.dps_pki("roll start factory --compromised --yes").ok();
        again.stdout.starts_with("nothing to do")
    };
    assert!((0..100).any(|_| is_left_alone()), "it is taken off again");
    assert_eq!(b.register(), "assigned");
}

/// Root, breach: it goes from DPS in the first step.
fn a_root_is_compromised(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let a = Device::new(&home, &emulator, "a");
    let shown = home.dps_pki("authority create root --next").ok();
    shown.stdout_has("pending");
    let planned = home.dps_pki("roll start root --compromised --dry-run").ok();
    planned.stdout_has("  1. in the inventory, make root generation 1 compromised");
    planned.stdout_has("  2. delete CA certificate root\n");
    home.dps_pki("roll start root --compromised --yes").ok();
    assert_eq!(a.ask_to_register().code, 401);
}

/// A roll that is given up leaves everything as it was.
fn a_roll_is_aborted(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let before = home.json("dps group show factory")["attestation"].clone();
    home.dps_pki("roll start factory --yes").ok();
    home.dps_pki("roll abort factory --yes").ok();
    assert_eq!(home.json("dps group show factory")["attestation"], before);
    assert_eq!(
        states(&home, "factory"),
        [(1, "current".to_owned()), (2, "retired".to_owned())]
    );
    assert_eq!(Device::new(&home, &emulator, "a").register(), "assigned");
    nothing_to_do(&home, "roll abort factory --yes");
    home.dps_pki("roll finish factory --yes").ends_with(4);
}

/// Device with an individual enrollment, expiry and breach.
fn the_leaf_of_an_individual_enrollment_is_rolled(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let a = Device::new(&home, &emulator, "a");
    let refused = home.dps_pki("roll start a --yes").ends_with(4);
    refused.stderr_has("no individual enrollment");
    home.dps_pki("dps device put a --cert devices/a.cert.pem --yes")
        .ok();
    assert_eq!(a.register(), "assigned");
    home.renew("a");
    assert_eq!(a.ask_to_register().code, 401);
    home.dps_pki("roll start A --yes").ok();
    home.dps_pki("roll status a --detailed-exitcode")
        .ends_with(10);
    let new = a;
    let old = a.with_files("a-old");
    let refused = home.dps_pki("roll finish a --yes").ends_with(4);
    refused.stderr_has("has not registered since");
    settle(&home, &new, "a", 0);
    home.dps_pki("roll abort a --yes").ends_with(4);
    home.dps_pki("roll finish a --yes").ok();
    nothing_to_do(&home, "roll finish a --yes");
    home.dps_pki("roll abort a --yes").ends_with(4);
    assert_eq!(new.register(), "assigned");
    assert_eq!(old.ask_to_register().code, 401);
    home.dps_pki("roll status a --detailed-exitcode").ok();
    let unknown = home.dps_pki("roll start aa --yes").ends_with(8);
    unknown.stderr_has("did you mean device a?");
}

/// Device in a group, breach: shut out, and let back in with its new leaf only.
fn a_device_is_readmitted_with_its_new_leaf_only(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let a = Device::new(&home, &emulator, "a");
    home.dps_pki("quarantine a --reason stolen --yes").ok();
    let refused = home
        .dps_pki("readmit a --cert devices/a.cert.pem --yes")
        .ends_with(4);
    refused.stderr_has("the leaf that a was shut out with");
    home.dps_pki("readmit a --cert devices/b.cert.pem --yes")
        .ends_with(4);
    home.dps_pki("readmit b --cert devices/b.cert.pem --yes")
        .ends_with(4);
    home.renew("a");
    home.dps_pki("readmit A --cert devices/a.cert.pem --dry-run")
        .ok();
    let done = home
        .dps_pki("readmit a --cert devices/a.cert.pem --yes")
        .ok();
    done.stdout_has("every earlier leaf is refused");
    home.dps_pki("readmit a --cert devices/a.cert.pem --yes")
        .ok();
    assert_eq!(a.register(), "assigned");
    assert_eq!(a.with_files("a-old").ask_to_register().code, 401);
    let on_hub = home.json("hub device show a --hub hub-1.azure-devices.net");
    assert_eq!(on_hub["status"], "enabled", "{on_hub}");
    let entry = home.json("dps device show a");
    assert_eq!(entry["provisioningStatus"], "enabled", "{entry}");
}

/// Both halves, in order, and proven; unknown devices and groups are named.
fn devices_and_groups_leave_for_good(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let [a, b] = ["a", "b"].map(|id| Device::new(&home, &emulator, id));
    home.dps_pki("deprovision c --yes").ends_with(8);
    home.dps_pki("deprovision --group factories --yes")
        .ends_with(8);
    home.dps_pki("deprovision A --yes").ok();
    home.dps_pki("hub device show a --hub hub-1.azure-devices.net")
        .ends_with(8);
    assert_eq!(b.register(), "assigned");
    let again = home.dps_pki("deprovision a --yes").ok();
    assert!(again.stdout.starts_with("nothing to do"), "{again}");
    assert_eq!(a.register(), "disabled");
    home.dps_pki("deprovision --group factory --yes").ok();
    assert_eq!(b.ask_to_register().code, 401);
    home.dps_pki("hub device show b --hub hub-1.azure-devices.net")
        .ends_with(8);
    home.dps_pki("dps group show factory").ends_with(8);
}

/// Everything below an intermediate is shut out by disabling its group, never by deleting it.
fn everything_below_an_intermediate_is_shut_out(service: SingleCertificate) {
    let (home, emulator) = fleet(service);
    let planned = home
        .dps_pki("quarantine --authority factory --dry-run")
        .ok();
    planned.stdout_has("change enrollment group factory, disabled");
    home.dps_pki("quarantine --authority factory --reason stolen --hub disable --yes")
        .ok();
    for id in ["a", "b"] {
        assert_eq!(Device::new(&home, &emulator, id).register(), "disabled");
        let on_hub = home.json(&format!(
            "hub device show {id} --hub hub-1.azure-devices.net"
        ));
        assert_eq!(on_hub["status"], "disabled", "{on_hub}");
    }
    home.dps_pki("quarantine --authority factories --yes")
        .ends_with(8);
}

/// What was not issued here is named as such.
fn a_certificate_of_a_foreign_ca_is_refused(service: SingleCertificate) {
    let (home, _emulator) = fleet(service);
    home.tool("openssl", "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout foreign.key -out foreign.pem -days 9 -subj /CN=a").ok();
    home.dps_pki("quarantine a --yes").ok();
    let refused = home
        .dps_pki("readmit a --cert foreign.pem --yes")
        .ends_with(4);
    refused.stderr_has("it was not issued here");
    let refused = home.dps_pki("impact --cert foreign.pem").ends_with(8);
    refused.stderr_has("it was not issued here");
    home.dps_pki("roll start b --cert foreign.pem --yes")
        .ends_with(4);
    home.dps_pki("impact device c").ends_with(8);
    home.dps_pki("impact").ends_with(2);
}

/// What `pki.toml` declares is held against the generation that issues, also during a roll, once for a batch.
#[test]
fn leaves_that_no_declared_group_lets_in_are_warned_of_and_no_others() {
    const WARNING: &str = "no enrollment group of pki.toml lets in devices below";
    let (home, _emulator) = Home::with_dps();
    for line in [
        "issue a --authority root --out devices",
        "issue --prefix b- --count 3 --authority root --out b.ndjson --plain-keys",
    ] {
        let run = home.dps_pki(line).ok();
        run.stderr_has("root generation 1: in DPS local refused: no enrollment holds this device or anything of its chain");
        assert_eq!(run.stderr.matches(WARNING).count(), 1, "{run}");
    }
    home.dps_pki("roll start factory --yes").ok();
    let run = home
        .dps_pki("issue c --authority factory --out devices")
        .ok();
    assert!(!run.stderr.contains(WARNING), "{run}");
}
