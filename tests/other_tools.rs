//! Files as other tools, editors and shells leave them: read in every command, or refused with what they are and
//! how to turn them. OpenSSL, keytool, certtool and Python's cryptography make them.

use dps_pki_tests::Home;

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
const DECLARED: &str = "[authority.root]\nsubject = \"CN=Root\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n[profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"30d\"\n";

fn home() -> Home {
    let home = Home::empty();
    home.write("pki.toml", DECLARED);
    home.write("ca.ext", CA);
    openssl(&home, "genrsa -out ca.key 2048");
    self_signed(&home, "ca.ext", "");
    home
}

fn openssl(home: &Home, line: &str) {
    home.tool("openssl", line).ok();
}

/// `ca.pem`, for the key `ca.key`.
fn self_signed(home: &Home, extensions: &str, more: &str) {
    openssl(home, "req -new -key ca.key -subj /CN=Root -out ca.csr");
    openssl(
        home,
        &format!(
            "x509 -req -in ca.csr -signkey ca.key -days 3650 -extfile {extensions} {more} -out ca.pem"
        ),
    );
}

/// Makes the files of `other_files.py`; not where its library is missing.
fn with_python(home: &Home) -> bool {
    let python = std::env::var("DPS_PKI_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    home.write("other_files.py", include_str!("support/other_files.py"));
    let made = home.tool(&python, "other_files.py");
    if made.code != 0 {
        dps_pki_tests::skip::skip("Python's cryptography, which makes files of other tools");
        return false;
    }
    true
}

#[test]
fn what_editors_and_shells_do_to_a_file_is_undone() {
    let home = home();
    if !with_python(&home) {
        return;
    }
    for file in ["ca.utf16.pem", "ca.line-feed.der", "ca.base64"] {
        for command in [
            "lint FILE",
            "inspect FILE",
            "verify FILE --purpose any --anchor ca.pem",
        ] {
            let run = home.dps_pki(&command.replace("FILE", file)).ok();
            run.stdout_has("CN=Root");
        }
        home.dps_pki(&format!("convert {file} --to pem --out {file}.pem"))
            .ok();
        assert_eq!(home.read(&format!("{file}.pem")), home.read("ca.pem"));
    }
    home.dps_pki("authority import root --cert ca.utf16.pem --key ca.key.utf16.pem")
        .ok();
}

#[test]
fn a_request_without_the_field_of_attributes_or_signed_with_pss_is_read() {
    let home = home();
    home.dps_pki("authority import root --cert ca.pem --key ca.key")
        .ok();
    for (place, options) in ["", "-sigopt rsa_pss_saltlen:digest", "-sha384"]
        .iter()
        .enumerate()
    {
        openssl(
            &home,
            &format!(
                "req -new -newkey rsa:2048 -nodes -keyout plant-{place}.key -subj /CN=plant-{place} -sigopt rsa_padding_mode:pss {options} -out pss-{place}.csr"
            ),
        );
        home.dps_pki(&format!(
            "sign pss-{place}.csr --authority root --out devices"
        ))
        .ok();
    }
    openssl(
        &home,
        "req -new -key plant-0.key -subj /CN=weak -sigopt rsa_padding_mode:pss -sha1 -out weak.csr",
    );
    home.dps_pki("sign weak.csr --authority root --out devices")
        .refused(3, "its self-signature is not accepted");
    if with_python(&home) {
        home.dps_pki("inspect no-attributes.csr")
            .ok()
            .stdout_has("CN=Root");
    }
}

#[test]
fn openssls_own_form_and_pkcs7_are_named_with_what_turns_them() {
    let home = home();
    openssl(
        &home,
        "x509 -in ca.pem -trustout -addtrust clientAuth -out trusted.pem",
    );
    home.write("mixed.pem", home.read("ca.pem") + &home.read("trusted.pem"));
    openssl(&home, "crl2pkcs7 -nocrl -certfile ca.pem -out ca.p7b");
    openssl(
        &home,
        "crl2pkcs7 -nocrl -certfile ca.pem -outform DER -out ca.p7",
    );
    home.write("beside.pem", home.read("ca.pem") + &home.read("ca.p7b"));
    for command in [
        "lint FILE",
        "verify FILE --anchor ca.pem",
        "verify ca.pem --anchor FILE",
        "authority import root --cert FILE --key ca.key",
        "revoke ./FILE --yes",
        "inspect FILE",
    ] {
        for file in ["trusted.pem", "mixed.pem"] {
            let run = home.dps_pki(&command.replace("FILE", file));
            run.refused(
                3,
                "turn it into a plain one with: openssl x509 -in FILE -out NEW",
            );
        }
        for file in ["ca.p7b", "ca.p7", "beside.pem"] {
            let run = home.dps_pki(&command.replace("FILE", file));
            if command.starts_with("inspect") {
                run.ok().stdout_has("CN=Root");
            } else {
                run.refused(
                    3,
                    "turn it into PEM with: dps-pki convert FILE --to pem --out NEW",
                );
            }
        }
    }
    home.dps_pki("convert ca.p7 --to pem --out turned.pem").ok();
    home.dps_pki("lint turned.pem").ok();
}

/// `openssl ca` makes lists of version 1 where no extensions are configured.
#[test]
fn a_list_of_version_1_is_read_and_told() {
    let home = home();
    home.write("index", "");
    home.write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\ndefault_days=90\ndefault_crl_days=30\npolicy=p\n[p]\nCN=supplied\n");
    openssl(&home, "genrsa -out leaf.key 2048");
    openssl(
        &home,
        "req -new -key leaf.key -subj /CN=sensor-1 -out leaf.csr",
    );
    let ca = "ca -batch -config ca.cnf -cert ca.pem -keyfile ca.key";
    openssl(&home, &format!("{ca} -in leaf.csr -notext -out leaf.pem"));
    openssl(&home, &format!("{ca} -revoke leaf.pem"));
    openssl(&home, &format!("{ca} -gencrl -out v1.crl"));
    let inspected = home.json("inspect v1.crl");
    let list = &inspected["items"][0];
    assert_eq!(list["version"], 1, "{inspected}");
    assert_eq!(list["revoked"].as_array().map(Vec::len), Some(1));
    home.dps_pki("convert v1.crl --to der --out v1.der").ok();
    home.dps_pki("inspect v1.der").ok();
    let run = home.dps_pki("verify leaf.pem --lenient --purpose any --anchor ca.pem --crl v1.crl");
    run.refused(4, "the CRL is of version 1");
    home.dps_pki("authority import root --cert ca.pem --key ca.key")
        .ok();
    home.dps_pki("crl root --after-crl v1.crl --out new.crl")
        .refused(3, "v1.crl: it has no number to go on after");
}

/// What later refuses to verify is told when it is taken over, when something can still be done.
#[test]
fn a_ca_of_bad_form_is_told_by_lint_and_when_it_is_taken_over() {
    let home = home();
    home.write(
        "bare.ext",
        "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=none\n",
    );
    self_signed(&home, "bare.ext", "-set_serial 0");
    let lint = home.dps_pki("lint ca.pem").ends_with(4);
    let import = home
        .dps_pki("authority import root --cert ca.pem --key ca.key")
        .ok();
    for problem in [
        "its serial number is zero",
        "a root certificate needs a key usage",
        "its subject key identifier is missing",
    ] {
        lint.stdout_has(problem);
        import.stderr_has(&format!("warning: CN=Root: {problem}"));
    }
    let shown = home.json("authority show root");
    assert_eq!(shown[0]["serialNumber"], "00");
    home.dps_pki("issue sensor-1 --authority root --out devices")
        .ok();
    home.dps_pki("audit verify").ok();
    openssl(&home, "verify -CAfile ca.pem devices/sensor-1.cert.pem");
}

#[test]
fn a_curve_that_is_written_out_is_named_as_such() {
    let home = home();
    openssl(
        &home,
        "ecparam -name prime256v1 -genkey -noout -param_enc explicit -out explicit.key",
    );
    openssl(
        &home,
        "req -new -x509 -key explicit.key -subj /CN=Root -out explicit.pem",
    );
    openssl(
        &home,
        "req -new -key explicit.key -subj /CN=Root -out explicit.csr",
    );
    home.dps_pki("lint explicit.pem")
        .ends_with(4)
        .stdout_has("the parameters of its curve written out");
    for line in [
        "authority import root --cert explicit.pem --key explicit.key",
        "authority sign explicit.csr --issuer root --validity 1y",
    ] {
        home.dps_pki(line)
            .ends_with(3)
            .stderr_has("the parameters of its curve written out");
    }
    let renamed = "ec -in explicit.key -param_enc named_curve -out named.key";
    openssl(&home, renamed);
    home.dps_pki("inspect named.key").ok();
}

#[test]
fn names_of_older_string_types_are_text_and_called_by_their_names() {
    let home = home();
    // B_ASN1_BMPSTRING and B_ASN1_T61STRING of OpenSSL.
    for (name, mask) in [("bmp", "0x800"), ("t61", "0x4")] {
        home.write("name.cnf", format!("[req]\nprompt=no\nstring_mask=MASK:{mask}\ndistinguished_name=dn\n[dn]\nCN=Gerät Root\n"));
        openssl(
            &home,
            "req -utf8 -new -key ca.key -config name.cnf -out ca.csr",
        );
        openssl(
            &home,
            "x509 -req -in ca.csr -signkey ca.key -days 365 -extfile ca.ext -out ca.pem",
        );
        home.dps_pki("inspect ca.pem")
            .ok()
            .stdout_has("CN=Gerät Root");
        home.write(
            &format!("{name}/pki.toml"),
            DECLARED.replace("CN=Root", "CN=gerät  root"),
        );
        let imported = home.json(&format!(
            "authority import root --cert ca.pem --key ca.key --home {name}"
        ));
        assert_eq!(imported[0]["subject"], "CN=Gerät Root");
        home.dps_pki(&format!(
            "issue sensor-1 --authority root --out {name}-devices --home {name}"
        ))
        .ok();
        openssl(
            &home,
            &format!("verify -CAfile ca.pem {name}-devices/sensor-1.cert.pem"),
        );
    }
}

/// Which of several keys is meant nobody can tell.
#[test]
fn pkcs12_with_several_keys_or_in_pem_armour() {
    let home = home();
    openssl(
        &home,
        "pkcs12 -export -in ca.pem -inkey ca.key -name root -passout file:passphrase -out one.p12",
    );
    home.tool(
        "certtool",
        "--to-p12 --load-privkey ca.key --load-certificate ca.pem --p12-name root --password secret --outfile armoured.p12",
    )
    .ok();
    home.write("secret", "secret");
    home.dps_pki("inspect armoured.p12 --passphrase-file secret")
        .ok()
        .stdout_has("CN=Root");
    home.dps_pki("authority import root --pfx armoured.p12 --key-passphrase file:secret")
        .ok();
    let pass = dps_pki_tests::PASSPHRASE;
    for alias in ["first", "second"] {
        home.tool(
            "keytool",
            &format!("-genkeypair -alias {alias} -keyalg RSA -dname CN={alias} -keystore two.p12 -storetype PKCS12 -storepass {pass}"),
        )
        .ok();
    }
    for line in [
        "inspect two.p12",
        "convert two.p12 --to pem",
        "authority import root --pfx two.p12 --key-passphrase file:passphrase",
    ] {
        home.dps_pki(line)
            .refused(3, "two.p12: the PKCS#12 file holds 2 private keys");
    }
}
