//! What the live services were recorded answering: the emulator answers so.

#[path = "../../../tests/support/facts.rs"]
mod facts;

use std::collections::BTreeMap;

use dps_emulator::{Choices, EmulatorConfig, Hub, SingleCertificate};
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use self::facts::Answer;
use crate::fixture::{Authority, World, choosing, derived, send, token};

/// An emulator that is asked what was recorded, and everything that it answered, by the name of the
/// exchange.
struct Recording {
    world: World,
    hub: Hub,
    answers: BTreeMap<String, Answer>,
}

impl Recording {
    async fn start() -> Self {
        let world = World::with(EmulatorConfig::default()).await;
        Self {
            hub: world.linked_hub("hub-1.azure-devices.net"),
            world,
            answers: BTreeMap::new(),
        }
    }

    /// Sends a request and notes its answer.
    async fn note(&mut self, name: &str, request: RequestBuilder, if_match: Option<&str>) -> Value {
        let request = match if_match {
            Some(tag) => request.header("if-match", tag),
            None => request,
        };
        let reply = send(request).await;
        let text =
            |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
                (name.to_string(), value.to_str().expect("text").to_owned())
            };
        let body = Some(reply.body.clone()).filter(|body| !body.is_null());
        let answer = Answer {
            status: reply.status,
            headers: reply.headers.iter().map(text).collect(),
            body,
            request: if_match
                .map(|tag| ("if-match".to_owned(), tag.to_owned()))
                .into_iter()
                .collect(),
        };
        self.answers.insert(name.to_owned(), answer);
        reply.body
    }

    async fn service(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
        tag: Option<&str>,
    ) -> Value {
        let request = self.world.signed_request(method, path, &body);
        self.note(name, request, tag).await
    }

    async fn arm(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
        tag: Option<&str>,
    ) -> Value {
        let path = if path.starts_with("/subscriptions") {
            path.to_owned()
        } else {
            format!("{}{path}", self.world.emulator.resource_id())
        };
        let request = self.world.request(method, &path, "2021-10-15", &body);
        let request = request.header("Authorization", "Bearer anything");
        self.note(name, request, tag).await
    }

    async fn hub(
        &mut self,
        name: &str,
        method: Method,
        path: &str,
        body: Value,
        tag: Option<&str>,
    ) -> Value {
        let token = token(self.hub.connection_string.expose_secret(), 3600);
        let request = self.world.request(method, path, "2020-03-13", &body);
        self.note(name, request.header("Authorization", token), tag)
            .await
    }
}

fn tag(document: &Value) -> String {
    document["etag"].as_str().expect("a tag").to_owned()
}

/// An entry as the Python client writes it: with everything that it does not want as null.
fn entry(mut members: Value) -> Value {
    let nothing = [
        "capabilities",
        "iotHubs",
        "iotHubHostName",
        "initialTwin",
        "customAllocationDefinition",
    ];
    for name in nothing {
        if members.get(name).is_none() {
            members[name] = Value::Null;
        }
    }
    members
}

fn policy() -> Value {
    json!({"migrateDeviceData": true, "updateHubAssignment": true})
}

async fn groups(recording: &mut Recording, signing: &Authority) {
    let path = "/enrollmentGroups/line-1";
    let document = entry(json!({
        "enrollmentGroupId": "line-1",
        "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": signing.pem}}}},
        "allocationPolicy": "hashed", "provisioningStatus": "enabled", "reprovisionPolicy": policy(),
    }));
    let made = recording
        .service("group put", Method::PUT, path, document.clone(), None)
        .await;
    recording
        .service("group put again", Method::PUT, path, document.clone(), None)
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service(
            "group query",
            Method::POST,
            "/enrollmentGroups/query",
            query,
            None,
        )
        .await;
    recording
        .service("group get", Method::GET, path, Value::Null, None)
        .await;
    let mut changed = document;
    changed["allocationPolicy"] = json!("custom");
    changed["provisioningStatus"] = json!("disabled");
    changed["customAllocationDefinition"] =
        json!({"webhookUrl": "https://hook.example", "apiVersion": "2019-03-31"});
    recording
        .service(
            "group update",
            Method::PUT,
            path,
            changed,
            Some(&tag(&made)),
        )
        .await;
    recording
        .service("group delete", Method::DELETE, path, Value::Null, None)
        .await;
}

