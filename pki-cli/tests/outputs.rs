//! The one rule for every output: what is there is replaced only with --force, a home's own file never.
//! What is judged is judged before anything is made, and a dry run judges the same. What others named
//! does nothing to a terminal.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{PASSPHRASE, Run, World};

/// A command and the file that it writes; `OUT` is where that goes, in `DIR` under a name of its own.
const TO_FILES: [&str; 11] = [
    "crl root --out OUT",
    "possession root 7A69A4702DA903A41C3A5BC5575A8E3F49BEC5E5BA2D4CE1 --out OUT",
    "convert authorities/root/1.cert.pem --to der --out OUT",
    "convert d/known.key.pem --to pem --with-key --plain-keys --out OUT",
    "audit prove known --out OUT",
    "audit checkpoint --out OUT",
    "authority request outer --out OUT",
    "issue --prefix b --count 2 --authority factory --plain-keys --out OUT",
    "issue --prefix b --count 2 --authority factory --plain-keys --format tar --out OUT",
    "issue --prefix b --count 2 --authority factory --plain-keys --out batch --manifest OUT",
    "sign requests --authority factory --format ndjson --out OUT",
];

/// Commands that name their files themselves, below `OUT`, and one of these.
const TO_FOLDERS: [(&str, &str); 5] = [
    ("issue n-1 --authority factory --out OUT", "n-1.key.pem"),
    ("renew known --out OUT", "known.key.pem"),
    (
        "sign dev-1.csr --authority factory --out OUT",
        "dev-1.cert.pem",
    ),
    ("csr create n-1 --out OUT", "n-1.key.pem"),
    ("man OUT", "dps-pki-crl.1"),
];

fn home() -> World {
    let home = World::with_authorities();
    home.done("issue known --authority factory --out d");
    home.write_request("dev-1");
    fs::create_dir(home.path("requests")).expect("folder");
    fs::copy(home.path("dev-1.csr"), home.path("requests/dev-1.csr")).expect("copied");
    let outer = "\n[authority.outer]\nsubject = \"CN=Outer\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n\
                 issuer = \"root\"\n";
    home.write("pki.toml", home.read("pki.toml") + outer);
    home
}

/// The home's files but for the inventory, which refused commands may open, and what is in them.
fn kept(home: &World) -> Vec<(String, Vec<u8>)> {
    let mut kept = vec![(
        "pki.toml".to_owned(),
        fs::read(home.path("pki.toml")).expect("read"),
    )];
    for name in ["root", "factory"] {
        let folder = home.path("authorities").join(name);
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            kept.push((path.display().to_string(), fs::read(path).expect("read")));
        }
    }
    kept.sort();
    kept
}

#[track_caller]
fn assert_refused(run: &Run, sentence: &str) {
    run.ends_with(4).stderr_has(sentence);
}

#[test]
fn an_output_replaces_a_file_only_with_force() {
    let template = home();
    for line in TO_FILES {
        let home = template.copy();
        home.write("somebody", "somebody else's");
        let line = line.replace("OUT", "somebody");
        assert_refused(&home.run(&line), "somebody exists already");
        assert_eq!(home.read("somebody"), "somebody else's", "{line}");
        home.done(&format!("{line} --force"));
        let written = fs::read(home.path("somebody")).expect("written");
        assert_ne!(written, b"somebody else's", "{line}");
    }
    for (line, file) in TO_FOLDERS {
        let home = template.copy();
        let file = format!("folder/{file}");
        home.write(&file, "somebody else's");
        let line = line.replace("OUT", "folder");
        assert_refused(&home.run(&line), &format!("{file} exists already"));
        assert_eq!(home.read(&file), "somebody else's", "{line}");
        home.done(&format!("{line} --force"));
        assert_ne!(home.read(&file), "somebody else's", "{line}");
    }
}

