//! The fleet: the leaves of the inventory that got out and have not expired, as classes of which DPS decides
//! alike.
//!
//! DPS looks at a leaf itself only where an individual enrollment has its CN. All other leaves below
//! one generation of an authority share one answer, so they are counted, not listed, and only the
//! exceptions are looked up one by one. A device with two such leaves counts with each. Revoked leaves count
//! like others: DPS reads no revocation lists. They are few, and are read one by one.

mod worklist;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

pub use self::worklist::Worklist;
use crate::admission::{ChainElement, PresentedChain};
use crate::authority::ChainBundle;
use crate::certificate::Certificate;
use crate::ids::{AuthorityGeneration, RegistrationId, Sha256Thumbprint};
use crate::inventory::{Count, Filter, Inventory, InventoryEntry, InventoryError, Status};
use crate::profile::Role;
use crate::time::Time;

/// How many entries of the inventory are at hand at once.
const PAGE: usize = 1000;

/// The leaves that DPS decides about.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// The classes; their counts leave the exceptions out.
    pub classes: Vec<Class>,
    /// Leaves of devices that have an individual enrollment, before or after a change.
    pub exceptions: Vec<Exception>,
}

/// Leaves with the same certificates above them.
#[derive(Debug, Clone)]
pub struct Class {
    /// Which generation signed them; `None` if that was done outside of this home.
    pub signed_by: Option<AuthorityGeneration>,
    /// The certificates above them, nearest first.
    pub above: Vec<ChainElement>,
    /// How many they are, without the exceptions.
    pub leaves: u64,
    /// How many of them are revoked.
    revoked: u64,
    /// Who signed them, where that is no generation of ours.
    issuer: Option<IssuerKey>,
}

/// A leaf that is decided about by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Its device.
    pub id: RegistrationId,
    /// Its identity.
    pub leaf: Sha256Thumbprint,
    /// What stands above it, as an index into [`Fleet::classes`].
    pub class: usize,
    /// Whether it is revoked, which DPS does not know.
    pub is_revoked: bool,
}

/// What tells the issuers of foreign leaves apart: the key identifier, else the name in DER.
type IssuerKey = Vec<u8>;

impl Class {
    /// A class of which only the count is known.
    pub fn new(
        signed_by: Option<AuthorityGeneration>,
        above: Vec<ChainElement>,
        leaves: u64,
    ) -> Self {
        Self {
            signed_by,
            above,
            leaves,
            revoked: 0,
            issuer: None,
        }
    }

    /// How many of its leaves are not revoked.
    pub fn live_leaves(&self) -> u64 {
        self.leaves.saturating_sub(self.revoked)
    }

    /// Whether a leaf belongs to it.
    fn has(&self, entry: &InventoryEntry) -> bool {
        let signer = entry.recorded.signed_by();
        signer == self.signed_by.as_ref()
            && (signer.is_some() || self.issuer == Some(issuer_key(entry.recorded.certificate())))
    }

    /// Whether the chains of its leaves go through one of these certificates.
    fn goes_through(&self, certificates: &BTreeSet<Sha256Thumbprint>) -> bool {
        self.above
            .iter()
            .any(|element| certificates.contains(&element.sha256_thumbprint))
    }
}

