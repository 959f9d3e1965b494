//! `convert`: certificates, requests, CRLs, keys and batches from one form into another.

mod batch;

use std::path::{Path, PathBuf};

use pki_core::certificate::{self, Certificate};
use pki_core::encoding::contents::Object;
use pki_core::encoding::{Identity, Pfx, PfxEncryption, c_header, nvs, p7b};
use pki_core::handout::seal::KeySealer;
use pki_core::ids::RegistrationId;
use pki_core::key::PrivateKey;
use pki_core::pem;
use pki_core::ports::Entropy;
use pki_core::secret::Passphrase;
use zeroize::Zeroizing;

use crate::contents::{self, Key};
use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::{Access, Files};
use crate::inputs::Inputs;
use crate::render::ui::Ui;
use crate::secret_word::{SecretWord, SecretWordParser};
use crate::secrets::Secrets;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki convert sensor-1.cert.pem --to der --out sensor-1.cer
  dps-pki convert sensor-1-full-chain.cert.pem --to p7b --out sensor-1.p7b
  dps-pki convert sensor-1-full-chain.cert.pem sensor-1.key.pem --to pfx --key-passphrase-from file:pfx-passphrase --out sensor-1.pfx
  dps-pki convert sensor-1-full-chain.cert.pem sensor-1.key.pem --to c-header --with-key --plain-keys --out sensor-1.h
  dps-pki convert line-7.ndjson --id line-7-1 --to nvs --with-key --plain-keys --out line-7-1.nvs.csv
  dps-pki convert line-7.ndjson --to c-header --out headers")]
pub(crate) struct Args {
    /// What to convert; - for standard input. A batch of dps-pki issue becomes a folder with a file a
    /// device, or with --id one file
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The one device of a batch to convert, by its registration ID
    #[arg(long, value_name = "ID")]
    id: Option<RegistrationId>,

    /// The file with the age identity that opens a sealed batch
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// The form to convert into
    #[arg(long, value_enum, value_name = "FORM")]
    to: Form,

    /// The file to write, or the folder for a batch; standard output if not given, where a private key goes
    /// only if it is named -
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// With the private key; PKCS#12 always has it
    #[arg(long)]
    with_key: bool,

    /// Write the private key unencrypted
    #[arg(long, conflicts_with = "key_passphrase_from")]
    plain_keys: bool,

    /// Where the passphrase is that the private key or the PKCS#12 file gets: file:PATH, env:NAME, fd:N, stdin or prompt
    #[arg(long, value_name = "WHERE", value_parser = SecretWordParser)]
    key_passphrase_from: Option<SecretWord>,

    /// How a PKCS#12 file is encrypted
    #[arg(long, value_enum, default_value = "modern")]
    pfx_encryption: Encryption,

    /// Leave out what is above this CA certificate in the chain: the one that DPS has verified
    #[arg(long, value_name = "FILE")]
    trim_at: Option<PathBuf>,

    /// The name inside of the file: prefix of C identifiers, friendly name of PKCS#12 [default: the CN]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Text between BEGIN and END lines
    Pem,
    /// The bare bytes of one object
    Der,
    /// PKCS#7 with certificates
    P7b,
    /// PKCS#12: certificate, issuers and private key
    Pfx,
    /// Arrays for a firmware image
    CHeader,
    /// Rows from which ESP-IDF makes an NVS partition
    Nvs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Encryption {
    /// AES-256 and SHA-256
    Modern,
    /// Triple DES and SHA-1, for older Windows and Java
    Legacy,
}

/// What the files hold together.
#[derive(Default)]
struct Material {
    certificates: Vec<Certificate>,
    /// Requests, CRLs and public keys, with their PEM labels.
    others: Vec<(&'static str, Vec<u8>)>,
    key: Option<PrivateKey>,
}

/// What is written, and whether a private key is in it.
struct Output {
    content: Zeroizing<Vec<u8>>,
    access: Access,
}

impl Args {
    pub(crate) fn run(&self, context: &Context) -> CommandResult {
        self.check_usage()?;
        let material = match self.batch(context)? {
            None => self.gather(context)?,
            Some(batch) => match &self.id {
                None => return self.open(context, &batch),
                Some(id) => self.device(context, &batch, id)?,
            },
        };
        if self.wants_key() && material.key.is_none() {
            let message = format!("{} holds no private key", self.named());
            return Err(CommandError::invalid_input(message));
        }
        let output = match self.to {
            Form::Pem => self.pem(context, material)?,
            Form::Der => self.der(&context.secrets, context.entropy.as_ref(), material)?,
            Form::P7b => self.p7b(&context.inputs, material)?,
            Form::Pfx | Form::CHeader | Form::Nvs => {
                self.identity(&context.secrets, &context.inputs, material)?
            }
        };
        self.write(&context.files, &context.ui, &output)?;
        Ok(Outcome::Done)
    }

    fn wants_key(&self) -> bool {
        self.with_key || self.to == Form::Pfx
    }

