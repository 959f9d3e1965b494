//! `authority create`: what `pki.toml` declares and does not exist yet.

use pki_core::authority::{AuthoritySpec, create_root};
use pki_core::declaration::{AuthorityDeclaration, AuthorityKey};
use pki_core::ids::{AuthorityName, Generation, SerialNumber};
use pki_core::inventory::{AuthorityRecord, GenerationRecord, Inventory as _, NewCertificate};
use pki_core::issue::Issued;
use pki_core::key::Signer;
use pki_core::sqlite::SqliteInventory;

use super::{Authorities, AuthorityRow, clock, takeover};
use crate::commands::roll::check_breach;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::issuance::{OpenAuthority, current, policy};

/// Make the authorities that pki.toml declares and that do not exist yet
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority create --passphrase-file ~/.pki-passphrase
  dps-pki authority create root
  dps-pki authority create factory --next")]
pub(super) struct Args {
    /// Only these; their issuers must exist
    names: Vec<AuthorityName>,

    /// Make the generation that these are to be rolled to, with a new key; it waits for: roll start
    #[arg(long, requires = "names")]
    next: bool,

    /// Make it even if it would begin more than a day after the last entry of the audit trail, and no
    /// DPS says that the clock is right: a generation that a clock made which was ahead can be used by
    /// nobody until then
    #[arg(long)]
    clock_is_right: bool,
}

impl Args {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let declared = self.declared(context)?;
        let mut inventory = context.home.inventory()?;
        let mut made = Vec::new();
        for authority in declared {
            made.push(if self.next {
                create_next(context, &mut inventory, authority, self.clock_is_right)?
            } else {
                create(context, &mut inventory, authority, self.clock_is_right)?
            });
        }
        context.ui.result(&Authorities(made))?;
        Ok(Outcome::Done)
    }

    fn declared<'a>(
        &self,
        context: &'a Context,
    ) -> Result<Vec<&'a AuthorityDeclaration>, CommandError> {
        for name in &self.names {
            takeover::declared(context, name)?;
        }
        let wanted =
            |one: &&AuthorityDeclaration| self.names.is_empty() || self.names.contains(&one.name);
        Ok(context
            .home
            .declaration()?
            .authorities
            .iter()
            .filter(wanted)
            .collect())
    }
}

/// Makes an authority unless it exists; finishes or voids what a run left that was cut short.
pub(crate) fn create(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
    clock_is_right: bool,
) -> Result<AuthorityRow, CommandError> {
    let name = &declared.name;
    if let Some(row) = begun(name, inventory.authority(name)?.as_ref()) {
        return Ok(row);
    }
    if context.settings.dry_run {
        clock::check(context, inventory, clock_is_right)?;
        return Ok(AuthorityRow::planned(declared));
    }
    let _lock = takeover::lock(&context.home, &context.ui, name)?;
    let record = inventory.authority(name)?;
    let record = record.as_ref();
    // Whoever had the lock may have made it.
    if let Some(row) = begun(name, record) {
        return Ok(row);
    }
    if let Some(pending) = record.and_then(AuthorityRecord::pending)
        && takeover::finish(context, inventory, name, pending)?
    {
        return Ok(AuthorityRow::new(name, pending, "finished"));
    }
    let generation = make(context, inventory, declared, clock_is_right)?;
    takeover::row(inventory, name, generation, "created")
}

/// What there is of an authority that is not to be made, or goes on elsewhere.
fn begun(name: &AuthorityName, record: Option<&AuthorityRecord>) -> Option<AuthorityRow> {
    if let Some(current) = record.and_then(AuthorityRecord::current) {
        return Some(AuthorityRow::new(name, current, "exists"));
    }
    let pending = record.and_then(AuthorityRecord::pending)?;
    let waits = pending.certificate.is_none();
    waits.then(|| AuthorityRow::new(name, pending, "requested"))
}

fn create_next(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
    clock_is_right: bool,
) -> Result<AuthorityRow, CommandError> {
    let name = &declared.name;
    let current = current(&context.home, inventory, name)?;
    check_breach(context, inventory, name)?;
    if context.settings.dry_run {
        let record = inventory.authority(name)?;
        let record = record.as_ref();
        let is_there = record.and_then(AuthorityRecord::next).is_some()
            || record.and_then(AuthorityRecord::pending).is_some();
        if !is_there {
            clock::check(context, inventory, clock_is_right)?;
        }
        return Ok(AuthorityRow::planned(declared));
    }
    if current.certificate.is_some() {
        let current = Some(current.generation);
        successor(context, inventory, declared, current, clock_is_right)?;
    }
    let record = inventory.authority(name)?;
    let newest = record
        .as_ref()
        .and_then(|record| record.generations.last())
        .ok_or_else(|| CommandError::failed("no generation was made"))?;
    Ok(AuthorityRow::new(name, newest, newest.state.as_str()))
}

