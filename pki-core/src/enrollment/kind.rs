//! What groups and individual enrollments have in common, so that it is written once over both.
//!
//! The names on the wire are those of the service API 2021-10-01; `fixtures/dps-wire` pins them.

use std::fmt::Display;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AllocationPolicy, Attestation, EnrollmentGroup, IndividualEnrollment, Mechanism, OtherMembers,
    ProvisioningStatus, X509Certificates,
};
use crate::ids::{EnrollmentGroupId, Etag, HubHostName, IdError, RegistrationId};

/// A document of the service plane that lets devices in: a group or an individual enrollment.
pub trait Enrollment: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it is known by.
    type Id: FromStr<Err = IdError> + Display + Clone + Ord + Send + Sync;

    /// Its collection in an address, and the member of a bulk request that holds the documents.
    const COLLECTION: &'static str;
    /// The value of `x-ms-item-type` in an answer to a query.
    const ITEM_TYPE: &'static str;
    /// The member that holds its ID.
    const ID: &'static str;

    /// What it is known by.
    fn id(&self) -> &Self::Id;
    /// Gives it another ID, or another spelling of its own.
    fn set_id(&mut self, id: Self::Id);
    /// The one device that it is for, unless it is for many.
    fn device(&self) -> Option<&RegistrationId>;
    /// Whether its kind may recognise devices so.
    fn permits(mechanism: &Mechanism) -> bool;

    /// How it recognises its devices.
    fn attestation(&self) -> &Attestation;
    /// How it recognises its devices, to be changed.
    fn attestation_mut(&mut self) -> &mut Attestation;
    /// Whether it lets its devices in.
    fn status(&self) -> &ProvisioningStatus;
    /// Sets whether it lets its devices in.
    fn set_status(&mut self, status: ProvisioningStatus);
    /// What it was when it was read.
    fn etag(&self) -> Option<&Etag>;
    /// What it was when it was read, to be changed.
    fn etag_mut(&mut self) -> &mut Option<Etag>;
    /// The hubs to choose from; all linked hubs if absent.
    fn hubs(&self) -> Option<&[HubHostName]>;
    /// How a hub is chosen; the service's own policy if absent.
    fn allocation(&self) -> Option<&AllocationPolicy>;
    /// Members that this crate does not know, to be changed.
    fn other_mut(&mut self) -> &mut OtherMembers;
}

/// The members that both kinds have under the same name.
macro_rules! shared_members {
    () => {
        fn attestation(&self) -> &Attestation {
            &self.attestation
        }

        fn attestation_mut(&mut self) -> &mut Attestation {
            &mut self.attestation
        }

        fn status(&self) -> &ProvisioningStatus {
            &self.provisioning_status
        }

        fn set_status(&mut self, status: ProvisioningStatus) {
            self.provisioning_status = status;
        }

        fn etag(&self) -> Option<&Etag> {
            self.etag.as_ref()
        }

        fn etag_mut(&mut self) -> &mut Option<Etag> {
            &mut self.etag
        }

        fn hubs(&self) -> Option<&[HubHostName]> {
            self.iot_hubs.as_deref()
        }

        fn allocation(&self) -> Option<&AllocationPolicy> {
            self.allocation_policy.as_ref()
        }

        fn other_mut(&mut self) -> &mut OtherMembers {
            &mut self.other
        }
    };
}

impl Enrollment for EnrollmentGroup {
    type Id = EnrollmentGroupId;

    const COLLECTION: &'static str = "enrollmentGroups";
    const ITEM_TYPE: &'static str = "EnrollmentGroup";
    const ID: &'static str = "enrollmentGroupId";

    shared_members!();

    fn id(&self) -> &EnrollmentGroupId {
        &self.enrollment_group_id
    }

    fn set_id(&mut self, id: EnrollmentGroupId) {
        self.enrollment_group_id = id;
    }

    fn device(&self) -> Option<&RegistrationId> {
        None
    }

    fn permits(mechanism: &Mechanism) -> bool {
        matches!(
            mechanism,
            Mechanism::X509(X509Certificates::Signing(_) | X509Certificates::CaReferences(_))
                | Mechanism::SymmetricKey(_)
        )
    }
}

impl Enrollment for IndividualEnrollment {
    type Id = RegistrationId;

    const COLLECTION: &'static str = "enrollments";
    const ITEM_TYPE: &'static str = "Enrollment";
    const ID: &'static str = "registrationId";

    shared_members!();

    fn id(&self) -> &RegistrationId {
        &self.registration_id
    }

    fn set_id(&mut self, id: RegistrationId) {
        self.registration_id = id;
    }

    fn device(&self) -> Option<&RegistrationId> {
        Some(&self.registration_id)
    }

    fn permits(mechanism: &Mechanism) -> bool {
        matches!(
            mechanism,
            Mechanism::X509(X509Certificates::Client(_))
                | Mechanism::SymmetricKey(_)
                | Mechanism::Tpm(_)
        )
    }
}
