//! Leaving for good: deprovisioning of devices and groups.

use pki_core::admission::{Outcome, Refusal};
use pki_core::enrollment::compose::by_leaf;
use pki_core::enrollment::{
    IndividualEnrollment, ProvisioningStatus, RegistrationState, RegistrationStatus,
};
use pki_core::hub::HubDeviceStatus;
use pki_core::ids::Etag;
use pki_core::lifecycle::roll::RegisteredDevice;
use pki_core::lifecycle::{
    Deprovision, GroupMembers, MemberEntry, Purpose, QuarantineState, deprovision,
    deprovision_group,
};

use super::{Site, id, identity, steps};

#[test]
fn both_halves_of_a_device_leave_in_order() {
    let site = Site::new();
    let state = |individual: Option<IndividualEnrollment>| QuarantineState {
        individual,
        registration: Some(RegistrationState::new(
            id("sensor-1"),
            RegistrationStatus::Assigned,
        )),
        hub_identities: vec![identity(HubDeviceStatus::Enabled)],
        ..QuarantineState::default()
    };
    let mut own = IndividualEnrollment::new(id("sensor-1"), by_leaf(&site.stolen));
    own.etag = Some(Etag::new("\"7\""));
    let mut disabled = own.clone();
    disabled.provisioning_status = ProvisioningStatus::Disabled;
    let admitted = Some(site.outcome(&site.stolen));
    let refused = Some(Outcome::Refused(Refusal::NoEntry));
    for (what, entry, without_entry, first) in [
        (
            "of a group",
            None,
            admitted.clone(),
            Some("create individual enrollment sensor-1, disabled"),
        ),
        (
            "of nobody knows what",
            None,
            None,
            Some("create individual enrollment sensor-1, disabled"),
        ),
        (
            "own and a group",
            Some(own.clone()),
            admitted,
            Some("change individual enrollment sensor-1, disabled"),
        ),
        (
            "own alone",
            Some(own),
            refused.clone(),
            Some("delete individual enrollment sensor-1"),
        ),
        ("shut out", Some(disabled), refused.clone(), None),
        ("gone", None, refused, None),
    ] {
        let request = Deprovision {
            registration_id: id("sensor-1"),
            leaf: Some(site.stolen.clone()),
            without_entry,
        };
        let plan = deprovision(&request, &state(entry));
        let hub = [
            "delete device identity sensor-1 on hub-1.azure-devices.net",
            "delete the registration record of sensor-1",
        ];
        let expected: Vec<&str> = first.into_iter().chain(hub).collect();
        assert_eq!(steps(&plan), expected, "{what}");
    }
}

#[test]
fn a_group_is_disabled_before_its_devices_leave_and_stays_where_they_would_fall_through() {
    let site = Site::new();
    let device = RegisteredDevice {
        registration: Some(RegistrationState::new(
            id("sensor-1"),
            RegistrationStatus::Assigned,
        )),
        hub_identity: Some(identity(HubDeviceStatus::Enabled)),
    };
    let members = GroupMembers {
        registered: vec![device],
        ..GroupMembers::default()
    };
    let plan = deprovision_group(&site.dps.groups[0], &members, &[]);
    let common = [
        "change enrollment group line, disabled",
        "delete device identity sensor-1 on hub-1.azure-devices.net",
        "delete the registration record of sensor-1",
    ];
    assert_eq!(steps(&plan)[..3], common);
    assert_eq!(steps(&plan)[3..], ["delete enrollment group line"]);
    let plan = deprovision_group(&site.dps.groups[0], &members, &[id("all")]);
    assert_eq!(steps(&plan), common);
    assert!(
        plan.notes[0].contains("without it all would decide about its devices"),
        "{:?}",
        plan.notes
    );
}

/// What the toolkit made for a device of the group leaves with it; what shuts out stays; what somebody wants
/// for its own sake is left alone.
#[test]
fn entries_of_a_leaving_group_go_only_when_nothing_holds_their_chain() {
    let site = Site::readmitted();
    let pinned = site.dps.individuals[0].clone();
    let quarantined = Site::quarantined().dps.individuals[0].clone();
    let member = |entry: &IndividualEnrollment, purpose, is_held| GroupMembers {
        entries: vec![MemberEntry {
            entry: entry.clone(),
            purpose,
            is_held,
        }],
        ..GroupMembers::default()
    };
    let group = &site.dps.groups[0];
    let plan = deprovision_group(group, &member(&pinned, Purpose::BringsBack, false), &[]);
    let first = [
        "change enrollment group line, disabled",
        "change individual enrollment sensor-1, disabled",
    ];
    let goes = [
        "delete enrollment group line",
        "delete individual enrollment sensor-1",
    ];
    assert_eq!(steps(&plan), [first, goes].concat());
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    // A plan that was cut has disabled it, and the next one deletes it all the same.
    let mut cut = pinned.clone();
    cut.provisioning_status = ProvisioningStatus::Disabled;
    let next = deprovision_group(group, &member(&cut, Purpose::BringsBack, false), &[]);
    assert_eq!(steps(&next), [&first[..1], &goes[..]].concat());
    let held = deprovision_group(group, &member(&pinned, Purpose::BringsBack, true), &[]);
    assert_eq!(steps(&held), [&first[..], &goes[..1]].concat());
    let falls = deprovision_group(
        group,
        &member(&pinned, Purpose::BringsBack, false),
        &[id("all")],
    );
    assert_eq!(steps(&falls), first);
    let kept =
        "1 individual enrollment keeps a device of the group out and must stay, disabled: sensor-1";
    assert!(
        falls.notes.iter().any(|note| note == kept),
        "{:?}",
        falls.notes
    );
    let shut_out = deprovision_group(group, &member(&quarantined, Purpose::ShutsOut, false), &[]);
    assert_eq!(steps(&shut_out), [first[0], goes[0]]);
    assert_eq!(shut_out.notes, [kept]);
    let own = deprovision_group(group, &member(&pinned, Purpose::Own, false), &[]);
    assert_eq!(steps(&own), [first[0], goes[0]]);
    assert!(
        own.notes[0].ends_with("dps-pki deprovision sensor-1"),
        "{:?}",
        own.notes
    );
}
