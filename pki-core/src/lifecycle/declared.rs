//! Convergence: what differs between `pki.toml` and DPS, and the steps that bring DPS there.
//!
//! Fields that the declaration does not speak of are left as they are, known to us or not. Two things
//! are never done on the way, only told: replacing a certificate that is in use (that is a roll), and
//! enabling a group that somebody disabled (that lets devices in). A compromised generation that a declared
//! group would let in is kept out by a group of its own, made first; where somebody has enabled that, it is
//! disabled again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::below::{blocking_group, is_block};
use super::kept_out::kept_out;
use super::{BelowError, CaAction, CaStep, Expectation, FieldChange, Plan, Step};
use crate::admission::{ChainElement, DpsView, Entry, Outcome, ViewError, outcome_below};
use crate::certificate::Certificate;
use crate::certificate::pem::certificate_in_json;
use crate::declaration::{
    CaDeclaration, DpsDeclaration, GroupAttestation, GroupDeclaration, VerifiedBy,
};
use crate::enrollment::compose::{by_ca_reference, by_signing_certificate};
use crate::enrollment::{EnrollmentGroup, Mechanism, ProvisioningStatus, X509Certificates};
use crate::ids::AuthorityGeneration;
use crate::ids::{AuthorityName, CertificateName, DpsName, EnrollmentGroupId};
use crate::management::CaCertificate;
use crate::wording::command_in;

/// What DPS and the inventory hold, as far as the declaration is concerned.
#[derive(Debug, Clone, Default)]
pub struct DeclaredState {
    /// The CA certificates that DPS holds.
    pub authorities: Vec<CaCertificate>,
    /// The groups that DPS holds.
    pub groups: Vec<EnrollmentGroup>,
    /// The current certificate of each authority that exists here.
    pub certificates: BTreeMap<AuthorityName, Certificate>,
    /// The certificates of its generations that are about to take the current one's place.
    pub successors: BTreeMap<AuthorityName, Vec<Certificate>>,
    /// The generations that are compromised.
    pub compromised: Vec<CompromisedGeneration>,
    /// Declared groups that were deprovisioned, and that nobody has asked to make again.
    pub deprovisioned: BTreeSet<EnrollmentGroupId>,
}

/// A generation whose leaves nobody is to let in any more.
#[derive(Debug, Clone)]
pub struct CompromisedGeneration {
    /// Which one.
    pub generation: AuthorityGeneration,
    /// Its certificate, and those above it, nearest first.
    pub path: Vec<Certificate>,
}

impl CompromisedGeneration {
    pub(super) fn is_let_in(&self, view: &DpsView) -> bool {
        matches!(self.outcome(view), Outcome::Admitted(_))
    }

    /// Whether a group that is declared lets it in.
    fn is_let_in_as_declared(&self, view: &DpsView, declared: &DpsDeclaration) -> bool {
        match self.outcome(view) {
            Outcome::Admitted(Entry::Group(group)) => declared.groups.contains_key(&group),
            _ => false,
        }
    }

    /// What an instance decides about its leaves by its groups.
    pub fn outcome(&self, view: &DpsView) -> Outcome {
        let above: Vec<ChainElement> = self.path.iter().map(ChainElement::from).collect();
        outcome_below(view, &above)
    }

    /// Whether the group that keeps it out is there, and not disabled.
    fn is_opened(&self, view: &DpsView, groups: &[EnrollmentGroup]) -> bool {
        let mut keepers = groups.iter().filter(|group| self.is_kept_out_by(group));
        keepers.any(|group| {
            let held = view.group(&group.enrollment_group_id);
            held.is_some_and(|held| held.status != ProvisioningStatus::Disabled)
        })
    }

    fn is_kept_out_by(&self, group: &EnrollmentGroup) -> bool {
        let certificate = self.path.first();
        certificate.is_some_and(|certificate| is_block(&self.generation, certificate, group))
    }
}

