//! CAs that were cross-signed or renewed: several certificates with one subject or one key, in any order,
//! expired ones among them. OpenSSL makes them.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use dps_pki_tests::Home;

const CA: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
const LEAF: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
const OVER: &str = "-startdate 20200101000000Z -enddate 20210101000000Z";
const LONG: &str = "-startdate 20200101000000Z -enddate 20600101000000Z";

/// What `openssl ca` wants to lie there.
fn site() -> Home {
    let home = Home::empty();
    home.write("ca.ext", CA);
    home.write("leaf.ext", LEAF);
    home.write("index", "");
    home.write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\nunique_subject=no\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n");
    for name in ["old", "new", "sub", "leaf"] {
        home.tool(
            "openssl",
            &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"),
        )
        .ok();
    }
    home
}

/// A certificate for a key and a name, by an issuer's key and certificate, in `out`.
fn sign(home: &Home, (key, name): (&str, &str), by: &str, times: &str, out: &str) {
    home.tool(
        "openssl",
        &format!("req -new -key {key}.key -subj /CN={name} -out {key}.csr"),
    )
    .ok();
    let extensions = if key == "leaf" { "leaf.ext" } else { "ca.ext" };
    let signer = by.split('-').next().expect("a key");
    let issuer = if by == key {
        format!("-selfsign -keyfile {by}.key")
    } else {
        format!("-cert {by}.pem -keyfile {signer}.key")
    };
    home.tool(
        "openssl",
        &format!(
            "ca -batch -config ca.cnf {issuer} -in {key}.csr -extfile {extensions} {times} -notext -out {out}.pem"
        ),
    )
    .ok();
}

fn join(home: &Home, names: &[&str], into: &str) {
    let all: String = names
        .iter()
        .map(|name| home.read(&format!("{name}.pem")))
        .collect();
    home.write(into, all);
}

/// The leaf's CA was signed by an old root, and cross-signed by a new one.
fn cross_signed() -> Home {
    let home = site();
    sign(&home, ("old", "Old"), "old", LONG, "old");
    sign(&home, ("new", "New"), "new", LONG, "new");
    sign(&home, ("sub", "Sub"), "old", LONG, "sub-old");
    sign(&home, ("sub", "Sub"), "new", LONG, "sub-new");
    sign(&home, ("leaf", "sensor-1"), "sub-old", LONG, "leaf");
    home
}

#[test]
fn a_path_is_found_in_whatever_order_its_certificates_are() {
    let home = cross_signed();
    join(&home, &["sub-old", "sub-new"], "one.pem");
    join(&home, &["sub-new", "sub-old"], "other.pem");
    for anchor in ["old", "new"] {
        for between in ["one.pem", "other.pem"] {
            home.dps_pki(&format!(
                "verify leaf.pem --intermediates {between} --anchor {anchor}.pem"
            ))
            .ok();
        }
    }
    sign(&home, ("leaf", "third"), "leaf", LONG, "third");
    let run = home.dps_pki("verify leaf.pem --intermediates one.pem --anchor third.pem");
    assert_eq!(run.code, 4, "{run}");
}

/// One of the two is revoked: the other one still leads up.
#[test]
fn a_way_that_was_revoked_is_not_the_only_one() {
    let home = cross_signed();
    join(&home, &["sub-old", "sub-new"], "subs.pem");
    join(&home, &["old", "new"], "anchors.pem");
    home.write("crlnumber", "01");
    let config = home
        .read("ca.cnf")
        .replace("[p]", "crlnumber=crlnumber\ndefault_crl_days=30\n[p]");
    home.write("revoked.cnf", config);
    let ca = |by: &str, key: &str, what: &str| {
        home.tool(
            "openssl",
            &format!("ca -config revoked.cnf -cert {by}.pem -keyfile {key}.key {what}"),
        )
        .ok();
    };
    ca("sub-old", "sub", "-gencrl -out sub.crl");
    ca("new", "new", "-gencrl -out new.crl");
    ca("old", "old", "-revoke sub-old.pem");
    ca("old", "old", "-gencrl -out old.crl");
    let line = "verify leaf.pem --intermediates subs.pem --anchor anchors.pem --crl sub.crl old.crl new.crl";
    home.dps_pki(line).ok();
    let only = line.replace("subs.pem", "sub-old.pem");
    let run = home.dps_pki(&only);
    assert_eq!(run.code, 4, "{run}");
    run.stderr_has("revo");
}

