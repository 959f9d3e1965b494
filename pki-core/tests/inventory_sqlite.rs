//! The SQLite file: what tampering leaves behind, what a crash leaves behind, what is not opened.
#![expect(clippy::expect_used, reason = "what fails here is the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of files makes and copies files"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use pki_core::crl::RevocationReason;
use pki_core::ids::{AuthorityGeneration, Generation};
use pki_core::inventory::audit::{AuditEvent, AuditFinding, AuditHead, AuditReport};
use pki_core::inventory::{
    BatchProgress, Filter, GenerationChange, GenerationState, Inventory as _, InventoryError,
    Labels, NewBatch, NewCertificate, NewGeneration, RowKey, Status, Uniqueness,
};
use pki_core::profile::Role;
use pki_core::sqlite::{Patience, SqliteInventory};
use pki_core::testing::SampleAuthority;
use pki_core::time::{Span, Time, Validity};
use rusqlite::Connection;
use tempfile::TempDir;

/// A home with an authority and a few leaves: 1 is the root, 2 and 3 were delivered, 3 was revoked,
/// 4 was voided, 5 and 6 were delivered together, 7 is undelivered, and so are 8 to 27, whose serial
/// numbers were recorded in ascending order. Of the 18 audit entries, 5 opens the batch of the
/// leaves, 6 to 8 record certificates 2 to 4, 9 delivers 2 and 3, 10 revokes 3, 11 voids 4, 12
/// records 5 and 6, 13 delivers them and advances the batch; 16 and 17 open and complete another.
struct Home {
    _folder: TempDir,
    path: PathBuf,
    authority: SampleAuthority,
    head: AuditHead,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("inventory.db");
        let authority = SampleAuthority::new("Contoso Root");
        let mut inventory = SqliteInventory::open_or_create(&path).expect("created");
        fill(&mut inventory, &authority).expect("filled");
        let head = inventory.audit_head().expect("read").expect("entries");
        Self {
            _folder: folder,
            path,
            authority,
            head,
        }
    }

    fn open(&self) -> SqliteInventory {
        SqliteInventory::open(&self.path).expect("opened")
    }

    /// What somebody with a SQLite shell can do, once the triggers are out of the way.
    fn tamper(&self, sql: &str) {
        let connection = Connection::open(&self.path).expect("opened");
        let triggers: Vec<(String, String)> = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .and_then(|mut query| {
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect()
            })
            .expect("triggers");
        for (trigger, _) in &triggers {
            let drop = format!("DROP TRIGGER {trigger}");
            connection.execute_batch(&drop).expect("dropped");
        }
        connection
            .execute_batch("PRAGMA foreign_keys = OFF")
            .expect("set");
        connection.execute_batch(sql).expect(sql);
        // Whoever knows how to edit the rows puts the triggers back.
        for (_, trigger) in &triggers {
            connection.execute_batch(trigger).expect("made again");
        }
    }

    fn verify(&self) -> AuditReport {
        self.open().verify_audit(&[]).expect("verified")
    }
}

fn now() -> Time {
    "2026-03-01T00:00:00Z".parse().expect("time")
}

fn leaf(authority: &SampleAuthority, id: &str, serial: u32) -> NewCertificate {
    let validity = Validity::new(now(), now() + Span::from_days(365)).expect("order");
    NewCertificate {
        certificate: authority.certificate(id, serial, validity),
        role: Role::Leaf,
        signed_by: Some(root()),
        registration_id: Some(id.parse().expect("ID")),
        batch: Some("batch".parse().expect("label")),
        labels: "order=4711".parse().expect("labels"),
        request: None,
        uniqueness: Uniqueness::OnlyLeaf,
    }
}

fn batch(name: &str, total: u64) -> NewBatch {
    NewBatch {
        name: name.parse().expect("label"),
        signed_by: root(),
        fingerprint: [7; 32],
        total,
        output: "line-1.ndjson".to_owned(),
        format: "ndjson".to_owned(),
    }
}

fn root() -> AuthorityGeneration {
    AuthorityGeneration {
        name: "root".parse().expect("name"),
        generation: Generation::FIRST,
    }
}

