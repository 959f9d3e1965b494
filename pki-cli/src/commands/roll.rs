//! `roll`: one generation of an authority takes the place of another, or one leaf that of another.
//!
//! A roll of an authority concerns every DPS instance of `pki.toml`; one of a device the instance that
//! `--dps` names. What is decided is the core's; here it is gathered, shown, carried out and proven.

mod authority;
mod breach;
mod device;
mod instances;
mod report;
mod rolling;

use std::path::PathBuf;

use pki_core::declaration::nearest;
use pki_core::ids::{AuthorityName, Generation, RegistrationId};
use pki_core::inventory::Inventory as _;
use pki_core::lifecycle::HubAction;
use pki_core::sqlite::SqliteInventory;
use pki_core::time::Span;

use crate::commands::authority::generation_number;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::home::Home;
use crate::issuance::no_authority;
use crate::unknown::near;

pub(super) use self::instances::check_breach;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Start(StartArgs),
    Status(StatusArgs),
    Finish(FinishArgs),
    Abort(AbortArgs),
}

/// Put a new certificate beside the old one; with --compromised, in its place
///
/// An authority's new generation is made first, with a new key, unless it is there. Leaves are issued
/// from it as soon as DPS admits by it. For a device, the new leaf is the newest of the inventory, as
/// renew makes it, or the one of --cert.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki roll start factory --dry-run
  dps-pki roll start factory --overlap 90d --yes
  dps-pki roll start factory --compromised --yes
  dps-pki roll start gateway-1 --cert gateway-1.cert.pem --yes")]
struct StartArgs {
    #[command(flatten)]
    named: Named,

    /// The key of the old certificate is known to others: shut it out at once, and take its devices off
    /// their hubs
    #[arg(long)]
    compromised: bool,

    /// Which generation is compromised: one that was retired before anybody knew; or the current one, where a
    /// breach roll has brought it in
    #[arg(long, value_name = "N", value_parser = generation_number, requires = "compromised")]
    generation: Option<Generation>,

    /// Make the new generation even if it would begin more than a day after the last entry of the audit
    /// trail, and no DPS says that the clock is right
    #[arg(long)]
    clock_is_right: bool,

    /// How long the old generation is to stand beside the new one [default: until its certificate ends]
    #[arg(long, value_name = "DURATION", conflicts_with = "compromised")]
    overlap: Option<Span>,

    /// How many leaves may still be valid when the overlap ends
    #[arg(long, value_name = "N", default_value = "0")]
    accept_stranded: u64,

    /// Have the authorities below verified themselves, so that their devices stay in without a new leaf
    #[arg(long, requires = "compromised")]
    with_intermediates: bool,

    /// What to do with the hub's identities of the devices below a compromised certificate
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        default_value = "disable",
        requires = "compromised"
    )]
    hub: HubChoice,

    /// The device's new leaf
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
}

/// Tell what a roll waits for, and what stops working when
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki roll status
  dps-pki roll status factory --detailed-exitcode")]
struct StatusArgs {
    /// An authority, or a device with an individual enrollment; all authorities if not given
    name: Option<String>,

    /// It is a device, even if an authority has that name
    #[arg(long, requires = "name")]
    device: bool,

    /// Exit with 10 while there is something to do or to wait for
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Take the old certificate away; the new one stays alone
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki roll finish factory --dry-run
  dps-pki roll finish root --with-intermediates --yes")]
struct FinishArgs {
    #[command(flatten)]
    named: Named,

    /// How many devices may be left behind on the old generation, and be refused from then on
    #[arg(long, value_name = "N", default_value = "0")]
    accept_stranded: u64,

    /// Have the authorities below verified themselves, so that their devices stay in without a new leaf
    #[arg(long)]
    with_intermediates: bool,
}

/// Take the new certificate away again, while no device has moved
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki roll abort factory --yes")]
struct AbortArgs {
    #[command(flatten)]
    named: Named,
}

#[derive(clap::Args)]
struct Named {
    /// An authority, or a device with an individual enrollment
    name: String,

