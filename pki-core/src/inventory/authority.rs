//! Authorities as the inventory holds them: generations and their states.
//!
//! Invariant: of one authority at most one generation each is pending, current or next. The rule is
//! checked here for every adapter ([`settle`]); SQL adapters declare it as a unique index too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::check_line;
use super::{CertificateState, InventoryError, Recorded, TextError};
use crate::certificate::Certificate;
use crate::ids::{AuthorityGeneration, AuthorityName, Generation};
use crate::name::DistinguishedName;
use crate::text::words;
use crate::time::Time;

/// Where an authority's private key is: the name of an encrypted file in the home, or a PKCS#11 URI
/// (RFC 7512). Never the key itself: one line of text, and a URI with a PIN is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReference(String);

impl KeyReference {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyReference {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const WHAT: &str = "key reference";
        check_line(WHAT, text, 1024)?;
        if text.contains("pin-value=") || text.contains("PRIVATE KEY") {
            return Err(TextError::Secret { what: WHAT });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A generation whose key was made or found and that is not in the inventory yet.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// The authority.
    pub authority: AuthorityName,
    /// Its number: one more than the authority's last, also after a voided one.
    pub generation: Generation,
    /// The authority's name in its certificate.
    pub subject: DistinguishedName,
    /// Where its key is, or will be once it was delivered.
    pub key_reference: KeyReference,
}

/// What part a generation plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GenerationState {
    /// Recorded; its key and certificate have not reached the home's files, or its certificate is
    /// still to be signed elsewhere.
    Pending,
    /// It issues.
    Current,
    /// It is being rolled in.
    Next,
    /// It no longer issues.
    Retired,
    /// Its key is known to others.
    Compromised,
    /// It never came to life.
    Voided,
}

words!(GenerationState {
    Pending = "pending",
    Current = "current",
    Next = "next",
    Retired = "retired",
    Compromised = "compromised",
    Voided = "voided",
});

impl GenerationState {
    /// Whether a generation may go from this state to another.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Current | Self::Next | Self::Voided),
            Self::Next => matches!(next, Self::Current | Self::Retired | Self::Compromised),
            Self::Current => matches!(next, Self::Retired | Self::Compromised),
            Self::Retired => next == Self::Compromised,
            Self::Compromised | Self::Voided => false,
        }
    }

    /// Whether only one generation of an authority can be in it.
    fn is_exclusive(self) -> bool {
        matches!(self, Self::Pending | Self::Current | Self::Next)
    }
}

/// One generation's new state; several of one authority change together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationChange {
    /// The generation.
    pub generation: Generation,
    /// What it becomes.
    pub to: GenerationState,
}

/// A generation of the inventory.
#[derive(Debug, Clone)]
pub struct GenerationRecord {
    /// Its number.
    pub generation: Generation,
    /// The authority's name in its certificate.
    pub subject: DistinguishedName,
    /// Where its key is.
    pub key_reference: KeyReference,
    /// What part it plays.
    pub state: GenerationState,
    /// Its certificate; none while that is still to be signed elsewhere.
    pub certificate: Option<Recorded>,
}

/// An authority of the inventory.
#[derive(Debug, Clone)]
pub struct AuthorityRecord {
    /// Its name.
    pub name: AuthorityName,
    /// Its generations, oldest first.
    pub generations: Vec<GenerationRecord>,
}

impl AuthorityRecord {
    /// The generation that new certificates come from: the next one while it is being rolled in, else
    /// the current one.
    pub fn issuing(&self) -> Option<&GenerationRecord> {
        self.next().or_else(|| self.current())
    }

    /// The generation that issues where none is being rolled in.
    pub fn current(&self) -> Option<&GenerationRecord> {
        self.in_state(GenerationState::Current)
    }

    /// The generation that is being rolled in.
    pub fn next(&self) -> Option<&GenerationRecord> {
        self.in_state(GenerationState::Next)
    }

    /// The generation that has not been delivered yet.
    pub fn pending(&self) -> Option<&GenerationRecord> {
        self.in_state(GenerationState::Pending)
    }

    /// The generation with this number.
    pub fn generation(&self, number: Generation) -> Option<&GenerationRecord> {
        self.generations
            .iter()
            .find(|record| record.generation == number)
    }

    fn in_state(&self, state: GenerationState) -> Option<&GenerationRecord> {
        self.generations.iter().find(|record| record.state == state)
    }
}

/// The certificates above one of an authority of the inventory, as it is recorded who signed whose: up
/// to a self-issued one, or to where one was signed elsewhere.
pub fn recorded_issuers<'a>(
    authorities: &'a [AuthorityRecord],
    certificate: &'a Certificate,
) -> Vec<&'a Certificate> {
    let mut chain = vec![certificate];
    // Nothing signs what is above it, but a damaged inventory may say so.
    while let Some(issuer) = chain
        .last()
        .and_then(|last| recorded_issuer(authorities, last))
        && !chain.contains(&issuer)
    {
        chain.push(issuer);
    }
    chain.split_off(1)
}

fn recorded_issuer<'a>(
    authorities: &'a [AuthorityRecord],
    certificate: &Certificate,
) -> Option<&'a Certificate> {
    let generations = authorities.iter().flat_map(|one| &one.generations);
    let mut recorded = generations.filter_map(|generation| generation.certificate.as_ref());
    let of_ours = recorded.find(|recorded| recorded.certificate() == certificate)?;
    if certificate.is_self_issued() {
        return None;
    }
    let signer = of_ours.signed_by()?;
    let named = authorities.iter().find(|one| one.name == signer.name)?;
    let issuer = named.generation(signer.generation)?.certificate.as_ref()?;
    Some(issuer.certificate())
}

