//! Audit proofs: every certificate can be proven towards every later checkpoint, and nothing in a
//! proof can be changed.
#![expect(clippy::expect_used, reason = "what fails here is the test")]

use pki_core::ids::{AuthorityGeneration, Generation};
use pki_core::inventory::audit::{AuditEvent, AuditHash, AuditHead, AuditProof, ProofError};
use pki_core::inventory::{
    BatchProgress, Inventory, InventoryError, Labels, NewBatch, NewCertificate, NewGeneration,
    RowKey, Uniqueness,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::{MemoryInventory, SampleAuthority};
use pki_core::time::{Span, Time, Validity};
use serde_json::Value;

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

    fn leaf(&self, serial: u32) -> NewCertificate {
        let id = format!("device-{serial}");
        let validity = Validity::new(self.now, self.now + Span::from_days(9)).expect("order");
        NewCertificate {
            certificate: self.authority.certificate(&id, serial, validity),
            role: Role::Leaf,
            signed_by: Some(root()),
            registration_id: Some(id.parse().expect("ID")),
            batch: Some("batch".parse().expect("label")),
            labels: "color=red\norder=4711".parse().expect("labels"),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }

    /// An authority, a batch, chunks of one to eleven leaves, and events between them.
    fn fill(&self, inventory: &mut dyn Inventory) {
        self.begin(inventory).expect("begun");
        let mut serial = 1;
        for chunk in 1..=11 {
            let leaves = (serial + 1..=serial + chunk).map(|serial| self.leaf(serial));
            serial += chunk;
            let recorded = inventory.record(leaves.collect(), self.now);
            let rows: Vec<RowKey> = recorded
                .expect("recorded")
                .iter()
                .map(|new| new.row())
                .collect();
            let progress = BatchProgress {
                batch: "batch".parse().expect("label"),
                delivered: u64::from(serial - 1),
                output_octets: 1,
            };
            inventory
                .deliver_and_record(&rows, Some(&progress), Vec::new(), self.now)
                .expect("delivered");
        }
        let event = AuditEvent {
            action: "group-pushed".parse().expect("action"),
            subject: "line-1".to_owned(),
            detail: Value::Null,
        };
        inventory.append_audit(event, self.now).expect("appended");
    }

    fn begin(&self, inventory: &mut dyn Inventory) -> Result<(), InventoryError> {
        let generation = NewGeneration {
            authority: root().name,
            generation: Generation::FIRST,
            subject: "CN=Contoso Root".parse().expect("name"),
            key_reference: "1.key.pem".parse().expect("reference"),
        };
        let certificate = NewCertificate {
            role: Role::Root,
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            ..self.leaf(1)
        };
        inventory.record_authority(generation, certificate, self.now)?;
        let batch = NewBatch {
            name: "batch".parse().expect("label"),
            signed_by: root(),
            fingerprint: [1; 32],
            total: 100,
            output: "-".to_owned(),
            format: "tar".to_owned(),
        };
        inventory.open_batch(batch, self.now).map(drop)
    }
}

fn root() -> AuthorityGeneration {
    AuthorityGeneration {
        name: "root".parse().expect("name"),
        generation: Generation::FIRST,
    }
}

fn certificates(inventory: &dyn Inventory) -> Vec<(RowKey, Vec<u8>)> {
    let page = inventory.list(&pki_core::inventory::Filter::default(), None, 1000);
    let entries = page.expect("read").entries;
    let pair = |entry: &pki_core::inventory::InventoryEntry| {
        let recorded = &entry.recorded;
        (recorded.row(), recorded.certificate().der().to_vec())
    };
    entries.iter().map(pair).collect()
}

fn heads(inventory: &dyn Inventory) -> Vec<AuditHead> {
    let entries = inventory.audit_entries(0, 1000).expect("read");
    entries.iter().map(|entry| entry.head()).collect()
}

#[test]
fn every_certificate_is_proven_towards_every_later_checkpoint() {
    let world = World::new();
    let mut inventory = MemoryInventory::new();
    world.fill(&mut inventory);
    let mut proofs = 0;
    for (row, der) in certificates(&inventory) {
        let recorded_in = inventory
            .certificate(row)
            .expect("read")
            .expect("found")
            .recorded_in;
        for head in heads(&inventory) {
            let proof = AuditProof::of(&inventory, row, Some(&head));
            if head.sequence < recorded_in {
                let error = proof.expect_err("recorded later");
                assert!(matches!(error, InventoryError::CheckpointUnknown { .. }));
                continue;
            }
            let proof = proof.expect("proven");
            assert_eq!(proof.verify(&der, Some(&head)), Ok(()));
            assert_eq!(
                (proof.recorded_in(), proof.checkpoint()),
                (recorded_in, head)
            );
            proofs += 1;
        }
    }
    assert!(proofs > 500, "{proofs}");
}

#[test]
fn both_inventories_give_the_same_proof() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let mut sqlite = SqliteInventory::open_or_create(&path).expect("created");
    let mut memory = MemoryInventory::new();
    world.fill(&mut sqlite);
    world.fill(&mut memory);
    let row = certificates(&memory)[40].0;
    let proof = AuditProof::of(&sqlite, row, None).expect("proven");
    assert_eq!(AuditProof::of(&memory, row, None).expect("proven"), proof);
    let text = serde_json::to_string(&proof).expect("written");
    assert_eq!(
        serde_json::from_str::<AuditProof>(&text).expect("read"),
        proof
    );
}

