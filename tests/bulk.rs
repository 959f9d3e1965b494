//! Batches that meet with accidents: killed at any instant, a disk that fills up, an inventory that
//! cannot be written, two runs at once, Ctrl-C. Whatever happens, the same command goes on to the end,
//! and then every device has exactly one identity, recorded and delivered.
//!
//! Kills come at random moments from a fixed seed. Each run goes on where the last one stopped, so the
//! moments lie all over a batch.
//! OpenSSL's verdict on single certificates is in `interop_openssl.rs`; here everything of a batch is
//! compared with everything else, and age, tar and sha256sum open what they are meant to open.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod batch;
mod moments;

use std::time::Duration;

use dps_pki_tests::{Home, PASSPHRASE, Run, SmallDisk, binary};

use self::batch::{Batch, entries};
use self::moments::Moments;

#[test]
fn fifty_kills_lose_nothing_and_repeat_nothing() {
    const KILLS: u32 = 50;
    let home = Home::from_template("quickstart");
    let batch = |number: u32| Batch::new(&home, &format!("line-{number}"), "ndjson", 6_000);
    let usual = batch(0).time();
    batch(0).check();
    let mut moments = Moments(0x5eed);
    let mut kills = 0;
    let mut voided = 0;
    for number in 1.. {
        let batch = batch(number);
        // Anywhere, and as often while it writes: how long it reads and checks first varies.
        while kills < KILLS
            && match kills % 2 {
                0 => batch.cut(moments.within(usual / 5)),
                _ => batch.cut_while_it_writes(moments.within(usual / 20)),
            }
        {
            kills += 1;
        }
        batch.run().ok();
        voided += batch.check();
        if kills == KILLS {
            break;
        }
    }
    assert!(voided > 0, "no kill fell between a record and its delivery");
}

#[test]
fn every_format_goes_on_where_it_was_cut() {
    let home = Home::from_template("quickstart");
    for format in ["tar", "dir", "sealed"] {
        let batch = |name: &str| Batch::new(&home, &format!("{format}-{name}"), format, 3_000);
        let usual = batch("whole").time();
        batch("whole").check();
        let mut moments = Moments(0xf0a7);
        let cut = batch("cut");
        for _ in 0..8 {
            cut.cut(moments.within(usual));
        }
        cut.run().ok();
        cut.check();
    }
}

/// A renewal that was cut leaves nobody without a leaf, and renews nobody twice.
#[test]
fn renewals_go_on_where_they_were_cut() {
    let home = Home::from_template("quickstart");
    for format in ["ndjson", "sealed"] {
        let first = Batch::new(&home, &format!("{format}-first"), format, 800);
        first.run().ok();
        let cut = Batch::renewing(&home, &format!("{format}-cut"), &first);
        let mut moments = Moments(0x4e3);
        for _ in 0..3 {
            cut.cut(moments.within(Duration::from_millis(500)));
            cut.cut_while_it_writes(moments.within(Duration::from_millis(50)));
        }
        cut.run().ok();
        cut.check();
        // What they replaced stays valid until its end.
        first.check();
    }
}

/// A batch that was lost is withdrawn once, and issued anew to the same devices.
#[test]
fn a_replacement_goes_on_where_it_was_cut() {
    let home = Home::from_template("quickstart");
    home.write("again/README", "where lost batches go");
    for format in ["ndjson", "sealed"] {
        let lost = Batch::new(&home, &format!("{format}-lost"), format, 800);
        lost.run().ok();
        let anew = Batch::replacing(&lost);
        let mut moments = Moments(0x1057);
        for _ in 0..3 {
            anew.cut(moments.within(Duration::from_millis(500)));
            anew.cut_while_it_writes(moments.within(Duration::from_millis(50)));
        }
        anew.run().ok();
        let withdrawn = anew.check();
        assert!(withdrawn >= 800, "{withdrawn}");
    }
}