impl DeclaredState {
    /// Whether a CA certificate is one that a declared authority lives by: the current one, or one that is
    /// being rolled in. The name does not tell, since a roll gives each generation another.
    pub(super) fn is_living(&self, declared: &DpsDeclaration, held: &CaCertificate) -> bool {
        let mut authorities = declared.ca.values().map(|ca| &ca.authority);
        authorities.any(|authority| self.is_living_of(authority, held))
    }

    /// The compromised generation that a group was made to keep out; such a group is as good as declared.
    pub(super) fn kept_out_by(&self, group: &EnrollmentGroup) -> Option<&AuthorityGeneration> {
        let mut compromised = self.compromised.iter();
        let found = compromised.find(|one| one.is_kept_out_by(group));
        found.map(|one| &one.generation)
    }

    /// The compromised generation whose certificate this is.
    fn compromised(&self, is_it: impl Fn(&Certificate) -> bool) -> Option<AuthorityGeneration> {
        let mut compromised = self.compromised.iter();
        let found = compromised.find(|one| one.path.first().is_some_and(&is_it));
        found.map(|one| one.generation.clone())
    }

    fn is_living_of(&self, authority: &AuthorityName, held: &CaCertificate) -> bool {
        let mut living = self.living_of(authority);
        living.any(|certificate| is_same(held, certificate))
    }

    /// The certificates that an authority lives by: the current one, and those that are being rolled in.
    pub(super) fn living_of(
        &self,
        authority: &AuthorityName,
    ) -> impl Iterator<Item = &Certificate> {
        let current = self.certificates.get(authority);
        let successors = self.successors.get(authority);
        current.into_iter().chain(successors.into_iter().flatten())
    }
}

