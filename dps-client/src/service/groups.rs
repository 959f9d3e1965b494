//! Enrollment groups: `/enrollmentGroups`.

use pki_core::enrollment::{Attestation, EnrollmentGroup};
use pki_core::ids::EnrollmentGroupId;

use super::enrollments::{Enrollments, Entry};

/// The enrollment groups of a DPS instance.
pub type Groups = Enrollments<EnrollmentGroup>;

impl Entry for EnrollmentGroup {
    type Id = EnrollmentGroupId;

    const COLLECTION: &'static str = "enrollmentGroups";

    fn id(&self) -> &EnrollmentGroupId {
        &self.enrollment_group_id
    }

    fn attestation(&self) -> &Attestation {
        &self.attestation
    }

    fn attestation_mut(&mut self) -> &mut Attestation {
        &mut self.attestation
    }
}
