//! `dps` and `hub`: single records, against the emulator.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::now;
use crate::support::site::Site;
use dps_client::transport::{HttpOptions, HttpTransport, ProxyUse, Trust};
use dps_client::{ApiVersion, Plane};
use pki_core::testing::FixedClock;
use secrecy::SecretString;
use serde_json::{Value, json};

#[test]
fn a_disabled_group_keeps_its_devices_out_until_it_is_enabled() {
    let site = Site::new();
    assert_eq!(site.register("sensor-1"), "assigned");
    let plan = site.done("dps group disable factory --dry-run");
    for line in [
        "would do in DPS local: disable enrollment group factory",
        r#"  provisioningStatus: "enabled" -> "disabled""#,
        "  sensor-1 loses admission with its leaf of factory generation 1: refused: enrollment group factory is disabled",
    ] {
        assert!(plan.stdout.contains(line), "{line}\n{}", plan.stdout);
    }
    assert_eq!(site.register("sensor-1"), "assigned");

    site.run("dps group disable factory").assert_refused(
        4,
        &[
            "DPS local: disable enrollment group factory",
            r#"  provisioningStatus: "enabled" -> "disabled""#,
            "note: devices that are connected to their hub stay connected until the hub refuses them as well",
            "  sensor-1 loses admission with its leaf of factory generation 1: refused: enrollment group factory is disabled",
            "  sensor-2 loses admission with its leaf of factory generation 1: refused: enrollment group factory is disabled",
            "impact on the leaves of the inventory: 2 lose admission, 0 gain it, 0 stay admitted, 0 stay out",
            "error: not confirmed: DPS local: disable enrollment group factory?",
            "  hint: there is no terminal to ask at; run it again with --yes",
        ],
    );
    site.done("dps group disable factory --yes");
    assert_eq!(site.last_event(), ["group-disabled", "factory"]);
    assert_eq!(site.register("sensor-1"), "disabled");
    let again = site.done("dps group disable factory");
    assert_eq!(
        again.stdout,
        "nothing to do: enrollment group factory is disabled already\n"
    );

    let run = site.done("dps group enable factory --yes");
    assert_eq!(
        run.stdout,
        "done in DPS local: enable enrollment group factory, which lets its devices in\n"
    );
    assert_eq!(site.last_event(), ["group-enabled", "factory"]);
    assert_eq!(site.register("sensor-1"), "assigned");
    site.run("dps group show none")
        .assert_refused(8, &["error: DPS local has no enrollment group none"]);
}

/// A group below another: what it keeps out, the other would let in.
#[test]
fn a_disabled_group_is_deleted_only_in_so_many_words() {
    let site = Site::new();
    site.world.write(
        "above.json",
        json!({
            "enrollmentGroupId": "above",
            "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "root"}}},
        })
        .to_string(),
    );
    site.done("dps group put above --file above.json --yes");
    assert_eq!(site.last_event(), ["group-written", "above"]);
    site.done("dps group disable factory --yes");
    site.run("dps group delete factory --yes").assert_refused(
        4,
        &[
            "error: enrollment group factory is disabled; deleting it lets in those of its devices whose chain another group holds (above)",
            "  hint: if that is meant, say --let-devices-in",
        ],
    );
    // Nor does it let go of them by another certificate in its slot.
    let document = json!({
        "enrollmentGroupId": "factory",
        "provisioningStatus": "disabled",
        "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {
            "certificate": site.world.read("devices/sensor-2.cert.pem"),
        }}}},
    });
    site.world.write("other.json", document.to_string());
    let refused = site.run("dps group put factory --file other.json --yes");
    refused
        .ends_with(4)
        .stderr_has("lets in sensor-1 and 1 more: ");
    assert_eq!(site.register("sensor-1"), "disabled");
    let plan = site.done("dps group delete factory --let-devices-in --dry-run");
    for line in [
        "note: a device whose chain another group holds falls through to that group: above",
        "  sensor-1 gains admission with its leaf of factory generation 1: admitted by enrollment group above",
    ] {
        assert!(plan.stdout.contains(line), "{line}\n{}", plan.stdout);
    }
    site.done("dps group delete factory --let-devices-in --yes");
    assert_eq!(site.last_event(), ["group-deleted", "factory"]);
    assert_eq!(site.register("sensor-1"), "assigned");
    site.done("dps group delete above --yes");
    assert_eq!(site.register("sensor-1"), "401");
    assert_eq!(site.run("dps group delete above --yes").code, 8);
}

