//! What every inventory must do, as one suite that each adapter passes.
#![expect(
    clippy::expect_used,
    reason = "a contract suite tells of a breach by panicking"
)]

use serde_json::json;

use super::SampleAuthority;
use crate::ids::{AuthorityName, Generation, RegistrationId};
use crate::inventory::audit::{AuditEvent, AuditFinding, AuditHash, AuditHead};
use crate::inventory::{
    AuthorityGeneration, BatchProgress, BatchState, CertificateState, Filter, GenerationChange,
    GenerationState, Inventory, InventoryError, Label, Labels, NamedLabel, NewBatch,
    NewCertificate, NewGeneration, PageKey, Recorded, RevocationReason, RowKey, Status,
};
use crate::profile::Role;
use crate::time::{Span, Time, Validity};

/// Runs the suite; `make` gives a new, empty inventory each time.
///
/// # Panics
/// Where the inventory breaks the contract.
pub fn inventory_contract(make: impl Fn() -> Box<dyn Inventory>) {
    let sample = Sample::new();
    for rule in [
        Sample::recorded_certificates_are_found_by_every_key,
        Sample::a_serial_number_is_unique_per_issuer,
        Sample::a_refused_chunk_leaves_no_trace,
        Sample::a_signer_must_be_known,
        Sample::states_follow_one_another,
        Sample::a_hold_may_become_another_reason,
        Sample::the_delivered_mark_rides_with_the_next_chunk,
        Sample::a_generation_lives_from_pending_to_retired,
        Sample::an_authority_has_one_generation_of_each_state,
        Sample::a_request_waits_for_its_certificate,
        Sample::a_voided_generation_takes_its_certificate_along,
        Sample::pages_show_everything_once_and_in_order,
        Sample::filters_hold_together,
        Sample::a_live_leaf_is_delivered_valid_and_not_revoked,
        Sample::what_was_cut_short_is_found,
        Sample::a_batch_lives_from_open_to_complete,
        Sample::the_same_command_finds_its_batch,
        Sample::certificates_need_an_open_batch,
        Sample::what_a_batch_left_behind_is_voided,
        Sample::batches_come_in_the_order_of_opening,
        Sample::ids_with_a_live_leaf_are_found,
        Sample::counts_are_those_of_lists,
        Sample::ascending_serials_are_as_unique_as_others,
        Sample::the_trail_tells_of_every_change,
        Sample::a_checkpoint_finds_another_history,
    ] {
        rule(&sample, make().as_mut());
    }
}

/// Two authorities and a calendar.
struct Sample {
    root: SampleAuthority,
    line: SampleAuthority,
    now: Time,
}

impl Sample {
    fn new() -> Self {
        Self {
            root: SampleAuthority::new("Contoso Root"),
            line: SampleAuthority::new("Contoso Line 1"),
            now: "2026-03-01T00:00:00Z".parse().expect("time"),
        }
    }

    fn day(&self, days: u64) -> Time {
        self.now + Span::from_days(days)
    }

    fn validity(&self, days: u64) -> Validity {
        Validity::new(self.now, self.day(days)).expect("order")
    }

    /// A leaf that the line signed, valid for a year.
    fn leaf(&self, id: &str, serial: u32) -> NewCertificate {
        self.leaf_for(id, serial, 365)
    }

    fn leaf_for(&self, id: &str, serial: u32, days: u64) -> NewCertificate {
        NewCertificate {
            certificate: self.line.certificate(id, serial, self.validity(days)),
            role: Role::Leaf,
            signed_by: None,
            registration_id: Some(id.parse().expect(id)),
            batch: None,
            labels: Labels::default(),
        }
    }

    fn root_certificate(&self, number: u32) -> NewCertificate {
        NewCertificate {
            certificate: self.root.root(number, self.validity(3650)),
            role: Role::Root,
            signed_by: Some(generation("root", number)),
            registration_id: None,
            batch: None,
            labels: Labels::default(),
        }
    }

    /// Records a generation of the root and brings it into a state.
    fn with_root(&self, inventory: &mut dyn Inventory, number: u32, state: GenerationState) {
        let recorded = inventory.record_authority(
            new_generation(number),
            self.root_certificate(number),
            self.now,
        );
        recorded.expect("recorded");
        self.settle(inventory, &[(number, state)]).expect("settled");
    }

    fn settle(
        &self,
        inventory: &mut dyn Inventory,
        changes: &[(u32, GenerationState)],
    ) -> Result<(), InventoryError> {
        let change = |(number, to): &(u32, GenerationState)| GenerationChange {
            generation: Generation::new(*number).expect("number"),
            to: *to,
        };
        let changes: Vec<GenerationChange> = changes.iter().map(change).collect();
        inventory.settle_generations(&authority("root"), &changes, self.day(1))
    }

