//! What impact and planning cost at scale: cargo bench -p pki-core --bench impact -- 1000000
//!
//! Fills an inventory with so many leaves of one line, has one in a hundred quarantined, and measures
//! the impact of disabling the line's group, by counts and with all names, and the plan that
//! quarantines one device in a hundred. Prints the time, and the most memory the process ever held,
//! after filling and at the end.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends")]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads clocks and /proc, and prints what it measured"
)]

#[path = "../tests/support.rs"]
mod support;

use std::time::Instant;

use pki_core::admission::{DpsView, UploadedCa};
use pki_core::certificate::Certificate;
use pki_core::enrollment::compose::by_signing_certificate;
use pki_core::enrollment::{
    Attestation, EnrollmentGroup, IndividualEnrollment, ProvisioningStatus,
};
use pki_core::ids::{AuthorityGeneration, Generation, RegistrationId};
use pki_core::inventory::{
    GenerationChange, GenerationState, Inventory, Labels, NewCertificate, NewGeneration, Uniqueness,
};
use pki_core::key::KeyAlgorithm;
use pki_core::lifecycle::{
    Effect, HubAction, Impact, Quarantine, QuarantineState, quarantine_many,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use support::{TestAuthority, now};

/// Of so many devices, one has an individual enrollment.
const ONE_IN: usize = 100;

fn main() {
    let numbers = std::env::args().filter_map(|word| word.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    for total in if numbers.is_empty() {
        vec![10_000]
    } else {
        numbers
    } {
        run(total);
    }
}

fn run(total: usize) {
    let folder = tempfile::tempdir().expect("folder");
    let mut inventory =
        SqliteInventory::open_or_create(&folder.path().join("inventory.db")).expect("created");
    let line = support::root("line", KeyAlgorithm::EcdsaP256);
    fill(&mut inventory, &line, total);
    println!("{total} devices; filled with at most {} MB", peak());
    let before = view(&line, total);
    let mut after = before.clone();
    let mut group = group(&line);
    group.provisioning_status = ProvisioningStatus::Disabled;
    after.put_group(&group).expect("group");
    for (what, names) in [("counts and ten names", Some(10)), ("all names", None)] {
        let impact = timed(what, || {
            Impact::over_inventory(&before, &after, &inventory, now(), names).expect("impact")
        });
        let lost = impact.count(Effect::Loses);
        assert_eq!(lost, u64::try_from(total - total / ONE_IN).expect("count"));
    }
    let requests: Vec<_> = (0..total / ONE_IN).map(request).collect();
    let plan = timed("plan of a hundredth", || quarantine_many(&requests));
    assert_eq!(plan.steps.len(), total / ONE_IN);
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    let took = begin.elapsed().as_secs_f64() * 1e3;
    println!("  {what:<22} {took:>9.1} ms, at most {} MB", peak());
    result
}

/// The most memory that the process has held, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.expect("VmHWM").split_whitespace().next();
    words.expect("a number").parse::<u64>().expect("a number") / 1024
}

fn id(device: usize) -> RegistrationId {
    format!("device-{device:09}").parse().expect("id")
}

fn request(device: usize) -> (Quarantine, QuarantineState) {
    let request = Quarantine {
        registration_id: id(device * ONE_IN + 1),
        leaf: None,
        revoke: vec![],
        reason: None,
        hub: HubAction::Keep,
    };
    (request, QuarantineState::default())
}

fn group(line: &TestAuthority) -> EnrollmentGroup {
    let attestation = by_signing_certificate(&line.certificate);
    EnrollmentGroup::new("line".parse().expect("id"), attestation)
}

fn view(line: &TestAuthority, total: usize) -> DpsView {
    let mut view = DpsView::new();
    let uploaded = UploadedCa {
        sha1_thumbprint: line.certificate.sha1_thumbprint(),
        sha256_thumbprint: Some(line.certificate.sha256_thumbprint()),
        is_verified: true,
    };
    view.put_uploaded("line".parse().expect("name"), uploaded);
    view.put_group(&group(line)).expect("group");
    for device in (0..total).step_by(ONE_IN) {
        let mut entry = IndividualEnrollment::new(id(device), Attestation::generated_keys());
        entry.provisioning_status = ProvisioningStatus::Disabled;
        view.put_individual(&entry).expect("entry");
    }
    view
}

/// One leaf, recorded over and over with another name and serial number: the inventory does not verify
/// signatures.
fn fill(inventory: &mut SqliteInventory, line: &TestAuthority, total: usize) {
    let signer = AuthorityGeneration {
        name: "line".parse().expect("name"),
        generation: Generation::FIRST,
    };
    record_line(inventory, line, &signer);
    let template = line.leaf(id(0).as_str(), KeyAlgorithm::EcdsaP256);
    let serial = template.serial_number().as_be_octets().to_vec();
    let places = [id(0).as_str().as_bytes().to_vec(), serial.clone()]
        .map(|needle| place(template.der(), &needle));
    let leaf = |device: usize| {
        let mut der = template.der().to_vec();
        let name = id(device);
        der[places[0]..][..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        der[places[1] + serial.len() - 8..][..8]
            .copy_from_slice(&u64::try_from(device).expect("number").to_be_bytes());
        NewCertificate {
            certificate: Certificate::from_der(&der).expect("a certificate"),
            role: Role::Leaf,
            signed_by: Some(signer.clone()),
            registration_id: Some(name),
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::FromElsewhere,
        }
    };
    let devices: Vec<usize> = (0..total).collect();
    for chunk in devices.chunks(1000) {
        let chunk = chunk.iter().map(|device| leaf(*device)).collect();
        let recorded = inventory.record(chunk, now()).expect("recorded");
        let rows: Vec<_> = recorded.iter().map(|one| one.row()).collect();
        inventory.mark_delivered(&rows, now()).expect("delivered");
    }
}

fn place(der: &[u8], needle: &[u8]) -> usize {
    let mut windows = der.windows(needle.len());
    windows
        .position(|window| window == needle)
        .expect("in the certificate")
}

fn record_line(
    inventory: &mut SqliteInventory,
    line: &TestAuthority,
    signer: &AuthorityGeneration,
) {
    let generation = NewGeneration {
        authority: signer.name.clone(),
        generation: signer.generation,
        subject: line.certificate.subject(),
        key_reference: "line.key.pem".parse().expect("reference"),
    };
    let certificate = NewCertificate {
        certificate: line.certificate.clone(),
        role: Role::Root,
        signed_by: Some(signer.clone()),
        registration_id: None,
        batch: None,
        labels: Labels::default(),
        request: None,
        uniqueness: Uniqueness::FromElsewhere,
    };
    inventory
        .record_authority(generation, certificate, now())
        .expect("recorded");
    let change = GenerationChange {
        generation: signer.generation,
        to: GenerationState::Current,
    };
    inventory
        .settle_generations(&signer.name, &[change], now())
        .expect("settled");
}
