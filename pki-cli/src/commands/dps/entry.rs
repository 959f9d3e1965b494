//! What groups and individual enrollments have in common: find, change the status, put a document.

use std::path::Path;

use dps_client::service::Enrollments;
use pki_core::enrollment::{Enrollment, Mechanism, ProvisioningStatus};
use pki_core::ids::{DpsName, Etag};
use pki_core::lifecycle::{
    Expectation, FieldChange, Found, Impact, Promise, Standing, Step, Who, differences,
};
use pki_core::wording::command_in;
use serde_json::Value;

use crate::commands::change::{Change, nothing_to_do};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::inputs::Inputs;
use crate::planes::Planes;
use crate::render::document::without_keys;
use crate::runtime::Runtime;

/// An enrollment in the words and steps of these commands.
pub(super) trait Record: Enrollment {
    /// What it is called in sentences.
    const WORD: &'static str;
    /// Whom it lets in.
    const DEVICES: &'static str;
    /// What the audit trail says when it was written.
    const WRITTEN: &'static str;
    /// What the audit trail says when it was enabled.
    const ENABLED: &'static str;
    /// What the audit trail says when it was disabled.
    const DISABLED: &'static str;
    /// What was read back where there is none.
    const NONE: Found;
    /// What the audit trail says when it was deleted.
    const DELETED: &'static str;
    /// The command that enables it, without its instance.
    const ENABLE: &'static str;

    /// It, as what was read back.
    fn found(&self) -> Found;
    /// The step that writes it.
    fn put(&self, changes: Vec<FieldChange>, expect: Expectation) -> Step;
}

/// The entry of this ID, which has to be there.
pub(super) fn existing<E: Record>(
    runtime: &Runtime,
    planes: &Planes<'_>,
    records: &Enrollments<E>,
    id: &E::Id,
) -> Result<E, CommandError> {
    let found = runtime.block_on(async { Ok(records.find(id).await?) })?;
    found.ok_or_else(|| {
        let word = E::WORD;
        CommandError::not_found(format!("DPS {} has no {word} {id}", planes.name()))
    })
}

/// What a change of an entry expects: that it is as it was read.
pub(super) fn tag<E: Record>(entry: &E) -> Result<Etag, CommandError> {
    entry.etag().cloned().ok_or_else(|| {
        let message = format!("DPS sent {} {} without an ETag", E::WORD, entry.id());
        CommandError::new(ErrorKind::Service, message)
            .hint("without it nothing guards against overwriting somebody else's change")
    })
}

/// Disables or enables an entry that was read.
pub(super) fn set_status<E: Record>(
    context: &Context,
    planes: &Planes<'_>,
    before: &E,
    status: ProvisioningStatus,
    notes: Vec<String>,
    impact: impl FnOnce(&E) -> Result<Option<Impact>, CommandError>,
) -> CommandResult {
    let word = E::WORD;
    let id = before.id();
    let enables = status == ProvisioningStatus::Enabled;
    let (action, summary) = if enables {
        (
            E::ENABLED,
            format!("enable {word} {id}, which lets {} in", E::DEVICES),
        )
    } else {
        (E::DISABLED, format!("disable {word} {id}"))
    };
    if *before.status() == status {
        let state = format!("{word} {id} is {} already", status.as_str());
        return nothing_to_do(context, planes, &summary, &state);
    }
    let mut after = before.clone();
    after.set_status(status);
    let impact = impact(&after)?;
    write(
        context,
        planes,
        Some(before),
        &after,
        Wording {
            action,
            summary,
            notes,
            impact,
        },
    )
}

/// What is said of a write.
pub(super) struct Wording {
    pub(super) action: &'static str,
    pub(super) summary: String,
    pub(super) notes: Vec<String>,
    pub(super) impact: Option<Impact>,
}

/// Writes an entry in the place of the one that was read, if there was one.
pub(super) fn write<E: Record>(
    context: &Context,
    planes: &Planes<'_>,
    before: Option<&E>,
    after: &E,
    wording: Wording,
) -> CommandResult {
    let expect = match before {
        Some(before) => Expectation::Etag(tag(before)?),
        None => Expectation::Absent,
    };
    let shown = before.map_or(Value::Null, without_keys);
    let change = Change {
        action: wording.action,
        goal: (wording.action == E::WRITTEN).then(|| goal_of_writing(after)),
        summary: wording.summary,
        subject: after.id().to_string(),
        place: format!("DPS {}", planes.name()),
        changes: differences(&shown, &without_keys(after)),
        notes: wording.notes,
        impact: wording.impact,
    };
    let keeps_out = |entry: &E| *entry.status() == ProvisioningStatus::Disabled;
    let mut promise = Promise {
        refuses: Who::Anybody,
        lets_in: Who::Anybody,
        ..Promise::default()
    };
    if before.is_some_and(keeps_out) && keeps_out(after) {
        change.refuse_gains("a disabled entry has to keep out whom it keeps out now")?;
        promise.lets_in = Who::Nobody;
    }
    let step = after.put(change.changes.clone(), expect);
    if change.action == E::ENABLED {
        promise.reopens.extend(step.subjects());
    }
    let read = before.map_or(E::NONE, E::found);
    change.carry_out_as(context, planes, step, &read, &promise)
}