#[test]
fn a_file_of_a_home_is_never_written() {
    let home = home();
    fs::create_dir(home.path("sub")).expect("folder");
    symlink(home.path("pki.toml"), home.path("link")).expect("link");
    symlink(home.path("authorities"), home.path("sub/elsewhere")).expect("link");
    fs::hard_link(home.path("inventory.db"), home.path("hard")).expect("hard link");
    let before = kept(&home);
    let absolute = home.path("inventory.db").display().to_string();
    for line in TO_FILES {
        for place in [
            "pki.toml",
            "inventory.db",
            "inventory.db-wal",
            "./sub/../pki.toml",
            "authorities/root/1.key.pem",
            "authorities/root/2.key.pem",
            "sub/elsewhere/factory/1.cert.pem",
            "locks/claims",
            "plan-5.lock",
            "link",
            "hard",
            &absolute,
        ] {
            let line = format!("{} --force", line.replace("OUT", place));
            assert_refused(
                &home.run(&line),
                "a file of a home, which no output may replace",
            );
            assert_eq!(kept(&home), before, "{line}");
        }
    }
    for (line, _) in TO_FOLDERS {
        let line = format!("{} --force", line.replace("OUT", "sub/elsewhere/root"));
        assert_refused(
            &home.run(&line),
            "a file of a home, which no output may replace",
        );
    }
    assert_eq!(kept(&home), before);
    home.done("audit verify");
}

/// Secrets, PINs and trust anchors that pki.toml names, and the passphrase that is in use.
#[test]
fn a_file_that_is_read_is_never_replaced() {
    let mut home = home();
    let declared = home.read("pki.toml").replace(
        "trust-anchor",
        "connection-string = \"file:connection\"\ntrust-anchor",
    );
    home.write("pki.toml", declared);
    home.set("DPS_PKI_PASSPHRASE", "");
    for (name, content) in [
        ("connection", "somebody's key"),
        ("emulator-ca.pem", "somebody's anchor"),
        ("pass", PASSPHRASE),
    ] {
        home.write(name, content);
        fs::set_permissions(home.path(name), Permissions::from_mode(0o600)).expect(name);
    }
    symlink(home.path("pass"), home.path("link-to-pass")).expect("link");
    fs::create_dir(home.path("sub")).expect("folder");
    for line in TO_FILES {
        for place in [
            "connection",
            "emulator-ca.pem",
            "pass",
            "sub/../pass",
            "link-to-pass",
        ] {
            let before = home.read(place);
            let line = format!(
                "{} --force --passphrase-file pass",
                line.replace("OUT", place)
            );
            assert_refused(
                &home.run(&line),
                "pki.toml or this command reads, and no output may replace it",
            );
            assert_eq!(home.read(place), before, "{line}");
        }
    }
}

#[test]
fn a_new_passphrase_goes_where_it_is_told_to() {
    let world = World::new();
    let inside = world.done("init line --new-passphrase line/pass");
    inside.stderr_has("line/pass lies in the home");
    assert_eq!(world.read("line/pass").len(), 29);
    world.done("authority create --home line --passphrase-file line/pass");
    let piped = world.done("init vault --new-passphrase -");
    assert_eq!(piped.stdout.trim_end().len(), 29, "{}", piped.stdout);
    piped.stderr_has("wrote vault/pki.toml");
    assert!(!world.path("-").exists());
    let json = world.run("init other --new-passphrase - --output json");
    json.ends_with(2);
    assert!(!world.path("other").exists());
    // Beside the home there is nothing to warn of.
    let beside = world.done("init here --new-passphrase pass");
    assert!(
        !beside.stderr.contains("lies in the home"),
        "{}",
        beside.stderr
    );
}

/// The home of another command line is as much a home.
#[test]
fn a_file_of_another_home_is_never_written_either() {
    let home = home();
    home.write("other/pki.toml", home.read("pki.toml"));
    let line = "convert authorities/root/1.cert.pem --to der --force --out other/pki.toml";
    assert_refused(&home.run(line), "a file of a home");
    let key = "convert authorities/root/1.cert.pem --to der --force --out other/authorities/x";
    assert_refused(&home.run(key), "a file of a home");
}

#[test]
fn an_output_that_holds_the_same_already_is_left() {
    let home = home();
    let line = "convert authorities/root/1.cert.pem --to der --out root.cer";
    home.done(line);
    home.done(line);
    home.done("man pages");
    home.done("man pages");
    // A key that others can read is not the same as one that they cannot.
    let key = "convert d/known.key.pem --to pem --with-key --plain-keys --out key.pem";
    home.done(key);
    home.done(key);
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(home.path("key.pem"), open).expect("mode");
    assert_refused(&home.run(key), "key.pem exists already");
}

