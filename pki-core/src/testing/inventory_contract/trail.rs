//! The audit trail.

use serde_json::json;

use super::{Sample, rows};
use crate::crl::RevocationReason;
use crate::inventory::audit::{AuditEntry, AuditEvent, AuditFinding, AuditHash, AuditHead};
use crate::inventory::{GenerationState, Inventory};

impl Sample {
    pub(super) fn the_trail_tells_of_every_change(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn events_are_found_by_action_and_subject(&self, inventory: &mut dyn Inventory) {
        let mut append = |action: &str, subject: &str| {
            let event = AuditEvent {
                action: action.parse().expect("action"),
                subject: subject.to_owned(),
                detail: json!({}),
            };
            inventory.append_audit(event, self.now).expect("appended");
        };
        append("group-pushed", "line-1");
        append("group-pushed", "line-2");
        append("group-deleted", "line-1");
        append("group-pushed", "line-1");
        let action = "group-pushed".parse().expect("action");
        let found = inventory.events(&action, "line-1").expect("read");
        let numbers: Vec<u64> = found.iter().map(AuditEntry::sequence).collect();
        assert_eq!(numbers, [1, 4]);
        assert_eq!(inventory.events(&action, "line").expect("read"), []);
    }

    pub(super) fn a_checkpoint_finds_another_history(&self, inventory: &mut dyn Inventory) {
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
