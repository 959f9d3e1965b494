//! What the certificates of a chain say by themselves, remembered.
//!
//! Linking a chain and validating its path is the dearest part of a registration, and a device shows the
//! same chain each time. The answer depends on the chain, on the CA certificates that are verified, and
//! on the time; it is remembered for exactly these: under the digest of the chain, for one generation of
//! the verified CA certificates, and for the time in which no certificate of either begins or ends.
//! What is enrolled plays no part here: that is looked up at each registration.
//! Invariant: what is remembered is what would be found out anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use pki_core::admission::PresentedChain;
use pki_core::certificate::Certificate;
use pki_core::path::{PathOptions, validate};
use pki_core::time::Time;

use crate::choices;
use crate::store::Trust;

/// Chains that are remembered at most; then all are forgotten, and the next ones judged anew.
const CHAINS_MOST: usize = 8 * 1024;

/// A chain that was linked and validated.
#[derive(Debug)]
pub(crate) struct JudgedChain {
    pub(crate) chain: PresentedChain,
    /// What is wrong with the path to a verified CA, if anything.
    pub(crate) path_failure: Option<String>,
}

/// The chains that were judged.
#[derive(Debug, Default)]
pub(crate) struct ChainMemory(Mutex<HashMap<ChainDigest, Remembered>>);

type ChainDigest = [u8; 32];

#[derive(Debug)]
struct Remembered {
    /// The generation of the verified CA certificates.
    generation: u64,
    /// The seconds in which it holds; the second one is no more among them.
    from: i64,
    until: i64,
    judged: Arc<JudgedChain>,
}

impl ChainMemory {
    /// Judges a chain, or remembers how it was judged.
    pub(crate) fn judge(
        &self,
        leaf: &Certificate,
        sent: &[Certificate],
        trust: &Trust,
        now: Time,
    ) -> Arc<JudgedChain> {
        let digest = digest(leaf, sent);
        let second = now.unix_seconds();
        if let Some(judged) = self.recall(&digest, trust, second) {
            return judged;
        }
        let judged = Arc::new(judge(leaf, sent, &trust.verified, now));
        let (from, until) = unchanged_around(second, leaf, sent, &trust.verified);
        let remembered = Remembered {
            generation: trust.generation,
            from,
            until,
            judged: Arc::clone(&judged),
        };
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= CHAINS_MOST {
            chains.clear();
        }
        chains.insert(digest, remembered);
        judged
    }

    fn recall(&self, digest: &ChainDigest, trust: &Trust, second: i64) -> Option<Arc<JudgedChain>> {
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = chains.get(digest)?;
        let holds = remembered.generation == trust.generation
            && (remembered.from..remembered.until).contains(&second);
        holds.then(|| Arc::clone(&remembered.judged))
    }
}

fn judge(
    leaf: &Certificate,
    sent: &[Certificate],
    verified: &[Certificate],
    now: Time,
) -> JudgedChain {
    let options = PathOptions::new(now).purpose(choices::LEAF_PURPOSE);
    let report = validate(leaf, sent, verified, options.lenient().weak());
    JudgedChain {
        chain: PresentedChain::link(leaf, sent, verified),
        path_failure: report.failure.map(|failure| failure.reason),
    }
}

fn digest(leaf: &Certificate, sent: &[Certificate]) -> ChainDigest {
    let mut context = Context::new(&SHA256);
    for certificate in std::iter::once(leaf).chain(sent) {
        context.update(certificate.sha256_thumbprint().as_octets());
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

/// The seconds around this one in which no certificate begins or ends to be valid.
fn unchanged_around(
    second: i64,
    leaf: &Certificate,
    sent: &[Certificate],
    verified: &[Certificate],
) -> (i64, i64) {
    let certificates = std::iter::once(leaf).chain(sent).chain(verified);
    let changes = certificates.flat_map(|certificate| {
        let validity = certificate.validity();
        let begin = validity.not_before().unix_seconds();
        // The last second of a validity belongs to it.
        let end = validity.not_after().unix_seconds().saturating_add(1);
        [begin, end]
    });
    changes.fold((i64::MIN, i64::MAX), |(from, until), change| {
        if change <= second {
            (from.max(change), until)
        } else {
            (from, until.min(change))
        }
    })
}