/// Why the declaration cannot be brought about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclaredError {
    /// The authority is declared but was not made yet.
    #[error(
        "authority {authority} does not exist yet; make it with: dps-pki authority create {authority}"
    )]
    NoAuthority {
        /// Which one.
        authority: AuthorityName,
    },
    /// DPS holds another certificate under the name.
    #[error(
        "CA certificate {name} in DPS is not the current one of authority {authority}; replacing a certificate in use is a roll"
    )]
    OtherCa {
        /// The certificate's name in DPS.
        name: CertificateName,
        /// Whose certificate it should be.
        authority: AuthorityName,
    },
    /// The group holds other certificates than the declared authority's.
    #[error(
        "enrollment group {group} does not hold the current certificate of authority {authority}; replacing a certificate in use is a roll"
    )]
    OtherSigner {
        /// The group.
        group: EnrollmentGroupId,
        /// Whose certificate it should hold.
        authority: AuthorityName,
    },
    /// DPS still holds a generation that is compromised.
    #[error(
        "{what} in DPS holds {generation}, which is compromised: its breach roll is not done; what is left of it tells: dps-pki roll status {}",
        generation.name
    )]
    Compromised {
        /// What holds it.
        what: String,
        /// The generation.
        generation: AuthorityGeneration,
    },
    /// The group is disabled in DPS and declared as enabled.
    #[error(
        "enrollment group {group} is disabled in DPS and declared as enabled; enabling it lets its devices in: declare status = \"disabled\", or enable it with: {}",
        command_in(dps, format_args!("dps group enable {group}"))
    )]
    WouldEnable {
        /// The instance.
        dps: DpsName,
        /// The group.
        group: EnrollmentGroupId,
    },
    /// The group was deprovisioned and is still declared.
    #[error(
        "enrollment group {group} was deprovisioned and is still declared; making it again lets its devices in"
    )]
    Deprovisioned {
        /// The group.
        group: EnrollmentGroupId,
    },
    /// A compromised generation cannot be kept out by a group.
    #[error(transparent)]
    Below(#[from] BelowError),
    /// The documents cannot be judged.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Plans what brings an instance to what is declared.
///
/// # Errors
/// [`DeclaredError`]: an authority is missing, it would take a roll or let devices in, or a compromised
/// generation cannot be kept out.
pub fn converge(
    name: &DpsName,
    declared: &DpsDeclaration,
    state: &DeclaredState,
) -> Result<Plan, DeclaredError> {
    let mut plan = Plan::new(format!("bring DPS {name} to what pki.toml declares"));
    for (ca_name, ca) in &declared.ca {
        plan.steps.extend(ca_steps(ca_name, ca, state)?);
    }
    for (group_id, group) in &declared.groups {
        plan.steps.extend(group_step(name, group_id, group, state)?);
    }
    keep_out(&mut plan, declared, state)?;
    let refused = kept_out(declared, state).into_iter();
    plan.notes.extend(refused.map(|refused| {
        let delete = format!("dps group delete {} --let-devices-in", refused.by);
        format!("{refused}; let them in with: {}", command_in(name, delete))
    }));
    plan.notes.extend(strangers(declared, state));
    plan.notes.extend(keepers(state));
    plan.notes.extend(let_in(&plan, state)?);
    Ok(plan)
}

/// The compromised generations whose leaves DPS lets in when the plan is done: by what nobody declares, so that
/// a plan of convergence leaves it alone.
pub(super) fn let_in(plan: &Plan, state: &DeclaredState) -> Result<Vec<String>, ViewError> {
    let before = DpsView::from_documents(&state.authorities, &state.groups, [])?;
    let after = plan.applied_to(&before)?;
    let let_in = state.compromised.iter().filter(|one| one.is_let_in(&after));
    let notes = let_in.map(|one| {
        let generation = &one.generation;
        format!(
            "leaves of {generation}, which is compromised, are {}; shut them out with: dps-pki roll start {} --compromised",
            one.outcome(&after),
            generation.name
        )
    });
    Ok(notes.collect())
}

/// Puts first the disabled groups without which leaves of a compromised generation would be let in by the plan,
/// or by a declared group: where an instance is declared, or a group above, after the generation was shut out
/// everywhere else, and where somebody has deleted the group that kept it out, or enabled it. The breach is on
/// record; nobody declares that it is over.
pub(super) fn keep_out(
    plan: &mut Plan,
    declared: &DpsDeclaration,
    state: &DeclaredState,
) -> Result<(), DeclaredError> {
    let before = DpsView::from_documents(&state.authorities, &state.groups, [])?;
    let after = plan.applied_to(&before)?;
    let mut blocks = Vec::new();
    for one in &state.compromised {
        let Some(certificate) = one.path.first() else {
            continue;
        };
        let is_new = one.is_let_in(&after) && !one.is_let_in(&before);
        let is_opened = one.is_opened(&after, &state.groups);
        if is_new || is_opened || one.is_let_in_as_declared(&after, declared) {
            blocks.extend(blocking_group(&one.generation, certificate, &state.groups)?);
        }
    }
    plan.steps.splice(0..0, blocks);
    Ok(())
}

fn ca_steps(
    name: &CertificateName,
    ca: &CaDeclaration,
    state: &DeclaredState,
) -> Result<Vec<Step>, DeclaredError> {
    let certificate = certificate_of(&ca.authority, state)?;
    let self_attested = ca.verified_by == VerifiedBy::SelfAttestation;
    let held = held_as(name, certificate, state);
    let name = held.map_or(name, |held| &held.name);
    let upload = CaStep {
        name: name.clone(),
        sha1_thumbprint: certificate.sha1_thumbprint(),
        action: CaAction::Upload {
            authority: ca.authority.clone(),
            certificate: certificate.to_pem(),
            sha256_thumbprint: certificate.sha256_thumbprint(),
            self_attested,
            replaces: None,
            admitted: vec![],
        },
        expect: Expectation::of(held.and_then(|held| held.etag.as_ref())),
    };
    let prove = CaAction::Prove {
        authority: ca.authority.clone(),
    };
    let Some(held) = held else {
        let proof = (!self_attested).then(|| upload.then(prove));
        return Ok([upload].into_iter().chain(proof).map(Step::Ca).collect());
    };
    if let Some(generation) = state.compromised(|one| is_same(held, one)) {
        let what = format!("CA certificate {name}");
        return Err(DeclaredError::Compromised { what, generation });
    }
    if !is_same(held, certificate) {
        return Err(DeclaredError::OtherCa {
            name: name.clone(),
            authority: ca.authority.clone(),
        });
    }
    if held.properties.is_verified {
        return Ok(vec![]);
    }
    let verified = if self_attested {
        upload
    } else {
        CaStep {
            action: prove,
            ..upload
        }
    };
    Ok(vec![Step::Ca(verified)])
}

fn certificate_of<'a>(
    authority: &AuthorityName,
    state: &'a DeclaredState,
) -> Result<&'a Certificate, DeclaredError> {
    let found = state.certificates.get(authority);
    found.ok_or_else(|| DeclaredError::NoAuthority {
        authority: authority.clone(),
    })
}

