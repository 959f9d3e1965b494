//! Twins: what a hub and a device agree on, changed by merging (RFC 7396).
//!
//! Desired and reported properties have a version each, which grows with every change and is shown
//! as `$version`.

mod rules;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki_core::ids::{DeviceId, Etag, HubHostName};
use pki_core::time::Time;
use serde_json::{Map, Value, json};

use super::Dps;
use super::connection::Event;
use crate::error::ServiceError;
use crate::store::IfMatch;
use crate::store::hub::Twin;
use crate::store::metadata::{self, Mark};

/// How large desired and reported properties may be each as JSON, in octets, as in IoT Hub.
const PART_LARGEST: usize = 32 * 1024;

/// How large tags may be.
const TAGS_LARGEST: usize = 8 * 1024;

impl Dps {
    /// A twin as its device sees it.
    pub(crate) fn twin_of(&self, hub: &HubHostName, id: &DeviceId) -> Result<Value, ServiceError> {
        let record = self.device(hub, id)?;
        let twin = &record.value.twin;
        Ok(json!({"desired": twin.shown_desired(), "reported": twin.shown_reported()}))
    }

    /// Writes tags and desired properties as the hub's service API does.
    pub(crate) fn write_twin(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        document: &Value,
        if_match: IfMatch,
        write: TwinWrite,
    ) -> Result<(), ServiceError> {
        let part = |pointer| match document.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(part)) => Ok(Some(part)),
            Some(_) => Err(ServiceError::MalformedBody(format!(
                "{pointer} is no object"
            ))),
        };
        let tags = part("/tags")?;
        let desired = part("/properties/desired")?;
        for part in [tags, desired].into_iter().flatten() {
            rules::check(part)?;
        }
        let version = self.change(|store| {
            let registry = store.registry(hub);
            let present = registry.get(id).map(|record| record.value.twin.clone());
            let missing = || ServiceError::DeviceNotFound(id.to_string());
            let mut twin = present.ok_or_else(missing)?;
            match if_match {
                IfMatch::Tag(etag) if etag != twin.etag() => {
                    return Err(ServiceError::TwinVersion(id.to_string()));
                }
                _ => {}
            }
            twin.write(tags, desired, write, self.now())?;
            let version = twin.desired_version;
            registry.device_mut(id).ok_or_else(missing)?.twin = twin;
            Ok(version)
        })?;
        if let Some(desired) = desired {
            let mut patch = desired.clone();
            patch.retain(|name, _| !rules::OF_THE_HUB.contains(&name.as_str()));
            let patch = with_version(&Value::Object(patch), version);
            self.connections.tell(hub, id, Event::Desired(patch));
        }
        Ok(())
    }

    /// Gives a new device the twin that a document describes.
    pub(crate) fn begin_twin(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        document: &Value,
    ) -> Result<(), ServiceError> {
        for pointer in ["/tags", "/properties/desired"] {
            if let Some(Value::Object(part)) = document.pointer(pointer) {
                rules::check(part)?;
            }
        }
        self.change(|store| {
            let device = store
                .registry(hub)
                .device_mut(id)
                .ok_or_else(|| ServiceError::DeviceNotFound(id.to_string()))?;
            device.twin = Twin::initial(Some(document));
            Ok(())
        })
    }

    /// Merges what a device reports into its twin, and gives the new version.
    pub(crate) fn report(
        &self,
        hub: &HubHostName,
        id: &DeviceId,
        patch: &Value,
    ) -> Result<u64, ServiceError> {
        let Value::Object(patch) = patch else {
            return Err(ServiceError::MalformedBody(
                "an object is expected".to_owned(),
            ));
        };
        rules::check(patch)?;
        self.change(|store| {
            let device = store
                .registry(hub)
                .device_mut(id)
                .ok_or_else(|| ServiceError::DeviceNotFound(id.to_string()))?;
            device.twin.report(patch, self.now())
        })
    }
}

/// What becomes of the members that a document leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TwinWrite {
    /// They stay.
    Merge,
    /// They go.
    Replace,
}

impl Twin {
    /// Changes with what the service writes.
    pub(crate) fn etag(&self) -> Etag {
        Etag::new(STANDARD.encode(self.version.to_be_bytes()))
    }

