//! Certificates: recorded, found, delivered, voided, revoked.

use serde_json::json;

use super::{Sample, from_elsewhere, generation, rows};
use crate::crl::RevocationReason;
use crate::ids::RegistrationId;
use crate::inventory::{
    CertificateState, GenerationState, Inventory, InventoryError, NewCertificate, Revocation,
    RowKey, Status, Uniqueness,
};

impl Sample {
    pub(super) fn recorded_certificates_are_found_by_every_key(
        &self,
        inventory: &mut dyn Inventory,
    ) {
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
        let another = NewCertificate {
            uniqueness: Uniqueness::FromElsewhere,
            ..self.leaf("device-1", 3)
        };
        let renewed = inventory
            .record(vec![another], self.day(1))
            .expect("recorded");
        let both = inventory.certificates_of(&id("device-1")).expect("read");
        let rows: Vec<RowKey> = both.iter().map(|entry| entry.recorded.row()).collect();
        assert_eq!(rows, [renewed[0].row(), first.row()], "newest first");
    }

    /// RFC 5280 §4.1.2.2.
    pub(super) fn a_request_is_kept_with_its_certificate(&self, inventory: &mut dyn Inventory) {
        let answered = NewCertificate {
            request: Some(b"as the device sent it".to_vec()),
            ..self.leaf("device-1", 1)
        };
        let chunk = vec![answered, self.leaf("device-2", 2)];
        let recorded = inventory.record(chunk, self.now).expect("recorded");
        let kept = inventory.request(recorded[0].row()).expect("read");
        assert_eq!(kept.as_deref(), Some(&b"as the device sent it"[..]));
        let none = inventory.request(recorded[1].row()).expect("read");
        assert_eq!(none, None);
    }

    pub(super) fn a_serial_number_is_unique_per_issuer(&self, inventory: &mut dyn Inventory) {
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
        let mut between = self.leaf("f", 8);
        between.certificate = self.root.certificate("f", 8, self.validity(365));
        let chunk = vec![self.leaf("c", 8), between, self.leaf("d", 8)];
        again(inventory, chunk);
        let mut elsewhere = self.leaf("e", 7);
        elsewhere.certificate = self.root.certificate("e", 7, self.validity(365));
        inventory
            .record(vec![elsewhere.clone()], self.now)
            .expect("another issuer");
        let serial = elsewhere.certificate.serial_number();
        assert_eq!(inventory.by_serial_number(serial).expect("read").len(), 2);
    }

