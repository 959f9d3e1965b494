//! Why a `pki.toml` cannot be used.

use crate::ids::AuthorityName;
use crate::key::KeyAlgorithm;
use crate::time::Span;
use crate::wording::counted;

/// A thing that is wrong with a `pki.toml`: where it is, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {place}{problem}")]
pub struct DeclarationError {
    line: usize,
    place: Place,
    problem: Box<DeclarationProblem>,
}

impl DeclarationError {
    pub(super) fn new(line: usize, place: Place, problem: DeclarationProblem) -> Self {
        Self {
            line,
            place,
            problem: Box::new(problem),
        }
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The table, as in `authority.root`; empty for the file itself.
    pub fn table(&self) -> &str {
        &self.place.table
    }

    /// The key within the table, unless the error is about the table itself.
    pub fn key(&self) -> Option<&str> {
        self.place.key.as_deref()
    }

    /// What is wrong.
    pub fn problem(&self) -> &DeclarationProblem {
        &self.problem
    }
}

/// A table and perhaps a key in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) table: String,
    pub(super) key: Option<String>,
}

impl std::fmt::Display for Place {
    /// What stands before the problem: `[authority.root] key: `, or nothing for the file itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.table.as_str(), &self.key) {
            ("", None) => Ok(()),
            ("", Some(key)) => write!(f, "{key}: "),
            (table, None) => write!(f, "[{table}]: "),
            (table, Some(key)) => write!(f, "[{table}] {key}: "),
        }
    }
}

/// What is wrong at a place of `pki.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationProblem {
    /// The text is not TOML, or gives one key twice.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// The table has no such key.
    #[error("there is no such key; {}", suggestion("did you mean", "known are", nearest.as_slice(), known))]
    UnknownKey {
        /// The known key that looks most like it, if one does.
        nearest: Option<String>,
        /// Every key of the table.
        known: Vec<String>,
    },
    /// The key must be there.
    #[error("the key {key} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// The value is of another type.
    #[error("must be {wanted}, not {found}")]
    Type {
        /// What the key takes.
        wanted: String,
        /// What it was given.
        found: &'static str,
    },
    /// The value breaks the rules of its kind.
    #[error("{message}")]
    Value {
        /// Which rule, in a sentence.
        message: String,
    },
    /// The same record is declared twice, spelled differently or under two names.
    #[error("the same as on line {line}; keep one of them")]
    Duplicate {
        /// Where it was first declared.
        line: usize,
    },
    /// A name that nothing bears.
    #[error("no authority is named {name:?}; {}", suggestion("did you mean", "declared are", nearest.as_slice(), known))]
    UnknownAuthority {
        /// The name.
        name: String,
        /// The declared name that looks most like it, if one does.
        nearest: Option<String>,
        /// Every declared name.
        known: Vec<String>,
    },
    /// An authority would be its own ancestor.
    #[error("the issuers go in a circle: {}; one of them must be a root without issuer", circle.join(" is issued by "))]
    Circle {
        /// The names around the circle, the first again at the end.
        circle: Vec<String>,
    },
    /// The issuer's path length leaves no room.
    #[error(
        "{issuer} has path-length {path_length}, so at most {} may stand below it, but with {name} there would be {depth}",
        counted(*.path_length, "authority", "authorities")
    )]
    TooDeep {
        /// The limiting authority.
        issuer: AuthorityName,
        /// Its limit.
        path_length: u8,
        /// How many there are.
        depth: usize,
        /// The authority that is too deep.
        name: AuthorityName,
    },
    /// A certificate would outlive its issuer.
    #[error(
        "{validity} is longer than the {issuer_validity} of {issuer}; a certificate never outlives its issuer"
    )]
    OutlivesIssuer {
        /// The declared validity.
        validity: Span,
        /// The issuer.
        issuer: AuthorityName,
        /// The issuer's validity.
        issuer_validity: Span,
    },
    /// No authority lives as long as a leaf of this profile.
    #[error(
        "{validity} is longer than the {longest} of the longest-lived authority; no authority could issue such a leaf"
    )]
    OutlivesAll {
        /// The declared validity.
        validity: Span,
        /// The longest validity of an authority.
        longest: Span,
    },
    /// DPS does not take this kind of key.
    #[error(
        "{name} has the key algorithm {key}, which DPS does not accept; declare an ECDSA or RSA key for it"
    )]
    KeyForDps {
        /// The authority.
        name: AuthorityName,
        /// Its algorithm.
        key: KeyAlgorithm,
    },
    /// DPS would refuse the devices of a group.
    #[error(
        "neither {authority} nor an authority above it is listed under [{ca_table}], so DPS would refuse the group's devices; add [{ca_table}.{root}]"
    )]
    NoCaAbove {
        /// The group's authority.
        authority: AuthorityName,
        /// Where CA certificates are listed.
        ca_table: String,
        /// The root above the authority.
        root: AuthorityName,
    },
    /// A group refers to a CA that DPS is not to hold.
    #[error(
        "{authority} is not listed under [{ca_table}], so a group cannot refer to it; add [{ca_table}.{authority}] or use signing-certificate"
    )]
    NoCaReference {
        /// The group's authority.
        authority: AuthorityName,
        /// Where CA certificates are listed.
        ca_table: String,
    },
    /// More records than DPS holds.
    #[error("{count} {what} are declared, but DPS holds at most {most}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many are declared.
        count: usize,
        /// How many DPS holds.
        most: usize,
    },
}

/// `did you mean "x"?`, or the whole list if nothing is near.
fn suggestion<N: AsRef<str>, K: AsRef<str>>(
    near_words: &str,
    all_words: &str,
    nearest: &[N],
    known: &[K],
) -> String {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    match nearest {
        [nearest, ..] => format!("{near_words} {:?}?", nearest.as_ref()),
        [] if known.is_empty() => "there are none".to_owned(),
        [] => format!("{all_words} {}", known.join(", ")),
    }
}

/// The candidate that looks most like `word`, if any looks like it at all.
pub fn nearest<'a, T: AsRef<str> + ?Sized>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a T>,
) -> Option<&'a T> {
    /// Below this, Jaro-Winkler finds likeness in words that only share a letter or two.
    const ALIKE: f64 = 0.75;
    let likeness = |candidate: &'a T| (strsim::jaro_winkler(word, candidate.as_ref()), candidate);
    let best = candidates
        .into_iter()
        .map(likeness)
        .max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}