async fn keys(recording: &mut Recording) {
    let path = "/enrollmentGroups/keys-1";
    let document = entry(json!({
        "enrollmentGroupId": "keys-1",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": null, "secondaryKey": null}},
        "allocationPolicy": "static", "provisioningStatus": null, "reprovisionPolicy": null,
    }));
    let made = recording
        .service("keys put", Method::PUT, path, document, None)
        .await;
    recording
        .service("keys get", Method::GET, path, Value::Null, None)
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service(
            "keys query",
            Method::POST,
            "/enrollmentGroups/query",
            query,
            None,
        )
        .await;
    let mechanism = format!("{path}/attestationmechanism");
    recording
        .service(
            "keys mechanism",
            Method::POST,
            &mechanism,
            Value::Null,
            None,
        )
        .await;
    registration(
        recording,
        made["attestation"]["symmetricKey"]["primaryKey"]
            .as_str()
            .expect("a key"),
    )
    .await;
}

async fn registration(recording: &mut Recording, group_key: &str) {
    let scope = recording.world.emulator.id_scope().to_string();
    let key = derived(group_key, "device-1");
    let device = recording.world.keyed_device("device-1", &key);
    let authorization = device.authorization.clone().expect("a token");
    let below = format!("/{scope}/registrations/device-1");
    let ask = |world: &World, method, path: &str, body: &Value| {
        world
            .request(method, path, "2021-06-01", body)
            .header("Authorization", &authorization)
    };
    let body = json!({"registrationId": "device-1"});
    let request = ask(
        &recording.world,
        Method::PUT,
        &format!("{below}/register"),
        &body,
    );
    let begun = recording.note("register", request, None).await;
    let operation = format!(
        "{below}/operations/{}",
        begun["operationId"].as_str().expect("an operation")
    );
    for _ in 0..10 {
        let request = ask(&recording.world, Method::GET, &operation, &Value::Null);
        if recording.note("operation", request, None).await["status"] == "assigned" {
            break;
        }
    }
    recording
        .service(
            "registration get",
            Method::GET,
            "/registrations/device-1",
            Value::Null,
            None,
        )
        .await;
    recording
        .service(
            "registration query",
            Method::POST,
            "/registrations/keys-1/query",
            Value::Null,
            None,
        )
        .await;
    recording
        .service(
            "registration delete",
            Method::DELETE,
            "/registrations/device-1",
            Value::Null,
            None,
        )
        .await;
}

async fn individuals(recording: &mut Recording, leaf: &str) {
    let path = "/enrollments/device-001";
    let document = entry(json!({
        "registrationId": "device-001", "deviceId": "machine-1", "optionalDeviceInformation": null,
        "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf}}}},
        "allocationPolicy": "hashed", "provisioningStatus": "enabled", "reprovisionPolicy": policy(),
    }));
    recording
        .service("individual put", Method::PUT, path, document, None)
        .await;
    recording
        .service("individual get", Method::GET, path, Value::Null, None)
        .await;
    let query = json!({"query": "SELECT *"});
    recording
        .service(
            "individual query",
            Method::POST,
            "/enrollments/query",
            query,
            None,
        )
        .await;
    recording
        .service("individual delete", Method::DELETE, path, Value::Null, None)
        .await;
    let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": "ZW5kb3JzZW1lbnQ="}});
    let document = entry(json!({
        "registrationId": "tpm-1", "deviceId": "machine-2", "attestation": tpm,
        "allocationPolicy": "static", "provisioningStatus": "enabled", "reprovisionPolicy": null,
    }));
    let path = "/enrollments/tpm-1";
    recording
        .service("tpm put", Method::PUT, path, document, None)
        .await;
    recording
        .service("tpm get", Method::GET, path, Value::Null, None)
        .await;
    let mechanism = format!("{path}/attestationmechanism");
    recording
        .service("tpm mechanism", Method::POST, &mechanism, Value::Null, None)
        .await;
}

async fn bulk(recording: &mut Recording, signing: &Authority) {
    let documents = ["bulk-1", "bulk-2"].map(|id| {
        entry(json!({
            "enrollmentGroupId": id, "provisioningStatus": "enabled",
            "attestation": {"type": "x509",
                "x509": {"signingCertificates": {"primary": {"certificate": signing.pem}}}},
        }))
    });
    for mode in ["create", "update", "delete"] {
        let body = json!({"mode": mode, "enrollmentGroups": documents});
        recording
            .service(
                &format!("bulk {mode}"),
                Method::POST,
                "/enrollmentGroups",
                body,
                None,
            )
            .await;
    }
    let one = entry(json!({"registrationId": "tpm-1", "attestation": {"type": "symmetricKey"}}));
    let body = json!({"mode": "update", "enrollments": [one]});
    recording
        .service(
            "individual bulk update",
            Method::POST,
            "/enrollments",
            body,
            None,
        )
        .await;
}

