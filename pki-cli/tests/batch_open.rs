//! `batch open`, and `convert` of batches: what arrives at the line becomes files, or nothing does.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::support::{PASSPHRASE, Run, World};

/// What a line has: a sealed batch of three devices, `order.age`, its identity `line.key`, and no home.
fn line() -> World {
    let world = World::after(&["init pki", "authority create --home pki"]);
    for identity in ["line.key", "other.key"] {
        shell(&world, &format!("age-keygen -o {identity}"));
    }
    let recipient = shell(&world, "age-keygen -y line.key");
    let recipient = format!("--recipient {}", recipient.trim());
    issue(&world, &recipient, "order.age");
    world
}

fn issue(world: &World, how: &str, out: &str) {
    let batch = out.replace('.', "-");
    world.done(&format!(
        "issue --prefix {batch}: --count 3 --authority factory --home pki {how} --out {out}"
    ));
}

/// What a line of shell prints.
#[track_caller]
fn shell(world: &World, line: &str) -> String {
    let ended = Command::new("sh")
        .args(["-c", line])
        .current_dir(world.path(""))
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{line}: {said}");
    String::from_utf8(ended.stdout).expect("text")
}

#[track_caller]
fn refused(run: &Run, code: u8, sentence: &str) {
    run.ends_with(code);
    run.stderr_has(&format!("error: {sentence}"));
    assert_eq!(run.stdout, "");
}

fn names(world: &World, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(world.path(folder)).expect(folder);
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect()
}

fn mode(world: &World, name: &str) -> u32 {
    let metadata = fs::metadata(world.path(name)).expect(name);
    metadata.permissions().mode() & 0o777
}

#[track_caller]
fn is_not_there(world: &World, out: &str) {
    for name in [
        out.to_owned(),
        format!("{out}.opening"),
        format!("{out}.lock"),
    ] {
        assert!(!world.path(&name).exists(), "{name}");
    }
}

/// The files are those that `issue --format dir` writes, and a chain is the same in all of them.
#[test]
fn a_sealed_batch_becomes_the_files_of_its_devices() {
    let world = line();
    let open = "batch open order.age --identity line.key";
    let run = world.done(&format!("{open} --out files --output json"));
    assert_eq!(run.json()["devices"], 3);
    assert_eq!(names(&world, "files").len(), 3 * 3 + 1);
    let lines = shell(&world, "age --decrypt -i line.key order.age");
    for line in lines.lines() {
        let device: Value = serde_json::from_str(line).expect("JSON");
        let text = |member: &str| device[member].as_str().expect(member).to_owned();
        let file = format!("files/{}", text("registrationId").replace(':', "%3A"));
        let key = format!("{file}.key.pem");
        assert_eq!(world.read(&key), text("privateKey"));
        assert_eq!(mode(&world, &key), 0o600);
        let certificate = text("certificate");
        assert_eq!(world.read(&format!("{file}.cert.pem")), certificate);
        let full_chain = format!("{file}-full-chain.cert.pem");
        assert_eq!(world.read(&full_chain), certificate + &text("chain"));
        world.done(&format!(
            "verify {full_chain} --anchor pki/authorities/root/1.cert.pem"
        ));
    }
    assert_eq!(mode(&world, "files"), 0o700);
    shell(&world, "cd files && sha256sum --check SHA256SUMS");
    let identity = "files/order-age%3A2-full-chain.cert.pem files/order-age%3A2.key.pem";
    for (form, ending) in [("c-header", ".h"), ("nvs", ".nvs.csv")] {
        world.done(&format!("{open} --format {form} --out {form}"));
        assert_eq!(names(&world, form).len(), 3 + 1);
        let file = format!("{form}/order-age%3A2{ending}");
        assert_eq!(mode(&world, &file), 0o600);
        world.done(&format!(
            "convert {identity} --to {form} --with-key --plain-keys --out converted{ending}"
        ));
        assert_eq!(world.read(&file), world.read(&format!("converted{ending}")));
    }
    world.write("pfx-passphrase", "another one");
    world.done(&format!(
        "{open} --format pfx --key-passphrase-from file:pfx-passphrase --out pfx"
    ));
    let listed = shell(
        &world,
        "openssl pkcs12 -in pfx/order-age%3A2.pfx -passin file:pfx-passphrase -nodes",
    );
    assert_eq!(listed.matches("BEGIN CERTIFICATE").count(), 3);
    assert_eq!(listed.matches("BEGIN PRIVATE KEY").count(), 1);
}

