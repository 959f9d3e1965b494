//! The two slots of a record: which generation is in which, and how one takes the place of another.
//!
//! A slot is written anew whenever it changes, never moved: the service may show a slot without its
//! certificate, and then keeps what is stored in the slot of that name. So what is not rolled stays in its
//! slot, and a new certificate ends in the primary one only if that is free.

use serde_json::Value;

use super::{End, Former, HeldGeneration, Instance};
use crate::enrollment::{
    Attestation, CertificateSlot, EnrollmentGroup, Mechanism, SlotContent, Slots, X509Certificates,
};
use crate::ids::{CertificateName, Sha256Thumbprint};
use crate::lifecycle::{Expectation, FieldChange, Step};

/// A generation as an instance knows it: by its certificate, and under which names it is uploaded.
pub(super) struct Side<'a> {
    pub(super) generation: &'a HeldGeneration,
    pub(super) names: Vec<CertificateName>,
    pub(super) is_compromised: bool,
}

impl<'a> Side<'a> {
    pub(super) fn of(generation: &'a HeldGeneration, instance: &Instance) -> Self {
        let uploads = instance.uploads(&generation.certificate);
        Self {
            generation,
            names: uploads.map(|held| held.name.clone()).collect(),
            is_compromised: false,
        }
    }

    /// A generation that a breach roll takes out. Its certificate may be gone from DPS already, by a run
    /// that was cut short before the inventory was told: names that refer to nothing are its, also beside one
    /// that is there still.
    pub(super) fn compromised(generation: &'a HeldGeneration, instance: &Instance) -> Self {
        let mut side = Self::of(generation, instance);
        side.names.extend(instance.dangling());
        side.is_compromised = true;
        side
    }

    /// A generation that has ended, or is about to.
    pub(super) fn of_former(former: &'a Former, instance: &Instance) -> Self {
        match former.end {
            End::Compromised => Self::compromised(&former.generation, instance),
            End::Retired | End::Voided => Self::of(&former.generation, instance),
        }
    }

    fn is_slot(&self, slot: &CertificateSlot) -> bool {
        slot.sha256_thumbprint() == Some(self.generation.certificate.sha256_thumbprint())
    }

    fn is_reference(&self, name: &CertificateName) -> bool {
        self.names.contains(name)
    }

    /// Whether a record holds the generation in one of its slots.
    pub(super) fn is_in(&self, group: &EnrollmentGroup) -> bool {
        match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::Signing(slots)) => {
                slots.iter().any(|slot| self.is_slot(slot))
            }
            Mechanism::X509(X509Certificates::CaReferences(slots)) => {
                slots.iter().any(|name| self.is_reference(name))
            }
            _ => false,
        }
    }

    /// Whether a record holds the generation by the name of a CA.
    pub(super) fn is_referred_to_by(&self, group: &EnrollmentGroup) -> bool {
        let by_name = matches!(
            group.attestation.mechanism,
            Mechanism::X509(X509Certificates::CaReferences(_))
        );
        by_name && self.is_in(group)
    }

    /// Whether the primary slot of a record holds the generation.
    fn is_first_in(&self, group: &EnrollmentGroup) -> bool {
        match &group.attestation.mechanism {
            Mechanism::X509(X509Certificates::Signing(slots)) => slots
                .primary
                .as_ref()
                .is_some_and(|slot| self.is_slot(slot)),
            Mechanism::X509(X509Certificates::CaReferences(slots)) => slots
                .primary
                .as_ref()
                .is_some_and(|name| self.is_reference(name)),
            _ => false,
        }
    }
}

/// Both slots hold something.
pub(super) struct Taken;

/// The step that puts a generation into the free slot of a group; none if it is in one already.
pub(super) fn add(group: &EnrollmentGroup, new: &Side<'_>) -> Result<Option<Step>, Taken> {
    if new.is_in(group) {
        return Ok(None);
    }
    let mut changed = group.clone();
    match &mut changed.attestation.mechanism {
        Mechanism::X509(X509Certificates::Signing(slots)) => {
            let slot = CertificateSlot::from_pem(new.generation.certificate.to_pem());
            fill(slots, slot)?;
        }
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            if let Some(name) = new.names.first() {
                fill(slots, name.clone())?;
            }
        }
        _ => {}
    }
    Ok(put(group, changed))
}

