//! Lifecycle: from a wish and what is there to a plan and its impact. Pure.
//!
//! A planner takes a request and the documents that were read, and returns a [`Plan`]: plain data with
//! no choice left in it, each step with the ETag it expects. [`Impact`] compares admission before and
//! after it. Executing, confirming and recording is the command line's business.
//! Invariant: planning is deterministic, and no planner deletes or enables a disabled individual
//! enrollment.

mod declared;
mod fleet;
mod impact;
mod plan;
mod quarantine;

pub use declared::{DeclaredError, DeclaredState, converge};
pub use fleet::{Class, Exception, Fleet};
pub use impact::{Decider, Effect, FallThrough, Impact, Movement, Verdict};
pub use plan::{Expectation, FieldChange, Plan, Step, Subject};
pub use quarantine::{HubAction, HubIdentity, Quarantine, QuarantineState, quarantine};
