//! `batch`: what was handed out is what was issued, or it is told what differs.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Run, World, now};
use pki_core::certificate::pem;
use pki_core::key::read_private_key;
use pki_core::testing::FixedClock;
use pki_core::time::Span;
use serde_json::{Value, json};

/// A home with its authorities and one batch of three devices, `line-7`.
struct Home(World);

impl Home {
    fn with_batch(options: &str) -> Self {
        let issue = format!(
            "issue --prefix line-7- --count 3 --authority factory --batch line-7 --plain-keys \
             --out line-7 --home pki {options}"
        );
        Self(World::after(&[
            "init pki",
            "authority create --home pki",
            &issue,
        ]))
    }

    /// Verifies the batch without a home; `options` say more.
    fn verify(&self, options: &str) -> Run {
        let line = format!("batch verify line-7.manifest.json {options}");
        self.0.run(&line)
    }

    /// Edits the manifest, as somebody can who has no key.
    fn edit_manifest(&self, edit: impl Fn(&mut Value)) {
        let text = self.0.read("line-7.manifest.json");
        let mut manifest = serde_json::from_str(&text).expect("manifest");
        edit(&mut manifest);
        self.0.write("line-7.manifest.json", manifest.to_string());
    }

    /// Writes the chain of the factory, from which the receiver trusts the root.
    fn export_authorities(&self) {
        for name in ["root", "factory"] {
            let run = self.0.done(&format!("authority export {name} --home pki"));
            self.0.write(&format!("{name}.pem"), run.stdout);
        }
    }
}

