//! CRLs for people and for scripts.

use std::fmt;

use pki_core::crl::{Crl, CrlNumber, RevokedEntry};
use pki_core::ids::SerialNumber;
use pki_core::time::Time;
use serde::Serialize;

/// What a CRL says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CrlFacts {
    version: u8,
    issuer: String,
    crl_number: Option<CrlNumber>,
    this_update: Time,
    next_update: Option<Time>,
    revoked: Vec<EntryFacts>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryFacts {
    serial_number: SerialNumber,
    revoked_at: Time,
    reason: &'static str,
}

impl From<&Crl> for CrlFacts {
    fn from(crl: &Crl) -> Self {
        let entry = |entry: &RevokedEntry| EntryFacts {
            serial_number: entry.serial_number.clone(),
            revoked_at: entry.at,
            reason: entry.reason.as_str(),
        };
        Self {
            version: crl.version(),
            issuer: crl.issuer().to_string(),
            crl_number: crl.number(),
            this_update: crl.this_update(),
            next_update: crl.next_update(),
            revoked: crl.revoked().iter().map(entry).collect(),
        }
    }
}

impl fmt::Display for CrlFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        let number = self
            .crl_number
            .map_or_else(none, |number| number.to_string());
        let next = self.next_update.map_or_else(none, |next| next.to_string());
        writeln!(f, "  version      {}", self.version)?;
        writeln!(f, "  issuer       {}", self.issuer)?;
        writeln!(f, "  number       {number}")?;
        writeln!(f, "  this update  {}", self.this_update)?;
        writeln!(f, "  next update  {next}")?;
        write!(f, "  revoked      {}", self.revoked.len())?;
        for entry in &self.revoked {
            let serial = &entry.serial_number;
            let reason = entry.reason;
            write!(f, "\n    {serial} {} {reason}", entry.revoked_at)?;
        }
        Ok(())
    }
}
