//! The generations of an authority by the parts that they play.
//!
//! Made once, from the rows of the inventory; whoever rolls, or tells of a roll, takes it from here.
//! Invariant: one generation issues or none has yet, and at most one newer one is rolled in. Rows that say
//! otherwise are a [`Contradiction`], and nothing is planned from them.

use std::fmt;

use super::RollError;
use crate::certificate::Certificate;
use crate::ids::{AuthorityName, Generation};
use crate::inventory::{AuthorityRecord, GenerationState};

/// A generation with its certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldGeneration {
    /// Its number.
    pub number: Generation,
    /// Its certificate.
    pub certificate: Certificate,
}

/// The generations of an authority.
#[derive(Debug, Clone, PartialEq)]
pub struct Generations {
    /// Those that issue, or will.
    pub state: AuthorityState,
    /// Those that have ended, oldest first.
    pub former: Vec<Former>,
}

/// Which generations of an authority issue, or will.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthorityState {
    /// None issues yet.
    New,
    /// One issues, and there is none to roll to.
    Active {
        /// The one that issues.
        current: HeldGeneration,
    },
    /// One issues, and the certificate of the one after it is to be signed elsewhere.
    Requested {
        /// The one that issues.
        current: HeldGeneration,
    },
    /// There is one to roll to.
    Rolling {
        /// The one that goes.
        current: HeldGeneration,
        /// The one that comes. One that was made while this is rolled in waits until that is done.
        newcomer: Newcomer,
    },
}

/// The generation that an authority is rolled to.
#[derive(Debug, Clone, PartialEq)]
pub enum Newcomer {
    /// DPS does not admit by it everywhere yet, and it does not issue.
    Pending(HeldGeneration),
    /// It issues.
    Next(HeldGeneration),
}

/// The generation that a breach roll is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condemned<'a> {
    /// It issues, and is to be replaced.
    Current(&'a HeldGeneration),
    /// It was retired before anybody knew; the current one stays.
    Retired(&'a HeldGeneration),
    /// The current one has taken its place already.
    Replaced(&'a HeldGeneration),
}

/// A generation that plays no part any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Former {
    /// Which one.
    pub generation: HeldGeneration,
    /// How it ended.
    pub end: End,
}

/// How a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Another one took its place, or it was withdrawn after it had issued.
    Retired,
    /// Its key is known to others.
    Compromised,
    /// It never issued.
    Voided,
}

/// A generation as a row of the inventory.
#[derive(Debug, Clone)]
pub struct GenerationRow {
    /// Its number.
    pub number: Generation,
    /// What part it plays.
    pub state: GenerationState,
    /// Its certificate; none while that is still to be signed elsewhere.
    pub certificate: Option<Certificate>,
}

/// Rows about an authority that cannot be true together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the inventory contradicts itself about authority {authority}: {what}; hold it against its audit trail, and restore it from a backup if that does not hold"
)]
pub struct Contradiction {
    /// The authority.
    pub authority: AuthorityName,
    /// What cannot be.
    pub what: Contradicted,
}

/// What cannot be of the generations of an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradicted {
    /// Two play a part that one alone can.
    #[error("generations {first} and {second} are both {state}")]
    Two {
        /// The part.
        state: GenerationState,
        /// The older one.
        first: Generation,
        /// The newer one.
        second: Generation,
    },
    /// It plays a part that takes a certificate.
    #[error("generation {generation} is {state} and has no certificate")]
    NoCertificate {
        /// Which one.
        generation: Generation,
        /// The part.
        state: GenerationState,
    },
    /// One has issued, and nothing has taken its place.
    #[error("generation {generation} is {state}, and none is current")]
    NoneIssues {
        /// The newest that has issued.
        generation: Generation,
        /// What it is now.
        state: GenerationState,
    },
    /// An older one is rolled in.
    #[error("generation {newcomer} is {state}, and the newer generation {current} is current")]
    OlderNewcomer {
        /// The one that is rolled in.
        newcomer: Generation,
        /// Its part.
        state: GenerationState,
        /// The one that issues.
        current: Generation,
    },
}