#[test]
fn what_is_no_file_is_replaced_by_nothing() {
    let home = home();
    fs::create_dir(home.path("folder")).expect("folder");
    symlink("/dev/null", home.path("null")).expect("link");
    for place in ["folder", "/dev/null", "null"] {
        let run = home.run(&format!("crl root --force --out {place}"));
        assert_refused(&run, "exists already, and is no file");
    }
    let folder = "issue --prefix b --count 2 --authority factory --plain-keys --format dir --force";
    assert_refused(
        &home.run(&format!("{folder} --out folder")),
        "folder exists already",
    );
}

/// No number is used up by a list that has no place to go.
#[test]
fn a_refused_crl_takes_no_number() {
    let home = home();
    let number = |run: &Run| run.json()["crlNumber"].as_u64().expect("a number");
    let first = number(&home.done("crl root --out a.crl --output json"));
    assert_refused(&home.run("crl root --out a.crl"), "a.crl exists already");
    let second = number(&home.done("crl root --out a.crl --force --output json"));
    assert_eq!(second, first + 1);
}

/// What runs were cut short with is their own, however often; what somebody else put there is not.
#[test]
fn leftovers_of_a_voided_leaf_are_written_over_and_others_are_not() {
    let home = home();
    let inventory = rusqlite::Connection::open(home.path("inventory.db")).expect("inventory");
    let execute = |sql: &str| inventory.execute_batch(sql).expect(sql);
    // A count that would become negative, and a place that is taken: SQLite refuses either.
    const BREAK_MARK: &str = "PRAGMA ignore_check_constraints = ON;
        UPDATE counter SET certificates = certificates - 1
            WHERE role = 'leaf' AND status = 'undelivered';
        PRAGMA ignore_check_constraints = OFF";
    const MEND_MARK: &str = "UPDATE counter SET certificates = certificates + 1
            WHERE role = 'leaf' AND status = 'undelivered'";
    const BREAK_INSERT: &str =
        "INSERT INTO run SELECT max(id) + 1, max(id) + 1, 'leaf', 'delivered',
            NULL, NULL, 1, 1 FROM certificate";
    const MEND_INSERT: &str = "DELETE FROM run WHERE first > (SELECT max(id) FROM certificate)";
    let line = "issue n-1 --authority factory --out new";
    // Written and not marked; then as if the run had been killed behind the key.
    execute(BREAK_MARK);
    assert_ne!(home.run(line).code, 0);
    execute(MEND_MARK);
    for file in ["n-1.cert.pem", "n-1-full-chain.cert.pem"] {
        fs::remove_file(home.path("new").join(file)).expect(file);
    }
    let left = home.read("new/n-1.key.pem");
    // The next run voids the leaf and is cut short as well, before it has a new one.
    execute(BREAK_INSERT);
    assert_ne!(home.run(line).code, 0);
    execute(MEND_INSERT);
    assert_eq!(home.read("new/n-1.key.pem"), left);
    home.done(line);
    assert_ne!(home.read("new/n-1.key.pem"), left);
    // The device's key before that is nobody's leftover.
    let before = home.read("d/known.key.pem");
    execute(BREAK_MARK);
    assert_ne!(home.run("renew known --out e").code, 0);
    execute(MEND_MARK);
    let run = home.run("renew known --out d");
    assert_refused(&run, "d/known.key.pem exists already");
    assert_eq!(home.read("d/known.key.pem"), before);
    home.done("renew known --out e");
}

#[test]
fn a_list_is_judged_as_a_whole_before_the_first_key() {
    let home = home();
    let mut list = "registration_id,validity,profile\n".to_owned();
    for number in 0..50 {
        list += &format!("l-{number},30d,\n");
    }
    list += "ended,0d,\nlate,30y,\nnobody,,unknown\n";
    home.write("list.csv", &list);
    let line = "issue --devices list.csv --authority factory --plain-keys --out out";
    let judged = home.run(line);
    judged.ends_with(3);
    home.write("list.csv", list.replace("nobody,,unknown\n", ""));
    for dry in ["", " --dry-run"] {
        let run = home.run(&format!("{line}{dry}"));
        run.ends_with(3);
        for line in [
            "line 52: \"ended\"",
            "line 53: \"late\"",
            "2 lines cannot be used",
        ] {
            run.stderr_has(line);
        }
    }
    let all = home
        .done("inventory list --output json --limit 1000")
        .json();
    assert_eq!(all.as_array().expect("a list").len(), 3, "{all}");
    assert!(!home.path("out.part").exists());
}

