//! What the declared instances will decide about devices that are about to get their leaves.
//!
//! Judged from `pki.toml` and the certificates of the inventory alone, as if every instance held exactly what
//! is declared. What DPS really decides, individual enrollments among it, is [`crate::admission::explain`]'s.

use std::collections::BTreeMap;

use super::declared::{DeclaredError, DeclaredState, converge};
use crate::admission::{ChainElement, DpsView, Outcome, outcome_below};
use crate::certificate::Certificate;
use crate::declaration::DpsDeclaration;
use crate::ids::{AuthorityName, DpsName};
use crate::inventory::{AuthorityRecord, GenerationRecord, Recorded};

/// Why no declared group lets in the devices below these certificates, nearest first: the decision of every
/// instance that declares groups. Empty if one lets them in, and if that cannot be told yet.
pub fn refusals_as_declared(
    declared: &BTreeMap<DpsName, DpsDeclaration>,
    authorities: &[AuthorityRecord],
    above: &[Certificate],
) -> Vec<(DpsName, Outcome)> {
    let state = DeclaredState {
        certificates: certificates_in_use(authorities, above),
        ..DeclaredState::default()
    };
    let above: Vec<ChainElement> = above.iter().map(ChainElement::from).collect();
    let mut refusals = Vec::new();
    for (name, dps) in declared.iter().filter(|(_, dps)| !dps.groups.is_empty()) {
        match decided(name, dps, &state, &above) {
            Ok(Outcome::Admitted(_)) | Err(_) => return Vec::new(),
            Ok(refused) => refusals.push((name.clone(), refused)),
        }
    }
    refusals
}

/// The certificate of each authority that DPS holds: of two during a roll the one that is asked about.
fn certificates_in_use(
    authorities: &[AuthorityRecord],
    above: &[Certificate],
) -> BTreeMap<AuthorityName, Certificate> {
    let in_use = authorities.iter().filter_map(|authority| {
        let current = authority.current().and_then(certificate_of);
        let next = authority
            .next()
            .and_then(certificate_of)
            .filter(|next| above.contains(next));
        Some((authority.name.clone(), next.or(current)?))
    });
    in_use.collect()
}

fn certificate_of(generation: &GenerationRecord) -> Option<Certificate> {
    let recorded = generation.certificate.as_ref();
    recorded.map(Recorded::certificate).cloned()
}

fn decided(
    name: &DpsName,
    dps: &DpsDeclaration,
    state: &DeclaredState,
    above: &[ChainElement],
) -> Result<Outcome, DeclaredError> {
    let plan = converge(name, dps, state)?;
    let view = plan.applied_to(&DpsView::new())?;
    Ok(outcome_below(&view, above))
}