#[test]
fn an_archive_is_opened_to_the_files_that_it_holds() {
    let world = line();
    issue(&world, "--format tar --plain-keys", "order.tar");
    world.done("batch open order.tar --out files");
    fs::create_dir(world.path("unpacked")).expect("a folder");
    shell(&world, "tar -xf order.tar -C unpacked");
    let unpacked = names(&world, "unpacked");
    let mut opened = names(&world, "files");
    assert!(opened.remove("SHA256SUMS"));
    assert_eq!(opened, unpacked);
    for name in unpacked {
        let kept = world.read(&format!("unpacked/{name}"));
        assert_eq!(world.read(&format!("files/{name}")), kept, "{name}");
    }
}

/// A device that made its own key has none in the batch, and none in its files.
#[test]
fn devices_that_keep_their_keys_are_opened_without() {
    let world = line();
    world.done("csr create own-1 own-2 --out requests");
    world.done("sign requests --authority factory --home pki --format ndjson --out own.ndjson");
    world.done("batch open own.ndjson --out files");
    assert_eq!(names(&world, "files").len(), 2 * 2 + 1);
    world.write("pfx-passphrase", "another one");
    let run = world.run(
        "batch open own.ndjson --format pfx --key-passphrase-from file:pfx-passphrase --out pfx",
    );
    refused(&run, 4, "own.ndjson: own-1 made its own key");
    is_not_there(&world, "pfx");
}

/// Whatever arrives broken is told in one sentence, and nothing is written of it.
#[test]
fn what_was_cut_changed_or_is_foreign_is_refused_whole() {
    let world = line();
    let sealed = fs::read(world.path("order.age")).expect("order.age");
    let refuse = |file: &str, identity: &str, code: u8, sentence: &str| {
        let run = world.run(&format!("batch open {file} {identity} --out files"));
        refused(&run, code, sentence);
        is_not_there(&world, "files");
    };
    let ours = "--identity line.key";
    for length in [30, 100, 200, sealed.len() / 2, sealed.len() - 1] {
        world.write("cut.age", &sealed[..length]);
        refuse("cut.age", ours, 3, "cut.age: it was changed or cut short");
    }
    for place in [40, 120, 300, sealed.len() - 5] {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        world.write("changed.age", changed);
        let run = world.run(&format!("batch open changed.age {ours} --out files"));
        // A changed recipient may be taken for another one's.
        assert!([3, 4].contains(&run.code), "{place}: {}", run.stderr);
        is_not_there(&world, "files");
    }
    let foreign = "order.age: it was sealed to other recipients";
    refuse("order.age", "--identity other.key", 4, foreign);
    refuse("order.age", "", 4, "order.age is sealed");
    let root = "pki/authorities/root/1.cert.pem";
    refuse(
        root,
        ours,
        3,
        &format!("{root}: it is neither NDJSON nor an archive"),
    );
    world.write("empty", "");
    refuse("empty", ours, 3, "empty: it holds no device");
    refuse("none", ours, 8, "none does not exist");
    world.write("recipient", shell(&world, "age-keygen -y line.key"));
    let recipient = "recipient: line 1: that is a recipient";
    refuse("order.age", "--identity recipient", 3, recipient);
    let no_identity = format!("{root}: line 1: that is no age identity");
    refuse("order.age", &format!("--identity {root}"), 3, &no_identity);
    shell(&world, "age -a -R recipient order.age > armored.age");
    refuse(
        "armored.age",
        ours,
        3,
        "armored.age: it is an age file in armor",
    );
}

/// A batch that is not sealed can be changed by anybody; what does not belong together is found.
#[test]
fn what_does_not_belong_together_is_found() {
    let world = line();
    issue(&world, "--plain-keys", "order.ndjson");
    issue(&world, "--format tar --plain-keys", "order.tar");
    let text = world.read("order.ndjson");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let with = |member: &str, value: &Value| {
        let mut second = lines[1].clone();
        second[member] = value.clone();
        format!("{}\n{second}\n", lines[0])
    };
    let first = |member: &str| &lines[0][member];
    let root = Value::from(world.read("pki/authorities/root/1.cert.pem"));
    for (changed, sentence) in [
        (
            with("privateKey", first("privateKey")),
            "line 2: the private key does not belong",
        ),
        (
            with("certificate", first("certificate")),
            "line 2: the certificate does not have the",
        ),
        (
            with("registrationId", first("registrationId")),
            "line 2: the certificate is that of",
        ),
        (
            with("chain", &root),
            "line 2: the first certificate of the chain did not sign",
        ),
        (with("chain", &"".into()), "line 2: chain: "),
        (with("privateKey", &Value::Null), ""),
        (
            with("certificate", &Value::Null),
            "line 2: certificate is missing",
        ),
        (
            with("certificate", &7.into()),
            "line 2: it is not a device of a batch",
        ),
        (
            with("registrationId", &"a b".into()),
            "line 2: registration ID",
        ),
        (
            format!("{}\n{}\n", lines[0], lines[0]),
            "order-ndjson:1 stands in it twice",
        ),
        (
            text[..text.len() - 9].to_owned(),
            "line 3: it is not JSON, or was cut short",
        ),
        (format!("{text}\n"), "line 4: it is not JSON"),
    ] {
        world.write("changed.ndjson", changed);
        let run = world.run("batch open changed.ndjson --out files");
        if sentence.is_empty() {
            run.ends_with(0);
            fs::remove_dir_all(world.path("files")).expect("removed");
            continue;
        }
        run.ends_with(3);
        run.stderr_has(&format!("error: changed.ndjson: {sentence}"));
        assert!(!run.stderr.contains("PRIVATE KEY"), "{}", run.stderr);
        is_not_there(&world, "files");
    }
    let archive = fs::read(world.path("order.tar")).expect("order.tar");
    let end = archive.len() - 1024;
    for length in [512, end / 3, end / 3 * 2 + 700, end] {
        world.write("cut.tar", &archive[..length]);
        let run = world.run("batch open cut.tar --out files");
        run.ends_with(3);
        run.stderr_has("error: cut.tar: ");
        is_not_there(&world, "files");
    }
    world.write("x.cert.pem", "x");
    shell(&world, "tar -cf foreign.tar x.cert.pem");
    let run = world.run("batch open foreign.tar --out files");
    refused(
        &run,
        3,
        "foreign.tar: the archive is broken or was cut short",
    );
}

