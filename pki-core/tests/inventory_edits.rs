//! Every edit that a SQLite shell can make of any column of any table: found by verification, and by
//! whoever would act on the row. The edits are made from the schema, so a new column is among them.
//!
//! An ordinary run makes one of each column and every fourth of the rest; `DPS_PKI_EDITS=all` makes all.
#![expect(clippy::expect_used, reason = "what fails here is the test")]

mod edits;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pki_core::crl::RevocationReason;
use pki_core::enrollment::{Attestation, IndividualEnrollment};
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation, PlanId};
use pki_core::inventory::audit::{AuditEvent, AuditHead};
use pki_core::inventory::{
    BatchProgress, Filter, GenerationChange, GenerationState, Inventory, InventoryError, Labels,
    NewBatch, NewCertificate, NewGeneration, RowKey, Uniqueness,
};
use pki_core::journal::{Journal, NewPlan, Settled, StepEnd, StepOutcome};
use pki_core::lifecycle::{Expectation, Plan, Step, Subject};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::SampleAuthority;
use pki_core::time::{Span, Time, Validity};
use rusqlite::Connection;

use self::edits::{Table, edits};

/// Columns, or whole tables, of which an edit need not be found, and why. One that is found anyway is an
/// error: the list holds what is so, not what was once.
const NOT_FOUND_BY_VERIFICATION: &[(&str, &str)] = &[];

/// As above, for whoever acts.
const NOT_FOUND_BY_ACTORS: &[(&str, &str)] = &[
    (
        "audit",
        "nobody acts on an entry as such; those that bind a row are proven when the row is acted on",
    ),
    (
        "counter",
        "counts are shown and signed as counts; verification compares them",
    ),
    (
        "lookup_segment",
        "lookups only lead to certificates, which are compared in full; one that is not found is \
         refused as not there",
    ),
    ("lookup_page", "as lookup_segment"),
    ("ascending_serials", "as lookup_segment"),
    (
        "certificate (added)",
        "an authority's that no generation names; a device's is refused when the device is looked for",
    ),
    (
        "request (added)",
        "that of a certificate which is not there is asked for by nobody",
    ),
    (
        "run (added)",
        "a run of certificates that are not there is looked at by nobody",
    ),
    (
        "certificate_label (added)",
        "a label of a certificate that is not there leads nowhere; another is refused when it is found by it",
    ),
    (
        "plan_step (added)",
        "a step of a plan that is not there is sent by nobody; another is refused with its plan",
    ),
    (
        "plan_subject (added)",
        "a subject of a plan that is not there is in nobody's way; another is refused with its plan",
    ),
];

/// An ordinary run makes one edit in so many.
const FEW: usize = 4;

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    head: AuditHead,
    rows: Vec<RowKey>,
    ids: Vec<PlanId>,
}

fn now() -> Time {
    "2026-03-01T00:00:00Z".parse().expect("time")
}

fn generation(name: &str, number: u32) -> AuthorityGeneration {
    AuthorityGeneration {
        name: name.parse().expect("name"),
        generation: Generation::new(number).expect("number"),
    }
}

fn certificate(authority: &SampleAuthority, id: &str, serial: u32) -> NewCertificate {
    let validity = Validity::new(now(), now() + Span::from_days(365)).expect("order");
    NewCertificate {
        certificate: authority.certificate(id, serial, validity),
        role: Role::Leaf,
        signed_by: Some(generation("root", 1)),
        registration_id: Some(id.parse().expect("ID")),
        batch: None,
        labels: "order=4711\nsite=here".parse().expect("labels"),
        request: None,
        uniqueness: Uniqueness::OnlyLeaf,
    }
}

fn authority(
    inventory: &mut SqliteInventory,
    sample: &SampleAuthority,
    (name, number, serial): (&str, u32, u32),
) -> Result<(), InventoryError> {
    let id = generation(name, number);
    let new = NewGeneration {
        authority: id.name.clone(),
        generation: id.generation,
        subject: format!("CN=Contoso {name} {number}").parse().expect("name"),
        key_reference: format!("{name}.{number}.key.pem")
            .parse()
            .expect("reference"),
    };
    let certificate = NewCertificate {
        role: Role::Root,
        registration_id: None,
        labels: Labels::default(),
        signed_by: Some(id.clone()),
        ..certificate(sample, name, serial)
    };
    inventory.record_authority(new, certificate, now())?;
    Ok(())
}

