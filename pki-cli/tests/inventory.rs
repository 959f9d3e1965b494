//! `inventory` and `audit`: what has happened, asked for and verified.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::support::{Run, World, now};
use pki_core::certificate::Certificate;
use pki_core::crl::RevocationReason;
use pki_core::inventory::{Inventory as _, Labels, NewCertificate, Status, Uniqueness};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::SampleAuthority;
use pki_core::time::{Span, Validity};
use serde_json::{Value, json};

/// A home whose inventory holds certificates that were recorded as told.
struct Home {
    world: World,
    authority: SampleAuthority,
}

impl Home {
    fn new() -> Self {
        let world = World::new();
        assert_eq!(world.run("init").code, 0);
        Self {
            world,
            authority: SampleAuthority::new("Contoso Factory CA"),
        }
    }

    fn path(&self) -> PathBuf {
        self.world.path("inventory.db")
    }

    fn inventory(&self) -> SqliteInventory {
        SqliteInventory::open_or_create(&self.path()).expect("inventory")
    }

    /// Records a leaf that begins a day ago, and delivers it.
    fn deliver(&self, id: &str, serial: u32, days: u64) -> Certificate {
        self.deliver_labelled(id, serial, days, "")
    }

    /// Records a leaf that ended a day ago, and delivers it.
    fn deliver_ended(&self, id: &str, serial: u32) -> Certificate {
        let [begin, end] = [9, 1].map(|days| now() - Span::from_days(days));
        let validity = Validity::new(begin, end).expect("validity");
        self.deliver_valid(id, serial, validity, "")
    }

    /// As [`Self::deliver`], with labels, a line for each.
    fn deliver_labelled(&self, id: &str, serial: u32, days: u64, labels: &str) -> Certificate {
        let begin = now() - Span::from_days(1);
        let validity = Validity::new(begin, now() + Span::from_days(days)).expect("validity");
        self.deliver_valid(id, serial, validity, labels)
    }

    fn deliver_valid(
        &self,
        id: &str,
        serial: u32,
        validity: Validity,
        labels: &str,
    ) -> Certificate {
        let certificate = self.authority.certificate(id, serial, validity);
        let new = NewCertificate {
            certificate: certificate.clone(),
            role: Role::Leaf,
            signed_by: None,
            registration_id: Some(id.parse().expect(id)),
            batch: None,
            labels: labels.parse().expect(labels),
            request: None,
            uniqueness: Uniqueness::FromElsewhere,
        };
        let mut inventory = self.inventory();
        let recorded = inventory.record(vec![new], now()).expect("recorded");
        inventory
            .mark_delivered(&[recorded[0].row()], now())
            .expect("delivered");
        certificate
    }

    /// Records leaves that are never delivered, with serial numbers from one on.
    fn record_many(&self, serials: RangeInclusive<u32>) {
        let validity = Validity::new(now(), now() + Span::from_days(90)).expect("validity");
        let leaf = |serial: u32| {
            let id = format!("line-{serial}");
            NewCertificate {
                certificate: self.authority.certificate(&id, serial, validity),
                role: Role::Leaf,
                signed_by: None,
                registration_id: Some(id.parse().expect("id")),
                batch: None,
                labels: Labels::default(),
                request: None,
                uniqueness: Uniqueness::FromElsewhere,
            }
        };
        let recorded = self.inventory().record(serials.map(leaf).collect(), now());
        recorded.expect("recorded");
    }

    fn revoke(&self, certificate: &Certificate) {
        let mut inventory = self.inventory();
        let entry = inventory
            .by_sha256_thumbprint(&certificate.sha256_thumbprint())
            .expect("read")
            .expect("there");
        assert_eq!(entry.state.status(), Status::Delivered);
        inventory
            .revoke(
                &[entry.recorded.row()],
                RevocationReason::KeyCompromise,
                now(),
            )
            .expect("revoked");
    }

    fn run(&self, line: &str) -> Run {
        self.world.run(line)
    }

