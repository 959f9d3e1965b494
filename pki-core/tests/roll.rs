//! The roll table: each subject and cause, from start to finish, and every refusal.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod breach;
mod copies;
mod device_leaf;
mod expiry;

use std::collections::BTreeSet;

use crate::support::{TestAuthority, generations_of, now, root};
use pki_core::admission::{ChainElement, PresentedChain, decide};
use pki_core::certificate::Certificate;
use pki_core::declaration::VerifiedBy;
use pki_core::enrollment::EnrollmentGroup;
use pki_core::enrollment::compose::{by_ca_reference, by_signing_certificate};
use pki_core::ids::Generation;
use pki_core::inventory::GenerationState;
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::Plan;
use pki_core::lifecycle::roll::{
    Below, Devices, Instance, InstancePlan, RollError, RollState, Start,
};
use pki_core::testing::SampleDps;
use pki_core::time::Span;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

fn number(number: u32) -> Generation {
    Generation::new(number).expect("not zero")
}

/// Two generations of a root and of a line; the second line is below the first root.
struct Pki {
    roots: [TestAuthority; 2],
    lines: [TestAuthority; 2],
}

impl Pki {
    fn new() -> Self {
        let roots = [root("root", EcdsaP256), root("root", EcdsaP256)];
        let lines = [0, 1].map(|_| roots[0].intermediate("line", EcdsaP256));
        Self { roots, lines }
    }

    fn certificates(&self) -> Vec<Certificate> {
        let all = self.roots.iter().chain(&self.lines);
        all.map(|authority| authority.certificate.clone()).collect()
    }

    /// A leaf below a line, with the chain that its device presents.
    fn device(&self, line: usize, root: usize) -> PresentedChain {
        let leaf = self.lines[line].leaf("sensor-1", EcdsaP256);
        let above = [&self.lines[line].certificate, &self.roots[root].certificate];
        let elements = [&leaf].into_iter().chain(above).map(ChainElement::from);
        PresentedChain::known(leaf.common_name(), elements.collect())
    }

    fn state(
        &self,
        authority: &str,
        generations: [GenerationState; 2],
        dps: &SampleDps,
    ) -> RollState {
        let held = match authority {
            "root" => &self.roots,
            _ => &self.lines,
        };
        let certificates = held.each_ref().map(|authority| &authority.certificate);
        RollState {
            authority: id(authority),
            generations: generations_of(generations.into_iter().zip(certificates)),
            certificates: self.certificates(),
            below: vec![],
            instances: vec![Instance {
                name: id("dev"),
                authorities: dps.authorities.clone(),
                groups: dps.groups.clone(),
                declared: vec![id("root")],
                verified_by: VerifiedBy::Possession,
                cut_off: BTreeSet::new(),
            }],
        }
    }

    /// The state of the root's roll, with the lines below its first generation.
    fn root_state(&self, generations: [GenerationState; 2], dps: &SampleDps) -> RollState {
        RollState {
            below: vec![Below {
                authority: id("line"),
                generation: number(1),
                certificate: self.lines[0].certificate.clone(),
                leaves: 7,
            }],
            ..self.state("root", generations, dps)
        }
    }

    /// The line's roll to a third generation.
    fn state_with_third(
        &self,
        parts: [GenerationState; 3],
        third: &TestAuthority,
        dps: &SampleDps,
    ) -> RollState {
        let lines = [&self.lines[0], &self.lines[1], third];
        let certificates = lines.map(|line| &line.certificate);
        let mut state = self.state(
            "line",
            [GenerationState::Current, GenerationState::Pending],
            dps,
        );
        state.generations = generations_of(parts.into_iter().zip(certificates));
        state.certificates.push(third.certificate.clone());
        state
    }

    /// The first root verified, a group on the first line.
    fn line_in_group(&self) -> SampleDps {
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &self.roots[0].certificate, true);
        let attestation = by_signing_certificate(&self.lines[0].certificate);
        dps.put_group(&EnrollmentGroup::new(id("line"), attestation));
        dps
    }

    /// The first root verified, and a group that refers to it.
    fn root_in_group(&self) -> SampleDps {
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &self.roots[0].certificate, true);
        let attestation = by_ca_reference(id("root"));
        dps.put_group(&EnrollmentGroup::new(id("all"), attestation));
        dps
    }
}

fn relaxed() -> Start {
    Start {
        overlap_until: now() + Span::from_days(365),
        leaves_beyond: 0,
        accept_stranded: 0,
    }
}

fn only(plans: Result<Vec<InstancePlan>, RollError>) -> Plan {
    let mut plans = plans.expect("a plan");
    assert_eq!(plans.len(), 1);
    plans.remove(0).plan
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn is_admitted(dps: &SampleDps, chain: &PresentedChain) -> bool {
    decide(&dps.view(), chain).is_admitted()
}

fn devices(count: u64) -> Devices {
    Devices {
        count,
        named: vec![id("sensor-1")],
    }
}
