//! What a step expects to find: that a record can be written without a tag cannot be said.

use serde::{Deserialize, Serialize};

use crate::ids::Etag;

/// What a step expects to find; anything else is a conflict and stops the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub enum Expectation {
    /// There is no such record.
    Absent,
    /// The record is as it was when the plan was made.
    Etag(Etag),
    /// The record is as the last step before this one on it left it; [`crate::lifecycle::Plan::predecessors`]
    /// tells which that is.
    AsLeftByPlan(AsLeft),
}

/// That a step comes after another one on its record. It is made from that one alone, as
/// [`super::CaStep::then`] does; and the checker refuses a plan that has lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsLeft(());

impl Expectation {
    /// A record that was read with this tag. One without cannot be guarded, so it is not written: who
    /// expects absence finds the record, and the write ends as a conflict.
    pub fn of(etag: Option<&Etag>) -> Self {
        etag.cloned().map_or(Self::Absent, Self::Etag)
    }

    /// For the steps of this module, which make it from an earlier step or note it of the inventory.
    pub(super) fn as_left() -> Self {
        Self::AsLeftByPlan(AsLeft(()))
    }
}

/// How it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Stored {
    Absent,
    Etag(Etag),
    AsLeftByPlan,
}

impl From<Stored> for Expectation {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Absent => Self::Absent,
            Stored::Etag(etag) => Self::Etag(etag),
            Stored::AsLeftByPlan => Self::as_left(),
        }
    }
}

impl From<Expectation> for Stored {
    fn from(expect: Expectation) -> Self {
        match expect {
            Expectation::Absent => Self::Absent,
            Expectation::Etag(etag) => Self::Etag(etag),
            Expectation::AsLeftByPlan(_) => Self::AsLeftByPlan,
        }
    }
}