    /// The registration IDs in a list.
    fn ids(&self, line: &str) -> Vec<String> {
        let run = self.run(&format!("{line} --output json"));
        assert!([0, 10].contains(&run.code), "{}", run.stderr);
        let id = |entry: &Value| entry["registrationId"].as_str().expect("id").to_owned();
        run.json()
            .as_array()
            .expect("list")
            .iter()
            .map(id)
            .collect()
    }
}

#[test]
fn an_entry_has_the_names_that_mean_the_same_everywhere() {
    let home = Home::new();
    let leaf = home.deliver("Sensor-1", 17, 90);
    let run = home.run("inventory show sensor-1 --output json");
    run.ends_with(0);
    let entry = &run.json()[0];
    for (name, expected) in [
        ("registrationId", json!("Sensor-1")),
        ("role", json!("leaf")),
        ("status", json!("delivered")),
        ("authority", Value::Null),
        ("generation", Value::Null),
        ("subject", json!("CN=Sensor-1")),
        ("issuer", json!("CN=Contoso Factory CA")),
        ("serialNumber", json!("11")),
        ("notBefore", json!("2026-05-31T12:00:00Z")),
        ("notAfter", json!("2026-08-30T12:00:00Z")),
        ("sha1Thumbprint", json!(leaf.sha1_thumbprint())),
        ("sha256Thumbprint", json!(leaf.sha256_thumbprint())),
    ] {
        assert_eq!(entry[name], expected, "{name}");
    }
}

#[test]
fn a_certificate_is_found_by_each_of_its_names() {
    let home = Home::new();
    let leaf = home.deliver("sensor-1", 0xabcd, 90);
    home.deliver("sensor-2", 2, 90);
    let sha1 = leaf.sha1_thumbprint();
    let sha256 = leaf.sha256_thumbprint();
    for name in [
        "SENSOR-1",
        "abcd",
        "AB:CD",
        &sha1.to_string(),
        &sha256.to_string(),
    ] {
        assert_eq!(home.ids(&format!("inventory show {name}")), ["sensor-1"]);
    }
    home.run("inventory show sensor-3").assert_refused(
        8,
        &["error: the inventory holds no certificate with the registration ID, serial number or thumbprint sensor-3"],
    );
}

#[test]
fn a_list_meets_all_conditions_and_says_when_it_is_cut() {
    let home = Home::new();
    for (serial, id) in (1..).zip(["line-7:1", "line-7:2", "line-8:1"]) {
        home.deliver(id, serial, 90);
    }
    home.revoke(&home.deliver("line-7:3", 9, 90));
    assert_eq!(
        home.ids("inventory list --id LINE-7:* --status delivered"),
        ["line-7:1", "line-7:2"]
    );
    assert_eq!(home.ids("inventory list --status revoked"), ["line-7:3"]);
    let run = home.run("inventory list --limit 2");
    assert_eq!(run.stdout.lines().count(), 3, "{}", run.stdout);
    assert_eq!(
        run.stderr,
        "warning: only the first 2 are listed; see more with --limit\n"
    );
    assert_eq!(home.run("inventory list --limit 4").stderr, "");
    home.run("inventory list --authority factroy")
        .assert_refused(
            8,
            &[
                "error: there is no authority factroy",
                "  hint: did you mean factory?",
                "  hint: see them with: dps-pki authority list",
            ],
        );
    assert_eq!(home.ids("inventory list --authority factory"), [""; 0]);
    assert_eq!(home.run("inventory list --status gone").code, 2);
}

#[test]
fn a_label_or_a_batch_is_a_condition() {
    let home = Home::new();
    home.deliver_labelled("a", 1, 90, "color=red\norder=4711");
    home.deliver_labelled("b", 2, 90, "order=47");
    home.deliver("c", 3, 90);
    assert_eq!(home.ids("inventory list --label order=4711"), ["a"]);
    assert_eq!(home.ids("inventory list --label order=47"), ["b"]);
    assert_eq!(home.ids("inventory list --label order=4"), [""; 0]);
    assert_eq!(home.run("inventory list --label order").code, 2);
    for command in ["list", "export"] {
        home.run(&format!("inventory {command} --batch line-7"))
            .assert_refused(
                8,
                &[
                    "error: there is no batch line-7",
                    "  hint: see them with: dps-pki batch list",
                ],
            );
    }
}

