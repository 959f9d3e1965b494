//! `pki.toml`: what is accepted, and the one sentence for each mistake.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use pki_core::declaration::{
    AuthorityKey, Declaration, DeclarationError, DpsDeclaration, EntraIdentity, GroupAttestation,
    SignIn, VerifiedBy,
};
use pki_core::enrollment::{AllocationPolicy, ProvisioningStatus};
use pki_core::ids::{AuthorityName, DpsName};
use pki_core::key::KeyAlgorithm;
use pki_core::profile::KeyPurpose;
use pki_core::secret::SecretSource;

/// The example of the command-line contract, word for word.
const CONTRACT: &str = r#"
[authority.root]
subject = "CN=Contoso Devices Root CA, O=Contoso"
key = "ecdsa-p384"                 # ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096
validity = "20y"

[authority.factory-1]
issuer = "root"
subject = "CN=Contoso Factory 1 CA, O=Contoso"
key = "ecdsa-p256"
validity = "5y"
path-length = 0

[profile.device]                    # what leaves look like; the default profile is "device"
key = "ecdsa-p256"
validity = "1y"
extended-key-usage = ["client-auth"]

[dps.dev]
service = "localhost:8443"          # or mydps.azure-devices-provisioning.net
id-scope = "0ne00000000"
# how to sign in, and where the management plane is: see docs

[dps.dev.ca.root]                   # CA certificates that DPS must hold, and how they are verified
verified-by = "possession"          # or "self-attestation"

[dps.dev.group.line-1]
authority = "factory-1"
hubs = ["hub-1.azure-devices.net"]
"#;

/// Two authorities below a root, to be varied; line 1 is empty.
const AUTHORITIES: &str = r#"
[authority.line]
issuer = "plant"
subject = "CN=Line"
key = "ecdsa-p256"
validity = "1y"

[authority.plant]
issuer = "root"
subject = "CN=Plant"
key = "ecdsa-p256"
validity = "5y"

[authority.root]
subject = "CN=Root"
key = "ecdsa-p384"
validity = "20y"
"#;