fn fill(
    inventory: &mut SqliteInventory,
    authority: &SampleAuthority,
) -> Result<(), InventoryError> {
    let generation = NewGeneration {
        authority: root().name,
        generation: Generation::FIRST,
        subject: "CN=Contoso Root".parse().expect("name"),
        key_reference: "root.1.key.pem".parse().expect("reference"),
    };
    let certificate = NewCertificate {
        role: Role::Root,
        registration_id: None,
        batch: None,
        labels: Labels::default(),
        ..leaf(authority, "root", 1)
    };
    inventory.record_authority(generation, certificate, now())?;
    let current = GenerationChange {
        generation: Generation::FIRST,
        to: GenerationState::Current,
    };
    inventory.settle_generations(&root().name, &[current], now())?;
    inventory.open_batch(batch("batch", 100), now())?;
    let mut single = |serial: u32| {
        let new = leaf(authority, &format!("d-{serial}"), serial);
        let recorded = inventory.record(vec![new], now())?;
        Ok::<RowKey, InventoryError>(recorded[0].row())
    };
    let two = single(2)?;
    let three = single(3)?;
    let four = single(4)?;
    inventory.mark_delivered(&[two, three], now())?;
    inventory.revoke(&[three], RevocationReason::KeyCompromise, now())?;
    inventory.void(&[four], "power cut", now())?;
    let chunk = (5..=6).map(|serial| leaf(authority, &format!("d-{serial}"), serial));
    let chunk = inventory.record(chunk.collect(), now())?;
    let chunk: Vec<RowKey> = chunk.iter().map(|new| new.row()).collect();
    let progress = BatchProgress {
        batch: "batch".parse().expect("label"),
        delivered: 4,
        output_octets: 400,
    };
    let next = vec![leaf(authority, "d-7", 7)];
    inventory.deliver_and_record(&chunk, Some(&progress), next, now())?;
    // Long as real ones are: between short ones there might be a thumbprint.
    let long = |number: u32| leaf(authority, &format!("d-{number}"), 0x4000_0000 + number);
    let ascending = (8..28).map(long);
    inventory.record(ascending.collect(), now())?;
    let empty = NewBatch {
        fingerprint: [8; 32],
        ..batch("empty", 0)
    };
    let empty = inventory.open_batch(empty, now())?;
    inventory.complete_batch(&empty.name, "{}", now())?;
    let event = AuditEvent {
        action: "group-pushed".parse().expect("action"),
        subject: "line-1".to_owned(),
        detail: serde_json::json!({ "etag": "1" }),
    };
    inventory.append_audit(event, now())?;
    Ok(())
}

#[test]
fn an_untouched_inventory_verifies() {
    let home = Home::new();
    let report = home.open().verify_audit(&[home.head]).expect("verified");
    assert!(report.is_intact(), "{:?}", report.findings);
    assert_eq!((report.certificates, report.head), (27, Some(home.head)));
}

