//! From a key and a certificate to a generation that issues, wherever the two came from: the key is
//! stored, the certificate recorded, then written, then in use. A run that is cut short in between is
//! finished by the next.

use std::fmt;
use std::path::Path;

use pki_core::authority::{AdoptionFault, Candidate};
use pki_core::certificate::{Certificate, pem};
use pki_core::declaration::{AuthorityDeclaration, Declaration};
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation};
use pki_core::inventory::{
    AuthorityRecord, GenerationChange, GenerationRecord, GenerationState, Inventory,
    NewCertificate, NewGeneration, Status, Uniqueness,
};
use pki_core::key::Signer;
use pki_core::lint::{self, LintOptions, Severity};
use pki_core::pem::InputError;
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use serde::Serialize;

use super::{AuthorityRow, adopt};
use crate::authority_key::NewKey;
use crate::context::Context;
use crate::error::CommandError;
use crate::files::{Access, Existing, ending};
use crate::home::Home;
use crate::inputs::Inputs;
use crate::issuance::{authority_certificates, certificate_of};
use crate::locks::HomeLock;
use crate::render::ui::Ui;
use crate::unknown::with_nearest;

/// What `pki.toml` says of an authority.
pub(crate) fn declared<'a>(
    context: &'a Context,
    name: &AuthorityName,
) -> Result<&'a AuthorityDeclaration, CommandError> {
    let declaration = context.home.declaration()?;
    if let Some(declared) = declaration.authority(name) {
        return Ok(declared);
    }
    let known: Vec<&str> = declaration
        .authorities
        .iter()
        .map(|authority| authority.name.as_str())
        .collect();
    let message = format!("pki.toml declares no authority {name}");
    let error = with_nearest(CommandError::not_found(message), name.as_str(), &known);
    Err(error.hint(format!("declared are: {}", known.join(", "))))
}

/// The number that the next generation of an authority gets.
pub(super) fn next_generation(record: Option<&AuthorityRecord>) -> Generation {
    let last = record.and_then(|record| record.generations.last());
    last.map_or(Generation::FIRST, |last| last.generation.next())
}

/// The certificates of a file, the first one first, and those of another, if there is one.
pub(super) fn read_certificates(
    inputs: &Inputs,
    file: &Path,
    chain: Option<&Path>,
) -> Result<(Certificate, Vec<Certificate>), CommandError> {
    let read = |path: &Path| {
        pem::certificates(&inputs.read(path)?).map_err(|error| CommandError::in_file(path, &error))
    };
    let mut found = read(file)?.into_iter();
    let first = found
        .next()
        .ok_or_else(|| CommandError::in_file(file, &InputError::Empty))?;
    let mut others: Vec<Certificate> = found.collect();
    if let Some(chain) = chain {
        others.extend(read(chain)?);
    }
    Ok((first, others))
}

/// Makes every check on a certificate that is to become a generation, and gives those above it.
pub(super) fn judge(
    context: &Context,
    inventory: &dyn Inventory,
    declared: &AuthorityDeclaration,
    file: &Path,
    (certificate, given): (&Certificate, Vec<Certificate>),
    signer: &dyn Signer,
) -> Result<Vec<Certificate>, CommandError> {
    // Ours first: who signed is recorded by them, and a list of what is revoked is made by that.
    let mut pool = authority_certificates(inventory)?;
    pool.extend(given);
    let candidate = Candidate {
        certificate,
        public_key: signer.public_key(),
        subject: &declared.subject,
        depth_below: depth_below(context.home.declaration()?, &declared.name),
        pool: &pool,
    };
    let above = candidate
        .check(context.now())
        .map_err(|faults| refused(file, &faults))?;
    tell_form(context, certificate, &above);
    Ok(above)
}

/// Tells of what relying parties may refuse the certificates for, once it issues: it can be taken over, but not
/// put right any more.
fn tell_form(context: &Context, certificate: &Certificate, above: &[Certificate]) {
    let chain: Vec<Certificate> = [certificate].into_iter().chain(above).cloned().collect();
    let findings = lint::chain(&chain, None, LintOptions::new(context.now()));
    for (one, findings) in chain.iter().zip(findings.certificates) {
        let errors = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        for finding in errors {
            context.ui.warning(format!("{}: {finding}", one.subject()));
        }
    }
}

/// How many authorities are declared below one, one under the other.
fn depth_below(declaration: &Declaration, name: &AuthorityName) -> usize {
    let below = declaration.issued_by(name);
    below
        .map(|authority| 1 + depth_below(declaration, &authority.name))
        .max()
        .unwrap_or(0)
}

