//! The documents of DPS and its hubs, for people and scripts: never with a key, and compared by what
//! they mean.

use std::fmt;

use pki_core::enrollment::{Attestation, CertificateSlot, Mechanism, Slots, X509Certificates};
use pki_core::lifecycle::FieldChange;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::table::Table;

/// One document: all of it for scripts, some lines of it for people.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Shown {
    document: Value,
    #[serde(skip)]
    lines: Vec<(&'static str, String)>,
}

/// Documents of one kind: all of them for scripts, a table for people.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Listed {
    documents: Vec<Value>,
    #[serde(skip)]
    table: Table,
}

impl Shown {
    /// A document, and what people see of it: names and values. Empty values are left out.
    pub(crate) fn new(document: &impl Serialize, lines: Vec<(&'static str, String)>) -> Self {
        Self {
            document: without_keys(document),
            lines,
        }
    }
}

impl Listed {
    /// An empty list with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            documents: Vec::new(),
            table: Table::new(heads),
        }
    }

    /// Adds a document and its row.
    pub(crate) fn push(
        &mut self,
        document: &impl Serialize,
        cells: impl IntoIterator<Item = String>,
    ) {
        self.documents.push(without_keys(document));
        self.table.row(cells);
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.iter().filter(|(_, value)| !value.is_empty());
        let lines: Vec<String> = lines
            .map(|(name, value)| format!("{name:<15}  {value}"))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// The document without symmetric keys, wherever they stand in it.
pub(crate) fn without_keys(document: &impl Serialize) -> Value {
    // The documents are structures with text as keys, which JSON can always hold.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    remove_keys(&mut document);
    document
}

fn remove_keys(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("symmetricKey");
            members.values_mut().for_each(remove_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_keys),
        _ => {}
    }
}

/// What differs between two documents of a record, member by member, without what the service itself
/// keeps there. Certificates are compared by thumbprint: a service that was given one may tell of it in
/// other words.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let (before, after) = (members(before), members(after));
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
        if let Some(certificates) = read.as_ref().and_then(certificates_of) {
            *attestation = certificates;
        }
    }
    members
}

/// An X.509 attestation with thumbprints in the place of certificates.
fn certificates_of(attestation: &Attestation) -> Option<Value> {
    let Mechanism::X509(certificates) = &attestation.mechanism else {
        return None;
    };
    Some(match certificates {
        X509Certificates::Client(slots) => json!({ "clientCertificates": thumbprints(slots) }),
        X509Certificates::Signing(slots) => json!({ "signingCertificates": thumbprints(slots) }),
        X509Certificates::CaReferences(slots) => json!({ "caReferences": slots }),
        _ => return None,
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

/// An attestation in a few words: `x509 5E88…`, `caReferences root`, `symmetricKey`.
pub(crate) fn attestation(attestation: &Attestation) -> String {
    let slots = match &attestation.mechanism {
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            slots.iter().map(ToString::to_string).collect()
        }
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            slots.iter().map(slot).collect::<Vec<_>>()
        }
        _ => return attestation.kind().to_owned(),
    };
    format!("{} {}", attestation.kind(), slots.join(", "))
}

fn slot(slot: &CertificateSlot) -> String {
    match slot.sha256_thumbprint() {
        Some(thumbprint) => thumbprint.to_string(),
        None => "unreadable certificate".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_no_document() {
        let hub =
            json!({"authentication": {"type": "sas", "symmetricKey": {"primaryKey": "c2VjcmV0"}}});
        let enrollment = json!({"attestation": {"type": "symmetricKey", "symmetricKey": {"secondaryKey": "c2VjcmV0"}}});
        for document in [hub, enrollment] {
            assert!(!without_keys(&document).to_string().contains("c2VjcmV0"));
        }
    }

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
}
