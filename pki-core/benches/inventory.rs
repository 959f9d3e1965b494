//! What the inventory costs at scale: recording in chunks of a thousand, and the promised queries.
//!
//! `cargo bench -p pki-core --bench inventory -- 1000000 [random]` fills an inventory of so many
//! certificates, with ascending serial numbers unless they are to be random, and prints microseconds
//! a row, then the median and the 99th percentile of each query in microseconds. The file is made in
//! the folder for temporary files (`TMPDIR`) and removed afterwards.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on ends")]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads clocks and files, and prints what it measured"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509NameBuilder};
use pki_core::certificate::Certificate;
use pki_core::ids::{AuthorityGeneration, Generation, RegistrationId, SerialNumber};
use pki_core::inventory::{
    BatchProgress, Filter, GenerationChange, GenerationState, Inventory, Label, Labels, NewBatch,
    NewCertificate, NewGeneration, PageKey, RowKey, Uniqueness,
};
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::testing::SampleAuthority;
use pki_core::time::{Span, Time, Validity};
use rustix::time::ClockId;

const CHUNK: u64 = 1000;
const SAMPLES: u64 = 1000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers = words.iter().filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    let random = words.iter().any(|word| word == "random");
    let folder = tempfile::tempdir().expect("folder");
    for total in if numbers.is_empty() {
        vec![100_000]
    } else {
        numbers
    } {
        let path = folder.path().join(format!("{total}.db"));
        let mut fleet = Fleet::new(total, random);
        println!(
            "{total} certificates, {} serial numbers",
            if random { "random" } else { "ascending" }
        );
        let mut inventory = SqliteInventory::open_or_create(&path).expect("created");
        fleet.record_all(&mut inventory);
        println!("  octets a row         {:>10}", octets(&path) / total);
        drop(inventory);
        let inventory = SqliteInventory::open(&path).expect("opened");
        fleet.query_all(&inventory);
    }
}

/// A certificate of which all others are copies with another name, serial number and signature: the
/// inventory does not verify, so what it costs can be measured without making keys.
struct Template {
    der: Vec<u8>,
    serial: usize,
    name: usize,
    not_after: usize,
}

const TEMPLATE_SERIAL: [u8; 18] = [0x55; 18];
const TEMPLATE_NAME: &str = "device-0000000000";
const TEMPLATE_NOT_AFTER: &str = "20310101000000Z";

impl Template {
    fn new() -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("curve");
        let key = PKey::from_ec_key(EcKey::generate(&group).expect("key")).expect("key");
        let name = |text: &str| {
            let mut name = X509NameBuilder::new().expect("name");
            name.append_entry_by_text("CN", text).expect("name");
            name.build()
        };
        let mut builder = X509::builder().expect("builder");
        builder.set_version(2).expect("version");
        let serial = BigNum::from_slice(&TEMPLATE_SERIAL).expect("serial");
        let serial = serial.to_asn1_integer().expect("serial");
        builder.set_serial_number(&serial).expect("serial");
        let subject = name(TEMPLATE_NAME);
        let issuer = name("Contoso Line 1");
        builder.set_subject_name(&subject).expect("subject");
        builder.set_issuer_name(&issuer).expect("issuer");
        let moment = |text| Asn1Time::from_str(text).expect("time");
        let begin = moment("20260101000000Z");
        let end = moment(TEMPLATE_NOT_AFTER);
        builder.set_not_before(&begin).expect("begin");
        builder.set_not_after(&end).expect("end");
        builder.set_pubkey(&key).expect("key");
        let mut usage = KeyUsage::new();
        let usage = usage.critical().digital_signature().build().expect("usage");
        let mut purposes = ExtendedKeyUsage::new();
        let purposes = purposes.client_auth().build().expect("purposes");
        let context = builder.x509v3_context(None, None);
        let subject = SubjectKeyIdentifier::new();
        let subject = subject.build(&context).expect("identifier");
        for extension in [usage, purposes, subject] {
            builder.append_extension(extension).expect("extension");
        }
        let mut issuer = AuthorityKeyIdentifier::new();
        let context = builder.x509v3_context(None, None);
        let issuer = issuer.keyid(true).build(&context).expect("identifier");
        builder.append_extension(issuer).expect("extension");
        builder.sign(&key, MessageDigest::sha256()).expect("signed");
        let der = builder.build().to_der().expect("DER");
        let place = |needle: &[u8]| {
            let mut windows = der.windows(needle.len());
            windows.position(|window| window == needle).expect("found")
        };
        Self {
            serial: place(&TEMPLATE_SERIAL),
            name: place(TEMPLATE_NAME.as_bytes()),
            // Until 2049 years have two digits (RFC 5280 §4.1.2.5).
            not_after: place(&TEMPLATE_NOT_AFTER.as_bytes()[2..]),
            der,
        }
    }

    fn certificate(
        &self,
        serial: &SerialNumber,
        id: &str,
        not_after: &str,
        dice: &mut Dice,
    ) -> Certificate {
        let mut der = self.der.clone();
        let mut patch = |at: usize, octets: &[u8]| {
            der[at..at + octets.len()].copy_from_slice(octets);
        };
        patch(self.serial, serial.as_be_octets());
        patch(self.name, id.as_bytes());
        patch(self.not_after, not_after.as_bytes());
        // Part of the signature, away from its length octets.
        patch(self.der.len() - 8, &dice.roll().to_be_bytes());
        Certificate::from_der(&der).expect("a certificate")
    }
}