fn settle(
    inventory: &mut SqliteInventory,
    changes: &[(u32, GenerationState)],
) -> Result<(), InventoryError> {
    let changes: Vec<GenerationChange> = changes
        .iter()
        .map(|(number, to)| GenerationChange {
            generation: Generation::new(*number).expect("number"),
            to: *to,
        })
        .collect();
    inventory.settle_generations(&generation("root", 1).name, &changes, now())
}

fn batch(
    inventory: &mut SqliteInventory,
    sample: &SampleAuthority,
    (name, serial): (&str, u32),
) -> Result<(), InventoryError> {
    let fingerprint = [u8::try_from(name.len()).expect("short"); 32];
    let new = NewBatch {
        name: name.parse().expect("label"),
        signed_by: generation("root", 1),
        fingerprint,
        total: 20,
        output: format!("{name}.ndjson"),
        format: "ndjson".to_owned(),
    };
    let opened = inventory.open_batch(new, now())?;
    let leaves = (0..20).map(|number| {
        let long = 0x4000_0000 + serial + number;
        let leaf = certificate(sample, &format!("{name}-{number}"), long);
        NewCertificate {
            batch: Some(opened.name.clone()),
            ..leaf
        }
    });
    let recorded = inventory.record(leaves.collect(), now())?;
    let rows: Vec<RowKey> = recorded.iter().map(|new| new.row()).collect();
    let progress = BatchProgress {
        batch: opened.name,
        delivered: 20,
        output_octets: 400,
    };
    inventory.deliver_and_record(&rows, Some(&progress), vec![], now())?;
    Ok(())
}

fn plan(number: u8, device: &str, steps: usize) -> NewPlan {
    let step = |place: usize| {
        let id = format!("{device}-{place}").parse().expect("ID");
        let entry = IndividualEnrollment::new(id, Attestation::generated_keys());
        Step::put_individual(entry, vec![], Expectation::Absent)
    };
    NewPlan {
        id: PlanId::from_random([number; 6]),
        dps: "dev".parse().expect("name"),
        plan: Plan {
            steps: (0..steps).map(step).collect(),
            notes: vec![format!("note {number}")],
            ..Plan::new(format!("shut out {device}"))
        },
    }
}

fn done(etag: &str) -> StepEnd {
    StepEnd::Done(StepOutcome {
        how: Settled::Sent,
        etag: Some(pki_core::ids::Etag::new(etag)),
    })
}

fn plans(inventory: &mut SqliteInventory) -> Result<Vec<PlanId>, InventoryError> {
    let finished = inventory.open_plan(plan(1, "finished", 2), now())?.id;
    for step in [0, 1] {
        inventory.begin_steps(finished, &[(step, Expectation::Absent)], now())?;
        inventory.end_steps(finished, &[(step, done(&format!("\"{step}\"")))], now())?;
    }
    inventory.close_plan(finished, None, now())?;
    let abandoned = inventory.open_plan(plan(2, "abandoned", 2), now())?.id;
    inventory.close_plan(abandoned, Some("no more"), now())?;
    let open = inventory.open_plan(plan(3, "open", 4), now())?.id;
    inventory.begin_steps(
        open,
        &[(0, Expectation::Absent), (1, Expectation::Absent)],
        now(),
    )?;
    let failed = StepEnd::Failed("no".to_owned());
    inventory.end_steps(open, &[(0, done("\"7\"")), (1, failed)], now())?;
    inventory.begin_steps(open, &[(2, Expectation::Absent)], now())?;
    let other = inventory.open_plan(plan(4, "other", 1), now())?.id;
    Ok(vec![finished, abandoned, open, other])
}