/// What came of each check.
fn findings(run: &Run) -> Vec<(String, String)> {
    let verdict = run.json();
    let checks = verdict["checks"].as_array().expect("checks").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    checks
        .map(|check| (text(&check["check"]), text(&check["finding"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(check, finding): &(&str, &str)| ((*check).to_owned(), (*finding).to_owned());
    expected.iter().map(owned).collect()
}

/// The columns key and value of a file of NVS rows.
fn nvs_rows(home: &World, file: &str) -> BTreeMap<String, String> {
    let text = home.read(file);
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let pair = |row: csv::StringRecord| (row[0].to_owned(), row[3].to_owned());
    rows.records()
        .map(|row| pair(row.expect("a row")))
        .collect()
}

/// A device's files for its firmware hold the same chain as all others.
#[test]
fn a_batch_may_be_files_for_firmware() {
    let home = World::with_authorities();
    home.done(
        "issue --prefix a: --count 2 --authority factory --format nvs --plain-keys --out rows",
    );
    let rows = nvs_rows(&home, "rows/a%3A2.nvs.csv");
    assert_eq!(rows["registration_id"], "a:2");
    let chain = pem::certificates(rows["full_chain"].as_bytes()).expect("a chain");
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[0].to_pem(), rows["cert"]);
    assert!(chain.windows(2).all(|pair| pair[0].is_issued_by(&pair[1])));
    let key = read_private_key(rows["key"].as_bytes(), None).expect("a key");
    assert_eq!(key.public_key(), chain[0].public_key());
    home.done("batch verify rows.manifest.json");
    // One that is named on the command line is a batch of one.
    home.done("issue b-1 --authority factory --format c-header --plain-keys --out headers");
    let header = home.read("headers/b-1.h");
    for part in [
        "b_1_certificate[]",
        "b_1_full_chain_pem[]",
        "b_1_private_key[]",
    ] {
        assert!(header.contains(part), "{part}");
    }
    // Devices that keep their keys have nothing to hide.
    home.done("csr create own-1 --out in");
    home.done("sign in --authority factory --format nvs --out own");
    assert!(!nvs_rows(&home, "own/own-1.nvs.csv").contains_key("key"));
    home.write("passphrase", "tests-never-guess-these-texts");
    for (wrong, code, told) in [
        (
            "--format nvs --out x",
            4,
            "--plain-keys says that it is meant",
        ),
        (
            "--format nvs --key-passphrase-from file:passphrase --out x",
            2,
            "is not encrypted",
        ),
        ("--format c-header --plain-keys --out -", 2, "is one stream"),
    ] {
        let run = home.run(&format!("issue c-1 --authority factory {wrong}"));
        run.ends_with(code);
        run.stderr_has(told);
    }
    home.done("issue c-1 --authority factory --key-passphrase-from file:passphrase --out c.ndjson");
    let sealed = line(&home, "c.ndjson", 0)["privateKey"].to_string();
    assert!(sealed.contains("ENCRYPTED PRIVATE KEY"));
}

/// The leaves of devices in the inventory, newest first: status and serial number of each.
fn leaves(home: &World, id: &str) -> Vec<(String, String)> {
    let shown = home
        .done(&format!("inventory show {id} --output json"))
        .json();
    let text = |leaf: &Value, member: &str| leaf[member].as_str().expect("text").to_owned();
    let leaves = shown.as_array().expect("leaves").iter();
    leaves
        .map(|leaf| (text(leaf, "status"), text(leaf, "serialNumber")))
        .collect()
}

fn statuses(home: &World, id: &str) -> Vec<String> {
    leaves(home, id).into_iter().map(|leaf| leaf.0).collect()
}

/// A home with a batch `order` of three devices of which one has a length and names of its own.
fn ordered() -> World {
    let home = World::with_authorities();
    home.write(
        "list.csv",
        "registration_id,validity,san,site\nPump-1,30d,gw.example,Ulm\npump-2,,,Ulm\npump-3,,,Graz\n",
    );
    home.done(
        "issue --devices list.csv --authority factory --batch order --plain-keys --out lost.ndjson",
    );
    home
}

fn line(home: &World, file: &str, number: usize) -> Value {
    let text = home.read(file);
    serde_json::from_str(text.lines().nth(number).expect("a line")).expect("JSON")
}

#[test]
fn a_lost_batch_is_issued_anew_under_its_name() {
    let home = ordered();
    let replace = "batch replace order --leaves void --plain-keys --out again.ndjson";
    let rehearsed = home.done(&format!("{replace} --dry-run"));
    rehearsed.stderr_has("would issue 3 leaves to again.ndjson");
    let unasked = home.run(replace);
    unasked.ends_with(4);
    unasked.stderr_has("not confirmed: void 3 leaves of batch order, and issue them anew?");
    assert_eq!(statuses(&home, "pump-1"), ["delivered"]);
    assert!(!home.path("again.ndjson.part").exists());
    let before = line(&home, "lost.ndjson", 0);
    home.done(&format!("{replace} --yes"));
    for id in ["pump-1", "pump-2", "pump-3"] {
        assert_eq!(statuses(&home, id), ["delivered", "voided"]);
    }
    // What the lost leaves said is what the new ones say.
    let after = line(&home, "again.ndjson", 0);
    for member in ["registrationId", "labels", "notAfter"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    for member in ["serialNumber", "privateKey"] {
        assert_ne!(after[member], before[member], "{member}");
    }
    home.done("batch verify again.ndjson.manifest.json");
    let listed = home.done("batch list --output json").json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["output"], "again.ndjson");
    let trail = home.done("audit log --output json").stdout;
    assert!(trail.contains("\"batch-replaced\""), "{trail}");
    assert!(trail.contains("its batch was lost"), "{trail}");
    home.done("audit verify");
    // The same command finds its work done; the one that issued the lost batch is another one's.
    let again = home.done(&format!("{replace} --yes"));
    again.stderr_has("batch order is complete already");
    let first = home.run(
        "issue --devices list.csv --authority factory --batch order --plain-keys --out lost.ndjson",
    );
    first.stderr_has("there is another batch");
    // Lost once more.
    home.done("batch replace order --leaves void --plain-keys --out third.ndjson --yes");
    assert_eq!(statuses(&home, "pump-2"), ["delivered", "voided", "voided"]);
    home.done("audit verify");
}

/// Keys that somebody may have are compromised; a device that keeps its key has a leaf that is superseded.
#[test]
fn a_lost_batch_may_be_revoked() {
    let home = World::with_authorities();
    home.done("csr create own-1 --out in");
    home.write(
        "list.csv",
        "registration_id,csr\nown-1,in/own-1.csr.pem\nmade-2,\nrenewed-3,\nstolen-4,\n",
    );
    home.done(
        "issue --devices list.csv --authority factory --batch order --plain-keys --out lost.ndjson",
    );
    home.done("renew renewed-3 --out new");
    home.done("revoke stolen-4 --reason keyCompromise --yes");
    let run =
        home.done("batch replace order --leaves revoke --plain-keys --out again.ndjson --yes");
    run.stderr_has("1 device has got a later leaf since: renewed-3; what was lost is revoked");
    run.stderr_has("dps-pki quarantine");
    assert_eq!(home.read("again.ndjson").lines().count(), 2);
    assert_eq!(statuses(&home, "own-1"), ["delivered", "revoked"]);
    assert_eq!(statuses(&home, "made-2"), ["delivered", "revoked"]);
    assert_eq!(statuses(&home, "renewed-3"), ["delivered", "revoked"]);
    assert_eq!(statuses(&home, "stolen-4"), ["revoked"]);
    assert_eq!(line(&home, "again.ndjson", 0)["privateKey"], Value::Null);
    let trail = home.done("audit log --output json").stdout;
    for reason in ["superseded", "keyCompromise"] {
        assert!(trail.contains(reason), "{trail}");
    }
    home.done("crl factory --out factory.crl");
    home.done("audit verify");
}

/// Nobody got the keys, or so they say who void them: they are told what is left of that.
#[test]
fn a_lost_leaf_that_stays_valid_is_named() {
    let home = ordered();
    home.done("renew pump-2 --out new");
    let run = home.done("batch replace order --leaves void --plain-keys --out again.ndjson --yes");
    run.stderr_has("1 device has got a later leaf since: pump-2; what was lost stays valid");
    assert_eq!(statuses(&home, "pump-2"), ["delivered", "delivered"]);
    assert_eq!(statuses(&home, "pump-3"), ["delivered", "voided"]);
    assert_eq!(home.read("again.ndjson").lines().count(), 2);
}

#[test]
fn what_is_no_lost_batch_is_not_replaced() {
    let home = ordered();
    let replace = "batch replace order --leaves void --plain-keys --yes";
    for (wrong, code, told) in [
        (
            "batch replace other --leaves void --plain-keys --yes --out x",
            8,
            "there is no batch other",
        ),
        (
            "batch replace order --plain-keys --yes --out x",
            2,
            "--leaves",
        ),
        (
            "batch replace order --leaves void --yes --out x",
            4,
            "would be written in the clear",
        ),
        (
            "batch replace order --leaves void --plain-keys --batch b --yes --out x",
            2,
            "under its own name",
        ),
        (
            "batch replace order --leaves void --plain-keys --yes --out lost.ndjson",
            4,
            "exists already",
        ),
        (
            "batch replace order --leaves void --plain-keys --profile none --yes --out x",
            8,
            "declares no profile none",
        ),
    ] {
        let run = home.run(wrong);
        run.ends_with(code);
        run.stderr_has(told);
        assert_eq!(statuses(&home, "pump-1"), ["delivered"], "{wrong}");
    }
    home.done("renew pump-1 pump-2 pump-3 --out new");
    let run = home.run(&format!("{replace} --out x"));
    run.ends_with(4);
    run.stderr_has("batch order has no leaf that could be replaced");
}

#[test]
fn batches_are_listed_and_shown() {
    let home = Home::with_batch("--sign-manifest");
    let list = home.0.done("batch list --home pki --output json").json();
    for (name, expected) in [
        ("batch", json!("line-7")),
        ("authority", json!("factory")),
        ("generation", json!(1)),
        ("status", json!("complete")),
        ("devices", json!(3)),
        ("delivered", json!(3)),
        ("format", json!("ndjson")),
        ("startedAt", json!("2026-06-01T12:00:00Z")),
    ] {
        assert_eq!(list[0][name], expected, "{name}");
    }
    let shown = home
        .0
        .done("batch show line-7 --home pki --output json")
        .json();
    let manifest: Value = serde_json::from_str(&home.0.read("line-7.manifest.json")).expect("JSON");
    assert_eq!(shown["manifest"], manifest);
    let text = home.0.done("batch show line-7 --home pki").stdout;
    assert!(text.contains("signed by the authority"), "{text}");

    home.0.done(
        "issue --prefix b- --count 1 --authority factory --batch b --plain-keys --out b --home pki",
    );
    let run = home.0.done("batch list --limit 1 --home pki");
    run.stderr_has("only 1 are listed");
    let rest = home
        .0
        .done("batch list --after line-7 --home pki --output json")
        .json();
    assert_eq!(rest.as_array().map(Vec::len), Some(1), "{rest}");
}

#[test]
fn a_batch_that_does_not_exist_is_not_found() {
    let home = Home::with_batch("");
    for line in ["batch show line-8", "batch list --after line-8"] {
        home.0.run(&format!("{line} --home pki")).assert_refused(
            8,
            &[
                "error: there is no batch line-8",
                "  hint: see them with: dps-pki batch list",
            ],
        );
    }
    assert_eq!(home.0.run("batch verify none.manifest.json").code, 8);
    std::fs::rename(home.0.path("line-7"), home.0.path("moved")).expect("moved");
    let run = home.verify("");
    run.ends_with(8);
    assert_eq!(home.verify("--file moved").code, 0);
}

#[test]
fn a_signed_batch_verifies_at_home() {
    let home = Home::with_batch("--sign-manifest");
    let run = home.verify("--home pki --require-signature --output json");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(
        findings(&run),
        pairs(&[
            ("output", "holds"),
            ("signature", "holds"),
            ("authority", "holds"),
            ("record", "holds"),
        ])
    );
}

#[test]
fn a_receiver_without_a_home_verifies_by_the_authority_and_its_anchor() {
    let home = Home::with_batch("--sign-manifest");
    home.export_authorities();
    let run = home.verify("--authority-cert factory.pem --anchor root.pem --output json");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(
        findings(&run),
        pairs(&[
            ("output", "holds"),
            ("signature", "holds"),
            ("authority", "holds")
        ])
    );
    let run = home.verify("--authority-cert factory.pem --output json");
    run.ends_with(0);
    assert_eq!(findings(&run)[2].1, "notChecked");
    let run = home.verify("--authority-cert root.pem");
    run.ends_with(4);
    let other = World::with_pki();
    home.0.write("other.pem", other.read("root.cert.pem"));
    let run = home.verify("--authority-cert factory.pem --anchor other.pem --output json");
    run.ends_with(4);
    assert_eq!(
        findings(&run)[1..],
        pairs(&[("signature", "holds"), ("authority", "fails")])
    );
    let late = "--authority-cert factory.pem --anchor root.pem --at 2099-01-01T00:00:00Z";
    assert_eq!(home.verify(late).code, 4);
}

#[test]
fn what_was_not_checked_is_said_and_can_be_refused() {
    let home = Home::with_batch("--sign-manifest");
    let run = home.verify("");
    let warning = "the authority's certificate is not at hand; give it with --authority-cert";
    assert_eq!(run.stderr, format!("warning: {warning}\n"));
    run.ends_with(0).stdout_has("not checked");
    assert_eq!(home.verify("--require-signature").code, 4);
    // Lost on the way, a signature is missed by whoever named the authority.
    home.edit_manifest(|manifest| {
        manifest
            .as_object_mut()
            .expect("object")
            .remove("signature");
    });
    home.export_authorities();
    let run = home.verify("");
    let warning = "the manifest is not signed; anybody could have written it";
    assert_eq!((run.code, run.stderr), (0, format!("warning: {warning}\n")));
    for options in ["--require-signature", "--authority-cert factory.pem"] {
        assert_eq!(home.verify(options).code, 4, "{options}");
    }
    let run = home.verify("--home pki --output json");
    run.ends_with(4);
    assert_eq!(findings(&run).last(), pairs(&[("record", "fails")]).last());
}

#[test]
fn an_output_that_was_changed_is_found() {
    let home = Home::with_batch("");
    let whole = home.0.read("line-7");
    let last = whole.len() - 2;
    let changed = format!("{}?{}", &whole[..last], &whole[last + 1..]);
    for output in [&whole[..last], &changed, ""] {
        home.0.write("line-7", output);
        let run = home.verify("--output json");
        assert_eq!((run.code, findings(&run)[0].1.as_str()), (4, "fails"));
        assert_eq!(run.json()["holds"], json!(false));
        let error = run.stderr.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(error).expect("JSON");
        assert_eq!(error["error"]["kind"], json!("refused"));
    }
    home.0.write("line-7", &whole);
    assert_eq!(home.verify("").code, 0);
}

#[test]
fn a_manifest_that_was_changed_is_found() {
    let home = Home::with_batch("--sign-manifest");
    home.export_authorities();
    for (member, value) in [
        ("batch", json!("line-8")),
        ("devices", json!(2)),
        ("completedAt", json!("2026-06-02T12:00:00Z")),
        ("firstSerialNumber", json!("11")),
    ] {
        let good = home.0.read("line-7.manifest.json");
        home.edit_manifest(|manifest| manifest[member] = value.clone());
        let run = home.verify("--authority-cert factory.pem --output json");
        assert_eq!(
            (run.code, findings(&run)[1].1.as_str()),
            (4, "fails"),
            "{member}"
        );
        home.0.write("line-7.manifest.json", good);
    }
    home.edit_manifest(|manifest| manifest["output"] = json!("../line-7"));
    assert_eq!(home.verify("").code, 3);
    home.0.write("line-7.manifest.json", "{}");
    assert_eq!(home.verify("").code, 3);
}

#[test]
fn a_folder_is_verified_file_by_file() {
    let home = Home::with_batch("--format dir --sign-manifest");
    let run = home.verify("--home pki --output json");
    run.ends_with(0);
    assert_eq!(
        findings(&run)[..2],
        pairs(&[("output", "holds"), ("files", "holds")])
    );
    let sums = home.0.read("line-7/SHA256SUMS");
    let paths: Vec<&str> = sums
        .lines()
        .filter_map(|line| line.split("  ").nth(1))
        .collect();
    assert!(paths.len() >= 9, "{sums}");
    let complains = |about: &str| {
        let run = home.verify("");
        assert_eq!(run.code, 4, "{about}: {}", run.stdout);
        assert!(run.stderr.contains(about), "{about}: {}", run.stderr);
    };
    let name = format!("line-7/{}", paths[4]);
    let content = home.0.read(&name);

    home.0.write(&name, format!("{content}\n"));
    complains(&format!("{}: it was changed", paths[4]));

    std::fs::remove_file(home.0.path(&name)).expect("removed");
    complains(&format!("{}: it is missing", paths[4]));

    // One is missing and another one there: the counts agree.
    home.0.write("line-7/other", "x");
    complains("1 are not in it");
    home.0.write(&name, &content);
    complains("1 are not in the list");
    std::fs::remove_file(home.0.path("line-7/other")).expect("removed");
    assert_eq!(home.verify("").code, 0);

    std::fs::remove_file(home.0.path(&name)).expect("removed");
    std::fs::create_dir(home.0.path(&name)).expect("folder");
    complains(&format!("{}: it is no file", paths[4]));

    home.0
        .write("line-7/SHA256SUMS", sums.replacen('a', "b", 1));
    complains("the output's SHA-256 is");
}

#[test]
fn the_signature_of_a_compromised_authority_proves_nothing() {
    use pki_core::ids::Generation;
    use pki_core::inventory::{GenerationChange, GenerationState, Inventory as _};
    use pki_core::sqlite::SqliteInventory;

    let home = Home::with_batch("--sign-manifest");
    let mut inventory = SqliteInventory::open_or_create(&home.0.path("pki/inventory.db"));
    let change = GenerationChange {
        generation: Generation::FIRST,
        to: GenerationState::Compromised,
    };
    let inventory = inventory.as_mut().expect("inventory");
    inventory
        .settle_generations(&"factory".parse().expect("name"), &[change], now())
        .expect("settled");
    let run = home.verify("--home pki");
    run.ends_with(4).stderr_has("it is compromised");
}

#[test]
fn a_batch_may_go_to_standard_output() {
    let home = Home::with_batch("");
    let line = "issue --prefix out- --count 3 --authority factory --plain-keys --out - --home pki";
    let run = home.0.done(line);
    let ids: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["registrationId"].clone())
        .collect();
    assert_eq!(ids, [json!("out-1"), json!("out-2"), json!("out-3")]);
    run.stderr_has("3 devices in standard output");
    // Whatever reads standard output would get nothing.
    for dry in ["", " --dry-run"] {
        let again = home.0.run(&format!("{line}{dry}"));
        again.ends_with(8);
        assert_eq!(again.stdout, "");
        again.stderr_has("is complete, but its output - is written to standard output once only");
    }
    let run = home.0.run(&format!("{line} --format dir"));
    run.ends_with(2);
    let run = home
        .0
        .run("issue a-1 --authority factory --out - --home pki");
    run.ends_with(2);
    home.0.done(
        "issue --prefix m- --count 1 --authority factory --plain-keys --out - --manifest m.json --sign-manifest --home pki",
    );
    let manifest: Value = serde_json::from_str(&home.0.read("m.json")).expect("JSON");
    assert_eq!(manifest["output"], "-");
}

/// The name of a folder may end in a slash: its part, lock and manifest lie beside it all the same.
#[test]
fn a_slash_behind_a_folder_changes_nothing() {
    let home = Home::with_batch("");
    let line =
        "issue --prefix s- --count 2 --authority factory --plain-keys --format dir --home pki";
    home.0.done(&format!("{line} --out devs/"));
    assert!(home.0.path("devs/SHA256SUMS").is_file());
    assert!(home.0.path("devs.manifest.json").is_file());
    assert!(!home.0.path("devs/.manifest.json").exists());
    let again = home.0.done(&format!("{line} --out devs"));
    again.stderr_has("is complete already");
}

/// A run that is cut short after its first chunk, as by a broken disk.
fn cut_short(home: &World, line: &str) {
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("inventory");
    // Where the runs of later chunks would be, others are: whoever records one is refused by SQLite.
    let fail = "WITH RECURSIVE place (id) AS (
                    SELECT max(id) + 60 FROM certificate UNION ALL
                    SELECT id + 1 FROM place LIMIT 1000)
                INSERT INTO run SELECT id, id, 'leaf', 'delivered', NULL, NULL, 1, 1 FROM place";
    inventory.execute_batch(fail).expect("broken");
    let run = home.run(line);
    run.ends_with(1);
    inventory
        .execute_batch("DELETE FROM run WHERE recorded_in = 1 AND first > 10")
        .expect("mended");
}

#[test]
fn leaves_of_a_batch_begin_when_it_was_opened_however_late_they_are_made() {
    let mut home = World::with_authorities();
    let list: String = (0..200).map(|number| format!("x-{number},30d\n")).collect();
    home.write("list.csv", format!("registration_id,validity\n{list}"));
    let line = "issue --devices list.csv --authority factory --plain-keys --jobs 1 --out out";
    cut_short(&home, line);
    // What is left of it a month later would have ended before it began.
    home.clock = Arc::new(FixedClock(now() + Span::from_days(31)));
    for dry in ["", " --dry-run"] {
        let run = home.run(&format!("{line}{dry}"));
        run.ends_with(3);
        for said in ["it would have ended already", "when the batch was opened"] {
            run.stderr_has(said);
        }
    }
    home.clock = Arc::new(FixedClock(now() + Span::from_days(20)));
    home.done(line);
    let leaves = home
        .done("inventory list --output json --limit 1000 --id x-*")
        .json();
    let leaves = leaves.as_array().expect("a list");
    let delivered = leaves.iter().filter(|leaf| leaf["status"] == "delivered");
    let ends: Vec<&Value> = delivered.map(|leaf| &leaf["notAfter"]).collect();
    assert_eq!(ends.len(), 200);
    let end = (now() + Span::from_days(30)).to_string();
    assert!(ends.iter().all(|found| **found == end), "{ends:?}");
}

#[test]
fn every_bad_line_is_told_to_scripts_and_the_first_hundred_to_people() {
    let home = World::with_authorities();
    let bad: String = (0..150)
        .map(|number| format!("bad {number}\nx-{number}\n"))
        .collect();
    let twice: String = (0..150).map(|number| format!("X-{number}\n")).collect();
    home.write("list", bad + &twice);
    let line = "issue --devices list --authority factory --plain-keys --out out";
    let run = home.run(line);
    run.ends_with(3);
    assert!(
        run.stderr
            .starts_with("error: list: 300 lines cannot be used"),
        "{}",
        run.stderr
    );
    run.stderr_has("and 200 more; --output json");
    let run = home.run(&format!("{line} --output json"));
    let lines = run.error_json()["error"]["lines"].clone();
    let lines = lines.as_array().expect("lines");
    let places: Vec<u64> = lines
        .iter()
        .map(|line| line["line"].as_u64().expect("line"))
        .collect();
    let expected = (0..150).map(|number| 2 * number + 1).chain(301..=450);
    assert_eq!(places, expected.collect::<Vec<u64>>());
}

/// A clock was wrong once. The run is refused by the transaction that would record; a dry run, and one for a
/// single device, must not say anything else.
#[test]
fn a_leaf_that_begins_later_is_the_only_one_of_its_device() {
    let mut world = World::with_authorities();
    world.clock = Arc::new(FixedClock(now() + Span::from_days(2)));
    world.done("issue sensor-1 --authority factory --out early");
    world.clock = Arc::new(FixedClock(now()));
    world.write("ids.txt", "sensor-1\n");
    let batch = "issue --devices ids.txt --authority factory --plain-keys --out batch";
    for line in [format!("{batch} --dry-run"), batch.to_owned()] {
        let run = world.run(&line);
        run.ends_with(3)
            .stderr_has("sensor-1")
            .stderr_has("it has a valid leaf already");
    }
    world
        .run("issue sensor-1 --authority factory --out single")
        .ends_with(4)
        .stderr_has("sensor-1 has a valid leaf already");
}
