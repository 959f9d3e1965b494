//! What is done with devices, groups and plans against DPS and its hubs: gathered, judged, carried out. No
//! terminal.
//!
//! The command line, and whatever front end comes beside it, stands on this crate. It knows clients and
//! inventories; it prints nothing, asks nobody, owns no runtime and blocks no thread for the network.
//! What it needs of its front end are [`ports`]. Errors carry facts and a [`Class`]; what to type next is the
//! front end's to say.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`quarantine`], [`readmit`], [`deprovision`], [`converge`], [`roll`] | the lifecycle operations |
//! | [`checkup`] | what somebody has to see to |
//! | [`instance`] | what an operation sees: an instance, and the inventory with its journal |
//! | [`target`], [`devices`] | which device is meant, and what is known of it |
//! | [`planes`] | the clients of a declared instance: address, trust, sign-in |
//! | [`gather`], [`hubs`], [`registered`], [`issuers`] | what DPS, its hubs and the inventory hold |
//! | [`judge`] | a plan put through the checker, with its impact and its cost |
//! | [`dps`] | the port by which DPS and its hubs are read and written |
//! | [`execute`] | follows a plan, journals each step, resumes what was cut short; tells an observer |
//! | [`ports`] | secrets, keys, locks |
//!
//! An operation is four calls. A request is prepared: it looks, and plans. What it has prepared is judged when
//! its turn comes: the checker passes a [`judge::Judged`], to be shown and confirmed. An [`Engine`] carries
//! that out. Then DPS is read back, and decides about each device anew. All but the third change nothing.
//! `examples/lifecycle.rs` does that with a declaration and with a stolen device.
//!
//! | feature | adds |
//! | --- | --- |
//! | `testing` | a DPS in memory behind the port, with faults; locks and keys in memory |

pub mod checkup;
pub mod class;
pub mod converge;
pub mod deprovision;
pub mod deprovisioned;
pub mod devices;
pub mod document;
pub mod dps;
pub mod enroll;
pub mod execute;
pub mod gather;
pub mod hubs;
pub mod instance;
pub mod issuers;
pub mod judge;
pub mod planes;
pub mod planning;
pub mod ports;
mod proof;
pub mod quarantine;
pub mod readmit;
pub mod registered;
pub mod roll;
pub mod target;
#[cfg(feature = "testing")]
pub mod testing;

pub use class::{Class, PortError};
pub use dps::{Dps, DpsError, PlaneError};
pub use execute::{
    Engine, Event, ExecuteError, Failures, Interruption, Observer, Order, StepError, StepFailure,
    TakenUp,
};
pub use instance::{Instance, Surroundings};
pub use planes::Planes;
pub use planning::PlanningError;
pub use proof::ProofError;