/// A root that was renewed with its own key, the old certificate over; an authority below is taken over with
/// both at hand.
#[test]
fn of_a_renewed_root_the_certificate_that_holds_is_taken() {
    let home = site();
    sign(&home, ("old", "Root"), "old", OVER, "old");
    sign(&home, ("old", "Root"), "old", LONG, "renewed");
    home.write("old-renewed.pem", home.read("renewed.pem"));
    sign(&home, ("sub", "Sub"), "old-renewed", LONG, "sub");
    sign(&home, ("leaf", "sensor-1"), "sub", LONG, "leaf");
    join(&home, &["old", "renewed"], "one.pem");
    join(&home, &["renewed", "old"], "other.pem");
    for (place, roots) in ["one.pem", "other.pem"].into_iter().enumerate() {
        home.dps_pki(&format!(
            "verify leaf.pem --intermediates sub.pem --anchor {roots}"
        ))
        .ok();
        home.write(
            &format!("chain-{place}.pem"),
            home.read("sub.pem") + &home.read(roots),
        );
        let findings = home.dps_pki(&format!("lint chain-{place}.pem --output json"));
        assert!(!findings.stdout.contains("issuer-validity"), "{findings}");
        let name = format!("home-{place}");
        let declaration =
            "[authority.sub]\nsubject = \"CN=Sub\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n";
        home.write(&format!("{name}/pki.toml"), declaration);
        home.dps_pki(&format!(
            "authority import sub --cert sub.pem --key sub.key --chain {roots} --home {name}"
        ))
        .ok();
    }
}

/// Who signed an authority is told by name and key, whichever certificate of the issuer is at hand: the
/// issuer's list has what was revoked.
#[test]
fn an_authority_below_a_renewed_certificate_of_ours_is_in_our_crl() {
    let home = site();
    sign(&home, ("old", "Root"), "old", LONG, "old");
    sign(
        &home,
        ("old", "Root"),
        "old",
        "-startdate 20200101000000Z -enddate 20500101000000Z",
        "renewed",
    );
    sign(&home, ("sub", "Sub"), "old", LONG, "sub");
    home.write(
        "pki.toml",
        "[authority.root]\nsubject = \"CN=Root\"\nkey = \"ecdsa-p256\"\nvalidity = \"10y\"\n[authority.sub]\nissuer = \"root\"\nsubject = \"CN=Sub\"\nkey = \"ecdsa-p256\"\nvalidity = \"1y\"\n",
    );
    home.dps_pki("authority import root --cert old.pem --key old.key")
        .ok();
    home.dps_pki("authority import sub --cert sub.pem --key sub.key --chain renewed.pem")
        .ok();
    let sub = home.json("authority show sub");
    let serial = sub[0]["serialNumber"].as_str().expect("a serial number");
    home.dps_pki(&format!("revoke {serial} --yes")).ok();
    home.dps_pki("crl root --out root.crl").ok();
    let in_list = |file: &str| {
        let list = home.tool("openssl", &format!("crl -in {file} -noout -text"));
        list.ok().stdout.to_lowercase().contains(serial)
    };
    assert!(in_list("root.crl"));
    // The renewed certificate has the same key, and its list the same entries.
    home.dps_pki("authority adopt root --cert renewed.pem").ok();
    home.dps_pki("crl root --generation 2 --out renewed.crl")
        .ok();
    assert!(in_list("renewed.crl"));
}
