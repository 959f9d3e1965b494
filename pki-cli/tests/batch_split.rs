//! `issue --split-by` and `renew --split-by`: a batch of each value of a column, with recipients of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make files as anybody does"
)]
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::World;

const LIST: &str = "registration_id,site\na-1,Ulm\na-2,Graz\na-3,Ulm\na-4,Ulm\n";

/// A home with a list for two lines, `ulm.key` and `graz.key`, and a file of their recipients.
fn home() -> World {
    let home = World::with_authorities();
    home.write("list.csv", LIST);
    let ulm = recipient(&home, "ulm");
    let graz = recipient(&home, "graz");
    home.write(
        "lines.txt",
        format!("# who opens what\nUlm: {ulm} {graz}\n\nGraz: {graz}\nWien: {graz}\n"),
    );
    home
}

fn recipient(home: &World, name: &str) -> String {
    let key = home.path(&format!("{name}.key"));
    let made = Command::new("age-keygen").arg("-o").arg(&key).output();
    assert!(made.expect("age-keygen").status.success());
    let told = Command::new("age-keygen").arg("-y").arg(&key).output();
    let told = told.expect("age-keygen").stdout;
    String::from_utf8(told).expect("text").trim().to_owned()
}

/// The leaves of the inventory.
fn leaves(home: &World) -> usize {
    let listed = home.done("inventory list --output json").json();
    listed.as_array().map_or(0, |all| {
        all.iter().filter(|entry| entry["role"] == "leaf").count()
    })
}

const SPLIT: &str = "issue --devices list.csv --authority factory --split-by site";

#[test]
fn each_part_is_sealed_to_its_own_recipients() {
    let home = home();
    let line = format!("{SPLIT} --recipients-file lines.txt --batch order --sign-manifest");
    let run = home.done(&format!("{line} --out order-{{}}.age --output json"));
    let batches = run.json()["batches"].clone();
    let told = |name: &str| -> Vec<Value> {
        let all = batches.as_array().expect("a list");
        all.iter().map(|batch| batch[name].clone()).collect()
    };
    assert_eq!(told("batch"), [json!("order-Graz"), json!("order-Ulm")]);
    assert_eq!(told("devices"), [json!(1), json!(3)]);
    assert_eq!(
        told("output"),
        [json!("order-Graz.age"), json!("order-Ulm.age")]
    );
    for (part, key, devices) in [("Ulm", "ulm", 3), ("Ulm", "graz", 3), ("Graz", "graz", 1)] {
        let out = format!("{part}-{key}");
        home.done(&format!(
            "batch open order-{part}.age --identity {key}.key --out {out}"
        ));
        let files = fs::read_dir(home.path(&out)).expect("opened").count();
        assert_eq!(files, devices * 3 + 1);
        home.done(&format!("batch verify order-{part}.age.manifest.json"));
    }
    let run = home.run("batch open order-Graz.age --identity ulm.key --out x");
    run.ends_with(4);
    assert_eq!(leaves(&home), 4);
    // Said again, both are complete.
    let again = home.done(&format!("{line} --out order-{{}}.age"));
    for part in ["order-Graz", "order-Ulm"] {
        again.stderr_has(&format!("batch {part} is complete already"));
        again.stdout_has(&format!("batch {part}: "));
    }
    assert_eq!(leaves(&home), 4);
    home.done("audit verify");
}

#[test]
fn renewals_and_devices_with_keys_of_their_own_are_split_alike() {
    let home = home();
    home.done("csr create a-1 a-2 --out in");
    home.write(
        "list.csv",
        "registration_id,site,csr\na-1,Ulm,in/a-1.csr.pem\na-2,Graz,in/a-2.csr.pem\na-3,Ulm,\n",
    );
    home.done(&format!("{SPLIT} --plain-keys --out {{}}.ndjson"));
    assert_eq!(home.read("Ulm.ndjson").lines().count(), 2);
    assert_eq!(home.read("Graz.ndjson").lines().count(), 1);
    assert!(!home.read("Graz.ndjson").contains("privateKey"));
    home.write(
        "again.csv",
        "registration_id,site\na-1,Ulm\na-2,Graz\na-3,Ulm\n",
    );
    let renew = "renew --devices again.csv --split-by site --recipients-file lines.txt";
    let dry = home.done(&format!("{renew} --out new-{{}}.age --dry-run"));
    dry.stderr_has("would issue 2 leaves to new-Ulm.age");
    assert_eq!(leaves(&home), 3);
    home.done(&format!("{renew} --out new-{{}}.age"));
    assert_eq!(leaves(&home), 6);
    home.done("batch open new-Ulm.age --identity ulm.key --out ulm");
    assert!(home.path("ulm/a-3.key.pem").exists());
    assert!(!home.path("ulm/a-1.key.pem").exists());
}