/// What a killed run left is removed, whatever was in it; what may be another's is not touched.
#[test]
fn a_run_that_was_cut_short_is_said_again() {
    let world = line();
    let open = "batch open order.age --identity line.key --out files";
    let opening = world.path("files.opening");
    fs::create_dir_all(opening.join("000")).expect("left");
    world.write("files.opening/SHA256SUMS", "");
    world.write("files.opening/order-age%3A1.h", "left");
    world.write("files.opening/000/order-age%3A1.key.pem", "left");
    fs::set_permissions(&opening, Permissions::from_mode(0o755)).expect("mode");
    let run = world.run(open);
    run.ends_with(4);
    run.stderr_has("files.opening cannot be trusted: it is open to others");
    assert!(opening.join("order-age%3A1.h").exists());
    for folder in [&opening, &opening.join("000")] {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).expect("mode");
    }
    world.done(open);
    assert_eq!(names(&world, "files").len(), 3 * 3 + 1);
    assert!(!opening.exists());
    let run = world.run(open);
    refused(&run, 4, "files exists already");
    assert_eq!(names(&world, "files").len(), 3 * 3 + 1);
}

#[test]
fn encrypted_keys_stay_so_unless_their_passphrase_is_given() {
    let mut world = line();
    world.write("keys", PASSPHRASE);
    world.write("wrong", "tests-never-guess-these-words");
    issue(&world, "--key-passphrase-from file:keys", "order.ndjson");
    world.environment.clear();
    let open = "batch open order.ndjson";
    world.done(&format!("{open} --out files"));
    let key = world.read("files/order-ndjson%3A1.key.pem");
    assert!(key.contains("ENCRYPTED PRIVATE KEY"));
    let run = world.run(&format!("{open} --format nvs --out rows"));
    refused(
        &run,
        4,
        "order.ndjson: the private key of order-ndjson:1 is encrypted",
    );
    let run = world.run(&format!(
        "{open} --format nvs --out rows --passphrase-file wrong"
    ));
    run.ends_with(4);
    run.stderr_has("order.ndjson: order-ndjson:1: private key: ");
    is_not_there(&world, "rows");
    world.done(&format!(
        "{open} --format nvs --out rows --passphrase-file keys"
    ));
    let rows = world.read("rows/order-ndjson%3A1.nvs.csv");
    assert!(rows.contains("-----BEGIN PRIVATE KEY-----"));
    let run = world.run(&format!(
        "{open} --format nvs --key-passphrase-from file:keys --out x"
    ));
    refused(&run, 2, "a private key in this form is not encrypted");
}

