//! `issue`: keys and leaves for devices, a few or a whole line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pki_core::declaration::{Declaration, LeafProfile};
use pki_core::ids::{AuthorityName, LeafName, ProfileName};
use pki_core::inventory::NamedLabel;

use super::issue_batch::{BatchArgs, Listed, Purpose};
use super::issue_each::{Leaves, Order, Wish, check_orders, rehearse, serve};
use crate::batch_input::Source;
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};

#[derive(clap::Args)]
#[command(after_help = "\
Devices that are named one by one get files in a folder, unless an option says how a batch is written.
A batch is checked as a whole before the first key is made. Cut anywhere, the same command goes on
where it stopped and repeats nothing.

Examples:
  dps-pki issue sensor-1 sensor-2 --authority factory --out devices
  dps-pki issue --prefix line-7- --count 50 --authority factory --out line-7.ndjson --plain-keys")]
pub(crate) struct IssueArgs {
    /// Registration IDs
    #[arg(required_unless_present_any = ["devices", "prefix"], value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    batch: BatchArgs,

    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Clone)]
pub(super) struct Target {
    /// Which authority signs
    #[arg(long)]
    pub(super) authority: AuthorityName,

    /// Which profile of pki.toml the leaves have
    #[arg(long, default_value = Declaration::DEFAULT_PROFILE)]
    pub(super) profile: ProfileName,

    /// The folder to write them to, made if it does not exist; the file or folder of a batch, or - for
    /// standard output
    #[arg(long, value_name = "PATH", default_value = ".")]
    pub(super) out: PathBuf,

    /// A label that the inventory keeps with each leaf, as order=4711; several by several of these
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<NamedLabel>,
}

impl IssueArgs {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        if self.batch.is_given() {
            return self.batch.run(context, &self.target);
        }
        if self.batch.says_how_it_is_written() {
            let devices = Listed::of(Source::named(&self.ids)?);
            self.batch.check_usage(context, &self.target)?;
            return self
                .batch
                .issue(context, &self.target, devices, &Purpose::Issue);
        }
        let ids: Result<Vec<LeafName>, _> = self.ids.iter().map(|id| id.parse()).collect();
        let orders: Vec<Order> = ids?.into_iter().map(Order::new).collect();
        self.target.run(context, orders)
    }
}

impl Target {
    pub(super) fn run(&self, context: &Context, mut orders: Vec<Order>) -> CommandResult {
        self.check_labels()?;
        for order in &mut orders {
            order.device.label(&self.labels);
        }
        let orders = &orders;
        if self.out == Path::new("-") {
            let message = "standard output takes a batch only; name a folder with --out";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        check_orders(orders)?;
        let profile = self.profile(context)?;
        let mut inventory = context.home.inventory()?;
        let authority = &self.authority;
        let out = &self.out;
        if context.settings.dry_run {
            let would_issue = rehearse(context, &mut inventory, authority, profile, out, orders)?;
            context.ui.result(&Wish { would_issue })?;
            return Ok(Outcome::Done);
        }
        let leaves = serve(context, &mut inventory, authority, profile, out, orders)?;
        context.ui.result(&Leaves(leaves))?;
        Ok(Outcome::Done)
    }

    /// Refuses labels of which one could not be kept beside the other.
    pub(super) fn check_labels(&self) -> Result<(), CommandError> {
        let names: BTreeSet<&str> = self.labels.iter().map(NamedLabel::name).collect();
        if names.len() < self.labels.len() {
            let message = "--label gives two values to one name";
            return Err(CommandError::new(ErrorKind::Usage, message));
        }
        Ok(())
    }

    pub(super) fn profile<'a>(
        &self,
        context: &'a Context,
    ) -> Result<&'a LeafProfile, CommandError> {
        profile_named(context, &self.profile)
    }
}

/// The profile of this name in `pki.toml`.
pub(super) fn profile_named<'a>(
    context: &'a Context,
    name: &ProfileName,
) -> Result<&'a LeafProfile, CommandError> {
    let profiles = &context.home.declaration()?.profiles;
    profiles.get(name).ok_or_else(|| {
        let known: Vec<&str> = profiles.keys().map(ProfileName::as_str).collect();
        CommandError::not_found(format!("pki.toml declares no profile {name}"))
            .hint(format!("declared are: {}", known.join(", ")))
    })
}
