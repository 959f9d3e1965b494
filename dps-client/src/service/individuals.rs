//! Individual enrollments: `/enrollments`.

use pki_core::enrollment::{Attestation, IndividualEnrollment};
use pki_core::ids::RegistrationId;

use super::enrollments::{Enrollments, Entry};

/// The individual enrollments of a DPS instance.
pub type Individuals = Enrollments<IndividualEnrollment>;

impl Entry for IndividualEnrollment {
    type Id = RegistrationId;

    const COLLECTION: &'static str = "enrollments";

    fn id(&self) -> &RegistrationId {
        &self.registration_id
    }

    fn attestation(&self) -> &Attestation {
        &self.attestation
    }

    fn attestation_mut(&mut self) -> &mut Attestation {
        &mut self.attestation
    }
}