/// The states of an authority's generations, oldest first.
pub(crate) type States = Vec<(Generation, GenerationState)>;

/// The states after one more generation was recorded.
pub(crate) fn begin(new: &NewGeneration, states: &States) -> Result<States, InventoryError> {
    let expected = states
        .last()
        .map(|(generation, _)| *generation)
        .map_or(Generation::FIRST, Generation::next);
    if new.generation != expected {
        return Err(InventoryError::GenerationNumber {
            authority: new.authority.clone(),
            generation: new.generation,
            expected,
        });
    }
    let mut states = states.clone();
    states.push((new.generation, GenerationState::Pending));
    refuse_two(&new.authority, &states)?;
    Ok(states)
}

/// The states after `changes`, which hold all together or not at all.
pub(crate) fn settle(
    authority: &AuthorityName,
    states: &States,
    changes: &[GenerationChange],
) -> Result<States, InventoryError> {
    let mut states = states.clone();
    for change in changes {
        let found = states
            .iter_mut()
            .find(|(generation, _)| *generation == change.generation);
        let id = || AuthorityGeneration {
            name: authority.clone(),
            generation: change.generation,
        };
        let Some((_, state)) = found else {
            return Err(InventoryError::GenerationNotFound { generation: id() });
        };
        if !state.may_become(change.to) {
            return Err(InventoryError::GenerationState {
                generation: id(),
                from: *state,
                to: change.to,
            });
        }
        *state = change.to;
    }
    refuse_two(authority, &states)?;
    Ok(states)
}

/// The state of a generation's certificate once the generation is no longer pending.
pub(crate) fn certificate_after(
    generation: &AuthorityGeneration,
    to: GenerationState,
    at: Time,
) -> CertificateState {
    match to {
        GenerationState::Voided => CertificateState::Voided {
            at,
            reason: format!("{generation} was voided"),
        },
        _ => CertificateState::Delivered { at },
    }
}

fn refuse_two(authority: &AuthorityName, states: &States) -> Result<(), InventoryError> {
    for state in GenerationState::ALL {
        let holders = states.iter().filter(|(_, found)| found == state).count();
        if state.is_exclusive() && holders > 1 {
            return Err(InventoryError::TwoGenerations {
                authority: authority.clone(),
                state: *state,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Labels, NewCertificate, RowKey, Uniqueness};
    use crate::profile::Role;
    use crate::testing::SampleAuthority;
    use crate::time::Validity;

    /// An authority with one generation, and a certificate that another is recorded to have signed.
    fn authority(name: &str, certificate: &Certificate, signer: Option<&str>) -> AuthorityRecord {
        let generation = Generation::FIRST;
        let id = |name: &str| name.parse::<AuthorityName>().expect("a name");
        let signed_by = signer.map(|name| AuthorityGeneration {
            name: id(name),
            generation,
        });
        let content = NewCertificate {
            certificate: certificate.clone(),
            role: Role::Intermediate,
            signed_by,
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        };
        let record = GenerationRecord {
            generation,
            subject: certificate.subject(),
            key_reference: format!("{name}.key.pem").parse().expect("a reference"),
            state: GenerationState::Current,
            certificate: Some(Recorded::new(RowKey::new(1), content)),
        };
        AuthorityRecord {
            name: id(name),
            generations: vec![record],
        }
    }

    #[test]
    fn issuers_are_those_that_are_recorded_and_a_circle_ends() {
        let moment = |seconds| Time::from_unix_seconds(seconds).expect("a time");
        let validity = Validity::new(moment(0), moment(1)).expect("a second");
        let sample = SampleAuthority::new("root");
        let root = sample.root(1, validity);
        let certificate = |name, serial| sample.certificate(name, serial, validity);
        let plant = certificate("plant", 2);
        let line = certificate("line", 3);
        let with = |above_root, above_plant| {
            [
                authority("root", &root, Some(above_root)),
                authority("plant", &plant, above_plant),
                authority("line", &line, Some("plant")),
            ]
        };
        let whole = with("root", Some("root"));
        assert_eq!(recorded_issuers(&whole, &line), [&plant, &root]);
        assert!(recorded_issuers(&whole, &root).is_empty());
        let elsewhere = with("root", None);
        assert_eq!(recorded_issuers(&elsewhere, &line), [&plant]);
        let circle = with("root", Some("line"));
        assert_eq!(recorded_issuers(&circle, &line), [&plant]);
    }

    #[test]
    fn a_key_reference_holds_no_key_and_no_pin() {
        for good in [
            "root.1.key.pem",
            "pkcs11:token=t;object=o?pin-source=file:/x",
        ] {
            assert!(good.parse::<KeyReference>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-----BEGIN PRIVATE KEY-----\nMIG",
            "pkcs11:object=o?pin-value=1234",
        ] {
            assert!(bad.parse::<KeyReference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_ends_of_a_generation_are_final_but_a_retired_key_can_still_leak() {
        for to in GenerationState::ALL {
            assert!(!GenerationState::Voided.may_become(*to));
            assert!(!GenerationState::Compromised.may_become(*to));
            assert_eq!(
                GenerationState::Retired.may_become(*to),
                *to == GenerationState::Compromised
            );
        }
    }
}
