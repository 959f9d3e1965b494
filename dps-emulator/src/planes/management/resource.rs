//! The provisioning service as an ARM resource: shown, changed, its keys listed.
//!
//! Linking a hub is a PUT of the whole resource with one more in `iotHubs`, adding a policy one with
//! one more in `authorizationPolicies`. Keys come back masked; a masked key that is sent again stands
//! for the one that is known. Changes are made at once, but told as ARM tells them: the answer to a PUT
//! has the tag that was sent and says that the service is in transition, and an operation is polled.
//! The one service cannot be deleted: it answers as a locked resource does.

use http::{Method, StatusCode};
use pki_core::enrollment::{AllocationPolicy, OtherMembers, SymmetricKey, SymmetricKeys};
use pki_core::ids::HubHostName;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::Dps;
use crate::error::ServiceError;
use crate::planes::{Answer, Request};
use crate::policy::{HUB_OWNER, Policy, Right};
use crate::store::IfMatch;
use crate::store::resource::{LinkedHub, Resource};

const LOCATION: &str = "westus";

/// What stands for a key that is not shown.
const MASK: &str = "****";

/// Properties that ARM sets; what a client sends in them is ignored.
const SET_BY_ARM: [&str; 7] = [
    "state",
    "provisioningState",
    "serviceOperationsHostName",
    "deviceProvisioningHostName",
    "portalOperationsHostName",
    "idScope",
    "privateEndpointConnections",
];

pub(super) fn answer(dps: &Dps, request: &Request, rest: &[&str]) -> Result<Answer, ServiceError> {
    match (&request.method, rest) {
        (&Method::GET, []) => Ok(Answer::ok(document(dps, &dps.resource()))),
        (&Method::PUT, []) => put(dps, request),
        (&Method::PATCH, []) => patch(dps, &request.json()?),
        (&Method::DELETE, []) => Err(ServiceError::Locked(dps.settings.resource_id())),
        (&Method::GET, ["skus"]) => Ok(Answer::ok(json!({"value": [{"name": "S1"}]}))),
        (&Method::GET, ["operationresults", id]) => {
            let status =
                poll(dps, id).ok_or_else(|| ServiceError::ResourceNotFound(request.path()))?;
            Ok(Answer::ok(json!({"status": status})))
        }
        (&Method::POST, ["listkeys"]) => {
            let keys: Vec<Value> = dps.resource().policies.iter().map(key).collect();
            Ok(Answer::ok(json!({"value": keys})))
        }
        (&Method::POST, ["keys", name, "listkeys"]) => {
            let resource = dps.resource();
            let policy = resource
                .policies
                .iter()
                .find(|policy| policy.name.eq_ignore_ascii_case(name))
                .ok_or_else(|| ServiceError::PolicyNotFound((*name).to_owned()))?;
            Ok(Answer::ok(key(policy)))
        }
        (&Method::GET, ["privatelinkresources"]) => Ok(Answer::ok(json!({"value": []}))),
        (&Method::GET, ["privateendpointconnections"]) => Ok(Answer::ok(json!([]))),
        (&Method::PUT, ["privateendpointconnections", _]) => Err(ServiceError::ArgumentInvalid(
            "This emulator has no private endpoints.".to_owned(),
        )),
        (
            _,
            []
            | ["skus" | "listkeys" | "privatelinkresources" | "privateendpointconnections"]
            | ["operationresults", _]
            | ["keys", _, "listkeys"],
        ) => Err(ServiceError::MethodNotAllowed(request.method.to_string())),
        _ => Err(ServiceError::ResourceNotFound(request.path())),
    }
}

