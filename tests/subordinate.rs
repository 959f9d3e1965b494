//! Authorities elsewhere that one of ours signs: requested in another home or by another vendor's CA, signed,
//! adopted, revoked. OpenSSL makes what others would, and judges what comes of it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use dps_pki_tests::Home;
use serde_json::Value;

const ROOT: &str = r#"
[authority.root]
subject = "CN=Contoso Root CA"
key = "ecdsa-p384"
validity = "10y"
path-length = 1

[profile.device]
key = "ecdsa-p256"
validity = "30d"
"#;

const PLANT: &str = r#"
[authority.plant]
subject = "CN=Contoso Plant CA, O=Contoso"
key = "ecdsa-p256"
validity = "5y"
path-length = 0

[profile.device]
key = "ecdsa-p256"
validity = "30d"
"#;

const SIGN: &str = "authority sign plant.csr --issuer root --validity 5y --yes";

/// A home with a root, and in `plant` one of a plant whose request is `plant.csr`.
fn site() -> Home {
    let home = Home::empty();
    home.write("pki.toml", ROOT);
    home.write("plant/pki.toml", PLANT);
    home.dps_pki("authority create root").ok();
    home.dps_pki("authority request plant --out plant.csr --home plant")
        .ok();
    home
}

/// How many certificates of authorities that are none of ours the root has signed.
fn signed(home: &Home) -> usize {
    let listed = home.json("inventory list --authority root");
    let entries = listed.as_array().expect("a list").iter();
    entries
        .filter(|entry| entry["role"] == "intermediate")
        .count()
}

/// A request of OpenSSL's for a key that it makes.
fn request(home: &Home, name: &str, key: &str, extensions: &str) {
    home.write(
        &format!("{name}.cnf"),
        format!("[req]\nprompt=no\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\nCN={name}\n[ext]\n{extensions}\n"),
    );
    let line = format!(
        "req -new -newkey {key} -nodes -config {name}.cnf -keyout {name}.key -out {name}.csr"
    );
    home.tool("openssl", &line).ok();
}

#[test]
fn a_root_signs_a_plant_of_another_home() {
    let home = site();
    let report = home.json(&format!("{SIGN} --out plant.pem"));
    assert_eq!(report["status"], "signed");
    assert_eq!(report["subject"], "CN=Contoso Plant CA, O=Contoso");
    home.dps_pki("authority adopt plant --cert plant.pem --home plant")
        .ok();
    home.dps_pki("issue sensor-1 --authority plant --out devices --home plant")
        .ok();
    let root = home.dps_pki("authority export root").ok().stdout;
    home.write("root.pem", root);
    home.tool(
        "openssl",
        "verify -x509_strict -CAfile root.pem -untrusted devices/sensor-1-full-chain.cert.pem devices/sensor-1.cert.pem",
    )
    .ok();
    home.dps_pki("lint plant.pem").ok();
    home.dps_pki("audit verify").ok();
    home.dps_pki("audit verify --home plant").ok();
}

/// What was signed is never signed twice unless that is asked for, and nothing else is overwritten.
#[test]
fn said_again_it_gives_the_same_certificate() {
    let home = site();
    let first = home.json(&format!("{SIGN} --out plant.pem"));
    let second = home.json(&format!("{SIGN} --out plant.pem"));
    assert_eq!(second["status"], "exists");
    assert_eq!(second["serialNumber"], first["serialNumber"]);
    assert_eq!(signed(&home), 1);
    for otherwise in [
        SIGN.replace("5y", "2y"),
        format!("{SIGN} --digital-signature"),
    ] {
        let run = home.dps_pki(&otherwise);
        run.refused(4, "its key has a certificate that says something else");
    }
    let again = format!("{SIGN} --again --out plant.pem");
    home.dps_pki(&again).refused(4, "plant.pem exists already");
    assert_eq!(signed(&home), 1);
    let third = home.json(&format!("{SIGN} --again --out again.pem"));
    assert_ne!(third["serialNumber"], first["serialNumber"]);
    assert_eq!(signed(&home), 2);
}