async fn certificates(recording: &mut Recording) {
    let root = Authority::root("Contoso Root");
    let path = "/certificates/root";
    let upload = json!({"certificate": root.pem});
    let made = recording
        .arm("ca put", Method::PUT, path, upload.clone(), None)
        .await;
    let second = json!({"certificate": root.pem, "isVerified": true});
    recording
        .arm(
            "ca put under a second name",
            Method::PUT,
            "/certificates/same-root",
            second,
            None,
        )
        .await;
    recording
        .arm("ca list", Method::GET, "/certificates", Value::Null, None)
        .await;
    recording
        .arm("ca get", Method::GET, path, Value::Null, None)
        .await;
    let made = recording
        .arm("ca update", Method::PUT, path, upload, Some(&tag(&made)))
        .await;
    let code = format!("{path}/generateVerificationCode");
    let coded = recording
        .arm(
            "ca code",
            Method::POST,
            &code,
            Value::Null,
            Some(&tag(&made)),
        )
        .await;
    assert_eq!(
        coded["properties"]["certificate"],
        json!(root.pem),
        "as it was uploaded"
    );
    let code = coded["properties"]["verificationCode"]
        .as_str()
        .expect("a code");
    let proof = json!({"certificate": root.leaf(code, &[]).pem});
    let verify = format!("{path}/verify");
    let proven = recording
        .arm(
            "ca verify",
            Method::POST,
            &verify,
            proof,
            Some(&tag(&coded)),
        )
        .await;
    recording
        .arm(
            "ca delete",
            Method::DELETE,
            path,
            Value::Null,
            Some(&tag(&proven)),
        )
        .await;
    recording
        .arm("ca missing", Method::GET, path, Value::Null, None)
        .await;
}

async fn instance(recording: &mut Recording) {
    let subscription = recording.world.emulator.resource_id();
    let subscription = subscription
        .split("/resourceGroups")
        .next()
        .expect("a subscription")
        .to_owned();
    let path = format!(
        "{subscription}/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability"
    );
    recording
        .arm(
            "name check",
            Method::POST,
            &path,
            json!({"name": "new-dps"}),
            None,
        )
        .await;
    let shown = recording
        .arm("instance get", Method::GET, "", Value::Null, None)
        .await;
    let mut hub = shown["properties"]["iotHubs"][0].clone();
    hub["applyAllocationPolicy"] = json!(true);
    hub["allocationWeight"] = json!(10);
    let linked = json!({
        "location": "westus", "tags": {}, "etag": shown["etag"], "sku": {"name": "S1", "capacity": 1},
        "properties": {"iotHubs": [hub], "allocationPolicy": "Hashed"},
    });
    recording
        .arm("instance put", Method::PUT, "", linked, None)
        .await;
    let operation = &recording.answers["instance put"].headers["azure-asyncoperation"];
    let (_, operation) = operation
        .split_once("/operationresults/")
        .expect("an operation");
    let operation = format!(
        "/operationresults/{}",
        operation.split('?').next().expect("an ID")
    );
    recording
        .arm("instance poll", Method::GET, &operation, Value::Null, None)
        .await;
    let keys = recording
        .arm(
            "instance keys",
            Method::POST,
            "/listkeys",
            Value::Null,
            None,
        )
        .await;
    let policies = json!([keys["value"][0], {"keyName": "reader", "rights": "EnrollmentRead"}]);
    let body = json!({"location": "westus", "properties": {
        "iotHubs": [hub], "allocationPolicy": "Hashed", "authorizationPolicies": policies,
    }});
    recording
        .arm("policy put", Method::PUT, "", body, None)
        .await;
    recording
        .arm(
            "instance key",
            Method::POST,
            "/keys/reader/listkeys",
            Value::Null,
            None,
        )
        .await;
    recording
        .arm(
            "instance key missing",
            Method::POST,
            "/keys/nobody/listkeys",
            Value::Null,
            None,
        )
        .await;
    recording
        .arm(
            "instance patch",
            Method::PATCH,
            "",
            json!({"tags": {"site": "a"}}),
            None,
        )
        .await;
    let bad = recording
        .world
        .emulator
        .resource_id()
        .replace("provisioningServices/emulator", "provisioningServices/1!");
    recording
        .arm(
            "instance name",
            Method::PUT,
            &bad,
            json!({"properties": {}}),
            None,
        )
        .await;
    recording
        .arm("instance delete", Method::DELETE, "", Value::Null, None)
        .await;
}

