//! Lists that the services write as `null` where they are empty.

use serde::{Deserialize, Deserializer};

/// Reads a list, or `null` as an empty one.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