fn parsed(text: &str) -> Declaration {
    Declaration::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> DeclarationError {
    Declaration::parse(text).expect_err("must be refused")
}

/// The sentence about the three authorities when one text is replaced by another.
fn refused_with(from: &str, to: &str) -> String {
    assert!(AUTHORITIES.contains(from), "{from}");
    refused(&AUTHORITIES.replacen(from, to, 1)).to_string()
}

/// The sentence about a DPS table after the three authorities.
fn refused_dps(table: &str) -> String {
    refused(&format!("{AUTHORITIES}{table}")).to_string()
}

fn dps(table: &str) -> DpsDeclaration {
    let mut declaration = parsed(&format!("{AUTHORITIES}{table}"));
    declaration
        .dps
        .remove(&name::<DpsName>("dev"))
        .expect("dev")
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

#[test]
fn the_example_of_the_contract_is_accepted_word_for_word() {
    let declaration = parsed(CONTRACT);
    let [root, factory] = &declaration.authorities[..] else {
        panic!("two authorities");
    };
    assert_eq!(
        (&root.key, root.issuer.as_ref()),
        (&AuthorityKey::Home(KeyAlgorithm::EcdsaP384), None)
    );
    assert_eq!(factory.issuer, Some(name("root")));
    assert_eq!(
        (factory.path_length, factory.validity),
        (Some(0), name("5y"))
    );
    let profile = &declaration.profiles[&name(Declaration::DEFAULT_PROFILE)];
    assert_eq!(profile.extended_key_usage, [KeyPurpose::ClientAuth]);
    assert_eq!(declaration.backdate, name("5m"));
    let dev = &declaration.dps[&name("dev")];
    assert_eq!(dev.service.as_str(), "localhost:8443");
    assert_eq!(dev.id_scope, Some(name("0ne00000000")));
    assert_eq!(dev.ca[&name("root")].verified_by, VerifiedBy::Possession);
    let group = &dev.groups[&name("LINE-1")];
    assert_eq!(group.attestation, GroupAttestation::SigningCertificate);
    assert_eq!(group.status, ProvisioningStatus::Enabled);
    assert_eq!(group.hubs, [name("hub-1.azure-devices.net")]);
}

#[test]
fn every_template_is_accepted() {
    for (file, text) in [
        (
            "quickstart",
            include_str!("../../templates/quickstart.toml"),
        ),
        ("factory", include_str!("../../templates/factory.toml")),
        ("tutorial", include_str!("../../templates/tutorial.toml")),
    ] {
        let declaration =
            Declaration::parse(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(
            !declaration.dps.is_empty() && !declaration.profiles.is_empty(),
            "{file}"
        );
    }
}

#[test]
fn issuers_come_before_those_that_they_issue() {
    let declaration = parsed(AUTHORITIES);
    let names: Vec<_> = declaration
        .authorities
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["root", "plant", "line"]);
    let line: AuthorityName = name("line");
    let above: Vec<_> = declaration
        .ancestry(&line)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(above, ["line", "plant", "root"]);
    let below: Vec<_> = declaration
        .issued_by(&name("root"))
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(below, ["plant"]);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (from, to, sentence) in [
        (
            "validity = \"1y\"",
            "vaildity = \"1y\"",
            r#"line 6: [authority.line] vaildity: there is no such key; did you mean "validity"?"#,
        ),
        (
            "validity = \"1y\"",
            "zzz = 1",
            "line 6: [authority.line] zzz: there is no such key; known are issuer, subject, key, key-store, validity, path-length",
        ),
        (
            "[authority.line]",
            "[autority.line]",
            r#"line 2: autority: there is no such key; did you mean "authority"?"#,
        ),
    ] {
        assert_eq!(refused_with(from, to), sentence);
    }
}

#[test]
fn bad_values_name_their_line_table_and_key() {
    for (from, to, sentence) in [
        (
            "key = \"ecdsa-p384\"",
            "key = \"rsa-1024\"",
            "line 16: [authority.root] key: \"rsa-1024\" is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072 and rsa-4096",
        ),
        (
            "validity = \"20y\"",
            "validity = 20",
            "line 17: [authority.root] validity: must be a string, not a whole number",
        ),
        (
            "validity = \"20y\"",
            "validity = \"20 years\"",
            "line 17: [authority.root] validity: \"20 years\" is not a duration; write it as 90d, 12h, 30m or 5y",
        ),
        (
            "validity = \"1y\"",
            "validity = \"0d\"",
            "line 6: [authority.line] validity: a certificate that is valid for no time is of no use",
        ),
        (
            "subject = \"CN=Line\"",
            "",
            "line 2: [authority.line]: the key subject is missing",
        ),
        (
            "[authority.line]",
            "[authority.Line]",
            "line 2: [authority.Line]: authority name \"Line\" has the character 'L' at position 1; allowed are lower-case letters, digits and - _ .",
        ),
        (
            "validity = \"1y\"",
            "validity = \"1y\"\npath-length = 300",
            "line 7: [authority.line] path-length: 300 is not a number from 0 to 255",
        ),
    ] {
        assert_eq!(refused_with(from, to), sentence);
    }
}

/// RFC 7512 for the place, our own names for the kind.
#[test]
fn a_key_is_in_the_home_or_in_a_token() {
    let key = |text: &str| {
        let text = AUTHORITIES.replace("key = \"ecdsa-p384\"", text);
        parsed(&text).authorities[0].key.clone()
    };
    let uri = name("pkcs11:token=t;object=o");
    assert_eq!(
        key("key = \"pkcs11:token=t;object=o\""),
        AuthorityKey::InToken(uri)
    );
    let made = AuthorityKey::MadeInToken {
        algorithm: KeyAlgorithm::Rsa3072,
        store: name("pkcs11:token=t"),
    };
    assert_eq!(
        key("key = \"rsa-3072\"\nkey-store = \"pkcs11:token=t\""),
        made
    );
    for (text, sentence) in [
        (
            "key = \"pkcs11:token=t\"",
            "line 16: [authority.root] key: the URI names no object; add object=LABEL, or give the kind of key here and the token as key-store",
        ),
        (
            "key = \"pkcs11:object=o?pin-value=1\"",
            "line 16: [authority.root] key: a PIN never stands in a URI; write pin-source=file:PATH or pin-source=env:NAME",
        ),
        (
            "key = \"pkcs11:object=o\"\nkey-store = \"pkcs11:token=t\"",
            "line 17: [authority.root] key-store: key is an object of a token already; with key-store it must be the kind of key to make",
        ),
        (
            "key = \"rsa-2048\"\nkey-store = \"pkcs11:id=%01\"",
            "line 17: [authority.root] key-store: an object that is made here is named by object=LABEL, not by id",
        ),
    ] {
        assert_eq!(refused_with("key = \"ecdsa-p384\"", text), sentence);
    }
}

#[test]
fn what_is_no_toml_names_its_line() {
    for (from, to, part) in [
        ("key = \"ecdsa-p384\"", "key = ", "line 16: not TOML: "),
        (
            "key = \"ecdsa-p384\"",
            "key = \"a\"\nkey = \"b\"",
            "line 17: not TOML: duplicate key",
        ),
        (
            "[authority.root]",
            "[authority.line]",
            "line 14: not TOML: duplicate key",
        ),
    ] {
        let sentence = refused_with(from, to);
        assert!(
            sentence.starts_with(part) && !sentence.contains('\n'),
            "{sentence}"
        );
    }
}

#[test]
fn errors_tell_their_place_apart() {
    let error = refused(&AUTHORITIES.replace("\"20y\"", "20"));
    assert_eq!(
        (error.line(), error.table(), error.key()),
        (17, "authority.root", Some("validity"))
    );
}

#[test]
fn issuers_must_exist_and_never_go_in_a_circle() {
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"roto\""),
        r#"line 9: [authority.plant] issuer: no authority is named "roto"; did you mean "root"?"#
    );
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"line\""),
        "line 3: [authority.line] issuer: the issuers go in a circle: line is issued by plant is issued by line; one of them must be a root without issuer"
    );
    assert_eq!(
        refused_with("issuer = \"root\"", "issuer = \"plant\""),
        "line 9: [authority.plant] issuer: the issuers go in a circle: plant is issued by plant; one of them must be a root without issuer"
    );
}

