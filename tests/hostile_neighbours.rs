//! Somebody else may write the folder that an output goes to, and knows every name beforehand. Nothing
//! of theirs gets a key, nothing of ours is cut or replaced, and what they did is told.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use dps_pki_tests::Home;

/// The forms of a batch, and whether each is a folder.
const FORMATS: [(&str, bool); 3] = [("ndjson", false), ("tar", false), ("dir", true)];

fn line(format: &str) -> String {
    format!(
        "issue --prefix x- --count 20 --authority factory --plain-keys --format {format} --out o"
    )
}

#[track_caller]
fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode");
}

/// Whether a private key lies anywhere in a file or below a folder.
fn holds_key(path: &Path) -> bool {
    if path.is_dir() {
        let mut entries = fs::read_dir(path).expect("a folder");
        return entries.any(|entry| holds_key(&entry.expect("an entry").path()));
    }
    let content = fs::read(path).unwrap_or_default();
    content.windows(11).any(|part| part == b"PRIVATE KEY")
}

#[track_caller]
fn refused(home: &Home, line: &str, problem: &str) {
    let run = home.dps_pki(line).ends_with(4);
    run.stderr_has("cannot be trusted");
    run.stderr_has(problem);
}

#[test]
fn what_lies_where_an_output_is_written_gets_no_key() {
    let home = Home::from_template("quickstart");
    for (format, is_folder) in FORMATS {
        let part = home.path("o.part");
        // As `umask 0; : >o.part` leaves it.
        if is_folder {
            fs::create_dir(&part).expect("made");
            open_to_all(&part, 0o777);
        } else {
            home.write("o.part", "");
            open_to_all(&part, 0o666);
        }
        refused(&home, &line(format), "it is open to others");
        assert!(!holds_key(&part));
        if is_folder {
            fs::remove_dir(&part).expect("removed");
        } else {
            fs::remove_file(&part).expect("removed");
        }

        let theirs = home.path("theirs");
        if is_folder {
            fs::create_dir_all(&theirs).expect("made");
        } else {
            home.write("theirs", "");
        }
        symlink(&theirs, &part).expect("link");
        refused(
            &home,
            &line(format),
            if is_folder {
                "it is not a folder"
            } else {
                "it is a link"
            },
        );
        assert!(!holds_key(&theirs));
        fs::remove_file(&part).expect("removed");
        if !is_folder {
            fs::remove_file(&theirs).expect("removed");
        }
        home.dps_pki(&line(format)).ok();
        assert!(holds_key(&home.path("o")));
        // The next form needs devices without a leaf.
        home.dps_pki("revoke x-01 x-02 x-03 x-04 x-05 x-06 x-07 x-08 x-09 x-10 --yes")
            .ok();
        home.dps_pki("revoke x-11 x-12 x-13 x-14 x-15 x-16 x-17 x-18 x-19 x-20 --yes")
            .ok();
        fs::rename(home.path("o"), home.path(format!("done-{format}"))).expect("moved");
        fs::remove_file(home.path("o.manifest.json")).expect("removed");
    }
}

#[test]
fn what_lies_where_a_lock_is_taken_is_not_cut() {
    let home = Home::from_template("quickstart");
    home.write("precious", "precious");
    open_to_all(&home.path("precious"), 0o600);
    symlink(home.path("precious"), home.path("o.lock")).expect("link");
    refused(&home, &line("ndjson"), "it is a link");
    fs::remove_file(home.path("o.lock")).expect("removed");
    fs::hard_link(home.path("precious"), home.path("o.lock")).expect("hard link");
    refused(&home, &line("ndjson"), "it is a hard link");
    assert_eq!(home.read("precious"), "precious");
    fs::remove_file(home.path("o.lock")).expect("removed");
    home.dps_pki(&line("ndjson")).ok();
}