/// Each line is one edit, deletion, addition or reordering that a SQLite shell can make.
#[test]
fn verification_finds_what_a_shell_changed() {
    for sql in [
        // certificates
        "UPDATE certificate SET registration_id = 'another' WHERE id = 2",
        "UPDATE certificate SET registration_id = upper(registration_id) WHERE id = 2",
        "UPDATE certificate SET labels = 'order=mine' WHERE id = 2",
        "UPDATE certificate SET labels = NULL WHERE id = 2",
        "UPDATE certificate SET labels = 'no label' WHERE id = 2",
        "UPDATE certificate SET not_after = not_after + 1 WHERE id = 2",
        "DELETE FROM certificate WHERE id = 2",
        "DELETE FROM certificate WHERE id = 27; UPDATE run SET last = 26 WHERE last = 27",
        "INSERT INTO certificate SELECT 28, registration_id, not_after, labels, der
             FROM certificate WHERE id = 2",
        "INSERT INTO certificate SELECT 28, registration_id, not_after, labels, der
             FROM certificate WHERE id = 2;
         UPDATE run SET last = 28 WHERE last = 27",
        "INSERT INTO certificate SELECT 28, registration_id, not_after, labels, der
             FROM certificate WHERE id = 2;
         INSERT INTO run SELECT 28, 28, role, status, signed_by, batch, recorded_in, changed_in
             FROM run WHERE first = 2",
        "UPDATE certificate SET der = (SELECT der FROM certificate WHERE id = 5) WHERE id = 6",
        "UPDATE certificate SET der = x'3000' WHERE id = 2",
        "UPDATE certificate SET id = 99 WHERE id = 5; UPDATE certificate SET id = 5 WHERE id = 6;
         UPDATE certificate SET id = 6 WHERE id = 99",
        // runs
        "UPDATE run SET status = 'delivered' WHERE first = 3",
        "UPDATE run SET status = 'delivered', changed_in = 9 WHERE first = 3;
         UPDATE counter SET certificates = certificates + 1
             WHERE role = 'leaf' AND status = 'delivered';
         UPDATE counter SET certificates = 0 WHERE role = 'leaf' AND status = 'revoked'",
        "UPDATE run SET changed_in = 10 WHERE first = 2",
        "UPDATE run SET recorded_in = 7 WHERE first = 2",
        "UPDATE run SET role = 'verification' WHERE first = 2",
        "UPDATE run SET signed_by = NULL WHERE first = 2",
        "UPDATE run SET batch = NULL WHERE first = 2",
        "UPDATE run SET last = 99 WHERE last = 27",
        "UPDATE run SET last = 6 WHERE first = 3",
        "DELETE FROM run WHERE first = 2",
        // what finds certificates
        "DELETE FROM lookup_page WHERE segment = (SELECT max(id) FROM lookup_segment)",
        "DELETE FROM lookup_page WHERE segment = (SELECT max(id) FROM lookup_segment);
         DELETE FROM lookup_segment WHERE id = (SELECT max(id) FROM lookup_segment)",
        "UPDATE lookup_page SET first = x'00'",
        "UPDATE lookup_page SET entries = substr(entries, 1, 12)",
        "UPDATE lookup_segment SET entries = entries + 1",
        "DELETE FROM ascending_serials",
        "UPDATE ascending_serials SET least = x'0101'",
        "UPDATE ascending_serials SET greatest = x'05ff'",
        "UPDATE ascending_serials SET first = first + 1",
        "UPDATE ascending_serials SET last = last - 1",
        "DELETE FROM certificate_label WHERE certificate = 2",
        "UPDATE certificate_label SET label = 'order=mine' WHERE certificate = 2",
        "INSERT INTO certificate_label VALUES ('order=mine', 2)",
        // batches
        "UPDATE batch SET name = 'another' WHERE id = 1",
        "UPDATE batch SET fingerprint = zeroblob(32) WHERE id = 1",
        "UPDATE batch SET total = total + 1",
        "UPDATE batch SET delivered = 3 WHERE id = 1",
        "UPDATE batch SET output_octets = 399 WHERE id = 1",
        "UPDATE batch SET output = 'mine.ndjson'",
        "UPDATE batch SET format = 'tar'",
        "UPDATE batch SET started_at = started_at + 1 WHERE id = 1",
        "UPDATE batch SET state = 'complete' WHERE id = 1",
        "UPDATE batch SET state = 'open' WHERE id = 2",
        "UPDATE batch SET completed_at = completed_at + 1 WHERE id = 2",
        "UPDATE batch SET manifest = '{ }' WHERE id = 2",
        "UPDATE batch SET manifest = NULL WHERE id = 2",
        "DELETE FROM batch WHERE id = 2",
        "INSERT INTO batch SELECT 3, 'mine', signed_by, x'00', total, delivered, output_octets,
             output, format, state, started_at, completed_at, manifest FROM batch WHERE id = 2",
        // generations and counters
        "UPDATE generation SET state = 'retired'",
        "UPDATE generation SET key_reference = 'mine.key.pem'",
        "UPDATE generation SET certificate = 2",
        "UPDATE generation SET certificate = NULL",
        "UPDATE generation SET subject = x'3000'",
        "UPDATE generation SET authority = 'another'",
        "DELETE FROM generation",
        "INSERT INTO generation VALUES (2, 'another', 1, x'3000', 'k', 'current', NULL)",
        "UPDATE counter SET certificates = certificates + 1 WHERE role = 'leaf'",
        "DELETE FROM counter",
        // the trail
        "UPDATE audit SET at = at + 1 WHERE sequence = 4",
        "UPDATE audit SET action = 'certificates-voided' WHERE sequence = 9",
        "UPDATE audit SET subject = 'line-2' WHERE action = 'group-pushed'",
        "UPDATE audit SET detail = '{\"etag\": \"1\"}' WHERE action = 'group-pushed'",
        "UPDATE audit SET detail = 'no JSON' WHERE sequence = 9",
        "UPDATE audit SET certificates = '2' WHERE sequence = 9",
        "UPDATE audit SET certificates = '3,2' WHERE sequence = 9",
        "UPDATE audit SET content = zeroblob(32) WHERE sequence = 6",
        "UPDATE audit SET content = NULL WHERE sequence = 6",
        "UPDATE audit SET hash = zeroblob(32) WHERE sequence = 4",
        "UPDATE audit SET hash = x'00' WHERE sequence = 4",
        "DELETE FROM audit WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 9",
        "DELETE FROM audit WHERE sequence = 9;
         UPDATE audit SET sequence = sequence - 1 WHERE sequence > 9",
        "UPDATE audit SET sequence = 99 WHERE sequence = 4;
         UPDATE audit SET sequence = 4 WHERE sequence = 5;
         UPDATE audit SET sequence = 5 WHERE sequence = 99",
        "INSERT INTO audit SELECT 99, at, action, subject, detail, certificates, content, hash
             FROM audit WHERE sequence = 12",
        "DELETE FROM audit WHERE sequence >= 15",
    ] {
        let home = Home::new();
        home.tamper(sql);
        let report = home.verify();
        assert!(!report.is_intact(), "not found: {sql}");
    }
}