/// Chance that repeats (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

struct Fleet {
    total: u64,
    random: bool,
    template: Template,
    dice: Dice,
    now: Time,
    /// Some of the certificates, to look for.
    samples: Vec<Certificate>,
    signed_by: AuthorityGeneration,
    batch: Label,
}

impl Fleet {
    fn new(total: u64, random: bool) -> Self {
        Self {
            total,
            random,
            template: Template::new(),
            dice: Dice(0x5eed),
            now: "2026-03-01T00:00:00Z".parse().expect("time"),
            samples: Vec::new(),
            signed_by: AuthorityGeneration {
                name: "line-1".parse().expect("name"),
                generation: Generation::FIRST,
            },
            batch: "batch".parse().expect("label"),
        }
    }

    fn record_all(&mut self, inventory: &mut dyn Inventory) {
        self.begin(inventory);
        let mut all = Clock::default();
        let mut last_fifth = Clock::default();
        let mut delivered: Vec<RowKey> = Vec::new();
        let mut slowest = Duration::ZERO;
        for start in (0..self.total / CHUNK).map(|chunk| chunk * CHUNK) {
            let chunk: Vec<NewCertificate> = (start..start + CHUNK)
                .map(|number| self.leaf(number))
                .collect();
            let progress = BatchProgress {
                batch: self.batch.clone(),
                delivered: start,
                output_octets: start * 1500,
            };
            let before = Clock::now();
            let recorded = inventory
                .deliver_and_record(&delivered, Some(&progress), chunk, self.now)
                .expect("recorded");
            let took = Clock::now().since(&before);
            delivered = recorded.iter().map(|new| new.row()).collect();
            all.add(&took);
            slowest = slowest.max(took.wall);
            if start >= self.total / 5 * 4 {
                last_fifth.add(&took);
            }
        }
        for (what, clock, rows) in [
            ("all", &all, self.total),
            ("last fifth", &last_fifth, self.total / 5),
        ] {
            println!(
                "  record, {what:<11} {:>10.2} us CPU a row {:>8.2} us wall",
                clock.cpu.as_secs_f64() * 1e6 / to_f64(rows),
                clock.wall.as_secs_f64() * 1e6 / to_f64(rows),
            );
        }
        println!(
            "  slowest chunk        {:>10.1} ms",
            slowest.as_secs_f64() * 1e3
        );
        inventory
            .mark_delivered(&delivered, self.now)
            .expect("delivered");
    }