/// The service as ARM shows it.
pub(super) fn document(dps: &Dps, resource: &Resource) -> Value {
    let settings = &dps.settings;
    let hubs: Vec<Value> = resource.hubs.iter().map(shown_hub).collect();
    let mut properties = resource.other.clone();
    for (name, value) in [
        ("state", json!("Active")),
        ("provisioningState", json!("Succeeded")),
        ("iotHubs", json!(hubs)),
        (
            "allocationPolicy",
            json!(in_pascal_case(&resource.allocation)),
        ),
        (
            "serviceOperationsHostName",
            json!(settings.service_host_name()),
        ),
        (
            "deviceProvisioningHostName",
            json!("global.azure-devices-provisioning.net"),
        ),
        ("idScope", json!(settings.id_scope.as_str())),
    ] {
        properties.insert(name.to_owned(), value);
    }
    json!({
        "id": settings.resource_id(),
        "name": settings.name,
        "type": "Microsoft.Devices/provisioningServices",
        "location": LOCATION,
        "tags": resource.tags,
        "etag": resource.etag.as_str(),
        "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
        "resourcegroup": settings.resource_group,
        "subscriptionid": settings.subscription,
        "properties": properties,
    })
}

fn shown_hub(hub: &LinkedHub) -> Value {
    let name = &hub.host_name;
    let policy = &hub.policy.name;
    let mut shown = Map::new();
    // What nobody sent is not shown.
    if let Some(applies) = hub.applies_allocation_policy {
        shown.insert("applyAllocationPolicy".to_owned(), json!(applies));
    }
    if let Some(weight) = hub.weight {
        shown.insert("allocationWeight".to_owned(), json!(weight));
    }
    let string = format!("HostName={name};SharedAccessKeyName={policy};SharedAccessKey={MASK}");
    shown.insert("name".to_owned(), json!(name.as_str()));
    shown.insert("connectionString".to_owned(), json!(string));
    shown.insert("location".to_owned(), json!(LOCATION));
    Value::Object(shown)
}

fn key(policy: &Policy) -> Value {
    json!({
        "keyName": policy.name,
        "primaryKey": policy.keys.primary_key,
        "secondaryKey": policy.keys.secondary_key,
        "rights": policy.rights_text(),
    })
}

/// ARM writes `Hashed` where the data planes write `hashed`.
fn in_pascal_case(policy: &AllocationPolicy) -> String {
    let word = policy.to_string();
    let (first, rest) = word.split_at_checked(1).unwrap_or_default();
    first.to_ascii_uppercase() + rest
}

/// How a change stands: running for as many polls as the choices say, and over then.
fn poll(dps: &Dps, id: &str) -> Option<&'static str> {
    let mut store = dps.store();
    let left = store.arm_operations.get_mut(id)?;
    if *left == 0 {
        return Some("Succeeded");
    }
    *left -= 1;
    Some("Running")
}

/// Changes tags. The answer has the tag of before.
fn patch(dps: &Dps, body: &Value) -> Result<Answer, ServiceError> {
    let before = dps.resource().etag.clone();
    let resource = dps.put_resource(retagged(dps, body)?)?;
    let mut shown = document(dps, &resource);
    shown["etag"] = json!(before.as_str());
    Ok(Answer::ok(shown))
}

/// The service while it changes, as a PUT is answered: without what is not known yet, and with the
/// policies that were sent.
fn in_transition(dps: &Dps, sent: &Value, resource: &Resource) -> Value {
    let mut shown = document(dps, resource);
    let properties = &mut shown["properties"];
    properties["state"] = json!("Transitioning");
    properties["provisioningState"] = json!("Accepted");
    properties["idScope"] = Value::Null;
    if sent
        .pointer("/properties/authorizationPolicies")
        .is_some_and(Value::is_array)
    {
        let policies: Vec<Value> = resource.policies.iter().map(key).collect();
        properties["authorizationPolicies"] = json!(policies);
    }
    if let Value::Object(properties) = properties {
        properties.shift_remove("serviceOperationsHostName");
        properties.shift_remove("deviceProvisioningHostName");
    }
    if let Value::Object(members) = &mut shown {
        match sent.get("etag").filter(|etag| etag.is_string()) {
            Some(etag) => members.insert("etag".to_owned(), etag.clone()),
            None => members.shift_remove("etag"),
        };
    }
    shown
}

