//! What must be true of a home whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};

use dps_pki_tests::Home;
use pki_core::certificate::{Certificate, pem};
use pki_core::inventory::{
    Filter, GenerationState, Inventory as _, InventoryEntry, Recorded, Status,
};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{Signer as _, read_private_key};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use secrecy::SecretString;

/// Files that were there before, which must stay as they are.
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Everything that commands have put out, keys and certificates of authorities among it.
    pub(super) fn of(home: &Home) -> Self {
        let files = home.files().into_iter().filter(|file| {
            !file.starts_with("inventory.db")
                && !file.starts_with("locks/")
                && !file.starts_with("tmp/")
        });
        Self(
            files
                .map(|file| (file.clone(), octets(home, &file)))
                .collect(),
        )
    }

    #[track_caller]
    pub(super) fn check(&self, home: &Home) {
        for (file, before) in &self.0 {
            assert!(octets(home, file) == *before, "{file} was overwritten");
        }
    }
}

pub(super) fn octets(home: &Home, file: &str) -> Vec<u8> {
    std::fs::read(home.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Each generation has the key of its certificate, each device one live leaf, and the trail is intact.
/// `killed` allows for keys that no generation was recorded for.
#[track_caller]
pub(super) fn check(home: &Home, killed: bool) {
    let inventory = SqliteInventory::open(&home.path("inventory.db")).expect("opened");
    let report = inventory.verify_audit(&[]).expect("read");
    assert!(report.is_intact(), "{:?}", report.findings);
    check_authorities(home, &inventory, killed);
    check_leaves(&inventory);
    let left = |file: &String| file.ends_with(".tmp") && !killed;
    assert_eq!(home.files().iter().find(|file| left(file)), None);
}

#[track_caller]
fn check_authorities(home: &Home, inventory: &SqliteInventory, killed: bool) {
    let passphrase = SecretString::from(home.read("passphrase").trim());
    let mut known = BTreeSet::new();
    for authority in inventory.authorities().expect("read") {
        let mut numbers = BTreeSet::new();
        for one in &authority.generations {
            let file = one.key_reference.as_str();
            assert!(
                known.insert(file.to_owned()),
                "{file} is of two generations"
            );
            assert!(numbers.insert(one.generation), "{} twice", one.generation);
            assert_ne!(
                one.state,
                GenerationState::Voided,
                "{file} has lost its key"
            );
            let key = read_private_key(&octets(home, file), Some(&passphrase)).expect(file);
            let signer = SoftwareSigner::new(&key).expect("a signer");
            let certificate = one.certificate.as_ref().map(Recorded::certificate);
            if let Some(certificate) = certificate {
                assert_eq!(signer.public_key(), certificate.public_key(), "{file}");
                let path = format!("authorities/{}/{}.cert.pem", authority.name, one.generation);
                assert_eq!(home.read(&path), certificate.to_pem(), "{path}");
            }
        }
    }
    for file in home.files() {
        let is_key = file.starts_with("authorities/") && file.ends_with(".key.pem");
        assert!(
            !is_key || killed || known.contains(&file),
            "{file} is nobody's"
        );
    }
}

#[track_caller]
fn check_leaves(inventory: &SqliteInventory) {
    let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in leaves(inventory) {
        let status = entry.state.status();
        assert_ne!(status, Status::Undelivered, "{entry:?} was left");
        // Renewals stay beside what they renew.
        let id = entry.recorded.registration_id().expect("an ID").to_string();
        if status == Status::Delivered && !id.starts_with("renewed-") {
            let serial = entry.recorded.certificate().serial_number().to_string();
            live.entry(id.to_lowercase()).or_default().push(serial);
        }
    }
    for (id, leaves) in live {
        assert_eq!(leaves.len(), 1, "{id} has {leaves:?}");
    }
}

/// Every leaf that is recorded, whatever became of it.
pub(super) fn leaves(inventory: &SqliteInventory) -> Vec<InventoryEntry> {
    let filter = Filter {
        role: Some(Role::Leaf),
        ..Filter::default()
    };
    let page = inventory.list(&filter, None, 1_000_000).expect("read");
    page.entries
}

/// The leaf of a device that is live, if there is one.
pub(super) fn live_leaf(home: &Home, id: &str) -> Option<Certificate> {
    let inventory = SqliteInventory::open(&home.path("inventory.db")).expect("opened");
    let leaves = inventory
        .certificates_of(&id.parse().expect(id))
        .expect("read");
    let live = leaves
        .iter()
        .find(|entry| entry.state.status() == Status::Delivered);
    live.map(|entry| entry.recorded.certificate().clone())
}

/// A folder holds this leaf and its key, and nothing else of the device.
#[track_caller]
pub(super) fn check_folder(home: &Home, folder: &str, id: &str, leaf: &Certificate) {
    for ending in [".cert.pem", "-full-chain.cert.pem"] {
        let file = format!("{folder}/{id}{ending}");
        let found = pem::certificates(&octets(home, &file)).expect("certificates");
        assert_eq!(found.first(), Some(leaf), "{file}");
    }
    let file = format!("{folder}/{id}.key.pem");
    let key = read_private_key(&octets(home, &file), None).expect("a key");
    let signer = SoftwareSigner::new(&key).expect("a signer");
    assert_eq!(signer.public_key(), leaf.public_key(), "{file}");
}
