//! Why a step was not done, and why a plan was not carried out.

use std::fmt;
use std::sync::Arc;

use dps_client::service::BulkError;
use pki_core::certificate::pem::CertificateInputError;
use pki_core::enrollment::ErrorCode;
use pki_core::ids::{CertificateName, PlanId, RegistrationId};
use pki_core::inventory::InventoryError;
use pki_core::journal::PlanRecord;
use pki_core::lifecycle::FieldChange;
use pki_core::ports::EntropyError;
use serde::{Serialize, Serializer};

use crate::class::{Class, PortError};
use crate::dps::DpsError;
use crate::proof::ProofError;

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The service said no, or nothing.
    #[error(transparent)]
    Dps(#[from] DpsError),
    /// One entry of several in a call was refused.
    #[error("{}", refusal(.id, .error))]
    Entry {
        /// Whose entry.
        id: RegistrationId,
        /// What DPS said of it.
        error: BulkError,
    },
    /// A call for several entries failed in part, and nothing says for which.
    #[error("DPS refused a part of a bulk operation and does not say which")]
    PartRefused,
    /// A call for several entries failed as a whole.
    #[error("{0}")]
    Together(Arc<Self>),
    /// The record changed since it was read.
    #[error("{subject} changed since it was read: {difference}")]
    Changed {
        /// The device or record.
        subject: String,
        /// What is different.
        difference: Difference,
        /// What the write was answered, if it was sent.
        answer: Option<Box<Self>>,
    },
    /// There is no tag to guard the write with.
    #[error(
        "the record came without an ETag, so that nothing guards it against being overwritten: it is left alone"
    )]
    Unguarded,
    /// A CA certificate is there that was not there.
    #[error("CA certificate {name} was uploaded by somebody else meanwhile")]
    UploadedMeanwhile {
        /// Its name.
        name: CertificateName,
    },
    /// There is nothing to prove possession with.
    #[error("the service gave no code or no ETag for CA certificate {name}")]
    NoCode {
        /// Its name.
        name: CertificateName,
    },
    /// The proof was in vain.
    #[error("DPS took the proof for CA certificate {name} and does not call it verified")]
    NotVerified {
        /// Its name.
        name: CertificateName,
    },
    /// Steps were to go in one call that cannot.
    #[error("there is no call for several steps such as: {step}")]
    NotTogether {
        /// The first of them.
        step: String,
    },
    /// The plan holds a certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateInputError),
    /// Possession was not proven.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The inventory was not read or written.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// How a record differs from what the plan was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// It is there, and was not.
    Made,
    /// It is not there, or not as what it should be.
    Gone,
    /// Its tag is another one, and nothing else.
    Tag,
    /// These fields.
    Fields(Vec<FieldChange>),
}

/// Why a plan was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// An open plan is about the same.
    #[error("{}: it was interrupted, and is about the same", in_the_way(*.plan, .goal))]
    InTheWay {
        /// The other plan.
        plan: PlanId,
        /// What it is for.
        goal: String,
    },
    /// Another process has carried a plan out whose place was to be taken, or given it up.
    #[error("plan {plan} of another process is {state} meanwhile: {goal}")]
    Overtaken {
        /// The plan.
        plan: PlanId,
        /// What it was for.
        goal: String,
        /// What became of it.
        state: &'static str,
    },
    /// Another process carries a plan out.
    #[error("plan {plan} is being carried out by another process: {goal}")]
    Held {
        /// The plan.
        plan: PlanId,
        /// What it is for.
        goal: String,
    },
    /// The name of a new plan is taken.
    #[error("plan {plan} is held already")]
    NameHeld {
        /// The name.
        plan: PlanId,
    },
    /// The plan writes keys that the journal does not keep.
    #[error("plan {plan} writes symmetric keys, which the journal does not keep: {goal}")]
    KeysWithheld {
        /// The plan.
        plan: PlanId,
        /// What it is for.
        goal: String,
    },
    /// Interrupted before the first step.
    #[error("interrupted")]
    InterruptedBefore,
    /// Interrupted between two steps.
    #[error("interrupted")]
    Interrupted(Progress),
    /// Interrupted while a step was under way: the journal says that it was begun.
    #[error("interrupted in the middle of a step")]
    InterruptedInStep(Progress),
    /// A step failed, and nothing after it was begun.
    #[error("{0}")]
    Stopped(Box<Stopped>),
    /// A step was sent, and its end is not in the journal.
    #[error("{step}: sent, but how it ended is not in the journal")]
    Unrecorded {
        /// The step.
        step: String,
        /// Why not.
        source: InventoryError,
        /// How far the plan got.
        progress: Progress,
    },
    /// A key that the plan needs does not open.
    #[error(transparent)]
    Key(#[from] ProofError),
    /// Other runs cannot be told from this one.
    #[error(transparent)]
    Lock(PortError),
    /// There was no name for the plan.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// What an interrupted plan was about cannot be read.
    #[error(transparent)]
    Read(StepError),
    /// The journal was not read or written.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// The step that stopped a plan.
#[derive(Debug)]
pub struct Stopped {
    /// Its place in the plan, from 0.
    pub index: usize,
    /// The step.
    pub step: String,
    /// Why it was not done.
    pub error: StepError,
    /// How far the plan got.
    pub progress: Progress,
    /// Whether the plan is closed: there is nothing to resume.
    pub is_closed: bool,
}

/// How far a plan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The plan.
    pub plan: PlanId,
    /// How many of its steps are done.
    pub done: u64,
    /// How many it has.
    pub steps: usize,
}