/// Each is refused in the same words, whether or not anything is to be done.
#[test]
fn a_dry_run_refuses_what_the_run_would() {
    let template = home();
    template.write("late.csv", "registration_id,validity\nx-1,30y\n");
    template.write("known.csv", "known\n");
    template.write("taken", "somebody else's");
    template.write("folder/x-1.key.pem", "somebody else's");
    let toml = template.read("pki.toml");
    template.write(
        "pki.toml",
        toml + "\n[profile.late]\nkey = \"ecdsa-p256\"\nvalidity = \"5y\"\n",
    );
    for line in [
        "issue --devices late.csv --authority factory --plain-keys --out out",
        "issue --devices known.csv --authority factory --plain-keys --out out",
        "issue --prefix x --count 5 --authority factory --plain-keys --out out --profile late",
        "issue --prefix x --count 5 --authority factory --plain-keys --out taken",
        "issue --prefix x --count 5 --authority factory --plain-keys --out pki.toml",
        "issue --prefix x --count 5 --authority factory --out out",
        "issue --prefix x --count 5 --authority nobody --plain-keys --out out",
        "sign requests --authority factory --profile late --out out",
        "issue x-1 --authority factory --profile late --out out",
        "issue x-1 --authority factory --out folder",
        "issue x-1 --authority nobody --out out",
        "sign dev-1.csr --authority factory --profile late --out out",
        "renew known --profile late --out out",
        "renew known --authority factory --out authorities/root",
    ] {
        let home = template.copy();
        let rehearsed = home.run(&format!("{line} --dry-run"));
        assert!(!home.path("out").exists() && !home.path("out.lock").exists());
        let run = home.run(line);
        assert_ne!(run.code, 0, "{line}");
        assert_eq!(
            (rehearsed.code, rehearsed.stderr),
            (run.code, run.stderr),
            "{line}"
        );
    }
}

#[test]
fn a_dry_run_needs_no_passphrase_and_says_what_it_did_not_check() {
    let mut home = home();
    home.environment.clear();
    for line in [
        "issue --prefix x --count 5 --authority factory --plain-keys --out out --dry-run",
        "issue x-1 --authority factory --out out --dry-run",
        "sign dev-1.csr --authority factory --out out --dry-run",
        "renew known --out out --dry-run",
    ] {
        let run = home.done(line);
        run.stderr_has("not checked: whether the key of authority factory");
    }
}

#[test]
fn a_complete_batch_whose_output_is_gone_is_not_called_complete() {
    let home = home();
    for (format, out) in [("ndjson", "a"), ("dir", "b"), ("tar", "c")] {
        let line = format!(
            "issue --prefix {out} --count 3 --authority factory --plain-keys --format {format} --out {out}"
        );
        home.done(&line);
        let again = home.done(&line);
        again.stderr_has("is complete already");
        let moved = &format!("moved-{out}");
        fs::rename(home.path(out), home.path(moved)).expect("moved");
        for dry in ["", " --dry-run"] {
            let gone = home.run(&format!("{line}{dry}"));
            gone.ends_with(8).stderr_has("is not here any more");
            gone.stderr_has("its keys cannot be made again");
        }
        if format != "dir" {
            home.write(out, "another file");
            let other = home.run(&line);
            other.ends_with(8).stderr_has("is another one");
        }
    }
    home.done("revoke a1 a2 a3 --reason superseded --yes");
    let line = "issue --prefix a --count 3 --authority factory --plain-keys --out a";
    let gone = home.run(line);
    gone.ends_with(8).stderr_has("is valid any more");
    home.done(&format!("{line}-2 --batch anew"));
}

