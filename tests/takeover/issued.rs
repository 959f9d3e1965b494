//! What the old authority issued and revoked: its certificates in the inventory, its lists continued.

use dps_pki_tests::Home;

use super::{FACTORY, home, import_both, key, request};

/// `openssl ca` by the factory's key: three leaves, of which the second is revoked.
fn issue_by_openssl_ca(home: &Home) {
    home.write("old/ca/index.txt", "");
    home.write("old/ca/serial", "0A01");
    home.write("old/ca/crlnumber", "1003");
    home.write("old/ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=old/ca/index.txt\nserial=old/ca/serial\nnew_certs_dir=old/ca\ndefault_md=sha256\ndefault_days=90\npolicy=p\ncrlnumber=old/ca/crlnumber\n[p]\nCN=supplied\n");
    for name in ["sensor-1", "sensor-2", "printer"] {
        key(home, name);
        home.tool(
            "openssl",
            &format!("req -new -key old/{name}.key -subj /CN={name} -out old/{name}.csr"),
        )
        .ok();
        home.tool(
            "openssl",
            &format!("ca -batch {WITH_CA} -in old/{name}.csr -notext"),
        )
        .ok();
    }
    home.tool(
        "openssl",
        &format!("ca {WITH_CA} -revoke old/ca/0A02.pem -crl_reason keyCompromise"),
    )
    .ok();
    // It was long ago.
    let index = home.read("old/ca/index.txt");
    let (before, after) = index.split_once(",keyCompromise").expect("a revocation");
    let kept = before.rsplit_once('\t').expect("a column").0;
    home.write(
        "old/ca/index.txt",
        format!("{kept}\t250203040506Z,keyCompromise{after}"),
    );
}

const WITH_CA: &str = "-config old/ca.cnf -cert old/factory.pem -keyfile old/factory.key";

/// `openssl ca` keeps its certificates in a folder and what it revoked in index.txt.
#[test]
fn what_an_old_authority_issued_moves_into_the_inventory() {
    let home = home();
    import_both(&home);
    issue_by_openssl_ca(&home);
    let import = "inventory import old/ca/index.txt";
    let planned = home.json(&format!("{import} --dry-run"));
    assert_eq!(
        (&planned["imported"], &planned["revoked"]),
        (&3.into(), &1.into())
    );
    let done = home.json(import);
    assert_eq!(
        (&done["imported"], &done["revoked"], &done["issuedByOthers"]),
        (&3.into(), &1.into(), &0.into())
    );
    let again = home.json(import);
    assert_eq!(
        (
            &again["imported"],
            &again["alreadyKnown"],
            &again["revoked"]
        ),
        (&0.into(), &3.into(), &0.into())
    );
    let shown = home.json("inventory show sensor-2");
    let text = shown.to_string();
    assert!(
        text.contains("revoked") && text.contains("keyCompromise") && text.contains("factory"),
        "{text}"
    );
    // The date is the one that the old authority gave, not that of the move.
    assert_eq!(shown[0]["statusAt"], "2025-02-03T04:05:06Z");
    home.dps_pki("audit verify").ok();

    // A line whose certificate is gone is told, by number; the others are there.
    std::fs::remove_file(home.path("old/ca/0A03.pem")).expect("removed");
    let run = home.dps_pki(import).ends_with(7);
    run.stderr_has("old/ca/index.txt, line 3: serial number 0a03");
    home.write("old/ca/index.txt", "nonsense\n");
    home.dps_pki(import)
        .refused(3, "old/ca/index.txt: line 1: it has not the six columns");
    home.dps_pki("inventory import old/root.key")
        .refused(3, "where a certificate is wanted");
    home.dps_pki("inventory import nowhere")
        .refused(8, "nowhere does not exist");
}

