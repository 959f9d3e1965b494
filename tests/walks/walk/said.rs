//! What is said: an operation, when its process dies, and whether it is said again.

use std::fmt;

use crate::walks::random::Random;
use crate::walks::site::Death;

/// What is asked for. Numbers stand for a device, a line or a group, counted around.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    Quarantine(Vec<usize>, &'static str),
    QuarantineAuthority(usize),
    Readmit(usize),
    Deprovision(Vec<usize>),
    DeprovisionGroup(usize),
    RollStart(usize),
    RollCompromised(usize),
    RollFinish(usize),
    RollAbort(usize),
    RollRoot,
    Apply { prune: bool },
    Renew(usize),
    RenewAll(usize),
    GroupDisable(usize),
    GroupEnable(usize),
}

/// An operation, at which moment its process dies, and whether it is said again after that it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) operation: Operation,
    pub(super) cut: Option<Death>,
    pub(super) again: bool,
}

impl Said {
    pub(crate) fn random(random: &mut Random) -> Self {
        let number = random.below(1000);
        let many = vec![number, number / 3, number / 7];
        let operation = match random.below(20) {
            0 | 1 => Operation::Quarantine(vec![number], "disable"),
            2 => Operation::Quarantine(vec![number], "delete"),
            3 => Operation::Quarantine(many, "disable"),
            4 => Operation::QuarantineAuthority(number),
            5 | 6 => Operation::Readmit(number),
            7 => Operation::Deprovision(vec![number]),
            8 => Operation::DeprovisionGroup(number),
            9 | 10 => Operation::RollStart(number),
            11 => Operation::RollCompromised(number),
            12 | 13 => Operation::RollFinish(number),
            14 => Operation::RollAbort(number),
            15 => Operation::Apply {
                prune: random.one_in(2),
            },
            16 => Operation::Renew(number),
            17 => Operation::RenewAll(number),
            18 => Operation::GroupDisable(number),
            _ if random.one_in(4) => Operation::RollRoot,
            _ => Operation::GroupEnable(number),
        };
        Self {
            operation,
            cut: random.one_in(2).then(|| Self::death(random)),
            again: random.one_in(3),
        }
    }
}

impl Said {
    pub(super) fn uncut(operation: Operation) -> Self {
        Self {
            operation,
            cut: None,
            again: false,
        }
    }

    /// Mostly about a write, of which there are few.
    pub(super) fn death(random: &mut Random) -> Death {
        let write = 1 + random.below(6);
        match random.below(5) {
            0 => Death::Moment(1 + random.below(60)),
            1 | 2 => Death::Before(write),
            _ => Death::After(write),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.operation)?;
        if let Some(cut) = self.cut {
            write!(f, ", cut at {cut:?}")?;
        }
        if self.again {
            write!(f, ", again")?;
        }
        Ok(())
    }
}
