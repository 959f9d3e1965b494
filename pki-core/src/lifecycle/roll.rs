//! Rolling: one generation of an authority takes the place of another, or one leaf that of another.
//!
//! An expiry roll never refuses a device with a valid leaf: [`start`] puts the new generation beside
//! the old one, devices move, [`finish`] takes the old one away; [`abort`] takes the new one away
//! while nobody has moved. A breach roll ([`replace`]) shuts the old generation out first and repairs
//! afterwards. Leaves that individual enrollments name are rolled by [`device`].
//!
//! Where a roll stands follows from the states of the generations in the inventory and from what DPS
//! holds; nothing else is remembered, so every planner can be asked again after a plan was cut short,
//! and plans what is missing. A generation becomes *next* only when DPS admits by it: leaves may be
//! issued from it from then on.
//! Invariant: the slots alternate, and a new certificate ends in the primary one.

mod anchor;
mod breach;
pub mod device;
mod error;
mod expiry;
mod generations;
mod slots;
mod status;
mod upload;

use std::collections::BTreeSet;
use std::fmt;

use crate::admission::{ChainElement, DpsView, Outcome, ViewError, outcome_below};
use crate::authority::ChainBundle;
use crate::certificate::Certificate;
use crate::declaration::VerifiedBy;
use crate::enrollment::{EnrollmentGroup, Mechanism, X509Certificates};
use crate::ids::{
    AuthorityGeneration, AuthorityName, CertificateName, DpsName, Generation, RegistrationId,
    Sha1Thumbprint,
};
use crate::management::CaCertificate;
use crate::time::Time;
use crate::wording::counted;

use super::Plan;
use super::below::is_block;
use super::declared::is_same;

pub(super) use slots::changes as device_slot_changes;

pub use breach::{
    Breach, RegisteredDevice, VERIFIES_BELOW, goal_of_replacing, goes_before, replace, shut_out,
};
pub use error::RollError;
pub use expiry::{Finish, Start, abort, finish, start, stranded_by_finish};
pub use generations::{
    AuthorityState, Condemned, Contradicted, Contradiction, End, Former, GenerationRow,
    Generations, HeldGeneration, Newcomer,
};
pub use status::{Deadline, Phase, RollStatus, Wait, status};

/// An authority with everything that rolling it depends on.
#[derive(Debug, Clone)]
pub struct RollState {
    /// Which authority.
    pub authority: AuthorityName,
    /// Its generations, each with its part.
    pub generations: Generations,
    /// Every CA certificate of this home, to build chains from.
    pub certificates: Vec<Certificate>,
    /// The authorities whose certificates were signed by one of the generations.
    pub below: Vec<Below>,
    /// The DPS instances that may hold it.
    pub instances: Vec<Instance>,
}

/// An authority below the one that is rolled.
#[derive(Debug, Clone)]
pub struct Below {
    /// Its name.
    pub authority: AuthorityName,
    /// Which generation of it.
    pub generation: Generation,
    /// Its certificate.
    pub certificate: Certificate,
    /// How many valid leaves it has signed.
    pub leaves: u64,
}

/// What one DPS instance holds.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name in `pki.toml`.
    pub name: DpsName,
    /// Its CA certificates.
    pub authorities: Vec<CaCertificate>,
    /// Its groups.
    pub groups: Vec<EnrollmentGroup>,
    /// The names under which `pki.toml` wants the authority's CA certificate there.
    pub declared: Vec<CertificateName>,
    /// How it comes to believe that a CA certificate is ours.
    pub verified_by: VerifiedBy,
    /// The certificates of authorities below that an earlier run of a breach roll has cut off here, and that
    /// were not verified since: [`Journal::cut_off`](crate::journal::Journal::cut_off) tells.
    pub cut_off: BTreeSet<Sha1Thumbprint>,
}

/// What to do in one DPS instance. Where there are several, they are carried out in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct InstancePlan {
    /// The instance's name in `pki.toml`.
    pub dps: DpsName,
    /// What to do there.
    pub plan: Plan,
}

/// Devices that stand in the way of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub named: Vec<RegistrationId>,
}

/// A device on its way from an old leaf to a new one.
#[derive(Debug, Clone)]
pub struct MovingDevice {
    /// Which device.
    pub id: RegistrationId,
    /// Since when it has a leaf below the new generation.
    pub new_leaf_since: Option<Time>,
    /// When its registration record last changed.
    pub registered_at: Option<Time>,
    /// Which leaf it showed when it registered last, as the identity on its hub tells.
    pub shown: Shown,
}

/// Which leaf a device showed when it registered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// One below the new generation.
    New,
    /// One that goes.
    Old,
    /// Nobody could look, or the identity names no leaf that is known.
    #[default]
    Unknown,
}

impl MovingDevice {
    /// Whether it has shown its new leaf, as far as that is known. A registration record does not tell
    /// which leaf was shown; the identity on the hub does. Where that cannot be read, a device that has
    /// the new leaf and registers afterwards may have shown it: see [`Self::is_known`].
    pub fn has_moved(&self) -> bool {
        match self.shown {
            Shown::New => true,
            Shown::Old => false,
            Shown::Unknown => self.has_registered_since(),
        }
    }

    /// Whether it is known if it has moved: a device that was not there since it has its new leaf has not.
    pub fn is_known(&self) -> bool {
        self.shown != Shown::Unknown || !self.has_registered_since()
    }

