//! Authorities and their generations.

use super::{Sample, authority, generation, new_generation};
use crate::inventory::{GenerationState, Inventory, InventoryError, Recorded, Status};
use crate::profile::Role;

impl Sample {
    pub(super) fn a_generation_lives_from_pending_to_retired(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn an_authority_has_one_generation_of_each_state(
        &self,
        inventory: &mut dyn Inventory,
    ) {
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

    pub(super) fn a_request_waits_for_its_certificate(&self, inventory: &mut dyn Inventory) {
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

    pub(super) fn a_voided_generation_takes_its_certificate_along(
        &self,
        inventory: &mut dyn Inventory,
    ) {
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
}
