//! Convergence: what `plan` and `apply` do, and what they leave alone.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use crate::support::{TestAuthority, root};
use pki_core::admission::{ChainElement, PresentedChain};
use pki_core::declaration::Declaration;
use pki_core::enrollment::compose::{by_ca_reference, by_signing_certificate};
use pki_core::enrollment::{EnrollmentGroup, ProvisioningStatus};
use pki_core::ids::{AuthorityGeneration, Etag, Generation};
use pki_core::key::KeyAlgorithm::EcdsaP256;
use pki_core::lifecycle::{
    CaAction, CaStep, CompromisedGeneration, DeclaredError, DeclaredState, Expectation, Fleet,
    Plan, PruneError, Step, Subject, check_pruning, converge, prune, quarantine_below,
};
use pki_core::management::{CaCertificate, CaCertificateProperties};
use pki_core::testing::SampleDps;

fn declaration(group: &str) -> Declaration {
    let text = format!(
        r#"
        [authority.root]
        subject = "CN=root, O=Contoso"
        key = "ecdsa-p256"
        validity = "10y"

        [authority.line]
        issuer = "root"
        subject = "CN=line, O=Contoso"
        key = "ecdsa-p256"
        validity = "5y"

        [dps.dev]
        service = "localhost:8443"
        id-scope = "0ne00000000"

        [dps.dev.ca.root]
        verified-by = "possession"

        [dps.dev.group.line-1]
        authority = "line"
        {group}
        "#
    );
    Declaration::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(declaration: &Declaration, state: &DeclaredState) -> Result<Plan, DeclaredError> {
    let (name, dps) = declaration.dps.first_key_value().expect("dps");
    converge(name, dps, state)
}

fn authorities() -> (TestAuthority, TestAuthority) {
    let root = root("root", EcdsaP256);
    let line = root.intermediate("line", EcdsaP256);
    (root, line)
}

fn state(root: &TestAuthority, line: &TestAuthority) -> DeclaredState {
    let named = |authority: &TestAuthority| {
        (
            authority.name.parse().expect("name"),
            authority.certificate.clone(),
        )
    };
    DeclaredState {
        certificates: [named(root), named(line)].into(),
        ..DeclaredState::default()
    }
}

fn uploaded(authority: &TestAuthority, is_verified: bool) -> CaCertificate {
    CaCertificate {
        name: authority.name.parse().expect("name"),
        properties: CaCertificateProperties {
            is_verified,
            certificate: Some(authority.certificate.to_pem()),
            ..CaCertificateProperties::default()
        },
        etag: Some(Etag::new("AAAA=")),
        other: serde_json::Map::new(),
    }
}

/// What DPS holds after a plan, as far as these tests go.
fn after(plan: &Plan, mut state: DeclaredState, root: &TestAuthority) -> DeclaredState {
    for step in &plan.steps {
        match step {
            Step::Ca(_) => state.authorities = vec![uploaded(root, true)],
            Step::Group(step) => {
                state.groups = vec![EnrollmentGroup {
                    etag: Some(Etag::new("\"g1\"")),
                    ..step.document().expect("a group").clone()
                }]
            }
            _ => {}
        }
    }
    state
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_dps_gets_the_ca_its_proof_and_the_group_and_then_nothing() {
    let (root, line) = authorities();
    let declaration = declaration("");
    let first = plan(&declaration, &state(&root, &line)).expect("plan");
    assert_eq!(
        lines(&first),
        [
            "upload CA certificate root",
            "prove possession of CA certificate root with the key of root",
            "create enrollment group line-1, enabled",
        ]
    );
    let done = after(&first, state(&root, &line), &root);
    assert!(plan(&declaration, &done).expect("plan").is_empty());
}

#[test]
fn an_unverified_ca_is_proven_but_not_uploaded_again() {
    let (root, line) = authorities();
    let mut state = state(&root, &line);
    state.authorities = vec![uploaded(&root, false)];
    let plan = plan(&declaration(""), &state).expect("plan");
    assert_eq!(
        lines(&plan)[0],
        "prove possession of CA certificate root with the key of root"
    );
}

#[test]
fn declared_fields_are_changed_and_all_others_kept() {
    let (root, line) = authorities();
    let first = plan(&declaration(""), &state(&root, &line)).expect("plan");
    let mut held = after(&first, state(&root, &line), &root);
    held.groups[0]
        .other
        .insert("capabilities".into(), serde_json::json!({"iotEdge": true}));
    held.groups[0].initial_twin = Some(serde_json::json!({"tags": {"site": "a"}}));
    let declared = declaration("status = \"disabled\"\nhubs = [\"hub-1.azure-devices.net\"]");
    let second = plan(&declared, &held).expect("plan");
    let [step @ Step::Group(put)] = second.steps.as_slice() else {
        panic!("one change: {second:?}");
    };
    let group = put.document().expect("a group");
    let changed: Vec<&str> = step
        .changes()
        .iter()
        .map(|change| change.field.as_str())
        .collect();
    assert_eq!(changed, ["provisioningStatus", "iotHubs"]);
    assert_eq!(group.other, held.groups[0].other);
    assert_eq!(group.initial_twin, held.groups[0].initial_twin);
}

/// Never widen admission by accident: somebody disabled the group, and had a reason.
#[test]
fn a_group_that_somebody_disabled_is_not_enabled_on_the_way() {
    let (root, line) = authorities();
    let first = plan(&declaration(""), &state(&root, &line)).expect("plan");
    let mut held = after(&first, state(&root, &line), &root);
    held.groups[0].provisioning_status = ProvisioningStatus::Disabled;
    let error = plan(&declaration(""), &held).expect_err("refused");
    assert!(
        matches!(error, DeclaredError::WouldEnable { .. }),
        "{error}"
    );
}

#[test]
fn replacing_a_certificate_in_use_is_left_to_a_roll() {
    let (root, line) = authorities();
    let (other_root, other_line) = authorities();
    let first = plan(&declaration(""), &state(&other_root, &other_line)).expect("plan");
    let held = after(&first, state(&root, &line), &other_root);
    let error = plan(&declaration(""), &held).expect_err("another CA");
    assert!(matches!(error, DeclaredError::OtherCa { .. }), "{error}");
    let held = DeclaredState {
        authorities: vec![uploaded(&root, true)],
        ..held
    };
    let error = plan(&declaration(""), &held).expect_err("another signer");
    assert!(
        matches!(error, DeclaredError::OtherSigner { .. }),
        "{error}"
    );
}

#[test]
fn what_was_never_made_is_named_with_the_command_that_makes_it() {
    let error = plan(&declaration(""), &DeclaredState::default()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "authority root does not exist yet; make it with: dps-pki authority create root"
    );
}

/// A line whose first generation is compromised, below a root that is verified.
fn with_compromised(root: &TestAuthority, line: &TestAuthority) -> (DeclaredState, Step) {
    let old = root.intermediate("line", EcdsaP256);
    let generation = AuthorityGeneration {
        name: "line".parse().expect("name"),
        generation: Generation::FIRST,
    };
    let block = quarantine_below(&generation, &old.certificate, &[], &[], &[]);
    let block = block.expect("plan").steps.remove(0);
    let state = DeclaredState {
        authorities: vec![uploaded(root, true)],
        compromised: vec![CompromisedGeneration {
            generation,
            path: vec![old.certificate, root.certificate.clone()],
        }],
        ..state(root, line)
    };
    (state, block)
}

/// A group above a compromised generation, made where nothing keeps that out yet.
#[test]
fn a_declared_group_lets_no_compromised_generation_in() {
    let (root, line) = authorities();
    let (mut state, _) = with_compromised(&root, &line);
    let top = declaration("[dps.dev.group.top]\nauthority = \"root\"");
    let steps = lines(&plan(&top, &state).expect("plan"));
    assert_eq!(
        steps,
        [
            "create enrollment group quarantine-line-1, disabled",
            "create enrollment group line-1, enabled",
            "create enrollment group top, enabled",
        ]
    );
    state.compromised.clear();
    assert_eq!(lines(&plan(&top, &state).expect("plan")).len(), 2);
}

/// Somebody has deleted the group that kept it out, and the group above is declared.
#[test]
fn a_compromised_generation_that_a_declared_group_lets_in_is_kept_out_again() {
    let (root, line) = authorities();
    let (mut state, block) = with_compromised(&root, &line);
    let top = declaration("[dps.dev.group.top]\nauthority = \"root\"");
    let made = plan(&top, &state).expect("plan");
    let groups = made.steps.iter().filter_map(|step| match step {
        Step::Group(step) => step.document(),
        _ => None,
    });
    state.groups = groups.cloned().collect();
    assert!(plan(&top, &state).expect("plan").is_empty());
    let kept_out = state.groups.remove(0);
    assert_eq!(
        block.subjects(),
        [Subject::Group(kept_out.enrollment_group_id)]
    );
    let again = plan(&top, &state).expect("plan");
    assert_eq!(
        lines(&again),
        ["create enrollment group quarantine-line-1, disabled"]
    );
    // By a group that is not declared somebody may want it.
    let without_top = plan(&declaration(""), &state).expect("plan");
    assert!(without_top.is_empty(), "{without_top:?}");
}

/// Somebody has enabled the group that keeps a compromised generation out. The breach is on record, and nobody
/// declares that it is over.
#[test]
fn the_group_that_keeps_a_compromised_generation_out_is_disabled_again() {
    let (root, line) = authorities();
    let (mut state, block) = with_compromised(&root, &line);
    let made = plan(&declaration(""), &state).expect("plan");
    state = after(&made, state, &root);
    let Step::Group(block) = block else {
        panic!("a group");
    };
    let mut opened = block.document().expect("a group").clone();
    opened.etag = Some(Etag::new("\"b\""));
    opened.provisioning_status = ProvisioningStatus::Enabled;
    state.groups.push(opened);
    let closed = plan(&declaration(""), &state).expect("plan");
    assert_eq!(
        lines(&closed),
        ["change enrollment group quarantine-line-1, disabled"]
    );
    let told = "enrollment group quarantine-line-1 was made to keep out line generation 1, which is compromised, and is enabled: it is disabled again";
    assert_eq!(closed.notes, [told]);
}

/// Of two groups with one certificate the disabled one decides: `apply` makes nobody come in by the declared one.
#[test]
fn a_disabled_group_on_the_certificate_of_a_declared_one_is_named() {
    let (root, line) = authorities();
    let made = plan(&declaration(""), &state(&root, &line)).expect("plan");
    let mut state = after(&made, state(&root, &line), &root);
    let attestation = by_signing_certificate(&line.certificate);
    let mut other = EnrollmentGroup::new("hold".parse().expect("id"), attestation);
    state.groups.push(other.clone());
    let left_alone = "enrollment group hold is in DPS and not in pki.toml; left alone";
    let enabled = plan(&declaration(""), &state).expect("plan");
    assert_eq!(enabled.notes, [left_alone]);
    other.provisioning_status = ProvisioningStatus::Disabled;
    state.groups[1] = other;
    let refused = plan(&declaration(""), &state).expect("plan");
    assert!(refused.is_empty(), "{refused:?}");
    let told = "devices of enrollment group line-1 are refused: enrollment group hold, which is not in pki.toml, holds the same certificate and is disabled; let them in with: dps-pki dps group delete hold --let-devices-in --dps dev";
    assert_eq!(refused.notes, [told]);
    // Who is declared as disabled is refused all the same.
    state.groups[0].provisioning_status = ProvisioningStatus::Disabled;
    let disabled = plan(&declaration("status = \"disabled\""), &state).expect("plan");
    assert_eq!(disabled.notes, [left_alone]);
}

/// The group that keeps a compromised generation out is never pruned, whatever its status.
#[test]
fn pruning_leaves_the_group_that_keeps_a_compromised_generation_out() {
    let (root, line) = authorities();
    let (mut state, block) = with_compromised(&root, &line);
    let Step::Group(block) = block else {
        panic!("a group");
    };
    let group = block.document().expect("a group");
    let declared = declaration("");
    let (_, dps) = declared.dps.first_key_value().expect("dps");
    let made = "create enrollment group line-1, enabled";
    let closed = "change enrollment group quarantine-line-1, disabled";
    for (status, steps) in [
        (ProvisioningStatus::Disabled, vec![made]),
        (ProvisioningStatus::Enabled, vec![closed, made]),
    ] {
        state.groups = vec![EnrollmentGroup {
            etag: Some(Etag::new("\"b\"")),
            provisioning_status: status.clone(),
            ..group.clone()
        }];
        let mut converged = plan(&declared, &state).expect("plan");
        prune(&mut converged, dps, &state).expect("pruned");
        assert_eq!(lines(&converged), steps, "{status:?}");
        assert!(
            converged.notes[0].contains("line generation 1, which is compromised"),
            "{:?}",
            converged.notes
        );
    }
    // Of a generation that is not compromised it has to be declared, or deleted by name.
    state.compromised.clear();
    state.groups[0].provisioning_status = ProvisioningStatus::Disabled;
    let mut converged = plan(&declared, &state).expect("plan");
    let refused = prune(&mut converged, dps, &state).expect_err("refused");
    assert!(matches!(refused, PruneError::KeepsOut { .. }), "{refused}");
}

/// Somebody's own group decides about a compromised generation as long as it is there; the declared one above
/// lets it in afterwards.
#[test]
fn a_compromised_generation_is_kept_out_where_pruning_takes_away_who_decided_about_it() {
    let (root, line) = authorities();
    let (mut state, _) = with_compromised(&root, &line);
    let old = by_signing_certificate(&state.compromised[0].path[0]);
    let top = by_ca_reference("root".parse().expect("name"));
    let mut dps = SampleDps::default();
    dps.put_group(&EnrollmentGroup::new("top".parse().expect("id"), top));
    dps.put_group(&EnrollmentGroup::new("stray".parse().expect("id"), old));
    state.groups = dps.groups.clone();
    let declared = declaration("[dps.dev.group.top]\nauthority = \"root\"");
    let (_, instance) = declared.dps.first_key_value().expect("dps");
    let mut pruned = plan(&declared, &state).expect("plan");
    assert_eq!(
        lines(&pruned),
        ["create enrollment group line-1, enabled"],
        "what nobody declares is left alone"
    );
    let told =
        "leaves of line generation 1, which is compromised, are admitted by enrollment group stray";
    assert!(
        pruned.notes.iter().any(|note| note.starts_with(told)),
        "{:?}",
        pruned.notes
    );
    let kept = prune(&mut pruned, instance, &state).expect("pruned");
    assert_eq!(
        lines(&pruned),
        [
            "create enrollment group quarantine-line-1, disabled",
            "create enrollment group line-1, enabled",
            "delete enrollment group stray",
        ]
    );
    assert_eq!(kept, 2, "what deletes comes last");
    assert!(
        !pruned.notes.iter().any(|note| note.starts_with(told)),
        "{:?}",
        pruned.notes
    );
}

/// Pruning a group whose devices another one keeps out would be no harm; one that keeps them out is.
#[test]
fn pruning_is_refused_where_somebody_would_fall_through_to_a_group_that_lets_him_in() {
    let (root, line) = authorities();
    let (mut state, _) = with_compromised(&root, &line);
    let mut dps = SampleDps::default();
    dps.put_ca(&"root".parse().expect("name"), &root.certificate, true);
    let top = by_ca_reference("root".parse().expect("name"));
    dps.put_group(&EnrollmentGroup::new("top".parse().expect("id"), top));
    let old = &state.compromised[0].path[0];
    let mut stray = EnrollmentGroup::new("stray".parse().expect("id"), by_signing_certificate(old));
    stray.provisioning_status = ProvisioningStatus::Disabled;
    dps.put_group(&stray);
    state.groups = dps.groups.clone();
    let delete = Step::delete_group("stray".parse().expect("id"), Expectation::Absent);
    let fleet = Fleet::default();
    let pruned = [delete];
    let refused = check_pruning(&state, &dps.view(), &fleet, (&[], &pruned)).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "pruning lets in leaves of line generation 1, which is compromised"
    );
    // The same of leaves that are known, whatever has become of their signer.
    state.compromised.clear();
    check_pruning(&state, &dps.view(), &fleet, (&[], &pruned)).expect("nobody is known");
}

/// Each of the two verified CA certificates above the leaves is enough; without both they are refused.
#[test]
fn pruning_leaves_one_of_two_ca_certificates_that_admit_the_same_leaves() {
    let (root, line) = authorities();
    let state = state(&root, &line);
    let mut dps = SampleDps::default();
    let held = [("root", &root.certificate), ("line", &line.certificate)];
    for (name, certificate) in held {
        dps.put_ca(&name.parse().expect("name"), certificate, true);
    }
    let by_line = by_signing_certificate(&line.certificate);
    dps.put_group(&EnrollmentGroup::new(
        "line-1".parse().expect("id"),
        by_line,
    ));
    let leaf = line.leaf("sensor-1", EcdsaP256);
    let path = [&leaf, &line.certificate, &root.certificate].map(ChainElement::from);
    let fleet = Fleet::of_chains([&PresentedChain::known(leaf.common_name(), path.to_vec())]);
    let deletions = held.map(|(name, certificate)| {
        Step::Ca(CaStep {
            name: name.parse().expect("name"),
            sha1_thumbprint: certificate.sha1_thumbprint(),
            action: CaAction::deletion(),
            expect: Expectation::Absent,
        })
    });
    let view = dps.view();
    for deletion in deletions.chunks(1) {
        check_pruning(&state, &view, &fleet, (&[], deletion)).expect("the other one is there");
    }
    let refused = check_pruning(&state, &view, &fleet, (&[], &deletions)).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "delete CA certificate line: it is not in pki.toml, and 1 leaf would be refused that groups admit by it"
    );
}

