//! Why an inventory refuses or fails, one enum for every adapter.

use std::path::PathBuf;

use super::audit::AuditHead;
use super::{GenerationState, Holder, KeyHolder, Label, RowKey, Status};
use crate::ids::{
    AuthorityGeneration, AuthorityName, Generation, PlanId, RegistrationId, SerialNumber,
};
use crate::wording::counted;

/// Why the inventory did not do what it was asked to. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The issuer has signed a certificate with this serial number before (RFC 5280 §4.1.2.2).
    #[error("{issuer:?} has already issued a certificate with the serial number {serial}")]
    DuplicateSerial {
        /// The issuer's name.
        issuer: String,
        /// The serial number.
        serial: SerialNumber,
    },
    /// Devices have a leaf that is live or on its way, and none of these is said to be renewed.
    #[error("{}{}", .first, and_more(*.more))]
    LeafExists {
        /// The first of them, by its registration ID.
        first: Box<Holder>,
        /// How many more there are in the chunk.
        more: usize,
    },
    /// A chunk has two leaves of one device.
    #[error("{id} would get two leaves at once")]
    TwoLeaves {
        /// The device.
        id: RegistrationId,
    },
    /// Requests are for keys that others have, or that were compromised.
    #[error("{}{}", .first, and_more_requests(*.more))]
    KeyTaken {
        /// The first of them.
        first: Box<KeyHolder>,
        /// How many more there are in the chunk.
        more: usize,
    },
    /// Two devices of a chunk bring the same key.
    #[error("the requests of {id} and {other} are for the same key")]
    KeyTwice {
        /// One device.
        id: RegistrationId,
        /// The other.
        other: RegistrationId,
    },
    /// The generation that signed the certificate is not in the inventory.
    #[error("the signer, {signed_by}, is not in the inventory")]
    UnknownSigner {
        /// The generation.
        signed_by: AuthorityGeneration,
    },
    /// There is no such certificate.
    #[error("no certificate {row} in the inventory")]
    CertificateNotFound {
        /// Its row.
        row: RowKey,
    },
    /// The certificate's state does not allow the change.
    #[error("certificate {row} is {from} and cannot become {to}")]
    CertificateState {
        /// Its row.
        row: RowKey,
        /// Its state.
        from: Status,
        /// What it was to become.
        to: Status,
    },
    /// There is no such generation.
    #[error("no {generation} in the inventory")]
    GenerationNotFound {
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// The generation's state does not allow the change.
    #[error("{generation} is {from} and cannot become {to}")]
    GenerationState {
        /// The generation.
        generation: AuthorityGeneration,
        /// Its state.
        from: GenerationState,
        /// What it was to become.
        to: GenerationState,
    },
    /// There is no such batch.
    #[error("no batch {batch:?} in the inventory", batch = batch.as_str())]
    BatchNotFound {
        /// Its name.
        batch: Label,
    },
    /// Another batch has this name.
    #[error("there is another batch {batch:?}", batch = batch.as_str())]
    BatchExists {
        /// The name.
        batch: Label,
    },
    /// The batch is complete and does not change any more.
    #[error("the batch {batch:?} is complete", batch = batch.as_str())]
    BatchComplete {
        /// Its name.
        batch: Label,
    },
    /// The batch cannot be complete yet.
    #[error(
        "the batch {batch:?} is not finished: {delivered} of {total} delivered",
        batch = batch.as_str()
    )]
    BatchUnfinished {
        /// Its name.
        batch: Label,
        /// How many devices were delivered.
        delivered: u64,
        /// How many it has.
        total: u64,
    },
    /// Progress that goes backwards, or past the end.
    #[error(
        "the batch {batch:?} of {total} cannot go from {before} delivered to {delivered}",
        batch = batch.as_str()
    )]
    BatchProgress {
        /// Its name.
        batch: Label,
        /// How many devices were said to be delivered.
        delivered: u64,
        /// How many were before.
        before: u64,
        /// How many it has.
        total: u64,
    },
    /// There is no such plan in the journal.
    #[error("no plan {plan} in the journal")]
    PlanNotFound {
        /// Its name.
        plan: PlanId,
    },
    /// Another plan about the same subject was not carried out to its end.
    #[error("plan {plan} is not finished: {goal}")]
    PlanInTheWay {
        /// Its name.
        plan: PlanId,
        /// What it is for.
        goal: String,
    },
    /// The plan is finished or abandoned, and does not change any more.
    #[error("plan {plan} is closed")]
    PlanClosed {
        /// Its name.
        plan: PlanId,
    },
    /// The plan cannot be finished yet.
    #[error("plan {plan} is not finished: {} left", counted(*.left, "step is", "steps are"))]
    PlanUnfinished {
        /// Its name.
        plan: PlanId,
        /// How many steps are not done.
        left: usize,
    },
    /// The step's state does not allow the change.
    #[error("step {step} of plan {plan} is {state}")]
    StepState {
        /// The plan.
        plan: PlanId,
        /// The step, counted from 1.
        step: usize,
        /// Where it stands.
        state: &'static str,
    },
    /// The trail does not have the entry that a proof was to lead to.
    #[error("the audit trail has no entry {checkpoint} after the certificate")]
    CheckpointUnknown {
        /// The entry.
        checkpoint: AuditHead,
    },
    /// Generations are numbered without gaps, and a number is never used twice.
    #[error(
        "generation {generation} of {authority} cannot be recorded, the next one is {expected}"
    )]
    GenerationNumber {
        /// The authority.
        authority: AuthorityName,
        /// The number that was given.
        generation: Generation,
        /// The number that is next.
        expected: Generation,
    },
    /// Another generation is in this state, which only one can be in.
    #[error("{authority} would have two generations that are {state}")]
    TwoGenerations {
        /// The authority.
        authority: AuthorityName,
        /// The state.
        state: GenerationState,
    },
    /// The generation has no certificate yet.
    #[error("{generation} has no certificate yet")]
    NoCertificate {
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// The generation has a certificate already, or is past waiting for one.
    #[error("{generation} is not waiting for a certificate")]
    HasCertificate {
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// There is no file there.
    #[error("there is no inventory at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// SQLite cannot open a file so deep down.
    #[error(
        "the path of the inventory has {octets} bytes, and SQLite opens none of more than {most}: {}",
        path.display()
    )]
    PathTooLong {
        /// The file, with links followed.
        path: PathBuf,
        /// How long its path is.
        octets: usize,
        /// How long it may be.
        most: usize,
    },
    /// The file is something else.
    #[error("{} is not an inventory of dps-pki", path.display())]
    NotAnInventory {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the toolkit has written it.
    #[error(
        "the inventory has schema {found}, this version knows up to {known}; use a newer dps-pki"
    )]
    SchemaTooNew {
        /// The schema that was found.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// An earlier version of the toolkit has written it, and it cannot be changed where it is.
    #[error(
        "the inventory has schema {found} and is write-protected, so that it cannot be brought to {known}"
    )]
    SchemaTooOld {
        /// The schema that was found.
        found: i64,
        /// The one that is needed.
        known: i64,
    },
    /// It is write-protected, and was to be changed.
    #[error("the inventory {} is write-protected", path.display())]
    WriteProtected {
        /// The file.
        path: PathBuf,
    },
    /// The last changes are in a log beside it, which cannot be read where nothing can be written.
    #[error(
        "the inventory {} is write-protected, and its last changes are still in {}",
        path.display(),
        log.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// Another process is writing to it and did not finish in time.
    #[error("the inventory {} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read as what it is.
    #[error("the inventory is damaged: {what}")]
    Corrupt {
        /// What cannot be read.
        what: String,
    },
    /// What somebody was to act on is not as the audit trail says, or cannot be what was written.
    #[error("the inventory was edited: {what}")]
    Edited {
        /// What the audit finds.
        what: String,
    },
    /// The storage failed.
    #[error("cannot {action} the inventory {place}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The file or server.
        place: String,
        /// What the storage says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl InventoryError {
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

fn and_more(devices: usize) -> String {
    match devices {
        0 => String::new(),
        more => format!("; so have {}", counted(more, "more device", "more devices")),
    }
}

fn and_more_requests(requests: usize) -> String {
    match requests {
        0 => String::new(),
        more => format!("; so {} more", counted(more, "is one", "are others")),
    }
}
