//! A decision in words.

use std::fmt;

use super::{
    Decision, DpsView, Entry, InvalidCertificate, Observation, Outcome, PresentedChain, Refusal,
    decide,
};
use crate::ids::RegistrationId;

/// Decides, and adds what people trip over: entries that name the leaf under another ID than its CN
/// look as if they decided, and do not.
pub fn explain(view: &DpsView, chain: &PresentedChain) -> Decision {
    let mut decision = decide(view, chain);
    let own = chain
        .common_name()
        .and_then(|name| name.parse::<RegistrationId>().ok());
    let elsewhere = chain
        .leaf()
        .map(|leaf| view.individuals_naming(&leaf.sha256_thumbprint))
        .into_iter()
        .flatten()
        .filter(|id| Some(*id) != own.as_ref());
    decision
        .findings
        .extend(elsewhere.cloned().map(Observation::NamedElsewhere));
    decision
}

impl fmt::Display for Decision {
    /// One line a finding, then the outcome.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{}", self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted(entry) => write!(f, "admitted by {entry}"),
            Self::Disabled(entry) => write!(f, "refused: {entry} is disabled"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::NotKnown(entry, word) => write!(
                f,
                "not known: {entry} has the provisioning status {word:?}, and nobody here knows whether that lets devices in"
            ),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Individual(id) => write!(f, "individual enrollment {id}"),
            Self::Group(id) => write!(f, "enrollment group {id}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegistrationId => {
                f.write_str("the leaf's subject has no single CN that is a registration ID")
            }
            Self::OtherCertificate(id) => {
                write!(f, "individual enrollment {id} names another certificate")
            }
            Self::OtherAttestation(id) => {
                write!(
                    f,
                    "individual enrollment {id} does not attest by certificates"
                )
            }
            Self::NoEntry => {
                f.write_str("no enrollment holds this device or anything of its chain")
            }
            Self::NoVerifiedCa(id) => write!(
                f,
                "enrollment group {id} would decide, but the chain reaches no verified CA certificate"
            ),
            Self::NotValid(certificate) => write!(f, "{certificate}"),
        }
    }
}

impl fmt::Display for InvalidCertificate {
    /// `CN=sensor-1 is valid from 2026-01-01T00:00:00Z to 2026-12-31T23:59:59Z only`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is valid from {} to {} only",
            self.subject, self.not_before, self.not_after
        )
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIndividual(id) => write!(f, "no individual enrollment is named {id}"),
            Self::Individual(id, status) => {
                write!(
                    f,
                    "individual enrollment {id} decides; it is {}",
                    status.as_str()
                )
            }
            Self::NoGroup(subject) => write!(f, "no enrollment group holds {subject}"),
            Self::Group(id, subject, status) => {
                write!(
                    f,
                    "enrollment group {id} holds {subject} and decides; it is {}",
                    status.as_str()
                )
            }
            Self::NamedElsewhere(id) => write!(
                f,
                "individual enrollment {id} names this leaf, but its ID is not the leaf's CN, so it decides nothing"
            ),
            Self::Verified(subject) => write!(f, "{subject} is a verified CA certificate"),
            Self::NothingVerified => f.write_str(
                "neither the group's certificate nor anything above it is a verified CA certificate",
            ),
            Self::LeafNotValid(leaf) => write!(
                f,
                "{leaf}; whether DPS looks at the dates of a leaf that an individual enrollment names is not known"
            ),
        }
    }
}
