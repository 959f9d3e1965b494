//! Whether an authority can be rolled yet: what a generation signs reaches no verified CA certificate if one above
//! it is compromised, so those above are rolled first.

use pki_core::admission::ChainElement;
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, AuthorityName};
use pki_core::inventory::{AuthorityRecord, GenerationState};
use pki_core::lifecycle::roll::{AuthorityState, HeldGeneration, Newcomer, RollError};

use super::authority::AuthorityRoll;
use crate::issuers::issuers_among;
use crate::planning::PlanningError;

impl AuthorityRoll<'_> {
    /// Refuses to roll to a generation whose leaves DPS would refuse from the start, since a certificate above it is
    /// compromised. It is asked before one is made, too.
    ///
    /// # Errors
    /// [`RollError::BelowCompromised`] with the authority that comes first; the inventory cannot be read.
    pub fn check_issuer(&self) -> Result<(), PlanningError> {
        let authorities = self.inventory.authorities()?;
        let Some(path) = self.path_of_issuer(&authorities)? else {
            return Ok(());
        };
        let generations = path.iter().map(|one| generation_of(&authorities, one));
        let generations: Vec<Option<Part>> = generations.collect();
        let is_compromised =
            |part: &Option<Part>| matches!(part, Some((_, GenerationState::Compromised)));
        let Some(index) = generations.iter().position(is_compromised) else {
            return Ok(());
        };
        if self.is_any_verified(&path[..index])? {
            return Ok(());
        }
        let id = |index: usize| generations[index].as_ref().map(|(id, _)| id.clone());
        let Some(compromised) = id(index) else {
            return Ok(());
        };
        let first = index.checked_sub(1).and_then(id);
        Err(PlanningError::Roll(RollError::BelowCompromised {
            authority: self.state.authority.clone(),
            compromised,
            first: first.map(|first| first.name),
            made: self.made().map(|made| made.number),
        }))
    }

    /// The certificates above the generation that the authority is rolled to, nearest first: also of one that is
    /// not made yet. None where its certificate is self-issued, or nobody here has signed it.
    fn path_of_issuer(
        &self,
        authorities: &[AuthorityRecord],
    ) -> Result<Option<Vec<Certificate>>, PlanningError> {
        let below = match &self.state.generations.state {
            // It issues already, and its roll is only completed.
            AuthorityState::New
            | AuthorityState::Rolling {
                newcomer: Newcomer::Next(_),
                ..
            } => return Ok(None),
            AuthorityState::Rolling {
                newcomer: Newcomer::Pending(made),
                ..
            } => made,
            AuthorityState::Active { current } | AuthorityState::Requested { current } => current,
        };
        let mut path = issuers_among(self.inventory, authorities, &below.certificate)?;
        if self.made().is_none()
            && let Some(issuer) = path.first().and_then(|one| generation_of(authorities, one))
            && let Some(signs) = issuing(authorities, &issuer.0.name)
        {
            path = issuers_among(self.inventory, authorities, &signs)?;
            path.insert(0, signs);
        }
        Ok(Some(path).filter(|path| !path.is_empty()))
    }

    /// The generation that waits to be rolled in.
    fn made(&self) -> Option<&HeldGeneration> {
        match self.state.generations.newcomer() {
            Some(Newcomer::Pending(made)) => Some(made),
            Some(Newcomer::Next(_)) | None => None,
        }
    }

    /// Whether an instance has verified one of these certificates.
    fn is_any_verified(&self, certificates: &[Certificate]) -> Result<bool, PlanningError> {
        let elements: Vec<ChainElement> = certificates.iter().map(ChainElement::from).collect();
        let views = self.instances.views()?;
        let mut held = views.iter().flat_map(|view| view.authorities());
        Ok(held.any(|(_, ca)| ca.is_verified && elements.iter().any(|element| ca.is(element))))
    }
}

/// A generation, and the part that it plays.
type Part = (AuthorityGeneration, GenerationState);

fn generation_of(authorities: &[AuthorityRecord], certificate: &Certificate) -> Option<Part> {
    for authority in authorities {
        for record in &authority.generations {
            let recorded = record.certificate.as_ref();
            if recorded.is_some_and(|one| one.certificate() == certificate) {
                let id = AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: record.generation,
                };
                return Some((id, record.state));
            }
        }
    }
    None
}

/// The certificate of the generation that signs for an authority.
fn issuing(authorities: &[AuthorityRecord], name: &AuthorityName) -> Option<Certificate> {
    let authority = authorities.iter().find(|one| one.name == *name)?;
    let recorded = authority.issuing()?.certificate.as_ref()?;
    Some(recorded.certificate().clone())
}