/// RFC 5280 §4.2.1.9.
#[test]
fn path_lengths_leave_room_for_what_is_below() {
    let limited = |table: &str, limit: u8| {
        let head = format!("[authority.{table}]");
        AUTHORITIES.replace(&head, &format!("{head}\npath-length = {limit}"))
    };
    parsed(&limited("root", 2));
    parsed(&limited("plant", 1));
    parsed(&limited("line", 0));
    assert_eq!(
        refused(&limited("plant", 0)).to_string(),
        "line 9: [authority.plant] path-length: plant has path-length 0, so at most 0 authorities may stand below it, but with line there would be 1"
    );
    assert!(
        refused(&limited("root", 1))
            .to_string()
            .contains("with line there would be 2")
    );
}

#[test]
fn nothing_outlives_its_issuer() {
    assert_eq!(
        refused_with("validity = \"1y\"", "validity = \"6y\""),
        "line 6: [authority.line] validity: 6y is longer than the 5y of plant; a certificate never outlives its issuer"
    );
    parsed(&AUTHORITIES.replace("\"1y\"", "\"5y\""));
    let profile = "[profile.device]\nkey = \"ecdsa-p256\"\nvalidity = \"21y\"\n";
    assert_eq!(
        refused_dps(profile),
        "line 20: [profile.device] validity: 21y is longer than the 20y of the longest-lived authority; no authority could issue such a leaf"
    );
}

