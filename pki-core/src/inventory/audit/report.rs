//! What verification tells: findings, each with its facts.

use super::AuditHead;
use crate::ids::AuthorityGeneration;
use crate::inventory::{RowKey, Status};
use crate::profile::Role;

/// What verification of an inventory has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many entries the trail has.
    pub entries: u64,
    /// How many certificates there are.
    pub certificates: u64,
    /// The last entry: a checkpoint to keep outside of the home.
    pub head: Option<AuditHead>,
    /// What is wrong, the first thousand findings.
    pub findings: Vec<AuditFinding>,
    /// How many more findings there are.
    pub further_findings: u64,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Something that is not as the audit trail says, or the trail itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFinding {
    /// The numbers of the entries have a gap.
    #[error("audit entries {first} to {last} are missing")]
    EntriesMissing {
        /// The first one that is missing.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The entry's hash is not that of its content and of the entry before it.
    #[error("audit entry {sequence} was changed, or does not follow the entry before it")]
    EntryChanged {
        /// The entry.
        sequence: u64,
    },
    /// The trail does not have the entry that was noted elsewhere.
    #[error("the audit trail does not reach the checkpoint {checkpoint}")]
    CheckpointMissing {
        /// The checkpoint.
        checkpoint: AuditHead,
    },
    /// The trail has another entry than the one that was noted elsewhere.
    #[error("audit entry {} is not the one of the checkpoint {checkpoint}", checkpoint.sequence)]
    CheckpointMismatch {
        /// The checkpoint.
        checkpoint: AuditHead,
    },
    /// Certificates were removed.
    #[error("{missing} of the certificates that audit entry {sequence} recorded are missing")]
    CertificatesMissing {
        /// The entry that recorded them.
        sequence: u64,
        /// How many are missing.
        missing: u64,
    },
    /// The certificates are not the ones that were recorded.
    #[error("certificates {rows} are not those that audit entry {sequence} recorded")]
    CertificatesChanged {
        /// The entry that recorded them.
        sequence: u64,
        /// Which rows they have.
        rows: String,
    },
    /// A certificate was added without an entry, or its entry was removed.
    #[error("no audit entry recorded certificate {row}")]
    CertificateUnrecorded {
        /// Its row.
        row: RowKey,
    },
    /// A certificate's state is not the one of the last change.
    #[error("certificate {row} is {found}, but {expected} by the audit trail")]
    StatusChanged {
        /// Its row.
        row: RowKey,
        /// The state in the inventory.
        found: Status,
        /// The state by the trail.
        expected: Status,
    },
    /// Something that is kept beside a certificate does not agree with it.
    #[error(
        "the {what} of certificate {row} does not agree with the certificate or the audit trail"
    )]
    CertificateInconsistent {
        /// Its row.
        row: RowKey,
        /// What does not agree.
        what: &'static str,
    },
    /// A generation was removed.
    #[error("{generation} is missing")]
    GenerationMissing {
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// A generation was added without an entry, or its entry was removed.
    #[error("no audit entry recorded {generation}")]
    GenerationUnrecorded {
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// A generation is not as the trail says.
    #[error("the {what} of {generation} is not the one of the audit trail")]
    GenerationChanged {
        /// The generation.
        generation: AuthorityGeneration,
        /// What differs.
        what: &'static str,
    },
    /// A batch was removed.
    #[error("the batch {batch:?} is missing")]
    BatchMissing {
        /// Its name.
        batch: String,
    },
    /// A batch was added without an entry, or its entry was removed.
    #[error("no audit entry opened the batch {batch:?}")]
    BatchUnrecorded {
        /// Its name.
        batch: String,
    },
    /// A batch is not as the trail says.
    #[error("the {what} of the batch {batch:?} is not the one of the audit trail")]
    BatchChanged {
        /// Its name.
        batch: String,
        /// What differs.
        what: &'static str,
    },
    /// A plan was removed.
    #[error("the plan {plan} is missing from the journal")]
    PlanMissing {
        /// Its name.
        plan: String,
    },
    /// A plan was added without an entry, or its entry was removed.
    #[error("no audit entry opened the plan {plan}")]
    PlanUnrecorded {
        /// Its name.
        plan: String,
    },
    /// A plan is not as the trail says.
    #[error("the {what} of the plan {plan} is not the one of the audit trail")]
    PlanChanged {
        /// Its name.
        plan: String,
        /// What differs.
        what: &'static str,
    },
    /// Requests from before the trail bound them are not those that an upgrade found.
    #[error("the kept requests are not those that were found when the inventory was upgraded")]
    RequestsChanged,
    /// A counter is wrong.
    #[error("the counter of {role} certificates that are {status} is {found}, but there are {expected}", role = role.as_str())]
    Counter {
        /// Who signed them; `None` for those signed outside of this home.
        signed_by: Option<AuthorityGeneration>,
        /// What they are for.
        role: Role,
        /// Their state.
        status: Status,
        /// What the counter says.
        found: u64,
        /// How many there are.
        expected: u64,
    },
    /// Something stored cannot be what was written.
    #[error("{what}")]
    Unreadable {
        /// What cannot be read.
        what: String,
    },
}
