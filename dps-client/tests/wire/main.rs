//! The client against documented exchanges: request line, headers, bodies, answers and errors.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

mod device;
mod hub;
mod management;
mod recorded;
mod service;

use std::sync::Arc;

use dps_client::device::Registrar;
use dps_client::hub::Devices;
use dps_client::management::{Certificates, InstanceId};
use dps_client::service::{Groups, Individuals};
use dps_client::transport::{Script, ScriptedTransport};
use dps_client::{ApiVersion, ClientError, Plane};

/// A conversation out of `fixtures/dps-wire`, and the plane that must keep to it.
struct Wire {
    transport: Arc<ScriptedTransport>,
    plane: Plane,
}

impl Wire {
    fn script(name: &str, api_version: ApiVersion) -> Self {
        let path = format!(
            "{}/../fixtures/dps-wire/{api_version}/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).expect(&path);
        let script = serde_json::from_str(&text).expect(&path);
        Self::of(script, api_version)
    }

    fn of(script: Script, api_version: ApiVersion) -> Self {
        let transport = Arc::new(ScriptedTransport::new(script.exchanges));
        let base = "https://localhost:8443".parse().expect("base");
        let plane = Plane::new(transport.clone(), base, api_version);
        Self { transport, plane }
    }

    fn management(name: &str) -> (Self, Certificates) {
        let wire = Self::script(name, ApiVersion::MANAGEMENT);
        let certificates = Certificates::new(wire.plane.clone(), instance_id());
        (wire, certificates)
    }

    fn groups(name: &str) -> (Self, Groups) {
        let wire = Self::script(name, ApiVersion::SERVICE);
        let groups = Groups::new(wire.plane.clone());
        (wire, groups)
    }

    fn individuals(name: &str) -> (Self, Individuals) {
        let wire = Self::script(name, ApiVersion::SERVICE);
        let individuals = Individuals::new(wire.plane.clone());
        (wire, individuals)
    }

    fn registrar(name: &str) -> (Self, Registrar) {
        let wire = Self::script(name, ApiVersion::DEVICE);
        let registrar = Registrar::new(wire.plane.clone(), "0ne000956C5".parse().expect("scope"));
        (wire, registrar)
    }

    fn hub(name: &str) -> (Self, Devices) {
        let wire = Self::script(name, ApiVersion::HUB);
        let devices = Devices::new(wire.plane.clone());
        (wire, devices)
    }

    fn hub_of(script: serde_json::Value) -> (Self, Devices) {
        let script = serde_json::from_value(script).expect("a script");
        let wire = Self::of(script, ApiVersion::HUB);
        let devices = Devices::new(wire.plane.clone());
        (wire, devices)
    }

    fn end(self) {
        assert_eq!(self.transport.left(), 0, "exchanges that never took place");
    }
}

fn instance_id() -> InstanceId {
    InstanceId {
        subscription: "91d12660-3dec-467a-be2a-213b5544ddc0".to_owned(),
        resource_group: "my-rg".to_owned(),
        name: "my-dps".to_owned(),
    }
}

fn code(error: &ClientError) -> &str {
    error
        .service()
        .and_then(|error| error.code.as_deref())
        .unwrap_or("-")
}

fn tracking_id(error: &ClientError) -> &str {
    error
        .service()
        .and_then(|error| error.tracking_id.as_deref())
        .unwrap_or("-")
}
