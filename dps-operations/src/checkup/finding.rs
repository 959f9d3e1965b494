//! The kinds of findings, and how each is told.

use std::fmt;

use pki_core::admission::Entry;
use pki_core::ids::{AuthorityGeneration, AuthorityName, DpsName, PlanId, RegistrationId};
use pki_core::lifecycle::{DeclaredError, KeptOut};
use pki_core::time::{Span, Time};
use pki_core::wording::{counted, fitting};

use crate::roll::BreachRequest;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does not work, or cannot be trusted.
    Wrong,
    /// It works, and somebody has to do something.
    Due,
}

/// Something that somebody has to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The inventory is not as its audit trail says.
    AuditTrail {
        /// How many findings there are.
        findings: u64,
        /// The first of them.
        first: String,
    },
    /// A breach roll lacks something in an instance, or on its hubs.
    BreachUnfinished {
        /// The instance.
        dps: DpsName,
        /// The generation that it shuts out.
        generation: AuthorityGeneration,
        /// How it was asked for.
        request: BreachRequest,
        /// The first thing that it lacks.
        left: String,
    },
    /// An instance lets in leaves of a generation that is compromised.
    CompromisedLetIn {
        /// The instance.
        dps: DpsName,
        /// The generation.
        generation: AuthorityGeneration,
        /// What lets them in.
        by: Entry,
    },
    /// An instance lets in devices by leaves that are revoked, or that are below a compromised generation and
    /// in an entry of the device's own.
    RevokedLetIn {
        /// The instance.
        dps: DpsName,
        /// How many devices.
        count: u64,
        /// The first of them.
        named: Vec<RegistrationId>,
    },
    /// The devices of a declared group are refused by a group that is not declared.
    GroupKeptOut {
        /// The instance.
        dps: DpsName,
        /// Which group, and by which.
        kept_out: KeptOut,
        /// Whether that was made to shut out everything below an authority.
        is_quarantine: bool,
    },
    /// Devices with a valid leaf of a declared group are refused by disabled entries of their own.
    DevicesKeptOut {
        /// The instance.
        dps: DpsName,
        /// How many.
        count: u64,
        /// The first of them.
        first: RegistrationId,
    },
    /// The certificate by which an authority issues has ended.
    AuthorityExpired {
        /// Which generation.
        generation: AuthorityGeneration,
        /// When it ended.
        at: Time,
    },
    /// It ends soon, and no other generation is rolled in.
    AuthorityEnds {
        /// Which generation.
        generation: AuthorityGeneration,
        /// When it ends.
        at: Time,
    },
    /// After a day that is near or past, an authority signs no leaf that is valid as long as declared.
    ShortLeaves {
        /// Which generation.
        generation: AuthorityGeneration,
        /// How long leaves are to be valid.
        validity: Span,
        /// The last moment at which it can sign one.
        last: Time,
    },
    /// Leaves have ended, and nothing has taken their place.
    LeavesExpired(Leaves),
    /// Leaves end soon, and nothing has taken their place.
    LeavesEnd(Leaves),
    /// An authority is being rolled.
    Roll {
        /// Which one.
        authority: AuthorityName,
    },
    /// A plan was cut short.
    OpenPlan {
        /// Which one.
        plan: PlanId,
        /// The instance that it changes.
        dps: DpsName,
        /// What it is for.
        goal: String,
    },
    /// An instance is not as declared.
    Drift {
        /// Which one.
        dps: DpsName,
        /// How many steps bring it there.
        steps: usize,
        /// The first of them.
        first: String,
    },
    /// An instance is not as declared, and no plan may bring it there.
    Contradiction {
        /// Which one.
        dps: DpsName,
        /// Why not.
        why: DeclaredError,
    },
}

/// Leaves that somebody has to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    /// How many.
    pub count: u64,
    /// The first that ends: its device, or its subject.
    pub first: String,
    /// When that is.
    pub at: Time,
}

