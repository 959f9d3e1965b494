//! Documents of the services that are written back as they were read.
//!
//! Members that a type does not know are in its `other`, by `#[serde(flatten)]`. So are members that it
//! knows and that were null: the live services tell null from absent (a `provisioningStatus` that was
//! sent as null stays null in every answer), and a record that goes back must not differ in what nobody
//! meant to change. A typed value always wins over the null that was read.
//! Internal to the crate; a type takes part by `#[serde(remote = "Self")]` and [`keeps_nulls`].

use serde::ser::{Error as _, SerializeMap as _};
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use serde_json::Value;

/// Members of a document, by name.
pub(crate) type Members = serde_json::Map<String, Value>;

/// A member that is written always, and the value that null stands for.
pub(crate) type Default = (&'static str, Value);

/// Reads the members of a document: those that have a value, and those that are null.
pub(crate) fn parted<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(Value, Members), D::Error> {
    let members = Members::deserialize(deserializer)?;
    let (nulls, told) = members.into_iter().partition(|(_, value)| value.is_null());
    Ok((Value::Object(told), nulls))
}

/// Whether a null is among the members.
pub(crate) fn has_null(other: &Members) -> bool {
    other.values().any(Value::is_null)
}

/// Whether two documents have the same members beside those that they know; null is absent.
pub(crate) fn same(one: &Members, two: &Members) -> bool {
    let told = |members: &Members| members.values().filter(|value| !value.is_null()).count();
    let has = |(name, value): (&String, &Value)| value.is_null() || two.get(name) == Some(value);
    told(one) == told(two) && one.iter().all(has)
}

/// Writes the members that are not null: the `serialize_with` of `other`.
pub(crate) fn told<S: Serializer>(other: &Members, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, value) in other.iter().filter(|(_, value)| !value.is_null()) {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// Writes a document and the nulls among its other members, unless a value stands there now.
pub(crate) fn with_nulls<S: Serializer>(
    written: Result<Value, serde_json::Error>,
    other: &Members,
    defaults: &[Default],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut written = written.map_err(S::Error::custom)?;
    let members = written
        .as_object_mut()
        .ok_or_else(|| S::Error::custom("a document is an object"))?;
    for (name, _) in other.iter().filter(|(_, value)| value.is_null()) {
        let is_default = |(member, value): &Default| {
            *member == name.as_str() && members.get(name) == Some(value)
        };
        if defaults.iter().any(is_default) {
            members.insert(name.clone(), Value::Null);
        }
        members.entry(name.as_str()).or_insert(Value::Null);
    }
    written.serialize(serializer)
}

/// Implements serde for a document through what `remote = "Self"` derives. The members after its name are
/// written always; each comes with the value that null stands for.
macro_rules! keeps_nulls {
    ($name:ident $(< $parameter:ident >)? $(, $member:literal = $value:literal)*) => {
        impl<'de $(, $parameter)?> serde::Deserialize<'de> for $name $(< $parameter >)?
        where
            $($parameter: serde::de::DeserializeOwned,)?
        {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (told, nulls) = $crate::document::parted(deserializer)?;
                let mut document = Self::deserialize(told).map_err(serde::de::Error::custom)?;
                document.other.extend(nulls);
                Ok(document)
            }
        }

        impl $(< $parameter >)? serde::Serialize for $name $(< $parameter >)?
        where
            $($parameter: serde::Serialize,)?
        {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !$crate::document::has_null(&self.other) {
                    return Self::serialize(self, serializer);
                }
                let written = Self::serialize(self, serde_json::value::Serializer);
                let defaults = [$(($member, serde_json::Value::from($value))),*];
                $crate::document::with_nulls(written, &self.other, &defaults, serializer)
            }
        }
    };
}

pub(crate) use keeps_nulls;

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(remote = "Self")]
    struct Document {
        #[serde(default)]
        open: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(flatten, serialize_with = "told")]
        other: Members,
    }

    keeps_nulls!(Document, "open" = false);

    fn read(document: Value) -> Document {
        serde_json::from_value(document).expect("a document")
    }

    #[test]
    fn a_document_goes_back_as_it_came() {
        for document in [
            json!({"open": null, "name": null, "new": null}),
            json!({"open": true, "name": "a", "new": {"deep": null}}),
            json!({"open": false, "new": 1}),
        ] {
            let read: Document = serde_json::from_value(document.clone()).expect("a document");
            assert_eq!(serde_json::to_value(&read).expect("written"), document);
        }
    }

    #[test]
    fn a_value_takes_the_place_of_the_null_that_was_read() {
        let mut document = read(json!({"open": null, "name": null}));
        document.open = true;
        document.name = Some("a".to_owned());
        let written = serde_json::to_value(&document).expect("written");
        assert_eq!(written, json!({"open": true, "name": "a"}));
    }

    #[test]
    fn null_and_absent_are_the_same_to_a_comparison() {
        let members = |document| read(document).other;
        assert!(same(
            &members(json!({"a": 1, "b": null})),
            &members(json!({"a": 1}))
        ));
        assert!(!same(&members(json!({"a": 1})), &members(json!({}))));
        assert!(!same(
            &members(json!({"a": null})),
            &members(json!({"a": 1}))
        ));
    }
}
