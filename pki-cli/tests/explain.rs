//! `explain`: what DPS would decide about a device, whatever order its certificates are in.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::process::Command;

use crate::support::site::Site;

fn shell(site: &Site, line: &str) {
    let ended = Command::new("sh")
        .args(["-c", line])
        .current_dir(site.world.path(""))
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{line}: {said}");
}

/// The CA of the device was cross-signed by a root that DPS does not know. TLS stacks send what they have.
#[test]
fn a_chain_is_found_among_cross_signed_cas_in_any_order() {
    let site = Site::new();
    let world = &site.world;
    let factory = site.done("authority export factory").stdout;
    let root = site.done("authority export root").stdout;
    world.write("factory.pem", &factory);
    world.write(
        "ca.ext",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
    );
    for line in [
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -subj /CN=other -out other.pem",
        "openssl x509 -in factory.pem -noout -pubkey > factory.pub",
        "openssl x509 -new -force_pubkey factory.pub -subj '/CN=Quickstart Factory CA' \
         -CA other.pem -CAkey other.key -extfile ca.ext -out cross.pem",
    ] {
        shell(&site, line);
    }
    let cross = world.read("cross.pem");
    let other = world.read("other.pem");
    let explain = "explain devices/sensor-1.cert.pem --chain";
    for (name, chain) in [
        ("first", [&cross, &other, &factory, &root]),
        ("last", [&factory, &root, &cross, &other]),
        ("between", [&root, &cross, &factory, &other]),
    ] {
        world.write(name, chain.map(String::as_str).concat());
        let run = site.done(&format!("{explain} {name}"));
        run.stdout_has("admitted by enrollment group factory");
    }
    world.write("alone", [cross.as_str(), &other].concat());
    let run = site.done(&format!("{explain} alone"));
    assert!(!run.stdout.contains("admitted by"), "{}", run.stdout);
}
