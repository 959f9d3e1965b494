//! Lists, pages, counts and what commands ask for.

use super::{Sample, authority, batch, from_elsewhere, generation, label, labels, rows};
use crate::crl::RevocationReason;
use crate::ids::{AuthorityGeneration, Generation, RegistrationId};
use crate::inventory::{
    Filter, GenerationState, Inventory, NewCertificate, PageKey, RowKey, Status, Uniqueness,
};
use crate::profile::Role;

impl Sample {
    pub(super) fn pages_show_everything_once_and_in_order(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        self.with_root(inventory, 2, GenerationState::Next);
        let leaf = |serial: u32| NewCertificate {
            signed_by: Generation::new(serial % 3).map(|generation| AuthorityGeneration {
                name: authority("root"),
                generation,
            }),
            uniqueness: Uniqueness::FromElsewhere,
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

    pub(super) fn filters_hold_together(&self, inventory: &mut dyn Inventory) {
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
            page.entries
                .iter()
                .map(|entry| entry.recorded.registration_id().map(name))
                .map(Option::unwrap_or_default)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let empty = Filter::default;
        let a = "a*".parse().ok();
        let in_batch = "batch 7".parse().ok();
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

    pub(super) fn counts_are_those_of_lists(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn a_live_leaf_is_delivered_valid_and_not_revoked(
        &self,
        inventory: &mut dyn Inventory,
    ) {
        let chunk = vec![
            self.leaf_for("d", 1, 10),
            self.leaf_for("D", 2, 20),
            self.leaf_for("d", 3, 20),
            self.leaf_for("other", 4, 20),
        ];
        let chunk = from_elsewhere(chunk);
        let all = rows(&inventory.record(chunk, self.now).expect("recorded"));
        let [short, long, undelivered, _] = all[..] else {
            panic!("four certificates have four rows");
        };
        let live = |inventory: &dyn Inventory, at| {
            let leaves = inventory
                .live_leaves(&"D".parse().expect("ID"), at)
                .expect("read");
            leaves
                .iter()
                .map(|entry| entry.recorded.row())
                .collect::<Vec<RowKey>>()
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

    pub(super) fn ids_with_a_live_leaf_are_found(&self, inventory: &mut dyn Inventory) {
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
        for (least, greatest, is_there) in [
            ("EXPIRED", "expired", true),
            ("a", "EXPIREC", false),
            ("live-1", "REVOKED", true),
            ("undelivered-1", "zzz", false),
        ] {
            let ends = [least, greatest].map(|id| id.parse().expect(id));
            let found = inventory.any_id_between(&ends[0], &ends[1]);
            assert_eq!(found.expect("read"), is_there, "{least} to {greatest}");
        }
    }

    pub(super) fn devices_below_a_generation_are_named(&self, inventory: &mut dyn Inventory) {
        self.with_root(inventory, 1, GenerationState::Current);
        let signer = generation("root", 1);
        let leaf = |id: &str, serial, days| NewCertificate {
            signed_by: Some(signer.clone()),
            ..self.leaf_for(id, serial, days)
        };
        let mut chunk: Vec<NewCertificate> = (1..=7)
            .map(|serial| leaf(&format!("d{serial}"), serial, 10))
            .collect();
        chunk.insert(3, leaf("expired", 8, 1));
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[..7], self.now)
            .expect("delivered");
        inventory
            .revoke(&recorded[1..2], RevocationReason::Superseded, self.now)
            .expect("revoked");
        let named = |signer: &AuthorityGeneration, day, limit| {
            let mut named = Vec::new();
            let mut after = None;
            loop {
                let page = inventory
                    .live_ids(signer, self.day(day), after, limit)
                    .expect("read");
                assert!(page.ids.len() <= limit);
                named.extend(page.ids.iter().map(ToString::to_string));
                after = page.next;
                if after.is_none() {
                    return named.join(" ");
                }
            }
        };
        for limit in 1..=7 {
            assert_eq!(named(&signer, 2, limit), "d1 d3 d4 d5 d6", "{limit} a page");
        }
        assert_eq!(named(&signer, 1, 3), "d1 d3 expired d4 d5 d6");
        assert_eq!(named(&signer, 11, 3), "");
        assert_eq!(named(&generation("root", 2), 2, 3), "");
    }

    pub(super) fn what_was_cut_short_is_found(&self, inventory: &mut dyn Inventory) {
        let chunk: Vec<NewCertificate> = (1..=5)
            .map(|serial| self.leaf(&format!("d{serial}"), serial))
            .collect();
        let recorded = rows(&inventory.record(chunk, self.now).expect("recorded"));
        inventory
            .mark_delivered(&recorded[..2], self.now)
            .expect("delivered");
        let left = |inventory: &dyn Inventory| {
            let entries = inventory.undelivered(&Filter::default()).expect("read");
            entries
                .iter()
                .map(|entry| entry.recorded.row())
                .collect::<Vec<RowKey>>()
        };
        assert_eq!(left(inventory), recorded[2..]);
        inventory
            .void(&left(inventory), "cut short", self.now)
            .expect("voided");
        assert_eq!(left(inventory), []);
    }
}
