//! The `dps-pki` program: the machine's surroundings handed to [`pki_cli::run`].

use std::process::ExitCode;

use pki_cli::host::Host;

fn main() -> ExitCode {
    pki_cli::bug::catch_reports();
    pki_cli::memory::keep_off_disk();
    match Host::system() {
        Ok(host) => ExitCode::from(pki_cli::run(std::env::args_os(), host)),
        Err(code) => ExitCode::from(code),
    }
}