/// A check that failed, for people and scripts.
#[derive(Serialize)]
struct Fault {
    check: &'static str,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn refused(file: &Path, faults: &[AdoptionFault]) -> CommandError {
    let hint = "give the certificates above it, up to the root, with --chain";
    let lacks_issuer = faults
        .iter()
        .any(|fault| matches!(fault, AdoptionFault::IssuerMissing { .. }));
    let error = match faults {
        [fault] => CommandError::refused(format!("{}: {fault}", file.display())),
        _ => {
            let lines: Vec<Fault> = faults
                .iter()
                .map(|fault| Fault {
                    check: fault.check(),
                    message: fault.to_string(),
                })
                .collect();
            let message = format!("{}: {} checks failed", file.display(), faults.len());
            CommandError::refused(message).lines(&lines)
        }
    };
    if lacks_issuer {
        error.hint(hint)
    } else {
        error
    }
}

/// What is recorded of an authority's certificate: who signed it, if that was one of ours.
pub(super) fn to_record(
    inventory: &dyn Inventory,
    itself: &AuthorityGeneration,
    certificate: &Certificate,
    issuers: &[Certificate],
) -> Result<NewCertificate, CommandError> {
    let signed_by = match issuers.first() {
        None => Some(itself.clone()),
        Some(issuer) => signer_of(inventory, issuer)?,
    };
    Ok(NewCertificate {
        certificate: certificate.clone(),
        role: role_of(certificate),
        signed_by,
        registration_id: None,
        batch: None,
        labels: pki_core::inventory::Labels::default(),
        request: None,
        uniqueness: Uniqueness::OnlyLeaf,
    })
}

/// The generation of ours that signed what a certificate signed: its own, or one with its name and key, of
/// which it is another certificate.
fn signer_of(
    inventory: &dyn Inventory,
    issuer: &Certificate,
) -> Result<Option<AuthorityGeneration>, CommandError> {
    if let Some(own) = generation_of(inventory, issuer)? {
        return Ok(Some(own));
    }
    let authorities = inventory.authorities()?;
    let twin = authorities.iter().find_map(|authority| {
        let with_key = adopt::generation_with_key(authority, issuer)?;
        let held = with_key.certificate.as_ref()?.certificate();
        (held.subject() == issuer.subject()).then(|| AuthorityGeneration {
            name: authority.name.clone(),
            generation: with_key.generation,
        })
    });
    Ok(twin)
}

/// The generation of ours whose certificate this is.
pub(crate) fn generation_of(
    inventory: &dyn Inventory,
    certificate: &Certificate,
) -> Result<Option<AuthorityGeneration>, CommandError> {
    for authority in inventory.authorities()? {
        for generation in &authority.generations {
            let recorded = generation.certificate.as_ref();
            if recorded.is_some_and(|recorded| recorded.certificate() == certificate) {
                return Ok(Some(AuthorityGeneration {
                    name: authority.name.clone(),
                    generation: generation.generation,
                }));
            }
        }
    }
    Ok(None)
}

/// Records the authorities above that are none of ours, so that full chains can be written.
pub(super) fn record_outside(
    context: &Context,
    inventory: &mut SqliteInventory,
    issuers: &[Certificate],
) -> Result<(), CommandError> {
    // Two authorities may be taken over at once that have an issuer in common.
    let does = "records certificates of other homes";
    let _lock = HomeLock::wait(&context.home, &context.ui, "outside", does)?;
    for issuer in issuers {
        let row = match inventory.by_sha256_thumbprint(&issuer.sha256_thumbprint())? {
            Some(entry) if entry.state.status() != Status::Undelivered => continue,
            Some(entry) => entry.recorded.row(),
            None => {
                let new = NewCertificate {
                    certificate: issuer.clone(),
                    role: role_of(issuer),
                    signed_by: None,
                    registration_id: None,
                    batch: None,
                    labels: pki_core::inventory::Labels::default(),
                    request: None,
                    uniqueness: Uniqueness::OnlyLeaf,
                };
                let recorded = inventory.record(vec![new], context.now())?;
                match recorded.first() {
                    Some(recorded) => recorded.row(),
                    None => continue,
                }
            }
        };
        inventory.mark_delivered(&[row], context.now())?;
    }
    Ok(())
}

fn role_of(certificate: &Certificate) -> Role {
    if certificate.is_self_issued() {
        Role::Root
    } else {
        Role::Intermediate
    }
}

/// Keeps other commands from making a generation of an authority, or finishing one, for as long as this
/// one is at it. What the inventory holds of it is to be looked at after this.
pub(super) fn lock(home: &Home, ui: &Ui, name: &AuthorityName) -> Result<HomeLock, CommandError> {
    let does = format!("works on authority {name}");
    HomeLock::wait(home, ui, &format!("authority-{name}"), &does)
}