/// Whatever the umask of whoever runs it.
#[test]
fn keys_are_their_owners_alone_under_any_umask() {
    let home = Home::from_template("quickstart");
    for (number, umask) in ["000", "022", "077"].into_iter().enumerate() {
        let script = format!("umask {umask}; exec \"$@\"");
        home.write("tmp/run", script);
        let run = |line: &str| {
            let program = dps_pki_tests::binary();
            home.tool("bash", &format!("tmp/run {} {line}", program.display()))
                .ok();
        };
        let out = format!("o{number}");
        run(&format!("issue d-{number} --authority factory --out {out}"));
        run(&format!(
            "issue --prefix f{number}- --count 3 --authority factory --plain-keys --out {out}.nd"
        ));
        run(&format!(
            "issue --prefix g{number}- --count 3 --authority factory --plain-keys --format dir --out {out}.dir"
        ));
        run(&format!("csr create c-{number} --out {out}"));
        for file in [
            format!("{out}/d-{number}.key.pem"),
            format!("{out}/c-{number}.key.pem"),
            format!("{out}.nd"),
            format!("{out}.dir/g{number}-1.key.pem"),
        ] {
            assert_eq!(home.mode(&file), 0o600, "{file} under umask {umask}");
        }
        assert_eq!(home.mode(&format!("{out}.dir")), 0o700);
    }
}

/// A named pipe under the name of a file that is swept would hold a run for good.
#[test]
fn what_is_named_like_a_leftover_holds_nobody() {
    let home = Home::from_template("quickstart");
    fs::create_dir(home.path("out")).expect("folder");
    home.tool("mkfifo", "out/.dps-pki-abcdef.tmp").ok();
    home.tool("mkfifo", "o.part").ok();
    home.dps_pki("issue d-1 --authority factory --out out").ok();
    assert!(home.path("out/.dps-pki-abcdef.tmp").exists());
    refused(&home, &line("ndjson"), "it is not a regular file");
}

/// Takes the completion of a batch, the last that has happened, out of the inventory.
fn not_completed_yet(home: &Home) {
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("inventory");
    let find = "SELECT sql FROM sqlite_schema WHERE name = 'audit_is_never_removed'";
    let trigger: String = inventory
        .query_row(find, [], |row| row.get(0))
        .expect("a trigger");
    let undo = format!(
        "DROP TRIGGER audit_is_never_removed;
         DELETE FROM audit WHERE action = 'batch-completed';
         {trigger};
         UPDATE batch SET state = 'open', completed_at = NULL, manifest = NULL"
    );
    inventory.execute_batch(&undo).expect("undone");
}

/// Somebody takes the output's place while it is written: nothing is lost, and nothing replaced.
#[test]
fn a_place_that_is_taken_meanwhile_is_told_and_the_output_kept() {
    let home = Home::from_template("quickstart");
    // As it was before the last step, so that the second run begins with its place taken.
    home.dps_pki(&line("ndjson")).ok();
    not_completed_yet(&home);
    fs::rename(home.path("o"), home.path("o.part")).expect("as before it was named");
    home.write("o", "somebody else's");
    let run = home.dps_pki(&line("ndjson")).ends_with(4);
    run.stderr_has("o exists already");
    assert_eq!(home.read("o"), "somebody else's");
    fs::remove_file(home.path("o")).expect("removed");
    home.dps_pki(&line("ndjson")).ok();
    assert!(holds_key(&home.path("o")));
    assert!(!home.path("o.part").exists());
    let again = home.dps_pki(&line("ndjson")).ok();
    again.stderr_has("is complete already");
}

#[test]
fn the_emulator_keeps_its_secrets_to_itself() {
    let home = Home::from_template("quickstart");
    home.write("precious", "precious");
    home.write("open", "");
    open_to_all(&home.path("open"), 0o666);
    symlink(home.path("precious"), home.path("link")).expect("link");
    let start = "emulator --listen localhost:0 --mqtt-listen localhost:0";
    for (flags, code) in [
        ("--state open", 3),
        ("--state link", 3),
        ("--request-log link", 1),
        ("--state pki.toml", 4),
        ("--request-log pki.toml", 4),
        ("--ca-file precious", 4),
        ("--dump-file precious", 4),
        ("--ca-file pki.toml --force", 4),
        ("--dump-file inventory.db --force", 4),
    ] {
        let run = home.dps_pki(&format!("{start} {flags}"));
        assert_eq!(run.code, code, "{flags}: {run}");
    }
    assert_eq!(home.read("precious"), "precious");
}