    /// The version as it is shown: a twin is made in two steps, so that the first one is 2.
    pub(crate) fn shown_version(&self) -> u64 {
        self.version + 1
    }

    fn write(
        &mut self,
        tags: Option<&Map<String, Value>>,
        desired: Option<&Map<String, Value>>,
        write: TwinWrite,
        at: Time,
    ) -> Result<(), ServiceError> {
        if write == TwinWrite::Replace {
            (self.tags, self.desired) = (json!({}), json!({}));
            self.desired_metadata = Value::Null;
        }
        if let Some(tags) = tags {
            merge(&mut self.tags, tags);
        }
        if let Some(desired) = desired {
            merge(&mut self.desired, desired);
        }
        for (part, largest) in [(&self.tags, TAGS_LARGEST), (&self.desired, PART_LARGEST)] {
            if part.to_string().len() > largest {
                return Err(ServiceError::TooLarge(largest));
            }
        }
        if desired.is_some() || write == TwinWrite::Replace {
            self.desired_version += 1;
            let mark = Mark::new(at, self.desired_version);
            let nothing = Map::new();
            mark.put_on(&mut self.desired_metadata, desired.unwrap_or(&nothing));
        }
        self.version += 1;
        Ok(())
    }

    /// The desired properties with their version.
    pub(crate) fn shown_desired(&self) -> Value {
        with_version(&self.desired, self.desired_version)
    }

    /// Both parts as the hub's service API shows them: with versions and metadata. The twin was made at this
    /// moment.
    pub(crate) fn shown_properties(&self, made: &str) -> Value {
        let part = |mut part: Value, metadata: &Value| {
            part["$metadata"] = metadata::shown(metadata, made);
            part
        };
        json!({
            "desired": part(self.shown_desired(), &self.desired_metadata),
            "reported": part(self.shown_reported(), &self.reported_metadata),
        })
    }

    /// The reported properties with their version.
    pub(crate) fn shown_reported(&self) -> Value {
        with_version(&self.reported, self.reported_version)
    }

    fn report(&mut self, patch: &Map<String, Value>, at: Time) -> Result<u64, ServiceError> {
        let mut reported = self.reported.clone();
        merge(&mut reported, patch);
        if reported.to_string().len() > PART_LARGEST {
            return Err(ServiceError::TooLarge(PART_LARGEST));
        }
        self.reported = reported;
        self.reported_version += 1;
        self.version += 1;
        let mark = Mark::new(at, self.reported_version);
        mark.put_on(&mut self.reported_metadata, patch);
        Ok(self.reported_version)
    }
}

fn with_version(part: &Value, version: u64) -> Value {
    let mut part = part.clone();
    part["$version"] = json!(version);
    part
}

/// Merges a patch into an object: `null` removes, objects are merged, the rest replaces.
fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, value) in patch {
        match value {
            _ if name.starts_with('$') => {}
            Value::Null => {
                members.shift_remove(name);
            }
            Value::Object(patch) => {
                merge(members.entry(name.as_str()).or_insert(Value::Null), patch)
            }
            value => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        Time::from_unix_seconds(1_600_858_711).expect("time")
    }

    #[test]
    fn a_patch_merges_and_null_removes() {
        let mut twin = Twin::initial(None);
        twin.reported = json!({"a": {"b": 1, "c": 2}, "d": 3});
        let patch = json!({"a": {"b": null, "e": {"f": null}}, "d": [1], "$version": 9});
        let version = twin.report(patch.as_object().expect("an object"), now());
        assert_eq!(version, Ok(2));
        let expected = json!({"a": {"c": 2, "e": {}}, "d": [1], "$version": 2});
        assert_eq!(twin.shown_reported(), expected);
    }

    #[test]
    fn a_twin_does_not_grow_without_end() {
        let mut twin = Twin::initial(None);
        let patch = json!({"a": "x".repeat(PART_LARGEST)});
        let refused = twin.report(patch.as_object().expect("an object"), now());
        assert_eq!(refused, Err(ServiceError::TooLarge(PART_LARGEST)));
        assert_eq!(twin.shown_reported(), json!({"$version": 1}));
    }
}
