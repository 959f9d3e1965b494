//! Rolls: one generation of an authority takes the place of another, in every instance; or one leaf that of
//! another, in one ([`device`]).
//!
//! What is decided is the core's ([`pki_core::lifecycle::roll`]). What it is decided from is gathered here:
//! which devices have moved, whom a breach roll takes off a hub, who stays in. An [`AuthorityRoll`] plans a
//! [`Rolling`], which is checked for all instances at once and read back when it is carried out.

mod authority;
mod breach;
pub mod device;
mod instances;
mod issuer;
mod left_behind;
mod open;
mod rolling;
mod unfinished;
mod worklist;

pub use authority::{AuthorityRoll, AuthorityStatus, FinishRequest, StartRequest, generations};
pub use breach::{BreachRequest, BreachRoll};
pub use instances::Instances;
pub use left_behind::Moving;
pub use open::{OpenPlan, open_plans};
pub use rolling::{NotAsPlanned, Passed, Planned, Proof, Rolling};
pub use unfinished::Unfinished;
pub use worklist::{KeptOff, Worklist};
