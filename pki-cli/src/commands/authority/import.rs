//! `authority import`: an authority that exists already, with its key.

use std::path::{Path, PathBuf};

use pki_core::certificate::Certificate;
use pki_core::declaration::AuthorityDeclaration;
use pki_core::encoding::contents::{Container, Contents, ContentsError};
use pki_core::ids::{AuthorityGeneration, AuthorityName, Generation};
use pki_core::inventory::{AuthorityRecord, GenerationState, Inventory as _};
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyFileError, Pkcs11Uri, PrivateKey, Signer, read_private_key};
use secrecy::SecretString;

use super::adopt::{generation_with_key, holder_of};
use super::{Authorities, AuthorityRow, takeover};
use crate::authority_key::{AuthorityKeys, NewKey};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome, in_contents, in_key_file};
use crate::inputs::Inputs;
use crate::secret_word::{SecretWord, SecretWordParser};
use crate::secrets::Secrets;

/// Take over an authority that exists, with its key and certificate
///
/// Reads what OpenSSL, certGen.sh, step, easy-rsa and XCA keep: keys in PKCS#8, PKCS#1 or SEC1,
/// encrypted or not, in PEM or DER; PKCS#12 files; or a key that stays in its token. That the two belong
/// together, that the certificate may issue and that it leads to a root is checked first. The key is
/// encrypted anew under the passphrase of this home; the old files are left alone. With --next it becomes
/// the generation that an authority of this home is to be rolled to.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki authority import root --cert certs/ca.cert.pem --key private/ca.key.pem
  dps-pki authority import factory --pfx factory.pfx --key-passphrase file:factory.pass
  dps-pki authority import root --cert certs/ca.cert.pem --key private/ca.key.pem --next")]
pub(super) struct Args {
    /// The authority, as pki.toml declares it
    name: AuthorityName,

    /// The certificate, in PEM or DER; those above it may follow in the same file
    #[arg(long, value_name = "FILE", required_unless_present = "pfx")]
    cert: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", required_unless_present_any = ["pkcs11", "pfx"])]
    key: Option<PathBuf>,

    /// Its key, where it is in a token: 'pkcs11:token=ca;object=factory', quoted for the shell
    #[arg(long, value_name = "URI", conflicts_with_all = ["key", "pfx"])]
    pkcs11: Option<Pkcs11Uri>,

    /// Key, certificate and those above it in one PKCS#12 file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key"])]
    pfx: Option<PathBuf>,

    /// The certificates above it, up to the root, in any order
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,

    /// As the next generation of an authority that issues already; it waits for: roll start
    #[arg(long)]
    next: bool,

    /// What opens the file of --key or --pfx: file:PATH, env:NAME, fd:N, stdin or prompt; asked for on
    /// a terminal otherwise
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser)]
    key_passphrase: Option<SecretWord>,
}

/// What was found to be taken over.
struct Offer<'a> {
    file: &'a Path,
    certificate: Certificate,
    others: Vec<Certificate>,
    key: OfferedKey,
}

enum OfferedKey {
    Read(PrivateKey),
    InToken(Pkcs11Uri),
}

