//! `hub`: device identities in the registry of an IoT Hub. DPS makes them and never removes them.

use pki_core::hub::{HubDevice, HubDeviceStatus};
use pki_core::ids::{DeviceId, Etag, HubHostName, RegistrationId};
use pki_core::lifecycle::{Expectation, Found, HubDeviceAction, HubDeviceStep, Step, differences};

use crate::commands::change::{Change, deleted_before, nothing_to_do};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::planes::{self, Planes};
use crate::render::document::{Shown, without_keys};
use crate::runtime::Runtime;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Device(DeviceArgs),
}

/// Device identities: who may connect to a hub
#[derive(clap::Args)]
struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(clap::Subcommand)]
enum DeviceCommand {
    Show(ShowArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Delete(DeleteArgs),
}

/// Show a device identity; its keys, if it has any, are left out
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki hub device show sensor-1
  dps-pki hub device show sensor-1 --hub hub-1.azure-devices.net --output json")]
struct ShowArgs {
    #[command(flatten)]
    device: DeviceName,
}

/// Disable a device identity: the hub refuses the device and cuts its connection
///
/// The device may still register with DPS, which makes no difference to the hub. To shut a device out
/// everywhere, see "dps-pki quarantine".
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki hub device disable sensor-1 --reason stolen --dry-run")]
struct DisableArgs {
    #[command(flatten)]
    device: DeviceName,

    /// Why, at most 128 characters; kept in the identity, where the present one stays without it
    #[arg(long, value_parser = status_reason)]
    reason: Option<String>,
}

/// Enable a device identity: the device may connect to its hub again
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki hub device enable sensor-1 --hub hub-1.azure-devices.net --dry-run")]
struct EnableArgs {
    #[command(flatten)]
    device: DeviceName,
}

/// Delete a device identity with its twin
///
/// A device that DPS still lets in gets a new one as soon as it registers.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki hub device delete sensor-1 --dry-run")]
struct DeleteArgs {
    #[command(flatten)]
    device: DeviceName,
}

#[derive(clap::Args)]
struct DeviceName {
    /// The registration ID; with --hub the hub's device ID, where case matters
    id: DeviceId,

    /// The hub [default: the one in the device's registration record]
    #[arg(long, value_name = "NAME")]
    hub: Option<HubHostName>,
}

fn status_reason(text: &str) -> Result<String, String> {
    const MOST: usize = 128;
    match text.chars().count() {
        0..=MOST => Ok(text.to_owned()),
        length => Err(format!(
            "it has {length} characters, at most {MOST} are allowed"
        )),
    }
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let Command::Device(args) = &self.command;
        match &args.command {
            DeviceCommand::Show(args) => args.run(context),
            DeviceCommand::Disable(args) => args.run(context),
            DeviceCommand::Enable(args) => args.run(context),
            DeviceCommand::Delete(args) => args.run(context),
        }
    }
}

impl ShowArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let identity = self.device.find(context)?;
        let device = &identity.device;
        let authentication = device.authentication.as_ref();
        let thumbprints = authentication.and_then(|by| by.x509_thumbprint.as_ref());
        let lines = vec![
            ("device ID", device.device_id.to_string()),
            ("hub", identity.hub.to_string()),
            ("status", device.status.as_str().to_owned()),
            ("reason", device.status_reason.clone().unwrap_or_default()),
            (
                "authentication",
                authentication
                    .and_then(|by| by.kind.clone())
                    .unwrap_or_default(),
            ),
            (
                "thumbprint",
                thumbprints
                    .and_then(|both| both.primary_thumbprint.clone())
                    .unwrap_or_default(),
            ),
        ];
        context.ui.result(&Shown::new(device, lines))?;
        Ok(Outcome::Done)
    }
}

impl DisableArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let identity = self.device.find(context)?;
        let mut after = HubDevice {
            status: HubDeviceStatus::Disabled,
            ..identity.device.clone()
        };
        // Without a new reason the known one stays.
        if let Some(reason) = &self.reason {
            after.status_reason = Some(reason.clone());
        }
        let summary = format!("disable device identity {}", after.device_id);
        let id = &after.device_id;
        let note = format!(
            "the device may still register with DPS; to shut it out there: dps-pki quarantine {id}"
        );
        identity.put(context, &after, "hub-device-disabled", summary, &note)
    }
}

impl EnableArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let identity = self.device.find(context)?;
        let after = HubDevice {
            status: HubDeviceStatus::Enabled,
            ..identity.device.clone()
        };
        let summary = format!(
            "enable device identity {}, which lets the device in",
            after.device_id
        );
        let note = "whoever holds the key of the leaf that the identity names can connect";
        identity.put(context, &after, "hub-device-enabled", summary, note)
    }
}

