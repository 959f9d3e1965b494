//! Why an operation has no plan, or could not prove what it did.

use pki_core::admission::ViewError;
use pki_core::ids::{AuthorityName, DpsName, EnrollmentGroupId, RegistrationId};
use pki_core::inventory::InventoryError;
use pki_core::lifecycle::roll::RollError;
use pki_core::lifecycle::{BelowError, DeclaredError, PruneError, ReadmitError};
use pki_core::time::TimeError;

use crate::class::Class;
use crate::dps::DpsError;
use crate::gather::GatherError;
use crate::judge::JudgeError;

/// Why an operation has no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanningError {
    /// What it is made from could not be gathered.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// It does not pass the checker.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// The documents of DPS do not say who is admitted.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The inventory cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// There is nothing to shut out: no authority of that name has a generation that came to life.
    #[error("there is no authority {name}")]
    NoAuthority {
        /// The name.
        name: AuthorityName,
    },
    /// Everything below an authority cannot be shut out.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// The device is not let back in.
    #[error(transparent)]
    Readmit(#[from] ReadmitError),
    /// DPS cannot be brought to what is declared.
    #[error(transparent)]
    Declared(#[from] DeclaredError),
    /// A group is to be made again that is not declared.
    #[error("pki.toml declares no enrollment group {group} to make again")]
    NotDeclared {
        /// The group.
        group: EnrollmentGroupId,
    },
    /// An authority or a leaf is not rolled.
    #[error(transparent)]
    Roll(#[from] RollError),
    /// The enrollment holds one leaf only.
    #[error("the leaf of {id} is not being rolled")]
    NotRolled {
        /// The device.
        id: RegistrationId,
    },
    /// The enrollment holds a leaf of somebody else.
    #[error("individual enrollment {id} holds a leaf that is not in the inventory")]
    ForeignLeaf {
        /// The device.
        id: RegistrationId,
    },
    /// A moment is beyond what certificates can say.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// What is not declared may not go.
    #[error("{error}")]
    Prune {
        /// The instance.
        dps: DpsName,
        /// Why not.
        error: Box<PruneError>,
    },
}

impl PlanningError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Gather(error) => error.class(),
            Self::Judge(error) => error.class(),
            Self::View(_) => Class::Service,
            Self::Inventory(error) => error.into(),
            Self::NoAuthority { .. }
            | Self::NotDeclared { .. }
            | Self::Declared(DeclaredError::NoAuthority { .. }) => Class::NotFound,
            Self::Time(_) => Class::InvalidInput,
            Self::Below(_)
            | Self::Readmit(_)
            | Self::Declared(_)
            | Self::Prune { .. }
            | Self::Roll(_)
            | Self::NotRolled { .. }
            | Self::ForeignLeaf { .. } => Class::Refused,
        }
    }
}

impl From<DpsError> for PlanningError {
    fn from(error: DpsError) -> Self {
        Self::Gather(error.into())
    }
}
