//! Documents of one record compared by what they mean.

use std::fmt;

use serde_json::{Map, Value, json};

use super::FieldChange;
use crate::enrollment::{Attestation, CertificateSlot, Mechanism, Slots, X509Certificates};

impl fmt::Display for FieldChange {
    /// `iotHubs: null -> ["hub-1.azure-devices.net"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.field, self.from, self.to)
    }
}

/// What differs between two documents of a record, member by member, without what the service itself
/// keeps there. Certificates are compared by thumbprint: a service that was given one may tell of it in
/// other words.
pub fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let before = members(before);
    let after = members(after);
    let added = after.keys().filter(|name| !before.contains_key(*name));
    let value = |members: &Map<String, Value>, name: &String| {
        members.get(name).cloned().unwrap_or(Value::Null)
    };
    before
        .keys()
        .chain(added)
        .map(|name| FieldChange {
            field: name.clone(),
            from: value(&before, name),
            to: value(&after, name),
        })
        .filter(|change| change.from != change.to)
        .collect()
}

/// What the service keeps in its records by itself.
const KEPT_BY_SERVICE: [&str; 9] = [
    "etag",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "registrationState",
    "connectionState",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
];

fn members(document: &Value) -> Map<String, Value> {
    let mut members = document.as_object().cloned().unwrap_or_default();
    members.retain(|name, value| !value.is_null() && !KEPT_BY_SERVICE.contains(&name.as_str()));
    if let Some(attestation) = members.get_mut("attestation") {
        let read = serde_json::from_value::<Attestation>(attestation.clone()).ok();
        if let Some(meaning) = read.as_ref().and_then(meaning) {
            *attestation = meaning;
        }
    }
    members
}

/// An attestation with thumbprints in the place of certificates, without the copy of a single one that
/// the service shows in the other slot, and without keys, which it does not show.
fn meaning(attestation: &Attestation) -> Option<Value> {
    let attestation = attestation.without_copies();
    let certificates = match &attestation.mechanism {
        Mechanism::X509(certificates) => certificates,
        Mechanism::SymmetricKey(_) => return Some(json!({ "type": attestation.kind() })),
        _ => return None,
    };
    Some(match certificates {
        X509Certificates::Client(slots) => json!({ "clientCertificates": thumbprints(slots) }),
        X509Certificates::Signing(slots) => json!({ "signingCertificates": thumbprints(slots) }),
        X509Certificates::CaReferences(slots) => json!({ "caReferences": slots }),
    })
}

fn thumbprints(slots: &Slots<CertificateSlot>) -> Value {
    let slots = [("primary", &slots.primary), ("secondary", &slots.secondary)];
    let held = slots.into_iter().filter_map(|(name, slot)| {
        let text = slot.as_ref()?.sha256_thumbprint()?.to_string();
        Some((name.to_owned(), Value::from(text)))
    });
    Value::Object(held.collect())
}

/// Whether a record has what is wanted of it: the wanted document, and nothing left in the fields that
/// were to be emptied. What it has beyond that, the service added.
pub(crate) fn fulfils(held: &Value, wanted: &Value, changes: &[FieldChange]) -> bool {
    let held = members(held);
    let wanted = members(wanted);
    let emptied = |change: &&FieldChange| change.to.is_null() && !change.from.is_null();
    let emptied = changes.iter().filter(emptied);
    let is_left = |change: &FieldChange| held.get(&change.field) == Some(&change.from);
    wanted.iter().all(|(name, wanted)| match held.get(name) {
        // A slot that is still there matters.
        Some(held) if name == "attestation" => held == wanted,
        Some(held) => contains(held, wanted),
        None => false,
    }) && !emptied.into_iter().any(is_left)
}

/// Whether a value has every member of another; services add members to free JSON.
fn contains(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => wanted.iter().all(|(name, wanted)| {
            let held = held.get(name);
            wanted.is_null() || held.is_some_and(|held| contains(held, wanted))
        }),
        (held, wanted) => held == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_keeps_is_no_difference_and_null_is_absent() {
        let before = json!({"a": 1, "b": null, "etag": "1", "gone": true});
        let after = json!({"a": 2, "etag": "2", "new": [1]});
        let changed: Vec<(String, Value, Value)> = differences(&before, &after)
            .into_iter()
            .map(|change| (change.field, change.from, change.to))
            .collect();
        assert_eq!(
            changed,
            [
                ("a".to_owned(), json!(1), json!(2)),
                ("gone".to_owned(), json!(true), Value::Null),
                ("new".to_owned(), Value::Null, json!([1])),
            ]
        );
    }

    #[test]
    fn one_certificate_in_two_wordings_is_no_difference() {
        let told = json!({"attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"info": {
            "subjectName": "CN=a", "issuerName": "CN=a", "serialNumber": "01", "version": 3,
            "sha1Thumbprint": "0".repeat(40), "sha256Thumbprint": "0".repeat(64),
            "notBeforeUtc": "2026-01-01T00:00:00Z", "notAfterUtc": "2027-01-01T00:00:00Z",
        }}}}}});
        let mut other = told.clone();
        other["attestation"]["x509"]["signingCertificates"]["primary"]["info"]["subjectName"] =
            json!("CN=\"a\"");
        assert_eq!(differences(&told, &other), []);
        other["attestation"]["x509"]["signingCertificates"]["primary"]["info"]["sha256Thumbprint"] =
            json!("1".repeat(64));
        assert_eq!(differences(&told, &other).len(), 1);
    }

    /// Recorded: a single certificate is answered in both slots.
    #[test]
    fn a_copy_in_the_other_slot_is_no_difference() {
        let slots =
            |held: Value| json!({"attestation": {"type": "x509", "x509": {"caReferences": held}}});
        let one = slots(json!({"primary": "a"}));
        let shown = slots(json!({"primary": "a", "secondary": "a"}));
        assert_eq!(differences(&shown, &one), []);
        assert!(fulfils(&shown, &one, &[]));
        assert!(fulfils(&one, &shown, &[]));
    }

    #[test]
    fn a_record_fulfils_a_wish_with_what_the_service_added() {
        let wanted =
            json!({"provisioningStatus": "disabled", "initialTwin": {"tags": {"site": "a"}}});
        let mut held = wanted.clone();
        held["allocationPolicy"] = json!("hashed");
        held["initialTwin"]["tags"]["version"] = json!(1);
        held["etag"] = json!("7");
        assert!(fulfils(&held, &wanted, &[]));
        held["provisioningStatus"] = json!("enabled");
        assert!(!fulfils(&held, &wanted, &[]));
    }

    #[test]
    fn a_field_that_was_to_be_emptied_must_not_be_left() {
        let change = FieldChange {
            field: "iotHubs".to_owned(),
            from: json!(["a"]),
            to: Value::Null,
        };
        assert!(!fulfils(
            &json!({"iotHubs": ["a"]}),
            &json!({}),
            std::slice::from_ref(&change)
        ));
        assert!(fulfils(&json!({}), &json!({}), &[change]));
    }

    #[test]
    fn a_slot_that_was_to_be_emptied_must_not_be_left() {
        let slots = |slots: Value| json!({"attestation": {"type": "x509", "x509": {"caReferences": slots}}});
        let both = slots(json!({"primary": "a", "secondary": "b"}));
        let one = slots(json!({"primary": "a"}));
        assert!(!fulfils(&both, &one, &[]));
        assert!(fulfils(&one, &one, &[]));
    }
}
