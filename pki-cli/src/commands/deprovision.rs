//! `deprovision`: devices and groups leave for good, in two halves: disenrolled in DPS, then
//! deregistered from their hubs.

mod group;

use std::fmt;

use dps_operations::TakenUp;
use dps_operations::deprovision::{Prepared, Request};
use dps_operations::judge::Judged;
use pki_core::ids::{DpsName, EnrollmentGroupId};
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use self::group::{Proof, group_everywhere};
use super::everywhere::{LetIn, Problems, Within, confirm, elsewhere, instances};
use super::quarantine::target::{targets, who};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind};
use crate::execute::{Execution, Failures, Proposal, check_in_the_way, follow};
use crate::hubs::refuse_unread;
use crate::planes::Planes;
use crate::render::plan::{Outline, PlanAndImpact};
use crate::snapshot::around;
use crate::unknown::unknown_device;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki deprovision sensor-2 --dry-run
  dps-pki deprovision scrapped.txt --yes
  dps-pki deprovision --group line-9 --dry-run")]
pub(crate) struct Args {
    /// Registration IDs, certificate files, or files with lists of these, one a line; - for a list on
    /// standard input
    #[arg(value_name = "ID", required_unless_present = "group")]
    ids: Vec<String>,

    /// An enrollment group, with all its devices
    #[arg(long, value_name = "GROUP", conflicts_with = "ids")]
    group: Option<EnrollmentGroupId>,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let all = instances(context)?;
        let mut inventory = context.home.inventory()?;
        match &self.group {
            Some(group) => group_everywhere(context, &all, &mut inventory, group),
            None => devices_everywhere(context, &all, &mut inventory, &self.ids),
        }
    }
}

/// One DPS instance that somebody leaves.
struct Leaving<'a> {
    context: &'a Context,
    planes: &'a Planes<'a>,
    /// Its name, where there are several.
    dps: Option<&'a DpsName>,
}

