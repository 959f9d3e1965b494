//! `audit prove` and `audit verify --proof`: a certificate proven away from its home.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]

use crate::support::World;
use serde_json::{Value, json};

/// A home with issued devices, and beside it a folder where somebody checks proofs.
fn world() -> World {
    World::after(&[
        "init pki",
        "authority create --home pki",
        "issue sensor-1 --authority factory --out issued --home pki",
        "issue --prefix line-7- --count 40 --authority factory --out line-7 --plain-keys --home pki",
    ])
}

fn head(world: &World) -> String {
    let run = world.done("audit head --home pki");
    run.stdout.trim().to_owned()
}

#[test]
fn a_proof_holds_where_there_is_no_home() {
    let world = world();
    let checkpoint = head(&world);
    let run = world.done("audit prove sensor-1 --out proof.json --home pki --output json");
    assert_eq!(run.json()["registrationId"], json!("sensor-1"));
    assert_eq!(run.json()["checkpoint"], json!(checkpoint));
    let serial = world
        .done("inventory show sensor-1 --home pki --output json")
        .json();
    let serial = serial[0]["serialNumber"]
        .as_str()
        .expect("serial")
        .to_owned();
    let printed = world.done(&format!("audit prove {serial} --home pki"));
    assert_eq!(printed.stdout, world.read("proof.json"));
    world.done("audit prove sensor-1 --out proof.json --home pki");
    world.write("other.json", "another proof");
    let again = world.run("audit prove sensor-1 --out other.json --home pki");
    again.ends_with(4);
    assert_eq!(world.read("other.json"), "another proof");

    std::fs::rename(world.path("pki"), world.path("away")).expect("moved");
    let verify = "audit verify --proof proof.json --cert issued/sensor-1.cert.pem";
    let run = world.run(&format!("{verify} --checkpoint {checkpoint} --output json"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.json()["holds"], json!(true));
    assert_eq!(run.json()["certificateCompared"], json!(true));
    let run = world.run(verify);
    assert_eq!(run.code, 0);
    assert!(
        run.stderr
            .starts_with("warning: the proof is as good as its checkpoint")
    );
}

/// A proof made later leads to a checkpoint that was kept earlier, if the certificate is older.
#[test]
fn a_proof_leads_to_the_checkpoint_that_was_kept() {
    let world = world();
    let kept = head(&world);
    world.done("issue sensor-2 --authority factory --out issued --home pki");
    let proof = format!("audit prove line-7-07 --checkpoint {kept} --out proof.json --home pki");
    world.done(&proof);
    let verify = "audit verify --proof proof.json";
    let run = world.run(&format!(
        "{verify} --checkpoint 1:{} --checkpoint {kept}",
        "0".repeat(64)
    ));
    run.ends_with(0);
    let run = world.run(&format!("{verify} --checkpoint {}", head(&world)));
    run.ends_with(4);
    let run = world.run(&format!(
        "audit prove sensor-2 --checkpoint {kept} --home pki"
    ));
    run.ends_with(8);
}

#[test]
fn a_proof_that_was_changed_or_is_about_another_is_refused() {
    let world = world();
    world.done("audit prove line-7-07 --out proof.json --home pki");
    let refused = |line: &str, about: &str| {
        let run = world.run(line);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (4, ""),
            "{about}: {}",
            run.stderr
        );
    };
    refused(
        "audit verify --proof proof.json --cert issued/sensor-1.cert.pem",
        "another certificate",
    );
    let good: Value = serde_json::from_str(&world.read("proof.json")).expect("proof");
    for (member, value) in [
        ("/certificate/registrationId", json!("line-7-08")),
        ("/certificate/batch", json!("other")),
        ("/certificate/sha256Thumbprint", json!("A".repeat(64))),
        ("/entry/at", json!("2020-01-01T00:00:00Z")),
        ("/entry/subject", json!("other")),
        ("/entry/content", json!("0".repeat(64))),
        ("/checkpoint", json!(format!("9:{}", "0".repeat(64)))),
        ("/format", json!("other")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(member).expect(member) = value;
        world.write("bad.json", bad.to_string());
        refused("audit verify --proof bad.json", member);
    }
    world.write("bad.json", "{}");
    assert_eq!(world.run("audit verify --proof bad.json").code, 3);
    assert_eq!(world.run("audit verify --proof none.json").code, 8);
}

#[test]
fn what_is_not_in_the_inventory_is_not_proven() {
    let run = world().run("audit prove nobody --home pki");
    run.ends_with(8);
}