    fn recorded_certificates_are_found_by_every_key(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![self.leaf("Device-1", 1), self.leaf("device-2", 2)];
        let recorded = inventory.record(chunk, self.now).expect("recorded");
        let first = &recorded[0];
        let id = |text: &str| text.parse::<RegistrationId>().expect(text);
        let entry = inventory
            .certificate(first.row())
            .expect("read")
            .expect("found");
        assert_eq!(entry.state, CertificateState::Undelivered);
        assert_eq!(entry.recorded_at, self.now);
        assert_eq!(entry.recorded.certificate(), first.certificate());
        let certificate = first.certificate();
        let by_id = inventory.certificates_of(&id("DEVICE-1")).expect("read");
        let by_serial = inventory
            .by_serial_number(certificate.serial_number())
            .expect("read");
        let by_sha1 = inventory
            .by_sha1_thumbprint(&certificate.sha1_thumbprint())
            .expect("read");
        let by_sha256 = inventory
            .by_sha256_thumbprint(&certificate.sha256_thumbprint())
            .expect("read");
        for found in [by_id, by_serial, by_sha1, by_sha256.into_iter().collect()] {
            let rows: Vec<RowKey> = found.iter().map(|entry| entry.recorded.row()).collect();
            assert_eq!(rows, [first.row()]);
            let written = found[0]
                .recorded
                .registration_id()
                .map(RegistrationId::as_str);
            assert_eq!(written, Some("Device-1"));
        }
        assert!(
            inventory
                .certificates_of(&id("device-3"))
                .expect("read")
                .is_empty()
        );
        let renewed = inventory
            .record(vec![self.leaf("device-1", 3)], self.day(1))
            .expect("recorded");
        let both = inventory.certificates_of(&id("device-1")).expect("read");
        let rows: Vec<RowKey> = both.iter().map(|entry| entry.recorded.row()).collect();
        assert_eq!(rows, [renewed[0].row(), first.row()], "newest first");
    }

    /// RFC 5280 §4.1.2.2.
    fn a_serial_number_is_unique_per_issuer(&self, inventory: &mut dyn Inventory) {
        let again = |inventory: &mut dyn Inventory, chunk| {
            let error = inventory.record(chunk, self.now).expect_err("a duplicate");
            assert!(
                matches!(error, InventoryError::DuplicateSerial { .. }),
                "{error}"
            );
        };
        inventory
            .record(vec![self.leaf("a", 7)], self.now)
            .expect("recorded");
        again(inventory, vec![self.leaf("b", 7)]);
        again(inventory, vec![self.leaf("c", 8), self.leaf("d", 8)]);
        let mut elsewhere = self.leaf("e", 7);
        elsewhere.certificate = self.root.certificate("e", 7, self.validity(365));
        inventory
            .record(vec![elsewhere.clone()], self.now)
            .expect("another issuer");
        let serial = elsewhere.certificate.serial_number();
        assert_eq!(inventory.by_serial_number(serial).expect("read").len(), 2);
    }

    fn a_refused_chunk_leaves_no_trace(&self, inventory: &mut dyn Inventory) {
        inventory
            .record(vec![self.leaf("a", 1)], self.now)
            .expect("recorded");
        let head = inventory.audit_head().expect("read");
        let chunk = vec![self.leaf("b", 2), self.leaf("c", 1)];
        inventory.record(chunk, self.now).expect_err("a duplicate");
        assert_eq!(inventory.audit_head().expect("read"), head);
        assert_eq!(inventory.stats().expect("read").total(), 1);
        assert!(
            inventory
                .certificates_of(&"b".parse().expect("ID"))
                .expect("read")
                .is_empty()
        );
        inventory
            .record(vec![self.leaf("b", 2)], self.now)
            .expect("the serial number is still free");
    }

    fn a_signer_must_be_known(&self, inventory: &mut dyn Inventory) {
        let mut leaf = self.leaf("a", 1);
        leaf.signed_by = Some(generation("root", 1));
        let error = inventory
            .record(vec![leaf.clone()], self.now)
            .expect_err("no such authority");
        assert!(
            matches!(error, InventoryError::UnknownSigner { .. }),
            "{error}"
        );
        self.with_root(inventory, 1, GenerationState::Current);
        inventory.record(vec![leaf], self.now).expect("recorded");
    }

    fn states_follow_one_another(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![self.leaf("a", 1), self.leaf("b", 2), self.leaf("c", 3)];
        let [a, b, c] = rows(&inventory.record(chunk, self.now).expect("recorded"))[..] else {
            panic!("three certificates have three rows");
        };
        let reason = RevocationReason::KeyCompromise;
        inventory
            .mark_delivered(&[a], self.day(1))
            .expect("delivered");
        inventory
            .void(&[b], "power cut", self.day(2))
            .expect("voided");
        inventory
            .revoke(&[a], reason, self.day(3))
            .expect("revoked");
        let state = |inventory: &dyn Inventory, row| {
            let entry = inventory.certificate(row).expect("read");
            entry.expect("found").state
        };
        let (at, text) = (self.day(2), "power cut".to_owned());
        assert_eq!(
            state(inventory, b),
            CertificateState::Voided { at, reason: text }
        );
        let at = self.day(3);
        assert_eq!(
            state(inventory, a),
            CertificateState::Revoked { at, reason }
        );
        for refused in [
            inventory.mark_delivered(&[a, c], at),
            inventory.mark_delivered(&[b], at),
            inventory.void(&[c, a], "again", at),
            inventory.revoke(&[c, a], reason, at),
        ] {
            let error = refused.expect_err("the state forbids it");
            assert!(
                matches!(error, InventoryError::CertificateState { .. }),
                "{error}"
            );
        }
        assert_eq!(
            state(inventory, c),
            CertificateState::Undelivered,
            "all or none"
        );
        let missing = RowKey::new(c.number() + 1);
        let error = inventory
            .revoke(&[c, missing], reason, at)
            .expect_err("missing");
        assert!(matches!(error, InventoryError::CertificateNotFound { row } if row == missing));
        inventory
            .revoke(&[b], reason, at)
            .expect("a copy may have got out");
    }