impl Generations {
    /// The generations of an authority of the inventory.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn of(authority: &AuthorityRecord) -> Result<Self, Contradiction> {
        let rows = authority.generations.iter().map(|record| GenerationRow {
            number: record.generation,
            state: record.state,
            certificate: (record.certificate.as_ref())
                .map(|recorded| recorded.certificate().clone()),
        });
        Self::from_rows(&authority.name, rows)
    }

    /// The generations of an authority by their rows, oldest first.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn from_rows(
        authority: &AuthorityName,
        rows: impl IntoIterator<Item = GenerationRow>,
    ) -> Result<Self, Contradiction> {
        let rows: Vec<GenerationRow> = rows.into_iter().collect();
        judged(&rows).map_err(|what| Contradiction {
            authority: authority.clone(),
            what,
        })
    }

    /// The one that issues where none is rolled in.
    pub fn current(&self) -> Option<&HeldGeneration> {
        match &self.state {
            AuthorityState::New => None,
            AuthorityState::Active { current }
            | AuthorityState::Requested { current }
            | AuthorityState::Rolling { current, .. } => Some(current),
        }
    }

    /// The one that is rolled in, or is about to be.
    pub fn newcomer(&self) -> Option<&Newcomer> {
        match &self.state {
            AuthorityState::Rolling { newcomer, .. } => Some(newcomer),
            AuthorityState::New
            | AuthorityState::Active { .. }
            | AuthorityState::Requested { .. } => None,
        }
    }

    /// Those that are gone when the roll that is under way is finished, each as it then ends.
    pub fn outgoing(&self) -> Vec<Former> {
        let mut outgoing = self.former.clone();
        if let AuthorityState::Rolling { current, newcomer } = &self.state
            && newcomer.issues()
        {
            outgoing.insert(0, current.ended(End::Retired));
        }
        outgoing
    }

    /// The newest compromised one, in whose place the current one is: its breach roll can be asked for again,
    /// whatever was made since.
    pub fn replaced(&self) -> Option<&HeldGeneration> {
        let current = self.current()?.number;
        self.compromised().filter(|one| one.number < current).last()
    }

    /// The generation that a breach roll of the authority is about: the one that is named, else the one whose place
    /// was taken, else the current one.
    ///
    /// # Errors
    /// [`RollError`]: none issues, or the one that is named can be no generation to replace.
    pub fn condemned(
        &self,
        authority: &AuthorityName,
        named: Option<Generation>,
    ) -> Result<Condemned<'_>, RollError> {
        let current = self.current().ok_or_else(|| RollError::NoCurrent {
            authority: authority.clone(),
        })?;
        let Some(named) = named else {
            let replaced = self.replaced().map(Condemned::Replaced);
            return Ok(replaced.unwrap_or(Condemned::Current(current)));
        };
        if named == current.number {
            return Ok(Condemned::Current(current));
        }
        let is_named = |one: &&Former| one.generation.number == named && named < current.number;
        let former = self.former.iter().find(is_named);
        match former.map(|one| (one.end, &one.generation)) {
            Some((End::Compromised, replaced)) => Ok(Condemned::Replaced(replaced)),
            Some((End::Retired, retired)) if !retired.has_key_of(current) => {
                Ok(Condemned::Retired(retired))
            }
            _ => Err(RollError::NotCondemned {
                authority: authority.clone(),
                named,
                current: current.number,
            }),
        }
    }

    /// Those whose key is known to others, oldest first.
    pub fn compromised(&self) -> impl Iterator<Item = &HeldGeneration> {
        let compromised = |one: &&Former| one.end == End::Compromised;
        self.former
            .iter()
            .filter(compromised)
            .map(|one| &one.generation)
    }

    /// Those that issued and are not known to be compromised, of the key of another one: its certificate was
    /// renewed.
    pub(super) fn renewals_of<'a>(
        &'a self,
        held: &'a HeldGeneration,
    ) -> impl Iterator<Item = &'a HeldGeneration> {
        let retired = self.former.iter().filter(|one| one.end == End::Retired);
        retired
            .map(|one| &one.generation)
            .filter(|one| one.number != held.number && one.has_key_of(held))
    }

    /// Whether the current one has taken the place of an older one, and none has been made since.
    pub(super) fn is_rolled(&self) -> bool {
        let has_issued = |one: &Former| one.end != End::Voided;
        self.is_newest_current() && self.former.iter().any(has_issued)
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<&HeldGeneration> {
        let mut all: Vec<&HeldGeneration> = self.former.iter().map(|one| &one.generation).collect();
        all.extend(self.current());
        all.extend(self.newcomer().map(Newcomer::generation));
        all.sort_by_key(|held| held.number);
        all
    }

    /// Whether the newest generation that has a certificate is the current one.
    fn is_newest_current(&self) -> bool {
        let current = self.current().map(|held| held.number);
        self.all().last().map(|held| held.number) == current && current.is_some()
    }
}

