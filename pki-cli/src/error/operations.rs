//! Errors of the engine as those of the command line: their kind, and what to type next.

use dps_operations::execute::{Progress, Stopped};
use dps_operations::gather::GatherError;
use dps_operations::issuers::NoCertificate;
use dps_operations::judge::JudgeError;
use dps_operations::readmit::NotBack;
use dps_operations::roll::NotAsPlanned;
use dps_operations::roll::device::LeafNotAsPlanned;
use dps_operations::target::TargetError;
use dps_operations::{
    Class, DpsError, ExecuteError, PlaneError, PlanningError, PortError, ProofError, StepError,
};
use pki_core::wording::{counted, fitting};

use super::core::not_pruned;
use super::{CommandError, ErrorKind};

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
            ErrorKind::InvalidInput => Self::InvalidInput,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Service => Self::Service,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Failed
            | ErrorKind::Usage
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

impl From<PlaneError> for CommandError {
    /// What is missing in `pki.toml`, and how it is written there.
    fn from(error: PlaneError) -> Self {
        let refused = Self::new(error.class().into(), error.to_string());
        match error {
            PlaneError::NoManagement { dps } => refused.hint(format!(
                "add [dps.{dps}.management] with subscription and resource-group"
            )),
            PlaneError::NoSignIn { dps, hub } => refused.hint(format!(
                "add [dps.{dps}.hub.\"{hub}\"] with a connection-string from env:NAME or file:PATH"
            )),
            PlaneError::OtherHost { own, declared, .. } => refused.hint(format!(
                "take the connection string of {declared}, or declare {own}"
            )),
            PlaneError::SignIn { source, .. } => refused.because(source),
            PlaneError::Secret(error) => error.into(),
            _ => refused,
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

impl From<NoCertificate> for CommandError {
    fn from(error: NoCertificate) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<GatherError> for CommandError {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Dps(error) => error.into(),
            GatherError::View(error) => error.into(),
            GatherError::Inventory(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()),
        }
    }
}

impl From<JudgeError> for CommandError {
    fn from(error: JudgeError) -> Self {
        match error {
            JudgeError::Check(error) => error.into(),
            JudgeError::View(error) => error.into(),
            JudgeError::Inventory(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()),
        }
    }
}

impl From<PlanningError> for CommandError {
    fn from(error: PlanningError) -> Self {
        match error {
            PlanningError::Gather(error) => error.into(),
            PlanningError::Judge(error) => error.into(),
            PlanningError::View(error) => error.into(),
            PlanningError::Inventory(error) => error.into(),
            PlanningError::Below(error) => error.into(),
            PlanningError::Readmit(error) => error.into(),
            PlanningError::Declared(error) => error.into(),
            PlanningError::Prune { dps, error } => not_pruned(&dps, *error),
            PlanningError::Roll(error) => error.into(),
            PlanningError::Time(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()),
        }
    }
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> Self {
        let message = error.to_string();
        match error {
            TargetError::Ca { .. } => Self::refused(message)
                .hint("to shut out everything below it: dps-pki quarantine --authority NAME"),
            TargetError::SeveralIssuers { .. } => Self::refused(message),
            TargetError::Id(error) => error.into(),
            TargetError::Inventory(error) => error.into(),
            _ => Self::invalid_input(message),
        }
    }
}

impl From<NotBack> for CommandError {
    fn from(error: NotBack) -> Self {
        match error {
            NotBack::Gather(error) => error.into(),
            NotBack::Inventory(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()).hint("run it again"),
        }
    }
}

impl From<NotAsPlanned> for CommandError {
    fn from(error: NotAsPlanned) -> Self {
        match error {
            NotAsPlanned::Gather(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()).hint("run it again"),
        }
    }
}

impl From<LeafNotAsPlanned> for CommandError {
    fn from(error: LeafNotAsPlanned) -> Self {
        match error {
            LeafNotAsPlanned::Gather(error) => error.into(),
            error => Self::new(error.class().into(), error.to_string()).hint("run it again"),
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
            ExecuteError::Held { plan, .. } => failed
                .hint("wait until it has ended")
                .hint(format!("how far it is: dps-pki journal show {plan}")),
            ExecuteError::Overtaken { plan, .. } => failed
                .hint(format!("what it did: dps-pki journal show {plan}"))
                .hint("run it again to see what is left to do"),
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