    /// RFC 5280 §5.3.1.
    fn a_hold_may_become_another_reason(&self, inventory: &mut dyn Inventory) {
        let recorded = inventory.record(vec![self.leaf("a", 1)], self.now);
        let row = rows(&recorded.expect("recorded"));
        let hold = RevocationReason::CertificateHold;
        inventory.revoke(&row, hold, self.now).expect("on hold");
        inventory
            .revoke(&row, hold, self.now)
            .expect_err("on hold already");
        let reason = RevocationReason::KeyCompromise;
        inventory.revoke(&row, reason, self.now).expect("for good");
        inventory.revoke(&row, hold, self.now).expect_err("final");
    }

    fn the_delivered_mark_rides_with_the_next_chunk(&self, inventory: &mut dyn Inventory) {
        let first = inventory.record(vec![self.leaf("a", 1)], self.now);
        let first = rows(&first.expect("recorded"));
        let duplicate = vec![self.leaf("b", 1)];
        inventory
            .deliver_and_record(&first, None, duplicate, self.now)
            .expect_err("a duplicate");
        assert_eq!(
            inventory
                .stats()
                .expect("read")
                .with_status(Status::Undelivered),
            1
        );
        let next = inventory.deliver_and_record(&first, None, vec![self.leaf("b", 2)], self.now);
        assert_eq!(next.expect("recorded").len(), 1);
        let stats = inventory.stats().expect("read");
        assert_eq!(stats.with_status(Status::Delivered), 1);
        assert_eq!(stats.with_status(Status::Undelivered), 1);
    }

    fn a_generation_lives_from_pending_to_retired(&self, inventory: &mut dyn Inventory) {
        let recorded = inventory
            .record_authority(new_generation(1), self.root_certificate(1), self.now)
            .expect("recorded");
        assert_eq!(recorded.signed_by(), Some(&generation("root", 1)));
        let root = |inventory: &dyn Inventory| {
            let found = inventory.authority(&authority("root")).expect("read");
            found.expect("there is a root")
        };
        let pending = root(inventory);
        let pending = pending.pending().expect("pending");
        assert_eq!(pending.key_reference.as_str(), "root.1.key.pem");
        assert_eq!(pending.subject.to_string(), "CN=Contoso Root");
        self.settle(inventory, &[(1, GenerationState::Current)])
            .expect("current");
        let certificate = inventory.certificate(recorded.row()).expect("read");
        assert_eq!(
            certificate.expect("found").state.status(),
            Status::Delivered
        );
        self.with_root(inventory, 2, GenerationState::Next);
        let roll = [(2, GenerationState::Current), (1, GenerationState::Retired)];
        self.settle(inventory, &roll).expect("rolled");
        let rolled = root(inventory);
        let current = rolled.current().expect("current");
        assert_eq!(current.generation.number(), 2);
        assert_eq!(
            current.certificate.as_ref().map(Recorded::role),
            Some(Role::Root)
        );
        assert!(rolled.next().is_none());
        self.settle(inventory, &[(1, GenerationState::Current)])
            .expect_err("the retired stay so");
        assert_eq!(inventory.authorities().expect("read").len(), 1);
        assert!(
            inventory
                .authority(&authority("other"))
                .expect("read")
                .is_none()
        );
    }

    fn an_authority_has_one_generation_of_each_state(&self, inventory: &mut dyn Inventory) {
        let record = |inventory: &mut dyn Inventory, number| {
            let certificate = self.root_certificate(number);
            inventory.record_authority(new_generation(number), certificate, self.now)
        };
        let error = record(inventory, 2).expect_err("the first is 1");
        assert!(
            matches!(error, InventoryError::GenerationNumber { .. }),
            "{error}"
        );
        record(inventory, 1).expect("recorded");
        let error = record(inventory, 2).expect_err("two pending");
        assert!(
            matches!(error, InventoryError::TwoGenerations { .. }),
            "{error}"
        );
        self.settle(inventory, &[(1, GenerationState::Current)])
            .expect("current");
        record(inventory, 2).expect("recorded");
        let error = self
            .settle(inventory, &[(2, GenerationState::Current)])
            .expect_err("two current");
        assert!(
            matches!(error, InventoryError::TwoGenerations { .. }),
            "{error}"
        );
        let error = self
            .settle(inventory, &[(3, GenerationState::Current)])
            .expect_err("no third");
        assert!(
            matches!(error, InventoryError::GenerationNotFound { .. }),
            "{error}"
        );
    }