fn fill(inventory: &mut SqliteInventory) -> Result<Vec<PlanId>, InventoryError> {
    let sample = SampleAuthority::new("Contoso Root");
    authority(inventory, &sample, ("root", 1, 1))?;
    settle(inventory, &[(1, GenerationState::Current)])?;
    authority(inventory, &sample, ("root", 2, 2))?;
    settle(inventory, &[(2, GenerationState::Next)])?;
    authority(inventory, &sample, ("other", 1, 3))?;
    let mut rows = Vec::new();
    for serial in 10..16 {
        let leaf = NewCertificate {
            request: (serial % 2 == 0).then(|| vec![0x30, u8::try_from(serial).expect("small")]),
            ..certificate(&sample, &format!("d-{serial}"), serial)
        };
        rows.push(inventory.record(vec![leaf], now())?[0].row());
    }
    inventory.mark_delivered(&rows[..4], now())?;
    inventory.revoke(&rows[..1], RevocationReason::KeyCompromise, now())?;
    inventory.revoke(&rows[1..2], RevocationReason::CertificateHold, now())?;
    inventory.void(&rows[4..5], "power cut", now())?;
    batch(inventory, &sample, ("one", 100))?;
    inventory.complete_batch(&"one".parse().expect("label"), "{}", now())?;
    batch(inventory, &sample, ("second", 200))?;
    let ids = plans(inventory)?;
    let event = AuditEvent {
        action: "group-pushed".parse().expect("action"),
        subject: "line-1".to_owned(),
        detail: serde_json::json!({ "etag": "1" }),
    };
    inventory.append_audit(event, now())?;
    Ok(ids)
}

impl World {
    fn new() -> Self {
        // In memory where there is such a place: the copies are many, and each is flushed.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("folder");
        let path = folder.path().join("inventory.db");
        let mut inventory = SqliteInventory::open_or_create(&path).expect("created");
        let ids = fill(&mut inventory).expect("filled");
        let head = inventory.audit_head().expect("read").expect("entries");
        let report = inventory.verify_audit(&[head]).expect("verified");
        assert!(report.is_intact(), "{:?}", report.findings);
        let page = inventory
            .list(&Filter::default(), None, 1000)
            .expect("listed");
        let rows = page
            .entries
            .iter()
            .map(|entry| entry.recorded.row())
            .collect();
        drop(inventory);
        let connection = Connection::open(&path).expect("opened");
        connection
            .pragma_update(None, "journal_mode", "delete")
            .expect("one file");
        Self {
            _folder: folder,
            path,
            head,
            rows,
            ids,
        }
    }

    /// What `audit verify` says of a file.
    fn verifies(&self, path: &Path) -> bool {
        let inventory = SqliteInventory::open(path).expect("opened");
        let report = inventory.verify_audit(&[self.head]);
        report.is_ok_and(|report| report.is_intact())
    }

    /// Reads, and goes on with, everything that commands act on.
    fn act(&self, path: &Path) -> Result<(), InventoryError> {
        let mut inventory = SqliteInventory::open(path)?;
        self.read_what_is_there(&inventory, path)?;
        for row in self.rows.iter().copied() {
            let entry = inventory
                .certificate(row)?
                .ok_or(InventoryError::CertificateNotFound { row })?;
            inventory.request(row)?;
            if let Some(id) = entry.recorded.registration_id() {
                inventory.live_leaves(id, now())?;
            }
        }
        for name in ["root", "other"] {
            let name: AuthorityName = name.parse().expect("name");
            inventory.authority(&name)?;
        }
        inventory.authorities()?;
        for name in ["one", "second"] {
            inventory.batch(&name.parse().expect("label"))?;
        }
        let revoked = Filter {
            status: Some(pki_core::inventory::Status::Revoked),
            ..Filter::default()
        };
        inventory.list(&revoked, None, 1000)?;
        for label in ["order=4711", "site=here", "order=4711x", "site=herex"] {
            let filter = Filter {
                label: label.parse().ok(),
                ..Filter::default()
            };
            inventory.list(&filter, None, 1000)?;
        }
        let device = Subject::Device("new".parse().expect("ID"));
        inventory.finished_plan(&"dev".parse().expect("name"), "", &device)?;
        for id in &self.ids {
            inventory.plan(*id)?;
        }
        self.carry_out(&mut inventory)
    }

