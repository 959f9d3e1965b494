//! Both inventories keep the contract, and they agree on any history down to the hash of the trail.
#![expect(clippy::expect_used, reason = "what fails here is the test")]

use std::cell::Cell;

use pki_core::crl::RevocationReason;
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation};
use pki_core::inventory::{
    BatchProgress, Filter, GenerationChange, GenerationState, Inventory, InventoryEntry,
    InventoryError, Label, Labels, NewBatch, NewCertificate, NewGeneration, RowKey, Status,
    Uniqueness,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::{MemoryInventory, SampleAuthority, inventory_contract, journal_contract};
use pki_core::time::{Span, Time, Validity};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

#[test]
fn memory_keeps_the_contract() {
    inventory_contract(|| Box::new(MemoryInventory::new()));
}

#[test]
fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("folder");
    let number = Cell::new(0);
    inventory_contract(|| {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.db", number.get()));
        Box::new(SqliteInventory::open_or_create(&path).expect("created"))
    });
}

#[test]
fn both_keep_the_contract_of_the_journal() {
    journal_contract(|| Box::new(MemoryInventory::new()));
    let folder = tempfile::tempdir().expect("folder");
    let number = Cell::new(0);
    journal_contract(|| {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.db", number.get()));
        Box::new(SqliteInventory::open_or_create(&path).expect("created"))
    });
}

/// One thing that is asked of an inventory; rows and numbers may not exist.
#[derive(Debug, Clone)]
enum Operation {
    Record {
        serials: Vec<u32>,
        signed: bool,
    },
    DeliverAndRecord {
        rows: Vec<usize>,
        serial: u32,
        progress: Option<u64>,
    },
    RecordMany {
        first: u32,
        count: u32,
    },
    OpenBatch {
        name: u32,
        fingerprint: u8,
    },
    CompleteBatch(u32),
    VoidUndelivered(u32),
    Deliver(Vec<usize>),
    Void(Vec<usize>),
    Revoke(Vec<usize>, RevocationReason),
    RecordAuthority(u32),
    RecordRequest(u32),
    Adopt {
        number: u32,
        serial: u32,
    },
    Settle(Vec<(u32, GenerationState)>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let serial = 1_u32..40;
    let row = 0_usize..20;
    let rows = proptest::collection::vec(row, 1..4);
    let number = 1_u32..5;
    let state = proptest::sample::select(GenerationState::ALL);
    let reason = proptest::sample::select(RevocationReason::ALL);
    prop_oneof![
        4 => (proptest::collection::vec(serial.clone(), 0..4), any::<bool>())
            .prop_map(|(serials, signed)| Operation::Record { serials, signed }),
        2 => (rows.clone(), serial.clone(), proptest::option::of(0_u64..6)).prop_map(
            |(rows, serial, progress)| Operation::DeliverAndRecord { rows, serial, progress }),
        2 => (1_u32..60, 14_u32..20)
            .prop_map(|(first, count)| Operation::RecordMany { first, count }),
        2 => (0_u32..3, 0_u8..3)
            .prop_map(|(name, fingerprint)| Operation::OpenBatch { name, fingerprint }),
        1 => (0_u32..3).prop_map(Operation::CompleteBatch),
        1 => (0_u32..3).prop_map(Operation::VoidUndelivered),
        2 => rows.clone().prop_map(Operation::Deliver),
        1 => rows.clone().prop_map(Operation::Void),
        2 => (rows, reason).prop_map(|(rows, reason)| Operation::Revoke(rows, reason)),
        2 => number.clone().prop_map(Operation::RecordAuthority),
        1 => number.clone().prop_map(Operation::RecordRequest),
        1 => (number.clone(), serial).prop_map(|(number, serial)| Operation::Adopt { number, serial }),
        2 => proptest::collection::vec((number, state), 1..3).prop_map(Operation::Settle),
        1 => Just(Operation::Settle(vec![
            (1, GenerationState::Retired),
            (2, GenerationState::Current),
        ])),
    ]
}

struct World {
    authority: SampleAuthority,
    now: Time,
}

impl World {
    fn new() -> Self {
        Self {
            authority: SampleAuthority::new("Contoso Root"),
            now: "2026-03-01T00:00:00Z".parse().expect("time"),
        }
    }