impl Finding {
    /// The words of all kinds, the worst first.
    pub const KINDS: [&'static str; 14] = [
        "audit-trail",
        "compromised-let-in",
        "revoked-let-in",
        "breach-unfinished",
        "authority-expired",
        "group-kept-out",
        "devices-kept-out",
        "leaves-expired",
        "drift",
        "open-plan",
        "authority-ends",
        "short-leaves",
        "leaves-end",
        "roll",
    ];

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AuditTrail { .. } => "audit-trail",
            Self::BreachUnfinished { .. } => "breach-unfinished",
            Self::CompromisedLetIn { .. } => "compromised-let-in",
            Self::RevokedLetIn { .. } => "revoked-let-in",
            Self::GroupKeptOut { .. } => "group-kept-out",
            Self::DevicesKeptOut { .. } => "devices-kept-out",
            Self::AuthorityExpired { .. } => "authority-expired",
            Self::AuthorityEnds { .. } => "authority-ends",
            Self::ShortLeaves { .. } => "short-leaves",
            Self::LeavesExpired(_) => "leaves-expired",
            Self::LeavesEnd(_) => "leaves-end",
            Self::Roll { .. } => "roll",
            Self::OpenPlan { .. } => "open-plan",
            Self::Drift { .. } | Self::Contradiction { .. } => "drift",
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::AuditTrail { .. }
            | Self::BreachUnfinished { .. }
            | Self::CompromisedLetIn { .. }
            | Self::RevokedLetIn { .. }
            | Self::AuthorityExpired { .. } => Severity::Wrong,
            // A quarantine is somebody's decision, and waits for its end.
            Self::GroupKeptOut { is_quarantine, .. } if !is_quarantine => Severity::Wrong,
            _ => Severity::Due,
        }
    }
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Due => "due",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuditTrail { findings, first } => {
                let findings = counted(*findings, "finding", "findings");
                write!(
                    f,
                    "the audit trail is not intact: {findings}, the first: {first}"
                )
            }
            Self::BreachUnfinished {
                dps,
                generation,
                left,
                ..
            } => write!(
                f,
                "the breach roll that shuts out {generation} is not done in DPS {dps}: {left}"
            ),
            Self::CompromisedLetIn {
                dps,
                generation,
                by,
            } => write!(
                f,
                "{by} in DPS {dps} lets in leaves of {generation}, which is compromised"
            ),
            Self::RevokedLetIn { dps, count, named } => {
                let devices = counted(*count, "device", "devices");
                let named: Vec<&str> = named.iter().map(RegistrationId::as_str).collect();
                write!(
                    f,
                    "DPS {dps} lets in {devices} by a leaf that is revoked or below a compromised certificate: {}",
                    named.join(", ")
                )?;
                let named = u64::try_from(named.len()).unwrap_or(u64::MAX);
                match count.saturating_sub(named) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::GroupKeptOut { dps, kept_out, .. } => write!(f, "DPS {dps}: {kept_out}"),
            Self::DevicesKeptOut { dps, count, first } => write!(
                f,
                "DPS {dps} refuses {} with a valid leaf by {}, the first: {first}",
                counted(*count, "device", "devices"),
                fitting(
                    *count,
                    "a disabled individual enrollment",
                    "disabled individual enrollments"
                )
            ),
            Self::AuthorityExpired { generation, at } => {
                write!(
                    f,
                    "{generation} expired on {at} and issues nothing that is valid"
                )
            }
            Self::AuthorityEnds { generation, at } => {
                write!(
                    f,
                    "{generation} ends on {at}, and no other generation is there"
                )
            }
            Self::ShortLeaves {
                generation,
                validity,
                last,
            } => write!(f, "{generation} signs no leaf for {validity} after {last}"),
            Self::LeavesExpired(leaves) => leaves.write(f, ["expired on", "expired"]),
            Self::LeavesEnd(leaves) => leaves.write(f, ["ends on", "end soon"]),
            Self::Roll { authority } => write!(f, "authority {authority} is being rolled"),
            Self::OpenPlan { plan, dps, goal } => {
                write!(f, "plan {plan} in DPS {dps} was cut short: {goal}")
            }
            Self::Contradiction { dps, why } => write!(f, "DPS {dps} is not as declared: {why}"),
            Self::Drift { dps, steps, first } => {
                let steps = counted(*steps, "step", "steps");
                write!(
                    f,
                    "DPS {dps} is not as declared: {steps}, the first: {first}"
                )
            }
        }
    }
}

impl Leaves {
    fn write(&self, f: &mut fmt::Formatter<'_>, [one, many]: [&str; 2]) -> fmt::Result {
        let Self { count, first, at } = self;
        if *count == 1 {
            return write!(f, "the leaf of {first} {one} {at}, and has no successor");
        }
        write!(
            f,
            "{count} leaves {many} and have no successor, the first: {first} on {at}"
        )
    }
}