/// Tells of key files that no generation has: a run was cut short before it recorded one. They are not
/// removed, since the inventory may be an older one that was restored from a backup.
pub(super) fn tell_strays(
    context: &Context,
    inventory: &dyn Inventory,
    name: &AuthorityName,
) -> Result<(), CommandError> {
    let record = inventory.authority(name)?;
    let generations: Vec<_> = record
        .iter()
        .flat_map(|record| &record.generations)
        .collect();
    for path in context.files.list(&context.home.layout.authority(name))? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let reference = format!("authorities/{name}/{file}");
        let is_known = || {
            let mut known = generations.iter().map(|known| known.key_reference.as_str());
            known.any(|known| known == reference)
        };
        if file.ends_with(ending::KEY) && !is_known() {
            context.ui.warning(format!(
                "{reference} is the key of no recorded generation; a run was cut short before it was \
                 used, or the inventory is older than the file. Remove it if you did not restore the \
                 inventory from a backup"
            ));
        }
    }
    Ok(())
}

/// Stores the key of a new generation, records it with its certificate, and brings it into use.
pub(super) fn begin(
    context: &Context,
    inventory: &mut SqliteInventory,
    name: &AuthorityName,
    generation: Generation,
    key: &NewKey,
    certificate: NewCertificate,
) -> Result<(), CommandError> {
    let new = NewGeneration {
        authority: name.clone(),
        generation,
        subject: certificate.certificate.subject(),
        key_reference: key.reference.clone(),
    };
    tell_strays(context, inventory, name)?;
    context.keys.store(key)?;
    let recorded = match inventory.record_authority(new, certificate, context.now()) {
        Ok(recorded) => recorded,
        Err(error) => {
            context.keys.discard(key, inventory);
            return Err(error.into());
        }
    };
    bring_into_use(context, inventory, name, generation, recorded.certificate())
}

/// Finishes a pending generation that has a certificate and whose key is where it should be; one
/// whose key was lost is voided. Tells whether it is in use now.
pub(super) fn finish(
    context: &Context,
    inventory: &mut SqliteInventory,
    name: &AuthorityName,
    pending: &GenerationRecord,
) -> Result<bool, CommandError> {
    let certificate = certificate_of(name, pending)?;
    if !context.keys.is_lost(&pending.key_reference)
        && context.keys.open(&pending.key_reference)?.public_key() == certificate.public_key()
    {
        bring_into_use(context, inventory, name, pending.generation, &certificate)?;
        return Ok(true);
    }
    let change = GenerationChange {
        generation: pending.generation,
        to: GenerationState::Voided,
    };
    inventory.settle_generations(name, &[change], context.now())?;
    context.ui.note(format!(
        "authority {name}: generation {} has lost its key before it was in use, and is void",
        pending.generation
    ));
    Ok(false)
}

/// Writes the certificate into the home; the generation issues from now on. Where another one issues, it
/// waits: a roll makes it the next one when DPS admits by it.
pub(super) fn bring_into_use(
    context: &Context,
    inventory: &mut SqliteInventory,
    name: &AuthorityName,
    generation: Generation,
    certificate: &Certificate,
) -> Result<(), CommandError> {
    let layout = &context.home.layout;
    let files = &context.files;
    files.create_folder(&layout.authority(name), Access::Secret)?;
    let path = layout.certificate(name, generation);
    let pem = certificate.to_pem();
    files.write(&path, pem.as_bytes(), Access::Public, Existing::Replace)?;
    let record = inventory.authority(name)?;
    if record.as_ref().and_then(AuthorityRecord::current).is_some() {
        return Ok(());
    }
    let change = GenerationChange {
        generation,
        to: GenerationState::Current,
    };
    Ok(inventory.settle_generations(name, &[change], context.now())?)
}

/// Tells of a generation that came beside one that issues.
pub(super) fn tell_waiting(
    context: &Context,
    inventory: &dyn Inventory,
    itself: &AuthorityGeneration,
) -> Result<(), CommandError> {
    let record = inventory.authority(&itself.name)?;
    let pending = record.as_ref().and_then(AuthorityRecord::pending);
    if pending.is_some_and(|pending| pending.generation == itself.generation) {
        let AuthorityGeneration { name, generation } = itself;
        context.ui.note(format!(
            "generation {generation} waits to be rolled in with: dps-pki roll start {name}"
        ));
    }
    Ok(())
}

/// A generation as the inventory holds it now.
pub(super) fn row(
    inventory: &dyn Inventory,
    name: &AuthorityName,
    generation: Generation,
    status: &str,
) -> Result<AuthorityRow, CommandError> {
    let record = inventory.authority(name)?;
    let found = record
        .as_ref()
        .and_then(|record| record.generation(generation));
    let missing =
        || CommandError::failed(format!("authority {name} has no generation {generation}"));
    Ok(AuthorityRow::new(name, found.ok_or_else(missing)?, status))
}
