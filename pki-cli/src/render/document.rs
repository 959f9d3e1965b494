//! The documents of DPS and its hubs, for people and scripts: never with a key.

use std::fmt;

pub(crate) use dps_operations::document::without_keys;
use pki_core::enrollment::{Attestation, CertificateSlot, Mechanism, X509Certificates};
use serde::Serialize;
use serde_json::Value;

use super::outside::Outside;
use super::table::Table;

/// One document: all of it for scripts, some lines of it for people.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Shown {
    document: Value,
    #[serde(skip)]
    lines: Vec<(&'static str, String)>,
}

/// Documents of one kind: all of them for scripts, a table for people.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Listed {
    documents: Vec<Value>,
    #[serde(skip)]
    table: Table,
}

impl Shown {
    /// A document, and what people see of it: names and values. Empty values are left out.
    pub(crate) fn new(document: &impl Serialize, lines: Vec<(&'static str, String)>) -> Self {
        Self {
            document: without_keys(document),
            lines,
        }
    }
}

impl Listed {
    /// An empty list with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            documents: Vec::new(),
            table: Table::new(heads),
        }
    }

    /// Adds a document and its row.
    pub(crate) fn push(
        &mut self,
        document: &impl Serialize,
        cells: impl IntoIterator<Item = String>,
    ) {
        self.documents.push(without_keys(document));
        self.table.row(cells);
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.iter().filter(|(_, value)| !value.is_empty());
        let lines: Vec<String> = lines
            .map(|(name, value)| format!("{name:<15}  {}", Outside(value)))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// An attestation in a few words: `x509 5E88…`, `caReferences root`, `symmetricKey`.
pub(crate) fn attestation(attestation: &Attestation) -> String {
    let slots = match &attestation.mechanism {
        Mechanism::X509(X509Certificates::CaReferences(slots)) => {
            slots.iter().map(ToString::to_string).collect()
        }
        Mechanism::X509(X509Certificates::Client(slots) | X509Certificates::Signing(slots)) => {
            slots.iter().map(slot).collect::<Vec<_>>()
        }
        _ => return attestation.kind().to_owned(),
    };
    format!("{} {}", attestation.kind(), slots.join(", "))
}

fn slot(slot: &CertificateSlot) -> String {
    match slot.sha256_thumbprint() {
        Some(thumbprint) => thumbprint.to_string(),
        None => "unreadable certificate".to_owned(),
    }
}
