//! A home on a disk that cannot be written, as auditors have it: everything in it can be read, and what
//! would change it is refused in one sentence.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;

use dps_pki_tests::{Home, PASSPHRASE, SmallDisk};
use rusqlite::Connection;

/// A home with two devices of a batch and one that was issued alone, on a disk of its own.
fn home_on_disk(room: &Home) -> Option<(Home, SmallDisk)> {
    let disk = SmallDisk::mount(room.path("home"), "16m")?;
    let home = room.below("home");
    home.write("passphrase", PASSPHRASE);
    home.dps_pki("init").ok();
    home.dps_pki("authority create").ok();
    home.dps_pki("issue --prefix line- --count 2 --authority factory --batch line --out line.ndjson --plain-keys")
        .ok();
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    Some((home, disk))
}

/// Issues the device `last`, and copies these files of the inventory while that is in its log.
fn copy_with_log(from: &Home, to: &Home, endings: &[&str]) {
    // As long as somebody has it open, the log stays.
    let writer = Connection::open(from.path("inventory.db")).expect("an inventory");
    let _: i64 = writer
        .query_row("SELECT count(*) FROM certificate", [], |row| row.get(0))
        .expect("read");
    from.dps_pki("issue last --authority factory --out devices")
        .ok();
    for ending in endings {
        let file = format!("inventory.db{ending}");
        fs::copy(from.path(&file), to.path(&file)).expect(ending);
    }
}

#[test]
fn a_write_protected_home_can_be_read() {
    let room = Home::empty();
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    let head = home.dps_pki("audit head").ok().stdout;
    disk.write_protect();
    for line in [
        "inventory list",
        "inventory show sensor-1",
        "inventory stats",
        "inventory export",
        "batch list",
        "batch show line",
        "authority list",
        "authority show factory",
        "authority export factory --chain",
        "audit log",
        "audit verify",
        "audit prove sensor-1",
        "journal list",
        "verify devices/sensor-1-full-chain.cert.pem",
        "revoke sensor-1 --dry-run",
    ] {
        home.dps_pki(line).ok();
    }
    assert_eq!(home.dps_pki("audit head").ok().stdout, head);
}

#[test]
fn what_would_change_a_write_protected_home_is_refused() {
    let room = Home::empty();
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    disk.write_protect();
    let out = room.path("out");
    for line in [
        "revoke sensor-1 --yes",
        "crl factory",
        &format!("issue sensor-2 --authority factory --out {}", out.display()),
    ] {
        home.dps_pki(line)
            .refused(1, "inventory.db is write-protected");
    }
    assert!(!out.join("sensor-2.cert.pem").exists());
}

/// A copy that was taken while somebody wrote has its last changes in a log beside the inventory. With
/// the index of the log it is read whole; without it, it could be read only without them.
#[test]
fn changes_that_are_only_in_the_log_are_not_passed_over() {
    let room = Home::empty();
    let other = Home::from_template("quickstart");
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    copy_with_log(&other, &home, &["", "-wal", "-shm"]);
    disk.write_protect();
    home.dps_pki("inventory show last").ok();
    home.dps_pki("audit verify").ok();
    disk.lift_protection();
    fs::remove_file(home.path("inventory.db-shm")).expect("removed");
    disk.write_protect();
    home.dps_pki("inventory show last")
        .refused(3, "last changes are still in");
}

#[test]
fn an_older_inventory_is_brought_up_to_date_where_it_can_be_written_only() {
    let room = Home::empty();
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    let inventory = Connection::open(home.path("inventory.db")).expect("an inventory");
    inventory
        .execute_batch(
            "DROP TABLE request; DROP INDEX audit_action; DROP INDEX audit_progress;
             PRAGMA user_version = 1",
        )
        .expect("as schema 1 was");
    drop(inventory);
    disk.write_protect();
    home.dps_pki("inventory list")
        .refused(3, "the inventory has schema 1 and is write-protected");
    disk.lift_protection();
    home.dps_pki("inventory list").ok();
}

/// Nothing can be put beside the inventory, neither for those who share it nor as a log.
#[test]
fn a_home_on_a_full_disk_can_be_read() {
    let room = Home::empty();
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    disk.fill();
    for line in [
        "inventory stats",
        "inventory list",
        "inventory show sensor-1",
        "authority list",
        "audit log",
        "audit verify",
        "journal list",
    ] {
        home.dps_pki(line).ok();
    }
    let refused = home.dps_pki("revoke sensor-1 --yes").ends_with(1);
    assert_eq!(refused.stderr.matches("error: ").count(), 1, "{refused}");
}

/// What a run left in the log that was cut short when the disk was full is read as well.
#[test]
fn changes_in_a_log_on_a_full_disk_are_not_passed_over() {
    let room = Home::empty();
    let other = Home::from_template("quickstart");
    let Some((home, disk)) = home_on_disk(&room) else {
        return;
    };
    copy_with_log(&other, &home, &["", "-wal"]);
    disk.fill();
    home.dps_pki("inventory show last").ok();
    home.dps_pki("audit verify").ok();
}

/// SQLite takes paths of some five hundred octets.
#[test]
fn a_home_that_lies_too_deep_says_so() {
    let room = Home::empty();
    let deep = ["d".repeat(200), "e".repeat(200), "f".repeat(150)].join("/");
    let short = room.below(&"s".repeat(100));
    short.dps_pki("init").ok();
    let refused = room.dps_pki(&format!("init {deep}"));
    let home = room.below(&deep);
    let refused = match refused.code {
        0 => home.dps_pki("authority create"),
        _ => refused,
    };
    assert_ne!(refused.code, 0, "{refused}");
    refused.stderr_has("SQLite opens none of more than");
}
