//! Devices as DPS and their hubs know them.

use dps_operations::registered;
use pki_core::enrollment::RegistrationState;
use pki_core::ids::EnrollmentGroupId;

use crate::error::CommandError;
use crate::planes::Planes;

pub(crate) use dps_operations::registered::{
    Registered, ShownLeaf, identity, is_shown, shown_leaf, shows_leaf_of, thumbprint,
    with_identities,
};

/// The registration records of some groups' devices that are wanted, each once.
pub(crate) async fn records_of_groups<'a>(
    planes: &Planes<'_>,
    groups: impl IntoIterator<Item = &'a EnrollmentGroupId>,
    is_wanted: impl FnMut(&EnrollmentGroupId, &RegistrationState) -> Result<bool, CommandError>,
) -> Result<Vec<RegistrationState>, CommandError> {
    registered::records_of_groups(planes, groups, is_wanted).await
}