#[test]
fn strangers_in_dps_are_told_and_left_alone() {
    let (root, line) = authorities();
    let mut state = state(&root, &line);
    state.authorities = vec![uploaded(&line, true)];
    let plan = plan(&declaration(""), &state).expect("plan");
    assert_eq!(
        plan.notes,
        ["CA certificate line is in DPS and not in pki.toml; left alone"]
    );
}

/// Rolling gives each generation a name of its own in DPS; the declared name stands for the current one.
#[test]
fn a_ca_that_was_rolled_is_found_under_its_new_name() {
    let (root, line) = authorities();
    let declaration = declaration("");
    let first = plan(&declaration, &state(&root, &line)).expect("plan");
    let mut state = after(&first, state(&root, &line), &root);
    assert!(plan(&declaration, &state).expect("plan").is_empty());
    state.authorities[0].name = "root-2".parse().expect("name");
    let rolled = plan(&declaration, &state).expect("plan");
    assert!(rolled.is_empty() && rolled.notes.is_empty(), "{rolled:?}");
    // The certificate tells, whatever its name.
    state.authorities[0].name = "root-cause".parse().expect("name");
    let renamed = plan(&declaration, &state).expect("plan");
    assert!(
        renamed.is_empty() && renamed.notes.is_empty(),
        "{renamed:?}"
    );
    let (stranger, _) = authorities();
    state.authorities[0] = uploaded(&stranger, true);
    state.authorities[0].name = "root-2".parse().expect("name");
    let other = plan(&declaration, &state).expect("plan");
    assert_eq!(lines(&other)[0], "upload CA certificate root");
    assert!(other.notes[0].contains("root-2"), "{:?}", other.notes);
}