/// A group that keeps devices out by a reference to a CA loses its hold on them with that CA.
#[test]
fn a_ca_that_keeps_devices_out_is_deleted_only_in_so_many_words() {
    let site = Site::new();
    site.world.write(
        "by-name.json",
        json!({
            "enrollmentGroupId": "a-by-name",
            "provisioningStatus": "disabled",
            "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "intermediate"}}},
        })
        .to_string(),
    );
    let declaration = site.world.read("pki.toml");
    let table = "\n[dps.local.ca.intermediate]\nauthority = \"factory\"\nverified-by = \"self-attestation\"\n";
    site.world.write("pki.toml", declaration + table);
    site.done("dps ca upload intermediate --yes");
    site.done("dps group put a-by-name --file by-name.json --yes");
    assert_eq!(site.register("sensor-1"), "disabled");
    let refused = site.run("dps ca delete intermediate --yes");
    refused.ends_with(4);
    assert!(
        refused
            .stderr
            .starts_with("error: delete CA certificate intermediate lets in sensor-"),
        "{}",
        refused.stderr
    );
    let plan = site.done("dps ca delete intermediate --let-devices-in --dry-run");
    let note =
        "note: enrollment group a-by-name refers to it, and admits nobody through it any more";
    plan.stdout_has(note);
    site.done("dps ca delete intermediate --let-devices-in --yes");
    assert_eq!(site.last_event(), ["ca-deleted", "intermediate"]);
    assert_eq!(site.register("sensor-1"), "assigned");
}

#[test]
fn what_is_declared_is_uploaded_proven_and_put_one_by_one() {
    let site = Site::empty();
    site.run("dps ca prove root --yes").assert_refused(
        8,
        &[
            "error: CA certificate root is not in DPS yet, or declared as self-attested",
            "  hint: upload it with: dps-pki dps ca upload root --dps local",
        ],
    );
    let verified = || {
        let list = site.json("dps ca list");
        list.as_array()
            .expect("list")
            .iter()
            .map(|ca| ca["properties"]["isVerified"].clone())
            .collect::<Vec<Value>>()
    };
    site.done("dps ca upload root --dry-run");
    assert_eq!(verified(), [json!(null); 0]);
    site.done("dps ca upload root --yes");
    assert_eq!(verified(), [json!(false)]);
    site.done("dps ca prove root --yes");
    assert_eq!(verified(), [json!(true)]);
    // Moments are told as everywhere; in JSON the service's words stay.
    let told = site.done("dps ca list").stdout;
    assert!(told.contains("Z  ") && !told.contains("GMT"), "{told}");
    let expiry = site.json("dps ca list")[0]["properties"]["expiry"].to_string();
    assert!(expiry.ends_with(" GMT\""), "{expiry}");
    site.done("dps group put factory --yes");
    let again = site.done("dps group put factory");
    assert!(
        again.stdout.starts_with("nothing to do"),
        "{}",
        again.stdout
    );
    assert_eq!(site.json("plan")["plan"]["steps"], json!([]));
    site.run("dps ca upload other").assert_refused(
        8,
        &[
            "error: pki.toml declares no CA certificate other for DPS local",
            "  hint: add a table [dps.local.ca.other]",
        ],
    );
}

