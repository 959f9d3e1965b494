//! Lifecycle: from a wish and what is there to a plan and its impact.
//!
//! A planner takes a request and the documents that were read, and returns a [`Plan`]: plain data with
//! no choice left in it, each step with the ETag it expects. [`Impact`] compares admission before and
//! after it. Planners are pure; a [`Fleet`] and the names in an impact are read from the inventory.
//! Not here: how far a plan is carried out ([`crate::journal`]). Executing and recording is the engine's business
//! (`dps-operations`), confirming the front end's.
//! Invariant: planning is deterministic, and no planner deletes or enables a disabled individual
//! enrollment.

mod below;
mod check;
mod declared;
mod deprovision;
mod difference;
mod fleet;
mod foreseen;
mod impact;
mod kept_out;
mod pin;
mod plan;
mod prune;
mod quarantine;
mod readmit;
pub mod roll;
mod step;

pub use below::{BelowError, blocking_groups, quarantine_below};
pub use check::{Breach, CheckError, Checked, Promise, Who};
pub use declared::{CompromisedGeneration, DeclaredError, DeclaredState, converge};
pub use deprovision::{
    Deprovision, EarlierLeaf, GOAL_OF_DEPROVISIONING, GroupMembers, MemberEntry, Purpose,
    deprovision, deprovision_group, shut_out_earlier_leaves,
};
pub use difference::differences;
pub(crate) use difference::fulfils;
pub use fleet::{Class, Exception, Fleet, Worklist};
pub use foreseen::refusals_as_declared;
pub use impact::{Decider, Effect, FallThrough, Impact, Movement, Verdict};
pub use kept_out::{KeptOut, kept_out};
pub use pin::{is_pin, release_pins};
pub use plan::{FieldChange, Plan, Subject};
pub use prune::{PruneError, check_pruning, prune};
pub use quarantine::{
    HubAction, HubIdentity, Quarantine, QuarantineState, quarantine, quarantine_many,
};
pub use readmit::{LeafStanding, Readmit, ReadmitError, ReadmitState, readmit};
pub use step::{
    AsLeft, AuthorityAction, AuthorityStep, CaAction, CaStep, Expectation, Found, GroupAction,
    GroupStep, HubDeviceAction, HubDeviceStep, IndividualAction, IndividualStep, LeafAction,
    LeafStep, Plane, RegistrationAction, RegistrationStep, Standing, Step,
};