/// The certificate is recorded before it leaves; the next run has nothing to sign.
#[test]
fn what_could_not_be_written_is_handed_out_by_the_next_run() {
    let home = site();
    let line = format!("{SIGN} --again");
    let mut command = home.command(&line);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full device");
    let ended = command.stdout(full).status().expect("it runs");
    assert_eq!(ended.code(), Some(1));
    assert_eq!(signed(&home), 1);
    let next = home.json(&line);
    assert_eq!(next["status"], "exists");
    assert_eq!(signed(&home), 1);
    // Now it has arrived: asked for another one, another one is signed.
    assert_eq!(home.json(&line)["status"], "signed");
}

#[test]
fn nothing_is_signed_without_being_asked_for_or_in_a_dry_run() {
    let home = site();
    let unasked = SIGN.replace(" --yes", "");
    home.dps_pki(&unasked).refused(4, "not confirmed");
    let dry = home.dps_pki(&format!("{SIGN} --dry-run")).ok();
    dry.stderr_has("CN=Contoso Plant CA, O=Contoso");
    assert_eq!(dry.stdout, "");
    assert_eq!(signed(&home), 0);
}

#[test]
fn what_cannot_stand_below_is_refused() {
    let home = site();
    let with = |more: &str| home.dps_pki(&format!("{SIGN} {more}"));
    with("--path-length 1").refused(4, "its path length 1 does not fit below the issuer's 1");
    let longer = SIGN.replace("5y", "11y");
    home.dps_pki(&longer).refused(4, "its issuer only from");
    home.write(
        "other/pki.toml",
        PLANT.replace("Contoso Plant CA, O=Contoso", "contoso root CA"),
    );
    home.dps_pki("authority request plant --out other.csr --home other")
        .ok();
    let named = SIGN.replace("plant.csr", "other.csr");
    home.dps_pki(&named)
        .refused(4, "is that of an authority which it would stand below");
    assert_eq!(signed(&home), 0);
}

/// Requests of other vendors' CAs: what is not sound, or no authority's, is told in one sentence.
#[test]
fn a_request_that_is_not_sound_or_no_authoritys_is_refused() {
    let home = site();
    let of = |name: &str| home.dps_pki(&SIGN.replace("plant.csr", &format!("{name}.csr")));
    request(&home, "small", "rsa:1024", "basicConstraints=CA:TRUE");
    of("small").refused(3, "its RSA key has 1024 bits");
    request(&home, "device", "rsa:2048", "basicConstraints=CA:FALSE");
    of("device").refused(4, "it asks for CA:FALSE");
    let pem = home.read("device.csr").replace("CERTIFICATE REQUEST", "X");
    home.write("none.csr", pem);
    of("none").refused(
        3,
        "it holds X where a certificate signing request is wanted",
    );
    home.dps_pki("issue sensor-1 --authority root --out devices")
        .ok();
    home.tool(
        "openssl",
        "req -new -key devices/sensor-1.key.pem -subj /CN=Mallory -out mallory.csr",
    )
    .ok();
    of("mallory").refused(4, "its key is that of a device");
    assert_eq!(signed(&home), 0);
    // What asks for more than it gets is signed, and told.
    request(
        &home,
        "vendor",
        "rsa:2048",
        "basicConstraints=critical,CA:TRUE,pathlen:3\nkeyUsage=digitalSignature,keyCertSign\ncertificatePolicies=1.2.3",
    );
    let run = of("vendor").ok();
    run.stderr_has("not granted  id-ce-certificatePolicies, path length 3, digitalSignature");
    assert_eq!(signed(&home), 1);
}

/// DPS reads no CRL, but whoever does learns of a plant that is gone; its key gets no further certificate.
#[test]
fn a_plant_is_revoked_in_the_roots_crl() {
    let home = site();
    let serial = home.json(&format!("{SIGN} --out plant.pem"))["serialNumber"].clone();
    let serial = serial.as_str().expect("a serial number").to_owned();
    home.dps_pki(&format!("revoke {serial} --reason caCompromise --yes"))
        .ok();
    home.dps_pki("crl root --out root.crl").ok();
    let text = home
        .tool("openssl", "crl -in root.crl -noout -text")
        .ok()
        .stdout;
    assert!(text.to_lowercase().contains(&serial), "{text}");
    home.dps_pki(SIGN).refused(4, "its key is compromised");
}