/// A step that failed while others were carried out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepFailure {
    /// The device or record.
    pub subject: String,
    /// What was not done.
    pub step: String,
    /// Why.
    #[serde(serialize_with = "in_words")]
    pub error: StepError,
}

impl StepError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Dps(error) => error.class(),
            Self::Entry { .. } => match self.status() {
                Some(409 | 412) => Class::Conflict,
                Some(404) => Class::NotFound,
                _ => Class::Service,
            },
            Self::Together(whole) => whole.class(),
            Self::Changed { .. } | Self::Unguarded | Self::UploadedMeanwhile { .. } => {
                Class::Conflict
            }
            Self::PartRefused | Self::NoCode { .. } | Self::NotVerified { .. } => Class::Service,
            Self::NotTogether { .. } => Class::Failed,
            Self::Certificate(_) => Class::InvalidInput,
            Self::Proof(error) => error.class(),
            Self::Inventory(error) => error.into(),
        }
    }

    /// Whether the record was not as expected: looking at it tells more.
    pub(super) fn is_about_the_record(&self) -> bool {
        matches!(self.status(), Some(404 | 409 | 412))
    }

    /// Whether another record may fare better.
    pub(super) fn is_of_one_record(&self) -> bool {
        if let Self::Changed {
            answer: Some(answer),
            ..
        } = self
        {
            return answer.is_of_one_record();
        }
        match self.status() {
            Some(status) => matches!(status, 400 | 404 | 409 | 412),
            None => self.is_ours() && matches!(self.class(), Class::Conflict | Class::NotFound),
        }
    }

    /// Whether it is certain that nothing was done, and sending it again as it is will not help.
    pub(super) fn is_refusal(&self) -> bool {
        if let Self::Changed {
            answer: Some(answer),
            ..
        } = self
        {
            return answer.is_refusal();
        }
        match self.status() {
            Some(status) => matches!(status, 400..=407 | 410..=428),
            None => self.is_ours() && matches!(self.class(), Class::InvalidInput | Class::Refused),
        }
    }

    /// Whether it is open if the service has done it: it failed, or its answer was lost.
    pub(super) fn may_be_done(&self) -> bool {
        match self {
            Self::Dps(error) => error.may_be_done(),
            _ => false,
        }
    }

    /// Whether no service said it.
    fn is_ours(&self) -> bool {
        !matches!(
            self,
            Self::Dps(DpsError::Client(_) | DpsError::Lost) | Self::Entry { .. }
        )
    }

    fn status(&self) -> Option<u32> {
        match self {
            Self::Dps(error) => error.status().map(u32::from),
            // The codes of DPS begin with a status.
            Self::Entry { error, .. } => {
                let code = error.error_code.as_ref().and_then(ErrorCode::number);
                code.map(|code| code / 1000)
            }
            _ => None,
        }
    }
}

impl ExecuteError {
    pub(super) fn overtaken(record: &PlanRecord) -> Self {
        Self::Overtaken {
            plan: record.id,
            goal: record.plan.goal.clone(),
            state: record.state.as_str(),
        }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::InTheWay { .. } | Self::Held { .. } | Self::KeysWithheld { .. } => Class::Refused,
            Self::Overtaken { .. } => Class::Conflict,
            Self::InterruptedBefore | Self::Interrupted(_) | Self::InterruptedInStep(_) => {
                Class::Interrupted
            }
            Self::Stopped(stopped) => stopped.error.class(),
            Self::Read(error) => error.class(),
            Self::NameHeld { .. } | Self::Unrecorded { .. } | Self::Entropy(_) => Class::Failed,
            Self::Key(error) => error.class(),
            Self::Lock(error) => error.class,
            Self::Inventory(error) => error.into(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made => f.write_str("somebody else has made it"),
            Self::Gone => f.write_str("it is gone, or cannot be read"),
            Self::Tag => f.write_str("its content is the same, its ETag is not"),
            Self::Fields(changes) => {
                for (index, change) in changes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{change}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.progress.steps;
        if count > 1 {
            write!(
                f,
                "step {} of {count} failed ({}): ",
                self.index + 1,
                self.step
            )?;
        }
        self.error.fmt(f)
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.subject, self.step, self.error)
    }
}

fn refusal(id: &RegistrationId, error: &BulkError) -> String {
    let code = error.error_code.as_ref().map(|code| format!(", {code}"));
    let status = error
        .error_status
        .as_deref()
        .unwrap_or("it does not say why");
    format!(
        "DPS refused the entry of {id}{}: {status}",
        code.unwrap_or_default()
    )
}

/// The journal's own sentence.
fn in_the_way(plan: PlanId, goal: &str) -> InventoryError {
    let goal = goal.to_owned();
    InventoryError::PlanInTheWay { plan, goal }
}

fn in_words<S: Serializer>(error: &StepError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}
