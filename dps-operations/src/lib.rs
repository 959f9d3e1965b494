//! What is done with plans against DPS and its hubs: gathered, judged, carried out. No terminal.
//!
//! The command line, and whatever front end comes beside it, stands on this crate. It knows clients and
//! inventories; it prints nothing, asks nobody, owns no runtime and blocks no thread for the network.
//! What it needs of its front end are [`ports`]. Errors carry facts and a [`Class`]; what to type next is the
//! front end's to say.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`planes`] | the clients of a declared instance: address, trust, sign-in |
//! | [`gather`], [`hubs`], [`registered`], [`issuers`] | what DPS, its hubs and the inventory hold |
//! | [`judge`] | a plan put through the checker, with its impact and its cost |
//! | [`dps`] | the port that plans are carried out through |
//! | [`execute`] | follows a plan, journals each step, resumes what was cut short; tells an observer |
//! | [`ports`] | secrets, keys, locks |
//!
//! | feature | adds |
//! | --- | --- |
//! | `testing` | a DPS in memory behind the port, with faults; locks and keys in memory |

pub mod class;
pub mod document;
pub mod dps;
pub mod execute;
pub mod gather;
pub mod hubs;
pub mod issuers;
pub mod judge;
pub mod planes;
pub mod ports;
mod proof;
pub mod registered;
#[cfg(feature = "testing")]
pub mod testing;

pub use class::{Class, PortError};
pub use dps::{Dps, DpsError, PlaneError};
pub use execute::{
    Engine, Event, ExecuteError, Failures, Interruption, Observer, Order, StepError, StepFailure,
};
pub use planes::Planes;
pub use proof::ProofError;