/// More than one page of them; what is exported is what is shown.
#[test]
fn an_export_has_a_line_for_each_certificate() {
    let home = Home::new();
    let leaf = home.deliver_labelled("sensor-1", 1, 90, "note=say \"hi\", twice\norder=4711");
    home.record_many(2..=502);
    let run = home.run("inventory export --certificates");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let lines: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(lines.len(), 502);
    let shown = home.run("inventory show sensor-1 --output json").json();
    let exported = lines[0].as_object().expect("object");
    for (name, value) in exported.iter().filter(|(name, _)| *name != "certificate") {
        assert_eq!(*value, shown[0][name], "{name}");
    }
    assert_eq!(exported["certificate"], json!(leaf.to_pem()));

    let run = home.run("inventory export --format csv");
    let mut reader = csv::Reader::from_reader(run.stdout.as_bytes());
    let head = reader.headers().expect("header").clone();
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(records.len(), 502);
    for (name, cell) in head.iter().zip(&records[0]) {
        match &exported[name] {
            Value::Null => assert_eq!(cell, "", "{name}"),
            Value::String(text) => assert_eq!(cell, text, "{name}"),
            value => assert_eq!(cell, value.to_string(), "{name}"),
        }
    }
    assert_eq!(head.len() + 1, exported.len());
    let due = home.run("inventory export --format csv --id sensor-* --status delivered");
    assert_eq!(due.stdout.lines().count(), 2, "{}", due.stdout);
    let none = home.run("inventory export --format csv --id nobody");
    assert_eq!(none.stdout.lines().count(), 1, "{}", none.stdout);
    assert!(!run.stdout.contains("PRIVATE KEY"));
}

