//! The input of a batch is judged as a whole before the first key is made: every bad line is named,
//! and nothing is issued as long as there is one.

use dps_pki_tests::{Home, Run};
use serde_json::{Value, json};

#[test]
fn every_bad_line_is_told_with_its_number_value_and_reason() {
    let home = Home::from_template("quickstart");
    let long = "x".repeat(65);
    let list = format!(
        "registration_id,profile,validity,site\n\
         good-1,,,Ulm\n\
         two words,,,\n\
         {long},,,\n\
         Good-1,,,\n\
         good-2,gateway,,\n\
         good-3,,soon,\n\
         good-4,,99y,\n\
         good-5,,\n\
         ,,,Ulm\n"
    );
    home.write("devices.csv", list);
    let run = issue(&home, "--devices devices.csv").ends_with(3);
    run.stderr_has("devices.csv: 7 lines cannot be used; nothing was issued");
    let told = [
        r#"line 3: "two words": "#,
        r#"it has 65 characters; a CN holds at most 64"#,
        r#"line 5: "Good-1": the same registration ID stands in line 2 already"#,
        r#"line 6: "gateway": pki.toml declares no such profile"#,
        r#"line 7: "soon": "#,
        r#"line 9: "good-5,,": it has 3 fields (separated by commas), the header 4"#,
        r#"line 10: "": "#,
    ];
    for line in told {
        assert!(run.stderr.contains(line), "{line} in {run}");
    }
    nothing_issued(&home);
    // What only the authority knows is told once the lines are sound.
    home.write(
        "devices.csv",
        "registration_id,validity\ngood-3,\ngood-4,99y\n",
    );
    let run = issue(&home, "--devices devices.csv").ends_with(3);
    run.stderr_has(r#"line 3: "good-4": "#);
    nothing_issued(&home);
}

#[test]
fn people_see_a_hundred_bad_lines_and_scripts_all() {
    let home = Home::from_template("quickstart");
    let lines: String = (0..150)
        .map(|number| format!("bad id {number}\n"))
        .collect();
    home.write("devices.txt", lines);
    let run = issue(&home, "--devices devices.txt").ends_with(3);
    assert_eq!(run.stderr.matches("\n  line ").count(), 100, "{run}");
    run.stderr_has("  and 50 more");
    let run = issue(&home, "--devices devices.txt --output json").ends_with(3);
    let error = run.error_json();
    let lines = error["lines"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(lines.len(), 150);
    assert_eq!(
        (&lines[149]["line"], &lines[149]["value"]),
        (&json!(150), &json!("bad id 149"))
    );
    assert!(lines.iter().all(|line| line["reason"].is_string()));
}

#[test]
fn a_device_has_one_identity_whatever_its_case_and_whoever_asks() {
    let home = Home::from_template("quickstart");
    home.dps_pki("issue Sensor-1 --authority factory --out devices")
        .ok();
    home.write("devices.txt", "sensor-0\nSENSOR-1\nsensor-2\n");
    let run = issue(&home, "--devices devices.txt").ends_with(3);
    run.stderr_has("1 line cannot be used");
    run.stderr_has(r#"line 2: "SENSOR-1": it has a valid leaf already"#);
    nothing_issued(&home);
}

/// Of new devices nothing needs to be looked up, but for what their lines ask.
#[test]
fn a_new_device_that_asks_for_too_long_a_leaf_is_refused() {
    let home = Home::from_template("quickstart");
    home.write(
        "devices.csv",
        "registration_id,validity\nsensor-1,10d\nsensor-2,9000d\n",
    );
    let run = issue(&home, "--devices devices.csv").ends_with(3);
    run.stderr_has(r#"line 3: "sensor-2": it would be valid until"#);
    nothing_issued(&home);
}

#[test]
fn lists_from_spreadsheets_are_read() {
    let home = Home::from_template("quickstart");
    home.write(
        "devices.csv",
        "\u{feff}registration_id,site\r\nsensor-1,\"Ulm, hall 2\"\r\nsensor-2,\r\n",
    );
    issue(&home, "--devices devices.csv").ok();
    let labels = |id: &str| home.json(&format!("inventory show {id}"))[0]["labels"].clone();
    assert_eq!(labels("sensor-1"), json!({ "site": "Ulm, hall 2" }));
    assert_eq!(labels("sensor-2"), json!({}));
    assert_eq!(ids(&home), ["sensor-1", "sensor-2"]);
}

#[test]
fn a_list_may_come_by_standard_input() {
    let home = Home::from_template("quickstart");
    home.write("devices.txt", "sensor-1\nsensor-2\n");
    let line = "--devices - --authority factory --plain-keys --out batch.ndjson";
    home.write("script", format!("\"$@\" issue {line} <devices.txt"));
    let program = dps_pki_tests::binary().display();
    home.tool("bash", &format!("script {program}")).ok();
    assert_eq!(ids(&home), ["sensor-1", "sensor-2"]);
}

/// As an ERP of a German plant exports it: the form is found or named, and said.
#[test]
fn lists_of_other_programs_are_read_as_they_are() {
    let home = Home::from_template("quickstart");
    home.write(
        "export.csv",
        b"Werk;Seriennummer\r\nK\xf6ln;sensor-1\r\nUlm, Nord;sensor-2\r\n",
    );
    let line = "--devices export.csv --id-column Seriennummer";
    let run = issue(&home, line).ends_with(3);
    assert!(run.stderr.contains("say --encoding windows-1252"), "{run}");
    nothing_issued(&home);
    let run = issue(&home, &format!("{line} --encoding windows-1252")).ok();
    assert!(
        run.stderr
            .contains("export.csv: read as Windows-1252, with semicolons between the columns"),
        "{run}"
    );
    let labels = |id: &str| home.json(&format!("inventory show {id}"))[0]["labels"].clone();
    assert_eq!(labels("sensor-1"), json!({ "Werk": "Köln" }));
    assert_eq!(labels("sensor-2"), json!({ "Werk": "Ulm, Nord" }));
}

#[test]
fn a_list_and_requests_may_come_by_a_pipe() {
    let home = Home::from_template("quickstart");
    home.write(
        "script",
        "set -e
         \"$@\" issue --devices <(printf 'sensor-1\\nsensor-2\\n') --authority factory --plain-keys --out batch.ndjson
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj /CN=own-1 -out own-1.csr
         \"$@\" sign <(cat own-1.csr) --authority factory --out signed",
    );
    let program = dps_pki_tests::binary().display();
    home.tool("bash", &format!("script {program}")).ok();
    assert_eq!(ids(&home), ["sensor-1", "sensor-2"]);
    assert!(home.path("signed/own-1.cert.pem").exists());
}

#[test]
fn all_of_a_batch_may_get_a_label() {
    let home = Home::from_template("quickstart");
    let labels = |id: &str| home.json(&format!("inventory show {id}"))[0]["labels"].clone();
    issue(
        &home,
        "--prefix unit- --count 2 --label order=4711 --label shift=night",
    )
    .ok();
    assert_eq!(
        labels("unit-2"),
        json!({ "order": "4711", "shift": "night" })
    );
    home.write("devices.csv", "registration_id,site\nsensor-1,Ulm\n");
    let line = "issue --devices devices.csv --authority factory --plain-keys --out other.ndjson";
    for (label, told) in [
        (
            "--label site=Köln",
            "--label site: devices.csv has a column of that name",
        ),
        (
            "--label a=1 --label a=2",
            "--label gives two values to one name",
        ),
        ("--label order", "--label"),
    ] {
        let run = home.dps_pki(&format!("{line} {label}")).ends_with(2);
        assert!(run.stderr.contains(told), "{run}");
    }
    home.dps_pki(&format!("{line} --label order=4712")).ok();
    assert_eq!(
        labels("sensor-1"),
        json!({ "order": "4712", "site": "Ulm" })
    );
    home.dps_pki("issue single --authority factory --out devices --label order=4713")
        .ok();
    assert_eq!(labels("single"), json!({ "order": "4713" }));
}

/// Said again with another label it is another batch, and the devices have their leaves already.
#[test]
fn a_label_is_part_of_what_a_batch_is() {
    let home = Home::from_template("quickstart");
    issue(&home, "--prefix unit- --count 2 --label order=1").ok();
    issue(&home, "--prefix unit- --count 2 --label order=1").ok();
    let other =
        "issue --prefix unit- --count 2 --authority factory --plain-keys --out other.ndjson";
    let run = home.dps_pki(&format!("{other} --label order=2"));
    run.ends_with(3).stderr_has("it has a valid leaf already");
}

/// What says how a list is written is not taken where there is none.
#[test]
fn a_flag_that_would_say_nothing_is_refused() {
    let home = Home::from_template("quickstart");
    home.write("devices.txt", "sensor-1\n");
    for line in [
        "--prefix unit- --count 2 --id-column Serial",
        "--prefix unit- --count 2 --separator tab",
        "sensor-1 --encoding utf-16",
        "sensor-1 --digits 3",
        "--devices devices.txt --digits 3",
    ] {
        issue(&home, line).ends_with(2);
        nothing_issued(&home);
    }
}

/// A second run must not name the units of the first otherwise because it counts further.
#[test]
fn the_width_of_a_counter_may_be_said() {
    let home = Home::from_template("quickstart");
    issue(&home, "--prefix unit- --start 99 --count 2 --digits 5").ok();
    assert_eq!(ids(&home), ["unit-00099", "unit-00100"]);
    let line = "issue --prefix unit- --start 9999 --count 2 --authority factory --plain-keys --out o.ndjson";
    let run = home.dps_pki(&format!("{line} --digits 4")).ends_with(2);
    assert!(
        run.stderr
            .contains("--digits 4 is too few: the last number is 10000, which has 5"),
        "{run}"
    );
}

#[test]
fn a_counter_pads_its_numbers_and_is_checked_as_a_list_is() {
    let home = Home::from_template("quickstart");
    issue(&home, "--prefix unit- --start 8 --count 3").ok();
    assert_eq!(ids(&home), ["unit-08", "unit-09", "unit-10"]);
    let run = home.dps_pki(
        "issue --prefix a/b --count 2 --authority factory --plain-keys --out other.ndjson",
    );
    let run = run.ends_with(3);
    run.stderr_has("the counter: 2 lines cannot be used");
    run.stderr_has(r#"line 1: "a/b1": "#);
}

#[test]
fn what_is_no_list_of_devices_is_refused() {
    let home = Home::from_template("quickstart");
    for (content, told) in [
        (&b""[..], "names no device"),
        (b"registration_id,site\n", "names no device"),
        (
            b"id,site\nsensor-1,Ulm\n",
            "several columns (separated by commas) need a header with registration_id; --id-column names another",
        ),
        (b"sensor-1\n\xff\xfe\n", "line 2: \"\": it is not UTF-8"),
    ] {
        home.write("devices", content);
        let run = issue(&home, "--devices devices").ends_with(3);
        assert!(run.stderr.contains(told), "{told} in {run}");
        nothing_issued(&home);
    }
    let run = issue(&home, "--devices nothing.csv").ends_with(8);
    run.stderr_has("nothing.csv does not exist");
    for (counter, told) in [
        ("--count 0", "0 is not in 1..=100000000"),
        ("--count 18446744073709551615", "is not in 1..=100000000"),
        (
            "--count 2 --start 18446744073709551615",
            "lead past 18446744073709551615",
        ),
    ] {
        let run = issue(&home, &format!("--prefix unit- {counter}")).ends_with(2);
        run.stderr_has(told);
        nothing_issued(&home);
    }
}

#[test]
fn keys_leave_in_the_clear_only_if_that_is_asked_for() {
    let home = Home::from_template("quickstart");
    let line = "issue --prefix unit- --count 2 --authority factory --out batch.ndjson";
    let run = home.dps_pki(line).ends_with(4);
    run.stderr_has("--plain-keys");
    nothing_issued(&home);
}

#[track_caller]
fn issue(home: &Home, source: &str) -> Run {
    home.dps_pki(&format!(
        "issue {source} --authority factory --plain-keys --out batch.ndjson"
    ))
}

/// No batch was begun, and none of its files is there.
#[track_caller]
fn nothing_issued(home: &Home) {
    let ours = |file: &&String| file.starts_with("batch.ndjson");
    assert_eq!(home.files().iter().find(ours), None);
    let recorded = home.json("inventory list");
    let of_a_batch = |entry: &&Value| !entry["batch"].is_null();
    assert_eq!(
        recorded.as_array().into_iter().flatten().find(of_a_batch),
        None
    );
}

/// The devices in the output, in its order.
fn ids(home: &Home) -> Vec<String> {
    let id = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_default();
        object["registrationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    home.read("batch.ndjson").lines().map(id).collect()
}