#[test]
fn ed25519_is_for_authorities_that_dps_never_sees() {
    let text = AUTHORITIES.replace("ecdsa-p384", "ed25519");
    parsed(&text);
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.plant]\n";
    let error = refused(&format!("{text}{table}")).to_string();
    assert_eq!(
        error,
        "line 20: [dps.dev.ca.plant]: root has the key algorithm ed25519, which DPS does not accept; declare an ECDSA or RSA key for it"
    );
}

#[test]
fn a_group_reaches_a_ca_that_dps_holds() {
    let group = |ca: &str, group: &str| {
        format!("[dps.dev]\nservice = \"localhost\"\n{ca}\n[dps.dev.group.g]\n{group}")
    };
    let line = "authority = \"line\"";
    for ca in ["root", "plant", "line"] {
        dps(&group(&format!("[dps.dev.ca.{ca}]"), line));
    }
    assert_eq!(
        refused_dps(&group("", line)),
        "line 22: [dps.dev.group.g] authority: neither line nor an authority above it is listed under [dps.dev.ca], so DPS would refuse the group's devices; add [dps.dev.ca.root]"
    );
    assert!(
        refused_dps(&group("[dps.dev.ca.line]", "authority = \"plant\""))
            .contains("neither plant nor")
    );
    assert!(refused_dps(&group("[dps.dev.ca.root]", "")).ends_with("the key authority is missing"));
}

#[test]
fn roots_are_held_by_reference_and_intermediates_as_certificates() {
    let attestation = |group: &str| {
        let table = format!(
            "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.Contoso-Root]\nauthority = \"root\"\n[dps.dev.group.g]\n{group}"
        );
        let mut dps = dps(&table);
        dps.groups.remove(&name("g")).expect("g").attestation
    };
    let reference = GroupAttestation::CaReference(name("Contoso-Root"));
    assert_eq!(attestation("authority = \"root\""), reference);
    assert_eq!(
        attestation("authority = \"line\""),
        GroupAttestation::SigningCertificate
    );
    assert_eq!(
        attestation("authority = \"root\"\nattestation = \"signing-certificate\""),
        GroupAttestation::SigningCertificate
    );
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.root]\n[dps.dev.group.g]\nauthority = \"line\"\nattestation = \"ca-reference\"";
    assert_eq!(
        refused_dps(table),
        "line 22: [dps.dev.group.g] authority: line is not listed under [dps.dev.ca], so a group cannot refer to it; add [dps.dev.ca.line] or use signing-certificate"
    );
}

/// DPS record names are one name in all spellings.
#[test]
fn one_record_is_declared_once() {
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.root]\n[dps.dev.ca.ROOT]\nauthority = \"line\"";
    assert_eq!(
        refused_dps(table),
        "line 21: [dps.dev.ca.ROOT]: the same as on line 20; keep one of them"
    );
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.root]\n[dps.dev.ca.other]\nauthority = \"root\"";
    assert!(refused_dps(table).contains("[dps.dev.ca.other] authority: the same as on line 20"));
    let table = "[dps.dev]\nservice = \"localhost\"\n[dps.dev.ca.root]\n[dps.dev.group.g]\nauthority = \"root\"\nhubs = [\n\"a.net\",\n\"A.net\"]";
    assert!(
        refused_dps(table).starts_with("line 25: [dps.dev.group.g] hubs: the same as on line 24")
    );
}

#[test]
fn at_most_25_cas_fit_one_instance() {
    let authorities: String = (0..26)
        .map(|n| {
            format!(
                "[authority.r{n}]\nsubject = \"CN=R{n}\"\nkey = \"rsa-2048\"\nvalidity = \"1y\"\n"
            )
        })
        .collect();
    let table = |count: u32| {
        let cas: String = (0..count).map(|n| format!("[dps.dev.ca.r{n}]\n")).collect();
        format!("{authorities}[dps.dev]\nservice = \"localhost\"\n{cas}")
    };
    parsed(&table(25));
    assert!(
        refused(&table(26))
            .to_string()
            .ends_with("26 CA certificates are declared, but DPS holds at most 25")
    );
}

