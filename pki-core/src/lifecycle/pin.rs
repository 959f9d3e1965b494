//! Entries of the toolkit's own making: how they are told from others, and when they may go.
//!
//! A quarantine makes an entry where there was none, and a readmission pins it to the new leaf. DPS
//! denies by registration ID, so the pin must stay until the old leaf has expired; then the group
//! decides about the device again. What the toolkit noted in the entry (`optionalDeviceInformation`,
//! free for the owner's use) tells such an entry from one that somebody wants for its own sake.

use serde_json::{Value, json};

use super::{Expectation, Step};
use crate::admission::{ChainElement, DpsView, Outcome, outcome_below};
use crate::enrollment::{IndividualEnrollment, ProvisioningStatus};
use crate::ids::{EnrollmentGroupId, RegistrationId};
use crate::time::Time;

const MEMBER: &str = "optionalDeviceInformation";
const OWN: &str = "dpsPki";
const UNTIL: &str = "pinnedUntil";
const GROUP: &str = "group";

/// Why the toolkit made an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// To shut its device out, about which this group decided before; `None` if none is known.
    Quarantined(Option<EnrollmentGroupId>),
    /// To let its device in with one leaf only; `None` if nobody knows when the old one ends.
    Pinned(Option<Time>),
}

impl Mark {
    /// What is noted in an entry; `None` for one that others have made.
    pub(super) fn of(entry: &IndividualEnrollment) -> Option<Self> {
        let own = entry.other.get(MEMBER)?.get(OWN)?;
        Some(match own.get(UNTIL) {
            None => {
                let group = own.get(GROUP).and_then(Value::as_str);
                Self::Quarantined(group.and_then(|group| group.parse().ok()))
            }
            Some(until) => Self::Pinned(until.as_str().and_then(|until| until.parse().ok())),
        })
    }

    /// Notes it in an entry, beside what is there.
    pub(super) fn write(self, entry: &mut IndividualEnrollment) {
        let own = match self {
            Self::Quarantined(None) => json!({ "quarantined": true }),
            Self::Quarantined(Some(group)) => json!({ "quarantined": true, GROUP: group }),
            Self::Pinned(until) => json!({ UNTIL: until.map(|until| until.to_string()) }),
        };
        let information = entry.other.entry(MEMBER).or_insert_with(|| json!({}));
        // Anything else than members is not what the service documents: it is left alone, and the entry
        // stays for ever.
        if let Value::Object(members) = information {
            members.insert(OWN.to_owned(), own);
        }
    }
}

/// Whether a readmission has pinned an entry to its device's new leaf.
pub fn is_pin(entry: &IndividualEnrollment) -> bool {
    entry.provisioning_status == ProvisioningStatus::Enabled
        && matches!(Mark::of(entry), Some(Mark::Pinned(_)))
}

/// The steps that let go of pins whose old leaf has expired, where a group admits the device without
/// them in `view`: what DPS decides by when they are carried out. `above` looks up the certificates above the leaf that an entry is pinned to; a pin of which
/// nobody knows them stays.
///
/// # Errors
/// What `above` fails with.
pub fn release_pins<E>(
    individuals: &[IndividualEnrollment],
    view: &DpsView,
    at: Time,
    above: impl Fn(&RegistrationId) -> Result<Option<Vec<ChainElement>>, E>,
) -> Result<Vec<Step>, E> {
    let mut steps = Vec::new();
    for entry in individuals.iter().filter(|entry| has_ended(entry, at)) {
        let id = &entry.registration_id;
        let is_admitted =
            |above: Vec<ChainElement>| matches!(outcome_below(view, &above), Outcome::Admitted(_));
        if above(id)?.is_some_and(is_admitted) {
            let expect = Expectation::of(entry.etag.as_ref());
            steps.push(Step::delete_individual(id.clone(), expect));
        }
    }
    Ok(steps)
}

fn has_ended(entry: &IndividualEnrollment, at: Time) -> bool {
    entry.provisioning_status == ProvisioningStatus::Enabled
        && matches!(Mark::of(entry), Some(Mark::Pinned(Some(until))) if until < at)
}
