//! What the engine asks for, from what one command may touch; and its errors as those of the command line.

use dps_operations::execute::{Progress, Stopped};
use dps_operations::ports::{Keys, Locks, PlanLock, Proving};
use dps_operations::{Class, DpsError, ExecuteError, PortError, ProofError, StepError};
use pki_core::ids::PlanId;
use pki_core::inventory::{InventoryError, KeyReference};
use pki_core::key::Signer;
use pki_core::wording::{counted, fitting};

use crate::authority_key;
use crate::context::Context;
use crate::error::{CommandError, ErrorKind};
use crate::files::Lock;
use crate::locks;

impl Keys for Context {
    fn open(&self, key: &KeyReference) -> Result<Box<dyn Signer>, PortError> {
        Ok(authority_key::open(self, key)?)
    }
}

impl Locks for Context {
    fn plan(&self, plan: PlanId) -> Result<Option<Box<dyn PlanLock>>, PortError> {
        let lock = self.files.lock(&self.home.plan_lock(plan))?;
        Ok(lock.map(|lock| -> Box<dyn PlanLock> { Box::new(lock) }))
    }

    fn prove(
        &self,
        alone: &mut dyn FnMut() -> Result<(), InventoryError>,
    ) -> Result<Box<dyn Proving>, PortError> {
        Ok(Box::new(locks::prove(self, alone)?))
    }
}

impl PlanLock for Lock {
    fn remove(self: Box<Self>) {
        Self::remove(*self);
    }
}

impl Proving for locks::Proving {}

impl From<Class> for ErrorKind {
    fn from(class: Class) -> Self {
        match class {
            Class::InvalidInput => Self::InvalidInput,
            Class::Refused => Self::Refused,
            Class::Service => Self::Service,
            Class::Conflict => Self::Conflict,
            Class::NotFound => Self::NotFound,
            Class::Interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<ErrorKind> for Class {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput | ErrorKind::Usage => Self::InvalidInput,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Service => Self::Service,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Failed
            | ErrorKind::PartlyFailed
            | ErrorKind::Bug
            | ErrorKind::OutputClosed => Self::Failed,
        }
    }
}

impl From<CommandError> for PortError {
    fn from(error: CommandError) -> Self {
        Self::new(error.kind.into(), error)
    }
}

impl From<PortError> for CommandError {
    /// The error as the port gave it.
    fn from(error: PortError) -> Self {
        let kind = error.class.into();
        match error.error.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => Self::new(kind, other.to_string()),
        }
    }
}

impl From<DpsError> for CommandError {
    fn from(error: DpsError) -> Self {
        match error {
            DpsError::Client(error) => error.into(),
            DpsError::Plane(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()),
        }
    }
}

impl From<ProofError> for CommandError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Key(error) | ProofError::Lock(error) => error.into(),
            ProofError::Authority(error) => error.into(),
            ProofError::Possession(error) => error.into(),
            ProofError::Entropy(error) => error.into(),
            ProofError::Inventory(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()),
        }
    }
}

impl From<StepError> for CommandError {
    fn from(error: StepError) -> Self {
        let failed = Self::new(error.class().into(), error.to_string());
        match error {
            StepError::Dps(error) => error.into(),
            StepError::Proof(error) => error.into(),
            StepError::Inventory(error) => error.into(),
            StepError::Unguarded => failed.hint("run it again"),
            StepError::Changed {
                answer: Some(answer),
                ..
            } => match *answer {
                StepError::Dps(DpsError::Client(error)) => failed.because(error),
                _ => failed,
            },
            _ => failed,
        }
    }
}

impl From<ExecuteError> for CommandError {
    /// How far a plan got, and how to go on with it or get it out of the way.
    fn from(error: ExecuteError) -> Self {
        let failed = Self::new(error.class().into(), error.to_string());
        match error {
            ExecuteError::InTheWay { plan, .. } => failed
                .hint(format!("go on with it: dps-pki journal resume {plan}"))
                .hint(format!("or give it up: dps-pki journal abandon {plan}")),
            ExecuteError::Held { .. } => failed.hint("wait until it has ended"),
            ExecuteError::KeysWithheld { plan, .. } => failed.hint(format!(
                "give it up with dps-pki journal abandon {plan}, and run its command again"
            )),
            ExecuteError::InterruptedBefore => failed.hint("run it again to go on"),
            ExecuteError::Interrupted(progress) => failed.hint(where_it_stands(progress)),
            ExecuteError::InterruptedInStep(_) => {
                failed.hint("the journal knows; go on with: dps-pki journal list, and resume")
            }
            ExecuteError::Stopped(stopped) => of_stopped(failed.message, *stopped),
            ExecuteError::Unrecorded {
                source, progress, ..
            } => failed.because(source).hint(where_it_stands(progress)),
            ExecuteError::Key(error) => error.into(),
            ExecuteError::Lock(error) => error.into(),
            ExecuteError::Entropy(error) => error.into(),
            ExecuteError::Read(error) => error.into(),
            ExecuteError::Inventory(error) => error.into(),
            _ => failed,
        }
    }
}

/// The step's own error, with what holds for its plan.
fn of_stopped(message: String, stopped: Stopped) -> CommandError {
    let mut error = CommandError {
        message,
        ..CommandError::from(stopped.error)
    };
    if error.kind == ErrorKind::Conflict {
        let hint = "nothing was overwritten; run it again to see what it would do now";
        error.hints = vec![hint.to_owned()];
    } else if !stopped.is_closed {
        error.hints.push(where_it_stands(stopped.progress));
    }
    error
}

fn where_it_stands(progress: Progress) -> String {
    let Progress { plan, done, steps } = progress;
    format!(
        "{done} of {} {} done; go on with: dps-pki journal resume {plan}",
        counted(steps, "step", "steps"),
        fitting(done, "is done and stays", "are done and stay")
    )
}