#[test]
fn every_setting_of_an_instance_arrives() {
    let table = r#"
[issuance]
backdate = "1h"
[dps.dev]
service = "mydps.azure-devices-provisioning.net"
device = "global.azure-devices-provisioning.net"
connection-string = "env:DPS"
trust-anchor = "server.pem"
rate = 600
[dps.dev.entra.client-secret]
tenant = "t"
client = "c"
secret = "file:secret"
[dps.dev.management]
subscription = "s"
resource-group = "g"
token = "env:ARM"
[dps.dev.api-version]
management = "2021-10-15"
hub = "2021-04-12"
[dps.dev.hub."hub-1.azure-devices.net"]
endpoint = "localhost:9443"
connection-string = "env:HUB"
[dps.dev.hub."hub-2.azure-devices.net"]
[dps.dev.ca.root]
verified-by = "self-attestation"
[dps.dev.group.g]
authority = "root"
status = "disabled"
reprovision = "reset"
allocation = "geo-latency"
[dps.dev.group.g.initial-twin]
tags = { site = "a", floors = [1, 0x10, 2.5], built = 1999-12-31 }
properties.desired = { on = true }
"#;
    let environment = |variable: &str| SecretSource::Environment(variable.to_owned());
    let dev = dps(table);
    assert_eq!(
        dev.device,
        Some(name("global.azure-devices-provisioning.net"))
    );
    assert_eq!(
        dev.sign_in,
        Some(SignIn::ConnectionString(environment("DPS")))
    );
    assert_eq!(dev.trust_anchor.as_deref(), Some("server.pem"));
    assert_eq!(dev.rate.map(|rate| rate.get()), Some(600));
    let EntraIdentity::ClientSecret { tenant, secret, .. } = &dev.entra else {
        panic!("a client secret");
    };
    assert_eq!(
        (tenant.as_str(), secret),
        ("t", &SecretSource::File("secret".to_owned()))
    );
    let management = dev.management.expect("management");
    assert_eq!(
        (
            management.name.as_str(),
            management.endpoint,
            management.sign_in
        ),
        ("mydps", None, Some(SignIn::Token(environment("ARM"))))
    );
    assert_eq!(dev.api_versions.management.as_deref(), Some("2021-10-15"));
    assert_eq!(
        (dev.api_versions.service, dev.api_versions.hub.as_deref()),
        (None, Some("2021-04-12"))
    );
    let hub = &dev.hubs[&name("hub-1.azure-devices.net")];
    assert_eq!(hub.endpoint, Some(name("localhost:9443")));
    assert_eq!(
        hub.sign_in,
        Some(SignIn::ConnectionString(environment("HUB")))
    );
    assert_eq!(
        dev.hubs[&name("hub-2.azure-devices.net")].sign_in,
        Some(SignIn::Entra)
    );
    assert_eq!(
        dev.ca[&name("root")].verified_by,
        VerifiedBy::SelfAttestation
    );
    let group = &dev.groups[&name("g")];
    assert_eq!(group.status, ProvisioningStatus::Disabled);
    assert_eq!(group.allocation, Some(AllocationPolicy::GeoLatency));
    let reprovision = group.reprovision.clone().expect("policy");
    assert!(reprovision.update_hub_assignment && !reprovision.migrate_device_data);
    assert_eq!(
        group.initial_twin,
        Some(serde_json::json!({
            "tags": {"built": "1999-12-31", "floors": [1, 16, 2.5], "site": "a"},
            "properties": {"desired": {"on": true}},
        }))
    );
}

/// Outside of Azure nothing signs in with Entra ID unless told to: a token is not shown to strangers.
#[test]
fn a_local_instance_has_all_planes_and_no_sign_in() {
    let dev = dps("[dps.dev]\nservice = \"localhost:8443\"\n");
    assert_eq!(dev.sign_in, None);
    let management = dev.management.expect("stand-in");
    assert_eq!(management.endpoint, Some(name("localhost:8443")));
    assert_eq!(
        (management.name.as_str(), management.sign_in),
        ("dev", None)
    );
    let azure = dps("[dps.dev]\nservice = \"mydps.azure-devices-provisioning.net\"\n");
    assert_eq!(
        (azure.sign_in, azure.management),
        (Some(SignIn::Entra), None)
    );
}

