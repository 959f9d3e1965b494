//! `revoke`, `crl`, `verify --crl`, `lint` and `inspect` of lists: one story, in-process.

use crate::support::World;

/// A home with its authorities and two devices.
fn furnished() -> World {
    World::after(&[
        "init",
        "authority create",
        "issue sensor-1 sensor-2 --authority factory --out devices",
        "crl root --out root.crl",
    ])
}

const VERIFY: &str = "verify devices/sensor-1-full-chain.cert.pem --crl factory.crl root.crl";

#[test]
fn a_revoked_leaf_is_in_the_next_crl_and_no_path_leads_to_it() {
    let world = furnished();
    world.done("crl factory --out factory.crl");
    world.done(VERIFY);
    let dry = world.done("revoke sensor-1 --dry-run").stdout;
    assert!(dry.contains("to revoke"), "{dry}");
    let revoked = world.run("revoke sensor-1 --reason key-compromise --yes");
    revoked.ends_with(0).stderr_has("consult no CRL");
    // The list that is out does not know yet.
    world.done(VERIFY);
    let made = world
        .run("crl factory --out factory.crl --force --output json")
        .json();
    assert_eq!(made["revoked"], 1);
    let refused = world.run(VERIFY);
    assert_eq!(refused.code, 4);
    refused.stderr_has("keyCompromise (revocation)");
    world.done(&VERIFY.replace("sensor-1", "sensor-2"));
}

#[test]
fn numbers_grow_and_lists_are_whole() {
    let world = furnished();
    let number = |line: &str| {
        let made = world.run(&format!("{line} --output json")).json();
        made["crlNumber"].as_u64().expect("a number")
    };
    let first = number("crl factory");
    world.done("revoke sensor-1 sensor-2 --yes");
    let second = number("crl factory --format der --out factory.crl");
    assert!(second > first, "{first} {second}");
    let facts = world.run("inspect factory.crl --output json").json();
    let crl = &facts["items"][0];
    assert_eq!(
        (&crl["type"], &crl["crlNumber"]),
        (&"crl".into(), &second.into())
    );
    assert_eq!(crl["revoked"].as_array().map(Vec::len), Some(2));
    let text = world.done("inspect factory.crl").stdout;
    assert!(text.contains("certificate revocation list"), "{text}");
    let none = world.run("crl factory --generation 7");
    none.ends_with(8);
}

#[test]
fn a_crl_that_cannot_be_relied_on_refuses_the_path() {
    let world = furnished();
    world.done("crl factory --next-update 1h --out factory.crl");
    let stale = world.run(&format!("{VERIFY} --at 2026-06-02T00:00:00Z"));
    assert_eq!(stale.code, 4);
    stale.stderr_has("the CRL is stale");
    let early = world.run(&format!("{VERIFY} --at 2026-06-01T11:59:00Z"));
    early.stderr_has("holds only from");
    world.write("key.crl", world.read("devices/sensor-1.key.pem"));
    let key = world.run(&VERIFY.replace("factory.crl", "key.crl"));
    key.ends_with(3);
}

#[test]
fn revoking_can_be_repeated_and_names_are_read_from_files() {
    let mut world = furnished();
    world.write("list", "sensor-1\n\nsensor-2\n");
    world.done("revoke list --reason superseded --yes");
    let again = world.run("revoke list --yes --output json").json();
    assert_eq!(again["alreadyRevoked"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&again["done"], &again["revoked"]),
        (&false.into(), &serde_json::json!([]))
    );
    world.stdin = b"nobody\n".to_vec();
    assert_eq!(world.run("revoke - --yes").code, 8);
    world.stdin = Vec::new();
    assert_eq!(world.run("revoke - --yes").code, 3);
    assert_eq!(world.run("revoke sensor-1 --reason because").code, 2);
    let unasked = furnished().run("revoke sensor-1");
    unasked.ends_with(4);
}

/// Revoked for the time being, then for good.
#[test]
fn what_is_on_hold_can_be_revoked_for_another_reason() {
    let world = furnished();
    world.done("revoke sensor-1 --reason certificateHold --yes");
    let good = world
        .run("revoke sensor-1 --reason keyCompromise --yes --output json")
        .json();
    assert_eq!(good["done"], true);
    let shown = world.run("inventory show sensor-1 --output json").json();
    assert_eq!(shown[0]["reason"], "keyCompromise");
}

