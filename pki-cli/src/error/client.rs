//! Errors of the client as those of the command line: who did not answer, and where to look.

use std::error::Error;

use dps_client::ClientError;
use dps_client::transport::{TransportError, TransportSetupError};
use dps_operations::Class;

use super::{CommandError, ErrorKind};

impl From<TransportSetupError> for CommandError {
    fn from(error: TransportSetupError) -> Self {
        let message = error.to_string();
        let cause = error.source().map(ToString::to_string);
        let refused = Self::invalid_input(message);
        match cause {
            Some(cause) => refused.because(cause),
            None => refused,
        }
    }
}

impl From<ClientError> for CommandError {
    /// A service's refusal keeps its tracking ID, which its support asks for.
    fn from(error: ClientError) -> Self {
        if let ClientError::Transport { source, .. } = &error {
            return unreachable(source);
        }
        let refused = Self::new(Class::from(&error).into(), error.to_string());
        match error.source().map(ToString::to_string) {
            Some(cause) => refused.because(cause),
            None => refused,
        }
    }
}

/// No answer: where from, what the network or the handshake said in the end, and where to look.
fn unreachable(error: &TransportError) -> CommandError {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(next) = last.source() {
        last = next;
    }
    let hint = match error {
        TransportError::Tls { .. } => {
            "the server's certificate must lead to trust-anchor in pki.toml, or without one to a root that this machine trusts"
        }
        TransportError::Proxy { .. } | TransportError::Tunnel { .. } => {
            "HTTPS_PROXY says which proxy leads to Azure, NO_PROXY which hosts are reached without it"
        }
        TransportError::Timeout { .. } => {
            "it takes connections and does not answer; try again later, with -v to see each attempt"
        }
        _ => "is it running, and is its address in pki.toml right?",
    };
    let refused = CommandError::new(ErrorKind::Service, error.to_string()).hint(hint);
    match last.to_string() {
        cause if cause == error.to_string() => refused,
        cause => refused.because(cause),
    }
}