    fn a_request_waits_for_its_certificate(&self, inventory: &mut dyn Inventory) {
        inventory
            .record_request(new_generation(1), self.now)
            .expect("recorded");
        let error = self
            .settle(inventory, &[(1, GenerationState::Current)])
            .expect_err("no certificate");
        assert!(
            matches!(error, InventoryError::NoCertificate { .. }),
            "{error}"
        );
        let mut certificate = self.root_certificate(1);
        certificate.signed_by = None;
        let id = generation("root", 1);
        inventory
            .adopt(&id, certificate, self.now)
            .expect("adopted");
        let mut another = self.root_certificate(2);
        another.signed_by = None;
        let error = inventory
            .adopt(&id, another, self.now)
            .expect_err("has one");
        assert!(
            matches!(error, InventoryError::HasCertificate { .. }),
            "{error}"
        );
        self.settle(inventory, &[(1, GenerationState::Current)])
            .expect("current");
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
    }

    fn a_voided_generation_takes_its_certificate_along(&self, inventory: &mut dyn Inventory) {
        let recorded = inventory
            .record_authority(new_generation(1), self.root_certificate(1), self.now)
            .expect("recorded");
        self.settle(inventory, &[(1, GenerationState::Voided)])
            .expect("voided");
        let entry = inventory.certificate(recorded.row()).expect("read");
        assert_eq!(entry.expect("found").state.status(), Status::Voided);
        let reused = inventory.record_request(new_generation(1), self.now);
        reused.expect_err("a number is never used twice");
        inventory
            .record_request(new_generation(2), self.now)
            .expect("the next one");
        self.settle(inventory, &[(2, GenerationState::Voided)])
            .expect("voided without a certificate");
    }