/// What DPS holds for a declared CA certificate. Rolling gives each generation a name of its own, so the
/// declared name stands for that of the current one: `root`, later `root-2`. The certificate tells.
fn held_as<'a>(
    name: &CertificateName,
    certificate: &Certificate,
    state: &'a DeclaredState,
) -> Option<&'a CaCertificate> {
    let named = state.authorities.iter().find(|held| held.name == *name);
    let rolled = || {
        let mut held = state.authorities.iter();
        held.find(|held| is_same(held, certificate))
    };
    named
        .filter(|held| is_same(held, certificate))
        .or_else(rolled)
        .or(named)
}

/// By the certificate itself where ARM gave it, else by its SHA-1 thumbprint.
pub(super) fn is_same(held: &CaCertificate, certificate: &Certificate) -> bool {
    match held
        .properties
        .certificate
        .as_deref()
        .and_then(certificate_in_json)
    {
        Some(read) => read == *certificate,
        None => held.properties.thumbprint == Some(certificate.sha1_thumbprint()),
    }
}

fn group_step(
    dps: &DpsName,
    id: &EnrollmentGroupId,
    declared: &GroupDeclaration,
    state: &DeclaredState,
) -> Result<Option<Step>, DeclaredError> {
    let certificate = certificate_of(&declared.authority, state)?;
    let Some(held) = state
        .groups
        .iter()
        .find(|held| held.enrollment_group_id == *id)
    else {
        if state.deprovisioned.contains(id) {
            return Err(DeclaredError::Deprovisioned { group: id.clone() });
        }
        let group = composed(id, declared, certificate, state);
        return Ok(Some(Step::put_group(group, vec![], Expectation::Absent)));
    };
    if !holds(held, declared, certificate, state) {
        if let Some(generation) = state.compromised(|one| holds(held, declared, one, state)) {
            let what = format!("enrollment group {id}");
            return Err(DeclaredError::Compromised { what, generation });
        }
        let (group, authority) = (id.clone(), declared.authority.clone());
        return Err(DeclaredError::OtherSigner { group, authority });
    }
    // One of which nobody knows whom it lets in may keep its devices out as well.
    let lets_in = declared.status == ProvisioningStatus::Enabled;
    if lets_in && held.provisioning_status != ProvisioningStatus::Enabled {
        return Err(DeclaredError::WouldEnable {
            dps: dps.clone(),
            group: id.clone(),
        });
    }
    let mut group = held.clone();
    declare(&mut group, declared);
    let changes = differences(held, &group);
    let expect = held
        .etag
        .clone()
        .map_or(Expectation::Absent, Expectation::Etag);
    Ok((!changes.is_empty()).then(|| Step::put_group(group, changes, expect)))
}

fn composed(
    id: &EnrollmentGroupId,
    declared: &GroupDeclaration,
    certificate: &Certificate,
    state: &DeclaredState,
) -> EnrollmentGroup {
    let attestation = match &declared.attestation {
        GroupAttestation::SigningCertificate => by_signing_certificate(certificate),
        GroupAttestation::CaReference(name) => {
            let held = held_as(name, certificate, state);
            by_ca_reference(held.map_or(name, |held| &held.name).clone())
        }
    };
    let mut group = EnrollmentGroup::new(id.clone(), attestation);
    declare(&mut group, declared);
    group
}