    /// Does it, and tells how it ended: that is all that adapters must agree on in errors.
    fn run(&self, inventory: &mut dyn Inventory, operation: &Operation) -> Result<(), String> {
        let at = self.now;
        let rows = |inventory: &dyn Inventory, places: &[usize]| {
            let all = entries(inventory);
            let row = |place: &usize| all.get(*place).map(|entry| entry.recorded.row());
            places.iter().filter_map(row).collect::<Vec<RowKey>>()
        };
        let done = match operation {
            Operation::Record { serials, signed } => {
                let leaf = |serial: &u32| self.leaf(*serial, *signed);
                let chunk = serials.iter().map(leaf).collect();
                inventory.record(chunk, at).map(drop)
            }
            Operation::DeliverAndRecord {
                rows: places,
                serial,
                progress,
            } => {
                let delivered = rows(inventory, places);
                let chunk = vec![self.leaf(*serial, false)];
                let progress = progress.map(|delivered| BatchProgress {
                    batch: batch(0),
                    delivered,
                    output_octets: delivered * 100,
                });
                let done = inventory.deliver_and_record(&delivered, progress.as_ref(), chunk, at);
                done.map(drop)
            }
            Operation::RecordMany { first, count } => {
                let leaf = |serial| self.leaf(serial, false);
                let chunk = (*first..first + count).map(leaf).collect();
                inventory.record(chunk, at).map(drop)
            }
            Operation::OpenBatch { name, fingerprint } => {
                let new = NewBatch {
                    name: batch(*name),
                    signed_by: generation(1),
                    fingerprint: [*fingerprint; 32],
                    total: 3,
                    output: "-".to_owned(),
                    format: "tar".to_owned(),
                };
                inventory.open_batch(new, at).map(drop)
            }
            Operation::CompleteBatch(name) => {
                inventory.complete_batch(&batch(*name), "{}", at).map(drop)
            }
            Operation::VoidUndelivered(name) => inventory
                .void_undelivered(&batch(*name), "cut", at)
                .map(drop),
            Operation::Deliver(places) => inventory.mark_delivered(&rows(inventory, places), at),
            Operation::Void(places) => inventory.void(&rows(inventory, places), "cut", at),
            Operation::Revoke(places, reason) => {
                inventory.revoke(&rows(inventory, places), *reason, at)
            }
            Operation::RecordAuthority(number) => {
                let certificate = self.root(100 + number, Some(generation(*number)));
                let recorded = inventory.record_authority(new_generation(*number), certificate, at);
                recorded.map(drop)
            }
            Operation::RecordRequest(number) => {
                inventory.record_request(new_generation(*number), at)
            }
            Operation::Adopt { number, serial } => {
                let certificate = self.root(200 + serial, None);
                let adopted = inventory.adopt(&generation(*number), certificate, at);
                adopted.map(drop)
            }
            Operation::Settle(changes) => {
                let change = |(number, to): &(u32, GenerationState)| GenerationChange {
                    generation: generation(*number).generation,
                    to: *to,
                };
                let changes: Vec<GenerationChange> = changes.iter().map(change).collect();
                inventory.settle_generations(&name(), &changes, at)
            }
        };
        done.map_err(|error| kind(&error))
    }