/// The step that takes generations out of a group and leaves `stays` in its primary slot; what else
/// the group holds goes into the secondary one. None if nothing changes.
pub(super) fn withdraw(
    group: &EnrollmentGroup,
    gone: &[&Side<'_>],
    stays: &Side<'_>,
) -> Option<Step> {
    let holds_gone = gone.iter().any(|side| side.is_in(group));
    if !holds_gone && (stays.is_first_in(group) || !stays.is_in(group)) {
        return None;
    }
    let mut changed = group.clone();
    match &mut changed.attestation.mechanism {
        Mechanism::X509(X509Certificates::Signing(slots)) => {
            let goes = |slot: &CertificateSlot| gone.iter().any(|side| side.is_slot(slot));
            let slot = CertificateSlot::from_pem(stays.generation.certificate.to_pem());
            promote(slots, slot, |slot| stays.is_slot(slot), goes);
        }
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            let goes = |name: &CertificateName| gone.iter().any(|side| side.is_reference(name));
            let name = stays.names.first()?;
            promote(slots, name.clone(), |name| stays.is_reference(name), goes);
        }
        _ => {}
    }
    put(group, changed)
}

pub(super) fn fill<T: SlotContent>(slots: &mut Slots<T>, new: T) -> Result<(), Taken> {
    slots.free_copy();
    let free = match (&slots.primary, &slots.secondary) {
        (None, _) => &mut slots.primary,
        (_, None) => &mut slots.secondary,
        (Some(_), Some(_)) => return Err(Taken),
    };
    *free = Some(new);
    Ok(())
}

/// Takes out what goes and has `first` in the primary slot, or beside what stays there. That stays where
/// it is: it may be known by its `info` alone, and only the slot that holds it can be written with that.
pub(super) fn promote<T: SlotContent>(
    slots: &mut Slots<T>,
    first: T,
    is_first: impl Fn(&T) -> bool,
    goes: impl Fn(&T) -> bool,
) {
    slots.free_copy();
    let primary = slots.primary.take();
    let secondary = slots.secondary.take();
    if primary.as_ref().is_some_and(&is_first) {
        slots.primary = primary;
        slots.secondary = secondary.filter(|slot| !is_first(slot) && !goes(slot));
        return;
    }
    slots.primary = primary.filter(|slot| !goes(slot));
    slots.secondary = secondary.filter(|slot| !is_first(slot) && !goes(slot));
    if slots.primary.is_none() {
        slots.primary = Some(first);
    } else if slots.secondary.is_none() {
        slots.secondary = Some(first);
    }
}

/// The step that writes a changed group; none if it is as it was.
fn put(before: &EnrollmentGroup, after: EnrollmentGroup) -> Option<Step> {
    let changes = changes(&before.attestation, &after.attestation);
    let expect = Expectation::of(before.etag.as_ref());
    (!changes.is_empty()).then(|| Step::put_group(after, changes, expect))
}

/// Which slots hold something else now.
pub(in crate::lifecycle) fn changes(before: &Attestation, after: &Attestation) -> Vec<FieldChange> {
    let member = match &after.mechanism {
        Mechanism::X509(X509Certificates::Client(_)) => "clientCertificates",
        Mechanism::X509(X509Certificates::Signing(_)) => "signingCertificates",
        Mechanism::X509(X509Certificates::CaReferences(_)) => "caReferences",
        _ => return vec![],
    };
    let pairs = occupants(before).into_iter().zip(occupants(after));
    let named = ["primary", "secondary"].into_iter().zip(pairs);
    let changed = named.filter(|(_, (from, to))| from != to);
    changed
        .map(|(slot, (from, to))| FieldChange {
            field: format!("attestation.x509.{member}.{slot}"),
            from,
            to,
        })
        .collect()
}

/// What the slots hold, in a word: a thumbprint, or the name of a CA.
fn occupants(attestation: &Attestation) -> [Value; 2] {
    let attestation = attestation.without_copies();
    let thumbprint = |slot: &CertificateSlot| {
        let known = slot.sha256_thumbprint();
        known
            .as_ref()
            .map_or_else(|| "unreadable".into(), Sha256Thumbprint::to_string)
    };
    match &attestation.mechanism {
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            [&slots.primary, &slots.secondary].map(|slot| slot.as_ref().map(thumbprint).into())
        }
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            [&slots.primary, &slots.secondary]
                .map(|name| name.as_ref().map(ToString::to_string).into())
        }
        _ => [Value::Null, Value::Null],
    }
}
