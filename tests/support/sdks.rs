//! Microsoft's SDKs for Python and Node as they are pinned in `tests/sdk`, and the ports that they need.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::skip::skip;

/// The SDKs are installed, and the ports that they have built in are the holder's until it is dropped.
#[derive(Debug)]
pub struct Sdks {
    _ports: RwLockWriteGuard<'static, ()>,
}

/// The ports that the SDKs have built in. An emulator that is asked for nothing takes 8883 too, if it is
/// free: those run beside each other, but not beside an SDK.
static PORTS: RwLock<()> = RwLock::new(());

/// Held while emulators run that no SDK is to find.
pub fn beside_no_sdk() -> RwLockReadGuard<'static, ()> {
    PORTS.read().unwrap_or_else(PoisonError::into_inner)
}

impl Sdks {
    /// Where an emulator listens for them; MQTT is then on the port 8883.
    pub const LISTEN: &str = "localhost:443";

    /// Waits for its turn. Where the SDKs are not installed or the ports are not to be had, this is
    /// `None`, visibly, and under `CI` a failure.
    pub fn reserve() -> Option<Self> {
        // Whoever failed with the ports has let go of them.
        let ports = PORTS.write().unwrap_or_else(PoisonError::into_inner);
        match missing() {
            None => Some(Self { _ports: ports }),
            Some(missing) => {
                skip(&format!("Microsoft's SDKs ({missing})"));
                None
            }
        }
    }

    /// The folder with the programs that use them.
    pub fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk"))
    }

    /// The folder with a `python` that has them.
    pub fn python_programs() -> PathBuf {
        Self::folder().join("python/.venv/bin")
    }

    /// The folder that Node finds them in.
    pub fn node_modules() -> PathBuf {
        Self::folder().join("node/node_modules")
    }
}

fn missing() -> Option<String> {
    let needed = [
        Sdks::python_programs().join("python"),
        Sdks::node_modules().join("azure-iothub"),
    ];
    if let Some(absent) = needed.iter().find(|path| !path.exists()) {
        return Some(format!("{} is missing; run `just sdks`", absent.display()));
    }
    let busy = |address| {
        let error = TcpListener::bind(address).err()?;
        Some(format!("{address} cannot be listened on: {error}"))
    };
    busy("127.0.0.1:443").or_else(|| busy("127.0.0.1:8883"))
}