    /// What somebody finds in the file, whether it was there before or not.
    fn read_what_is_there(
        &self,
        inventory: &SqliteInventory,
        path: &Path,
    ) -> Result<(), InventoryError> {
        let connection = Connection::open(path).expect("opened");
        let texts = |sql: &str| -> Vec<String> {
            let mut query = connection.prepare(sql).expect("prepared");
            let texts = query.query_map([], |row| row.get(0));
            // One that is no text any more is read by its place.
            texts.expect("read").filter_map(Result::ok).collect()
        };
        for name in texts("SELECT name FROM batch") {
            if let Ok(name) = name.parse() {
                inventory.batch(&name)?;
            }
        }
        for thumbed in texts("SELECT lower(hex(der)) FROM certificate") {
            let octets: Vec<u8> = (0..thumbed.len() / 2)
                .filter_map(|at| u8::from_str_radix(&thumbed[2 * at..2 * at + 2], 16).ok())
                .collect();
            if let Ok(certificate) = pki_core::certificate::Certificate::from_der(&octets) {
                inventory.by_serial_number(certificate.serial_number())?;
            }
        }
        for subject in texts("SELECT subject FROM plan_subject") {
            let subjects = BTreeSet::from([subject]);
            inventory.plans_in_the_way(&"dev".parse().expect("name"), &subjects)?;
        }
        Ok(())
    }

    /// The executor: it looks at each step once more before it is sent.
    fn carry_out(&self, inventory: &mut SqliteInventory) -> Result<(), InventoryError> {
        inventory.open_plan(plan(9, "new", 1), now())?;
        let open = self.ids[2];
        for step in 1..4 {
            inventory.begin_steps(open, &[(step, Expectation::Absent)], now())?;
            inventory.end_steps(open, &[(step, done("\"8\""))], now())?;
        }
        inventory.close_plan(open, None, now())
    }
}

#[test]
fn every_edit_is_found_by_verification_and_by_whoever_acts() {
    let world = World::new();
    world
        .act(&copy(&world.path))
        .expect("an untouched inventory is acted on");
    let mut possible: BTreeMap<String, u32> = BTreeMap::new();
    let mut missed = Vec::new();
    let mut stale: BTreeSet<&str> = NOT_FOUND_BY_VERIFICATION
        .iter()
        .chain(NOT_FOUND_BY_ACTORS)
        .map(|(what, _)| *what)
        .collect();
    let mut needed: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut count = 0;
    let all = std::env::var_os("DPS_PKI_EDITS").is_some();
    let path = copy(&world.path);
    for table in Table::all(&world.path) {
        assert!(!table.rows.is_empty(), "no row of {} is tried", table.name);
        for (number, edit) in edits(&table).into_iter().enumerate() {
            let is_first = edit
                .column
                .as_ref()
                .is_some_and(|column| !possible.contains_key(&format!("{}.{column}", edit.table)));
            if !all && !is_first && !number.is_multiple_of(FEW) {
                continue;
            }
            std::fs::copy(&world.path, &path).expect("copied");
            if !edit.make(&path) {
                continue;
            }
            count += 1;
            if let Some(column) = &edit.column {
                *possible
                    .entry(format!("{}.{column}", edit.table))
                    .or_default() += 1;
            }
            let what = format!("{}: {}", edit.table, edit.kind);
            let by_verification = !world.verifies(&path);
            match edit.excepted(NOT_FOUND_BY_VERIFICATION) {
                None if !by_verification => missed.push(format!("verification: {what}")),
                Some(place) if !by_verification => {
                    needed.insert(("verification", place));
                    stale.remove(place);
                }
                _ => {}
            }
            let acted = world.act(&path);
            if let Err(InventoryError::Corrupt { what: called }) = &acted {
                missed.push(format!("actor: {what} is called damage: {called}"));
            }
            let by_actor = acted.is_err();
            match edit.excepted(NOT_FOUND_BY_ACTORS) {
                None if !by_actor => missed.push(format!("actor: {what}")),
                Some(place) if !by_actor => {
                    needed.insert(("actor", place));
                    stale.remove(place);
                }
                _ => {}
            }
        }
        for column in 0..table.columns.len() {
            let place = table.place(column);
            assert!(
                possible.contains_key(&place),
                "no edit of {place} was possible"
            );
        }
    }
    assert!(
        missed.is_empty(),
        "{} of {count}:\n{}",
        missed.len(),
        missed.join("\n")
    );
    println!("{count} edits");
    if !all {
        return;
    }
    assert!(
        stale.is_empty(),
        "these exceptions are not needed: {stale:?}"
    );
    for (what, _) in NOT_FOUND_BY_VERIFICATION {
        assert!(needed.contains(&("verification", *what)), "{what} is found");
    }
    for (what, _) in NOT_FOUND_BY_ACTORS {
        assert!(needed.contains(&("actor", *what)), "{what} is found");
    }
}

