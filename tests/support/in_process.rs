//! What tests share that run the program within their own process: a stream whose content is kept, and a
//! device that registers with what the program wrote.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dps_client::auth::DeviceIdentity;
use dps_client::device::{Outcome, Polling, Registrar};
use dps_client::transport::{HttpOptions, HttpTransport, ProxyUse, Trust};
use dps_client::{ApiVersion, ClientError, Plane};
use dps_emulator::EmulatorHandle;
use secrecy::SecretString;
use tokio::runtime::Runtime;

/// A stream whose content is kept.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lock").clone()).expect("UTF-8")
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A device registers with its full chain and its key, both PEM.
pub(crate) fn register(
    runtime: &Runtime,
    emulator: &EmulatorHandle,
    id: &str,
    chain: String,
    key: String,
) -> Result<Outcome, ClientError> {
    let mut options = HttpOptions::default();
    options.trust = Trust::Only(emulator.trust_anchor_pem().to_owned());
    options.proxy = ProxyUse::Direct;
    options.identity = Some(DeviceIdentity::new(chain, SecretString::from(key)));
    let transport = Arc::new(HttpTransport::new(&options).expect("transport"));
    let base = emulator.base_url().parse().expect("address");
    let plane = Plane::new(transport, base, ApiVersion::DEVICE);
    let registrar = Registrar::new(plane, emulator.id_scope().clone());
    let polling = Polling {
        floor: Duration::from_millis(1),
        ..Polling::default()
    };
    let id = id.parse().expect(id);
    runtime.block_on(registrar.register(&id, None, &polling))
}
