//! The DPS order of operations.

use serde::Serialize;

use super::view::{GroupEntry, IndividualEntry};
use super::{ChainElement, DpsView, PresentedChain};
use crate::enrollment::ProvisioningStatus;
use crate::ids::{EnrollmentGroupId, RegistrationId, Sha256Thumbprint};
use crate::time::Time;

/// What DPS decides about a device, and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The decision.
    pub outcome: Outcome,
    /// What was looked at on the way, in order.
    pub findings: Vec<Observation>,
}

/// What becomes of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome", content = "by")]
#[non_exhaustive]
pub enum Outcome {
    /// It is let in by this entry.
    Admitted(Entry),
    /// This entry decides, and it is disabled.
    Disabled(Entry),
    /// It is refused.
    Refused(Refusal),
    /// This entry decides, and has a status that nobody here knows.
    NotKnown(Entry, String),
}

/// An entry that decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// An individual enrollment.
    Individual(RegistrationId),
    /// An enrollment group.
    Group(EnrollmentGroupId),
}

/// Why a device is refused although no entry says disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Refusal {
    /// The leaf has no common name, several, or one that is no registration ID.
    NoRegistrationId,
    /// The individual enrollment names other certificates than the one presented.
    OtherCertificate(RegistrationId),
    /// The individual enrollment does not attest by certificates.
    OtherAttestation(RegistrationId),
    /// Neither an individual enrollment nor a group holds anything of the chain.
    NoEntry,
    /// A group would admit, but neither its own certificate nor one above it is verified.
    NoVerifiedCa(EnrollmentGroupId),
    /// A group would admit, but the leaf or a certificate above it is outside of its dates.
    NotValid(InvalidCertificate),
}

/// A certificate that is not valid when it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidCertificate {
    /// Whose it is.
    pub subject: String,
    /// Its first moment.
    pub not_before: Time,
    /// Its last moment.
    pub not_after: Time,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Observation {
    /// There is no individual enrollment of this registration ID.
    NoIndividual(RegistrationId),
    /// There is one, with this status.
    Individual(RegistrationId, ProvisioningStatus),
    /// No group holds the certificate of this subject.
    NoGroup(String),
    /// This group holds the certificate of this subject.
    Group(EnrollmentGroupId, String, ProvisioningStatus),
    /// This individual enrollment names the leaf under an ID that is not its CN: it does not count.
    NamedElsewhere(RegistrationId),
    /// The certificate of this subject is verified.
    Verified(String),
    /// Neither the group's certificate nor anything above it is verified.
    NothingVerified,
    /// The leaf that an individual enrollment decides about is outside of its dates. Whether DPS looks at
    /// them there is not known; for a group it does.
    LeafNotValid(InvalidCertificate),
}

/// Decides about a device as DPS does: the individual enrollment whose registration ID is the leaf's
/// CN; else the group of the certificate right above the leaf, and so on up to the root. The first
/// entry found decides; of several groups with one certificate a disabled one. A group admits only if its
/// own certificate is verified or one above it. Dates are looked at if the view is of a moment
/// ([`DpsView::set_moment`]).
///
/// ```
/// use pki_core::admission::{DpsView, Outcome, PresentedChain, Refusal, decide};
/// let stranger = PresentedChain::known(Some("dev-1".into()), vec![]);
/// let decision = decide(&DpsView::new(), &stranger);
/// assert_eq!(decision.outcome, Outcome::Refused(Refusal::NoEntry));
/// println!("{decision}");
/// ```
pub fn decide(view: &DpsView, chain: &PresentedChain) -> Decision {
    let mut findings = Vec::new();
    let outcome = outcome(view, chain, &mut findings);
    Decision { outcome, findings }
}

/// Decides about a device as [`decide`] does, from the parts that matter and without an explanation:
/// for fleets.
pub fn outcome_of(
    view: &DpsView,
    id: &RegistrationId,
    leaf: &Sha256Thumbprint,
    above: &[ChainElement],
) -> Outcome {
    match view.individual(id) {
        Some(individual) => by_individual(individual, id, Some(leaf)),
        None => by_groups(view, above, &mut |_| ()),
    }
}

/// What DPS decides about every device below these certificates, nearest first, that has no
/// individual enrollment.
pub fn outcome_below(view: &DpsView, above: &[ChainElement]) -> Outcome {
    by_groups(view, above, &mut |_| ())
}