/// Makes a change and answers as for one that takes its time.
fn put(dps: &Dps, request: &Request) -> Result<Answer, ServiceError> {
    let sent = request.json()?;
    let resource = dps.put_resource(replaced(dps, request)?)?;
    let id = dps.random().uuid()?.to_string();
    let host = request.header("host").unwrap_or("localhost");
    let version = request.api_version()?;
    let operation = format!(
        "https://{host}{}/operationresults/{id}?api-version={version}&asyncinfo",
        dps.settings.resource_id()
    );
    let rounds = dps.choices().assigning_rounds;
    dps.store().arm_operations.insert(id, rounds);
    Ok(
        Answer::new(StatusCode::CREATED, in_transition(dps, &sent, &resource))
            .with_header("azure-asyncoperation", operation)
            .with_header("retry-after", dps.settings.retry_after_seconds),
    )
}

/// The body of a PUT, as far as anything acts on it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(default)]
    tags: Option<OtherMembers>,
    #[serde(default)]
    properties: Option<SentProperties>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentProperties {
    #[serde(default)]
    iot_hubs: Option<Vec<SentHub>>,
    #[serde(default)]
    authorization_policies: Option<Vec<SentPolicy>>,
    #[serde(default)]
    allocation_policy: Option<String>,
    #[serde(flatten)]
    other: OtherMembers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentHub {
    connection_string: String,
    #[serde(default)]
    apply_allocation_policy: Option<bool>,
    #[serde(default)]
    allocation_weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentPolicy {
    key_name: String,
    #[serde(default)]
    primary_key: Option<SymmetricKey>,
    #[serde(default)]
    secondary_key: Option<SymmetricKey>,
    rights: String,
}

/// The resource as a PUT wants it. Policies that are left out stay, since ARM does not show them.
fn replaced(dps: &Dps, request: &Request) -> Result<Resource, ServiceError> {
    let present = dps.resource();
    match request.if_match()? {
        IfMatch::Tag(etag) if etag != present.etag => return Err(ServiceError::PreconditionFailed),
        _ => {}
    }
    let sent: Sent = serde_json::from_value(request.json()?)
        .map_err(|error| ServiceError::MalformedBody(error.to_string()))?;
    let mut properties = sent.properties.unwrap_or_default();
    for name in SET_BY_ARM {
        properties.other.shift_remove(name);
    }
    let named = properties.iot_hubs.unwrap_or_default();
    if let Some(more) = named.len().checked_sub(1) {
        dps.check_quota("linked hubs", more, |quotas| quotas.hubs)?;
    }
    let hubs = named
        .iter()
        .map(|hub| linked(dps, &present, hub))
        .collect::<Result<Vec<_>, _>>()?;
    let policies = match properties.authorization_policies {
        None => present.policies.clone(),
        Some(policies) => policies
            .into_iter()
            .map(|policy| accepted(dps, &present, policy))
            .collect::<Result<_, _>>()?,
    };
    Ok(Resource {
        policies,
        hubs,
        allocation: properties
            .allocation_policy
            .map_or(Ok(AllocationPolicy::Hashed), |word| allocation(&word))?,
        tags: sent.tags.unwrap_or_default(),
        etag: dps.store().mint().resource(),
        other: properties.other,
    })
}

fn retagged(dps: &Dps, body: &Value) -> Result<Resource, ServiceError> {
    let tags = match body.get("tags") {
        Some(Value::Object(tags)) => tags.clone(),
        _ => {
            let problem = "Only tags can be patched, and they are missing.".to_owned();
            return Err(ServiceError::ArgumentInvalid(problem));
        }
    };
    Ok(Resource {
        tags,
        etag: dps.store().mint().resource(),
        ..dps.resource().as_ref().clone()
    })
}

fn allocation(word: &str) -> Result<AllocationPolicy, ServiceError> {
    [
        AllocationPolicy::Hashed,
        AllocationPolicy::GeoLatency,
        AllocationPolicy::Static,
    ]
    .into_iter()
    .find(|policy| policy.to_string().eq_ignore_ascii_case(word))
    .ok_or_else(|| {
        ServiceError::ArgumentInvalid(format!("The allocationPolicy {word} is not known."))
    })
}

/// A hub as its connection string says; one that is new here is made, with the key in that string.
fn linked(dps: &Dps, present: &Resource, sent: &SentHub) -> Result<LinkedHub, ServiceError> {
    let refuse = |problem: String| Err(ServiceError::ArgumentInvalid(problem));
    let member = |name: &str| connection_member(&sent.connection_string, name);
    let (Some(host), Some(key)) = (member("HostName"), member("SharedAccessKey")) else {
        return refuse("A connectionString in iotHubs lacks HostName or SharedAccessKey.".into());
    };
    let Ok(host_name) = host.parse::<HubHostName>() else {
        return refuse(format!("{host:?} is no host name of an IoT hub."));
    };
    let policy = match present.hub(&host_name) {
        Some(hub) if key == MASK => hub.policy.clone(),
        None if key == MASK => {
            return refuse(format!(
                "The key of {host_name} is masked, and not known here."
            ));
        }
        Some(hub)
            if hub
                .policy
                .keys
                .primary_key
                .as_ref()
                .is_some_and(|own| own.expose_base64() == key) =>
        {
            hub.policy.clone()
        }
        _ => Policy::new(
            member("SharedAccessKeyName").unwrap_or(HUB_OWNER),
            &[],
            SymmetricKeys {
                primary_key: Some(SymmetricKey::from_base64(key)),
                secondary_key: Some(dps.random().key()?),
                ..SymmetricKeys::default()
            },
        ),
    };
    Ok(LinkedHub {
        applies_allocation_policy: sent.apply_allocation_policy,
        weight: sent.allocation_weight,
        ..LinkedHub::new(host_name, policy)
    })
}

fn connection_member<'s>(connection_string: &'s str, name: &str) -> Option<&'s str> {
    connection_string.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

/// A policy; keys that are left out or masked are those that are known, or new ones.
fn accepted(dps: &Dps, present: &Resource, sent: SentPolicy) -> Result<Policy, ServiceError> {
    if let Some(kept) = present
        .policies
        .iter()
        .find(|policy| policy.name == sent.key_name && policy.rights_text() == sent.rights)
    {
        // Listed with less than it may do: the service's own policy.
        return Ok(Policy::new(
            &kept.name,
            &kept.rights,
            keys_of(sent.primary_key, sent.secondary_key, kept.keys.clone()),
        ));
    }
    let mut rights = Vec::new();
    for word in sent.rights.split(',').map(str::trim) {
        let right = Right::ALL
            .into_iter()
            .find(|right| right.to_string() == word);
        rights.push(right.ok_or_else(|| {
            ServiceError::ArgumentInvalid(format!("The right {word:?} is not known."))
        })?);
    }
    let known = present
        .policies
        .iter()
        .find(|policy| policy.name == sent.key_name);
    let keys = match known {
        Some(policy) => policy.keys.clone(),
        None => dps.random().keys()?,
    };
    Ok(Policy::new(
        &sent.key_name,
        &rights,
        keys_of(sent.primary_key, sent.secondary_key, keys),
    ))
}

/// The keys that were sent, and those that are known in the place of what is left out or masked.
fn keys_of(
    primary: Option<SymmetricKey>,
    secondary: Option<SymmetricKey>,
    known: SymmetricKeys,
) -> SymmetricKeys {
    let is_given = |key: &SymmetricKey| !["", MASK].contains(&key.expose_base64());
    SymmetricKeys {
        primary_key: primary.filter(is_given).or(known.primary_key),
        secondary_key: secondary.filter(is_given).or(known.secondary_key),
        ..SymmetricKeys::default()
    }
}
