//! What every inventory must do, as one suite that each adapter passes.
#![expect(
    clippy::expect_used,
    reason = "a contract suite tells of a breach by panicking"
)]

mod authorities;
mod batches;
mod certificates;
mod queries;
mod trail;

use super::SampleAuthority;
use crate::ids::{AuthorityGeneration, AuthorityName, Generation};
use crate::inventory::{
    BatchProgress, GenerationChange, GenerationState, Inventory, InventoryError, Label, Labels,
    NamedLabel, NewBatch, NewCertificate, NewGeneration, Recorded, RowKey, Uniqueness,
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
        Sample::a_request_is_kept_with_its_certificate,
        Sample::a_serial_number_is_unique_per_issuer,
        Sample::a_refused_chunk_leaves_no_trace,
        Sample::a_device_has_one_live_leaf,
        Sample::a_chunk_gives_a_device_one_leaf,
        Sample::a_renewal_follows_the_newest_leaf,
        Sample::a_key_is_one_devices,
        Sample::a_key_that_was_unknown_is_known_once_recorded,
        Sample::holders_are_those_that_a_chunk_is_refused_for,
        Sample::a_signer_must_be_known,
        Sample::states_follow_one_another,
        Sample::a_hold_may_become_another_reason,
        Sample::a_revocation_from_elsewhere_keeps_its_date,
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
        Sample::a_lost_batch_begins_anew_under_its_name,
        Sample::the_same_command_finds_its_batch,
        Sample::certificates_need_an_open_batch,
        Sample::what_a_batch_left_behind_is_voided,
        Sample::batches_come_in_the_order_of_opening,
        Sample::ids_with_a_live_leaf_are_found,
        Sample::devices_below_a_generation_are_named,
        Sample::counts_are_those_of_lists,
        Sample::ascending_serials_are_as_unique_as_others,
        Sample::the_trail_tells_of_every_change,
        Sample::events_are_found_by_action_and_subject,
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
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
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
            request: None,
            uniqueness: Uniqueness::OnlyLeaf,
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

/// The same certificates as they come from elsewhere, where a device may have several leaves.
fn from_elsewhere(chunk: Vec<NewCertificate>) -> Vec<NewCertificate> {
    let from_elsewhere = |new| NewCertificate {
        uniqueness: Uniqueness::FromElsewhere,
        ..new
    };
    chunk.into_iter().map(from_elsewhere).collect()
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