    fn begin(&self, inventory: &mut dyn Inventory) {
        let authority = SampleAuthority::new("Contoso Line 1");
        let validity = Validity::new(self.now, self.now + Span::from_days(3650)).expect("order");
        let certificate = NewCertificate {
            certificate: authority.root(1, validity),
            role: Role::Root,
            signed_by: Some(self.signed_by.clone()),
            registration_id: None,
            batch: None,
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        };
        let generation = NewGeneration {
            authority: self.signed_by.name.clone(),
            generation: Generation::FIRST,
            subject: certificate.certificate.subject(),
            key_reference: "1.key.pem".parse().expect("reference"),
        };
        inventory
            .record_authority(generation, certificate, self.now)
            .expect("recorded");
        let current = GenerationChange {
            generation: Generation::FIRST,
            to: GenerationState::Current,
        };
        inventory
            .settle_generations(&self.signed_by.name, &[current], self.now)
            .expect("settled");
        let batch = NewBatch {
            name: self.batch.clone(),
            signed_by: self.signed_by.clone(),
            fingerprint: [1; 32],
            total: self.total,
            output: "out.ndjson".to_owned(),
            format: "ndjson".to_owned(),
        };
        inventory.open_batch(batch, self.now).expect("opened");
    }

    fn leaf(&mut self, number: u64) -> NewCertificate {
        let id = id(number);
        let serial = self.serial(number);
        let not_after = &not_after(number * 100 / self.total)[2..];
        let certificate = self
            .template
            .certificate(&serial, &id, not_after, &mut self.dice);
        if number.is_multiple_of((self.total / SAMPLES).max(1)) {
            self.samples.push(certificate.clone());
        }
        NewCertificate {
            certificate,
            role: Role::Leaf,
            signed_by: Some(self.signed_by.clone()),
            registration_id: Some(id.parse().expect("ID")),
            batch: Some(self.batch.clone()),
            labels: Labels::default(),
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
        }
    }

    fn serial(&mut self, number: u64) -> SerialNumber {
        let chance = self.dice.roll().to_be_bytes();
        if !self.random {
            // As random as a run's, and the same for all of a chunk.
            let of_chunk = (number / CHUNK).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let of_chunk = of_chunk.to_be_bytes().first_chunk().copied();
            let place = u32::try_from(number % CHUNK).expect("small");
            return SerialNumber::in_chunk(of_chunk.expect("seven octets"), place, chance);
        }
        let mut octets = [0x41; 18];
        octets[1..9].copy_from_slice(&chance);
        octets[9..17].copy_from_slice(&self.dice.roll().to_be_bytes());
        SerialNumber::from_be_octets(&octets).expect("serial")
    }

