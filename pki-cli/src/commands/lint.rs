//! `lint`: do certificates keep the rules of RFC 5280 and of DPS?

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::{Certificate, pem};
use pki_core::inventory::Inventory as _;
use pki_core::lint::{self, Finding, LintOptions, Severity};
use pki_core::profile::Role;
use pki_core::time::{Span, Time};
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::inputs::Inputs;
use crate::issuance::verified_cas;
use crate::render::outside::Outside;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki lint sensor-1.cert.pem
  dps-pki lint sensor-1-full-chain.cert.pem root.cert.pem --output json
  dps-pki lint sensor-1.cert.pem --as leaf --warehouse-time 30d
  dps-pki lint sensor-1.cert.pem --for adr")]
pub(crate) struct Args {
    /// Files of certificates, PEM or DER; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// What the first certificate of each file is meant to be [default: what it claims]
    #[arg(long = "as", value_enum, value_name = "ROLE")]
    role: Option<RoleWord>,

    /// Who else is to take the certificates of authorities
    #[arg(long = "for", value_enum, value_name = "SERVICE")]
    service: Option<Service>,

    /// The moment to judge for, such as 2031-04-05T06:07:08Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,

    /// How long devices may lie on a shelf before they are first switched on, such as 180d
    #[arg(long, value_name = "SPAN")]
    warehouse_time: Option<Span>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleWord {
    /// A self-signed authority
    Root,
    /// An authority below another
    Intermediate,
    /// A device
    Leaf,
    /// A proof of possession
    Verification,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Service {
    /// Azure Device Registry, where a CA of one's own is brought
    Adr,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Root => Self::Root,
            RoleWord::Intermediate => Self::Intermediate,
            RoleWord::Leaf => Self::Leaf,
            RoleWord::Verification => Self::Verification,
        }
    }
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let is_home = context
            .files
            .exists(&context.home.layout.declaration_file())
            && context.files.exists(&context.home.layout.inventory_file());
        let verified = if is_home {
            verified_cas(&context.home, &context.home.inventory()?.authorities()?)?
        } else {
            Vec::new()
        };
        let files = self
            .files
            .iter()
            .map(|path| self.look_at(&context.inputs, context.now(), path, &verified))
            .collect::<Result<Vec<FileFindings>, CommandError>>()?;
        let report = Report::new(files);
        context.ui.result(&report)?;
        match report.errors {
            0 => Ok(Outcome::Done),
            1 => Err(CommandError::refused("one rule is not met")),
            count => Err(CommandError::refused(format!("{count} rules are not met"))),
        }
    }

    fn look_at(
        &self,
        inputs: &Inputs,
        now: Time,
        path: &Path,
        verified: &[Certificate],
    ) -> Result<FileFindings, CommandError> {
        let chain = pem::certificates(&inputs.read(path)?)
            .map_err(|error| CommandError::in_file(path, &error))?;
        let options = LintOptions {
            at: self.at.unwrap_or(now),
            warehouse_time: self.warehouse_time,
        };
        let first = self.role.map(Role::from);
        let findings = lint::chain(&chain, first, options);
        let facts = chain.iter().zip(findings.certificates).enumerate().map(
            |(place, (certificate, mut findings))| {
                let role = match first {
                    Some(role) if place == 0 => role,
                    _ => lint::claimed_role(certificate),
                };
                if let Some(Service::Adr) = self.service {
                    findings.extend(lint::for_device_registry(certificate, role, options));
                }
                CertificateFindings {
                    subject: certificate.subject().to_string(),
                    serial_number: certificate.serial_number().to_string(),
                    role,
                    findings,
                }
            },
        );
        let mut of_chain = findings.chain;
        if chain.len() > 1 && !verified.is_empty() {
            of_chain.extend(lint::reaches_verified_ca(&chain[1..], verified));
        }
        Ok(FileFindings {
            file: path.display().to_string(),
            certificates: facts.collect(),
            chain: of_chain,
        })
    }
}

#[derive(Serialize)]
struct Report {
    errors: usize,
    warnings: usize,
    files: Vec<FileFindings>,
}

#[derive(Serialize)]
struct FileFindings {
    file: String,
    certificates: Vec<CertificateFindings>,
    chain: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateFindings {
    subject: String,
    serial_number: String,
    role: Role,
    findings: Vec<Finding>,
}

impl Report {
    fn new(files: Vec<FileFindings>) -> Self {
        let count = |severity| {
            let findings = files.iter().flat_map(FileFindings::all);
            findings
                .filter(|finding| finding.severity == severity)
                .count()
        };
        Self {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            files,
        }
    }
}

impl FileFindings {
    fn all(&self) -> impl Iterator<Item = &Finding> {
        self.certificates
            .iter()
            .flat_map(|one| &one.findings)
            .chain(&self.chain)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            write!(f, "{file}")?;
        }
        let errors = counted(self.errors, "error", "errors");
        let warnings = counted(self.warnings, "warning", "warnings");
        write!(f, "{errors}, {warnings}")
    }
}

impl fmt::Display for FileFindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Outside(&self.file);
        for certificate in &self.certificates {
            let role = certificate.role.as_str();
            let subject = Outside(&certificate.subject);
            writeln!(f, "{file}: {role} {subject}")?;
            for finding in &certificate.findings {
                write_finding(f, finding)?;
            }
        }
        if !self.chain.is_empty() {
            writeln!(f, "{file}: the chain")?;
        }
        self.chain
            .iter()
            .try_for_each(|finding| write_finding(f, finding))
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let Finding {
        severity, check, ..
    } = finding;
    writeln!(f, "  {severity:<8} {check:<24} {finding}")
}