/// Two batches of renewals over the same devices: one is refused whole, or renews what the other one made.
#[test]
fn two_renewals_at_once_give_each_device_one_leaf_each() {
    let home = Home::from_template("quickstart");
    let first = Batch::new(&home, "first", "ndjson", 1_000);
    first.run().ok();
    let one = Batch::renewing(&home, "one", &first);
    let other = Batch::renewing(&home, "other", &first);
    let running = one.start();
    let second = other.run().code;
    let ended = running.wait_with_output().expect("it ends");
    let codes = [ended.status.code(), Some(second)];
    let are_fit = codes.iter().all(|code| matches!(code, Some(0 | 4)));
    assert!(are_fit && codes.contains(&Some(0)), "{codes:?}");
    one.run().ok();
    other.run().ok();
    for batch in [first, one, other] {
        batch.check();
    }
}

#[test]
fn a_full_disk_is_told_and_gone_on_with_when_there_is_space() {
    let home = Home::from_template("quickstart");
    let Some(disk) = SmallDisk::mount(home.path("disk"), "6m") else {
        return;
    };
    let batch = Batch::new(&home, "line", "ndjson", 5_000).in_folder("disk");
    for _ in 0..2 {
        refused(&batch.run(), "No space left on device");
    }
    disk.resize("64m");
    batch.run().ok();
    batch.check();
}

#[test]
fn a_full_disk_under_the_inventory_is_told_too() {
    let room = Home::empty();
    let Some(disk) = SmallDisk::mount(room.path("home"), "3m") else {
        return;
    };
    let home = room.below("home");
    home.write("passphrase", PASSPHRASE);
    home.dps_pki("init").ok();
    home.dps_pki("authority create").ok();
    let batch = Batch::new(&home, "line", "ndjson", 5_000).in_folder("..");
    refused(&batch.run(), "disk is full");
    disk.resize("64m");
    batch.run().ok();
    batch.check();
}

/// Where nobody may mount a disk, this stands for a full one.
#[test]
fn an_output_that_may_grow_no_more_is_told() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 5_000);
    // In KiB. Without the trap a signal comes with it that no full disk sends.
    home.write("quota", "trap '' XFSZ; ulimit -f 8000; exec \"$@\"");
    let line = format!("quota {} {}", binary().display(), batch.line());
    refused(&home.tool("bash", &line), "File too large");
    batch.run().ok();
    batch.check();
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_anything_is_issued() {
    let home = Home::from_template("quickstart");
    for folder in ["nowhere", "pki.toml"] {
        let batch = Batch::new(&home, "line", "ndjson", 10).in_folder(folder);
        refused(&batch.run(), &format!("cannot write {folder}/line.ndjson"));
    }
    home.write("line.ndjson", "somebody else's");
    let batch = Batch::new(&home, "line", "ndjson", 10);
    let run = batch.run().ends_with(4);
    run.stderr_has("line.ndjson exists already");
    assert_eq!(home.read("line.ndjson"), "somebody else's");
    assert_eq!(entries(&home, "line").len(), 0);
}

#[test]
fn a_locked_inventory_ends_the_run_and_not_the_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 10_000);
    let child = batch.start_and_see();
    let other = rusqlite::Connection::open(home.path("inventory.db")).expect("an inventory");
    other.busy_timeout(Duration::from_secs(60)).expect("set");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    assert!(
        told.contains("locked") && told.contains("the same command goes on"),
        "{told}"
    );
    other.execute_batch("ROLLBACK").expect("unlocked");
    batch.run().ok();
    batch.check();
}