    fn pages_show_everything_once_and_in_order(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        self.with_root(inventory, 2, GenerationState::Next);
        let leaf = |serial: u32| NewCertificate {
            signed_by: Generation::new(serial % 3).map(|generation| AuthorityGeneration {
                name: authority("root"),
                generation,
            }),
            ..self.leaf_for(
                &format!("Line-{}", serial * 7 % 23),
                serial,
                u64::from(serial * 5 % 11),
            )
        };
        let chunk = (1..=23).map(leaf).collect();
        inventory.record(chunk, self.now).expect("recorded");
        let everything = Filter::default();
        let expiring = Filter {
            expiring_before: Some(self.day(9)),
            ..Filter::default()
        };
        let named = Filter {
            registration_id: Some("LINE-*".parse().expect("pattern")),
            ..Filter::default()
        };
        let signed = Filter {
            authority: Some(authority("root")),
            ..Filter::default()
        };
        for (filter, size) in [
            (&everything, 25),
            (&expiring, 19),
            (&named, 23),
            (&signed, 18),
        ] {
            let whole = inventory.list(filter, None, 1000).expect("read");
            assert_eq!((whole.entries.len(), whole.next), (size, None));
            let whole: Vec<RowKey> = whole
                .entries
                .iter()
                .map(|entry| entry.recorded.row())
                .collect();
            let mut paged = Vec::new();
            let mut after: Option<PageKey> = None;
            loop {
                let page = inventory.list(filter, after.as_ref(), 4).expect("read");
                paged.extend(page.entries.iter().map(|entry| entry.recorded.row()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, whole);
        }
        let ends = inventory.list(&expiring, None, 1000).expect("read").entries;
        assert!(ends.is_sorted_by_key(|entry| entry.recorded.certificate().validity().not_after()));
        let names = inventory.list(&named, None, 1000).expect("read").entries;
        assert!(names.is_sorted_by_key(|entry| {
            entry.recorded.registration_id().map(RegistrationId::folded)
        }));
    }

    fn filters_hold_together(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        inventory
            .open_batch(batch("batch 7", 1), self.now)
            .expect("opened");
        let mut labeled = self.leaf("a-1", 11);
        labeled.signed_by = Some(generation("root", 1));
        labeled.batch = Some("batch 7".parse().expect("label"));
        labeled.labels = labels(&["order=4711", "color=red"]);
        let chunk = vec![labeled, self.leaf("a-2", 12), self.leaf_for("b-1", 13, 10)];
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[1..2], self.now)
            .expect("delivered");
        let found = |filter: Filter| {
            let page = inventory.list(&filter, None, 10).expect("read");
            let name = |id: &RegistrationId| id.to_string();
            let names = page
                .entries
                .iter()
                .map(|entry| entry.recorded.registration_id().map(name));
            names
                .map(Option::unwrap_or_default)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let empty = Filter::default;
        let (a, in_batch) = ("a*".parse().ok(), "batch 7".parse().ok());
        for (filter, expected) in [
            (
                Filter {
                    authority: Some(authority("root")),
                    ..empty()
                },
                " a-1",
            ),
            (
                Filter {
                    authority: Some(authority("root")),
                    generation: Generation::new(2),
                    ..empty()
                },
                "",
            ),
            (
                Filter {
                    authority: Some(authority("root")),
                    generation: Generation::new(1),
                    role: Some(Role::Leaf),
                    ..empty()
                },
                "a-1",
            ),
            (
                Filter {
                    generation: Generation::new(1),
                    ..empty()
                },
                " a-1",
            ),
            (
                Filter {
                    status: Some(Status::Undelivered),
                    ..empty()
                },
                "a-1 b-1",
            ),
            (
                Filter {
                    status: Some(Status::Delivered),
                    role: Some(Role::Leaf),
                    ..empty()
                },
                "a-2",
            ),
            (
                Filter {
                    registration_id: a,
                    status: Some(Status::Undelivered),
                    ..empty()
                },
                "a-1",
            ),
            (
                Filter {
                    registration_id: "*-1".parse().ok(),
                    ..empty()
                },
                "a-1 b-1",
            ),
            (
                Filter {
                    batch: in_batch,
                    ..empty()
                },
                "a-1",
            ),
            (
                Filter {
                    batch: "batch 8".parse().ok(),
                    ..empty()
                },
                "",
            ),
            (
                Filter {
                    label: "order=4711".parse().ok(),
                    ..empty()
                },
                "a-1",
            ),
            (
                Filter {
                    expiring_before: Some(self.day(11)),
                    ..empty()
                },
                "b-1",
            ),
            (
                Filter {
                    expiring_before: Some(self.day(10)),
                    ..empty()
                },
                "",
            ),
            (
                Filter {
                    expiring_from: Some(self.day(10)),
                    role: Some(Role::Leaf),
                    ..empty()
                },
                "b-1 a-1 a-2",
            ),
        ] {
            let text = format!("{filter:?}");
            assert_eq!(found(filter), expected, "{text}");
        }
        let entry = inventory
            .certificate(recorded[0])
            .expect("read")
            .expect("found");
        assert_eq!(
            entry.recorded.batch().map(ToString::to_string).as_deref(),
            Some("batch 7")
        );
        assert_eq!(entry.recorded.labels().as_str(), "color=red\norder=4711");
    }

    fn a_live_leaf_is_delivered_valid_and_not_revoked(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![
            self.leaf_for("d", 1, 10),
            self.leaf_for("D", 2, 20),
            self.leaf_for("d", 3, 20),
            self.leaf_for("other", 4, 20),
        ];
        let all = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let [short, long, undelivered, _] = all[..] else {
            panic!("four certificates have four rows");
        };
        let live = |inventory: &dyn Inventory, at| {
            let leaves = inventory
                .live_leaves(&"D".parse().expect("ID"), at)
                .expect("read");
            let rows = leaves.iter().map(|entry| entry.recorded.row());
            rows.collect::<Vec<RowKey>>()
        };
        inventory
            .mark_delivered(&[short, long], self.now)
            .expect("delivered");
        assert_eq!(live(inventory, self.day(10)), [long, short]);
        assert_eq!(live(inventory, self.day(11)), [long]);
        inventory
            .revoke(&[long], RevocationReason::Superseded, self.now)
            .expect("revoked");
        assert_eq!(live(inventory, self.day(11)), []);
        inventory
            .mark_delivered(&[undelivered], self.now)
            .expect("delivered");
        assert_eq!(live(inventory, self.day(11)), [undelivered]);
    }

    fn what_was_cut_short_is_found(&self, inventory: &mut dyn Inventory) {
        let chunk: Vec<NewCertificate> = (1..=5)
            .map(|serial| self.leaf(&format!("d{serial}"), serial))
            .collect();
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[..2], self.now)
            .expect("delivered");
        let left = |inventory: &dyn Inventory| {
            let entries = inventory.undelivered(&Filter::default()).expect("read");
            let rows = entries.iter().map(|entry| entry.recorded.row());
            rows.collect::<Vec<RowKey>>()
        };
        assert_eq!(left(inventory), recorded[2..]);
        inventory
            .void(&left(inventory), "cut short", self.now)
            .expect("voided");
        assert_eq!(left(inventory), []);
    }

    /// A leaf of the batch `b1`.
    fn of_batch(&self, id: &str, serial: u32) -> NewCertificate {
        NewCertificate {
            batch: Some(label("b1")),
            ..self.leaf(id, serial)
        }
    }

    fn a_batch_lives_from_open_to_complete(&self, inventory: &mut dyn Inventory) {
        let unknown = inventory.open_batch(batch("b1", 1), self.now);
        assert!(matches!(unknown, Err(InventoryError::UnknownSigner { .. })));
        self.with_root(inventory, 1, GenerationState::Current);
        let opened = inventory.open_batch(batch("b1", 1), self.now);
        let opened = opened.expect("opened");
        assert_eq!((opened.delivered, opened.state), (0, BatchState::Open));
        assert_eq!((opened.total, opened.started_at), (3, self.now));
        let chunk = vec![self.of_batch("a", 11), self.of_batch("b", 12)];
        let first = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let advanced = progress(2, 200);
        let chunk = vec![self.of_batch("c", 13)];
        let second = inventory
            .deliver_and_record(&first, Some(&advanced), chunk, self.day(1))
            .expect("recorded");
        let early = inventory.complete_batch(&label("b1"), "{}", self.day(1));
        assert!(matches!(early, Err(InventoryError::BatchUnfinished { .. })));
        for refused in [progress(1, 300), progress(3, 100), progress(4, 300)] {
            let error = inventory
                .deliver_and_record(&rows(&second), Some(&refused), vec![], self.day(1))
                .expect_err("backwards, or past the end");
            assert!(
                matches!(error, InventoryError::BatchProgress { .. }),
                "{error}"
            );
        }
        inventory
            .deliver_and_record(&rows(&second), Some(&progress(3, 300)), vec![], self.day(1))
            .expect("delivered");
        let complete = inventory
            .complete_batch(&label("b1"), "{\"count\":3}", self.day(2))
            .expect("complete");
        assert_eq!(complete.state, BatchState::Complete);
        assert_eq!(complete.completed_at, Some(self.day(2)));
        assert_eq!(complete.manifest.as_deref(), Some("{\"count\":3}"));
        assert_eq!((complete.delivered, complete.output_octets), (3, 300));
        let found = inventory.batch(&label("b1")).expect("read");
        assert_eq!(found.as_ref(), Some(&complete));
        assert_eq!(inventory.batch(&label("b2")).expect("read"), None);
        let again = inventory.complete_batch(&label("b1"), "{}", self.day(2));
        assert!(matches!(again, Err(InventoryError::BatchComplete { .. })));
        let entries = inventory.audit_entries(4, 10).expect("read");
        let actions: Vec<&str> = entries.iter().map(|entry| entry.action()).collect();
        assert_eq!(
            actions,
            [
                "batch-opened",
                "certificates-recorded",
                "certificates-delivered",
                "certificates-recorded",
                "certificates-delivered",
                "batch-completed",
            ]
        );
        assert_eq!(entries[2].subject(), "b1");
        assert_eq!(
            entries[2].detail(),
            json!({ "delivered": 2, "outputOctets": 200 })
        );
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
    }

    fn the_same_command_finds_its_batch(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        let open = |inventory: &mut dyn Inventory, name, fingerprint| {
            inventory.open_batch(batch(name, fingerprint), self.day(1))
        };
        let first = open(inventory, "b1", 1).expect("opened");
        let head = inventory.audit_head().expect("read");
        assert_eq!(open(inventory, "b1", 1).expect("found"), first);
        assert_eq!(open(inventory, "b2", 1).expect("found"), first);
        assert_eq!(
            inventory.audit_head().expect("read"),
            head,
            "nothing changed"
        );
        let other = open(inventory, "b1", 2).expect_err("another input");
        assert!(
            matches!(other, InventoryError::BatchExists { .. }),
            "{other}"
        );
        inventory
            .deliver_and_record(&[], Some(&progress(3, 300)), vec![], self.day(1))
            .expect("advanced");
        let complete = inventory
            .complete_batch(&label("b1"), "{}", self.day(1))
            .expect("complete");
        assert_eq!(open(inventory, "b1", 1).expect("found"), complete);
        let anew = open(inventory, "b3", 1).expect("the same input, on purpose");
        assert_eq!(anew.name, label("b3"));
    }

    fn certificates_need_an_open_batch(&self, inventory: &mut dyn Inventory) {
        let refused = inventory.record(vec![self.of_batch("a", 11)], self.now);
        assert!(matches!(refused, Err(InventoryError::BatchNotFound { .. })));
        self.with_root(inventory, 1, GenerationState::Current);
        let empty = NewBatch {
            total: 0,
            ..batch("b1", 1)
        };
        inventory.open_batch(empty, self.now).expect("opened");
        inventory
            .complete_batch(&label("b1"), "{}", self.now)
            .expect("complete");
        let refused = inventory.record(vec![self.of_batch("a", 11)], self.now);
        assert!(matches!(refused, Err(InventoryError::BatchComplete { .. })));
        let refused = inventory.deliver_and_record(&[], Some(&progress(0, 0)), vec![], self.now);
        assert!(matches!(refused, Err(InventoryError::BatchComplete { .. })));
    }

    fn what_a_batch_left_behind_is_voided(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        inventory
            .open_batch(batch("b1", 1), self.now)
            .expect("opened");
        let void = |inventory: &mut dyn Inventory, name| {
            inventory.void_undelivered(&label(name), "cut short", self.day(1))
        };
        assert_eq!(void(inventory, "b1").expect("nothing to void"), 0);
        assert!(matches!(
            void(inventory, "b2"),
            Err(InventoryError::BatchNotFound { .. })
        ));
        let chunk = vec![
            self.of_batch("a", 11),
            self.leaf("alone", 12),
            self.of_batch("b", 13),
            self.of_batch("c", 14),
        ];
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .deliver_and_record(&recorded[2..3], Some(&progress(1, 100)), vec![], self.now)
            .expect("delivered");
        assert_eq!(void(inventory, "b1").expect("voided"), 2);
        let states = recorded.iter().map(|row| {
            let entry = inventory.certificate(*row).expect("read");
            entry.expect("found").state.status().as_str()
        });
        let states: Vec<&str> = states.collect();
        assert_eq!(states, ["voided", "undelivered", "delivered", "voided"]);
        let batch = inventory.batch(&label("b1")).expect("read").expect("found");
        assert_eq!(batch.delivered, 1, "what was delivered stays so");
    }

    fn batches_come_in_the_order_of_opening(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        for (name, fingerprint) in [("z", 1), ("a", 2), ("m", 3)] {
            let opened = inventory.open_batch(batch(name, fingerprint), self.now);
            opened.expect("opened");
        }
        let names = |after: Option<&str>, limit| {
            let after = after.map(label);
            let found = inventory.batches(after.as_ref(), limit).expect("read");
            let names = found.iter().map(|batch| batch.name.as_str().to_owned());
            names.collect::<Vec<String>>()
        };
        assert_eq!(names(None, 10), ["z", "a", "m"]);
        assert_eq!(names(None, 2), ["z", "a"]);
        assert_eq!(names(Some("a"), 10), ["m"]);
        assert!(inventory.batches(Some(&label("x")), 10).is_err());
    }

    fn ids_with_a_live_leaf_are_found(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![
            self.leaf_for("expired", 1, 1),
            self.leaf_for("Live", 2, 10),
            self.leaf_for("revoked", 3, 10),
            self.leaf_for("undelivered", 4, 10),
        ];
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[..3], self.now)
            .expect("delivered");
        inventory
            .revoke(&recorded[2..3], RevocationReason::Superseded, self.now)
            .expect("revoked");
        let asked = ["expired", "LIVE", "never", "revoked", "undelivered"];
        let ids: Vec<RegistrationId> = asked.iter().map(|id| id.parse().expect(id)).collect();
        let found = inventory.find_ids(&ids, self.day(2)).expect("read");
        let found: Vec<&str> = found.iter().map(RegistrationId::as_str).collect();
        assert_eq!(found, ["LIVE"], "as it was asked for");
        let found = inventory.find_ids(&ids, self.day(1)).expect("read");
        assert_eq!(found.len(), 2, "valid until the end of the day");
    }

