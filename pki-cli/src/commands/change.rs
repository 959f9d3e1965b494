//! One write to DPS or a hub that was asked for by name: shown, asked about, sent, recorded.
//!
//! Plans of several steps, made by `pki-core`, are [`crate::execute`]'s.
//! Invariant: what keeps a device out is taken away only where that was asked for in so many words, and
//! only what was read is overwritten.

use std::fmt;
use std::future::Future;

use dps_client::ClientError;
use pki_core::inventory::audit::AuditEvent;
use pki_core::inventory::{Inventory as _, TextError};
use pki_core::lifecycle::{Effect, FieldChange, Impact, differences};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::render::plan::write_impact;

/// A write, before anything is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// What the audit trail will say: `group-disabled`.
    pub(crate) action: &'static str,
    /// What is done, in the imperative: `disable enrollment group line-1`.
    pub(crate) summary: String,
    /// The record's ID.
    pub(crate) subject: String,
    /// The DPS instance or hub that holds it.
    pub(crate) place: String,
    /// What differs in the record.
    pub(crate) changes: Vec<FieldChange>,
    /// What follows from it.
    pub(crate) notes: Vec<String>,
    /// Who loses and gains admission; `None` where it does not matter or cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) impact: Option<Impact>,
}

impl Change {
    /// Refuses what lets in a device that is kept out now; `hint` says how it could be meant.
    pub(crate) fn refuse_gains(&self, hint: &str) -> Result<(), CommandError> {
        let Some(impact) = &self.impact else {
            return Ok(());
        };
        let Some(first) = impact.with(Effect::Gains).next() else {
            return Ok(());
        };
        let named = first.named.first().map(ToString::to_string);
        let others = match impact.count(Effect::Gains) {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let message = format!(
            "{} lets in {}{others}: {} now, {} afterwards",
            self.summary,
            named.as_deref().unwrap_or("a device"),
            first.before,
            first.after
        );
        Err(CommandError::refused(message).hint(hint))
    }

    /// Shows it, asks, sends it and writes it into the audit trail; a dry run only shows it.
    ///
    /// `send` returns the record as the service holds it afterwards; `again` reads it once more, to
    /// tell what somebody else has changed since `before` was read.
    pub(crate) fn carry_out(
        self,
        context: &Context,
        before: &Value,
        send: impl Future<Output = Result<Value, ClientError>>,
        again: impl Future<Output = Result<Value, ClientError>>,
    ) -> CommandResult {
        if context.settings.dry_run {
            return self.report(context, None);
        }
        context.ui.note(&self);
        context.confirm(&format!("{}: {}?", self.place, self.summary))?;
        // Before anything is sent: what cannot be recorded is not done.
        let mut inventory = context.inventory()?;
        let event = self.event()?;
        let document = context.block_on(async {
            match send.await {
                Err(error) if is_conflict(&error, before) => {
                    Err(self.conflict(before, again.await.ok(), error))
                }
                result => Ok(result?),
            }
        })?;
        if let Err(error) = inventory.append_audit(event, context.now()) {
            let message = format!(
                "{}: {}: done, but not in the audit trail",
                self.place, self.summary
            );
            return Err(CommandError::failed(message).because(error));
        }
        self.report(context, Some(document))
    }

    /// Which fields were changed, not to what: twins may hold what the trail should not keep for ever.
    fn event(&self) -> Result<AuditEvent, CommandError> {
        let action = self.action.parse();
        let fields: Vec<&str> = self.changes.iter().map(|one| one.field.as_str()).collect();
        Ok(AuditEvent {
            action: action.map_err(|error: TextError| CommandError::failed(error.to_string()))?,
            subject: self.subject.clone(),
            detail: json!({ "place": self.place, "fields": fields }),
        })
    }

    fn conflict(&self, before: &Value, now: Option<Value>, error: ClientError) -> CommandError {
        let differs = match (now, before) {
            (None, _) => "it is gone, or cannot be read".to_owned(),
            (Some(_), Value::Null) => "somebody else has made it".to_owned(),
            (Some(now), before) => {
                let changes = differences(before, &now);
                let changes: Vec<String> = changes.iter().map(line).collect();
                match changes.is_empty() {
                    true => "its content is the same, its ETag is not".to_owned(),
                    false => changes.join("; "),
                }
            }
        };
        let message = format!("{} changed since it was read: {differs}", self.subject);
        CommandError::new(ErrorKind::Conflict, message)
            .because(error)
            .hint("nothing was overwritten; run it again to see what it would do now")
    }

    fn report(self, context: &Context, document: Option<Value>) -> CommandResult {
        context.ui.result(&Report {
            done: document.is_some(),
            document: document.filter(|document| !document.is_null()),
            change: self,
        })?;
        Ok(Outcome::Done)
    }
}

/// Says that a record is as it should be already.
pub(crate) fn nothing_to_do(context: &Context, state: &str) -> CommandResult {
    context.ui.result(&NothingToDo { done: false, state })?;
    Ok(Outcome::Done)
}

/// A record that is not as it was read, or not there any more; a new one that is there already.
fn is_conflict(error: &ClientError, before: &Value) -> bool {
    error.is_conflict()
        || error.is_precondition_failed()
        || (error.is_not_found() && !before.is_null())
}

/// `iotHubs: null -> ["hub-1.azure-devices.net"]`.
fn line(change: &FieldChange) -> String {
    format!("{}: {} -> {}", change.field, change.from, change.to)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.summary)?;
        for change in &self.changes {
            write!(f, "\n  {}", line(change))?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        match &self.impact {
            Some(impact) => {
                writeln!(f)?;
                write_impact(f, impact)
            }
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Report {
    done: bool,
    #[serde(flatten)]
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.done {
            // Everything else was shown before it was done.
            true => write!(f, "done in {}: {}", self.change.place, self.change.summary),
            false => write!(f, "would do in {}", self.change),
        }
    }
}

#[derive(Serialize)]
struct NothingToDo<'a> {
    done: bool,
    state: &'a str,
}

impl fmt::Display for NothingToDo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing to do: {}", self.state)
    }
}