/// Writes what is declared into a record; what is not declared stays.
fn declare(group: &mut EnrollmentGroup, declared: &GroupDeclaration) {
    group.provisioning_status = declared.status.clone();
    if !declared.hubs.is_empty() {
        group.iot_hubs = Some(declared.hubs.clone());
    }
    if let Some(policy) = &declared.reprovision {
        let held = group.reprovision_policy.get_or_insert_default();
        held.update_hub_assignment = policy.update_hub_assignment;
        held.migrate_device_data = policy.migrate_device_data;
    }
    if let Some(policy) = &declared.allocation {
        group.allocation_policy = Some(policy.clone());
    }
    if let Some(twin) = &declared.initial_twin {
        group.initial_twin = Some(twin.clone());
    }
}

/// Whether either slot of the group holds what is declared.
fn holds(
    group: &EnrollmentGroup,
    declared: &GroupDeclaration,
    certificate: &Certificate,
    state: &DeclaredState,
) -> bool {
    match (&group.attestation.mechanism, &declared.attestation) {
        (
            Mechanism::X509(X509Certificates::Signing(slots)),
            GroupAttestation::SigningCertificate,
        ) => {
            let wanted = certificate.sha256_thumbprint();
            slots
                .iter()
                .any(|slot| slot.sha256_thumbprint() == Some(wanted))
        }
        (
            Mechanism::X509(X509Certificates::CaReferences(slots)),
            GroupAttestation::CaReference(name),
        ) => {
            let is_rolled = |slot: &CertificateName| {
                let mut held = state.authorities.iter().filter(|held| held.name == *slot);
                held.any(|held| state.is_living_of(&declared.authority, held))
            };
            slots.iter().any(|slot| slot == name || is_rolled(slot))
        }
        _ => false,
    }
}

fn differences(before: &EnrollmentGroup, after: &EnrollmentGroup) -> Vec<FieldChange> {
    let fields = |group: &EnrollmentGroup| {
        [
            ("provisioningStatus", json!(group.provisioning_status)),
            ("iotHubs", json!(group.iot_hubs)),
            ("reprovisionPolicy", json!(group.reprovision_policy)),
            ("allocationPolicy", json!(group.allocation_policy)),
            ("initialTwin", json!(group.initial_twin)),
        ]
    };
    let pairs = fields(before).into_iter().zip(fields(after));
    let changed = pairs.filter(|((_, from), (_, to))| from != to);
    changed
        .map(|((field, from), (_, to))| change(field, from, to))
        .collect()
}

fn change(field: &str, from: Value, to: Value) -> FieldChange {
    FieldChange {
        field: field.to_owned(),
        from,
        to,
    }
}

/// What DPS holds beyond the declaration: told, never touched.
pub(super) fn strangers(declared: &DpsDeclaration, state: &DeclaredState) -> Vec<String> {
    let keeping: BTreeSet<EnrollmentGroupId> = kept_out(declared, state)
        .into_iter()
        .map(|refused| refused.by)
        .collect();
    let is_stranger = |held: &&EnrollmentGroup| {
        !declared.groups.contains_key(&held.enrollment_group_id)
            && !keeping.contains(&held.enrollment_group_id)
            && state.kept_out_by(held).is_none()
    };
    let unknown_authorities = state
        .authorities
        .iter()
        .filter(|held| !declared.ca.contains_key(&held.name) && !state.is_living(declared, held))
        .map(|held| {
            let name = &held.name;
            format!("CA certificate {name} is in DPS and not in pki.toml; left alone")
        });
    let unknown_groups = state.groups.iter().filter(is_stranger).map(|held| {
        let id = &held.enrollment_group_id;
        format!("enrollment group {id} is in DPS and not in pki.toml; left alone")
    });
    unknown_authorities.chain(unknown_groups).collect()
}

/// The groups that keep compromised generations out: told, never touched, pruned neither.
fn keepers(state: &DeclaredState) -> Vec<String> {
    let told = state.groups.iter().filter_map(|group| {
        let id = &group.enrollment_group_id;
        let generation = state.kept_out_by(group)?;
        Some(match &group.provisioning_status {
            ProvisioningStatus::Disabled => {
                format!("enrollment group {id} keeps out {generation}, which is compromised; it stays")
            }
            status => format!(
                "enrollment group {id} was made to keep out {generation}, which is compromised, and is {status}: it is disabled again"
            ),
        })
    });
    told.collect()
}
