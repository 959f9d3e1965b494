//! Batches: opened, advanced, completed, cut short.

use serde_json::json;

use super::{Sample, batch, label, progress, rows};
use crate::crl::RevocationReason;
use crate::inventory::{
    BatchState, GenerationState, Inventory, InventoryError, LostLeaves, NewBatch, NewCertificate,
    RowKey, Status, Uniqueness, Withdrawal,
};

impl Sample {
    /// A leaf of the batch `b1`.
    pub(super) fn of_batch(&self, id: &str, serial: u32) -> NewCertificate {
        NewCertificate {
            batch: Some(label("b1")),
            ..self.leaf(id, serial)
        }
    }

    pub(super) fn a_batch_lives_from_open_to_complete(&self, inventory: &mut dyn Inventory) {
        let unknown = inventory.open_batch(batch("b1", 1), self.now);
        assert!(matches!(unknown, Err(InventoryError::UnknownSigner { .. })));
        self.with_root(inventory, 1, GenerationState::Current);
        let opened = inventory.open_batch(batch("b1", 1), self.now);
        let opened = opened.expect("opened");
        assert_eq!((opened.delivered, opened.state), (0, BatchState::Open));
        assert_eq!((opened.total, opened.started_at), (3, self.now));
        let chunk = vec![self.of_batch("a", 11), self.of_batch("b", 12)];
        let first = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let ends = inventory.ends_of_batch(&label("b1")).expect("read");
        assert_eq!(ends, None, "nothing is delivered");
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
        let ends = inventory.ends_of_batch(&label("b1")).expect("read");
        let serial = |id, serial| {
            let new = self.of_batch(id, serial);
            new.certificate.serial_number().clone()
        };
        assert_eq!(ends, Some((serial("a", 11), serial("c", 13))));
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

    /// What it has delivered is withdrawn with it, and nothing else.
    pub(super) fn a_lost_batch_begins_anew_under_its_name(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        inventory
            .open_batch(batch("b0", 7), self.now)
            .expect("opened");
        inventory
            .open_batch(batch("b1", 1), self.now)
            .expect("opened");
        let chunk = vec![
            self.of_batch("a", 11),
            self.of_batch("b", 12),
            self.of_batch("c", 13),
        ];
        let first = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let lost = |rows: &[RowKey], withdrawal| LostLeaves {
            rows: rows.to_vec(),
            withdrawal,
        };
        let all = [
            lost(&first[..2], Withdrawal::Voided),
            lost(
                &first[2..],
                Withdrawal::Revoked(RevocationReason::KeyCompromise),
            ),
        ];
        let early = inventory.replace_batch(batch("b1", 2), &all, self.day(1));
        assert!(matches!(early, Err(InventoryError::BatchUnfinished { .. })));
        inventory
            .deliver_and_record(&first, Some(&progress(3, 300)), vec![], self.day(1))
            .expect("delivered");
        inventory
            .complete_batch(&label("b1"), "{}", self.day(1))
            .expect("complete");
        assert_eq!(inventory.lost_leaves(&label("b1")).expect("read"), []);
        let other = inventory.record(vec![self.leaf("d", 14)], self.now);
        let other = rows(&other.expect("recorded"));
        inventory
            .mark_delivered(&other, self.now)
            .expect("delivered");
        let before = inventory.audit_head().expect("read");
        let not_its = [lost(&other, Withdrawal::Voided)];
        let refused = inventory.replace_batch(batch("b1", 2), &not_its, self.day(2));
        assert!(matches!(
            refused,
            Err(InventoryError::CertificateState { .. })
        ));
        let unknown = inventory.replace_batch(batch("b9", 2), &[], self.day(2));
        assert!(matches!(unknown, Err(InventoryError::BatchNotFound { .. })));
        assert_eq!(inventory.audit_head().expect("read"), before);
        let anew = inventory
            .replace_batch(batch("b1", 2), &all, self.day(2))
            .expect("replaced");
        assert_eq!((anew.state, anew.delivered), (BatchState::Open, 0));
        assert_eq!(
            (anew.started_at, anew.manifest.clone()),
            (self.day(2), None)
        );
        assert_eq!(inventory.batch(&label("b1")).expect("read"), Some(anew));
        assert_eq!(inventory.lost_leaves(&label("b1")).expect("read"), first);
        let statuses: Vec<Status> = first
            .iter()
            .map(|row| inventory.certificate(*row).expect("read").expect("a leaf"))
            .map(|entry| entry.state.status())
            .collect();
        assert_eq!(statuses, [Status::Voided, Status::Voided, Status::Revoked]);
        let again = inventory.replace_batch(batch("b1", 3), &all, self.day(2));
        assert!(matches!(again, Err(InventoryError::BatchUnfinished { .. })));
        let renewal = |id, serial, row| NewCertificate {
            uniqueness: Uniqueness::Renews(row),
            ..self.of_batch(id, serial)
        };
        let chunk = vec![
            renewal("a", 21, first[0]),
            renewal("b", 22, first[1]),
            renewal("c", 23, first[2]),
        ];
        let second = rows(&inventory.record(chunk, self.day(2)).expect("recorded"));
        inventory
            .deliver_and_record(&second, Some(&progress(3, 310)), vec![], self.day(2))
            .expect("delivered");
        let complete = inventory
            .complete_batch(&label("b1"), "{\"anew\":1}", self.day(3))
            .expect("complete");
        assert_eq!(complete.completed_at, Some(self.day(3)));
        let listed = inventory.batches(None, 10).expect("read");
        let names: Vec<&str> = listed.iter().map(|batch| batch.name.as_str()).collect();
        assert_eq!(names, ["b0", "b1"]);
        let events = inventory.audit_entries(before.map_or(0, |head| head.sequence), 4);
        let events = events.expect("read");
        let actions: Vec<&str> = events.iter().map(|entry| entry.action()).collect();
        assert_eq!(
            actions,
            [
                "certificates-voided",
                "certificates-revoked",
                "batch-replaced",
                "certificates-recorded",
            ]
        );
        let report = inventory.verify_audit(&[]).expect("read");
        assert!(report.is_intact(), "{:?}", report.findings);
    }

    pub(super) fn the_same_command_finds_its_batch(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn certificates_need_an_open_batch(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn what_a_batch_left_behind_is_voided(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn batches_come_in_the_order_of_opening(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        for (name, fingerprint) in [("z", 1), ("a", 2), ("m", 3)] {
            let opened = inventory.open_batch(batch(name, fingerprint), self.now);
            opened.expect("opened");
        }
        let names = |after: Option<&str>, limit| {
            let after = after.map(label);
            let found = inventory.batches(after.as_ref(), limit).expect("read");
            found
                .iter()
                .map(|batch| batch.name.as_str().to_owned())
                .collect::<Vec<String>>()
        };
        assert_eq!(names(None, 10), ["z", "a", "m"]);
        assert_eq!(names(None, 2), ["z", "a"]);
        assert_eq!(names(Some("a"), 10), ["m"]);
        assert!(inventory.batches(Some(&label("x")), 10).is_err());
    }
}