/// What the journal calls the deletion of an entry.
pub(super) fn goal_of_deletion<E: Record>(id: &E::Id) -> String {
    format!("delete {} {id}", E::WORD)
}

/// The deletion of an entry.
pub(super) fn deletion<E: Record>(
    planes: &Planes<'_>,
    id: &E::Id,
    notes: Vec<String>,
    impact: Option<Impact>,
) -> Change {
    Change {
        action: E::DELETED,
        summary: goal_of_deletion::<E>(id),
        goal: None,
        subject: id.to_string(),
        place: format!("DPS {}", planes.name()),
        changes: vec![],
        notes,
        impact,
    }
}

/// The summary of a write: `create` or `replace`.
pub(super) fn summary<E: Record>(before: Option<&E>, after: &E) -> String {
    let verb = if before.is_some() {
        "replace"
    } else {
        "create"
    };
    let status = after.status();
    format!("{verb} {} {}, {status}", E::WORD, after.id())
}

/// Whether what was read is as it is to be written. Keys are not shown, so that one that brings some is
/// written.
pub(super) fn is_written<E: Record>(before: Option<&E>, after: &E) -> bool {
    let brings_keys = matches!(
        after.attestation().mechanism,
        Mechanism::SymmetricKey(Some(_))
    );
    let Some(before) = before.filter(|_| !brings_keys) else {
        return false;
    };
    let changes = differences(&without_keys(before), &without_keys(after));
    let expect = Expectation::of(before.etag());
    let step = after.put(changes, expect.clone());
    matches!(step.standing(&before.found(), &expect), Standing::Done(_))
}

/// Says so.
pub(super) fn written_before<E: Record>(
    context: &Context,
    planes: &Planes<'_>,
    after: &E,
) -> CommandResult {
    let state = format!("{} {} is so already", E::WORD, after.id());
    nothing_to_do(context, planes, &goal_of_writing(after), &state)
}

/// What the journal calls the writing of an entry, whether it is there already or not.
fn goal_of_writing<E: Record>(after: &E) -> String {
    let status = after.status();
    format!("put {} {}, {status}", E::WORD, after.id())
}

/// Reads a document that is to be put as it is.
pub(super) fn document<E: Record>(
    inputs: &Inputs,
    path: &Path,
    id: &E::Id,
) -> Result<E, CommandError> {
    let content = inputs.read(path)?;
    let document: E =
        serde_json::from_slice(&content).map_err(|error| CommandError::in_file(path, &error))?;
    if document.id() != id {
        let message = format!(
            "{} is the document of {} {}, not of {id}",
            path.display(),
            E::WORD,
            document.id()
        );
        return Err(CommandError::invalid_input(message));
    }
    Ok(document)
}

/// Refuses a document that would let in who is kept out, and one that was made from another state of
/// the record than the present one.
pub(super) fn check_document<E: Record>(
    dps: &DpsName,
    before: Option<&E>,
    document: &E,
) -> Result<(), CommandError> {
    let Some(before) = before else {
        return Ok(());
    };
    let word = E::WORD;
    let id = before.id();
    if document
        .etag()
        .is_some_and(|etag| Some(etag) != before.etag())
    {
        let message = format!("{word} {id} changed since the document was read from it");
        return Err(CommandError::new(ErrorKind::Conflict, message)
            .hint("show it again and take over what changed; or leave out the member etag"));
    }
    let kept_out = &ProvisioningStatus::Disabled;
    if before.status() == kept_out && document.status() != kept_out {
        let message = format!(
            "{word} {id} is disabled, and the document enables it: that lets {} in",
            E::DEVICES
        );
        return Err(CommandError::refused(message)
            .hint("write \"provisioningStatus\": \"disabled\" into the document")
            .hint(format!(
                "to let them in, say: {}",
                command_in(dps, format_args!("{} {id}", E::ENABLE))
            )));
    }
    Ok(())
}

/// What a document does that the comparison of fields does not show.
pub(super) fn document_notes<E: Record>(before: Option<&E>, document: &E) -> Vec<String> {
    let mut notes = Vec::new();
    let brings_keys = matches!(
        document.attestation().mechanism,
        Mechanism::SymmetricKey(Some(_))
    );
    if brings_keys && before.is_some() {
        notes.push("the document brings symmetric keys, which replace those in DPS".to_owned());
    }
    if before.is_some() {
        notes
            .push("a member that the document leaves out becomes the service's default".to_owned());
    }
    notes
}
