//! `inspect`: what a file holds.

use std::fmt;
use std::path::{Path, PathBuf};

use pki_core::certificate::Certificate;
use pki_core::crl::Crl;
use pki_core::csr::SigningRequest;
use pki_core::encoding::contents::{Container, LockedKey, Object};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{PrivateKey, Signer as _};
use serde::Serialize;

use crate::contents::{self, Key};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, Outcome};
use crate::render::certificate::{CertificateFacts, RequestFacts, public_key};
use crate::render::crl::CrlFacts;
use crate::secrets::Secrets;

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
        let contents = contents::read(&context.secrets, &context.inputs, &self.file)?;
        let items: Result<Vec<Item>, CommandError> = contents
            .objects
            .into_iter()
            .map(|object| item(&context.secrets, &self.file, object))
            .collect();
        context.ui.result(&Contents {
            file: self.file.display().to_string(),
            form: match contents.container {
                Container::Pem => "pem",
                Container::Der => "der",
                Container::P7b => "p7b",
                Container::Pfx => "pfx",
            },
            items: items?,
        })?;
        Ok(Outcome::Done)
    }
}

fn item(secrets: &Secrets, file: &Path, object: Object) -> Result<Item, CommandError> {
    Ok(match object {
        Object::Certificate(certificate) => Item::certificate(certificate),
        Object::Request(request) => Item::request(*request),
        Object::PrivateKey(key) => return key_item(secrets, file, &key),
        Object::PublicKey(der) => Item::PublicKey {
            public_key: public_key(&der),
        },
        Object::Crl(der) => {
            let crl = Crl::from_der(&der).map_err(|error| CommandError::in_file(file, &error))?;
            Item::Crl(CrlFacts::from(&crl))
        }
        Object::Other { label, octets } => Item::Other { label, octets },
    })
}

fn key_item(secrets: &Secrets, file: &Path, key: &LockedKey) -> Result<Item, CommandError> {
    match contents::open(secrets, file, key)? {
        Key::Plain(key) => Item::private_key(&key, false),
        Key::Opened(key) => Item::private_key(&key, true),
        Key::Locked => Ok(Item::PrivateKey {
            encrypted: true,
            public_key: None,
        }),
    }
}

#[derive(Serialize)]
struct Contents {
    file: String,
    /// pem, der, p7b or pfx
    form: &'static str,
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
    Crl(CrlFacts),
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
            Self::Crl(facts) => write!(f, "certificate revocation list\n{facts}"),
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
            Self::Other { label, octets } => write!(f, "{label}\n  {octets} bytes, not read"),
        }
    }
}
