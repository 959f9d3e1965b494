//! What kind of failure an error is, for front ends that have exit codes or statuses for it.

use std::error::Error;
use std::fmt;

use dps_client::ClientError;
use pki_core::authority::PossessionError;
use pki_core::inventory::InventoryError;
use pki_core::issue::IssueError;
use pki_core::lifecycle::CheckError;

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// None of the others.
    Failed,
    /// An input or the declaration is wrong.
    InvalidInput,
    /// Unsafe, not allowed, or a check said no.
    Refused,
    /// DPS or a hub answered with an error, or was not reached.
    Service,
    /// A record changed since it was read.
    Conflict,
    /// What was named does not exist.
    NotFound,
    /// Somebody interrupted it.
    Interrupted,
}

/// An error of a port that the front end brings: it knows the class, and takes the error back as it was.
#[derive(Debug)]
pub struct PortError {
    /// What kind of failure it is.
    pub class: Class,
    /// The error.
    pub error: Box<dyn Error + Send + Sync>,
}

impl PortError {
    /// An error of this class.
    pub fn new(class: Class, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { class, error }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<&ClientError> for Class {
    fn from(error: &ClientError) -> Self {
        match error.status().map(|status| status.as_u16()) {
            Some(409 | 412) => Self::Conflict,
            Some(404) => Self::NotFound,
            _ => Self::Service,
        }
    }
}

impl From<&InventoryError> for Class {
    fn from(error: &InventoryError) -> Self {
        match error {
            InventoryError::Missing { .. }
            | InventoryError::CertificateNotFound { .. }
            | InventoryError::PlanNotFound { .. }
            | InventoryError::GenerationNotFound { .. } => Self::NotFound,
            InventoryError::NotAnInventory { .. }
            | InventoryError::SchemaTooNew { .. }
            | InventoryError::SchemaTooOld { .. }
            | InventoryError::Unfinished { .. } => Self::InvalidInput,
            InventoryError::Edited { .. }
            | InventoryError::CertificateState { .. }
            | InventoryError::GenerationState { .. }
            | InventoryError::GenerationNumber { .. }
            | InventoryError::HasCertificate { .. }
            | InventoryError::LeafExists { .. }
            | InventoryError::TwoLeaves { .. }
            | InventoryError::KeyTaken { .. }
            | InventoryError::KeyTwice { .. }
            | InventoryError::TwoGenerations { .. }
            | InventoryError::PlanInTheWay { .. }
            | InventoryError::PlanClosed { .. }
            | InventoryError::PlanUnfinished { .. } => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl From<&IssueError> for Class {
    fn from(error: &IssueError) -> Self {
        match error {
            IssueError::Name(_) => Self::InvalidInput,
            IssueError::Sign(_) => Self::Failed,
            _ => Self::Refused,
        }
    }
}

impl From<&PossessionError> for Class {
    fn from(error: &PossessionError) -> Self {
        match error {
            PossessionError::Issue(error) => error.into(),
            _ => Self::Failed,
        }
    }
}

impl From<&CheckError> for Class {
    /// A planner's mistake or a fleet that nobody thought of: the plan is not carried out.
    fn from(error: &CheckError) -> Self {
        match error {
            CheckError::View(_) => Self::Service,
            _ => Self::Refused,
        }
    }
}

/// What a client's error says, in one sentence: where nothing answered, what the network said.
pub fn sentence(error: &ClientError) -> String {
    match error {
        ClientError::Transport { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}
