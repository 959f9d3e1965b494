//! One SQLite inventory and many who begin it, record in it and wait for it in the same moment.
#![expect(clippy::expect_used, reason = "what fails here is the test")]

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use pki_core::ids::{AuthorityName, Generation};
use pki_core::inventory::{
    Inventory as _, InventoryError, Labels, NewCertificate, NewGeneration, Status, Uniqueness,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::SampleAuthority;
use pki_core::time::{Span, Time, Validity};

const AT_ONCE: u32 = 8;

fn now() -> Time {
    "2026-03-01T00:00:00Z".parse().expect("time")
}

fn leaf(authority: &SampleAuthority, id: &str, serial: u32) -> NewCertificate {
    let validity = Validity::new(now(), now() + Span::from_days(365)).expect("order");
    NewCertificate {
        certificate: authority.certificate(id, serial, validity),
        role: Role::Leaf,
        signed_by: None,
        registration_id: Some(id.parse().expect("ID")),
        batch: None,
        labels: Labels::default(),
        request: None,
        uniqueness: Uniqueness::OnlyLeaf,
    }
}

/// Does something on as many threads, each with its own number, and returns what came out.
fn at_once<T: Send>(act: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let start = |number| {
            let act = &act;
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                act(number)
            })
        };
        let threads: Vec<_> = (0..AT_ONCE).map(start).collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ended.collect()
    })
}

fn begin(path: &Path) -> SqliteInventory {
    SqliteInventory::open_or_create(path).expect("opened")
}

#[test]
fn whoever_begins_an_inventory_finds_one() {
    let folder = tempfile::tempdir().expect("folder");
    for round in 0..30 {
        let path = folder.path().join(format!("{round}.db"));
        let counted = at_once(|_| begin(&path).stats().expect("read").total());
        assert_eq!(counted, [0; 8]);
        assert!(begin(&path).verify_audit(&[]).expect("read").is_intact());
    }
}

#[test]
fn of_those_who_record_one_device_one_does() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let authority = SampleAuthority::new("Contoso Line 1");
    for round in 0..10 {
        let id = format!("device-{round}");
        let recorded = at_once(|number| {
            let new = leaf(&authority, &id, 1 + round * AT_ONCE + number);
            let mut inventory = begin(&path);
            let row = inventory.record(vec![new], now())?[0].row();
            inventory.mark_delivered(&[row], now())
        });
        let errors: Vec<_> = recorded
            .iter()
            .filter_map(|one| one.as_ref().err())
            .collect();
        assert_eq!(errors.len(), 7, "{errors:?}");
        for error in errors {
            assert!(
                matches!(error, InventoryError::LeafExists { .. }),
                "{error}"
            );
        }
        let known = begin(&path)
            .certificates_of(&id.parse().expect("ID"))
            .expect("read");
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].state.status(), Status::Delivered);
    }
}

/// Who has looked for a key in vain is refused if another has recorded it since.
#[test]
fn a_key_that_another_recorded_meanwhile_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let authority = SampleAuthority::new("Contoso Line 1");
    let asks = |id: &str, serial| {
        let validity = Validity::new(now(), now() + Span::from_days(365)).expect("order");
        NewCertificate {
            certificate: authority.certificate("same-key", serial, validity),
            request: Some(b"as the device sent it".to_vec()),
            ..leaf(&authority, id, serial)
        }
    };
    let mut one = begin(&path);
    let mut other = begin(&path);
    let ours = asks("a", 1);
    let key = ours.certificate.key_identity().beginning();
    assert!(!one.any_key(&[key]).expect("read"));
    other.record(vec![asks("b", 2)], now()).expect("recorded");
    let error = one.record(vec![ours], now()).expect_err("refused");
    assert!(matches!(error, InventoryError::KeyTaken { .. }), "{error}");
}

/// The number of a generation is given out by the transaction that records it.
#[test]
fn of_those_who_record_one_generation_one_does() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let name: AuthorityName = "root".parse().expect("name");
    let recorded = at_once(|number| {
        let new = NewGeneration {
            authority: name.clone(),
            generation: Generation::FIRST,
            subject: "CN=Contoso Root".parse().expect("name"),
            key_reference: format!("root.{number}.key.pem").parse().expect("reference"),
        };
        begin(&path).record_request(new, now())
    });
    assert_eq!(recorded.iter().filter(|one| one.is_ok()).count(), 1);
    let record = begin(&path)
        .authority(&name)
        .expect("read")
        .expect("recorded");
    assert_eq!(record.generations.len(), 1);
    let winner = recorded.iter().position(Result::is_ok).expect("one");
    let key = record.generations[0].key_reference.as_str();
    assert_eq!(key, format!("root.{winner}.key.pem"));
}