/// The inventory refuses a chunk in the middle of a batch, as a broken disk would.
#[test]
fn a_committer_that_fails_ends_the_run_and_not_the_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 5_000);
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("an inventory");
    // Where the runs of later chunks would be, others are; of certificates that hold no device.
    let fail = "WITH RECURSIVE place (id) AS (
                    SELECT 2501 UNION ALL SELECT id + 1 FROM place LIMIT 10000)
                INSERT INTO run SELECT id, id, 'leaf', 'voided', NULL, NULL, 1, 1 FROM place";
    inventory.execute_batch(fail).expect("broken");
    for _ in 0..2 {
        refused(&batch.run(), "UNIQUE constraint failed");
    }
    inventory
        .execute_batch("DELETE FROM run WHERE recorded_in = 1 AND first > 2500")
        .expect("mended");
    batch.run().ok();
    batch.check();
}

#[test]
fn a_pipe_gets_a_whole_batch() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "pipe", 3_000);
    let usual = batch.time();
    batch.check();
    let mut moments = Moments(0x919e);
    let cut = Batch::new(&home, "cut", "pipe", 3_000);
    for _ in 0..5 {
        cut.cut(moments.within(usual));
    }
    cut.run().ok();
    cut.check();
    let manifest = home.json("batch show cut")["manifest"].clone();
    assert_eq!(manifest["output"], "-");
    let digest = manifest["outputSha256"].as_str().expect("a digest");
    assert!(cut.digest().starts_with(digest), "{digest}");
}

/// Whether the reader goes early, or when all is written and the last of it still lies in the pipe.
#[test]
fn a_reader_that_goes_is_told_and_the_batch_begun_anew() {
    let home = Home::from_template("quickstart");
    for (name, devices, reader) in [
        ("early", 3_000, "head -c 100000 >seen"),
        ("late", 10, "{ head -c 1000 >seen; sleep 1; }"),
    ] {
        let batch = Batch::new(&home, name, "pipe", devices);
        let script = format!("\"$@\" | {reader}; exit ${{PIPESTATUS[0]}}");
        home.write("tmp/script", script);
        let line = format!("tmp/script {} {}", binary().display(), batch.line());
        refused(
            &home.tool("bash", &line),
            "the reader of standard output has gone before the batch's end",
        );
        assert!(home.read("seen").starts_with("{\"registrationId\""));
        batch.run().ok();
        assert!(batch.check() > 0, "what the first run recorded is void");
    }
}

#[test]
fn a_second_run_of_the_same_batch_is_told_who_writes_it() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 10_000);
    let child = batch.start_and_see();
    let run = batch.run().ends_with(4);
    let writer = format!("process {} is writing line.ndjson", child.id());
    run.stderr_has(&writer);
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(batch.check(), 0, "nobody cut the first run short");
}

#[test]
fn two_batches_at_once_share_one_inventory() {
    let home = Home::from_template("quickstart");
    let batches = ["a", "b"].map(|name| Batch::new(&home, name, "ndjson", 5_000));
    for child in batches.each_ref().map(Batch::start) {
        let ended = child.wait_with_output().expect("it has ended");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
    for batch in batches {
        assert_eq!(batch.check(), 0);
    }
}

#[test]
fn ctrl_c_says_how_far_it_is() {
    let home = Home::from_template("quickstart");
    let batch = Batch::new(&home, "line", "ndjson", 30_000);
    let child = batch.start_and_see();
    home.tool("kill", &format!("-INT {}", child.id())).ok();
    let ended = child.wait_with_output().expect("it has ended");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let told = String::from_utf8(ended.stderr).expect("UTF-8");
    let far = told.split_once("stopped after ").expect("how far").1;
    let (far, rest) = far.split_once(' ').expect("a number");
    assert!(rest.starts_with("of 30000 devices"), "{told}");
    assert!(!home.path("line.ndjson.lock").exists());
    let run = batch.run().ok();
    let goes_on = format!("going on after {far} of 30000 devices; 0 cut short");
    run.stderr_has(&goes_on);
    assert_eq!(batch.check(), 0, "a chunk is finished first");
}

/// A run that failed for one reason, told once, and that can be gone on with.
#[track_caller]
fn refused(run: &Run, reason: &str) {
    assert_eq!(run.code, 1, "{run}");
    run.stderr_has(reason);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{run}");
}