fn outcome(view: &DpsView, chain: &PresentedChain, findings: &mut Vec<Observation>) -> Outcome {
    let Some(id) = chain
        .common_name()
        .and_then(|name| name.parse::<RegistrationId>().ok())
    else {
        return Outcome::Refused(Refusal::NoRegistrationId);
    };
    if let Some(individual) = view.individual(&id) {
        findings.push(Observation::Individual(
            id.clone(),
            individual.status.clone(),
        ));
        let ended = view.at().and_then(|at| invalid(chain.leaf(), at));
        findings.extend(ended.map(Observation::LeafNotValid));
        let leaf = chain.leaf().map(|leaf| &leaf.sha256_thumbprint);
        return by_individual(individual, &id, leaf);
    }
    findings.push(Observation::NoIndividual(id));
    let outcome = by_groups(view, chain.above_leaf(), &mut |found| {
        findings.push(found());
    });
    let ended = view.at().and_then(|at| invalid(chain.leaf(), at));
    match (outcome, ended) {
        (Outcome::Admitted(Entry::Group(_)), Some(leaf)) => {
            Outcome::Refused(Refusal::NotValid(leaf))
        }
        (outcome, _) => outcome,
    }
}

fn by_individual(
    entry: &IndividualEntry,
    id: &RegistrationId,
    leaf: Option<&Sha256Thumbprint>,
) -> Outcome {
    let by = || Entry::Individual(id.clone());
    match &entry.status {
        ProvisioningStatus::Disabled => return Outcome::Disabled(by()),
        ProvisioningStatus::Other(word) => return Outcome::NotKnown(by(), word.clone()),
        ProvisioningStatus::Enabled => {}
    }
    let Some(certificates) = &entry.certificates else {
        return Outcome::Refused(Refusal::OtherAttestation(id.clone()));
    };
    match leaf {
        Some(leaf) if certificates.contains(leaf) => Outcome::Admitted(by()),
        _ => Outcome::Refused(Refusal::OtherCertificate(id.clone())),
    }
}

/// Takes what is found; calls it only where somebody wants to know.
type Note<'a> = &'a mut dyn FnMut(&dyn Fn() -> Observation);

fn by_groups(view: &DpsView, above: &[ChainElement], note: Note<'_>) -> Outcome {
    for (index, element) in above.iter().enumerate() {
        if let Some((id, group)) = view.group_holding(element) {
            note(&|| {
                let status = group.status.clone();
                Observation::Group(id.clone(), element.subject.clone(), status)
            });
            return by_group(view, id, group, above.split_at(index), note);
        }
        note(&|| Observation::NoGroup(element.subject.clone()));
    }
    Outcome::Refused(Refusal::NoEntry)
}

/// Whether a group admits: it is enabled, its own certificate or one above is verified, and the
/// certificates up to that one are within their dates. A verified certificate below the group's own says
/// nothing about it.
fn by_group(
    view: &DpsView,
    id: &EnrollmentGroupId,
    group: &GroupEntry,
    (below, own_and_above): (&[ChainElement], &[ChainElement]),
    note: Note<'_>,
) -> Outcome {
    let verified = own_and_above
        .iter()
        .position(|element| view.is_verified(element));
    let Some(verified) = verified else {
        note(&|| Observation::NothingVerified);
        return Outcome::Refused(Refusal::NoVerifiedCa(id.clone()));
    };
    note(&|| Observation::Verified(own_and_above[verified].subject.clone()));
    match &group.status {
        ProvisioningStatus::Disabled => return Outcome::Disabled(Entry::Group(id.clone())),
        ProvisioningStatus::Other(word) => {
            return Outcome::NotKnown(Entry::Group(id.clone()), word.clone());
        }
        ProvisioningStatus::Enabled => {}
    }
    let path = below.iter().chain(&own_and_above[..=verified]);
    match view.at().and_then(|at| invalid(path, at)) {
        Some(element) => Outcome::Refused(Refusal::NotValid(element)),
        None => Outcome::Admitted(Entry::Group(id.clone())),
    }
}

/// The first certificate that is outside of its dates.
fn invalid<'a>(
    path: impl IntoIterator<Item = &'a ChainElement>,
    at: Time,
) -> Option<InvalidCertificate> {
    let element = path
        .into_iter()
        .find(|element| !element.validity.contains(at))?;
    Some(InvalidCertificate {
        subject: element.subject.clone(),
        not_before: element.validity.not_before(),
        not_after: element.validity.not_after(),
    })
}

impl Decision {
    /// Whether the device is let in.
    pub fn is_admitted(&self) -> bool {
        matches!(self.outcome, Outcome::Admitted(_))
    }

    /// Whether the device is kept out for certain.
    pub fn is_kept_out(&self) -> bool {
        self.outcome.admits() == Some(false)
    }
}

impl Outcome {
    /// Whether the device is let in; `None` if that cannot be told.
    pub fn admits(&self) -> Option<bool> {
        match self {
            Self::Admitted(_) => Some(true),
            Self::Disabled(_) | Self::Refused(_) => Some(false),
            Self::NotKnown(..) => None,
        }
    }
}