/// Deleting the entry instead of readmitting would let in whoever has a copy of the key.
#[test]
fn a_disabled_individual_enrollment_is_deleted_only_in_so_many_words() {
    let site = Site::new();
    site.done("quarantine sensor-1 --yes");
    assert_eq!(site.register("sensor-1"), "disabled");
    site.run("dps device delete sensor-1 --yes").assert_refused(
        4,
        &[
            "error: individual enrollment sensor-1 is disabled and keeps the device out; deleting it lets the device, and a stolen copy of its certificate, in again through its group",
            "  hint: if that is meant, say --let-device-in",
            "  hint: an entry that names its new leaf lets it in with that one only; keep the entry until the old leaf has expired",
        ],
    );
    let refused = site.run("dps device put sensor-1 --cert devices/sensor-1.cert.pem --yes");
    refused.assert_refused(
        4,
        &[
            "error: the leaf in devices/sensor-1.cert.pem is marked revoked in the inventory: keyCompromise",
            "  hint: issue a new one with: dps-pki issue sensor-1",
        ],
    );
    let plan = site.done("dps device enable sensor-1 --dry-run");
    plan.stderr_has("is marked revoked (keyCompromise)");
    plan.stdout_has("sensor-1 gains admission");
    site.done("dps device delete sensor-1 --let-device-in --yes");
    assert_eq!(site.last_event(), ["enrollment-deleted", "sensor-1"]);
    assert_eq!(site.register("sensor-1"), "assigned");
    assert_eq!(site.run("dps device delete sensor-1 --yes").code, 8);
}

/// An enabled entry keeps out as well: every leaf of its device but the one it names. DPS reads no CRL,
/// so a stolen leaf that was replaced is kept out by this alone.
#[test]
fn an_enrollment_that_keeps_out_a_stolen_leaf_is_deleted_only_in_so_many_words() {
    let site = Site::new();
    site.done("dps device put sensor-2 --cert devices/sensor-2.cert.pem --yes");
    site.done("dps device delete sensor-2 --yes");

    site.done("quarantine sensor-1 --yes");
    site.done("issue sensor-1 --authority factory --out renewed");
    site.done("dps device put sensor-1 --cert renewed/sensor-1-full-chain.cert.pem --yes");
    site.done("dps device enable sensor-1 --yes");
    assert_eq!(site.register("sensor-1"), "401");
    let refused = site.run("dps device delete sensor-1 --yes");
    refused.ends_with(4);
    let gain = "its individual enrollment names another certificate now, admitted by enrollment group factory afterwards";
    refused.stderr_has(gain);
    site.done("dps device delete sensor-1 --let-device-in --yes");
    assert_eq!(site.register("sensor-1"), "assigned");
}

#[test]
fn a_leaf_is_pinned_under_its_own_cn_and_a_disabled_entry_stays_disabled() {
    let site = Site::new();
    site.run("dps device put sensor-9 --cert devices/sensor-1.cert.pem --yes")
        .assert_refused(
            4,
            &[
                r#"error: the CN of the leaf in devices/sensor-1.cert.pem is "sensor-1", not sensor-9"#,
                "  hint: DPS looks enrollments up by CN: one under another ID decides nothing",
            ],
        );
    let key = site.run("dps device put sensor-1 --cert devices/sensor-1.key.pem --yes");
    key.ends_with(3);
    assert_eq!(site.run("dps device put sensor-1").code, 2);
    site.done("dps device put sensor-1 --cert devices/sensor-1.cert.pem --yes");
    assert_eq!(site.last_event(), ["enrollment-written", "sensor-1"]);
    assert_eq!(site.register("sensor-1"), "assigned");
    site.done("dps device disable sensor-1 --yes");
    assert_eq!(site.register("sensor-1"), "disabled");
    site.done("dps device put sensor-1 --cert devices/sensor-1.cert.pem --yes");
    assert_eq!(site.register("sensor-1"), "disabled");
    site.done("dps device enable sensor-1 --yes");
    assert_eq!(site.register("sensor-1"), "assigned");
    let list = site.json("dps device list");
    assert_eq!(list[0]["registrationId"], json!("sensor-1"));
}

