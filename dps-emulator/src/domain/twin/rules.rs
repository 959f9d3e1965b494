//! What a hub takes into a twin, and what it refuses with 400.
//!
//! The limits are those of the twin documentation. The sentence about null is the service's own
//! (azure-iot-sdk-csharp#1741); the other sentences are not recorded.

use serde_json::{Map, Value};

use crate::error::ServiceError;

/// Objects and arrays inside of each other.
const DEEPEST: usize = 10;

/// Octets of a name in UTF-8.
const NAME_LONGEST: usize = 1024;

/// Octets of a text in UTF-8.
const TEXT_LONGEST: usize = 4 * 1024;

/// The largest integer, and without its sign the smallest.
const INTEGER_MOST: u64 = (1 << 52) - 1;

/// The members that hubs put into a part; a client that sends back what it read sends them too.
pub(super) const OF_THE_HUB: [&str; 2] = ["$metadata", "$version"];

/// Checks what is to be written to a part of a twin.
pub(super) fn check(part: &Map<String, Value>) -> Result<(), ServiceError> {
    let own = part
        .iter()
        .filter(|(name, _)| !OF_THE_HUB.contains(&name.as_str()));
    for (name, value) in own {
        check_name(name)?;
        check_value(name, value, Place::default())?;
    }
    Ok(())
}

/// Where a value is.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    depth: usize,
    is_in_array: bool,
}

impl Place {
    fn below(self, is_array: bool) -> Self {
        Self {
            depth: self.depth + 1,
            is_in_array: self.is_in_array || is_array,
        }
    }
}

fn check_value(name: &str, value: &Value, place: Place) -> Result<(), ServiceError> {
    let refuse = |problem: &str| Err(refusal(problem, name));
    match value {
        Value::Null if place.is_in_array => {
            refuse("Value of Property or Tag cannot be null. Error inProperty/Tag")
        }
        Value::String(text) if text.len() > TEXT_LONGEST => {
            refuse("A text is longer than 4096 bytes. Error in Property/Tag")
        }
        Value::Number(number) if is_too_large(number) => refuse(
            "An integer is beyond -4503599627370495 to 4503599627370495. Error in Property/Tag",
        ),
        Value::Object(_) | Value::Array(_) if place.depth >= DEEPEST => {
            refuse("There are more than 10 levels. Error in Property/Tag")
        }
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            check_name(name)?;
            check_value(name, value, place.below(false))
        }),
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_value(name, item, place.below(true))),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    if name.len() > NAME_LONGEST {
        let start: String = name.chars().take(32).collect();
        let problem = "A name is longer than 1024 bytes. Error in Property/Tag";
        return Err(refusal(problem, &format!("{start}…")));
    }
    let is_refused = |character: char| {
        matches!(character, '.' | '$') || character.is_whitespace() || character.is_control()
    };
    if name.is_empty() || name.contains(is_refused) {
        let problem = "A name is empty or holds a dot, a dollar sign, a blank or a control character. \
                       Error in Property/Tag";
        return Err(refusal(problem, name));
    }
    Ok(())
}

fn is_too_large(number: &serde_json::Number) -> bool {
    let size = match number.as_i64() {
        Some(number) => Some(number.unsigned_abs()),
        None => number.as_u64(),
    };
    size.is_some_and(|size| size > INTEGER_MOST)
}

fn refusal(problem: &str, name: &str) -> ServiceError {
    ServiceError::ArgumentInvalid(format!("{problem} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({"a": inner}))
    }

    fn is_taken(part: Value) -> bool {
        check(part.as_object().expect("an object")).is_ok()
    }

    /// Each pair differs in one thing, at the limit.
    #[test]
    fn what_a_hub_refuses_is_refused_and_what_it_takes_is_taken() {
        for (taken, refused) in [
            (json!({"a": null}), json!({"a": [null]})),
            (json!({"a": {"b": null}}), json!({"a": [{"b": null}]})),
            (json!({"a": nested(10)}), json!({"a": nested(11)})),
            (json!({"a-b": 1}), json!({"a.b": 1})),
            (json!({"ab": 1}), json!({"a$b": 1})),
            (json!({"a_b": 1}), json!({"a b": 1})),
            (json!({"a": {"b": 1}}), json!({"a": {"$b": 1}})),
            (json!({"$version": 1}), json!({"$other": 1})),
            (json!({"x".repeat(1024): 1}), json!({"x".repeat(1025): 1})),
            (json!({"é".repeat(512): 1}), json!({"é".repeat(513): 1})),
            (
                json!({"a": "x".repeat(4096)}),
                json!({"a": "x".repeat(4097)}),
            ),
            (
                json!({"a": 4_503_599_627_370_495_u64}),
                json!({"a": 4_503_599_627_370_496_u64}),
            ),
            (
                json!({"a": -4_503_599_627_370_495_i64}),
                json!({"a": [-4_503_599_627_370_496_i64]}),
            ),
            (json!({"a": 1.5e300}), json!({"a": u64::MAX})),
        ] {
            assert!(is_taken(taken.clone()), "{taken}");
            assert!(!is_taken(refused.clone()), "{refused}");
        }
    }

    /// Word for word as recorded.
    #[test]
    fn a_null_inside_of_an_array_is_named_by_its_property() {
        let part = json!({"a": [{"b": null}]});
        let refused = check(part.as_object().expect("an object")).expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "Value of Property or Tag cannot be null. Error inProperty/Tag b"
        );
    }
}