#[test]
fn one_device_of_a_batch_is_converted_or_all_are() {
    let world = line();
    issue(&world, "--plain-keys", "order.ndjson");
    world.done("batch open order.ndjson --out files");
    let device = "order-ndjson:2";
    let files = "files/order-ndjson%3A2";
    for (batch, device, identity) in [
        ("order.ndjson", device, ""),
        ("order.age", "order-age:2", "--identity line.key"),
    ] {
        let convert = format!("convert {batch} {identity}");
        world.done(&format!(
            "{convert} --id {device} --to pem --out {batch}.pem"
        ));
        let pem = world.read(&format!("{batch}.pem"));
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 3);
        let run = world.run(&format!("{convert} --id pump-9 --to pem"));
        refused(
            &run,
            8,
            &format!("{batch}: there is no device pump-9 in it"),
        );
    }
    assert_eq!(
        world.read("order.ndjson.pem"),
        world.read(&format!("{files}-full-chain.cert.pem"))
    );
    let of_files = format!("convert {files}-full-chain.cert.pem {files}.key.pem --to nvs");
    let of_batch = format!("convert order.ndjson --id {device} --to nvs");
    let with_key = "--with-key --plain-keys --out";
    world.done(&format!("{of_files} {with_key} of-files.csv"));
    world.done(&format!("{of_batch} {with_key} of-batch.csv"));
    assert_eq!(world.read("of-files.csv"), world.read("of-batch.csv"));
    let run = world.done("convert order.ndjson --to nvs --out rows");
    run.stderr_has("the private key is left out");
    assert!(
        !world
            .read("rows/order-ndjson%3A2.nvs.csv")
            .contains("PRIVATE KEY")
    );
    world.done(&format!("convert order.ndjson --to nvs {with_key} keys"));
    assert_eq!(
        world.read("keys/order-ndjson%3A2.nvs.csv"),
        world.read("of-batch.csv")
    );
    for (wrong, sentence) in [
        ("order.ndjson --to nvs", "a batch becomes a folder"),
        (
            "order.ndjson --to p7b --out x",
            "this form is for one device of a batch",
        ),
        (
            "order.ndjson order.age --id a --to pem",
            "name its file alone",
        ),
        (
            "order.ndjson --name a --to nvs --out x",
            "--trim-at and --name are for one",
        ),
    ] {
        let run = world.run(&format!("convert {wrong}"));
        run.ends_with(2);
        run.stderr_has(sentence);
    }
}

/// Whatever is in the place of the folder is found before the first key is written.
#[test]
fn no_key_is_left_where_the_folder_has_no_place() {
    let world = line();
    world.write("file", "somebody's");
    std::os::unix::fs::symlink("nowhere", world.path("link")).expect("a link");
    let open = "batch open order.age --identity line.key --out";
    for out in ["file", "link"] {
        let run = world.run(&format!("{open} {out} --force"));
        refused(&run, 4, &format!("{out} exists already"));
        assert!(!world.path(&format!("{out}.opening")).exists());
    }
    assert_eq!(world.read("file"), "somebody's");
    refused(
        &world.run(&format!("{open} -")),
        2,
        "the devices' files go into a folder",
    );
    refused(
        &world.run(&format!("{open} x.lock")),
        4,
        "x.lock: names that end in .lock are those of files beside outputs",
    );
}

#[test]
fn what_lies_beside_the_folder_is_kept() {
    let world = line();
    fs::copy(world.path("line.key"), world.path("files.lock")).expect("copied");
    let open = "batch open order.age --identity line.key --out files";
    let refusal = "files.lock exists already, and is no lock of dps-pki";
    refused(&world.run(open), 4, refusal);
    assert_eq!(world.read("files.lock"), world.read("line.key"));
    fs::remove_file(world.path("files.lock")).expect("removed");
    world.write("files.opening/precious", "precious");
    let opening = world.path("files.opening");
    fs::set_permissions(&opening, Permissions::from_mode(0o700)).expect("mode");
    let run = world.run(open);
    run.ends_with(4);
    run.stderr_has("files.opening exists already, and no run left it");
    assert_eq!(world.read("files.opening/precious"), "precious");
}

#[test]
fn an_identity_that_others_can_read_or_write_opens_nothing() {
    let world = line();
    for (mode, sentence) in [
        (
            0o644,
            "line.key: others can read this age identity (mode 0644)",
        ),
        (0o620, "line.key: others can write it (mode 0620)"),
    ] {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(world.path("line.key"), mode).expect("mode");
        let open = "batch open order.age --identity line.key --out files";
        refused(&world.run(open), 4, sentence);
        assert!(!world.path("files").exists());
    }
    world.done("batch open order.age --identity line.key --out files --lax-permissions");
}

/// It is given by mistake where its public half or its file belongs.
#[test]
fn a_secret_identity_on_the_command_line_is_not_repeated() {
    let world = line();
    let identity = world.read("line.key");
    let secret = identity.lines().last().expect("an identity");
    for line in [
        format!(
            "issue --prefix a --count 2 --authority factory --home pki --recipient {secret} --out a"
        ),
        format!("issue --prefix a --count 2 --authority {secret} --home pki --plain-keys --out a"),
        format!("batch open order.age --identity {secret} --out a"),
        format!("batch open {secret} --out a"),
        format!("batch {secret}"),
        format!("batch open order.age --{secret}"),
    ] {
        for (line, format) in [(&line, "text"), (&line.to_lowercase(), "json")] {
            let run = world.run(&format!("{line} --output {format}"));
            assert_ne!(run.code, 0, "{line}");
            let said = format!("{}{}", run.stdout, run.stderr).to_uppercase();
            assert!(said.contains("[REDACTED]"), "{said}");
            assert!(!said.contains(&secret[16..]), "{said}");
        }
    }
}
