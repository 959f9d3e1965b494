//! `audit checkpoint`, and `audit verify` with a checkpoint in a file.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::World;
use serde_json::{Value, json};

fn world() -> World {
    World::after(&[
        "init pki",
        "authority create --home pki",
        "issue sensor-1 --authority factory --out issued --home pki",
    ])
}

fn edit(world: &World, file: &str, edit: impl Fn(&mut Value)) {
    let mut checkpoint = serde_json::from_str(&world.read(file)).expect("JSON");
    edit(&mut checkpoint);
    world.write(file, checkpoint.to_string());
}

#[test]
fn a_trail_that_grew_holds_its_checkpoint() {
    let world = world();
    let head = world.done("audit head --home pki").stdout;
    let run = world.done("audit checkpoint --out kept.json --home pki --output json");
    assert_eq!(run.json()["checkpoint"], json!(head.trim()));
    let kept: Value = serde_json::from_str(&world.read("kept.json")).expect("JSON");
    assert_eq!(kept["certificates"], 3);
    assert_eq!(kept["madeAt"], "2026-06-01T12:00:00Z");
    world.done("issue sensor-2 --authority factory --out issued --home pki");
    let again = world.run("audit checkpoint --out kept.json --home pki");
    assert_eq!(again.code, 4, "a checkpoint is not overwritten");
    world.done("audit verify --checkpoint kept.json --home pki");
    // Another history, as whoever computed the trail anew would have: refused.
    edit(&world, "kept.json", |checkpoint| {
        checkpoint["hash"] = json!("0".repeat(64));
    });
    let run = world.run("audit verify --checkpoint kept.json --home pki");
    run.ends_with(4);
}

#[test]
fn a_signed_checkpoint_cannot_be_made_up() {
    let world = world();
    let printed = world
        .done("audit checkpoint --sign-with factory --home pki")
        .stdout;
    world.write("kept.json", &printed);
    world.done("audit verify --checkpoint kept.json --home pki");
    let chain = world
        .done("authority export factory --chain --home pki")
        .stdout;
    world.write("factory.pem", chain);
    let verify = "audit verify --checkpoint kept.json --authority-cert factory.pem --home pki";
    world.done(verify);
    // Any member that is changed breaks the signature, also where the trail would still fit.
    edit(&world, "kept.json", |checkpoint| {
        checkpoint["certificates"] = json!(2);
    });
    for line in [verify, "audit verify --checkpoint kept.json --home pki"] {
        let run = world.run(line);
        run.ends_with(4);
        let told = "kept.json: it was changed after it was signed, or signed by another key";
        run.stderr_has(told);
    }
    // Without its signature it is accepted by its word only, not where a signer is named.
    edit(&world, "kept.json", |checkpoint| {
        let members = checkpoint.as_object_mut().expect("object");
        members.remove("signature");
        members.remove("signedBy");
    });
    let run = world.run(verify);
    run.ends_with(4).stderr_has("it is not signed");
}

/// A signature of a batch is none of a checkpoint, whoever swaps them.
#[test]
fn signatures_are_of_one_kind_of_document() {
    let world = world();
    world.done("issue --prefix l- --count 1 --authority factory --plain-keys --sign-manifest --out l --home pki",
    );
    let manifest: Value = serde_json::from_str(&world.read("l.manifest.json")).expect("JSON");
    let printed = world
        .done("audit checkpoint --sign-with factory --home pki")
        .stdout;
    world.write("kept.json", printed);
    edit(&world, "kept.json", |checkpoint| {
        checkpoint["signature"] = manifest["signature"].clone();
    });
    let run = world.run("audit verify --checkpoint kept.json --home pki");
    assert_eq!(run.code, 4);
    let told = "it is a signature of something else";
    run.stderr_has(told);
}

#[test]
fn a_proof_is_checked_against_a_checkpoint_in_a_file() {
    let world = world();
    world.done("audit checkpoint --out kept.json --home pki");
    world.done("audit prove sensor-1 --out proof.json --home pki");
    std::fs::rename(world.path("pki"), world.path("away")).expect("moved");
    let verify = "audit verify --proof proof.json --checkpoint";
    world.done(&format!("{verify} kept.json"));
    let run = world.run(&format!("{verify} none.json"));
    assert_eq!(run.code, 8);
    run.stderr_has("64 hexadecimal digits");
    world.write("other.json", "{}");
    assert_eq!(world.run(&format!("{verify} other.json")).code, 3);
}