/// The devices leave every instance.
fn devices_everywhere(
    context: &Context,
    all: &[Planes<'_>],
    inventory: &mut SqliteInventory,
    words: &[String],
) -> CommandResult {
    let request = Request {
        targets: targets(context, inventory, words)?,
    };
    let mut unread = Vec::new();
    let mut parts = Vec::new();
    for planes in all {
        let leaving = Leaving::new(context, planes, all.len());
        let prepared = request.prepare(around(&context.settings, planes, inventory));
        match context.runtime.wait_for(prepared) {
            Ok(prepared) => parts.push((leaving, prepared)),
            Err(error) => unread.push((leaving.dps, error)),
        }
    }
    let seen: Vec<_> = parts
        .iter()
        .map(|(leaving, prepared)| {
            (
                around(&context.settings, leaving.planes, inventory),
                prepared,
            )
        })
        .collect();
    if let Some(id) = request.unknown(&seen)? {
        return Err(unknown_device(inventory, id)?);
    }
    let who = who(&request.targets);
    let mut problems = Problems::default();
    problems.note_unread(unread, &who, !parts.is_empty())?;
    let mut planned = Vec::new();
    for (leaving, prepared) in &parts {
        let seen = around(&context.settings, leaving.planes, inventory);
        match prepared.judge(seen, &request) {
            Ok(judged) => planned.push((leaving, prepared, judged)),
            Err(error) => problems.note(leaving.dps, Err(error.into()))?,
        }
    }
    let asked: Vec<(&Leaving<'_>, &Judged)> = planned
        .iter()
        .map(|(leaving, _, judged)| (*leaving, judged))
        .collect();
    ask(context, inventory, &asked)?;
    let mut opened = Vec::new();
    for (leaving, prepared, judged) in planned {
        match leaving.open(inventory, &judged, request.failures()) {
            Ok(plan) => opened.push((leaving, prepared, judged, plan)),
            Err(error) => problems.note(leaving.dps, Err(error))?,
        }
    }
    for (leaving, prepared, judged, plan) in opened {
        let carried_out = leaving.carry_out(inventory, judged, plan);
        let done = carried_out
            .and_then(|carried_out| leaving.devices(inventory, &request, prepared, carried_out));
        problems.note(leaving.dps, done)?;
    }
    let let_in = |planes: &Planes<'_>| let_in(context, planes, inventory, &request);
    problems.note(None, elsewhere(context, let_in))?;
    problems.end()
}

/// Which of the devices an instance lets in.
fn let_in(
    context: &Context,
    planes: &Planes<'_>,
    inventory: &SqliteInventory,
    request: &Request,
) -> Result<LetIn, CommandError> {
    let decisions = request.read_back(around(&context.settings, planes, inventory));
    let decisions = context.runtime.wait_for(decisions)?;
    let mut lines = Vec::new();
    let mut ids = Vec::new();
    for (target, decision) in request.targets.iter().zip(decisions) {
        if !decision.is_kept_out() {
            lines.push(format!("{} is {}", target.id, decision.outcome));
            ids.push(target.id.as_str());
        }
    }
    Ok(LetIn {
        lines,
        command: format!("deprovision {}", ids.join(" ")),
        ..LetIn::default()
    })
}

/// What stands in the way in one instance is told before anybody leaves another. Several are asked about at once;
/// a single one is when it is carried out.
fn ask(
    context: &Context,
    inventory: &mut SqliteInventory,
    planned: &[(&Leaving<'_>, &Judged)],
) -> Result<(), CommandError> {
    let mut asked = Vec::new();
    for (leaving, judged) in planned {
        if leaving.dps.is_some() {
            check_in_the_way(context, leaving.planes, inventory, judged.plan.plan())?;
            asked.push((leaving.planes, *judged));
        }
    }
    confirm(context, &asked)
}

impl<'a> Leaving<'a> {
    fn new(context: &'a Context, planes: &'a Planes<'a>, instances: usize) -> Self {
        Self {
            context,
            planes,
            dps: (instances > 1).then(|| planes.name()),
        }
    }

    fn devices(
        &self,
        inventory: &SqliteInventory,
        request: &Request,
        prepared: &Prepared,
        (shown, execution): (Report, Execution),
    ) -> Result<(), CommandError> {
        let dps = self.dps;
        self.context.ui.item(&Within { dps, result: shown })?;
        if self.context.settings.dry_run {
            return Ok(());
        }
        self.prove(inventory, request)?;
        execution.check()?;
        refuse_unread(prepared.unread())
    }

    /// Stores the plan. All are, before anybody leaves the first instance: what is cut after this, `check` tells.
    fn open(
        &self,
        inventory: &mut SqliteInventory,
        judged: &Judged,
        failures: Failures,
    ) -> Result<Option<TakenUp>, CommandError> {
        let shown = Outline(PlanAndImpact::proposed(judged));
        let proposal = Proposal {
            failures,
            is_answered: self.dps.is_some(),
            ..Proposal::new(&judged.plan, &shown).within(self.dps)
        };
        proposal.open(self.context, self.planes, inventory)
    }

    fn carry_out(
        &self,
        inventory: &mut SqliteInventory,
        judged: Judged,
        opened: Option<TakenUp>,
    ) -> Result<(Report, Execution), CommandError> {
        let execution = match opened {
            Some(opened) => follow(self.context, self.planes, inventory, opened)?,
            None => Execution::default(),
        };
        let done = execution.done;
        let report = Report {
            judged,
            done,
            proof: None,
        };
        Ok((report, execution))
    }

    /// Reads DPS again: each device must be refused.
    fn prove(&self, inventory: &SqliteInventory, request: &Request) -> Result<(), CommandError> {
        let seen = around(&self.context.settings, self.planes, inventory);
        let decisions = self.context.runtime.wait_for(request.read_back(seen))?;
        let mut left = Vec::new();
        for (target, decision) in request.targets.iter().zip(decisions) {
            let line = format!("{} is {}", target.id, decision.outcome);
            if decision.is_kept_out() {
                self.context.ui.note(format!("read back from DPS: {line}"));
            } else {
                left.push(line);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let devices = counted(left.len(), "device is", "devices are");
        Err(
            CommandError::new(ErrorKind::PartlyFailed, format!("{devices} still let in"))
                .lines(&left)
                .hint("run it again"),
        )
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(flatten)]
    judged: Judged,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.done;
        let planned = PlanAndImpact::proposed(&self.judged);
        write!(f, "{}", Outline(PlanAndImpact { done, ..planned }))?;
        match &self.proof {
            Some(proof) => write!(f, "\n{proof}"),
            None => Ok(()),
        }
    }
}