#[test]
fn a_finding_names_what_was_changed() {
    let home = Home::new();
    home.tamper("UPDATE run SET status = 'delivered', changed_in = 9 WHERE first = 3");
    let findings = home.verify().findings;
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let expected = "certificate 3 is delivered, but revoked by the audit trail";
    assert_eq!(texts[0], expected);

    let home = Home::new();
    home.tamper("DELETE FROM audit WHERE sequence = 5");
    let first = &home.verify().findings[0];
    assert_eq!(*first, AuditFinding::EntriesMissing { first: 5, last: 5 });
}

/// A tail that was cut off with all that belongs to it leaves a shorter, but sound history. Only a
/// checkpoint that was kept elsewhere tells.
#[test]
fn a_truncated_tail_needs_a_checkpoint() {
    let home = Home::new();
    home.tamper("DELETE FROM audit WHERE action = 'group-pushed'");
    assert!(home.verify().is_intact());
    let report = home.open().verify_audit(&[home.head]).expect("verified");
    let checkpoint = home.head;
    assert_eq!(
        report.findings,
        [AuditFinding::CheckpointMissing { checkpoint }]
    );
}

/// Accidents in a shell are stopped by the schema itself.
#[test]
fn the_schema_refuses_to_change_history() {
    let home = Home::new();
    let connection = Connection::open(&home.path).expect("opened");
    for sql in [
        "DELETE FROM audit WHERE sequence = 1",
        "UPDATE audit SET subject = ''",
        "DELETE FROM certificate WHERE id = 2",
        "UPDATE certificate SET der = x'00' WHERE id = 2",
        "UPDATE run SET role = 'root' WHERE first = 2",
        "DELETE FROM batch",
        "INSERT INTO generation VALUES (2, 'root', 2, x'00', 'k', 'current', NULL)",
        "INSERT INTO generation VALUES (2, 'root', 1, x'00', 'k', 'retired', NULL)",
    ] {
        assert!(connection.execute_batch(sql).is_err(), "{sql}");
    }
}

/// What a process was killed over: the transaction is whole or was never there.
#[test]
fn a_crash_between_record_and_delivery_leaves_the_certificate_undelivered() {
    let home = Home::new();
    let mut inventory = home.open();
    let recorded = inventory
        .record(vec![leaf(&home.authority, "d-28", 28)], now())
        .expect("recorded");
    // No destructor runs when a process is killed; the journal is left as it is.
    std::mem::forget(inventory);

    let mut reopened = home.open();
    let filter = Filter {
        registration_id: "d-28".parse().ok(),
        ..Filter::default()
    };
    let left = reopened.undelivered(&filter).expect("read");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].recorded.certificate(), recorded[0].certificate());
    let row = left[0].recorded.row();
    reopened.void(&[row], "cut short", now()).expect("voided");
    let again = leaf(&home.authority, "d-28", 29);
    reopened.record(vec![again], now()).expect("issued anew");
    assert!(home.verify().is_intact());
}

/// A copy of file and journal at any moment is what a power cut leaves: a sound history.
#[test]
fn a_copy_taken_at_any_moment_is_sound() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let authority = SampleAuthority::new("Contoso Root");
    let mut inventory = SqliteInventory::open_or_create(&path).expect("created");
    for serial in 1_u32..=12 {
        let mut new = leaf(&authority, &format!("d-{serial}"), serial);
        (new.signed_by, new.batch) = (None, None);
        let recorded = inventory.record(vec![new], now()).expect("recorded");
        if serial.is_multiple_of(2) {
            inventory
                .mark_delivered(&[recorded[0].row()], now())
                .expect("delivered");
        }
        let copy = folder.path().join(format!("copy-{serial}.db"));
        copy_with_journal(&path, &copy);
        let copy = SqliteInventory::open(&copy).expect("opened");
        let report = copy.verify_audit(&[]).expect("verified");
        assert!(report.is_intact(), "{:?}", report.findings);
        assert_eq!(report.certificates, u64::from(serial));
        let undelivered = copy
            .stats()
            .expect("stats")
            .with_status(Status::Undelivered);
        assert_eq!(undelivered, u64::from(serial.div_ceil(2)));
    }
}

