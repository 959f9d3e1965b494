//! What the certificates of a chain say by themselves, remembered.
//!
//! Linking a chain and validating its path is the dearest part of a registration, and a device shows the
//! same chain each time. The answer depends on the chain, on the CA certificates that are verified, and
//! on the time; it is remembered for exactly these: under the digest of the chain, for one generation of
//! the verified CA certificates, and for the time in which no certificate of either begins or ends.
//! A chain that was never seen is judged without its path being validated anew if a precedent covers its
//! leaf: one of the same pattern, that came with the same certificates ([`Precedent`]).
//! What is enrolled plays no part here: that is looked up at each registration.
//! Invariant: what is remembered is what would be found out anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use pki_core::admission::PresentedChain;
use pki_core::certificate::Certificate;
use pki_core::path::{LeafPattern, PathOptions, Precedent, validate};
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

/// Patterns of leaves that are remembered at most; there is one for each kind of device.
const PATTERNS_MOST: usize = 256;

/// The chains that were judged, and what follows from that for others.
#[derive(Debug)]
pub(crate) struct ChainMemory {
    judged: Memory<Digest, Arc<JudgedChain>>,
    /// By the pattern of the leaf, and by what was sent with it.
    precedents: Memory<(LeafPattern, Digest), Arc<Precedent>>,
}

type Digest = [u8; 32];

/// What was found out, each under what it depends on.
#[derive(Debug)]
struct Memory<K, V> {
    known: Mutex<HashMap<K, Remembered<V>>>,
    most: usize,
}

#[derive(Debug)]
struct Remembered<V> {
    found: V,
    /// The generation of the verified CA certificates.
    generation: u64,
    /// The seconds in which it holds; the second one is no more among them.
    from: i64,
    until: i64,
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn new(most: usize) -> Self {
        Self {
            known: Mutex::default(),
            most,
        }
    }

    fn recall(&self, key: &K, trust: &Trust, now: Time) -> Option<V> {
        let second = now.unix_seconds();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = known.get(key)?;
        let holds = remembered.generation == trust.generation
            && (remembered.from..remembered.until).contains(&second);
        holds.then(|| remembered.found.clone())
    }

    /// Remembers what was found of these certificates.
    fn remember<'a>(
        &self,
        key: K,
        found: V,
        trust: &'a Trust,
        now: Time,
        certificates: impl Iterator<Item = &'a Certificate>,
    ) {
        let certificates = certificates.chain(&trust.verified);
        let (from, until) = unchanged_around(now.unix_seconds(), certificates);
        let remembered = Remembered {
            found,
            generation: trust.generation,
            from,
            until,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(key, remembered);
    }
}

impl Default for ChainMemory {
    fn default() -> Self {
        Self {
            judged: Memory::new(CHAINS_MOST),
            precedents: Memory::new(PATTERNS_MOST),
        }
    }
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
        let chain = || std::iter::once(leaf).chain(sent);
        let digest = digest(chain());
        if let Some(judged) = self.judged.recall(&digest, trust, now) {
            return judged;
        }
        let judged = Arc::new(JudgedChain {
            path_failure: self.path_failure(leaf, sent, trust, now),
            chain: PresentedChain::link(leaf, sent, &trust.verified),
        });
        let found = Arc::clone(&judged);
        self.judged.remember(digest, found, trust, now, chain());
        judged
    }

    /// What is wrong with a path, by a precedent or by validating it.
    fn path_failure(
        &self,
        leaf: &Certificate,
        sent: &[Certificate],
        trust: &Trust,
        now: Time,
    ) -> Option<String> {
        let pattern = LeafPattern::of(leaf);
        let key = pattern.map(|pattern| (pattern, digest(sent.iter())));
        if let Some((pattern, _)) = key
            && let Some(precedent) = key.and_then(|key| self.precedents.recall(&key, trust, now))
            && precedent.covers(leaf, pattern, now)
        {
            return None;
        }
        let options = PathOptions::new(now)
            .purpose(choices::LEAF_PURPOSE)
            .lenient()
            .weak();
        let report = validate(leaf, sent, &trust.verified, options);
        let precedent = Precedent::new(leaf, sent, &trust.verified, options, &report);
        if let (Some(key), Some(precedent)) = (key, precedent) {
            self.precedents
                .remember(key, Arc::new(precedent), trust, now, sent.iter());
        }
        report.failure.map(|failure| failure.reason)
    }
}

fn digest<'a>(certificates: impl Iterator<Item = &'a Certificate>) -> Digest {
    let mut context = Context::new(&SHA256);
    for certificate in certificates {
        context.update(certificate.sha256_thumbprint().as_octets());
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

/// The seconds around this one in which no certificate begins or ends to be valid.
fn unchanged_around<'a>(
    second: i64,
    certificates: impl Iterator<Item = &'a Certificate>,
) -> (i64, i64) {
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
