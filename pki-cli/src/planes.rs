//! The planes of a declared DPS instance, set up for one command: its files, network and secrets.

use std::sync::Arc;

use dps_operations::PortError;
use dps_operations::planes::Way;
use dps_operations::ports;
use pki_core::declaration::{DpsDeclaration, nearest};
use pki_core::ids::{DpsName, EnrollmentGroupId};
use pki_core::secret::SecretSource;
use secrecy::SecretString;

use crate::context::Context;
use crate::error::CommandError;
use crate::secrets::Secrets;

pub(crate) use dps_operations::Planes;

/// The instance that this run is about.
///
/// # Errors
/// [`CommandError`]: none is declared or chosen, or as [`of`].
pub(crate) fn chosen(context: &Context) -> Result<Planes<'_>, CommandError> {
    let (name, declared) = context.home.dps()?;
    of(context, name, declared)
}

/// The instance that a command about an enrollment group is about.
///
/// # Errors
/// As [`chosen`]; `NotFound` where several are declared, none is chosen, and the group's name looks like a
/// declared one.
pub(crate) fn of_group<'a>(
    context: &'a Context,
    id: &EnrollmentGroupId,
) -> Result<Planes<'a>, CommandError> {
    let declared = &context.home.declaration()?.dps;
    if context.settings.dps.is_some() || declared.len() < 2 {
        return chosen(context);
    }
    let holds = |(name, dps): (&DpsName, &DpsDeclaration)| {
        dps.groups.contains_key(id).then(|| name.to_string())
    };
    let holders: Vec<String> = declared.iter().filter_map(holds).collect();
    if !holders.is_empty() {
        let of_it = format!(
            "enrollment group {id} is declared for: {}",
            holders.join(", ")
        );
        return chosen(context).map_err(|error| error.hint(of_it));
    }
    let groups = declared.values().flat_map(|dps| dps.groups.keys());
    match nearest(id.as_str(), groups.map(EnrollmentGroupId::as_str)) {
        None => chosen(context),
        Some(near) => {
            let message =
                format!("pki.toml declares no enrollment group {id} for any DPS instance");
            Err(CommandError::not_found(message)
                .hint(format!("did you mean {near}?"))
                .hint("if DPS holds it all the same, choose the instance with --dps NAME"))
        }
    }
}

/// Sets up the connection; nothing is sent yet.
pub(crate) fn of<'a>(
    context: &'a Context,
    name: &'a DpsName,
    declared: &'a DpsDeclaration,
) -> Result<Planes<'a>, CommandError> {
    let mut anchor = None;
    if let Some(path) = &declared.trust_anchor {
        let path = context.home.layout.resolve(path);
        let text = context.files.read_text(&path).map_err(|error| {
            error.hint(format!(
                "it holds the CA of DPS {name}'s server; dps-pki emulator writes it when it starts"
            ))
        })?;
        anchor = Some(text);
    }
    let options = Planes::options(declared, anchor);
    let transport = context.network.transport(&options).map_err(|error| {
        let error = CommandError::from(error);
        match &declared.trust_anchor {
            Some(path) => CommandError {
                message: format!("{path}: {}", error.message),
                ..error
            },
            None => error,
        }
    })?;
    let way = Way {
        transport,
        routes: options.routes,
        clock: Arc::clone(&context.clock),
        secrets: context.secrets.as_ref(),
    };
    Ok(Planes::new(name, declared, way))
}

impl ports::Secrets for Secrets {
    fn secret(&self, source: &SecretSource, what: &str) -> Result<SecretString, PortError> {
        Ok(self.declared(source, &format!("{what}: "))?)
    }
}
