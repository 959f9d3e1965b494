//! A whole chain: its order, its size, and where it leads.

use super::{Finding, LintOptions, certificate, claimed_role, error, warning};
use crate::certificate::Certificate;
use crate::profile::Role;

/// What TLS stacks of small devices hold of a handshake message by default: mbedTLS and ESP-IDF
/// send from a buffer of 4 KiB, and it is the most that a device may ask for by RFC 6066 §4.
pub const SMALL_TLS_BUFFER: usize = 4096;

/// What was found in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFindings {
    /// In each certificate, in the order of the chain.
    pub certificates: Vec<Vec<Finding>>,
    /// In the chain as a whole.
    pub chain: Vec<Finding>,
}

/// Runs every check over a chain, each certificate beside the one that issued it, wherever that
/// stands. `first` is the role of the first certificate, `None` for what it claims to be.
pub fn chain(chain: &[Certificate], first: Option<Role>, options: LintOptions) -> ChainFindings {
    let issuer_of = |subject: &Certificate| {
        let issuers: Vec<&Certificate> = chain
            .iter()
            .filter(|other| subject.is_issued_by(other))
            .collect();
        // Of a CA that was renewed, the certificate that holds.
        let valid = issuers
            .iter()
            .find(|other| other.validity().contains(options.at));
        valid.or_else(|| issuers.first()).copied().or_else(|| {
            chain
                .iter()
                .filter(|other| *other != subject)
                .find(|other| subject.issuer() == other.subject())
        })
    };
    let role_of = |place: usize, subject: &Certificate| match first {
        Some(role) if place == 0 => role,
        _ => claimed_role(subject),
    };
    let judged = chain.iter().enumerate().map(|(place, subject)| {
        certificate(
            subject,
            role_of(place, subject),
            issuer_of(subject),
            options,
        )
    });
    ChainFindings {
        certificates: judged.collect(),
        chain: [order(chain), chain_too_large(chain)]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// TLS sends a chain from the leaf upwards, each certificate certified by the next.
fn order(chain: &[Certificate]) -> Option<Finding> {
    let broken = chain
        .windows(2)
        .find(|pair| !pair[0].is_issued_by(&pair[1]))?;
    let message = format!(
        "{} is not followed by its issuer in the chain",
        broken[0].subject()
    );
    error("chain-order", message, "RFC 5246 §7.4.2; DPS: full chain")
}

/// Whether a chain is too large for the TLS buffers of small devices.
pub fn chain_too_large(chain: &[Certificate]) -> Option<Finding> {
    let octets = chain_size(chain);
    if octets <= SMALL_TLS_BUFFER {
        return None;
    }
    let message = format!(
        "the chain takes {octets} bytes in a TLS handshake, more than the {SMALL_TLS_BUFFER} that small devices hold"
    );
    warning("chain-size", message, "RFC 6066 §4; RFC 8446 §4.4.2")
}

/// The octets of a chain as a TLS 1.3 Certificate message: each with its length and no extensions
/// (RFC 8446 §4.4.2).
pub fn chain_size(chain: &[Certificate]) -> usize {
    const MESSAGE: usize = 4 + 1 + 3;
    const ENTRY: usize = 3 + 2;
    let entries = chain.iter().map(|one| one.der().len() + ENTRY);
    MESSAGE + entries.sum::<usize>()
}

/// Whether one of the certificates above a leaf is a CA that DPS holds as verified; without one,
/// DPS admits nobody below them.
pub fn reaches_verified_ca(chain: &[Certificate], verified: &[Certificate]) -> Option<Finding> {
    if chain.iter().any(|one| verified.contains(one)) {
        return None;
    }
    let message = "no certificate above the leaf is a CA that DPS is to verify";
    warning(
        "verified-ca",
        message,
        "DPS: X.509 attestation, chain to a verified CA",
    )
}
