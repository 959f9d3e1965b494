//! Forms into which certificates and keys are converted, as other programs read them.

use std::path::Path;

use dps_pki_tests::skip::skip;
use dps_pki_tests::{Home, Run};

const PASSPHRASE: &str = "a passphrase of a file";

/// A device with key, leaf and chain, and the passphrase that its files get.
fn home() -> Home {
    let home = Home::from_template("quickstart");
    home.dps_pki("issue sensor-1 --authority factory --out devices")
        .ok();
    home.write("pfx-passphrase", PASSPHRASE);
    home
}

const IDENTITY: &str = "devices/sensor-1-full-chain.cert.pem devices/sensor-1.key.pem";

#[test]
fn pem_becomes_der_and_pem_again() {
    let home = home();
    home.dps_pki("convert devices/sensor-1.cert.pem --to der --out leaf.der")
        .ok();
    home.dps_pki("convert leaf.der --to pem --out again.pem")
        .ok();
    assert_eq!(
        home.read("again.pem"),
        home.read("devices/sensor-1.cert.pem")
    );
    home.tool("openssl", "x509 -inform DER -in leaf.der -noout")
        .ok();
}

#[test]
fn a_chain_becomes_pkcs7_that_openssl_and_keytool_read() {
    let home = home();
    home.dps_pki("convert devices/sensor-1-full-chain.cert.pem --to p7b --out chain.p7b")
        .ok();
    let listed = home
        .tool(
            "openssl",
            "pkcs7 -inform DER -in chain.p7b -print_certs -noout",
        )
        .ok();
    assert_eq!(
        listed.stdout.matches("subject=").count(),
        3,
        "{}",
        listed.stdout
    );
    let inspected = home.dps_pki("inspect chain.p7b --output json").ok().json();
    assert_eq!(inspected["form"], "p7b");
    assert_eq!(inspected["items"].as_array().map(Vec::len), Some(3));
    if has_keytool() {
        let printed = home.tool("keytool", "-printcert -file chain.p7b").ok();
        assert_eq!(
            printed.stdout.matches("Owner:").count(),
            3,
            "{}",
            printed.stdout
        );
    }
}

#[test]
fn pkcs7_of_openssl_becomes_pem_in_the_order_of_the_chain() {
    let home = home();
    let made = "crl2pkcs7 -nocrl -certfile devices/sensor-1-full-chain.cert.pem -out chain.p7b.pem";
    home.tool("openssl", made).ok();
    home.dps_pki("convert chain.p7b.pem --to pem --out chain.pem")
        .ok();
    assert_eq!(
        home.read("chain.pem"),
        home.read("devices/sensor-1-full-chain.cert.pem")
    );
}

#[test]
fn pfx_opens_in_openssl_and_keytool() {
    let home = home();
    for encryption in ["modern", "legacy"] {
        let file = format!("{encryption}.pfx");
        let line = format!(
            "convert {IDENTITY} --to pfx --pfx-encryption {encryption} --key-passphrase-from file:pfx-passphrase --out {file}"
        );
        home.dps_pki(&line).ok();
        assert_eq!(home.mode(&file), 0o600);
        let line =
            format!("pkcs12 -in {file} -passin file:pfx-passphrase -nodes -out {encryption}.pem");
        home.tool("openssl", &line).ok();
        let opened = home.read(&format!("{encryption}.pem"));
        assert_eq!(
            opened.matches("BEGIN CERTIFICATE").count(),
            3,
            "{encryption}"
        );
        assert_eq!(
            opened.matches("BEGIN PRIVATE KEY").count(),
            1,
            "{encryption}"
        );
        assert!(opened.contains("friendlyName: sensor-1") && opened.contains("localKeyID"));
        if has_keytool() {
            let line = format!(
                "-list -v -keystore {file} -storetype PKCS12 -storepass:file pfx-passphrase"
            );
            let listed = home.tool("keytool", &line).ok().stdout;
            assert!(listed.contains("PrivateKeyEntry"), "{listed}");
            assert!(listed.contains("Certificate chain length: 3"), "{listed}");
        }
    }
}

