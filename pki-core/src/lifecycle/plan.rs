//! The plan: ordered steps towards a goal.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Step;
use crate::admission::{DpsView, ViewError};
use crate::ids::{AuthorityName, CertificateName, EnrollmentGroupId, RegistrationId};

/// Ordered steps towards a goal, computed before anything is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What it is for, in a sentence.
    pub goal: String,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// What the reader should know: things that were found and left alone.
    pub notes: Vec<String>,
}

/// What a plan concerns. Two plans that share a subject must not be carried out side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// An authority of the inventory: its generations change.
    Authority(AuthorityName),
    /// A CA certificate in DPS.
    Ca(CertificateName),
    /// An enrollment group.
    Group(EnrollmentGroupId),
    /// A device: its enrollment, registration record, hub identity or leaf.
    Device(RegistrationId),
}

/// One field of a record that a step changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Which field, by its name on the wire.
    pub field: String,
    /// What it is now; `null` if absent.
    pub from: Value,
    /// What it will be.
    pub to: Value,
}

impl Plan {
    /// A plan without steps yet.
    pub fn new(goal: impl Into<String>) -> Self {
        Self {
            goal: goal.into(),
            steps: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What the steps concern.
    pub fn subjects(&self) -> BTreeSet<Subject> {
        self.steps.iter().flat_map(Step::subjects).collect()
    }

    /// What the plan is about, one key for all spellings of a record's name.
    pub fn subject_keys(&self) -> BTreeSet<String> {
        self.subjects().iter().map(Subject::key).collect()
    }

    /// For each step the last one before it that writes the same record.
    pub fn predecessors(&self) -> Vec<Option<usize>> {
        let mut last = HashMap::new();
        let mut predecessors = Vec::with_capacity(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            predecessors.push(last.insert(step.key(), index));
        }
        predecessors
    }

    /// What DPS will hold after all steps.
    ///
    /// # Errors
    /// [`ViewError`] if a step writes a record from which admission cannot be told.
    pub fn applied_to(&self, view: &DpsView) -> Result<DpsView, ViewError> {
        let mut after = view.clone();
        for step in &self.steps {
            step.apply_to(&mut after)?;
        }
        Ok(after)
    }
}

impl Subject {
    /// One key for all spellings of its name.
    pub fn key(&self) -> String {
        match self {
            Self::Authority(name) => format!("authority {name}"),
            Self::Ca(name) => format!("ca {}", name.as_str().to_ascii_lowercase()),
            Self::Group(id) => format!("group {}", id.as_str().to_ascii_lowercase()),
            Self::Device(id) => format!("device {}", id.folded()),
        }
    }
}