    /// What can be said before any file is read.
    fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message: &str| Err(CommandError::new(ErrorKind::Usage, message));
        let is_protected = self.key_passphrase_from.is_some();
        match self.to {
            Form::P7b if self.with_key => usage("a PKCS#7 file holds certificates alone"),
            Form::Pfx if !is_protected => {
                usage("a PKCS#12 file needs a passphrase: --key-passphrase-from")
            }
            Form::CHeader | Form::Nvs if self.with_key && !self.plain_keys => usage(
                "a private key in this form is not encrypted: say --plain-keys if that is meant",
            ),
            _ if self.wants_key() && !is_protected && !self.plain_keys => usage(
                "say how the private key is to be protected: --key-passphrase-from or --plain-keys",
            ),
            _ if self.wants_key() && self.out.is_none() => {
                usage("a private key goes to standard output only with --out -")
            }
            _ => Ok(()),
        }
    }

    fn gather(&self, context: &Context) -> Result<Material, CommandError> {
        let mut material = Material::default();
        for path in &self.files {
            for object in contents::read(&context.secrets, &context.inputs, path)?.objects {
                self.sort_in(&context.secrets, &context.ui, path, object, &mut material)?;
            }
        }
        Ok(material)
    }

    fn sort_in(
        &self,
        secrets: &Secrets,
        ui: &Ui,
        path: &Path,
        object: Object,
        material: &mut Material,
    ) -> Result<(), CommandError> {
        match object {
            Object::Certificate(certificate) => {
                if !material.certificates.contains(&certificate) {
                    material.certificates.push(certificate);
                }
            }
            Object::Request(request) => {
                let der = request.der().to_vec();
                material.others.push(("CERTIFICATE REQUEST", der));
            }
            Object::Crl(der) => material.others.push(("X509 CRL", der)),
            Object::PublicKey(der) => material.others.push(("PUBLIC KEY", der)),
            Object::PrivateKey(_) if !self.wants_key() => {
                note_left_out(ui, &path.display());
            }
            Object::PrivateKey(_) if material.key.is_some() => {
                let message = format!("{}: this is a second private key", path.display());
                return Err(CommandError::invalid_input(message).hint("convert one key at a time"));
            }
            Object::PrivateKey(key) => {
                material.key = Some(match contents::open(secrets, path, &key)? {
                    Key::Plain(key) | Key::Opened(key) => key,
                    Key::Locked => {
                        let path = path.display();
                        return Err(CommandError::refused(format!(
                            "{path}: the private key is encrypted"
                        ))
                        .hint("give its passphrase with --passphrase-file or --passphrase-from"));
                    }
                });
            }
            Object::Other { label, .. } => ui.warning(format!(
                "{}: a block {label} is left out, since nothing is known of it",
                path.display()
            )),
        }
        Ok(())
    }

    /// Every object, one after the other; the chain of a leaf in its order.
    fn pem(&self, context: &Context, mut material: Material) -> Result<Output, CommandError> {
        let key = material.key.take();
        let certificates = match self.trim_at {
            Some(_) => self.ordered(&context.inputs, &material, None)?.certificates,
            None => std::mem::take(&mut material.certificates),
        };
        let mut text = String::new();
        for certificate in &certificates {
            text.push_str(&certificate.to_pem());
        }
        for (label, der) in &material.others {
            text.push_str(&pem::block(label, der));
        }
        let Some(key) = key else {
            return self.public(text.into_bytes());
        };
        let key = match self.sealed(&context.secrets, context.entropy.as_ref(), &key)? {
            Some(sealed) => Zeroizing::new(pem::block("ENCRYPTED PRIVATE KEY", &sealed)),
            None => key.expose_pkcs8_pem(),
        };
        let mut content = Zeroizing::new(Vec::with_capacity(text.len() + key.len()));
        content.extend_from_slice(text.as_bytes());
        content.extend_from_slice(key.as_bytes());
        Ok(Output::secret(content))
    }

    /// The one object that there is.
    fn der(
        &self,
        secrets: &Secrets,
        entropy: &dyn Entropy,
        material: Material,
    ) -> Result<Output, CommandError> {
        let certificates = material.certificates.iter().map(|held| held.der().to_vec());
        let others = material.others.into_iter().map(|(_, der)| der);
        let mut public: Vec<Vec<u8>> = certificates.chain(others).collect();
        match (material.key, public.len()) {
            (None, 1) => self.public(public.remove(0)),
            (Some(key), 0) => Ok(Output::secret(
                match self.sealed(secrets, entropy, &key)? {
                    Some(sealed) => Zeroizing::new(sealed),
                    None => Zeroizing::new(key.expose_pkcs8_der().to_vec()),
                },
            )),
            (key, count) => Err(CommandError::invalid_input(format!(
                "{} holds {} objects, and DER holds one",
                self.named(),
                count + usize::from(key.is_some())
            ))
            .hint("--to p7b holds several certificates, --to pfx a key with its certificates")),
        }
    }

    fn p7b(&self, inputs: &Inputs, material: Material) -> Result<Output, CommandError> {
        let certificates = match self.trim_at {
            Some(_) => self.ordered(inputs, &material, None)?.certificates,
            None => material.certificates,
        };
        let der = p7b::write(&certificates);
        self.public(der.map_err(|error| self.wrong(&error))?)
    }

