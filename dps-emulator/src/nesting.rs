//! How deep JSON from outside may be nested.
//!
//! What was accepted is kept and shown inside of other documents, some levels deeper, and has to be read
//! again: readers stop at 128 levels. A state with one record beyond that could never be opened again.

use serde_json::Value;

/// Azure's own limit is not known; nothing that it documents comes near.
pub(crate) const DEEPEST: usize = 64;

/// Whether a value is nested more than [`DEEPEST`] levels.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    depth(value) > DEEPEST
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Value {
        let text = format!(
            "{}{}",
            r#"[{"a":"#.repeat(levels / 2),
            "}]".repeat(levels / 2)
        );
        serde_json::from_str(&text.replace(":}", ":1}")).expect("JSON")
    }

    #[test]
    fn arrays_and_objects_count() {
        assert!(!is_too_deep(&nested(DEEPEST)));
        assert!(is_too_deep(&nested(DEEPEST + 2)));
        assert!(!is_too_deep(&Value::from("[[[")));
    }
}
