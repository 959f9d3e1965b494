//! Command lines that a command runs: the same program with a home and output of their own.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::context::Context;
use crate::error::CommandError;
use crate::host::Host;

/// Runs a command line in a home, and returns what it wrote. The environment is not seen, nobody is
/// asked, and `passphrase` opens the authority keys.
///
/// # Errors
/// `Failed` with what the command said, if it failed.
pub(super) fn run(
    context: &Context,
    home: &Path,
    passphrase: &Path,
    words: &[&str],
) -> Result<String, CommandError> {
    let stdout = Captured::default();
    let stderr = Captured::default();
    let directory = if home.is_dir() {
        home.to_owned()
    } else {
        context.files.resolve(Path::new("."))
    };
    let host = Host {
        clock: context.clock.clone(),
        entropy: context.entropy.clone(),
        network: context.network.clone(),
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
        ..Host::unattended(directory)
    };
    let mut arguments = vec![OsString::from("dps-pki")];
    arguments.extend(words.iter().map(OsString::from));
    arguments.extend([OsString::from("--home"), home.into()]);
    arguments.extend([OsString::from("--passphrase-file"), passphrase.into()]);
    if context.settings.lax_permissions {
        arguments.push(OsString::from("--lax-permissions"));
    }
    let code = (context.program)(arguments, host);
    if code == 0 {
        return Ok(stdout.text());
    }
    let told = stderr.text();
    let causes: Vec<_> = told
        .trim_end()
        .trim_start_matches("error: ")
        .split("\n  ")
        .collect();
    Err(CommandError::failed(format!(
        "dps-pki {} ended with {code}: {}",
        words.join(" "),
        causes.join("; ")
    )))
}

/// A stream whose content is kept.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        let content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&content).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