/// Makes the generation that an authority is to be rolled to, unless it is there or another one has taken the
/// place of the `current` one meanwhile: with a new key, below the issuer's newest generation. It waits until
/// the roll takes it into use.
pub(crate) fn successor(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
    current: Option<Generation>,
    clock_is_right: bool,
) -> Result<(), CommandError> {
    let name = &declared.name;
    let _lock = takeover::lock(&context.home, &context.ui, name)?;
    let record = inventory.authority(name)?;
    let record = record.as_ref();
    let issuing = record.and_then(AuthorityRecord::current);
    let is_replaced = issuing.map(|one| one.generation) != current;
    if is_replaced || record.and_then(AuthorityRecord::next).is_some() {
        return Ok(());
    }
    if let Some(pending) = record.and_then(AuthorityRecord::pending) {
        if pending.certificate.is_none() {
            let message = format!(
                "authority {name}: generation {} waits for the certificate that was requested",
                pending.generation
            );
            return Err(CommandError::refused(message).hint(format!(
                "take it into use with: dps-pki authority adopt {name} --cert FILE"
            )));
        }
        if takeover::finish(context, inventory, name, pending)? {
            return Ok(());
        }
    }
    // A wrong passphrase is found out before a key is made under it.
    if matches!(declared.key, AuthorityKey::Home(_)) {
        OpenAuthority::open_generation(&context.keys, inventory, name, None)?;
    }
    let generation = make(context, inventory, declared, clock_is_right)?;
    context.ui.note(format!(
        "made generation {generation} of authority {name}; it waits to be rolled in"
    ));
    Ok(())
}

fn make(
    context: &Context,
    inventory: &mut SqliteInventory,
    declared: &AuthorityDeclaration,
    clock_is_right: bool,
) -> Result<Generation, CommandError> {
    let name = &declared.name;
    clock::check(context, inventory, clock_is_right)?;
    let generation = takeover::next_generation(inventory.authority(name)?.as_ref());
    let key = context.keys.make(declared, generation)?;
    let signer = key.signer.as_ref();
    refuse_same_key(inventory, name, signer)?;
    let issued = issue(context, inventory, declared, generation, signer)?;
    let certificate = NewCertificate::from(issued);
    takeover::begin(context, inventory, name, generation, &key, certificate)?;
    Ok(generation)
}

/// A declaration that names a key in a token names that of one generation.
fn refuse_same_key(
    inventory: &SqliteInventory,
    name: &AuthorityName,
    signer: &dyn Signer,
) -> Result<(), CommandError> {
    let record = inventory.authority(name)?;
    let generations = record.iter().flat_map(|record| &record.generations);
    let has_key = |generation: &&GenerationRecord| {
        let recorded = generation.certificate.as_ref();
        recorded.is_some_and(|one| one.certificate().public_key() == signer.public_key())
    };
    match generations.into_iter().find(has_key) {
        None => Ok(()),
        Some(same) => Err(CommandError::refused(format!(
            "pki.toml names the key of {name} generation {}, and a new generation takes a new key",
            same.generation
        ))
        .hint(format!("name another key in [authority.{name}]"))),
    }
}

fn issue(
    context: &Context,
    inventory: &SqliteInventory,
    declared: &AuthorityDeclaration,
    generation: Generation,
    signer: &dyn Signer,
) -> Result<Issued, CommandError> {
    let serial = SerialNumber::random(context.entropy.as_ref())?;
    let spec = AuthoritySpec {
        subject: declared.subject.clone(),
        validity: declared.validity,
        path_length: declared.path_length,
        digital_signature: declared.digital_signature,
    };
    let now = context.now();
    let Some(issuer) = &declared.issuer else {
        let name = declared.name.clone();
        let policy = policy(&context.home)?;
        return Ok(create_root(
            name, generation, &spec, signer, policy, &serial, now,
        )?);
    };
    let issuer = OpenAuthority::open(context, inventory, issuer)?;
    let public_key = signer.public_key().to_vec();
    Ok(issuer
        .signing()?
        .issue_intermediate(&spec, public_key, &serial, now)?)
}
