//! The numbers of an authority's CRLs, which only grow (RFC 5280 §5.2.3).
//!
//! A list's number is that of its entry in the audit trail, which is written first, and more by what the
//! authority's lists were ahead when it was taken over. So numbers grow whoever else makes lists, and a
//! list that is never finished leaves a gap.

use pki_core::crl::CrlNumber;
use pki_core::ids::{AuthorityGeneration, AuthorityName};
use pki_core::inventory::audit::{AuditEntry, AuditEvent, EventAction};
use pki_core::inventory::{Inventory, TextError};
use pki_core::time::Time;
use serde_json::{Value, json};

use crate::error::CommandError;

/// The greatest number that is continued: far above what counting comes to, and far below where adding
/// ends.
pub(super) const GREATEST: u64 = u64::MAX >> 1;

const NUMBERED: &str = "crl-numbered";
const CONTINUED: &str = "crl-numbers-continued";

/// Takes the next number. `facts` of the list go into the trail.
pub(super) fn take(
    inventory: &mut dyn Inventory,
    authority: &AuthorityName,
    facts: Value,
    now: Time,
) -> Result<CrlNumber, CommandError> {
    let head = inventory.append_audit(event(NUMBERED, authority, facts)?, now)?;
    let ahead = ahead(inventory, authority, head.sequence)?;
    Ok(CrlNumber::new(head.sequence + ahead))
}

/// Keeps all later numbers of an authority above that of a list that was made elsewhere.
pub(super) fn continue_after(
    inventory: &mut dyn Inventory,
    signed_by: &AuthorityGeneration,
    last: CrlNumber,
    now: Time,
) -> Result<(), CommandError> {
    let next = inventory.audit_head()?.map_or(0, |head| head.sequence) + 1;
    if next + ahead(inventory, &signed_by.name, next)? > last.number() {
        return Ok(());
    }
    let facts = json!({ "generation": signed_by.generation, "after": last });
    inventory.append_audit(event(CONTINUED, &signed_by.name, facts)?, now)?;
    Ok(())
}

/// How far numbers are ahead of the trail at an entry: by the most that any entry before it asks for,
/// so that it does not matter which of two was written first.
fn ahead(
    inventory: &dyn Inventory,
    authority: &AuthorityName,
    at: u64,
) -> Result<u64, CommandError> {
    let events = inventory.events(&action(CONTINUED)?, authority.as_str())?;
    events
        .iter()
        .filter(|entry| entry.sequence() < at)
        .map(asked_for)
        .try_fold(0, |most, asked| Ok(most.max(asked?)))
}

fn asked_for(entry: &AuditEntry) -> Result<u64, CommandError> {
    let after = entry.detail()["after"]
        .as_u64()
        .filter(|after| *after <= GREATEST)
        .ok_or_else(|| {
            let sequence = entry.sequence();
            CommandError::failed(format!(
                "audit entry {sequence} does not say after which number CRLs continue"
            ))
            .hint("see what else was changed, with: dps-pki audit verify")
        })?;
    Ok(after.saturating_sub(entry.sequence()))
}

fn event(word: &str, authority: &AuthorityName, detail: Value) -> Result<AuditEvent, CommandError> {
    Ok(AuditEvent {
        action: action(word)?,
        subject: authority.to_string(),
        detail,
    })
}

fn action(word: &str) -> Result<EventAction, CommandError> {
    let action = word.parse();
    action.map_err(|error: TextError| CommandError::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use pki_core::ids::Generation;
    use pki_core::testing::MemoryInventory;

    use super::*;

    fn now() -> Time {
        "2026-03-01T00:00:00Z".parse().expect("time")
    }

    fn continue_after(inventory: &mut MemoryInventory, name: &str, last: u64) {
        let signed_by = AuthorityGeneration {
            name: name.parse().expect("name"),
            generation: Generation::FIRST,
        };
        super::continue_after(inventory, &signed_by, CrlNumber::new(last), now()).expect("kept");
    }

    fn take(inventory: &mut MemoryInventory, name: &str) -> u64 {
        let name = name.parse().expect("name");
        let number = super::take(inventory, &name, json!({}), now());
        number.expect("a number").number()
    }

    #[test]
    fn numbers_grow_above_those_of_elsewhere() {
        let mut inventory = MemoryInventory::new();
        assert_eq!(take(&mut inventory, "factory"), 1);
        continue_after(&mut inventory, "factory", 1000);
        assert_eq!(take(&mut inventory, "factory"), 1001);
        // Another authority has a series of its own.
        assert_eq!(take(&mut inventory, "root"), 4);
        assert_eq!(take(&mut inventory, "factory"), 1003);
        // What is behind already needs no word.
        continue_after(&mut inventory, "factory", 1003);
        assert_eq!(
            inventory
                .audit_head()
                .expect("read")
                .expect("entries")
                .sequence,
            5
        );
        assert_eq!(take(&mut inventory, "factory"), 1004);
        continue_after(&mut inventory, "factory", GREATEST);
        assert_eq!(take(&mut inventory, "factory"), GREATEST + 1);
    }

    /// Two that move an authority at once: the one that asks for less may come last.
    #[test]
    fn numbers_stay_above_the_greatest_that_was_asked_for() {
        let mut inventory = MemoryInventory::new();
        continue_after(&mut inventory, "factory", 5000);
        let facts = json!({ "after": 1000 });
        let late = event(CONTINUED, &"factory".parse().expect("name"), facts);
        inventory
            .append_audit(late.expect("an event"), now())
            .expect("appended");
        assert!(take(&mut inventory, "factory") > 5000);
    }
}
