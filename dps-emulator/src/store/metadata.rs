//! What a hub tells of each part of a twin: when it was last written, and in which version.
//!
//! `$metadata` mirrors the properties: one entry a member, nested as they are, and the same two words at
//! its root. A part that never held anything has a moment and no version.

use pki_core::time::Time;
use serde_json::{Map, Value, json};

/// The moment in the metadata of properties that a twin was made with.
pub(crate) const WITH_THE_TWIN: &str = "0001-01-01T00:00:00Z";

const AT: &str = "$lastUpdated";
const VERSION: &str = "$lastUpdatedVersion";

/// When a part is written, and which version that makes.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) at: String,
    pub(crate) version: u64,
}

impl Mark {
    pub(crate) fn new(at: Time, version: u64) -> Self {
        Self {
            at: at.to_string(),
            version,
        }
    }

    /// Marks what a patch writes, member by member, and forgets what it removes.
    pub(crate) fn put_on(&self, metadata: &mut Value, patch: &Map<String, Value>) {
        if !metadata.is_object() {
            *metadata = json!({});
        }
        let Value::Object(entries) = metadata else {
            return;
        };
        entries.insert(AT.to_owned(), json!(self.at));
        entries.insert(VERSION.to_owned(), json!(self.version));
        for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
            let nothing = Map::new();
            match value {
                Value::Null => {
                    entries.shift_remove(name);
                }
                Value::Object(patch) => {
                    self.put_on(entries.entry(name.as_str()).or_insert(Value::Null), patch);
                }
                _ => {
                    entries.shift_remove(name);
                    self.put_on(
                        entries.entry(name.as_str()).or_insert(Value::Null),
                        &nothing,
                    );
                }
            }
        }
    }
}

/// The metadata of a part of a twin that was made at this moment.
pub(crate) fn shown(metadata: &Value, made: &str) -> Value {
    match metadata {
        Value::Object(entries) if !entries.is_empty() => metadata.clone(),
        _ => json!({ AT: made }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(metadata: &mut Value, version: u64, patch: Value) {
        let at = Time::from_unix_seconds(1_600_858_711).expect("time");
        let patch = patch.as_object().expect("an object").clone();
        Mark::new(at, version).put_on(metadata, &patch);
    }

    #[test]
    fn each_member_tells_when_it_was_written() {
        let mut metadata = Value::Null;
        assert_eq!(shown(&metadata, "then"), json!({"$lastUpdated": "then"}));
        mark(&mut metadata, 1, json!({"a": {"b": 1}, "c": 2}));
        mark(
            &mut metadata,
            2,
            json!({"a": {"d": 1}, "c": null, "$version": 9}),
        );
        let version = |pointer: &str| {
            let pointer = format!("{pointer}/$lastUpdatedVersion");
            metadata.pointer(&pointer).and_then(Value::as_u64)
        };
        assert_eq!([version(""), version("/a")], [Some(2), Some(2)]);
        assert_eq!([version("/a/b"), version("/a/d")], [Some(1), Some(2)]);
        assert_eq!(metadata.get("c"), None);
    }
}
