//! The order of calls of az's own recorded tests, replayed: verbs, paths, tags and statuses are in
//! `fixtures/recorded/az-calls.txt`; what az puts into a body follows from what it was answered before.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Authority, Reply, World, send};

const CALLS: &str = include_str!("../../../fixtures/recorded/az-calls.txt");

/// One call of a lifecycle.
struct Call {
    method: Method,
    path: &'static str,
    has_tag: bool,
    body: &'static str,
    status: u16,
    member: &'static str,
}

impl Call {
    fn read(line: &'static str) -> Self {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [method, path, tag, body, status, member] = cells.as_slice() else {
            panic!("six cells are wanted: {line}");
        };
        let status = status
            .split(' ')
            .next()
            .and_then(|status| status.parse().ok());
        Self {
            method: method.parse().expect("a verb"),
            path,
            has_tag: *tag == "tag",
            body,
            status: status.expect("a status"),
            member,
        }
    }
}

/// The calls of a lifecycle.
fn calls(lifecycle: &str) -> Vec<Call> {
    let lines = CALLS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut title = "";
    let mut found = Vec::new();
    for line in lines {
        match line.strip_prefix("= ") {
            Some(new) => title = new,
            None if title.starts_with(lifecycle) => found.push(Call::read(line)),
            None => {}
        }
    }
    assert!(found.len() > 10, "{lifecycle}");
    found
}

/// az, with what it remembers of the answers.
struct Az {
    world: World,
    authority: Authority,
    tags: BTreeMap<String, String>,
    code: String,
    operation: String,
    instance: Value,
    keys: Value,
}

impl Az {
    async fn start() -> Self {
        Self {
            world: World::start().await,
            authority: Authority::root("TESTCERT"),
            tags: BTreeMap::new(),
            code: String::new(),
            operation: String::new(),
            instance: Value::Null,
            keys: Value::Null,
        }
    }

    fn body(&self, kind: &str) -> Value {
        let upload = |text: &str| json!({"certificate": text});
        let properties = &self.instance["properties"];
        let mut changed = json!({
            "location": "westus", "tags": {}, "etag": self.instance["etag"],
            "properties": {
                "state": "Active", "provisioningState": "Succeeded",
                "iotHubs": properties["iotHubs"], "allocationPolicy": "Hashed",
            },
            "sku": {"name": "S1", "capacity": 1},
        });
        let hubs = "/properties/iotHubs";
        match kind {
            "" => return Value::Null,
            "name" => return json!({"name": "dps000002"}),
            "new instance" => {
                return json!({"location": "westus", "properties": {}, "sku": {"name": "S1", "capacity": 1}});
            }
            "ca" => return upload(&self.authority.pem),
            "ca, verified" => {
                let mut body = upload(&self.authority.pem);
                body["isVerified"] = json!(true);
                return body;
            }
            "proof" => return upload(&self.authority.leaf(&self.code, &[]).pem),
            "one more hub" => {
                let string = "HostName=iot000003.azure-devices.net;SharedAccessKeyName=iothubowner;\
                              SharedAccessKey=c2VjcmV0IG9mIGEgaHViIHRoYXQgaXMgbGlua2Vk";
                let more = json!({"connectionString": string, "location": "westus"});
                changed
                    .pointer_mut(hubs)
                    .and_then(Value::as_array_mut)
                    .expect("hubs")
                    .push(more);
            }
            "weights" => {
                for hub in changed
                    .pointer_mut(hubs)
                    .and_then(Value::as_array_mut)
                    .expect("hubs")
                {
                    hub["applyAllocationPolicy"] = json!(true);
                    hub["allocationWeight"] = json!(10);
                }
            }
            "no hubs" => *changed.pointer_mut(hubs).expect("hubs") = json!([]),
            "one more policy" => {
                let mut policies = self.keys["value"].clone();
                let more = json!({"keyName": "reader", "rights": "EnrollmentRead"});
                policies.as_array_mut().expect("policies").push(more);
                changed["properties"]["authorizationPolicies"] = policies;
            }
            "other rights" => {
                let mut policies = self.keys["value"].clone();
                policies[1]["rights"] = json!("EnrollmentWrite");
                changed["properties"]["authorizationPolicies"] = policies;
            }
            kind => panic!("no such body: {kind}"),
        }
        changed
    }