    /// What bulk issuance writes may be kept in another way; the rule is the same (RFC 5280
    /// §4.1.2.2).
    pub(super) fn ascending_serials_are_as_unique_as_others(&self, inventory: &mut dyn Inventory) {
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
            // Their devices have leaves too, which is not what is asked here.
            let taken = from_elsewhere(taken);
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
            uniqueness: Uniqueness::FromElsewhere,
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

    pub(super) fn a_refused_chunk_leaves_no_trace(&self, inventory: &mut dyn Inventory) {
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

    /// At most one, delivered or on its way, whoever records it.
    pub(super) fn a_device_has_one_live_leaf(&self, inventory: &mut dyn Inventory) {
        let first = inventory.record(vec![self.leaf("Device-1", 1)], self.now);
        let [row] = rows(&first.expect("recorded"))[..] else {
            panic!("one certificate has one row");
        };
        // Between others, and in another case.
        let chunk = || {
            vec![
                self.leaf("a", 2),
                self.leaf("device-1", 3),
                self.leaf("z", 4),
            ]
        };
        let refused = |inventory: &mut dyn Inventory, at, status: Status| {
            let head = inventory.audit_head().expect("read");
            let error = inventory.record(chunk(), at).expect_err("it has a leaf");
            let InventoryError::LeafExists { first, more: 0 } = error else {
                panic!("{error}");
            };
            assert_eq!((first.row, first.status), (row, status));
            assert!(first.to_string().contains("serial number 01"), "{first}");
            assert_eq!(inventory.audit_head().expect("read"), head);
        };
        refused(inventory, self.now, Status::Undelivered);
        refused(inventory, self.day(400), Status::Undelivered);
        inventory
            .mark_delivered(&[row], self.now)
            .expect("delivered");
        refused(inventory, self.day(365), Status::Delivered);
        // The clock of another machine is behind.
        refused(
            inventory,
            "2026-02-27T00:00:00Z".parse().expect("time"),
            Status::Delivered,
        );
        let reason = RevocationReason::Superseded;
        inventory
            .revoke(&[row], reason, self.day(1))
            .expect("revoked");
        let recorded = inventory.record(chunk(), self.day(2));
        let recorded = rows(&recorded.expect("a revoked leaf is in nobody's way"));
        inventory
            .void(&recorded, "cut short", self.day(2))
            .expect("voided");
        let again = vec![self.leaf("device-1", 5)];
        let recorded = inventory.record(again, self.day(2));
        let recorded = rows(&recorded.expect("nor is a void one"));
        inventory
            .mark_delivered(&recorded, self.day(2))
            .expect("delivered");
        let later = vec![self.leaf("device-1", 6)];
        let recorded = inventory.record(later, self.day(366));
        recorded.expect("nor one that has expired");
    }

    pub(super) fn a_chunk_gives_a_device_one_leaf(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![self.leaf("b", 1), self.leaf("a", 2), self.leaf("B", 3)];
        let error = inventory.record(chunk.clone(), self.now).expect_err("two");
        assert!(matches!(error, InventoryError::TwoLeaves { .. }), "{error}");
        let recorded = inventory.record(from_elsewhere(chunk), self.now);
        assert_eq!(recorded.expect("as it was elsewhere").len(), 3);
    }

    /// Of two that renew the same leaf at once one is refused.
    pub(super) fn a_renewal_follows_the_newest_leaf(&self, inventory: &mut dyn Inventory) {
        let renewal = |serial, row| NewCertificate {
            uniqueness: Uniqueness::Renews(row),
            ..self.leaf("a", serial)
        };
        let mut record = |new: NewCertificate| {
            let row = inventory
                .record(vec![new], self.now)
                .map(|recorded| recorded[0].row())?;
            inventory.mark_delivered(&[row], self.now)?;
            Ok::<_, InventoryError>(row)
        };
        let first = record(self.leaf("a", 1)).expect("recorded");
        let second = record(renewal(2, first)).expect("renewed");
        let error = record(renewal(3, first)).expect_err("renewed by another");
        let InventoryError::LeafExists { first: holder, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(holder.row, second);
        record(renewal(4, second)).expect("renewed again");
    }

    /// Whoever has the key of a device's leaf can be that device.
    pub(super) fn a_key_is_one_devices(&self, inventory: &mut dyn Inventory) {
        let asks = |id: &str, key_of: &str, serial| NewCertificate {
            certificate: self.line.certificate(key_of, serial, self.validity(365)),
            registration_id: Some(id.parse().expect(id)),
            request: Some(b"as the device sent it".to_vec()),
            ..self.leaf(id, serial)
        };
        let refused = |inventory: &mut dyn Inventory, new: NewCertificate, at| {
            let id = new.registration_id.clone().expect("an ID");
            let key = new.certificate.key_identity();
            let holders = inventory.key_holders(&[(&id, key)], at).expect("read");
            let error = inventory.record(vec![new], at).expect_err("refused");
            let InventoryError::KeyTaken { first, more: 0 } = error else {
                panic!("{error}");
            };
            assert_eq!(holders, [*first.clone()]);
            assert_eq!(first.id, id);
            (first.holder.to_string(), first.revoked)
        };
        let deliver = |inventory: &mut dyn Inventory, new: NewCertificate| {
            let recorded = inventory.record(vec![new], self.now).expect("recorded");
            let row = recorded[0].row();
            inventory
                .mark_delivered(&[row], self.now)
                .expect("delivered");
            row
        };
        let first = deliver(inventory, self.leaf("a", 1));
        let known = |id: &str| {
            let certificate = self.leaf(id, 99).certificate;
            certificate.key_identity().beginning()
        };
        let any = |keys: &[u128]| inventory.any_key(keys).expect("read");
        assert!(any(&[known("a")]) && !any(&[known("z")]) && !any(&[]));
        let taken = ("a".to_owned(), None);
        assert_eq!(refused(inventory, asks("b", "a", 2), self.now), taken);
        // Of its own device, and of another once that has given it up.
        let renewal = NewCertificate {
            uniqueness: Uniqueness::Renews(first),
            ..asks("A", "a", 3)
        };
        let second = deliver(inventory, renewal);
        for row in [first, second] {
            inventory
                .revoke(&[row], RevocationReason::Superseded, self.now)
                .expect("revoked");
        }
        let third = deliver(inventory, asks("b", "a", 4));
        let reason = RevocationReason::KeyCompromise;
        inventory
            .revoke(&[third], reason, self.now)
            .expect("revoked");
        let compromised = ("b".to_owned(), Some(reason));
        for (id, serial) in [("a", 5), ("b", 6), ("c", 7)] {
            let new = asks(id, "a", serial);
            assert_eq!(refused(inventory, new, self.day(400)), compromised, "{id}");
        }
        // What comes from elsewhere was given out already.
        let elsewhere = from_elsewhere(vec![asks("c", "a", 8)]);
        inventory.record(elsewhere, self.now).expect("recorded");
        let twice = vec![asks("d", "d", 9), asks("e", "d", 10)];
        let error = inventory.record(twice, self.now).expect_err("refused");
        assert!(matches!(error, InventoryError::KeyTwice { .. }), "{error}");
    }

    /// That a key was looked for in vain says nothing once a certificate for it is recorded.
    pub(super) fn a_key_that_was_unknown_is_known_once_recorded(
        &self,
        inventory: &mut dyn Inventory,
    ) {
        let asks = |id: &str, key_of: &str, serial| NewCertificate {
            certificate: self.line.certificate(key_of, serial, self.validity(365)),
            registration_id: Some(id.parse().expect(id)),
            request: Some(b"as the device sent it".to_vec()),
            ..self.leaf(id, serial)
        };
        let key = |id: &str| self.leaf(id, 99).certificate.key_identity().beginning();
        let mut keys = ["a", "b", "c"].map(key);
        keys.sort_unstable();
        assert!(!inventory.any_key(&keys).expect("read"));
        let mut record = |chunk| inventory.record(chunk, self.now);
        record(vec![asks("a", "a", 1), self.leaf("b", 2)]).expect("recorded");
        for (id, key_of) in [("x", "a"), ("y", "b")] {
            let error = record(vec![asks(id, key_of, 3)]).expect_err("refused");
            assert!(matches!(error, InventoryError::KeyTaken { .. }), "{error}");
        }
        record(vec![asks("z", "c", 4)]).expect("recorded");
    }

    pub(super) fn holders_are_those_that_a_chunk_is_refused_for(
        &self,
        inventory: &mut dyn Inventory,
    ) {
        let chunk = ["b", "d", "f"].into_iter().zip(1..);
        let chunk = chunk.map(|(id, serial)| self.leaf(id, serial)).collect();
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[..1], self.now)
            .expect("delivered");
        inventory
            .void(&recorded[1..2], "cut short", self.now)
            .expect("voided");
        let ids = ["f", "e", "d", "c", "B", "a", "g"].map(|id| id.parse().expect(id));
        let holders = inventory.holders(&ids, self.now).expect("read");
        let found: Vec<_> = holders
            .iter()
            .map(|one| (one.id.as_str(), one.status))
            .collect();
        assert_eq!(
            found,
            [("B", Status::Delivered), ("f", Status::Undelivered)]
        );
        assert_eq!(inventory.holders(&[], self.now).expect("read"), []);
        let chunk = ids
            .iter()
            .zip(10..)
            .map(|(id, serial)| self.leaf(id.as_str(), serial));
        let error = inventory
            .record(chunk.collect(), self.now)
            .expect_err("refused");
        let InventoryError::LeafExists { first, more } = error else {
            panic!("{error}");
        };
        assert_eq!((first.as_ref(), more), (&holders[0], 1));
    }

    pub(super) fn a_signer_must_be_known(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn states_follow_one_another(&self, inventory: &mut dyn Inventory) {
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
        let at = self.day(2);
        let text = "power cut".to_owned();
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
    pub(super) fn a_hold_may_become_another_reason(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn a_revocation_from_elsewhere_keeps_its_date(&self, inventory: &mut dyn Inventory) {
        let chunk = vec![self.leaf("a", 1), self.leaf("b", 2)];
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let reason = RevocationReason::KeyCompromise;
        let revocation = |row, day| Revocation {
            row,
            since: self.day(day),
            reason,
        };
        let twice = [revocation(recorded[0], 1), revocation(recorded[0], 2)];
        inventory
            .revoke_as_of(&twice, self.day(9))
            .expect_err("final");
        let revocations = [revocation(recorded[0], 1), revocation(recorded[1], 9)];
        inventory
            .revoke_as_of(&revocations, self.day(9))
            .expect("revoked");
        for revocation in revocations {
            let entry = inventory.certificate(revocation.row).expect("read");
            let at = revocation.since;
            assert_eq!(
                entry.expect("found").state,
                CertificateState::Revoked { at, reason }
            );
        }
        let trail = inventory.audit_entries(1, 10).expect("read");
        let told: Vec<_> = trail
            .iter()
            .map(|entry| (entry.at(), entry.detail()))
            .collect();
        let since = self.day(1);
        assert_eq!(
            told,
            [
                (
                    self.day(9),
                    json!({ "reason": "keyCompromise", "since": since })
                ),
                (self.day(9), json!({ "reason": "keyCompromise" })),
            ]
        );
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
    }

    pub(super) fn the_delivered_mark_rides_with_the_next_chunk(
        &self,
        inventory: &mut dyn Inventory,
    ) {
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
}