    /// Moments are whole seconds here, and what happens within one does not tell which came first.
    fn has_registered_since(&self) -> bool {
        matches!((self.new_leaf_since, self.registered_at), (Some(since), Some(at)) if at > since)
    }
}

impl Devices {
    /// Counts those that have not moved, and names the first `names` of them.
    pub fn left_behind(devices: impl IntoIterator<Item = MovingDevice>, names: usize) -> Self {
        Self::of(
            devices.into_iter().filter(|device| !device.has_moved()),
            names,
        )
    }

    /// Counts those of which nobody knows if they have moved, and names the first `names` of them.
    pub fn not_known(devices: impl IntoIterator<Item = MovingDevice>, names: usize) -> Self {
        Self::of(
            devices.into_iter().filter(|device| !device.is_known()),
            names,
        )
    }

    fn of(devices: impl Iterator<Item = MovingDevice>, names: usize) -> Self {
        let mut counted = Self::default();
        for device in devices {
            counted.count += 1;
            if counted.named.len() < names {
                counted.named.push(device.id);
            }
        }
        counted
    }
}

impl fmt::Display for Devices {
    /// `3 devices (a, b, …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.count, "device", "devices"))?;
        if self.named.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.named.iter().map(RegistrationId::as_str).collect();
        write!(f, " ({}", names.join(", "))?;
        let is_all = u64::try_from(names.len()).is_ok_and(|named| named == self.count);
        f.write_str(if is_all { ")" } else { ", …)" })
    }
}

impl RollState {
    fn current(&self) -> Result<&HeldGeneration, RollError> {
        let current = self.generations.current();
        current.ok_or_else(|| RollError::NoCurrent {
            authority: self.authority.clone(),
        })
    }

    /// The generation that a breach roll is about.
    ///
    /// # Errors
    /// [`RollError`]: no generation issues, or the one that is named can be no generation to replace.
    pub fn condemned(&self, named: Option<Generation>) -> Result<Condemned<'_>, RollError> {
        self.generations.condemned(&self.authority, named)
    }

    /// The generation that goes, and the one that comes.
    fn rolled(&self) -> Result<(&HeldGeneration, &Newcomer), RollError> {
        match &self.generations.state {
            AuthorityState::Rolling { current, newcomer } => Ok((current, newcomer)),
            AuthorityState::Active { current } | AuthorityState::Requested { current } => {
                Err(RollError::NoSuccessor {
                    authority: self.authority.clone(),
                    current: current.number,
                })
            }
            AuthorityState::New => Err(RollError::NoCurrent {
                authority: self.authority.clone(),
            }),
        }
    }

    /// Whether a group is one that the toolkit made to keep a generation out: it is no holder to be rolled,
    /// and stays.
    fn is_block(&self, group: &EnrollmentGroup) -> bool {
        self.generations
            .all()
            .into_iter()
            .any(|one| is_block(&self.id(one.number), &one.certificate, group))
    }

    fn id(&self, generation: Generation) -> AuthorityGeneration {
        AuthorityGeneration {
            name: self.authority.clone(),
            generation,
        }
    }

    /// What DPS decides about the devices right below a certificate.
    fn outcome(&self, view: &DpsView, certificate: &Certificate) -> Outcome {
        let chain = ChainBundle::build(certificate, &self.certificates);
        let above: Vec<ChainElement> = chain
            .certificates()
            .iter()
            .map(ChainElement::from)
            .collect();
        outcome_below(view, &above)
    }
}

impl Instance {
    /// Whether a group holds a generation, by its certificate or by the name of a CA.
    pub fn holds(&self, group: &EnrollmentGroup, generation: &HeldGeneration) -> bool {
        slots::Side::of(generation, self).is_in(group)
    }

    fn view(&self) -> Result<DpsView, ViewError> {
        DpsView::from_documents(&self.authorities, &self.groups, [])
    }

    /// Names of the authority that groups refer to and under which nothing is uploaded: what the first
    /// step of a breach roll leaves behind.
    fn dangling(&self) -> Vec<CertificateName> {
        let is_ours = |name: &&CertificateName| {
            self.declared.iter().any(|declared| {
                let number = name.as_str().strip_prefix(declared.as_str());
                number.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        };
        let is_gone =
            |name: &&CertificateName| !self.authorities.iter().any(|held| held.name == **name);
        let references =
            self.groups
                .iter()
                .filter_map(|group| match &group.attestation.mechanism {
                    Mechanism::X509(X509Certificates::CaReferences(slots)) => Some(slots),
                    _ => None,
                });
        let names = references.flat_map(|slots| slots.iter());
        let names: BTreeSet<_> = names.filter(is_ours).filter(is_gone).collect();
        names.into_iter().cloned().collect()
    }

    /// Whether a group refers to the name of a CA.
    fn refers_to(&self, name: &CertificateName) -> bool {
        self.groups
            .iter()
            .any(|group| match &group.attestation.mechanism {
                Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                    slots.iter().any(|held| held == name)
                }
                _ => false,
            })
    }

    /// What it holds of a certificate under the name of a CA.
    fn uploads<'a>(
        &'a self,
        certificate: &'a Certificate,
    ) -> impl Iterator<Item = &'a CaCertificate> {
        let held = self.authorities.iter();
        held.filter(move |held| is_same(held, certificate))
    }
}