    fn counts_are_those_of_lists(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        inventory
            .open_batch(batch("b1", 1), self.now)
            .expect("opened");
        let chunk = (11_u32..=40).map(|serial| NewCertificate {
            signed_by: serial.is_multiple_of(2).then(|| generation("root", 1)),
            batch: serial.is_multiple_of(3).then(|| label("b1")),
            labels: match serial % 5 {
                0 => labels(&["order=4711"]),
                _ => labels(&[]),
            },
            ..self.leaf_for(&format!("d-{serial}"), serial, u64::from(serial % 7))
        });
        let recorded = inventory.record(chunk.collect(), self.now);
        let recorded = rows(&recorded.expect("recorded"));
        inventory
            .mark_delivered(&recorded[5..20], self.now)
            .expect("delivered");
        let empty = Filter::default;
        for filter in [
            empty(),
            Filter {
                status: Some(Status::Delivered),
                ..empty()
            },
            Filter {
                authority: Some(authority("root")),
                status: Some(Status::Undelivered),
                ..empty()
            },
            Filter {
                batch: Some(label("b1")),
                expiring_before: Some(self.day(4)),
                ..empty()
            },
            Filter {
                expiring_from: Some(self.day(3)),
                ..empty()
            },
            Filter {
                label: "order=4711".parse().ok(),
                ..empty()
            },
            Filter {
                label: "order=4711".parse().ok(),
                batch: Some(label("b1")),
                registration_id: "d-*".parse().ok(),
                ..empty()
            },
        ] {
            let listed = inventory.list(&filter, None, 1000).expect("read");
            let listed = u64::try_from(listed.entries.len()).expect("few");
            let counted = inventory.count(&filter).expect("read");
            assert_eq!(counted, listed, "{filter:?}");
            assert!(counted > 0, "{filter:?}");
        }
    }