#[test]
fn pfx_of_openssl_is_inspected_and_taken_apart() {
    let home = home();
    let line = "pkcs12 -export -in devices/sensor-1-full-chain.cert.pem -inkey devices/sensor-1.key.pem -out theirs.pfx -passout file:pfx-passphrase";
    home.tool("openssl", line).ok();
    let run = home.dps_pki("inspect theirs.pfx");
    fails(
        run,
        4,
        "the PKCS#12 file does not open with this passphrase",
    );
    let seen = home
        .dps_pki("inspect theirs.pfx --passphrase-file pfx-passphrase --output json")
        .ok()
        .json();
    assert_eq!(seen["form"], "pfx");
    assert_eq!(seen["items"][0]["subject"], "CN=sensor-1");
    assert_eq!(seen["items"][3]["type"], "privateKey");

    home.dps_pki("convert theirs.pfx --to pem --passphrase-file pfx-passphrase --out chain.pem")
        .ok();
    assert_eq!(
        home.read("chain.pem"),
        home.read("devices/sensor-1-full-chain.cert.pem")
    );
    let line = "convert theirs.pfx --to pem --with-key --plain-keys --passphrase-file pfx-passphrase --out all.pem";
    home.dps_pki(line).ok();
    assert_eq!(home.mode("all.pem"), 0o600);
    let same = home.tool("openssl", "pkey -in all.pem -pubout").ok().stdout;
    assert_eq!(
        same,
        home.tool("openssl", "pkey -in devices/sensor-1.key.pem -pubout")
            .ok()
            .stdout
    );
}

/// Somebody who wants to keep a machine busy writes a large number, and nothing else.
#[test]
fn pfx_that_asks_for_hours_of_work_is_refused_at_once() {
    let home = home();
    let sources = "-in devices/sensor-1.cert.pem -inkey devices/sensor-1.key.pem -passout pass:";
    for (file, rounds) in [("fair", "-iter 2048"), ("costly", "-iter 6000000 -nomac")] {
        home.tool(
            "openssl",
            &format!("pkcs12 -export {sources} {rounds} -out {file}.pfx"),
        )
        .ok();
    }
    home.dps_pki("inspect fair.pfx").ok();
    fails(
        home.dps_pki("inspect costly.pfx"),
        3,
        "too much work (6000000 rounds)",
    );
}

#[test]
fn a_key_comes_out_encrypted_unless_asked_for_otherwise() {
    let home = home();
    let run = home.dps_pki(&format!(
        "convert {IDENTITY} --to pem --with-key --out all.pem"
    ));
    fails(run, 2, "say how the private key is to be protected");
    let run = home.dps_pki(&format!(
        "convert {IDENTITY} --to pem --with-key --plain-keys"
    ));
    fails(run, 2, "only with --out -");
    let line = format!(
        "convert {IDENTITY} --to pem --with-key --key-passphrase-from file:pfx-passphrase --out all.pem"
    );
    home.dps_pki(&line).ok();
    assert!(home.read("all.pem").contains("BEGIN ENCRYPTED PRIVATE KEY"));
    home.tool(
        "openssl",
        "pkey -in all.pem -passin file:pfx-passphrase -noout",
    )
    .ok();
    let left_out = home.dps_pki(&format!("convert {IDENTITY} --to pem")).ok();
    assert!(!left_out.stdout.contains("PRIVATE KEY"));
    left_out.stderr_has("left out");
}

#[test]
fn a_c_header_compiles_and_holds_the_certificates() {
    let home = home();
    let line = format!("convert {IDENTITY} --to c-header --with-key --plain-keys --out sensor.h");
    home.dps_pki(&line).ok();
    assert_eq!(home.mode("sensor.h"), 0o600);
    home.write("main.c", "#include <stdio.h>\n#include \"sensor.h\"\nint main(void) { fwrite(sensor_1_certificate, 1, sensor_1_certificate_len, stdout); fputs(sensor_1_full_chain_pem, stderr); return sensor_1_private_key_len == sizeof sensor_1_private_key ? 0 : 1; }\n");
    home.tool("gcc", "-Wall -Werror -Wno-unused-variable main.c -o main")
        .ok();
    home.write("run.sh", "./main > leaf.der 2> chain.pem");
    home.tool("sh", "run.sh").ok();
    home.dps_pki("convert leaf.der --to pem --out leaf.pem")
        .ok();
    assert_eq!(
        home.read("leaf.pem"),
        home.read("devices/sensor-1.cert.pem")
    );
    assert_eq!(
        home.read("chain.pem"),
        home.read("devices/sensor-1-full-chain.cert.pem")
    );
}