async fn devices(recording: &mut Recording) {
    let path = "/devices/Device-001";
    let new = json!({"deviceId": "Device-001"});
    recording
        .hub("device put", Method::PUT, path, new, Some("\"\""))
        .await;
    let read = recording
        .hub("device get", Method::GET, path, Value::Null, None)
        .await;
    recording
        .hub(
            "twin get",
            Method::GET,
            "/twins/Device-001",
            Value::Null,
            None,
        )
        .await;
    let stale = format!("\"{}\"", tag(&read));
    let mut changed = read;
    changed["status"] = json!("disabled");
    recording
        .hub(
            "device update",
            Method::PUT,
            path,
            changed.clone(),
            Some(&stale),
        )
        .await;
    recording
        .hub("device stale", Method::PUT, path, changed, Some(&stale))
        .await;
    let patch = json!({"properties": {"desired": {"username": "a"}}});
    recording
        .hub(
            "twin patch",
            Method::PATCH,
            "/twins/Device-001",
            patch,
            Some("*"),
        )
        .await;
    let stale = Some("\"AAAAAAAAAAE=\"");
    let patch = json!({"properties": {"desired": {"username": "b"}}});
    recording
        .hub(
            "twin stale",
            Method::PATCH,
            "/twins/Device-001",
            patch,
            stale,
        )
        .await;
    let bulk = json!([{"id": "bulk-1", "importMode": "create", "status": "enabled",
        "properties": {"desired": {"user": "a"}}}]);
    recording
        .hub("devices bulk", Method::POST, "/devices", bulk, None)
        .await;
    recording
        .hub(
            "twin made in bulk",
            Method::GET,
            "/twins/bulk-1",
            Value::Null,
            None,
        )
        .await;
    let query = json!({"query": "select * from devices"});
    recording
        .hub("twin query", Method::POST, "/devices/query", query, None)
        .await;
    recording
        .hub(
            "device delete",
            Method::DELETE,
            path,
            Value::Null,
            Some("*"),
        )
        .await;
}