fn copy_with_journal(from: &Path, to: &Path) {
    let beside = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    std::fs::copy(from, to).expect("copied");
    std::fs::copy(beside(from), beside(to)).expect("copied");
}

#[test]
fn two_processes_write_in_turn() {
    let home = Home::new();
    let mut one = home.open();
    let mut other = home.open();
    for serial in 30_u32..40 {
        let inventory = if serial.is_multiple_of(2) {
            &mut one
        } else {
            &mut other
        };
        let new = leaf(&home.authority, &format!("d-{serial}"), serial);
        inventory.record(vec![new], now()).expect("recorded");
    }
    let duplicate = vec![leaf(&home.authority, "d-40", 39)];
    let error = one.record(duplicate, now()).expect_err("by the other");
    assert!(matches!(error, InventoryError::DuplicateSerial { .. }));
    assert!(home.verify().is_intact());
}

#[test]
fn a_locked_inventory_says_so() {
    let home = Home::new();
    let patience = Patience::ending_after(Duration::from_millis(1));
    let opened = SqliteInventory::open_or_create_with(&home.path, patience);
    let mut inventory = opened.expect("opened");
    let other = Connection::open(&home.path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let error = inventory
        .record(vec![leaf(&home.authority, "d-28", 28)], now())
        .expect_err("locked");
    assert!(matches!(error, InventoryError::Locked { .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("inventory.db is locked by another process")
    );
    assert_eq!(inventory.stats().expect("reading goes on").total(), 27);
}

#[test]
fn what_is_not_an_inventory_is_not_opened() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let text = path("text.db");
    std::fs::write(
        &text,
        "this is not a database, however long it is\n".repeat(100),
    )
    .expect("written");
    let others = path("others.db");
    Connection::open(&others)
        .and_then(|connection| connection.execute_batch("CREATE TABLE photos (id)"))
        .expect("made");
    for path in [text, others] {
        let error = SqliteInventory::open_or_create(&path).expect_err("refused");
        assert!(
            matches!(error, InventoryError::NotAnInventory { .. }),
            "{error}"
        );
    }
    let error = SqliteInventory::open(&path("nothing.db")).expect_err("refused");
    assert!(matches!(error, InventoryError::Missing { .. }), "{error}");
    let error = SqliteInventory::open_or_create(&path("no/folder.db")).expect_err("refused");
    assert!(matches!(error, InventoryError::Storage { .. }), "{error}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let home = Home::new();
    let version: i64 = Connection::open(&home.path)
        .and_then(|connection| {
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        })
        .expect("read");
    home.tamper("PRAGMA user_version = 99");
    let error = SqliteInventory::open(&home.path).expect_err("refused");
    assert!(
        matches!(
            error,
            InventoryError::SchemaTooNew {
                found: 99,
                known
            } if known == version
        ),
        "{error}"
    );
    home.tamper(&format!("PRAGMA user_version = {version}"));
    assert!(home.verify().is_intact());
}

/// A trigger would change what is written while it is written, and the trail would be made to match.
#[test]
fn a_schema_that_somebody_changed_is_neither_read_nor_written() {
    let home = Home::new();
    let mut open = home.open();
    open.stats().expect("read");
    let connection = Connection::open(&home.path).expect("opened");
    for (change, undo) in [
        (
            "CREATE TRIGGER mine AFTER INSERT ON certificate BEGIN SELECT 1; END",
            "DROP TRIGGER mine",
        ),
        ("CREATE TABLE mine (id)", "DROP TABLE mine"),
        (
            "DROP TRIGGER run_is_changed_in_status_only",
            "CREATE TRIGGER run_is_changed_in_status_only
BEFORE UPDATE OF first, role, signed_by, batch, recorded_in ON run
BEGIN SELECT raise(ABORT, 'only the status of certificates changes'); END",
        ),
    ] {
        connection.execute_batch(change).expect(change);
        let refusals = [
            open.stats().map(drop),
            open.void(&[], "nothing", now()),
            open.verify_audit(&[]).map(drop),
            home.open().verify_audit(&[]).map(drop),
        ];
        for refused in refusals {
            assert!(
                matches!(refused, Err(InventoryError::Edited { .. })),
                "{change}: {refused:?}"
            );
        }
        connection.execute_batch(undo).expect(undo);
        open.stats().expect("ours again");
    }
    connection.execute_batch("ANALYZE").expect("analyzed");
    open.stats().expect("ours still");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let _open = home.open();
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", home.path.display());
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}
