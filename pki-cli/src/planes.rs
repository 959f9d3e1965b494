//! The planes of a declared DPS instance, set up for one command: its files, network and secrets.

use std::sync::Arc;

use dps_operations::PortError;
use dps_operations::planes::Way;
use dps_operations::ports;
use pki_core::declaration::DpsDeclaration;
use pki_core::ids::DpsName;
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