/// Statuses, headers, members, types and formats, one line a fact.
#[tokio::test]
async fn every_recorded_shape_is_answered() {
    let mut recording = Recording::start().await;
    let root = Authority::root("Contoso Factory 1 CA");
    let leaf = root.leaf("device-001", &[]);
    groups(&mut recording, &root).await;
    keys(&mut recording).await;
    individuals(&mut recording, &leaf.pem).await;
    bulk(&mut recording, &root).await;
    certificates(&mut recording).await;
    instance(&mut recording).await;
    devices(&mut recording).await;
    let problems = facts::judge("emulator", &recording.answers);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn slots(document: &Value) -> [Option<&str>; 2] {
    let slots = &document["attestation"]["x509"]["signingCertificates"];
    ["primary", "secondary"].map(|slot| slots[slot]["info"]["sha256Thumbprint"].as_str())
}

/// The secondary slot of a single certificate, as each choice has it; with two there is nothing to choose.
#[tokio::test]
async fn a_single_certificate_is_shown_stored_or_left_alone() {
    for (choice, is_shown, is_stored) in [
        (SingleCertificate::Shown, true, false),
        (SingleCertificate::Stored, true, true),
        (SingleCertificate::Once, false, false),
    ] {
        let choices = Choices {
            single_certificate: choice,
            ..Choices::default()
        };
        let world = World::with(choosing(choices)).await;
        let one = Authority::root("One");
        let two = Authority::root("Two");
        let path = "/enrollmentGroups/line";
        let document = crate::fixture::group("line", &one);
        world.service(Method::PUT, path, document).await;
        let read = world.service(Method::GET, path, Value::Null).await.body;
        let [primary, secondary] = slots(&read);
        assert_eq!(secondary == primary, is_shown, "{choice:?}");
        let dump = serde_json::to_value(world.emulator.dump()).expect("a dump");
        let stored = slots(&dump["enrollmentGroups"][0]);
        assert_eq!(stored[1].is_some(), is_stored, "{choice:?}");

        let mut both = read;
        both["attestation"]["x509"]["signingCertificates"]["secondary"] =
            json!({"certificate": two.pem});
        let put = world
            .service_if_match(Method::PUT, path, both, Some("*"))
            .await;
        let [primary, secondary] = slots(&put.body);
        assert!(
            primary != secondary && secondary.is_some(),
            "{choice:?}: {put:?}"
        );
        let mut single = put.body.clone();
        single["attestation"]["x509"]["signingCertificates"] =
            json!({"primary": {"certificate": two.pem}});
        let put = world
            .service_if_match(Method::PUT, path, single, Some("*"))
            .await;
        assert_eq!(
            slots(&put.body)[1].is_some(),
            is_shown,
            "{choice:?}: {put:?}"
        );
    }
}

/// A client that knows nothing of copies reads a record and puts it back; both slots come with `info` alone.
#[tokio::test]
async fn a_copy_that_is_sent_back_is_taken_for_one() {
    for choice in [SingleCertificate::Shown, SingleCertificate::Stored] {
        let choices = Choices {
            single_certificate: choice,
            ..Choices::default()
        };
        let world = World::with(choosing(choices)).await;
        let [one, two] = ["One", "Two"].map(Authority::root);
        let path = "/enrollmentGroups/line";
        world
            .service(Method::PUT, path, crate::fixture::group("line", &one))
            .await;
        let mut read = world.service(Method::GET, path, Value::Null).await.body;
        read["provisioningStatus"] = json!("disabled");
        let put = world
            .service_if_match(Method::PUT, path, read.clone(), Some(&tag(&read)))
            .await;
        assert_eq!(put.status, 200, "{choice:?}: {put:?}");
        let mut moved = put.body;
        moved["attestation"]["x509"]["signingCertificates"]["primary"] =
            json!({"certificate": two.pem});
        let put = world
            .service_if_match(Method::PUT, path, moved, Some("*"))
            .await;
        let [primary, secondary] = slots(&put.body);
        assert!(
            primary.is_some() && secondary.is_some() && primary != secondary,
            "{choice:?}: {put:?}"
        );
    }
}

/// Recorded is the bare form, and released clients quote: both are taken, and a stale one is refused in either.
#[tokio::test]
async fn tags_are_taken_bare_and_in_quotes() {
    let world = World::start().await;
    let path = "/enrollments/dev-1";
    let document = json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
    let mut last = world
        .service(Method::PUT, path, document.clone())
        .await
        .etag();
    for is_quoted in [false, true] {
        let form = |tag: &str| {
            if is_quoted {
                format!("\"{tag}\"")
            } else {
                tag.to_owned()
            }
        };
        let put = world
            .service_if_match(Method::PUT, path, document.clone(), Some(&form(&last)))
            .await;
        assert_eq!(put.status, 200, "{put:?}");
        let stale = world
            .service_if_match(Method::PUT, path, document.clone(), Some(&form(&last)))
            .await;
        assert_eq!(stale.status, 412, "{stale:?}");
        last = put.etag();
    }
}

/// The three words of the service's own policy stand for everything, also when they come back.
#[tokio::test]
async fn the_service_s_own_policy_keeps_its_rights_when_it_is_sent_back() {
    let world = World::start().await;
    let keys = world
        .management(Method::POST, "/listkeys", Value::Null, None)
        .await
        .body;
    let shown = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let body = json!({"properties": {
        "iotHubs": shown["properties"]["iotHubs"], "authorizationPolicies": keys["value"],
    }});
    let put = world.management(Method::PUT, "", body, None).await;
    assert_eq!(put.status, 201, "{put:?}");
    let listed = world
        .service(Method::POST, "/registrations/nobody/query", Value::Null)
        .await;
    assert_eq!(listed.status, 200, "{listed:?}");
}

/// Of what is legal, the strict emulator polls longer and shows a single certificate in both slots.
#[tokio::test]
async fn a_strict_instance_tells_that_a_change_is_running() {
    let world = World::with(choosing(Choices::strict())).await;
    let shown = world
        .management(Method::GET, "", Value::Null, None)
        .await
        .body;
    let put = world.management(Method::PUT, "", shown, None).await;
    let operation = put
        .header("azure-asyncoperation")
        .expect("an operation")
        .to_owned();
    let id = operation
        .split("/operationresults/")
        .nth(1)
        .and_then(|rest| rest.split('?').next());
    let path = format!("/operationresults/{}", id.expect("an ID"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let poll = world
            .management(Method::GET, &path, Value::Null, None)
            .await;
        seen.push(poll.body["status"].as_str().expect("a word").to_owned());
    }
    assert_eq!(seen, ["Running", "Running", "Running", "Succeeded"]);
}
