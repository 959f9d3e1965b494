//! DPS instances: records, sign-in, clouds.

use pki_core::declaration::{EntraIdentity, GroupAttestation, SignIn, VerifiedBy};
use pki_core::enrollment::{AllocationPolicy, ProvisioningStatus};
use pki_core::secret::SecretSource;

use super::{dps, name, parsed, refused, refused_dps};

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