impl Args {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let offer = self.offer(&context.secrets, &context.inputs)?;
        let declaration = context.home.declaration()?.authority(&self.name);
        let declared = declaration.ok_or_else(|| undeclared(&self.name, &offer.certificate))?;
        let row = self.take_over(context, declared, offer)?;
        context.ui.result(&Authorities(vec![row]))?;
        Ok(Outcome::Done)
    }

    fn take_over(
        &self,
        context: &Context,
        declared: &AuthorityDeclaration,
        offer: Offer<'_>,
    ) -> Result<AuthorityRow, CommandError> {
        let mut inventory = context.home.inventory()?;
        let name = &self.name;
        let _lock = if context.settings.dry_run {
            None
        } else {
            Some(takeover::lock(&context.home, &context.ui, name)?)
        };
        let record = inventory.authority(name)?;
        let record = record.as_ref();
        let known = record.and_then(|record| holder_of(record, &offer.certificate));
        match known {
            Some(known) if known.state == GenerationState::Voided => return Err(lost(name)),
            Some(known) if known.state != GenerationState::Pending => {
                return Ok(AuthorityRow::new(name, known, "exists"));
            }
            Some(cut) if takeover::finish(context, &mut inventory, name, cut)? => {
                return takeover::row(&inventory, name, cut.generation, "finished");
            }
            Some(_) => return Err(lost(name)),
            None => self.refuse_another(record, &offer.certificate)?,
        }
        let generation = takeover::next_generation(record);
        let signer = offer.key.signer(&context.keys)?;
        let issuers = takeover::judge(
            context,
            &inventory,
            declared,
            offer.file,
            (&offer.certificate, offer.others),
            signer.as_ref(),
        )?;
        if context.settings.dry_run {
            context.ui.note("every check holds; nothing was changed");
            return Ok(AuthorityRow::planned(declared));
        }
        let key = offer.key.into_home(&context.keys, name, generation)?;
        takeover::record_outside(context, &mut inventory, &issuers)?;
        let itself = AuthorityGeneration {
            name: name.clone(),
            generation,
        };
        let new = takeover::to_record(&inventory, &itself, &offer.certificate, &issuers)?;
        takeover::begin(context, &mut inventory, name, generation, &key, new)?;
        takeover::tell_waiting(context, &inventory, &itself)?;
        takeover::row(&inventory, name, generation, "imported")
    }

    /// What is taken over is the first generation that issues, unless it is said to be a later one.
    fn refuse_another(
        &self,
        record: Option<&AuthorityRecord>,
        certificate: &Certificate,
    ) -> Result<(), CommandError> {
        let name = &self.name;
        let Some(record) = record else {
            return Ok(());
        };
        let same_key = generation_with_key(record, certificate);
        if let Some(known) = same_key.filter(|one| one.state == GenerationState::Compromised) {
            return Err(CommandError::refused(format!(
                "its key is that of {name} generation {}, which is compromised",
                known.generation
            )));
        }
        if let Some(pending) = record.pending() {
            return Err(CommandError::refused(format!(
                "authority {name} has begun: its generation {} waits for its certificate, for its roll, or was cut short",
                pending.generation
            ))
            .hint(format!("go on with: dps-pki authority adopt {name}, authority create {name}, or roll start {name}")));
        }
        let Some(current) = record.current().filter(|_| !self.next) else {
            return Ok(());
        };
        let exists = CommandError::refused(format!(
            "authority {name} exists: its generation {} has another certificate and issues",
            current.generation
        ));
        Err(match same_key {
            Some(known) => exists.hint(format!(
                "it renews generation {}, whose key is here: dps-pki authority adopt {name} --cert FILE",
                known.generation
            )),
            None => exists.hint(format!(
                "--next takes it over as the generation to roll to, with: dps-pki roll start {name}"
            )),
        })
    }

    fn offer(&self, secrets: &Secrets, inputs: &Inputs) -> Result<Offer<'_>, CommandError> {
        if let Some(file) = &self.pfx {
            return self.offer_of_pfx(secrets, inputs, file);
        }
        let unnamed = || CommandError::new(ErrorKind::Usage, "neither --cert nor --pfx is given");
        let file = self.cert.as_deref().ok_or_else(unnamed)?;
        let (certificate, others) =
            takeover::read_certificates(inputs, file, self.chain.as_deref())?;
        let key = match (&self.pkcs11, &self.key) {
            (Some(uri), _) => OfferedKey::InToken(uri.clone()),
            (None, Some(key)) => OfferedKey::Read(self.read_key(secrets, inputs, key)?),
            (None, None) => return Err(unnamed()),
        };
        Ok(Offer {
            file,
            certificate,
            others,
            key,
        })
    }

    fn offer_of_pfx<'a>(
        &self,
        secrets: &Secrets,
        inputs: &Inputs,
        file: &'a Path,
    ) -> Result<Offer<'a>, CommandError> {
        let content = inputs.read(file)?;
        let passphrase = self.passphrase(secrets, file)?;
        let read =
            Contents::read(&content, Some(&passphrase)).map_err(|error| in_pfx(file, &error))?;
        let lacks = |what: &str| {
            CommandError::invalid_input(format!("{}: it holds no {what}", file.display()))
        };
        if read.container != Container::Pfx {
            let message = format!("{}: it is not a PKCS#12 file", file.display());
            return Err(CommandError::invalid_input(message));
        }
        let key = read
            .private_key()
            .ok_or_else(|| lacks("private key"))?
            .open(None)
            .map_err(|error| in_key_file(file, &error))?;
        let mut others = read.certificates();
        let own = others
            .iter()
            .position(|certificate| certificate.public_key() == key.public_key());
        let certificate = others.remove(own.ok_or_else(|| lacks("certificate of its key"))?);
        if let Some(chain) = &self.chain {
            let (first, rest) = takeover::read_certificates(inputs, chain, None)?;
            others.push(first);
            others.extend(rest);
        }
        Ok(Offer {
            file,
            certificate,
            others,
            key: OfferedKey::Read(key),
        })
    }

    /// Asks for a passphrase only once the file has turned out to need one.
    fn read_key(
        &self,
        secrets: &Secrets,
        inputs: &Inputs,
        file: &Path,
    ) -> Result<PrivateKey, CommandError> {
        let content = inputs.read(file)?;
        let read = match read_private_key(&content, None) {
            Err(KeyFileError::PassphraseNeeded) => {
                read_private_key(&content, Some(&self.passphrase(secrets, file)?))
            }
            read => read,
        };
        read.map_err(|error| in_key_file(file, &error))
    }

    fn passphrase(&self, secrets: &Secrets, file: &Path) -> Result<SecretString, CommandError> {
        let question = format!("Passphrase of {}: ", file.display());
        if let Some(word) = &self.key_passphrase {
            return secrets.read(word, &question);
        }
        secrets.ask(&question)?.ok_or_else(|| {
            CommandError::refused(format!(
                "{}: it is encrypted and needs a passphrase",
                file.display()
            ))
            .hint("give it with --key-passphrase, as file:PATH or env:NAME")
        })
    }
}