#[test]
fn lint_ends_with_4_where_a_rule_is_broken() {
    let world = furnished();
    let chain = "devices/sensor-1-full-chain.cert.pem";
    let text = world.done(&format!("lint {chain}")).stdout;
    assert!(text.ends_with("0 errors, 0 warnings\n"), "{text}");
    let line = format!("lint {chain} --warehouse-time 9999d");
    world.run(&line).ends_with(4).stdout_has("1 error, ");
    let short = world.run(&format!("{line} --output json"));
    assert_eq!(short.code, 4);
    let finding = &short.json()["files"][0]["certificates"][0]["findings"][0];
    assert_eq!(
        (&finding["check"], &finding["severity"]),
        (&"warehouse-time".into(), &"error".into())
    );
    assert!(finding["source"].is_string() && finding["message"].is_string());
    let authority = world.run(&format!("lint {chain} --as intermediate"));
    authority.stdout_has("an authority must say CA:TRUE");
    assert_eq!(world.run("lint devices/sensor-1.key.pem").code, 3);
}

/// What a profile says of CRLs and warehouses goes into its leaves.
#[test]
fn a_profile_names_the_crl_and_how_long_a_device_may_lie() {
    let world = furnished();
    let text = world.read("pki.toml");
    let profile = "[profile.device]\ncrl-distribution-point = \"http://crl.contoso.com/f.crl\"\n";
    world.write("pki.toml", text.replace("[profile.device]\n", profile));
    world.done("issue sensor-3 --authority factory --out devices");
    let facts = world.done("inspect devices/sensor-3.cert.pem").stdout;
    assert!(
        facts.contains("URI:http://crl.contoso.com/f.crl"),
        "{facts}"
    );
    let text = world.read("pki.toml");
    let shelf = "[profile.device]\nwarehouse-time = \"99y\"\n";
    world.write("pki.toml", text.replace("[profile.device]\n", shelf));
    let refused = world.run("issue sensor-4 --authority factory --out devices");
    refused.ends_with(3).stderr_has("warehouse-time");
}

/// A list of the root alone says nothing of a leaf that the factory revoked.
#[test]
fn a_leaf_of_whose_issuer_no_list_is_given_is_refused_unless_that_is_asked_for() {
    let world = furnished();
    world.done("revoke sensor-1 --yes");
    let verify = "verify devices/sensor-1-full-chain.cert.pem --crl root.crl";
    let refused = world.run(verify);
    refused.ends_with(4).stderr_has("no CRL of");
    world.done(&format!("{verify} --crl-best-effort"));
    world.done("crl factory --out factory.crl");
    // The root's list is needed as well: it could have revoked the factory.
    let only = world.run("verify devices/sensor-2-full-chain.cert.pem --crl factory.crl");
    only.ends_with(4);
    world.done("verify devices/sensor-2-full-chain.cert.pem --crl factory.crl root.crl");
    let nothing = world.run("verify devices/sensor-2-full-chain.cert.pem --crl-best-effort");
    nothing.ends_with(2);
}

/// A backup does not know of the lists that were made after it.
#[test]
fn no_number_is_given_out_twice_after_a_restore_if_a_checkpoint_is_at_hand() {
    let world = furnished();
    let backup = std::fs::read(world.path("inventory.db")).expect("a backup");
    let list = world
        .run("crl factory --out factory.crl --output json")
        .json();
    let number = list["crlNumber"].as_u64().expect("a number");
    world.done("audit checkpoint --out checkpoint.json");
    world.done("crl factory --checkpoint checkpoint.json --out factory.crl --force");
    world.write("inventory.db", backup);
    let refused = world.run("crl factory --checkpoint checkpoint.json --out factory.crl --force");
    refused.ends_with(4).stderr_has("--after-number");
    let line = format!(
        "crl factory --checkpoint checkpoint.json --after-number {}",
        number + 1
    );
    let next = world
        .run(&format!("{line} --out factory.crl --force --output json"))
        .json();
    assert_eq!(next["crlNumber"].as_u64(), Some(number + 2));
}

/// OpenSSL, told to check all, is the judge of what a set of lists is worth.
#[test]
fn lists_are_worth_what_openssl_says() {
    let world = furnished();
    world.done("revoke sensor-1 --yes");
    world.done("crl factory --out factory.crl");
    for device in ["sensor-1", "sensor-2"] {
        for lists in ["root.crl", "factory.crl", "factory.crl root.crl"] {
            let ours = world.run(&format!(
                "verify devices/{device}-full-chain.cert.pem --crl {lists}"
            ));
            let theirs = std::process::Command::new("openssl")
                .args(["verify", "-crl_check_all", "-attime", "1780315200"])
                .args(["-CAfile", "authorities/root/1.cert.pem"])
                .args(["-untrusted", "authorities/factory/1.cert.pem"])
                .args(lists.split(' ').flat_map(|list| ["-CRLfile", list]))
                .arg(format!("devices/{device}.cert.pem"))
                .current_dir(world.path("."))
                .output()
                .expect("openssl");
            assert_eq!(
                ours.code == 0,
                theirs.status.success(),
                "{device} {lists}: {} {}",
                ours.stderr,
                String::from_utf8_lossy(&theirs.stderr)
            );
        }
    }
}