impl HeldGeneration {
    /// Whether whoever has the key of one has that of the other.
    pub(super) fn has_key_of(&self, other: &Self) -> bool {
        self.certificate.key_identity() == other.certificate.key_identity()
    }

    pub(super) fn ended(&self, end: End) -> Former {
        Former {
            generation: self.clone(),
            end,
        }
    }
}

impl<'a> Condemned<'a> {
    /// The generation.
    pub fn generation(self) -> &'a HeldGeneration {
        match self {
            Self::Current(generation) | Self::Retired(generation) | Self::Replaced(generation) => {
                generation
            }
        }
    }

    /// Whether another one has taken its place already.
    pub fn is_replaced(self) -> bool {
        matches!(self, Self::Retired(_) | Self::Replaced(_))
    }
}

impl Newcomer {
    /// The generation.
    pub fn generation(&self) -> &HeldGeneration {
        match self {
            Self::Pending(generation) | Self::Next(generation) => generation,
        }
    }

    /// Whether it issues.
    pub fn issues(&self) -> bool {
        matches!(self, Self::Next(_))
    }
}

impl From<End> for GenerationState {
    fn from(end: End) -> Self {
        match end {
            End::Retired => Self::Retired,
            End::Compromised => Self::Compromised,
            End::Voided => Self::Voided,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        GenerationState::from(*self).fmt(f)
    }
}

impl GenerationRow {
    fn held(&self) -> Result<HeldGeneration, Contradicted> {
        let Some(certificate) = self.certificate.clone() else {
            return Err(Contradicted::NoCertificate {
                generation: self.number,
                state: self.state,
            });
        };
        Ok(HeldGeneration {
            number: self.number,
            certificate,
        })
    }