impl DeleteArgs {
    fn run(&self, context: &Context) -> CommandResult {
        let goal = format!("delete device identity {} with its twin", self.device.id);
        let identity = match self.device.find(context) {
            Ok(identity) => identity,
            Err(missing) => {
                return deleted_before(context, &planes::chosen(context)?, &goal, missing);
            }
        };
        let expect = Expectation::Etag(identity.tag()?);
        let id = &identity.device.device_id;
        let change = Change {
            action: "hub-device-deleted",
            summary: format!("delete device identity {id} with its twin"),
            goal: Some(goal),
            subject: id.to_string(),
            place: identity.hub.to_string(),
            changes: vec![],
            notes: vec![
                "a device that DPS still lets in gets a new identity as soon as it registers"
                    .to_owned(),
            ],
            impact: None,
        };
        let step = Step::HubDevice(HubDeviceStep {
            hub: identity.hub.clone(),
            device_id: id.clone(),
            action: HubDeviceAction::Delete,
            expect,
        });
        let read = Found::HubDevice(Some(Box::new(identity.device)));
        change.carry_out(context, &identity.planes, step, &read)
    }
}

/// A device identity that was read, and where.
struct Identity<'a> {
    planes: Planes<'a>,
    hub: HubHostName,
    device: HubDevice,
}

impl Identity<'_> {
    fn tag(&self) -> Result<Etag, CommandError> {
        self.device.etag.clone().ok_or_else(|| {
            let id = &self.device.device_id;
            let message = format!("{} sent device identity {id} without an ETag", self.hub);
            CommandError::new(ErrorKind::Service, message)
        })
    }

    /// Writes the identity with another status.
    fn put(
        &self,
        context: &Context,
        after: &HubDevice,
        action: &'static str,
        summary: String,
        note: &str,
    ) -> CommandResult {
        let id = &after.device_id;
        let status = after.status.as_str();
        if self.device.status == after.status {
            let state = format!("device identity {id} on {} is {status} already", self.hub);
            return nothing_to_do(context, &self.planes, &summary, &state);
        }
        let before = without_keys(&self.device);
        let step = self.status_step(after)?;
        let change = Change {
            action,
            summary,
            goal: None,
            subject: id.to_string(),
            place: self.hub.to_string(),
            changes: differences(&before, &without_keys(after)),
            notes: vec![note.to_owned()],
            impact: None,
        };
        let read = Found::HubDevice(Some(Box::new(self.device.clone())));
        change.carry_out(context, &self.planes, step, &read)
    }

    fn status_step(&self, after: &HubDevice) -> Result<Step, CommandError> {
        let action = match after.status {
            HubDeviceStatus::Enabled => HubDeviceAction::Enable,
            HubDeviceStatus::Disabled => HubDeviceAction::Disable {
                reason: after.status_reason.clone().unwrap_or_default(),
            },
        };
        Ok(Step::HubDevice(HubDeviceStep {
            hub: self.hub.clone(),
            device_id: after.device_id.clone(),
            action,
            expect: Expectation::Etag(self.tag()?),
        }))
    }
}

impl DeviceName {
    /// Reads the identity, at the hub that was named or that DPS gave the device.
    fn find<'a>(&self, context: &'a Context) -> Result<Identity<'a>, CommandError> {
        let planes = planes::chosen(context)?;
        let (hub, id) = match &self.hub {
            Some(hub) => (hub.clone(), self.id.clone()),
            None => self.assigned(&context.runtime, &planes)?,
        };
        let devices = planes.hub(&hub)?;
        let device = context
            .runtime
            .block_on(async { Ok(devices.find(&id).await?) })?
            .ok_or_else(|| CommandError::not_found(format!("{hub} has no device identity {id}")))?;
        Ok(Identity {
            planes,
            hub,
            device,
        })
    }

    /// The hub that DPS gave the device, and the device's name there.
    fn assigned(
        &self,
        runtime: &Runtime,
        planes: &Planes<'_>,
    ) -> Result<(HubHostName, DeviceId), CommandError> {
        let id: RegistrationId = self.id.as_str().parse()?;
        let registrations = planes.registrations()?;
        let record = runtime.block_on(async { Ok(registrations.find(&id).await?) })?;
        let Some(record) = record else {
            let message = format!("DPS {} has no registration record of {id}", planes.name());
            return Err(CommandError::not_found(message).hint("name its hub with --hub"));
        };
        let Some(hub) = record.assigned_hub else {
            let message = format!(
                "the registration record of {id} names no hub; its status is {}",
                record.status
            );
            return Err(CommandError::not_found(message).hint("name its hub with --hub"));
        };
        let device = record.device_id.unwrap_or_else(|| DeviceId::from(&id));
        Ok((hub, device))
    }
}