/// A roll gives each generation another name in DPS: the current one and the one that is being rolled in
/// are declared, what has gone is not.
#[test]
fn pruning_leaves_the_generations_that_live() {
    let (old, line) = authorities();
    let [next, gone] = [(); 2].map(|()| authorities().0);
    let declaration = declaration("");
    let (_, dps) = declaration.dps.first_key_value().expect("dps");
    let named = |authority: &TestAuthority, name: &str| CaCertificate {
        name: name.parse().expect("name"),
        properties: CaCertificateProperties {
            thumbprint: Some(authority.certificate.sha1_thumbprint()),
            ..uploaded(authority, true).properties
        },
        ..uploaded(authority, true)
    };
    let mut state = state(&old, &line);
    state.authorities = vec![
        named(&old, "root-2"),
        named(&next, "root-3"),
        named(&gone, "root-1"),
    ];
    state
        .successors
        .insert("root".parse().expect("name"), vec![next.certificate]);
    let mut plan = plan(&declaration, &state).expect("plan");
    plan.steps.clear();
    prune(&mut plan, dps, &state).expect("pruned");
    assert_eq!(lines(&plan), ["delete CA certificate root-1"]);
}

/// Its devices would be back: that is asked for in so many words.
#[test]
fn a_group_that_was_deprovisioned_is_not_made_again() {
    let (root, line) = authorities();
    let declaration = declaration("");
    let mut state = state(&root, &line);
    let (_, dps) = declaration.dps.first_key_value().expect("dps");
    let group = dps.groups.keys().next().expect("a group").clone();
    state.deprovisioned = [group].into();
    let refused = plan(&declaration, &state).expect_err("refused");
    assert!(
        matches!(refused, DeclaredError::Deprovisioned { .. }),
        "{refused}"
    );
}
