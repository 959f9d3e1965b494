//! What a plan promises, and what the checker refuses that goes beyond.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{breach, root};
use pki_core::admission::{ChainElement, DpsView, PresentedChain};
use pki_core::enrollment::compose::{by_ca_reference, by_signing_certificate};
use pki_core::enrollment::{EnrollmentGroup, ProvisioningStatus};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::{
    Breach, CaAction, CaStep, CheckError, Checked, Expectation, Fleet, Found, Impact, Plan,
    Promise, Step, Subject, Who,
};
use pki_core::testing::SampleDps;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect(text)
}

/// A group above that admits, and one on the line that is disabled; a device of the line.
struct Site {
    dps: SampleDps,
    chain: PresentedChain,
}

impl Site {
    fn new(line_status: ProvisioningStatus) -> Self {
        let root = root("root", EcdsaP256);
        let line = root.intermediate("line", EcdsaP256);
        let mut dps = SampleDps::default();
        dps.put_ca(&id("root"), &root.certificate, true);
        dps.put_group(&EnrollmentGroup::new(
            id("top"),
            by_ca_reference(id("root")),
        ));
        let mut group = EnrollmentGroup::new(id("line"), by_signing_certificate(&line.certificate));
        group.provisioning_status = line_status;
        dps.put_group(&group);
        let leaf = line.leaf("sensor-1", EcdsaP256);
        let path = [&leaf, &line.certificate, &root.certificate].map(ChainElement::from);
        let chain = PresentedChain::known(leaf.common_name(), path.to_vec());
        Self { dps, chain }
    }

    fn fleet(&self) -> Fleet {
        Fleet::of_chains([&self.chain])
    }

    fn line(&self) -> Found {
        let mut groups = self.dps.groups.iter();
        let held = groups.find(|group| group.enrollment_group_id.as_str() == "line");
        Found::Group(held.cloned().map(Box::new))
    }

    fn delete_line(&self) -> Step {
        let mut groups = self.dps.groups.iter();
        let held = groups.find(|group| group.enrollment_group_id.as_str() == "line");
        let tag = held.and_then(|held| held.etag.clone()).expect("a tag");
        Step::delete_group(id("line"), Expectation::Etag(tag))
    }

    fn checked(&self, step: Step, promise: &Promise) -> Result<Checked, CheckError> {
        let plan = Plan {
            steps: vec![step],
            ..Plan::new("try")
        };
        Checked::new(plan, &self.dps.view(), &self.fleet(), promise)
    }

    /// A single write to the group `line`.
    fn single(&self, step: Step, promise: &Promise) -> Result<Checked, CheckError> {
        let before = self.dps.view();
        let mut after = before.clone();
        step.apply_to(&mut after).expect("applied");
        let impact = Impact::compare(&before, &after, &self.fleet());
        Checked::single("try", step, &self.line(), Some(&impact), promise)
    }
}

fn reopens(subject: Subject) -> Promise {
    Promise {
        reopens: [subject].into(),
        ..Promise::as_shown()
    }
}

/// A disabled entry is never deleted or enabled as a side effect, also in a write of a single record.
#[test]
fn a_write_asked_for_by_name_takes_no_disabled_entry_away_that_was_not_named() {
    let site = Site::new(ProvisioningStatus::Disabled);
    let refused = site.single(site.delete_line(), &Promise::as_shown());
    assert!(
        matches!(breach(&refused), Breach::Reopens { subject, .. } if *subject == Subject::Group(id("line"))),
        "{refused:?}"
    );
    let other = reopens(Subject::Group(id("top")));
    assert!(site.single(site.delete_line(), &other).is_err());
    let named = reopens(Subject::Group(id("line")));
    site.single(site.delete_line(), &named)
        .expect("asked for by name");
    // As it was read it is enabled: there is nothing to reopen.
    let enabled = Site::new(ProvisioningStatus::Enabled);
    enabled
        .single(enabled.delete_line(), &Promise::as_shown())
        .expect("shown");
}

/// What a record is said to be is not taken on trust: it has to be the one that the step was made from.
#[test]
fn a_write_asked_for_by_name_is_held_against_the_record_that_it_was_made_from() {
    let site = Site::new(ProvisioningStatus::Disabled);
    let named = reopens(Subject::Group(id("line")));
    let mut others = site.dps.groups.iter();
    let other = others.find(|group| group.enrollment_group_id.as_str() == "top");
    let reads = [
        Found::Group(None),
        Found::Group(other.cloned().map(Box::new)),
        Found::Registration(None),
    ];
    for read in reads {
        let refused = Checked::single("try", site.delete_line(), &read, None, &named);
        assert!(
            matches!(breach(&refused), Breach::OtherRecord { .. }),
            "{refused:?}"
        );
    }
}