    /// The generation if it has ended. One that was voided before its certificate was signed is no matter to
    /// anybody.
    fn former(&self) -> Result<Option<Former>, Contradicted> {
        let end = match self.state {
            GenerationState::Pending | GenerationState::Current | GenerationState::Next => {
                return Ok(None);
            }
            GenerationState::Voided if self.certificate.is_none() => return Ok(None),
            GenerationState::Voided => End::Voided,
            GenerationState::Retired => End::Retired,
            GenerationState::Compromised => End::Compromised,
        };
        let generation = self.held()?;
        Ok(Some(Former { generation, end }))
    }
}

fn judged(rows: &[GenerationRow]) -> Result<Generations, Contradicted> {
    let mut former = Vec::new();
    for row in rows {
        former.extend(row.former()?);
    }
    let next = only(rows, GenerationState::Next)?;
    let pending = only(rows, GenerationState::Pending)?;
    let Some(current) = only(rows, GenerationState::Current)? else {
        let issued = rows.iter().rev().find(|row| has_issued(row.state));
        return match issued {
            None => Ok(Generations {
                state: AuthorityState::New,
                former,
            }),
            Some(row) => Err(Contradicted::NoneIssues {
                generation: row.number,
                state: row.state,
            }),
        };
    };
    if let Some(newcomer) = next.or(pending)
        && newcomer.number < current.number
    {
        return Err(Contradicted::OlderNewcomer {
            newcomer: newcomer.number,
            state: newcomer.state,
            current: current.number,
        });
    }
    let current = current.held()?;
    let state = match (next, pending) {
        (Some(next), _) => AuthorityState::Rolling {
            current,
            newcomer: Newcomer::Next(next.held()?),
        },
        (None, Some(pending)) if pending.certificate.is_none() => {
            AuthorityState::Requested { current }
        }
        (None, Some(pending)) => AuthorityState::Rolling {
            current,
            newcomer: Newcomer::Pending(pending.held()?),
        },
        (None, None) => AuthorityState::Active { current },
    };
    Ok(Generations { state, former })
}

/// The only generation that plays a part.
fn only(
    rows: &[GenerationRow],
    state: GenerationState,
) -> Result<Option<&GenerationRow>, Contradicted> {
    let mut playing = rows.iter().filter(|row| row.state == state);
    let first = playing.next();
    match (first, playing.next()) {
        (Some(first), Some(second)) => Err(Contradicted::Two {
            state,
            first: first.number,
            second: second.number,
        }),
        _ => Ok(first),
    }
}

fn has_issued(state: GenerationState) -> bool {
    match state {
        GenerationState::Pending | GenerationState::Voided => false,
        GenerationState::Current
        | GenerationState::Next
        | GenerationState::Retired
        | GenerationState::Compromised => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SampleAuthority;
    use crate::time::{Time, Validity};

    use GenerationState::{Compromised, Current, Next, Pending, Retired, Voided};

    fn certificate() -> Certificate {
        let moment = |seconds| Time::from_unix_seconds(seconds).expect("a time");
        let validity = Validity::new(moment(0), moment(1)).expect("a second");
        SampleAuthority::new("line").root(1, validity)
    }

    fn number(number: u32) -> Generation {
        Generation::new(number).expect("not zero")
    }

    /// Rows in these states, numbered from 1, each with a certificate.
    fn rows(states: &[GenerationState]) -> Vec<GenerationRow> {
        let certificate = certificate();
        let numbered = (1..).zip(states);
        let rows = numbered.map(|(generation, state)| GenerationRow {
            number: number(generation),
            state: *state,
            certificate: Some(certificate.clone()),
        });
        rows.collect()
    }

    fn of(rows: Vec<GenerationRow>) -> Result<Generations, Contradiction> {
        Generations::from_rows(&"line".parse().expect("a name"), rows)
    }

    /// The state in short: who issues, and who comes.
    fn short(generations: &Generations) -> String {
        match &generations.state {
            AuthorityState::New => "new".into(),
            AuthorityState::Active { current } => format!("active {}", current.number),
            AuthorityState::Requested { current } => format!("requested {}", current.number),
            AuthorityState::Rolling { current, newcomer } => {
                let to = newcomer.generation().number;
                let issues = if newcomer.issues() { "next" } else { "pending" };
                format!("rolling {} to {issues} {to}", current.number)
            }
        }
    }

    #[test]
    fn each_state_follows_from_its_rows() {
        let cases: [(&[GenerationState], &str); 9] = [
            (&[], "new"),
            (&[Pending], "new"),
            (&[Voided, Pending], "new"),
            (&[Current], "active 1"),
            (&[Retired, Current], "active 2"),
            (&[Current, Voided], "active 1"),
            (&[Current, Pending], "rolling 1 to pending 2"),
            (&[Compromised, Current, Next], "rolling 2 to next 3"),
            (&[Current, Next, Pending], "rolling 1 to next 2"),
        ];
        for (states, expected) in cases {
            let generations = of(rows(states)).expect("possible");
            assert_eq!(short(&generations), expected, "{states:?}");
            let ended = [Retired, Compromised, Voided];
            let former = states.iter().filter(|state| ended.contains(state)).count();
            assert_eq!(generations.former.len(), former, "{states:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_to_be_signed_elsewhere_is_waited_for() {
        let mut requested = rows(&[Current, Pending]);
        requested[1].certificate = None;
        assert_eq!(short(&of(requested).expect("possible")), "requested 1");
        let mut first = rows(&[Pending]);
        first[0].certificate = None;
        assert_eq!(short(&of(first).expect("possible")), "new");
        let mut given_up = rows(&[Current, Voided]);
        given_up[1].certificate = None;
        let given_up = of(given_up).expect("possible");
        assert_eq!(short(&given_up), "active 1");
        assert!(given_up.former.is_empty());
    }

    #[test]
    fn a_breach_roll_can_be_repeated_whatever_generations_are_made_since() {
        let replaced = |states: &[GenerationState]| {
            let generations = of(rows(states)).expect("possible");
            generations.replaced().map(|held| held.number.number())
        };
        assert_eq!(replaced(&[Compromised, Current]), Some(1));
        assert_eq!(replaced(&[Compromised, Compromised, Current]), Some(2));
        assert_eq!(replaced(&[Retired, Current]), None);
        assert_eq!(replaced(&[Current, Pending]), None);
        for since in [Pending, Next, Voided] {
            assert_eq!(replaced(&[Compromised, Current, since]), Some(1));
        }
    }

    #[test]
    fn a_generation_that_came_by_a_breach_roll_is_condemned_by_its_number_alone() {
        let line: AuthorityName = "line".parse().expect("a name");
        let states = [Retired, Compromised, Current, Pending];
        let generations = of(rows(&states)).expect("possible");
        let condemned = |named: Option<u32>| {
            let condemned = generations.condemned(&line, named.map(number)).ok()?;
            Some((
                condemned.generation().number.number(),
                condemned.is_replaced(),
            ))
        };
        assert_eq!(condemned(None), Some((2, true)));
        assert_eq!(condemned(Some(2)), Some((2, true)));
        assert_eq!(condemned(Some(3)), Some((3, false)));
        for other in [1, 4, 5] {
            assert_eq!(condemned(Some(other)), None);
        }
        let first = of(rows(&[Current])).expect("possible");
        let condemned = first.condemned(&line, None).expect("the current one");
        assert!(!condemned.is_replaced());
    }

    #[test]
    fn what_goes_when_a_roll_is_finished_includes_the_current_one_once_another_issues() {
        let outgoing = |states: &[GenerationState]| {
            let generations = of(rows(states)).expect("possible");
            let outgoing = generations.outgoing().into_iter();
            outgoing
                .map(|one| format!("{} {}", one.generation.number, one.end))
                .collect::<Vec<_>>()
        };
        assert_eq!(outgoing(&[Current, Pending]), Vec::<String>::new());
        assert_eq!(outgoing(&[Current, Next]), ["1 retired"]);
        assert_eq!(
            outgoing(&[Compromised, Current, Next]),
            ["2 retired", "1 compromised"]
        );
    }

    #[test]
    fn rows_that_cannot_be_true_together_are_told_with_what_to_do() {
        let mut without = rows(&[Retired, Current]);
        without[0].certificate = None;
        let cases = [
            (
                rows(&[Current, Current]),
                "generations 1 and 2 are both current",
            ),
            (
                rows(&[Current, Next, Next]),
                "generations 2 and 3 are both next",
            ),
            (
                rows(&[Current, Pending, Pending]),
                "generations 2 and 3 are both pending",
            ),
            (without, "generation 1 is retired and has no certificate"),
            (
                rows(&[Retired, Compromised]),
                "generation 2 is compromised, and none is current",
            ),
            (rows(&[Next]), "generation 1 is next, and none is current"),
            (
                rows(&[Next, Current]),
                "generation 1 is next, and the newer generation 2 is current",
            ),
            (
                rows(&[Pending, Current]),
                "generation 1 is pending, and the newer generation 2 is current",
            ),
        ];
        for (rows, what) in cases {
            let error = of(rows).expect_err(what);
            assert_eq!(
                error.to_string(),
                format!(
                    "the inventory contradicts itself about authority line: {what}; hold it against its \
                     audit trail, and restore it from a backup if that does not hold"
                )
            );
        }
    }

    #[test]
    fn the_parts_that_issue_take_a_certificate() {
        for (states, index) in [([Current, Pending], 0), ([Current, Next], 1)] {
            let mut rows = rows(&states);
            rows[index].certificate = None;
            let error = of(rows).expect_err("a part without a certificate");
            assert!(matches!(error.what, Contradicted::NoCertificate { .. }));
        }
    }
}