impl OfferedKey {
    fn signer(&self, keys: &AuthorityKeys) -> Result<Box<dyn Signer>, CommandError> {
        match self {
            Self::Read(key) => Ok(Box::new(SoftwareSigner::new(key)?)),
            Self::InToken(uri) => keys.open_in_token(uri),
        }
    }

    fn into_home(
        self,
        keys: &AuthorityKeys,
        name: &AuthorityName,
        generation: Generation,
    ) -> Result<NewKey, CommandError> {
        match self {
            Self::Read(key) => keys.seal(name, generation, &key),
            Self::InToken(uri) => keys.find(&uri),
        }
    }
}

/// Says what to declare, ready to be copied.
fn undeclared(name: &AuthorityName, certificate: &Certificate) -> CommandError {
    let not_before = certificate.validity().not_before();
    let not_after = certificate.validity().not_after();
    let days = (not_after - not_before).seconds() / (24 * 60 * 60);
    CommandError::not_found(format!("pki.toml declares no authority {name}"))
        .hint("declare it first, with these lines and the kind of key that later generations get:")
        .hint(format!("[authority.{name}]"))
        .hint(format!("subject = {:?}", certificate.subject().to_string()))
        .hint("key = \"ecdsa-p256\"")
        .hint(format!("validity = \"{days}d\""))
}

/// The inventory does not record a certificate twice.
fn lost(name: &AuthorityName) -> CommandError {
    CommandError::refused(format!(
        "authority {name}: this certificate was imported before and lost its key; the inventory holds it as void"
    ))
    .hint("restore authorities/ from a backup, or roll in a new generation")
}

fn in_pfx(file: &Path, error: &ContentsError) -> CommandError {
    match error {
        ContentsError::Unknown => {
            CommandError::invalid_input(format!("{}: it is not a PKCS#12 file", file.display()))
        }
        error => in_contents(file, error),
    }
}