/// A batch's headers, of IDs as C does not take them, are compiled one by one and together.
#[test]
fn the_c_headers_of_a_batch_compile() {
    let home = home();
    let batch = "--prefix 7up: --count 3 --authority factory --format c-header --plain-keys";
    home.dps_pki(&format!("issue {batch} --out headers")).ok();
    let mut main = "#include <stdio.h>\n".to_owned();
    for number in 1..=3 {
        let include = format!("#include \"headers/7up%3A{number}.h\"\n");
        home.write("one.c", &include);
        let strict = "-std=c99 -Wall -Wextra -Werror -Wno-unused-variable";
        home.tool("gcc", &format!("{strict} -c one.c -o one.o"))
            .ok();
        main.push_str(&include);
    }
    main.push_str("int main(void) {\n");
    for number in 1..=3 {
        main.push_str(&format!(
            "fputs(_7up_{number}_full_chain_pem, stdout);\n\
             fwrite(_7up_{number}_private_key, 1, _7up_{number}_private_key_len, stderr);\n"
        ));
    }
    main.push_str("return 0; }\n");
    home.write("main.c", main);
    home.tool("gcc", "-Wall -Werror -Wno-unused-variable main.c -o main")
        .ok();
    home.write("run.sh", "./main > chains.pem 2> keys.der");
    home.tool("sh", "run.sh").ok();
    let chains = home.read("chains.pem");
    assert_eq!(chains.matches("BEGIN CERTIFICATE").count(), 3 * 3);
    // Of keys that stand one after the other OpenSSL reads the first.
    let key = home
        .tool("openssl", "pkey -inform DER -in keys.der -pubout")
        .ok();
    let leaf = home
        .tool("openssl", "x509 -in chains.pem -noout -pubkey")
        .ok();
    assert_eq!(key.stdout, leaf.stdout);
}

#[test]
fn nvs_rows_are_read_as_csv() {
    let home = home();
    home.dps_pki(&format!(
        "convert {IDENTITY} --to nvs --with-key --plain-keys --out nvs.csv"
    ))
    .ok();
    assert_eq!(home.mode("nvs.csv"), 0o600);
    home.write("read.py", "import csv\nrows = list(csv.reader(open('nvs.csv')))\nassert rows[0] == ['key', 'type', 'encoding', 'value'] and rows[1][1] == 'namespace'\nvalues = {r[0]: r[3] for r in rows}\nassert values['registration_id'] == 'sensor-1'\nassert values['cert'] == open('devices/sensor-1.cert.pem').read()\nassert values['full_chain'] == open('devices/sensor-1-full-chain.cert.pem').read()\nassert values['key'] == open('devices/sensor-1.key.pem').read()\n");
    home.tool("python3", "read.py").ok();
}

#[test]
fn a_chain_is_trimmed_at_the_verified_ca() {
    let home = home();
    let factory = home.dps_pki("authority export factory").ok();
    home.write("factory.pem", factory.stdout);
    home.dps_pki("convert devices/sensor-1-full-chain.cert.pem --to pem --trim-at factory.pem --out short.pem").ok();
    assert_eq!(
        home.read("short.pem").matches("BEGIN CERTIFICATE").count(),
        2
    );
    let run = home
        .dps_pki("convert devices/sensor-1.cert.pem --to pem --trim-at factory.pem --out no.pem");
    fails(run, 4, "does not reach the certificate of factory.pem");
    assert!(!home.path("no.pem").exists());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let home = home();
    home.dps_pki("issue sensor-2 --authority factory --out devices")
        .ok();
    let pfx = "--to pfx --key-passphrase-from file:pfx-passphrase --out no.pfx";
    fails(
        home.dps_pki(&format!(
            "convert devices/sensor-1.cert.pem devices/sensor-2.key.pem {pfx}"
        )),
        3,
        "the private key belongs to none of the certificates",
    );
    fails(
        home.dps_pki(&format!(
            "convert {IDENTITY} devices/sensor-2.cert.pem {pfx}"
        )),
        3,
        "CN=sensor-2 is not part of the chain of CN=sensor-1",
    );
    fails(
        home.dps_pki(&format!("convert devices/sensor-1.cert.pem {pfx}")),
        3,
        "holds no private key",
    );
    fails(
        home.dps_pki("convert devices/sensor-1-full-chain.cert.pem --to der --out no.der"),
        3,
        "holds 3 objects, and DER holds one",
    );
    assert!(!home.path("no.pfx").exists() && !home.path("no.der").exists());
}

/// It ends with this exit code, and says this.
#[track_caller]
fn fails(run: Run, code: i32, says: &str) {
    let run = run.ends_with(code);
    run.stderr_has(says);
}

/// A JDK is not everywhere; where it is missing that is said, and in CI it may not be.
fn has_keytool() -> bool {
    let found = Path::new("/usr/bin/keytool").exists();
    if !found {
        skip("keytool");
    }
    found
}
