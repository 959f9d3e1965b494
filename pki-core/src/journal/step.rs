//! What the audit trail says of a step that is done.

use serde_json::{Value, json};

use super::{Settled, StepEnd};
use crate::ids::{DpsName, PlanId};
use crate::inventory::audit::AuditEvent;
use crate::inventory::{InventoryError, TextError};
use crate::lifecycle::Step;

impl Step {
    /// What the audit trail says of its end: nothing unless it is done. `index` is its place in the
    /// plan, from 0.
    ///
    /// # Errors
    /// [`InventoryError::Corrupt`] if the trail does not take the word for it.
    pub(crate) fn event(
        &self,
        (plan, dps): (PlanId, &DpsName),
        index: usize,
        end: &StepEnd,
    ) -> Result<Option<AuditEvent>, InventoryError> {
        let StepEnd::Done(outcome) = end else {
            return Ok(None);
        };
        let action = self.audit_word().parse();
        let mut detail = json!({
            "plan": plan,
            "step": index + 1,
            "place": self.place(dps),
            "what": self.to_string(),
            "fields": self.changed_fields(),
        });
        if outcome.how == Settled::Found {
            detail["found"] = Value::from(true);
        }
        Ok(Some(AuditEvent {
            action: action
                .map_err(|error: TextError| InventoryError::corrupt(error.to_string()))?,
            subject: self.subject_name(),
            detail,
        }))
    }

    /// The names of the fields that it changes. What it changes them to is not for the trail: twins may
    /// hold what should not be kept for ever.
    fn changed_fields(&self) -> Vec<&str> {
        let changes = self.changes().iter();
        changes.map(|change| change.field.as_str()).collect()
    }
}