#[test]
fn azure_device_registry_takes_what_lint_lets_pass() {
    let home = site();
    let findings = |report: Value| {
        let certificates = report["files"][0]["certificates"].clone();
        let first = certificates[0]["findings"]
            .as_array()
            .expect("findings")
            .clone();
        let checks = first
            .iter()
            .map(|one| one["check"].as_str().expect("a word").to_owned());
        checks.collect::<Vec<_>>()
    };
    let report = home.json(&format!("{SIGN} --out plant.pem"));
    let end = report["notAfter"].as_str().expect("an end");
    let line = "lint plant.pem --for adr --output json";
    assert_eq!(
        findings(home.dps_pki(line).ends_with(4).json()),
        ["adr-key-usage"]
    );
    let at_its_end = home.dps_pki(&format!("{line} --at {end}"));
    let mut short = findings(at_its_end.ends_with(4).json());
    short.retain(|check| check.starts_with("adr-"));
    assert_eq!(short, ["adr-key-usage", "adr-validity"]);
    home.dps_pki(&format!("{SIGN} --digital-signature --again --out adr.pem"))
        .ok();
    let adr = home.dps_pki("lint adr.pem --for adr --output json");
    assert_eq!(findings(adr.json()), Vec::<String>::new());
    request(&home, "rsa", "rsa:2048", "basicConstraints=CA:TRUE");
    let rsa = SIGN.replace("plant.csr", "rsa.csr") + " --digital-signature --out rsa.pem";
    home.dps_pki(&rsa).ok();
    let rsa = home.dps_pki("lint rsa.pem --for adr --output json");
    assert_eq!(findings(rsa.ends_with(4).json()), ["adr-key"]);
}

/// A root elsewhere signs the same request again before the first certificate ends.
#[test]
fn a_certificate_that_was_renewed_is_adopted_for_the_key_that_is_here() {
    let home = site();
    home.dps_pki(&format!("{SIGN} --out plant.pem")).ok();
    let adopt = "authority adopt plant --home plant --cert";
    home.dps_pki(&format!("{adopt} plant.pem")).ok();
    home.dps_pki(&format!("{SIGN} --again --out again.pem"))
        .ok();
    let import = "authority import plant --home plant --cert again.pem --key key.pem";
    let shown = home.json("authority show plant --home plant");
    let key = shown[0]["key"]
        .as_str()
        .expect("a key in a file")
        .to_owned();
    home.tool(
        "openssl",
        &format!("pkey -in plant/{key} -passin file:passphrase -out key.pem"),
    )
    .ok();
    let refusal = home.dps_pki(import);
    refusal.stderr_has("it renews generation 1, whose key is here: dps-pki authority adopt");
    let run = home.dps_pki(&format!("{adopt} again.pem")).ok();
    run.stderr_has("generation 2 waits to be rolled in with: dps-pki roll start plant");
    run.stdout_has("adopted");
    let said_again = home.json(&format!("{adopt} again.pem"));
    assert_eq!(said_again[0]["generation"], 2);
    home.dps_pki(&format!("{SIGN} --again --out third.pem"))
        .ok();
    let third = home.dps_pki(&format!("{adopt} third.pem"));
    third.refused(
        4,
        "its generation 2 has another certificate, and waits for its roll",
    );
    home.dps_pki("audit verify --home plant").ok();
    home.dps_pki("issue sensor-1 --authority plant --out devices --home plant")
        .ok();
}

/// Key and certificate of the next generation were made elsewhere too.
#[test]
fn a_second_generation_from_elsewhere_is_imported_to_be_rolled_in() {
    let home = site();
    home.dps_pki(&format!("{SIGN} --out plant.pem")).ok();
    home.dps_pki("authority adopt plant --cert plant.pem --home plant")
        .ok();
    home.write(
        "next.cnf",
        "[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nO=Contoso\nCN=Contoso Plant CA\n",
    );
    home.tool(
        "openssl",
        "req -new -newkey rsa:2048 -nodes -config next.cnf -keyout next.key -out next.csr",
    )
    .ok();
    home.dps_pki(&format!(
        "{} --out next.pem",
        SIGN.replace("plant.csr", "next.csr")
    ))
    .ok();
    let import = "authority import plant --home plant --cert next.pem --key next.key";
    home.dps_pki(import)
        .refused(4, "its generation 1 has another certificate and issues");
    let imported = home.json(&format!("{import} --next"));
    assert_eq!(imported[0]["generation"], 2);
    let shown = home.json("authority show plant --home plant");
    assert_eq!(shown[0]["status"], "current");
    assert_eq!(shown[1]["status"], "pending");
    home.dps_pki("audit verify --home plant").ok();
}
