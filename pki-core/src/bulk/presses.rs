//! Leaves composed and checked: what workers sign, and what is judged before the first key is made.

use super::input::{Device, DeviceKey};
use super::pipeline::LeafTerms;
use crate::ids::SerialNumber;
use crate::issue::{Finding, IssueError, Issuer, LeafPress, Linted, Request, compose};
use crate::key::{KeyAlgorithm, KeyError, KeyGenerator};
use crate::time::Time;

/// The presses for the terms that were met last: most batches have one, some a few.
pub(super) struct Presses {
    issuer: Issuer,
    now: Time,
    presses: Vec<(LeafTerms, LeafPress)>,
}

impl Presses {
    /// Presses for what an issuer signs at a moment.
    pub(super) fn new(issuer: Issuer, now: Time) -> Self {
        Self {
            issuer,
            now,
            presses: Vec::new(),
        }
    }

    /// The leaf of a device, checked and ready to be signed.
    pub(super) fn leaf(
        &mut self,
        device: &Device,
        terms: &LeafTerms,
        public_key: &[u8],
        serial: &SerialNumber,
    ) -> Result<Linted, IssueError> {
        if device.alternative_names.is_empty() {
            return self.press(terms).stamp(&device.id, public_key, serial);
        }
        let names = device.alternative_names.clone();
        let content = terms.content.clone();
        let request = Request::leaf(&device.id, public_key.to_vec(), terms.validity, content)?
            .with_alternative_names(names);
        Ok(compose(&request, &self.issuer, serial)?.lint(self.now)?)
    }

    fn press(&mut self, terms: &LeafTerms) -> &mut LeafPress {
        /// A list whose lines all differ must not fill the memory.
        const MOST: usize = 32;
        let met = self.presses.iter().rposition(|(made, _)| made == terms);
        let place = met.unwrap_or_else(|| {
            if self.presses.len() == MOST {
                self.presses.remove(0);
            }
            let issuer = self.issuer.clone();
            let press = LeafPress::new(issuer, terms.validity, terms.content.clone(), self.now);
            self.presses.push((terms.clone(), press));
            self.presses.len() - 1
        });
        &mut self.presses[place].1
    }
}

/// Judges leaves as a run would make them, without a key of theirs and without a signature.
pub struct Rehearsal {
    presses: Presses,
    /// Stands for keys that are not made yet: every kind that is made here passes the checks.
    stand_in: Vec<u8>,
}

impl Rehearsal {
    /// A rehearsal of what an issuer signs at a moment.
    ///
    /// # Errors
    /// [`KeyError`] if there is no key to stand for others.
    pub fn new(issuer: Issuer, now: Time, generator: &dyn KeyGenerator) -> Result<Self, KeyError> {
        let stand_in = generator.generate(KeyAlgorithm::EcdsaP256)?;
        Ok(Self {
            presses: Presses::new(issuer, now),
            stand_in: stand_in.public_key().to_vec(),
        })
    }

    /// Judges the leaf of a device, and tells what is worth saying of it without refusing.
    ///
    /// # Errors
    /// [`IssueError`]: what a run would refuse, at the same moment.
    pub fn judge(
        &mut self,
        device: &Device,
        terms: &LeafTerms,
    ) -> Result<Vec<Finding>, IssueError> {
        let serial = SerialNumber::from_random([0x5a; 16]);
        let public_key = match &device.key {
            DeviceKey::Proven(proven) => proven.public_key(),
            DeviceKey::New | DeviceKey::Unchecked(_) => &self.stand_in,
        };
        let linted = self.presses.leaf(device, terms, public_key, &serial)?;
        Ok(linted.warnings().to_vec())
    }
}
