//! Whom a breach roll leaves with something to do: a new leaf, an instance, a hub.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::{Class, Exception, Fleet};
use crate::admission::{DpsView, Entry, Outcome, Refusal, outcome_below, outcome_of};
use crate::ids::{RegistrationId, Sha256Thumbprint};
use crate::inventory::{Inventory, InventoryError};
use crate::time::Time;

/// The devices that need something after a breach roll.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worklist {
    /// Those with a leaf below a compromised certificate that no instance lets in with any leaf: each needs a
    /// new one.
    pub shut_out: BTreeSet<RegistrationId>,
    /// Those that an instance lets in again, with another leaf: a hub may keep them out still.
    pub back: BTreeSet<RegistrationId>,
    /// Of those, whom an instance refuses still, in the order of the instances.
    pub refused: Vec<BTreeSet<RegistrationId>>,
}

impl Fleet {
    /// The devices with a leaf below one of these certificates that is refused everywhere. The fleet must have
    /// been gathered with the individual enrollments of the instances.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    pub fn worklist(
        &self,
        below: &BTreeSet<Sha256Thumbprint>,
        views: &[DpsView],
        inventory: &dyn Inventory,
        at: Time,
    ) -> Result<Worklist, InventoryError> {
        let is_let_in = |class: &Class| {
            views
                .iter()
                .any(|view| matches!(outcome_below(view, &class.above), Outcome::Admitted(_)))
        };
        let let_in: Vec<bool> = self.classes.iter().map(is_let_in).collect();
        let mut list = Worklist::default();
        for (index, class) in self.classes.iter().enumerate() {
            if class.goes_through(below) && !let_in[index] {
                self.name_live_members(index, inventory, at, |id| {
                    list.shut_out.insert(id);
                    ControlFlow::Continue(())
                })?;
            }
        }
        let is_in = |one: &Exception| {
            let above = &self.classes[one.class].above;
            views.iter().any(|view| {
                matches!(
                    outcome_of(view, &one.id, &one.leaf, above),
                    Outcome::Admitted(_)
                )
            })
        };
        for one in &self.exceptions {
            // A leaf that was revoked is waited for by nobody, and a new one does not help past an entry of the
            // device's own that is disabled.
            let is_hit = !one.is_revoked && self.classes[one.class].goes_through(below);
            if is_hit && !is_in(one) && !self.is_shut_out_alone(one, views) {
                list.shut_out.insert(one.id.clone());
            }
        }
        for one in self.exceptions.iter().filter(|one| is_in(one)) {
            list.comes_back(&one.id);
        }
        for (index, _) in self
            .classes
            .iter()
            .enumerate()
            .filter(|(index, _)| let_in[*index])
        {
            if list.shut_out.is_empty() {
                break;
            }
            self.name_members(index, inventory, at, |id| {
                list.comes_back(&id);
                ControlFlow::Continue(())
            })?;
        }
        if !list.back.is_empty() {
            for view in views {
                let refused = self.refused_by(view, &let_in, inventory, at)?;
                list.refused.push(&refused & &list.back);
            }
        }
        Ok(list)
    }

    /// Whether an entry of the device's own keeps it out, wherever there is one.
    fn is_shut_out_alone(&self, one: &Exception, views: &[DpsView]) -> bool {
        let above = &self.classes[one.class].above;
        views.iter().any(|view| {
            let outcome = outcome_of(view, &one.id, &one.leaf, above);
            matches!(outcome, Outcome::Disabled(Entry::Individual(_)))
        })
    }

    /// The devices with leaves that are let in somewhere, all of which this instance refuses. One that holds
    /// nothing of their chains refuses nobody: it is not theirs.
    fn refused_by(
        &self,
        view: &DpsView,
        let_in: &[bool],
        inventory: &dyn Inventory,
        at: Time,
    ) -> Result<BTreeSet<RegistrationId>, InventoryError> {
        let mut refused = BTreeSet::new();
        let mut admitted = BTreeSet::new();
        for (index, class) in self.classes.iter().enumerate() {
            if !let_in[index] {
                continue;
            }
            let devices = match outcome_below(view, &class.above) {
                Outcome::Refused(Refusal::NoEntry) => continue,
                Outcome::Admitted(_) => &mut admitted,
                _ => &mut refused,
            };
            self.name_live_members(index, inventory, at, |id| {
                devices.insert(id);
                ControlFlow::Continue(())
            })?;
        }
        Ok(&refused - &admitted)
    }

    /// The devices that an enrollment of their own lets in with a leaf below one of these certificates:
    /// nothing that happens to a group shuts them out.
    pub fn own_entries_below(
        &self,
        below: &BTreeSet<Sha256Thumbprint>,
        view: &DpsView,
    ) -> BTreeSet<RegistrationId> {
        let admitted = self.exceptions.iter().filter(|one| {
            let class = &self.classes[one.class];
            let outcome = outcome_of(view, &one.id, &one.leaf, &class.above);
            class.goes_through(below) && matches!(outcome, Outcome::Admitted(Entry::Individual(_)))
        });
        admitted.map(|one| one.id.clone()).collect()
    }
}

impl Worklist {
    fn comes_back(&mut self, id: &RegistrationId) {
        if let Some(id) = self.shut_out.take(id) {
            self.back.insert(id);
        }
    }
}