impl Fleet {
    /// The valid leaves of an inventory. `individual` are the IDs that have an individual enrollment,
    /// before the change or after it.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn gather<'a>(
        inventory: &dyn Inventory,
        at: Time,
        individual: impl IntoIterator<Item = &'a RegistrationId>,
    ) -> Result<Self, InventoryError> {
        let mut gathering = Gathering::begin(inventory, at)?;
        gathering.count_generations()?;
        gathering.count_foreign()?;
        let individual: BTreeSet<&RegistrationId> = individual.into_iter().collect();
        gathering.except(&individual)?;
        gathering.count_revoked(&individual)?;
        Ok(gathering.fleet)
    }

    /// A fleet of these chains alone, each decided about by itself. Chains without a registration ID
    /// are left out: DPS refuses them whatever it holds.
    pub fn of_chains<'a>(chains: impl IntoIterator<Item = &'a PresentedChain>) -> Self {
        Self::of_leaves(chains.into_iter().map(|chain| (chain, None)))
    }

    /// As [`Self::of_chains`], with the generations that signed the leaves, where they are known.
    pub fn of_leaves<'a>(
        leaves: impl IntoIterator<Item = (&'a PresentedChain, Option<AuthorityGeneration>)>,
    ) -> Self {
        let mut fleet = Self::default();
        for (chain, signed_by) in leaves {
            let id = chain.common_name().and_then(|name| name.parse().ok());
            if let (Some(id), Some(leaf)) = (id, chain.leaf()) {
                fleet.exceptions.push(Exception {
                    id,
                    leaf: leaf.sha256_thumbprint,
                    class: fleet.classes.len(),
                    is_revoked: false,
                });
                let above = chain.above_leaf().to_vec();
                fleet.classes.push(Class::new(signed_by, above, 0));
            }
        }
        fleet
    }

    /// Those of its leaves that are decided about by themselves, and are these devices'.
    #[must_use]
    pub fn of_devices(&self, ids: &BTreeSet<RegistrationId>) -> Self {
        let mut fleet = self.clone();
        fleet.exceptions.retain(|one| ids.contains(&one.id));
        for class in &mut fleet.classes {
            class.leaves = 0;
            class.revoked = 0;
        }
        fleet
    }

    /// The class of what a generation has signed.
    pub fn class_of(&self, signer: &AuthorityGeneration) -> Option<&Class> {
        self.classes
            .iter()
            .find(|class| class.signed_by.as_ref() == Some(signer))
    }

    /// All leaves, the exceptions too.
    pub fn leaves(&self) -> u64 {
        let counted: u64 = self.classes.iter().map(|class| class.leaves).sum();
        counted.saturating_add(u64::try_from(self.exceptions.len()).unwrap_or(u64::MAX))
    }

    /// Names the devices of a class, the exceptions left out, until `take` breaks.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn name_members(
        &self,
        class: usize,
        inventory: &dyn Inventory,
        at: Time,
        mut take: impl FnMut(RegistrationId) -> ControlFlow<()>,
    ) -> Result<(), InventoryError> {
        let Some(wanted) = self.classes.get(class) else {
            return Ok(());
        };
        let mut has_broken = false;
        self.name_live_members(class, inventory, at, |id| {
            let taken = take(id);
            has_broken = taken.is_break();
            taken
        })?;
        if has_broken || wanted.revoked == 0 {
            return Ok(());
        }
        let excepted = self.excepted(class);
        let revoked = Filter {
            status: Some(Status::Revoked),
            ..filter(wanted.signed_by.as_ref())
        };
        each_leaf(&revoked, inventory, at, |entry| {
            match entry.recorded.registration_id() {
                Some(id) if wanted.has(entry) && !excepted.contains(id) => take(id.clone()),
                _ => ControlFlow::Continue(()),
            }
        })
    }

    /// The same without the devices whose leaves are revoked.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn name_live_members(
        &self,
        class: usize,
        inventory: &dyn Inventory,
        at: Time,
        mut take: impl FnMut(RegistrationId) -> ControlFlow<()>,
    ) -> Result<(), InventoryError> {
        let Some(wanted) = self.classes.get(class).filter(|class| class.leaves > 0) else {
            return Ok(());
        };
        let excepted = self.excepted(class);
        let mut take = |id| {
            if excepted.contains(&id) {
                ControlFlow::Continue(())
            } else {
                take(id)
            }
        };
        let Some(signed_by) = &wanted.signed_by else {
            return each_leaf(&filter(None), inventory, at, |entry| {
                match entry.recorded.registration_id() {
                    Some(id) if wanted.has(entry) => take(id.clone()),
                    _ => ControlFlow::Continue(()),
                }
            });
        };
        let mut after = None;
        loop {
            let page = inventory.live_ids(signed_by, at, after, PAGE)?;
            if page.ids.into_iter().any(|id| take(id).is_break()) || page.next.is_none() {
                return Ok(());
            }
            after = page.next;
        }
    }

    /// A device that is an exception is one with all of its leaves.
    fn excepted(&self, class: usize) -> HashSet<RegistrationId> {
        let excepted = self.exceptions.iter().filter(|one| one.class == class);
        excepted.map(|one| one.id.clone()).collect()
    }
}

/// What is needed while a fleet is put together.
struct Gathering<'a> {
    inventory: &'a dyn Inventory,
    at: Time,
    /// The certificates of all generations, to build chains from.
    pool: Vec<Certificate>,
    by_generation: BTreeMap<AuthorityGeneration, usize>,
    by_issuer: HashMap<IssuerKey, usize>,
    fleet: Fleet,
}

