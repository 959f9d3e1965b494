//! `needs-renewal`: is the end of a certificate near? For scripts; it needs no home.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pki_core::certificate::{Certificate, pem};
use pki_core::time::{Span, Time, TimeError, Validity};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::inputs::Inputs;
use crate::render::outside::Outside;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki needs-renewal sensor-1.cert.pem
  dps-pki needs-renewal sensor-1-full-chain.cert.pem --within 30d --output json")]
pub(crate) struct Args {
    /// Files of certificates; of a chain the certificate that ends first counts; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// How near: a time, or how much of the certificate's own validity is left
    #[arg(long, value_name = "DURATION|PERCENT", default_value = "33%")]
    within: Margin,
}

/// How long before its end a certificate is to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Margin {
    Span(Span),
    /// Of the validity; 100 at most.
    Percent(u8),
}

impl FromStr for Margin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else {
            return text
                .parse()
                .map(Self::Span)
                .map_err(|error: TimeError| error.to_string());
        };
        match number.parse() {
            Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
            _ => Err("a share of the validity is 0% to 100%".to_owned()),
        }
    }
}

impl Margin {
    /// From when on a certificate is to be renewed.
    fn begins(self, validity: Validity) -> Time {
        let end = validity.not_after();
        match self {
            Self::Span(span) => end - span,
            Self::Percent(percent) => {
                let seconds = end.unix_seconds() - validity.not_before().unix_seconds();
                let left = u64::try_from(seconds).unwrap_or(0) / 100 * u64::from(percent);
                end - Span::from_seconds(left)
            }
        }
    }
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let mut looks = Vec::with_capacity(self.files.len());
        for path in &self.files {
            looks.push(self.look(&context.inputs, context.now(), path)?);
        }
        let is_any_due = looks.iter().any(|look| look.due);
        context.ui.result(&Looks(looks))?;
        Ok(if is_any_due {
            Outcome::SomethingToDo
        } else {
            Outcome::Done
        })
    }

    fn look(&self, inputs: &Inputs, now: Time, path: &Path) -> Result<Look, CommandError> {
        let certificates = pem::certificates(&inputs.read(path)?)
            .map_err(|error| CommandError::in_file(path, &error))?;
        let first = certificates
            .iter()
            .min_by_key(|one| one.validity().not_after());
        let certificate = first.ok_or_else(|| {
            CommandError::invalid_input(format!("{} holds no certificate", path.display()))
        })?;
        Ok(Look {
            file: path.display().to_string(),
            subject: certificate.subject().to_string(),
            not_after: certificate.validity().not_after(),
            expired: certificate.validity().not_after() < now,
            due: self.begins(certificate) <= now,
        })
    }

    fn begins(&self, certificate: &Certificate) -> Time {
        self.within.begins(certificate.validity())
    }
}

/// One line a file.
#[derive(Serialize)]
#[serde(transparent)]
struct Looks(Vec<Look>);

/// Whether a file's certificate is to be renewed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Look {
    file: String,
    /// The certificate that ends first.
    subject: String,
    not_after: Time,
    expired: bool,
    due: bool,
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Look::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.expired, self.due) {
            (true, _) => "expired",
            (false, true) => "renew",
            (false, false) => "not yet",
        };
        let [file, subject] = [&self.file, &self.subject].map(Outside);
        let until = self.not_after;
        write!(f, "{file}: {verdict}: {subject} is valid until {until}")
    }
}