    fn leaf(&self, serial: u32, signed: bool) -> NewCertificate {
        // Some have their ID in common, and are in each other's way.
        let id = format!(
            "{}-{}",
            if serial.is_multiple_of(2) {
                "Even"
            } else {
                "odd"
            },
            serial / 8
        );
        let end = self.now + Span::from_days(u64::from(serial % 7));
        let validity = Validity::new(self.now, end).expect("order");
        NewCertificate {
            // Long as real ones are: between short ones there might be a thumbprint.
            certificate: self
                .authority
                .certificate(&id, 0x4000_0000 + serial, validity),
            role: Role::Leaf,
            signed_by: signed.then(|| generation(1)),
            registration_id: Some(id.parse().expect("ID")),
            batch: serial.is_multiple_of(9).then(|| batch(0)),
            labels: match serial % 4 {
                0 => "order=1".parse().expect("labels"),
                _ => Labels::default(),
            },
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }

    fn root(&self, serial: u32, signed_by: Option<AuthorityGeneration>) -> NewCertificate {
        let end = self.now + Span::from_days(3650);
        let validity = Validity::new(self.now, end).expect("order");
        NewCertificate {
            certificate: self.authority.root(serial, validity),
            role: Role::Root,
            signed_by,
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }

    /// Everything that both must show alike.
    fn compare(&self, one: &dyn Inventory, other: &dyn Inventory) {
        assert_eq!(one.stats().expect("stats"), other.stats().expect("stats"));
        let filters = [
            Filter::default(),
            Filter {
                expiring_before: Some(self.now + Span::from_days(4)),
                ..Filter::default()
            },
            Filter {
                registration_id: "even*".parse().ok(),
                ..Filter::default()
            },
            Filter {
                status: Some(Status::Voided),
                ..Filter::default()
            },
            Filter {
                authority: Some(name()),
                batch: Some(batch(0)),
                ..Filter::default()
            },
            Filter {
                label: "order=1".parse().ok(),
                ..Filter::default()
            },
        ];
        for filter in filters {
            let shown = |inventory: &dyn Inventory| {
                let page = inventory.list(&filter, None, 1000).expect("list");
                page.entries.iter().map(show).collect::<Vec<String>>()
            };
            assert_eq!(shown(one), shown(other), "{filter:?}");
            let counted = |inventory: &dyn Inventory| inventory.count(&filter).expect("counted");
            assert_eq!(counted(one), counted(other), "{filter:?}");
        }
        let batches = |inventory: &dyn Inventory| inventory.batches(None, 100).expect("batches");
        assert_eq!(batches(one), batches(other));
        let authorities = |inventory: &dyn Inventory| {
            let found = inventory.authorities().expect("authorities");
            format!("{found:?}")
        };
        assert_eq!(authorities(one), authorities(other));
    }
}

fn entries(inventory: &dyn Inventory) -> Vec<InventoryEntry> {
    let page = inventory.list(&Filter::default(), None, 1000);
    page.expect("list").entries
}

fn show(entry: &InventoryEntry) -> String {
    format!("{entry:?}")
}

fn kind(error: &InventoryError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '{', '('])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn batch(number: u32) -> Label {
    format!("batch {number}").parse().expect("label")
}

fn name() -> AuthorityName {
    "root".parse().expect("name")
}

fn generation(number: u32) -> AuthorityGeneration {
    AuthorityGeneration {
        name: name(),
        generation: Generation::new(number).expect("number"),
    }
}

fn new_generation(number: u32) -> NewGeneration {
    NewGeneration {
        authority: name(),
        generation: generation(number).generation,
        subject: "CN=Contoso Root".parse().expect("name"),
        key_reference: format!("root.{number}.key.pem").parse().expect("reference"),
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    /// The model and SQLite accept and refuse the same, show the same and verify, whatever happens.
    #[test]
    fn memory_and_sqlite_agree(operations in proptest::collection::vec(operation(), 1..25)) {
        let world = World::new();
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("inventory.db");
        let mut sqlite = SqliteInventory::open_or_create(&path).expect("created");
        let mut memory = MemoryInventory::new();
        for operation in &operations {
            let outcome = world.run(&mut memory, operation);
            assert_eq!(world.run(&mut sqlite, operation), outcome, "{operation:?}");
        }
        world.compare(&memory, &sqlite);
        let both: [&dyn Inventory; 2] = [&memory, &sqlite];
        for inventory in both {
            let report = inventory.verify_audit(&[]).expect("verified");
            assert!(report.is_intact(), "{:?}", report.findings);
        }
        let head = |inventory: &dyn Inventory| inventory.audit_head().expect("head");
        assert_eq!(head(&memory), head(&sqlite), "the trails are the same");
        drop(sqlite);
        let reopened = SqliteInventory::open(&path).expect("reopened");
        world.compare(&memory, &reopened);
    }
}