impl<'a> Gathering<'a> {
    fn begin(inventory: &'a dyn Inventory, at: Time) -> Result<Self, InventoryError> {
        let mut gathering = Self {
            inventory,
            at,
            pool: Vec::new(),
            by_generation: BTreeMap::new(),
            by_issuer: HashMap::new(),
            fleet: Fleet::default(),
        };
        for authority in inventory.authorities()? {
            for record in authority.generations {
                let Some(recorded) = record.certificate else {
                    continue;
                };
                let id = AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: record.generation,
                };
                let class = gathering.by_generation.len();
                gathering.by_generation.insert(id, class);
                gathering.pool.push(recorded.certificate().clone());
            }
        }
        Ok(gathering)
    }

    /// One class per generation: what was delivered, without what has expired since.
    fn count_generations(&mut self) -> Result<(), InventoryError> {
        for (id, certificate) in self.by_generation.keys().zip(&self.pool) {
            let delivered = filter(Some(id));
            let expired = Filter {
                expiring_before: Some(self.at),
                ..delivered.clone()
            };
            let leaves = self.inventory.count(&delivered)?;
            let leaves = leaves.saturating_sub(self.inventory.count(&expired)?);
            let above = ChainBundle::build(certificate, &self.pool);
            let above = above
                .certificates()
                .iter()
                .map(ChainElement::from)
                .collect();
            let class = Class::new(Some(id.clone()), above, leaves);
            self.fleet.classes.push(class);
        }
        Ok(())
    }

    /// Leaves that were signed outside have no generation to be counted by: these are read.
    fn count_foreign(&mut self) -> Result<(), InventoryError> {
        let stats = self.inventory.stats()?;
        let is_foreign = |count: &Count| {
            count.signed_by.is_none()
                && count.role == Role::Leaf
                && count.status == Status::Delivered
        };
        if !stats.counts.iter().any(is_foreign) {
            return Ok(());
        }
        let inventory = self.inventory;
        let at = self.at;
        each_leaf(&filter(None), inventory, at, |entry| {
            if entry.recorded.signed_by().is_none() {
                let class = self.foreign_class(entry.recorded.certificate());
                self.fleet.classes[class].leaves += 1;
            }
            ControlFlow::Continue(())
        })
    }

    /// Adds the revoked leaves: to their classes, or as exceptions if they are of one of these devices.
    fn count_revoked(
        &mut self,
        individual: &BTreeSet<&RegistrationId>,
    ) -> Result<(), InventoryError> {
        let stats = self.inventory.stats()?;
        let is_revoked =
            |count: &Count| count.role == Role::Leaf && count.status == Status::Revoked;
        if !stats.counts.iter().any(is_revoked) {
            return Ok(());
        }
        let revoked = Filter {
            status: Some(Status::Revoked),
            ..filter(None)
        };
        let inventory = self.inventory;
        let at = self.at;
        each_leaf(&revoked, inventory, at, |entry| {
            let class = self.class_of(entry);
            let id = entry.recorded.registration_id();
            if let (Some(class), Some(id)) = (class, id) {
                if individual.contains(id) {
                    self.fleet.exceptions.push(Exception {
                        id: id.clone(),
                        leaf: entry.recorded.certificate().sha256_thumbprint(),
                        class,
                        is_revoked: true,
                    });
                } else {
                    self.fleet.classes[class].leaves += 1;
                    self.fleet.classes[class].revoked += 1;
                }
            }
            ControlFlow::Continue(())
        })
    }

    fn class_of(&mut self, entry: &InventoryEntry) -> Option<usize> {
        match entry.recorded.signed_by() {
            Some(signer) => self.by_generation.get(signer).copied(),
            None => Some(self.foreign_class(entry.recorded.certificate())),
        }
    }

    fn foreign_class(&mut self, leaf: &Certificate) -> usize {
        let key = issuer_key(leaf);
        if let Some(class) = self.by_issuer.get(&key) {
            return *class;
        }
        let chain = ChainBundle::build(leaf, &self.pool);
        let above = chain.certificates().iter().skip(1);
        let class = Class {
            issuer: Some(key.clone()),
            ..Class::new(None, above.map(ChainElement::from).collect(), 0)
        };
        self.fleet.classes.push(class);
        let index = self.fleet.classes.len() - 1;
        self.by_issuer.insert(key, index);
        index
    }

    /// Takes the leaves of these devices out of their classes.
    fn except(&mut self, ids: &BTreeSet<&RegistrationId>) -> Result<(), InventoryError> {
        let ids: Vec<RegistrationId> = ids.iter().map(|id| (*id).clone()).collect();
        for chunk in ids.chunks(PAGE) {
            for id in self.inventory.find_ids(chunk, self.at)? {
                for entry in self.inventory.live_leaves(&id, self.at)? {
                    self.except_leaf(&id, &entry);
                }
            }
        }
        Ok(())
    }

    fn except_leaf(&mut self, id: &RegistrationId, entry: &InventoryEntry) {
        let Some(class) = self.class_of(entry) else {
            return;
        };
        let counted = &mut self.fleet.classes[class].leaves;
        *counted = counted.saturating_sub(1);
        self.fleet.exceptions.push(Exception {
            id: id.clone(),
            leaf: entry.recorded.certificate().sha256_thumbprint(),
            class,
            is_revoked: false,
        });
    }
}

/// Delivered leaves, of one generation if one is given.
fn filter(signed_by: Option<&AuthorityGeneration>) -> Filter {
    Filter {
        authority: signed_by.map(|signer| signer.name.clone()),
        generation: signed_by.map(|signer| signer.generation),
        status: Some(Status::Delivered),
        role: Some(Role::Leaf),
        ..Filter::default()
    }
}

/// Reads the leaves that fit and have not expired.
fn each_leaf(
    filter: &Filter,
    inventory: &dyn Inventory,
    at: Time,
    mut take: impl FnMut(&InventoryEntry) -> ControlFlow<()>,
) -> Result<(), InventoryError> {
    let mut after = None;
    loop {
        let page = inventory.list(filter, after.as_ref(), PAGE)?;
        for entry in &page.entries {
            let not_after = entry.recorded.certificate().validity().not_after();
            if not_after >= at && take(entry).is_break() {
                return Ok(());
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn issuer_key(leaf: &Certificate) -> IssuerKey {
    leaf.authority_key_identifier()
        .unwrap_or_else(|| leaf.issuer().to_der())
}
