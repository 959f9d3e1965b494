//! Documents of DPS and its hubs as JSON, never with a key.

use pki_core::lifecycle::Found;
use serde::Serialize;
use serde_json::Value;

/// The document without symmetric keys, wherever they stand in it.
pub fn without_keys(document: &impl Serialize) -> Value {
    // The documents are structures with text as keys, which JSON can always hold.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    remove_keys(&mut document);
    document
}

/// What was read back of a step's record, without keys.
pub fn document(found: &Found) -> Option<Value> {
    match found {
        Found::Ca(held) => held.as_ref().map(without_keys),
        Found::Group(held) => held.as_ref().map(without_keys),
        Found::Individual(held) => held.as_ref().map(without_keys),
        Found::Registration(held) => held.as_ref().map(without_keys),
        Found::HubDevice(held) => held.as_ref().map(without_keys),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
}
