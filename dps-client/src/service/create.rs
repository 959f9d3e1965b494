//! Making an entry over a network that loses answers.
//!
//! A put that expects no entry can be sent any number of times: it never overwrites. But if an answer
//! was lost, the entry that stands in the way of the next put may be the one that the first made. So
//! it is read and compared: what recognises the same devices as ours is ours.

use std::time::Duration;

use pki_core::enrollment::{
    Attestation, CertificateSlot, Enrollment, Mechanism, Slots, X509Certificates,
};

use super::enrollments::Enrollments;
use crate::error::ClientError;
use crate::expect::Expect;
use crate::plane::jitter;
use crate::retry::{Repeat, Setback};

impl<E: Enrollment> Enrollments<E> {
    /// Makes an entry that is not there, once, even if answers are lost on the way.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::is_conflict`] if there was an entry of this ID that is another
    /// one. It is left as it is.
    pub async fn create(&self, entry: &E) -> Result<E, ClientError> {
        let mut attempt = 1;
        let mut waited = Duration::ZERO;
        let mut may_be_made = false;
        loop {
            let error = match self.put(entry, &Expect::Absent).await {
                Ok(made) => return Ok(made),
                Err(error) => error,
            };
            if error.is_conflict() && may_be_made {
                return match self.find(entry.id()).await? {
                    Some(present) if self.is_made_of(&present, entry).await? => Ok(present),
                    _ => Err(error),
                };
            }
            let Some(setback) = Setback::in_error(&error) else {
                return Err(error);
            };
            may_be_made |= setback.may_have_acted();
            let retry = self.plane.retry();
            let wait = retry.next_wait(attempt, waited, setback, Repeat::Harmless, jitter());
            let Some(wait) = wait else { return Err(error) };
            tracing::info!(id = %entry.id(), attempt, ?wait, %error, "making the entry again");
            tokio::time::sleep(wait).await;
            (attempt, waited) = (attempt + 1, waited + wait);
        }
    }

    /// Whether an entry recognises the devices that a document was to recognise.
    async fn is_made_of(&self, present: &E, document: &E) -> Result<bool, ClientError> {
        let wanted = document.attestation();
        if let Mechanism::SymmetricKey(Some(wanted)) = &wanted.mechanism {
            let present = self.attestation_mechanism(present.id()).await?;
            let Mechanism::SymmetricKey(Some(present)) = present.mechanism else {
                return Ok(false);
            };
            let pairs = [
                (&wanted.primary_key, present.primary_key),
                (&wanted.secondary_key, present.secondary_key),
            ];
            return Ok(pairs.into_iter().all(|(wanted, present)| {
                wanted.is_none()
                    || wanted.as_ref().map(|key| key.expose_base64())
                        == present.as_ref().map(|key| key.expose_base64())
            }));
        }
        Ok(recognises_the_same(present.attestation(), wanted))
    }
}

/// Certificates are compared by their thumbprints, since the service shows no more of them; a single one
/// it shows in both slots.
fn recognises_the_same(present: &Attestation, wanted: &Attestation) -> bool {
    use X509Certificates::{CaReferences, Client, Signing};
    let present = present.without_copies();
    let wanted = wanted.without_copies();
    match (&present.mechanism, &wanted.mechanism) {
        (Mechanism::X509(Client(present)), Mechanism::X509(Client(wanted)))
        | (Mechanism::X509(Signing(present)), Mechanism::X509(Signing(wanted))) => {
            thumbprints(present) == thumbprints(wanted)
        }
        (Mechanism::X509(CaReferences(present)), Mechanism::X509(CaReferences(wanted))) => {
            present == wanted
        }
        (Mechanism::SymmetricKey(_), Mechanism::SymmetricKey(None)) => true,
        (present, wanted) => present == wanted,
    }
}

fn thumbprints(slots: &Slots<CertificateSlot>) -> [Option<String>; 2] {
    [&slots.primary, &slots.secondary].map(|slot| {
        let slot = slot.as_ref()?;
        slot.sha256_thumbprint()
            .map(|thumbprint| thumbprint.to_string())
    })
}