    /// What bulk issuance writes may be kept in another way; the rule is the same (RFC 5280
    /// §4.1.2.2).
    fn ascending_serials_are_as_unique_as_others(&self, inventory: &mut dyn Inventory) {
        // Long as real ones are: between short ones there might be a thumbprint.
        const LONG: u32 = 0x4000_0000;
        let chunk = |serials: std::ops::Range<u32>| {
            let leaf = |serial| self.leaf(&format!("d-{serial}"), LONG + serial);
            serials.map(leaf).collect::<Vec<NewCertificate>>()
        };
        let record = |inventory: &mut dyn Inventory, chunk| inventory.record(chunk, self.now);
        record(inventory, chunk(100..140)).expect("recorded");
        record(inventory, chunk(300..340)).expect("recorded");
        record(inventory, vec![self.leaf("alone", LONG + 220)]).expect("recorded");
        for taken in [
            chunk(339..379),
            chunk(61..101),
            chunk(200..240),
            chunk(90..400),
            vec![self.leaf("again", LONG + 120)],
            vec![self.leaf("again", LONG + 339)],
        ] {
            let error = record(inventory, taken).expect_err("taken");
            assert!(
                matches!(error, InventoryError::DuplicateSerial { .. }),
                "{error}"
            );
        }
        record(inventory, chunk(140..180)).expect("between them");
        record(inventory, chunk(221..261)).expect("after the one alone");
        record(inventory, vec![self.leaf("free", LONG + 299)]).expect("free");
        for serial in [100, 120, 139, 140, 179, 220, 221, 260, 299, 300, 339] {
            let of = self.leaf("d", LONG + serial);
            let serial = of.certificate.serial_number();
            let found = inventory.by_serial_number(serial).expect("read");
            assert_eq!(found.len(), 1, "{serial}");
            assert_eq!(found[0].recorded.certificate().serial_number(), serial);
        }
        let elsewhere = (100..140).map(|serial| NewCertificate {
            certificate: self
                .root
                .certificate("e", LONG + serial, self.validity(365)),
            ..self.leaf("e", LONG + serial)
        });
        record(inventory, elsewhere.collect()).expect("another issuer");
        let both = self.leaf("d", LONG + 110);
        let found = inventory.by_serial_number(both.certificate.serial_number());
        assert_eq!(found.expect("read").len(), 2);
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
    }