/// Whatever is wrong with a value, its recipients or its output is found before the first key.
#[test]
fn everything_is_judged_before_the_first_part_is_issued() {
    let home = home();
    let recipients = home.read("lines.txt");
    let secret = home.read("ulm.key");
    let secret = secret.lines().last().expect("a key");
    let list = |name: &str, lines: &str| {
        home.write(name, format!("registration_id,site\n{lines}"));
    };
    list("gap.csv", "a-1,Ulm\na-2,\n");
    list("unsafe.csv", "a-1,Ulm\na-2,../etc\na-3,.x\na-4,a:b\n");
    list("case.csv", "a-1,Ulm\na-2,ULM\n");
    list("other.csv", "a-1,Ulm\na-2,Linz\na-3,Linz\n");
    list("both.csv", "b-1,Ulm\nb-2,Graz\n");
    list("twice.csv", "a-1,Ulm\na-1,Graz\n");
    home.write(
        "bad.txt",
        format!("Ulm\nGraz:\nWien: age1x\nLinz: {secret}\n"),
    );
    home.write("double.txt", format!("{recipients}{recipients}"));
    home.done("issue a-2 --authority factory --out devices");
    fs::create_dir(home.path("Graz")).expect("a folder");
    let all = "--recipients-file lines.txt --out {}.age";
    for (devices, how, code, sentences) in [
        (
            "gap.csv",
            all,
            3,
            &["line 3: \"a-2\": it has no value in the column \"site\""][..],
        ),
        (
            "unsafe.csv",
            "--plain-keys --out {}.ndjson",
            3,
            &[
                "line 3: \"../etc\": no file's name can hold its '/'",
                "line 4: \".x\": a name that begins or ends with a dot",
                "line 5: \"a:b\": no file's name can hold its ':'",
            ],
        ),
        (
            "case.csv",
            all,
            3,
            &["line 3: \"ULM\": it differs from \"Ulm\" in case alone"],
        ),
        (
            "other.csv",
            all,
            3,
            &[
                "1 line cannot",
                "line 3: \"Linz\": lines.txt names no recipient",
            ],
        ),
        (
            "twice.csv",
            all,
            3,
            &["line 3: \"a-1\": the same registration ID stands in line 2"],
        ),
        (
            "list.csv",
            "--recipients-file bad.txt --out {}.age",
            3,
            &[
                "line 1: \"\": there is no colon behind the value",
                "line 2: \"Graz\": it names no recipient",
                "line 3: \"Wien\": \"age1x\" is not an age recipient",
                "line 4: \"Linz\": that is a secret age identity",
            ],
        ),
        (
            "list.csv",
            "--recipients-file double.txt --out {}.age",
            3,
            &["its value stands there twice"],
        ),
        (
            "list.csv",
            "--recipients-file lines.txt --out x.age",
            2,
            &["{} in --out stands for"],
        ),
        (
            "list.csv",
            all,
            3,
            &["line 3: \"a-2\": it has a valid leaf already"],
        ),
        (
            "both.csv",
            "--plain-keys --out {}/x.ndjson",
            1,
            &["cannot write Ulm/x.ndjson"],
        ),
        (
            "list.csv",
            "--out {}.ndjson",
            4,
            &["the devices' keys would be written in the clear"],
        ),
    ] {
        let run = home.run(&format!(
            "issue --devices {devices} --authority factory --split-by site {how}"
        ));
        run.ends_with(code);
        for sentence in sentences {
            run.stderr_has(sentence);
        }
        assert!(!run.stderr.contains(secret));
        assert_eq!(leaves(&home), 1, "{devices} {how}");
    }
    for wrong in [
        "issue --prefix a --count 2 --authority factory --split-by site --out {}.age",
        "issue --devices list.csv --authority factory --split-by validity --plain-keys --out {}.x",
        "issue --devices list.csv --authority factory --recipients-file lines.txt --out x.age",
    ] {
        home.run(wrong).ends_with(2);
    }
}

/// A part that is named like the lock of another one would be removed with it.
#[test]
fn no_part_is_named_like_what_lies_beside_another() {
    let home = home();
    for beside in ["y.lock", "y.part", "Y.Part", "y.opening", "y.manifest.json"] {
        let list = format!("registration_id,site\na-1,y\na-2,{beside}\n");
        home.write("beside.csv", list);
        let line = "issue --devices beside.csv --authority factory --split-by site --plain-keys";
        let run = home.run(&format!("{line} --out {{}}"));
        run.ends_with(4);
        let sentence = format!(
            "{beside}: names that end in {}",
            &beside[1..].to_lowercase()
        );
        run.stderr_has(&sentence);
        assert_eq!(leaves(&home), 0, "{beside}");
        assert!(!home.path("y").exists());
    }
    // With another ending they are names like all others.
    let line = "issue --devices beside.csv --authority factory --split-by site --plain-keys";
    home.done(&format!("{line} --out {{}}.ndjson"));
    assert_eq!(leaves(&home), 2);
}