/// RFC 5280 §5.2.3: whoever has the last list of the old authority takes the first one of the new home
/// for newer, and what was revoked stays so, since when it was.
#[test]
fn crls_go_on_where_the_old_authority_stopped() {
    let home = home();
    import_both(&home);
    issue_by_openssl_ca(&home);
    home.tool(
        "openssl",
        &format!("ca {WITH_CA} -gencrl -crldays 7 -out old/factory.crl"),
    )
    .ok();
    let make = "crl factory --after-crl old/factory.crl --out new.crl";
    // The second leaf is not known here yet.
    let run = home.dps_pki(&format!("{make} --dry-run")).ok();
    run.stderr_has("old/factory.crl revokes 1 certificate that the new list does not: 0a02");
    home.dps_pki("inventory import old/ca/index.txt").ok();
    let made = home.dps_pki(make).ok();
    assert!(!made.stderr.contains("warning"), "{made}");
    let line = |file: &str, what: &str| {
        let text = home.tool("openssl", &format!("crl -in {file} -noout -text"));
        let text = text.ok().stdout;
        let found = text.lines().skip_while(|line| !line.contains(what)).nth(1);
        found
            .unwrap_or_else(|| panic!("{what} in {text}"))
            .trim()
            .to_owned()
    };
    assert_eq!(line("old/factory.crl", "X509v3 CRL Number"), "4099");
    assert_eq!(line("new.crl", "X509v3 CRL Number"), "4100");
    for file in ["old/factory.crl", "new.crl"] {
        let revoked = line(file, "Serial Number: 0A02");
        assert_eq!(
            revoked, "Revocation Date: Feb  3 04:05:06 2025 GMT",
            "{file}"
        );
    }
    // From now on without a word, also for a second run with it.
    let number = |line: &str| home.json(line)["crlNumber"].as_u64().expect("a number");
    assert_eq!(number("crl factory"), 4101);
    assert_eq!(number(&format!("{make} --force")), 4102);
    home.dps_pki("audit verify").ok();

    home.dps_pki("crl root --out root.crl").ok();
    let after = "crl factory --after-crl";
    home.dps_pki(&format!("{after} root.crl"))
        .refused(3, "root.crl: it is a CRL of");
    // Somebody else who goes by the factory's name.
    key(&home, "other");
    request(&home, "other", FACTORY);
    let other = "-in old/other.csr -signkey old/other.key -days 9 -extfile old/ca.ext";
    home.tool("openssl", &format!("x509 -req {other} -out old/other.pem"))
        .ok();
    let other = "-config old/ca.cnf -cert old/other.pem -keyfile old/other.key -crldays 7";
    home.tool("openssl", &format!("ca {other} -gencrl -out forged.crl"))
        .ok();
    home.dps_pki(&format!("{after} forged.crl"))
        .refused(3, "forged.crl: the CRL was not signed by");
    home.dps_pki(&format!("{after} old/factory.pem"))
        .refused(3, "where a CRL is wanted");
    home.dps_pki(&format!("{after} nowhere"))
        .refused(8, "does not exist");
    home.dps_pki("crl factory --after many").ends_with(2);
    assert_eq!(number("crl factory --after 9000"), 9001);
}

/// A backup beside the index, another authority's index, a list with as many columns: nothing is revoked by what
/// was not named for it, or speaks of other certificates.
#[test]
fn nothing_is_revoked_by_an_index_that_is_not_named_or_not_theirs() {
    let home = home();
    import_both(&home);
    issue_by_openssl_ca(&home);
    let line = |serial: &str, name: &str| {
        format!("R\t270101000000Z\t250203040506Z\t{serial}\tunknown\t/CN={name}\n")
    };
    home.write("old/ca/index.txt.old", line("0A01", "sensor-1"));
    home.write("old/ca/older/index.txt", line("0A01", "sensor-1"));
    home.write("old/other.txt", line("0A01", "stranger"));
    home.write("old/list.txt", "a\tb\tc\td\te\tf\n");
    let run = home.dps_pki("inventory import old/ca").ok();
    for index in ["index.txt", "index.txt.old", "older/index.txt"] {
        run.stderr_has(&format!(
            "old/ca/{index}: it is an index of openssl ca and was not named"
        ));
    }
    let named = home.dps_pki("inventory import old/ca/index.txt").ok();
    assert!(!named.stderr.contains("ca/index.txt: it is"), "{named}");
    let of_others = home.dps_pki("inventory import old/other.txt").ends_with(7);
    of_others.stderr_has("old/other.txt, line 1: serial number 0a01");
    home.dps_pki("inventory import old/list.txt").refused(
        3,
        "old/list.txt: it is neither PEM nor a certificate in DER",
    );
    let of_sensor_1 = home.json("inventory show sensor-1");
    assert_eq!(of_sensor_1[0]["status"], "delivered");
}

/// What an older copy says may have been put right since.
#[test]
fn an_index_that_is_older_than_what_is_known_revokes_nothing() {
    let home = home();
    import_both(&home);
    issue_by_openssl_ca(&home);
    home.write("old/ca/before.txt", home.read("old/ca/index.txt"));
    let times = "-startdate 20480101000000Z -enddate 20490101000000Z";
    home.tool(
        "openssl",
        "req -new -key old/printer.key -subj /CN=late -out old/late.csr",
    )
    .ok();
    home.tool(
        "openssl",
        &format!("ca -batch {WITH_CA} -in old/late.csr -notext {times}"),
    )
    .ok();
    let old = "inventory import old/ca/before.txt";
    home.dps_pki(old).refused(
        4,
        "old/ca/before.txt: it was last written before 2048-01-01T00:00:00Z",
    );
    home.dps_pki("inventory import old/ca/index.txt").ok();
    // Its certificate lies elsewhere by now, and is known.
    std::fs::remove_file(home.path("old/ca/0A04.pem")).expect("removed");
    home.dps_pki(old)
        .refused(4, "it is older than what is known");
}