    /// The forms that hold one identity.
    fn identity(
        &self,
        secrets: &Secrets,
        inputs: &Inputs,
        mut material: Material,
    ) -> Result<Output, CommandError> {
        let key = material.key.take();
        let identity = self.ordered(inputs, &material, key)?;
        let name = self.name.clone();
        let leaf = identity.certificates.first();
        let name = name
            .or_else(|| leaf.and_then(Certificate::common_name))
            .unwrap_or_else(|| "device".to_owned());
        let content = match self.to {
            Form::Pfx => Zeroizing::new(self.pfx(secrets, &name, &identity)?),
            Form::Nvs => nvs::write(identity.parts()).map_err(|error| self.wrong(&error))?,
            _ => Zeroizing::new(c_header::write(identity.parts(), &name).as_bytes().to_vec()),
        };
        match identity.key {
            Some(_) => Ok(Output::secret(content)),
            None => self.public(content.to_vec()),
        }
    }

    fn ordered(
        &self,
        inputs: &Inputs,
        material: &Material,
        key: Option<PrivateKey>,
    ) -> Result<Identity, CommandError> {
        let mut identity =
            Identity::assemble(&material.certificates, key).map_err(|error| self.wrong(&error))?;
        if let Some(path) = &self.trim_at {
            let verified = certificate::pem::certificate(&inputs.read(path)?)
                .map_err(|error| CommandError::in_file(path, &error))?;
            if !identity.trim_at(&verified.sha256_thumbprint()) {
                return Err(CommandError::refused(format!(
                    "the chain does not reach the certificate of {}, {}",
                    path.display(),
                    verified.subject()
                )));
            }
        }
        Ok(identity)
    }

    fn pfx(
        &self,
        secrets: &Secrets,
        name: &str,
        identity: &Identity,
    ) -> Result<Vec<u8>, CommandError> {
        let pfx = self.pfx_form(secrets)?;
        let made = pfx.of_identity(name, identity).map_err(|error| {
            CommandError::failed("the PKCS#12 file could not be made").because(error)
        })?;
        made.ok_or_else(|| {
            let message = format!("{} holds no private key with a certificate", self.named());
            CommandError::invalid_input(message)
        })
    }

    fn pfx_form(&self, secrets: &Secrets) -> Result<Pfx, CommandError> {
        let passphrase = self.passphrase(secrets)?.ok_or_else(|| {
            CommandError::new(ErrorKind::Usage, "a PKCS#12 file needs a passphrase")
        })?;
        let encryption = match self.pfx_encryption {
            Encryption::Modern => PfxEncryption::Modern,
            Encryption::Legacy => PfxEncryption::Legacy,
        };
        Ok(Pfx {
            passphrase,
            encryption,
        })
    }

    fn passphrase(&self, secrets: &Secrets) -> Result<Option<Passphrase>, CommandError> {
        Ok(self
            .key_passphrase_from
            .as_ref()
            .map(|word| secrets.read(word, "Passphrase for the private key: "))
            .transpose()?
            .map(Passphrase::read))
    }

    /// The key encrypted, as PKCS#8 DER, unless it is to be plain.
    fn sealed(
        &self,
        secrets: &Secrets,
        entropy: &dyn Entropy,
        key: &PrivateKey,
    ) -> Result<Option<Vec<u8>>, CommandError> {
        let sealer = self.sealer(secrets, entropy)?;
        Ok(sealer.map(|sealer| sealer.seal(key)).transpose()?)
    }

    /// What encrypts keys, unless they are to be plain.
    fn sealer(
        &self,
        secrets: &Secrets,
        entropy: &dyn Entropy,
    ) -> Result<Option<KeySealer>, CommandError> {
        let passphrase = self.passphrase(secrets)?;
        let sealer = passphrase.map(|passphrase| KeySealer::new(&passphrase, entropy));
        sealer
            .transpose()
            .map_err(|error| CommandError::failed(error.to_string()))
    }

    fn public(&self, content: Vec<u8>) -> Result<Output, CommandError> {
        if content.is_empty() {
            let message = format!("{} holds nothing that can be converted", self.named());
            return Err(CommandError::invalid_input(message));
        }
        Ok(Output {
            content: Zeroizing::new(content),
            access: Access::Public,
        })
    }

    fn write(&self, files: &Files, ui: &Ui, output: &Output) -> Result<(), CommandError> {
        match self.out.as_deref() {
            Some(path) if path != Path::new("-") => {
                files.write_output(path, &output.content, output.access)
            }
            _ => ui.raw(&output.content),
        }
    }

    fn wrong(&self, error: &impl std::error::Error) -> CommandError {
        CommandError::invalid_input(format!("{}: {error}", self.named()))
    }

    /// The files, as they were given.
    fn named(&self) -> String {
        self.files
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn note_left_out(ui: &Ui, name: &dyn std::fmt::Display) {
    ui.note(format!(
        "{name}: the private key is left out; --with-key takes it along"
    ));
}

impl Output {
    fn secret(content: Zeroizing<Vec<u8>>) -> Self {
        Self {
            content,
            access: Access::Secret,
        }
    }
}