    fn query_all(&mut self, inventory: &dyn Inventory) {
        let samples = std::mem::take(&mut self.samples);
        measure("find by registration ID", &samples, |certificate| {
            let id = certificate.common_name().expect("name");
            let id: RegistrationId = id.parse().expect("ID");
            inventory.certificates_of(&id).expect("read").len()
        });
        measure("find by serial number", &samples, |certificate| {
            let serial = certificate.serial_number();
            inventory.by_serial_number(serial).expect("read").len()
        });
        measure("find by SHA-1", &samples, |certificate| {
            let thumbprint = certificate.sha1_thumbprint();
            inventory
                .by_sha1_thumbprint(&thumbprint)
                .expect("read")
                .len()
        });
        measure("find by SHA-256", &samples, |certificate| {
            let thumbprint = certificate.sha256_thumbprint();
            let found = inventory.by_sha256_thumbprint(&thumbprint).expect("read");
            usize::from(found.is_some())
        });
        let in_day = |day: u64| Filter {
            expiring_before: Some(time(day + 1)),
            expiring_from: Some(time(day)),
            ..Filter::default()
        };
        let days: Vec<u64> = (0..SAMPLES).map(|_| self.dice.below(100)).collect();
        measure("expiring in 1 %, count", &days[..100], |day| {
            usize::try_from(inventory.count(&in_day(*day)).expect("read")).expect("fits")
        });
        measure("expiring, page of 50", &days, |day| {
            page(inventory, &in_day(*day), None)
        });
        let everything = Filter::default();
        let keys = samples.iter().map(|certificate| {
            let thumbprint = certificate.sha256_thumbprint();
            let entry = inventory.by_sha256_thumbprint(&thumbprint).expect("read");
            PageKey::of(&entry.expect("found"))
        });
        let keys: Vec<PageKey> = keys.collect();
        measure("page of 50", &keys, |key| {
            page(inventory, &everything, Some(key))
        });
        let delivered = Filter {
            status: Some(pki_core::inventory::Status::Delivered),
            batch: Some(self.batch.clone()),
            ..Filter::default()
        };
        measure("page of 50 of a batch", &keys, |key| {
            page(inventory, &delivered, Some(key))
        });
        let total = self.total;
        let starts: Vec<u64> = (0..SAMPLES).map(|_| self.dice.below(total)).collect();
        measure("page of 50 by ID prefix", &starts, |start| {
            let prefix = id(start / 100);
            let filter = Filter {
                registration_id: format!("{}*", &prefix[..prefix.len() - 2]).parse().ok(),
                ..Filter::default()
            };
            page(inventory, &filter, None)
        });
        measure("check of 1000 IDs", &starts[..100], |start| {
            // Half of them are of devices that there are not.
            let ids = (0..1000).map(|place| match place % 2 {
                0 => id(start + place).parse().expect("ID"),
                _ => format!("{}x", id(start + place)).parse().expect("ID"),
            });
            let ids: Vec<RegistrationId> = ids.collect();
            inventory.find_ids(&ids, self.now).expect("read").len()
        });
        let whole = Instant::now();
        let report = inventory.verify_audit(&[]).expect("verified");
        assert!(report.is_intact(), "{:?}", report.findings);
        println!(
            "  audit verified       {:>10.2} us a row, peak memory {} MB",
            whole.elapsed().as_secs_f64() * 1e6 / to_f64(total),
            peak_memory() / 1024,
        );
    }
}

fn page(inventory: &dyn Inventory, filter: &Filter, after: Option<&PageKey>) -> usize {
    let page = inventory.list(filter, after, 50).expect("read");
    page.entries.len()
}

fn id(number: u64) -> String {
    format!("device-{number:010}")
}

fn time(day: u64) -> Time {
    "2029-01-01T00:00:00Z".parse::<Time>().expect("time") + Span::from_days(day)
}

/// As in a certificate, with four digits for the year.
fn not_after(day: u64) -> String {
    let text = time(day).to_string();
    text.chars()
        .filter(|character| !"-:T".contains(*character))
        .collect()
}

fn measure<T>(what: &str, arguments: &[T], mut query: impl FnMut(&T) -> usize) {
    let mut found = 0;
    let mut took: Vec<Duration> = Vec::new();
    // The first round warms the cache.
    for round in 0..2 {
        for argument in arguments {
            let begin = Instant::now();
            found += query(argument);
            if round == 1 {
                took.push(begin.elapsed());
            }
        }
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!(
        "  {what:<24} {:>10.0} us median {:>10.0} us p99 {:>10} found",
        at(50),
        at(99),
        found / 2 / arguments.len(),
    );
}

#[derive(Default)]
struct Clock {
    cpu: Duration,
    wall: Duration,
}

impl Clock {
    /// Since whatever beginning: only differences mean something.
    fn now() -> Self {
        let cpu = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        Self {
            cpu: Duration::try_from(cpu).expect("positive"),
            wall: BEGIN.with(Instant::elapsed),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            wall: self.wall.saturating_sub(before.wall),
        }
    }

    fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.wall += other.wall;
    }
}

thread_local! {
    static BEGIN: Instant = Instant::now();
}

/// In KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

fn octets(path: &Path) -> u64 {
    std::fs::metadata(path).expect("there").len()
}

fn to_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).expect("small"))
}
