//! `sign`: leaves for devices that made their own keys.
//!
//! Requests in files are served one after the other, as `issue` serves IDs; a folder or a stream of
//! them is a batch.

use std::path::PathBuf;

use pki_core::bulk::requests::Judged;
use pki_core::csr::IdFrom;
use pki_core::wording::counted;

use super::issue::Target;
use super::issue_batch::{Batch, BatchOptions, Format, KeyArgs, Purpose};
use super::issue_each::Order;
use crate::context::Context;
use crate::error::{CommandError, CommandResult};
use crate::inputs::input_name;
use crate::render::ui::Ui;
use crate::request_input::{Judge, RequestInput};

#[derive(clap::Args)]
#[command(after_help = "\
A stream has an object a line: {\"csr\": PEM or base64 of DER, \"registrationId\": optional}.

Examples:
  dps-pki sign sensor-7.csr --authority factory --out devices
  dps-pki sign requests --authority factory --out signed
  dps-pki sign requests.ndjson --authority factory --out signed.ndjson")]
pub(crate) struct Args {
    /// Files with requests in PEM or DER, folders of them, or streams of JSON objects; - for standard
    /// input
    #[arg(required = true, value_name = "CSR")]
    requests: Vec<PathBuf>,

    /// What becomes the registration ID
    #[arg(long, value_enum, default_value = "cn")]
    id_from: IdSource,

    #[command(flatten)]
    options: BatchOptions,

    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum IdSource {
    /// The CN of the subject
    Cn,
    /// The one DNS name that is asked for
    San,
    /// The name of the file, without its ending
    FileName,
}

impl From<IdSource> for IdFrom {
    fn from(source: IdSource) -> Self {
        match source {
            IdSource::Cn => Self::CommonName,
            IdSource::San => Self::AlternativeName,
            IdSource::FileName => Self::FileName,
        }
    }
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let inputs = self
            .requests
            .iter()
            .map(|path| RequestInput::open(&context.inputs, &context.files, path));
        let inputs: Vec<RequestInput> = inputs.collect::<Result<_, _>>()?;
        let id_from = self.id_from.into();
        let profile = &self.target.profile;
        let judge = Judge::new(context, context.home.declaration()?, profile, id_from);
        if self.options.are_given() || inputs.iter().any(RequestInput::is_many) {
            return self.run_batch(context, &judge, inputs);
        }
        let items = inputs.into_iter().flat_map(RequestInput::items);
        let judged = items.flat_map(|item| judge.item(item));
        let orders: Result<Vec<Order>, CommandError> =
            judged.map(|judged| order(&context.ui, judged)).collect();
        self.target.run(context, orders?)
    }

    fn run_batch(
        &self,
        context: &Context,
        judge: &Judge<'_>,
        inputs: Vec<RequestInput>,
    ) -> CommandResult {
        let streams = inputs
            .iter()
            .all(|input| matches!(input, RequestInput::Stream(_)));
        let fitting = if streams { Format::Ndjson } else { Format::Dir };
        let batch = Batch {
            context,
            target: &self.target,
            options: &self.options,
            keys: &KeyArgs::default(),
            format: self.options.format_or(fitting),
            purpose: &Purpose::Issue,
        };
        batch.check_usage()?;
        for input in &inputs {
            if let RequestInput::Folder(requests, others @ 1..) = input {
                context.ui.note(format!(
                    "{} by name; {} left alone",
                    counted(requests.len(), "request", "requests"),
                    counted(*others, "other file is", "other files are")
                ));
            }
        }
        let names: Vec<String> = self.requests.iter().map(|path| input_name(path)).collect();
        let name = names.join(", ");
        let items = inputs.into_iter().flat_map(RequestInput::items);
        batch.run(|| judge.judge(items, name, self.options.jobs()))
    }
}

fn order(ui: &Ui, judged: Judged) -> Result<Order, CommandError> {
    let device = judged
        .device
        .map_err(|bad| CommandError::invalid_input(bad.to_string()))?;
    if !judged.asked.is_empty() {
        let asked = judged.asked.join(", ");
        ui.note(format!(
            "{}: asks for {asked}; the profile decides instead",
            device.place
        ));
    }
    Ok(Order {
        device,
        dropped: judged.asked,
        renews: None,
    })
}