#[test]
fn a_document_goes_back_as_it_was_shown_but_lets_nobody_in() {
    let site = Site::new();
    let shown = site.done("dps group show factory --output json").stdout;
    site.world.write("factory.json", &shown);
    let mut changed: Value = serde_json::from_str(&shown).expect("JSON");
    changed["initialTwin"] = json!({"tags": {"site": "a"}});
    site.world.write("changed.json", changed.to_string());
    let plan = site
        .done("dps group put factory --file changed.json --dry-run")
        .stdout;
    let line = r#"  initialTwin: null -> {"tags":{"site":"a"}}"#;
    assert!(plan.contains(line), "{plan}");
    assert!(!plan.contains("attestation"), "{plan}");
    site.done("dps group put factory --file changed.json --yes");
    let twin = &site.json("dps group show factory")["initialTwin"];
    assert_eq!(twin["tags"]["site"], json!("a"));
    assert_eq!(site.register("sensor-1"), "assigned");

    site.run("dps group put factory --file factory.json --yes")
        .assert_refused(
            6,
            &[
                "error: enrollment group factory changed since the document was read from it",
                "  hint: show it again and take over what changed; or leave out the member etag",
            ],
        );
    site.done("dps group disable factory --yes");
    changed["etag"] = Value::Null;
    site.world.write("changed.json", changed.to_string());
    let refused = site.run("dps group put factory --file changed.json --yes");
    refused.ends_with(4);
    assert_eq!(site.register("sensor-1"), "disabled");
    let other = site.run("dps group put other --file changed.json --yes");
    other.assert_refused(
        3,
        &["error: changed.json is the document of enrollment group factory, not of other"],
    );
}

/// Keys are neither printed nor changed by a document that was printed without them.
#[test]
fn symmetric_keys_are_never_shown_and_never_lost() {
    let site = Site::new();
    let keys = json!({"primaryKey": "cHJpbWFyeS1rZXktb2YtdGVzdA==", "secondaryKey": "c2Vjb25kYXJ5LWtleS1vZi10ZXN0"});
    let document = json!({
        "registrationId": "keyed-1",
        "attestation": {"type": "symmetricKey", "symmetricKey": keys},
    });
    site.world.write("keyed.json", document.to_string());
    let mut outputs = vec![
        site.done("dps device put keyed-1 --file keyed.json --dry-run --output json"),
        site.done("dps device put keyed-1 --file keyed.json --yes --output json"),
        site.done("dps device show keyed-1 --output json"),
        site.done("dps device list --output json"),
    ];
    site.world.write("shown.json", &outputs[2].stdout);
    outputs.push(site.done("dps device put keyed-1 --file shown.json --yes --output json"));
    outputs.push(site.done("dps device disable keyed-1 --yes --output json"));
    outputs.push(site.done("audit log --output json"));
    for run in outputs {
        for secret in ["cHJpbWFyeS1", "c2Vjb25kYXJ5"] {
            assert!(
                !run.stdout.contains(secret) && !run.stderr.contains(secret),
                "{run:?}"
            );
        }
    }
    let planes = site.emulator.service_connection_string();
    let held = site.runtime.block_on(keys_held(&site, &planes));
    assert_eq!(held, keys);
}

/// The keys as the service itself tells them.
async fn keys_held(site: &Site, connection: &SecretString) -> Value {
    use dps_client::auth::{ConnectionString, SasCredential};
    use dps_client::service::Individuals;
    use secrecy::ExposeSecret as _;
    let connection: ConnectionString = connection.expose_secret().parse().expect("connection");
    let mut options = HttpOptions::default();
    options.trust = Trust::Only(site.emulator.trust_anchor_pem().to_owned());
    options.proxy = ProxyUse::Direct;
    let transport = Arc::new(HttpTransport::new(&options).expect("transport"));
    let plane = Plane::new(
        transport,
        connection.base_url().clone(),
        ApiVersion::SERVICE,
    )
    .with_credential(Arc::new(SasCredential::new(
        connection,
        Arc::new(FixedClock(now())),
    )));
    let id = "keyed-1".parse().expect("id");
    let attestation = Individuals::new(plane).attestation_mechanism(&id).await;
    serde_json::to_value(attestation.expect("keys")).expect("JSON")["symmetricKey"].clone()
}