    fn the_trail_tells_of_every_change(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        let recorded = inventory.record(vec![self.leaf("a", 5), self.leaf("b", 6)], self.now);
        let recorded = rows(&recorded.expect("recorded"));
        inventory
            .mark_delivered(&recorded[..1], self.now)
            .expect("delivered");
        inventory
            .void(&recorded[1..], "power cut", self.now)
            .expect("voided");
        inventory
            .revoke(&recorded[..1], RevocationReason::Superseded, self.now)
            .expect("revoked");
        let event = AuditEvent {
            action: "group-pushed".parse().expect("action"),
            subject: "line-1".to_owned(),
            detail: json!({ "etag": "\"1\"" }),
        };
        let head = inventory
            .append_audit(event, self.day(2))
            .expect("appended");
        let entries = inventory.audit_entries(0, 100).expect("read");
        let actions: Vec<&str> = entries.iter().map(|entry| entry.action()).collect();
        assert_eq!(
            actions,
            [
                "certificates-recorded",
                "generation-recorded",
                "certificates-delivered",
                "generations-settled",
                "certificates-recorded",
                "certificates-delivered",
                "certificates-voided",
                "certificates-revoked",
                "group-pushed",
            ]
        );
        let last = entries.last().expect("entries");
        assert_eq!((last.head(), last.at()), (head, self.day(2)));
        assert_eq!(last.detail(), json!({ "etag": "\"1\"" }));
        assert_eq!(entries[7].detail(), json!({ "reason": "superseded" }));
        assert_eq!(entries[6].rows().to_string(), recorded[1].to_string());
        assert_eq!(inventory.audit_entries(8, 100).expect("read"), entries[8..]);
        assert_eq!(inventory.audit_entries(0, 3).expect("read"), entries[..3]);
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
        assert_eq!(
            (report.entries, report.certificates, report.head),
            (9, 3, Some(head))
        );
    }

    fn a_checkpoint_finds_another_history(&self, inventory: &mut dyn Inventory) {
        inventory
            .record(vec![self.leaf("a", 1)], self.now)
            .expect("recorded");
        let noted = inventory.audit_head().expect("read").expect("one entry");
        inventory
            .record(vec![self.leaf("b", 2)], self.now)
            .expect("recorded");
        assert!(inventory.verify_audit(&[noted]).expect("read").is_intact());
        let another = AuditHead {
            hash: AuditHash::from_octets([7; 32]),
            ..noted
        };
        let later = AuditHead {
            sequence: 3,
            ..another
        };
        let report = inventory
            .verify_audit(&[noted, another, later])
            .expect("read");
        let expected = [
            AuditFinding::CheckpointMismatch {
                checkpoint: another,
            },
            AuditFinding::CheckpointMissing { checkpoint: later },
        ];
        assert_eq!(report.findings, expected);
    }
}

fn authority(name: &str) -> AuthorityName {
    name.parse().expect(name)
}

fn generation(name: &str, number: u32) -> AuthorityGeneration {
    AuthorityGeneration {
        name: authority(name),
        generation: Generation::new(number).expect("number"),
    }
}

fn new_generation(number: u32) -> NewGeneration {
    NewGeneration {
        authority: authority("root"),
        generation: Generation::new(number).expect("number"),
        subject: "CN=Contoso Root".parse().expect("name"),
        key_reference: format!("root.{number}.key.pem").parse().expect("reference"),
    }
}

fn rows(recorded: &[Recorded]) -> Vec<RowKey> {
    recorded.iter().map(Recorded::row).collect()
}

fn batch(name: &str, fingerprint: u8) -> NewBatch {
    NewBatch {
        name: name.parse().expect(name),
        signed_by: generation("root", 1),
        fingerprint: [fingerprint; 32],
        total: 3,
        output: "line-1.ndjson".to_owned(),
        format: "ndjson".to_owned(),
    }
}

fn progress(delivered: u64, output_octets: u64) -> BatchProgress {
    BatchProgress {
        batch: label("b1"),
        delivered,
        output_octets,
    }
}

fn label(text: &str) -> Label {
    text.parse().expect(text)
}

fn labels(texts: &[&str]) -> Labels {
    let label = |text: &&str| text.parse::<NamedLabel>().expect(text);
    texts.iter().map(label).collect()
}
