//! `inspect`: what a file holds.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::Certificate;
use pki_core::csr::SigningRequest;
use pki_core::format::pem::{self, Block};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyFileError, PrivateKey, Signer as _, read_private_key};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome, in_key_file};
use crate::render::certificate::{CertificateFacts, RequestFacts, public_key};

/// Tell what a certificate, CSR or key file holds
///
/// PEM or DER; every block of a PEM file. Of private keys only the public part is shown. An encrypted
/// key is opened if a passphrase was given.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inspect sensor-1.cert.pem
  dps-pki inspect sensor-1-full-chain.cert.pem --output json")]
pub(crate) struct Args {
    /// The file, or - for standard input
    file: PathBuf,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        let content = context.read(&self.file)?;
        let blocks =
            pem::blocks(&content).map_err(|error| CommandError::in_file(&self.file, &error))?;
        let items = match blocks {
            Some(blocks) => blocks
                .iter()
                .map(|block| item(context, &self.file, block))
                .collect::<Result<_, _>>()?,
            None => vec![der_item(context, &self.file, &content)?],
        };
        context.ui.result(&Contents {
            file: self.file.clone(),
            items,
        })?;
        Ok(Outcome::Done)
    }
}

fn item(context: &Context, file: &Path, block: &Block) -> Result<Item, CommandError> {
    let wrong = |error: &dyn std::error::Error| {
        CommandError::invalid_input(format!("{}: {error}", file.display()))
    };
    match block.label.as_str() {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            Certificate::from_der(&block.der)
                .map(Item::certificate)
                .map_err(|error| wrong(&error))
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => SigningRequest::from_der(&block.der)
            .map(Item::request)
            .map_err(|error| wrong(&error)),
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => key_item(context, file, &block.der),
        "PUBLIC KEY" => Ok(Item::PublicKey {
            public_key: public_key(&block.der),
        }),
        label => Ok(Item::Other {
            label: label.to_owned(),
            octets: block.der.len(),
        }),
    }
}

/// DER has no label: it is what it can be read as.
fn der_item(context: &Context, file: &Path, der: &[u8]) -> Result<Item, CommandError> {
    if let Ok(certificate) = Certificate::from_der(der) {
        return Ok(Item::certificate(certificate));
    }
    if let Ok(request) = SigningRequest::from_der(der) {
        return Ok(Item::request(request));
    }
    if let Err(KeyFileError::Input(_)) = read_private_key(der, None) {
        return Err(CommandError::invalid_input(format!(
            "{}: it is neither PEM nor a certificate, CSR or PKCS#8 key in DER",
            file.display()
        )));
    }
    key_item(context, file, der)
}

/// The passphrase is only looked for where a key is encrypted.
fn key_item(context: &Context, file: &Path, der: &[u8]) -> Result<Item, CommandError> {
    let encrypted = match read_private_key(der, None) {
        Err(KeyFileError::PassphraseNeeded) => true,
        key => return Item::private_key(&key.map_err(|error| in_key_file(file, &error))?, false),
    };
    match context.given_passphrase()? {
        Some(passphrase) => {
            let key = read_private_key(der, Some(passphrase));
            Item::private_key(&key.map_err(|error| in_key_file(file, &error))?, encrypted)
        }
        None => Ok(Item::PrivateKey {
            encrypted,
            public_key: None,
        }),
    }
}

#[derive(Serialize)]
struct Contents {
    file: PathBuf,
    items: Vec<Item>,
}

#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Item {
    Certificate(Box<CertificateFacts>),
    SigningRequest(RequestFacts),
    /// `public_key` is `None` where the key is encrypted and no passphrase was given.
    PrivateKey {
        encrypted: bool,
        public_key: Option<String>,
    },
    PublicKey {
        public_key: String,
    },
    Other {
        label: String,
        octets: usize,
    },
}

impl Item {
    fn certificate(certificate: Certificate) -> Self {
        Self::Certificate(Box::new(CertificateFacts::from(&certificate)))
    }

    fn request(request: SigningRequest) -> Self {
        Self::SigningRequest(RequestFacts::from(&request))
    }

    fn private_key(key: &PrivateKey, encrypted: bool) -> Result<Self, CommandError> {
        let signer = SoftwareSigner::new(key)?;
        let public_key = Some(public_key(signer.public_key()));
        Ok(Self::PrivateKey {
            encrypted,
            public_key,
        })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(facts) => write!(f, "certificate\n{facts}"),
            Self::SigningRequest(facts) => write!(f, "certificate signing request\n{facts}"),
            Self::PrivateKey {
                encrypted,
                public_key,
            } => {
                let encrypted = if *encrypted {
                    ", encrypted"
                } else {
                    ", not encrypted"
                };
                let key = public_key
                    .as_deref()
                    .unwrap_or("unknown without its passphrase");
                write!(f, "private key{encrypted}\n  key         {key}")
            }
            Self::PublicKey { public_key } => write!(f, "public key\n  key         {public_key}"),
            Self::Other { label, octets } => write!(f, "{label}\n  {octets} octets, not read"),
        }
    }
}