/// Somebody else is faster while the question is on the screen.
#[test]
fn what_changed_since_it_was_read_is_a_conflict_that_is_told() {
    let site = Site::new();
    let meanwhile = |line: &str, other: &'static str| site.run_while_asked(line, other);
    let mut document = site.json("dps group show factory");
    document["initialTwin"] = json!({"tags": {"site": "b"}});
    document.as_object_mut().expect("object").remove("etag");
    site.world.write("other.json", document.to_string());
    let run = meanwhile(
        "dps group disable factory",
        "dps group put factory --file other.json --yes",
    );
    run.ends_with(6);
    for told in [
        r#"factory changed since it was read: initialTwin: null -> {"tags":{"site":"b"}}"#,
        "412 Precondition Failed",
        "hint: nothing was overwritten",
    ] {
        assert!(run.stderr.contains(told), "{told}\n{}", run.stderr);
    }
    let shown = site.json("dps group show factory");
    assert_eq!(shown["provisioningStatus"], json!("enabled"));
    assert_eq!(shown["initialTwin"]["tags"]["site"], json!("b"));
    let closed = site.json("journal list --limit 1");
    assert_eq!(closed[0]["status"], json!("abandoned"), "{closed}");
    let plan = closed[0]["plan"].as_str().expect("an ID");
    let resumed = site.run(&format!("journal resume {plan} --yes"));
    assert_eq!(resumed.code, 4, "nothing was done: {}", resumed.stderr);

    let run = meanwhile(
        "dps device put sensor-1 --cert devices/sensor-1.cert.pem",
        "dps device put sensor-1 --cert devices/sensor-1.cert.pem --yes",
    );
    run.ends_with(0).stderr_has("found done");

    let run = meanwhile(
        "dps device disable sensor-1",
        "dps device delete sensor-1 --let-device-in --yes",
    );
    run.ends_with(6).stderr_has("it is gone, or cannot be read");
}

/// The key of the root need not be where DPS can be reached: a request goes there, a proof comes back.
#[test]
fn a_ca_is_proven_in_three_pieces() {
    let site = Site::empty();
    site.done("dps ca upload root --yes");
    site.done("dps ca prove root --request-out request.json --yes");
    let request: Value = serde_json::from_str(&site.world.read("request.json")).expect("JSON");
    assert_eq!(request["name"], json!("root"));
    assert_eq!(
        site.run("possession factory --request request.json").code,
        4
    );
    site.done("possession root --request request.json --out proof.pem");
    let unproven = site.run("dps ca prove root --proof request.json --yes");
    unproven.ends_with(3);
    let run = site.done("dps ca prove root --proof proof.pem --yes");
    run.stdout_has("hand in the proof");
    assert_eq!(site.last_event(), ["ca-proven", "root"]);
    let again = site.done("dps ca prove root --proof proof.pem --yes");
    assert!(
        again.stdout.starts_with("nothing to do"),
        "{}",
        again.stdout
    );
}

