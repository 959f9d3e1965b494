//! Steps on a device identity of a hub.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Expectation, Found, Kind, Plane, Standing};
use crate::hub::HubDeviceStatus;
use crate::ids::{DeviceId, HubHostName};
use crate::lifecycle::Subject;

/// A step on a device identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct HubDeviceStep {
    /// On which hub.
    pub hub: HubHostName,
    /// Which device.
    pub device_id: DeviceId,
    /// What is done to it.
    pub action: HubDeviceAction,
    /// What to find there.
    pub expect: Expectation,
}

/// What is done to a device identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubDeviceAction {
    /// Disable it: the hub refuses the device from then on.
    Disable {
        /// Why, at most 128 characters.
        reason: String,
    },
    /// Enable one that was disabled.
    Enable,
    /// Delete it with its twin.
    Delete,
}

impl Kind for HubDeviceStep {
    /// Case matters in device IDs.
    fn key(&self) -> String {
        format!("{}/{}", self.hub.folded(), self.device_id)
    }

    fn name(&self) -> String {
        self.device_id.to_string()
    }

    fn plane(&self) -> Plane<'_> {
        Plane::Hub(&self.hub)
    }

    fn calls(&self) -> usize {
        match self.action {
            // A look, and the write.
            HubDeviceAction::Disable { .. } | HubDeviceAction::Enable => 2,
            HubDeviceAction::Delete => 1,
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let id = self.device_id.to_string().parse().ok();
        id.map(Subject::Device).into_iter().collect()
    }

    fn expect(&self) -> Option<&Expectation> {
        Some(&self.expect)
    }

    fn standing(&self, found: &Found, expect: &Expectation) -> Standing {
        let Found::HubDevice(held) = found else {
            return Standing::Gone;
        };
        let wanted = match self.action {
            HubDeviceAction::Disable { .. } => Some(HubDeviceStatus::Disabled),
            HubDeviceAction::Enable => Some(HubDeviceStatus::Enabled),
            HubDeviceAction::Delete => None,
        };
        match held {
            None if self.action == HubDeviceAction::Enable => Standing::Gone,
            None => Standing::Done(None),
            Some(held) if wanted.as_ref() == Some(&held.status) => {
                Standing::Done(held.etag.clone())
            }
            Some(held) => Standing::of_held(held.etag.as_ref(), expect),
        }
    }

    fn audit_word(&self) -> &'static str {
        match self.action {
            HubDeviceAction::Disable { .. } => "hub-device-disabled",
            HubDeviceAction::Enable => "hub-device-enabled",
            HubDeviceAction::Delete => "hub-device-deleted",
        }
    }

    fn is_of_device(&self) -> bool {
        true
    }
}

impl fmt::Display for HubDeviceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            HubDeviceAction::Disable { .. } => "disable",
            HubDeviceAction::Enable => "enable",
            HubDeviceAction::Delete => "delete",
        };
        write!(
            f,
            "{verb} device identity {} on {}",
            self.device_id, self.hub
        )
    }
}

/// How it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", tag = "action")]
enum Stored {
    #[serde(rename = "disableHubDevice")]
    Disable {
        hub: HubHostName,
        device_id: DeviceId,
        reason: String,
        expect: Expectation,
    },
    #[serde(rename = "enableHubDevice")]
    Enable {
        hub: HubHostName,
        device_id: DeviceId,
        expect: Expectation,
    },
    #[serde(rename = "deleteHubDevice")]
    Delete {
        hub: HubHostName,
        device_id: DeviceId,
        expect: Expectation,
    },
}

impl From<Stored> for HubDeviceStep {
    fn from(stored: Stored) -> Self {
        let (hub, device_id, action, expect) = match stored {
            Stored::Disable {
                hub,
                device_id,
                reason,
                expect,
            } => (hub, device_id, HubDeviceAction::Disable { reason }, expect),
            Stored::Enable {
                hub,
                device_id,
                expect,
            } => (hub, device_id, HubDeviceAction::Enable, expect),
            Stored::Delete {
                hub,
                device_id,
                expect,
            } => (hub, device_id, HubDeviceAction::Delete, expect),
        };
        Self {
            hub,
            device_id,
            action,
            expect,
        }
    }
}

impl From<HubDeviceStep> for Stored {
    fn from(step: HubDeviceStep) -> Self {
        let HubDeviceStep {
            hub,
            device_id,
            action,
            expect,
        } = step;
        match action {
            HubDeviceAction::Disable { reason } => Self::Disable {
                hub,
                device_id,
                reason,
                expect,
            },
            HubDeviceAction::Enable => Self::Enable {
                hub,
                device_id,
                expect,
            },
            HubDeviceAction::Delete => Self::Delete {
                hub,
                device_id,
                expect,
            },
        }
    }
}