fn copy(path: &Path) -> PathBuf {
    let to = path.with_file_name("edited.db");
    std::fs::copy(path, &to).expect("copied");
    to
}

/// An inventory from before the trail bound plans and requests, as its version has left it.
fn older(folder: &Path) -> PathBuf {
    let path = folder.join("inventory.db");
    let sql = include_str!("../../fixtures/inventory/schema-2.sql");
    let connection = Connection::open(&path).expect("opened");
    connection.execute_batch(sql).expect("schema 2");
    path
}

/// What its owner acts on.
fn act_on_older(path: &Path) -> Result<(), InventoryError> {
    let mut inventory = SqliteInventory::open(path)?;
    for entry in inventory.list(&Filter::default(), None, 1000)?.entries {
        inventory.request(entry.recorded.row())?;
    }
    let connection = Connection::open(path).expect("opened");
    let mut query = connection.prepare("SELECT name FROM plan").expect("plans");
    let names = query.query_map([], |row| row.get(0)).expect("plans");
    let names: Vec<String> = names.filter_map(Result::ok).collect();
    for name in names.iter().map(String::as_str).chain(KNOWN) {
        if let Ok(id) = name.parse() {
            inventory.plan(id)?;
        }
    }
    let device = Subject::Device("new".parse().expect("ID"));
    inventory.finished_plan(&"local".parse().expect("name"), "", &device)?;
    let open: PlanId = KNOWN[2].parse().expect("ID");
    inventory.open_plan(plan(9, "new", 1), now())?;
    for step in 0..2 {
        inventory.begin_steps(open, &[(step, Expectation::Absent)], now())?;
        inventory.end_steps(open, &[(step, done("\"8\""))], now())?;
    }
    inventory.close_plan(open, None, now())
}

/// Its plans; the last one is open.
const KNOWN: [&str; 3] = ["1b3b6c370099", "cb10cc4e7039", "d8be22d33605"];

#[test]
fn what_was_there_before_an_upgrade_is_bound_as_it_was_found() {
    let folder = tempfile::tempdir().expect("folder");
    let path = older(folder.path());
    let inventory = SqliteInventory::open(&path).expect("upgraded");
    let head = inventory.audit_head().expect("read").expect("entries");
    let last = inventory.audit_entries(head.sequence - 2, 2).expect("read");
    assert_eq!(last[1].action(), "inventory-bound");
    assert_eq!(last[1].at(), last[0].at());
    let report = inventory.verify_audit(&[head]).expect("verified");
    assert!(report.is_intact(), "{:?}", report.findings);
    drop(inventory);
    // Once is enough.
    let again = SqliteInventory::open(&path).expect("opened");
    assert_eq!(again.audit_head().expect("read"), Some(head));
    drop(again);
    let used = folder.path().join("used.db");
    std::fs::copy(&path, &used).expect("copied");
    act_on_older(&used).expect("acted on");
    let used = SqliteInventory::open(&used).expect("opened");
    let report = used.verify_audit(&[head]).expect("verified");
    assert!(report.is_intact(), "{:?}", report.findings);
    let edited = folder.path().join("edited.db");
    let bound = ["plan", "plan_step", "plan_subject", "request"];
    let mut missed = Vec::new();
    let tables = Table::all(&path).into_iter();
    for table in tables.filter(|table| bound.contains(&table.name.as_str())) {
        for edit in edits(&table) {
            std::fs::copy(&path, &edited).expect("copied");
            if !edit.make(&edited) {
                continue;
            }
            let inventory = SqliteInventory::open(&edited).expect("opened");
            let report = inventory.verify_audit(&[head]);
            let is_intact = report.is_ok_and(|report| report.is_intact());
            drop(inventory);
            if is_intact && edit.excepted(NOT_FOUND_BY_VERIFICATION).is_none() {
                missed.push(format!("verification: {}: {}", edit.table, edit.kind));
            }
            let is_done = act_on_older(&edited).is_ok();
            if is_done && edit.excepted(NOT_FOUND_BY_ACTORS).is_none() {
                missed.push(format!("actor: {}: {}", edit.table, edit.kind));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