#[test]
fn names_from_outside_do_nothing_to_a_terminal() {
    const HOSTILE: &str = "e\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\nerror:";
    let mut home = home();
    home.terminal.stdout = true;
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-utf8",
            "-days",
            "5",
            "-subj",
            &format!("/CN={HOSTILE}/O={HOSTILE}"),
        ])
        .args(["-keyout", "/dev/null", "-out"])
        .arg(home.path("foreign"))
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let folder = format!("h/{HOSTILE}");
    home.write(&format!("{folder}/{HOSTILE}.csr"), "no request");
    home.write(
        &format!("{folder}/{HOSTILE}"),
        format!("{HOSTILE}\n\"{HOSTILE}\"\n"),
    );
    let list = format!("registration_id,{HOSTILE}\nx-1,\"{HOSTILE}\"\n");
    home.write("h/list.csv", list);
    fs::copy(
        home.path("foreign"),
        home.path(&format!("{folder}/x.cert.pem")),
    )
    .expect("copied");
    for line in [
        "inspect foreign",
        "lint foreign",
        "verify foreign",
        "verify d/known.cert.pem --anchor foreign",
        "explain foreign",
        "convert foreign --to c-header",
        "convert foreign --to nvs",
        "inventory export --format csv",
        "sign HERE --authority factory --out s",
        "sign HERE/FILE.csr --authority factory --out s",
        "inspect HERE/FILE",
        "inspect HERE",
        "lint HERE/FILE",
        "lint HERE/x.cert.pem",
        "convert HERE/FILE --to pem",
        "verify HERE/FILE",
        "issue --devices HERE/FILE --authority factory --plain-keys --out o",
        "issue --devices h/list.csv --authority factory --plain-keys --out o",
        "issue FILE --authority factory",
        "renew HERE/FILE --out s",
        "revoke HERE/FILE --yes",
        "inventory import HERE",
        "inventory import HERE/FILE",
        "inventory show FILE",
        "inventory list --id FILE",
        "batch show FILE",
        "batch verify HERE/FILE",
        "authority import outer --cert foreign --key HERE/FILE",
        "authority adopt outer --cert foreign",
        "authority show FILE",
        "audit verify --proof HERE/FILE",
        "crl root --after-crl HERE/FILE",
        "init n --template HERE/FILE",
        "csr create FILE",
        "FILE",
        "crl --FILE",
    ] {
        for format in ["text", "json"] {
            let words = line.split(' ').chain(["--output", format]);
            let words: Vec<String> = words
                .map(|word| word.replace("HERE", &folder).replace("FILE", HOSTILE))
                .collect();
            let run = home.run_words(&words);
            let said = run.stdout + &run.stderr;
            let is_obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!said.contains(is_obeyed), "{line} ({format}): {said:?}");
            let forged = said
                .lines()
                .filter(|line| line.starts_with("error:"))
                .count();
            assert!(forged <= 1, "{line} ({format}): {said}");
        }
    }
    assert!(Path::new(&home.path("foreign")).exists());
}

/// What lies where a lock or a part goes is somebody's own unless a run of ours left it.
#[test]
fn what_lies_beside_an_output_is_kept() {
    let home = home();
    let line = "issue --prefix x- --count 3 --authority factory --plain-keys --out z";
    for (beside, sentence) in [
        ("z.lock", "z.lock exists already, and is no lock of dps-pki"),
        ("z.part", "z.part exists already, and is not of this batch"),
    ] {
        for force in ["", " --force"] {
            home.write(beside, "precious");
            fs::set_permissions(home.path(beside), Permissions::from_mode(0o600)).expect("mode");
            let run = home.run(&format!("{line}{force}"));
            run.ends_with(4).stderr_has(sentence);
            assert_eq!(home.read(beside), "precious");
            assert!(!home.path("z").exists());
        }
        fs::remove_file(home.path(beside)).expect("removed");
    }
    fs::create_dir(home.path("z.part")).expect("a folder");
    home.write("z.part/precious", "precious");
    let run = home.run(&format!("{line} --format dir"));
    run.ends_with(4).stderr_has("z.part exists already");
    fs::remove_dir_all(home.path("z.part")).expect("removed");
    // A lock that a run left which was killed is taken.
    home.write("z.lock", "dps-pki 4711");
    fs::set_permissions(home.path("z.lock"), Permissions::from_mode(0o600)).expect("mode");
    home.done(line);
    assert!(!home.path("z.lock").exists());
}

#[test]
fn an_output_and_its_manifest_are_two_files() {
    let home = home();
    let line = "issue --prefix x- --count 3 --authority factory --plain-keys --force --out z";
    for (manifest, code, sentence) in [
        ("z", 2, "the output and its manifest are two files"),
        (
            "z.part",
            4,
            "names that end in .part are those of files beside outputs",
        ),
    ] {
        let run = home.run(&format!("{line} --manifest {manifest}"));
        run.ends_with(code).stderr_has(sentence);
    }
    assert!(!home.path("z").exists());
}