    /// It is a device, even if an authority has that name
    #[arg(long)]
    device: bool,
}

/// What happens to the device identity on the hub.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum HubChoice {
    /// It stays, and the hub refuses the device
    Disable,
    /// It goes, with its twin
    Delete,
    /// It stays as it is: a connected device stays connected
    Keep,
}

impl HubChoice {
    /// The option that says so, after a blank; none for what is done without one.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Disable => "",
            Self::Delete => " --hub delete",
            Self::Keep => " --hub keep",
        }
    }
}

impl From<HubChoice> for HubAction {
    fn from(choice: HubChoice) -> Self {
        match choice {
            HubChoice::Disable => Self::Disable,
            HubChoice::Delete => Self::Delete,
            HubChoice::Keep => Self::Keep,
        }
    }
}

/// What is rolled.
enum Rolled {
    Authority(AuthorityName),
    Device(RegistrationId),
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let inventory = context.home.inventory()?;
        match &self.command {
            Command::Start(args) => match args.named.resolve(context, &inventory)? {
                Rolled::Authority(name) => args.authority(context, inventory, &name),
                Rolled::Device(id) => args.device(context, inventory, &id),
            },
            Command::Status(args) => args.run(context, &inventory),
            Command::Finish(args) => match args.named.resolve(context, &inventory)? {
                Rolled::Authority(name) => args.authority(context, inventory, &name),
                Rolled::Device(id) => args.device(context, inventory, &id),
            },
            Command::Abort(args) => match args.named.resolve(context, &inventory)? {
                Rolled::Authority(name) => authority::abort(context, inventory, &name),
                Rolled::Device(id) => device::abort(context, inventory, &id),
            },
        }
    }
}

impl Named {
    fn resolve(
        &self,
        context: &Context,
        inventory: &SqliteInventory,
    ) -> Result<Rolled, CommandError> {
        resolve(context, inventory, &self.name, self.device)
    }
}

/// An authority if one has the name, else a device.
///
/// # Errors
/// `NotFound` if neither is known by it, where only the answer of one of several DPS instances could tell more.
fn resolve(
    context: &Context,
    inventory: &SqliteInventory,
    name: &str,
    is_device: bool,
) -> Result<Rolled, CommandError> {
    if let Some(authority) = name.parse::<AuthorityName>().ok().filter(|_| !is_device) {
        if inventory.authority(&authority)?.is_some() {
            return Ok(Rolled::Authority(authority));
        }
        if context.home.declaration()?.authority(&authority).is_some() {
            return Err(no_authority(&context.home, &authority)?);
        }
    }
    let id: RegistrationId = name.parse()?;
    let is_chosen = context.settings.dps.is_some() || context.home.declaration()?.dps.len() < 2;
    if is_device || is_chosen || !inventory.certificates_of(&id)?.is_empty() {
        return Ok(Rolled::Device(id));
    }
    let message = format!("there is no authority {id}, and the inventory knows no device {id}");
    let error = with_near_names(
        CommandError::not_found(message),
        &context.home,
        inventory,
        &id,
    )?;
    Err(error.hint("for a device that only DPS knows, say --device --dps NAME"))
}

/// The error of a name that nobody knows, with the authority and the device that it may have meant.
fn with_near_names(
    error: CommandError,
    home: &Home,
    inventory: &SqliteInventory,
    id: &RegistrationId,
) -> Result<CommandError, CommandError> {
    let authorities = &home.declaration()?.authorities;
    let names = authorities.iter().map(|one| one.name.as_str());
    let authority = nearest(id.as_str(), names);
    let authority = authority.map(|name| format!("did you mean authority {name}?"));
    let device = near(inventory, id)?.map(|near| format!("did you mean device {near}?"));
    let hints = authority.into_iter().chain(device);
    Ok(hints.fold(error, CommandError::hint))
}

/// Refuses options that mean nothing for what is rolled.
fn refuse_option(given: bool, option: &str, what: &str) -> Result<(), CommandError> {
    if !given {
        Ok(())
    } else {
        Err(CommandError::new(
            ErrorKind::Usage,
            format!("{option} means nothing for {what}"),
        ))
    }
}