/// What the write does is held against the promise as in any plan.
#[test]
fn a_write_asked_for_by_name_does_no_more_than_was_promised() {
    let site = Site::new(ProvisioningStatus::Disabled);
    let promise = |lets_in| Promise {
        lets_in,
        ..reopens(Subject::Group(id("line")))
    };
    let refused = site.single(site.delete_line(), &promise(Who::Nobody));
    assert!(
        matches!(breach(&refused), Breach::LetsIn { leaves: 1, .. }),
        "{refused:?}"
    );
    let others = Who::Devices([id("sensor-2")].into());
    assert!(site.single(site.delete_line(), &promise(others)).is_err());
    let meant = Who::Devices([id("sensor-1")].into());
    site.single(site.delete_line(), &promise(meant))
        .expect("promised");
    // Whoever may not read everything cannot tell what it does, and is still held to the rest.
    let untold = Checked::single(
        "try",
        site.delete_line(),
        &site.line(),
        None,
        &Promise::default(),
    );
    assert!(
        matches!(breach(&untold), Breach::Reopens { .. }),
        "{untold:?}"
    );
}

/// The rule of pruning: who may come in otherwise does not come in because an entry is deleted.
#[test]
fn nobody_comes_in_by_a_deletion_unless_that_was_promised() {
    let kept_out = Site::new(ProvisioningStatus::Disabled);
    let named = reopens(Subject::Group(id("line")));
    let refused = kept_out.checked(kept_out.delete_line(), &named);
    assert!(
        matches!(breach(&refused), Breach::LetsIn { leaves: 1, .. }),
        "{refused:?}"
    );
    let falls = Promise {
        falls_through: Who::Anybody,
        ..named
    };
    kept_out
        .checked(kept_out.delete_line(), &falls)
        .expect("promised");
    let admitted = Site::new(ProvisioningStatus::Enabled);
    admitted
        .checked(admitted.delete_line(), &Promise::as_shown())
        .expect("another group admits it as this one does");
}

/// A plan that refuses as many devices as were promised, and others, is refused.
#[test]
fn a_promise_names_signers_and_not_a_number() {
    let site = Site::new(ProvisioningStatus::Enabled);
    let held = &site.dps.authorities[0];
    let delete = || {
        Step::Ca(CaStep {
            name: held.name.clone(),
            sha1_thumbprint: held.properties.thumbprint.expect("a thumbprint"),
            action: CaAction::deletion(),
            expect: Expectation::Etag(held.etag.clone().expect("a tag")),
        })
    };
    let promise = Promise {
        refuses: Who::SignedBy([].into()),
        ..Promise::default()
    };
    let refused = site.checked(delete(), &promise);
    assert!(
        matches!(breach(&refused), Breach::Refuses { leaves: 1, .. }),
        "{refused:?}"
    );
    let anybody = Promise {
        refuses: Who::Anybody,
        ..Promise::default()
    };
    site.checked(delete(), &anybody).expect("asked for");
}

/// Whoever runs a planner against the checker sees all that is wrong with its plan, not the first of it.
#[test]
fn every_breach_of_a_plan_is_told() {
    let site = Site::new(ProvisioningStatus::Disabled);
    let refused = site.checked(site.delete_line(), &Promise::default());
    let Err(CheckError::Breaches(breaches)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(
            breaches.as_slice(),
            [Breach::Reopens { .. }, Breach::LetsIn { leaves: 1, .. }]
        ),
        "{breaches:?}"
    );
}

/// A step that comes after another one on its record is guarded by what that one leaves; without it by
/// nothing.
#[test]
fn a_step_whose_predecessor_is_lost_is_refused() {
    let certificate = root("root", EcdsaP256).certificate;
    let upload = CaStep {
        name: id("root"),
        sha1_thumbprint: certificate.sha1_thumbprint(),
        action: CaAction::Upload {
            authority: id("root"),
            certificate: certificate.to_pem(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            self_attested: false,
            replaces: None,
            admitted: vec![],
        },
        expect: Expectation::Absent,
    };
    let prove = upload.then(CaAction::Prove {
        authority: id("root"),
    });
    let check = |steps: Vec<CaStep>| {
        let plan = Plan {
            steps: steps.into_iter().map(Step::Ca).collect(),
            ..Plan::new("try")
        };
        Checked::new(
            plan,
            &DpsView::new(),
            &Fleet::default(),
            &Promise::default(),
        )
    };
    let refused = check(vec![prove.clone()]);
    assert!(
        matches!(breach(&refused), Breach::Unguarded { .. }),
        "{refused:?}"
    );
    let refused = check(vec![prove.clone(), upload.clone()]);
    assert!(
        matches!(breach(&refused), Breach::Unguarded { .. }),
        "{refused:?}"
    );
    check(vec![upload, prove]).expect("guarded");
}