#[test]
fn secrets_are_named_and_never_written_or_repeated() {
    let error = refused_dps(
        "[dps.dev]\nservice = \"localhost\"\nconnection-string = \"HostName=h;SharedAccessKey=c2VjcmV0\"",
    );
    assert_eq!(
        error,
        "line 20: [dps.dev] connection-string: a secret never stands here itself; write env:NAME or file:PATH, and put it there"
    );
    let error = refused_dps(
        "[dps.dev]\nservice = \"localhost\"\nconnection-string = \"env:A\"\ntoken = \"env:B\"",
    );
    assert!(error.ends_with("token: there is a connection-string too; keep one of them"));
}

#[test]
fn windows_files_are_read_like_others() {
    let text = format!("\u{feff}{}", AUTHORITIES.replace('\n', "\r\n"));
    parsed(&text);
    assert_eq!(refused(&text.replace("\"20y\"", "20")).line(), 17);
}

/// The management plane, Entra ID and the audience of tokens follow the cloud of the service plane.
#[test]
fn the_planes_of_an_instance_are_in_its_cloud() {
    for (domain, management, authority, hub_scope) in [
        (
            "net",
            "management.azure.com",
            None,
            "https://iothubs.azure.net/.default",
        ),
        (
            "cn",
            "management.chinacloudapi.cn",
            Some("login.chinacloudapi.cn"),
            "https://iothubs.azure.net/.default",
        ),
        (
            "us",
            "management.usgovcloudapi.net",
            Some("login.microsoftonline.us"),
            "https://iothubs.azure.us/.default",
        ),
    ] {
        let dev = dps(&format!(
            "[dps.dev]\nservice = \"x.azure-devices-provisioning.{domain}\"\n\
             [dps.dev.management]\nsubscription = \"s\"\nresource-group = \"g\"\n"
        ));
        assert_eq!(dev.management_host(), management);
        assert_eq!(
            dev.management_scope(),
            format!("https://{management}/.default")
        );
        assert_eq!(dev.authority_host(), authority);
        let hub = name(&format!("hub-1.azure-devices.{domain}"));
        assert_eq!(dev.hub_scope(&hub), hub_scope);
        assert_eq!(
            dev.service_scope(),
            "https://azure-devices-provisioning.net/.default"
        );
    }
}

#[test]
fn what_follows_from_the_cloud_can_be_declared_otherwise() {
    let dev = dps(r#"
[dps.dev]
service = "x.azure-devices-provisioning.cn"
token-scope = "https://service.example/.default"
[dps.dev.entra]
authority-host = "login.example"
[dps.dev.management]
endpoint = "arm.example"
subscription = "s"
resource-group = "g"
token-scope = "https://arm.example/.default"
[dps.dev.hub."hub-1.azure-devices.cn"]
token-scope = "https://hubs.example/.default"
"#);
    assert_eq!(dev.management_host(), "arm.example");
    assert_eq!(dev.management_scope(), "https://arm.example/.default");
    assert_eq!(dev.authority_host(), Some("login.example"));
    assert_eq!(dev.entra, EntraIdentity::DeveloperTools);
    assert_eq!(dev.service_scope(), "https://service.example/.default");
    let hub_scope = dev.hub_scope(&name("hub-1.azure-devices.cn"));
    assert_eq!(hub_scope, "https://hubs.example/.default");
}

#[test]
fn entra_without_a_word_is_refused() {
    let error =
        refused("[dps.dev]\nservice = \"x.azure-devices-provisioning.net\"\n[dps.dev.entra]\n");
    assert!(error.to_string().contains("exactly one of"), "{error}");
}
