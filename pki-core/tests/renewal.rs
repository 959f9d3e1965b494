//! What the next leaf of a device takes over from its last one, and which leaf that is.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use pki_core::bulk::input::{Device, DeviceKey, Place};
use pki_core::bulk::renewal::{Renewal, RenewalError, last_leaf};
use pki_core::crl::RevocationReason;
use pki_core::csr::{RequestPolicy, SigningRequest};
use pki_core::inventory::{
    Inventory as _, InventoryEntry, NamedLabel, NewCertificate, Recorded, Uniqueness,
};
use pki_core::key::{KeyAlgorithm, Signer as _};
use pki_core::profile::Role;
use pki_core::testing::MemoryInventory;

use crate::support::{leaf_spec, now, root, serial, signer};

/// The leaf of a device that made its own key, with the labels site and order.
fn own_leaf(inventory: &mut MemoryInventory) -> (Recorded, Vec<u8>) {
    let key = signer(KeyAlgorithm::EcdsaP256);
    let request = SigningRequest::make(&"Pump-1".parse().expect("an ID"), &key).expect("a request");
    let kept = request.into_proven_key().request().to_vec();
    let new = NewCertificate {
        request: Some(kept.clone()),
        ..leaf(key_of(&kept))
    };
    (deliver(inventory, new), kept)
}

fn key_of(request: &[u8]) -> Vec<u8> {
    let request = SigningRequest::from_der(request).expect("a request");
    request.public_key().to_vec()
}

fn leaf(public_key: Vec<u8>) -> NewCertificate {
    let authority = root("ca", KeyAlgorithm::EcdsaP256);
    let id = "Pump-1".parse().expect("an ID");
    let mut spec = leaf_spec(365);
    spec.alternative_names = vec!["gw.example".parse().expect("a name")];
    let issued = authority
        .signing()
        .issue_leaf(&id, public_key, &spec, &serial(), now());
    let labels = ["site=Ulm", "order=1"].map(|label| label.parse::<NamedLabel>().expect("a label"));
    NewCertificate {
        // As signed elsewhere: the inventory need not know the authority then.
        signed_by: None,
        labels: labels.into_iter().collect(),
        uniqueness: Uniqueness::FromElsewhere,
        ..issued.expect("a leaf").into()
    }
}

fn deliver(inventory: &mut MemoryInventory, new: NewCertificate) -> Recorded {
    let recorded = inventory
        .record(vec![new], now())
        .expect("recorded")
        .remove(0);
    inventory
        .mark_delivered(&[recorded.row()], now())
        .expect("delivered");
    recorded
}

fn last(inventory: &MemoryInventory) -> InventoryEntry {
    let id = "pump-1".parse().expect("an ID");
    last_leaf(inventory.certificates_of(&id).expect("read")).expect("a leaf")
}

fn listed(labels: &[&str]) -> Device {
    let labels: Vec<NamedLabel> = labels
        .iter()
        .map(|label| label.parse().expect("a label"))
        .collect();
    let mut device = Device::new(Place::Line(7), "PUMP-1".parse().expect("an ID"));
    device.label(&labels);
    device
}

#[test]
fn what_the_input_leaves_open_is_taken_over() {
    let mut inventory = MemoryInventory::new();
    let (recorded, kept) = own_leaf(&mut inventory);
    let policy = RequestPolicy::default();
    let renewal = Renewal {
        policy: &policy,
        new_keys: false,
    };
    let device = renewal
        .follow(
            listed(&["order=2", "line=7"]),
            &last(&inventory),
            Some(&kept),
        )
        .expect("renewed");
    assert_eq!(device.id.as_str(), "Pump-1");
    assert_eq!(device.place, Place::Line(7));
    assert_eq!(device.replaces, Some(recorded.row()));
    assert_eq!(device.alternative_names.len(), 1);
    let mut labels = device.labels.clone();
    labels.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        labels,
        [pair("line", "7"), pair("order", "2"), pair("site", "Ulm")]
    );
    let DeviceKey::Proven(key) = &device.key else {
        panic!("it keeps its key: {device:?}");
    };
    assert_eq!(key.public_key(), key_of(&kept));
    let renewal = Renewal {
        new_keys: true,
        ..renewal
    };
    let device = renewal.follow(listed(&[]), &last(&inventory), Some(&kept));
    assert_eq!(device.expect("renewed").key, DeviceKey::New);
}

/// A key that is known to others gets no further leaf, nor one that the profile does not let in, nor one
/// that is not the last leaf's.
#[test]
fn a_key_is_not_kept_blindly() {
    let mut inventory = MemoryInventory::new();
    let (recorded, kept) = own_leaf(&mut inventory);
    let policy = RequestPolicy::default();
    let renewal = Renewal {
        policy: &policy,
        new_keys: false,
    };
    let (_, other) = own_leaf(&mut MemoryInventory::new());
    let followed = renewal.follow(listed(&[]), &last(&inventory), Some(&other));
    assert_eq!(followed, Err(RenewalError::AnotherRequest));
    let rsa_only = RequestPolicy {
        keys: Some(vec![KeyAlgorithm::Rsa2048]),
        ..RequestPolicy::default()
    };
    let strict = Renewal {
        policy: &rsa_only,
        new_keys: false,
    };
    let followed = strict.follow(listed(&[]), &last(&inventory), Some(&kept));
    assert!(
        matches!(followed, Err(RenewalError::Key(_))),
        "{followed:?}"
    );
    let reason = RevocationReason::KeyCompromise;
    inventory
        .revoke(&[recorded.row()], reason, now())
        .expect("revoked");
    let followed = renewal.follow(listed(&[]), &last(&inventory), Some(&kept));
    assert_eq!(followed, Err(RenewalError::Revoked(reason)));
    // One that is made here, or that the device brings, is another one.
    assert!(renewal.follow(listed(&[]), &last(&inventory), None).is_ok());
}

/// What was voided or is on its way to nobody was never a device's.
#[test]
fn the_last_leaf_is_the_newest_that_the_device_got() {
    let mut inventory = MemoryInventory::new();
    let (first, _) = own_leaf(&mut inventory);
    let fresh = || leaf(signer(KeyAlgorithm::EcdsaP256).public_key().to_vec());
    let lost = inventory
        .record(vec![fresh()], now())
        .expect("recorded")
        .remove(0);
    assert_eq!(last(&inventory).recorded.row(), first.row());
    inventory
        .void(&[lost.row()], "lost", now())
        .expect("voided");
    assert_eq!(last(&inventory).recorded.row(), first.row());
    let proof = NewCertificate {
        role: Role::Verification,
        ..fresh()
    };
    deliver(&mut inventory, proof);
    assert_eq!(last(&inventory).recorded.row(), first.row());
    let second = deliver(&mut inventory, fresh());
    assert_eq!(last(&inventory).recorded.row(), second.row());
}