    fn path(&self, path: &str) -> String {
        let resource = self.world.emulator.resource_id();
        if path == "operation" {
            return self.operation.clone();
        }
        if let Some(rest) = path.strip_prefix('~') {
            let subscription = self.world.emulator.subscription();
            return format!("/subscriptions/{subscription}/providers/Microsoft.Devices{rest}");
        }
        format!("{resource}{path}")
    }

    /// The name of the certificate in a path.
    fn certificate(path: &str) -> Option<&str> {
        path.strip_prefix("/certificates/")?.split('/').next()
    }

    async fn make(&mut self, call: &Call) -> Reply {
        let body = self.body(call.body);
        let path = self.path(call.path);
        let request = self
            .world
            .request(call.method.clone(), &path, "2021-10-15", &body);
        let request = request.header("Authorization", "Bearer of az");
        let name = Self::certificate(call.path);
        let request = match name.filter(|_| call.has_tag) {
            Some(name) => request.header("If-Match", &self.tags[name]),
            None => request,
        };
        let reply = send(request).await;
        self.remember(call, name, &reply);
        reply
    }

    fn remember(&mut self, call: &Call, name: Option<&str>, reply: &Reply) {
        if let (Some(name), Some(tag)) = (name, reply.body["etag"].as_str()) {
            self.tags.insert(name.to_owned(), tag.to_owned());
        }
        if let Some(code) = reply.body["properties"]["verificationCode"].as_str() {
            code.clone_into(&mut self.code);
        }
        if let Some(operation) = reply.header("azure-asyncoperation") {
            let (_, path) = operation.split_once("/subscriptions").expect("a path");
            let path = path.split('?').next().unwrap_or(path);
            self.operation = format!("/subscriptions{path}");
        }
        if call.method == Method::GET && call.path.is_empty() {
            self.instance = reply.body.clone();
        }
        if call.path == "/listkeys" {
            self.keys = reply.body.clone();
        }
    }
}

async fn replay(lifecycle: &str) -> Az {
    let mut az = Az::start().await;
    for (number, call) in calls(lifecycle).iter().enumerate() {
        let reply = az.make(call).await;
        let what = format!("{lifecycle}, call {number}: {} {}", call.method, call.path);
        assert_eq!(reply.status, call.status, "{what}: {reply:?}");
        let pointer = format!("/{}", call.member.replace('.', "/"));
        let is_told = call.member.is_empty() || reply.body.pointer(&pointer).is_some();
        assert!(is_told, "{what}: no {}: {reply:?}", call.member);
    }
    az
}

#[tokio::test]
async fn a_certificate_goes_az_s_way() {
    let az = replay("certificate lifecycle").await;
    let left = az
        .world
        .management(Method::GET, "/certificates", Value::Null, None)
        .await;
    assert_eq!(left.body, json!({"value": []}));
}

#[tokio::test]
async fn a_hub_is_linked_and_unlinked_az_s_way() {
    let az = replay("linked hub lifecycle").await;
    assert_eq!(az.instance["properties"]["iotHubs"], json!([]));
    assert!(az.world.emulator.hubs().is_empty());
}

#[tokio::test]
async fn a_policy_is_made_and_changed_az_s_way() {
    let mut az = replay("policy lifecycle").await;
    let last = Call::read("POST | /keys/reader/listkeys | | | 200 | rights");
    let shown = az.make(&last).await.body;
    assert_eq!(shown["rights"], "EnrollmentWrite");
    assert_eq!(
        shown["primaryKey"], az.keys["value"][1]["primaryKey"],
        "the key stays"
    );
}