#[test]
fn a_reader_that_goes_away_ends_an_export_quietly() {
    let mut home = Home::new();
    home.deliver("a", 1, 90);
    home.world.reader_gone = true;
    let run = home.run("inventory export");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

/// What has a successor, was revoked, or ends later, is not due for renewal.
#[test]
fn due_for_renewal_is_what_ends_soon_and_has_no_successor() {
    let home = Home::new();
    home.deliver("renewed", 1, 10);
    home.deliver("renewed", 2, 90);
    home.deliver("later", 3, 60);
    home.revoke(&home.deliver("revoked", 4, 10));
    let list = "inventory list --expiring-within 30d";
    assert_eq!(home.ids(list), [""; 0]);
    assert_eq!(home.run(&format!("{list} --detailed-exitcode")).code, 0);
    home.deliver("due", 5, 10);
    assert_eq!(home.ids(list), ["due"]);
    assert_eq!(home.run(list).code, 0);
    assert_eq!(home.run(&format!("{list} --detailed-exitcode")).code, 10);
    assert_eq!(home.run("inventory list --detailed-exitcode").code, 2);
}

/// What nobody has renewed in time is due all the more, and is said to have ended.
#[test]
fn what_has_ended_is_due_until_it_has_a_successor() {
    let home = Home::new();
    home.deliver_ended("retired", 1);
    home.deliver_ended("renewed", 2);
    home.deliver("renewed", 3, 90);
    home.deliver_ended("lost", 4);
    home.revoke(&home.deliver_ended("revoked", 5));
    let list = "inventory list --expiring-within 30d";
    assert_eq!(home.ids(list), ["retired", "lost"]);
    assert_eq!(home.run(&format!("{list} --detailed-exitcode")).code, 10);
    let row = home.run("inventory list --id lost");
    row.stdout_has("lost  leaf  expired  ");
    let expired = "inventory list --status expired";
    assert_eq!(home.ids(expired), ["retired", "renewed", "lost"]);
    assert_eq!(home.ids("inventory list --status delivered"), ["renewed"]);
    let export = home.run("inventory export --format csv --status expired");
    assert_eq!(export.stdout.lines().count(), 4, "{export:#?}");
    home.deliver("lost", 6, 90);
    assert_eq!(home.ids(list), ["retired"]);
}

#[test]
fn counts_add_up() {
    let home = Home::new();
    home.deliver("a", 1, 90);
    home.revoke(&home.deliver("b", 2, 90));
    let run = home.run("inventory stats --output json");
    let count = |status: &str| json!({"authority": null, "generation": null, "role": "leaf", "status": status, "certificates": 1});
    assert_eq!(
        run.json(),
        json!({"certificates": 2, "counts": [count("delivered"), count("revoked")]})
    );
    assert!(home.run("inventory stats").stdout.contains("total"));
}

#[test]
fn the_log_ends_with_the_last_entry() {
    let home = Home::new();
    home.deliver("a", 1, 90);
    home.deliver("b", 2, 90);
    let sequences = |line: &str| {
        let run = home.run(&format!("{line} --output json"));
        let entries = run.json();
        let sequence = |entry: &Value| entry["sequence"].as_u64().expect("number");
        let entries = entries.as_array().expect("list").iter();
        entries.map(sequence).collect::<Vec<u64>>()
    };
    assert_eq!(sequences("audit log"), [1, 2, 3, 4]);
    assert_eq!(sequences("audit log --limit 2"), [3, 4]);
    assert_eq!(sequences("audit log --after 1 --limit 2"), [2, 3]);
    let text = home.run("audit log --limit 1").stdout;
    assert!(
        text.contains("certificates-delivered") && text.contains("certificates 2"),
        "{text}"
    );
}

#[test]
fn verification_finds_what_was_edited_and_what_a_checkpoint_misses() {
    let home = Home::new();
    home.run("audit head")
        .assert_refused(8, &["error: the audit trail is empty"]);
    home.deliver("a", 1, 90);
    let head = home.run("audit head").stdout.trim().to_owned();
    assert!(head.starts_with("2:"), "{head}");
    let run = home.run(&format!("audit verify --checkpoint {head}"));
    run.ends_with(0);
    assert!(run.stdout.starts_with("the audit trail is intact"));

    let run = home.run(&format!("audit verify --checkpoint 3{}", &head[1..]));
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (4, "error: the audit trail is not intact: 1 finding\n")
    );
    run.stdout_has("does not reach the checkpoint 3:");
    let run = home.run("audit verify --checkpoint 1");
    run.assert_refused(
        8,
        &[
            "error: 1 does not exist",
            "  hint: a checkpoint is 1042: and 64 hexadecimal digits, or the name of a file",
        ],
    );

    rewrite_first_entry(&home.path());
    let run = home.run("audit verify --output json");
    run.ends_with(4);
    assert_eq!(run.json()["intact"], json!(false));
    let findings = run.json()["findings"].to_string();
    assert!(findings.contains("audit entry 1 was changed"), "{findings}");
    let run = home.run("check");
    run.ends_with(4);
    run.stdout_has("wrong  the audit trail is not intact: ");
}

/// A proof is about one certificate, and none comes out of a trail that was edited.
#[test]
fn an_ambiguous_name_or_an_edited_trail_gives_no_proof() {
    let home = Home::new();
    home.deliver("a", 1, 90);
    home.deliver("a", 2, 60);
    let run = home.run("audit prove a");
    run.ends_with(2).stderr_has("2 certificates fit a;");
    assert_eq!(home.run("audit prove 01").code, 0);
    rewrite_first_entry(&home.path());
    let run = home.run("audit prove 01");
    assert_eq!((run.code, run.stdout.as_str()), (4, ""), "{}", run.stderr);
    run.stderr_has("dps-pki audit verify");
}

/// What somebody can do who may write the file: triggers stop a mistake, not an attacker.
fn rewrite_first_entry(path: &Path) {
    let database = rusqlite::Connection::open(path).expect("opened");
    let mut query = database
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .expect("query");
    let triggers = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let triggers: Vec<(String, String)> = triggers.and_then(Iterator::collect).expect("triggers");
    for (name, _) in &triggers {
        let dropped = database.execute_batch(&format!("DROP TRIGGER {name}"));
        dropped.expect("dropped");
    }
    let edited = database.execute("UPDATE audit SET subject = 'b' WHERE sequence = 1", []);
    assert_eq!(edited, Ok(1));
    // An attacker puts them back: an inventory without them is not even read.
    for (_, sql) in &triggers {
        database.execute_batch(sql).expect("made again");
    }
}
