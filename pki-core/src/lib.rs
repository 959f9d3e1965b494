//! The whole of what the toolkit knows about device certificates and DPS.

pub mod admission;
pub mod authority;
pub mod certificate;
pub mod csr;
pub mod declaration;
pub mod delivery;
pub mod enrollment;
pub mod format;
pub mod hub;
pub mod ids;
pub mod inventory;
pub mod issue;
pub mod key;
pub mod lifecycle;
pub mod management;
pub mod name;
pub mod path;
pub mod ports;
pub mod profile;
mod signed;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
pub mod time;