/// Numbers of nine bits: from each place at most as many steps as there are bits below.
#[test]
fn a_proof_stays_small_in_a_long_trail() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inventory.db");
    let mut inventory = SqliteInventory::open_or_create(&path).expect("created");
    world.begin(&mut inventory).expect("begun");
    for number in 0..500 {
        let event = AuditEvent {
            action: "noted".parse().expect("action"),
            subject: String::new(),
            detail: number.into(),
        };
        inventory.append_audit(event, world.now).expect("appended");
    }
    let (row, der) = certificates(&inventory).remove(0);
    let proof = AuditProof::of(&inventory, row, None).expect("proven");
    assert_eq!(proof.verify(&der, None), Ok(()));
    let value = serde_json::to_value(&proof).expect("written");
    let steps = value["steps"].as_array().expect("steps").len();
    assert!(steps <= 9 * 10 / 2, "{steps} steps");
}

#[test]
fn a_proof_is_of_one_certificate_and_one_checkpoint() {
    let world = World::new();
    let mut inventory = MemoryInventory::new();
    world.fill(&mut inventory);
    let all = certificates(&inventory);
    let (row, der) = &all[30];
    let proof = AuditProof::of(&inventory, *row, None).expect("proven");
    let other = proof.verify(&all[31].1, None);
    assert!(matches!(other, Err(ProofError::OtherCertificate { .. })));
    let head = proof.checkpoint();
    let another = AuditHead {
        hash: AuditHash::from_octets([7; 32]),
        ..head
    };
    let refused = proof.verify(der, Some(&another));
    assert!(matches!(refused, Err(ProofError::OtherCheckpoint { .. })));
    let unknown = AuditProof::of(&inventory, *row, Some(&another)).expect_err("not in the trail");
    assert!(matches!(unknown, InventoryError::CheckpointUnknown { .. }));
    let missing = RowKey::clone(&all[all.len() - 1].0);
    inventory = MemoryInventory::new();
    let missing = AuditProof::of(&inventory, missing, None).expect_err("no such certificate");
    assert!(matches!(
        missing,
        InventoryError::CertificateNotFound { .. }
    ));
}

/// Each value is changed, each member and each element taken away: none of it goes unnoticed.
#[test]
fn nothing_in_a_proof_can_be_changed() {
    let world = World::new();
    let mut inventory = MemoryInventory::new();
    world.fill(&mut inventory);
    let (row, der) = certificates(&inventory).remove(30);
    let proof = AuditProof::of(&inventory, row, None).expect("proven");
    let proof = serde_json::to_value(&proof).expect("written");
    let accepted = |value: &Value| {
        let read = serde_json::from_value::<AuditProof>(value.clone());
        read.is_ok_and(|proof| proof.verify(&der, None).is_ok())
    };
    assert!(accepted(&proof));
    let mut changes = 0;
    for pointer in pointers(&proof, "") {
        for changed in changes_of(&proof, &pointer) {
            assert!(!accepted(&changed), "{pointer}: {changed:#}");
            changes += 1;
        }
    }
    assert!(changes > 60, "{changes}");
}

/// The places of all values in a document.
fn pointers(value: &Value, here: &str) -> Vec<String> {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(elements) => {
            let elements = elements.iter().enumerate();
            elements
                .map(|(index, value)| (index.to_string(), value))
                .collect()
        }
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (name, value) in members {
        let there = format!("{here}/{name}");
        found.extend(pointers(value, &there));
        found.push(there);
    }
    found
}

/// The document with the value in one place changed, doubled or taken away.
fn changes_of(proof: &Value, pointer: &str) -> Vec<Value> {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let mut without = proof.clone();
    let mut more = proof.clone();
    match without.pointer_mut(parent).expect("parent") {
        Value::Array(elements) => {
            elements.remove(name.parse().expect("index"));
        }
        Value::Object(members) => {
            members.shift_remove(name);
        }
        _ => {}
    }
    match more.pointer_mut(parent).expect("parent") {
        Value::Array(elements) => elements.push(elements[0].clone()),
        Value::Object(members) => {
            members.insert("more".to_owned(), Value::from("x"));
        }
        _ => {}
    }
    let mut changed = proof.clone();
    let value = changed.pointer_mut(pointer).expect("value");
    match value {
        Value::String(text) => {
            let last = text.pop();
            text.push(if last == Some('1') { '2' } else { '1' });
        }
        Value::Number(number) => *value = (number.as_u64().expect("number") + 1).into(),
        Value::Null => *value = "root".into(),
        _ => {}
    }
    let mut changes = vec![without, more, changed];
    changes.retain(|change| change != proof);
    changes
}