/// Without --prune what is not declared is told; with it, it goes, unless it keeps somebody out.
#[test]
fn what_is_not_declared_is_pruned_only_on_demand() {
    let site = Site::new();
    let mut document = site.json("dps group show factory");
    document["enrollmentGroupId"] = json!("line-9");
    site.world.write("line-9.json", document.to_string());
    // Refused for good: the plan is closed, and does not stand in the way.
    assert_eq!(
        site.run("dps group put line-9 --file line-9.json --yes")
            .code,
        5
    );
    assert_eq!(site.json("journal list --open"), json!([]));
    document["attestation"] =
        json!({"type": "x509", "x509": {"caReferences": {"primary": "root"}}});
    document.as_object_mut().expect("object").remove("etag");
    site.world.write("line-9.json", document.to_string());
    site.done("dps group put line-9 --file line-9.json --yes");
    let told = site.done("plan");
    told.stdout_has("line-9 is in DPS and not in pki.toml; left alone");
    assert_eq!(site.run("plan --prune --detailed-exitcode").code, 10);

    site.done("dps group disable line-9 --yes");
    let refused = site.run("apply --prune --yes");
    refused.ends_with(4);
    site.done("dps group enable line-9 --yes");
    let run = site.done("apply --prune --yes");
    run.stdout_has("delete enrollment group line-9");
    assert_eq!(site.run("dps group show line-9").code, 8);
    site.done("dps group show factory");
    assert_eq!(site.run("plan --prune --detailed-exitcode").code, 0);
}

#[test]
fn registrations_are_listed_shown_and_forgotten() {
    let site = Site::new();
    site.run("dps registration show sensor-1").assert_refused(
        8,
        &["error: DPS local has no registration record of sensor-1"],
    );
    let none = site.json("dps registration list --group factory");
    assert_eq!(none, json!([]));
    site.run("dps registration list --group factry")
        .assert_refused(8, &["error: DPS local has no enrollment group factry"]);
    site.register("sensor-1");
    site.register("sensor-2");
    let list = site.json("dps registration list --group factory");
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    let cut = site.done("dps registration list --group factory --limit 1");
    assert_eq!(cut.stdout.lines().count(), 2);
    assert_eq!(
        cut.stderr,
        "warning: only the first 1 are listed; see more with --limit\n"
    );
    let shown = site.json("dps registration show SENSOR-1");
    assert_eq!(shown["assignedHub"], json!("hub-1.azure-devices.net"));
    site.done("dps registration delete sensor-1 --yes");
    assert_eq!(site.last_event(), ["registration-deleted", "sensor-1"]);
    assert_eq!(site.run("dps registration show sensor-1").code, 8);
}

#[test]
fn a_hub_identity_is_found_by_the_registration_record_or_by_name() {
    let site = Site::new();
    site.register("sensor-1");
    let shown = site.json("hub device show sensor-1");
    assert_eq!(shown["status"], json!("enabled"));
    let run = site.done("hub device disable sensor-1 --reason stolen --yes");
    assert_eq!(
        run.stdout,
        "done in hub-1.azure-devices.net: disable device identity sensor-1\n"
    );
    assert_eq!(site.last_event(), ["hub-device-disabled", "sensor-1"]);
    let shown = site.json("hub device show sensor-1");
    assert_eq!(
        (&shown["status"], &shown["statusReason"]),
        (&json!("disabled"), &json!("stolen"))
    );
    assert!(shown["authentication"].get("symmetricKey").is_none());
    site.done("dps registration delete sensor-1 --yes");
    site.run("hub device enable sensor-1 --yes").assert_refused(
        8,
        &[
            "error: DPS local has no registration record of sensor-1",
            "  hint: name its hub with --hub",
        ],
    );
    let on_hub = "sensor-1 --hub hub-1.azure-devices.net --yes";
    site.done(&format!("hub device enable {on_hub}"));
    let again = site.done(&format!("hub device enable {on_hub}"));
    assert!(
        again.stdout.starts_with("nothing to do"),
        "{}",
        again.stdout
    );
    site.done(&format!("hub device delete {on_hub}"));
    assert_eq!(site.last_event(), ["hub-device-deleted", "sensor-1"]);
    assert_eq!(site.run(&format!("hub device delete {on_hub}")).code, 8);
    let long = "x".repeat(129);
    assert_eq!(
        site.run(&format!("hub device disable sensor-1 --reason {long}"))
            .code,
        2
    );
}
