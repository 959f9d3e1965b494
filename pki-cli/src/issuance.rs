//! Authorities with their keys open, and the folder that certificates are delivered to.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki_core::admission::Outcome;
use pki_core::authority::{IssuancePolicy, SigningAuthority};
use pki_core::bulk::Outlet;
use pki_core::bulk::input::{Device, DeviceKey};
use pki_core::certificate::{Certificate, pem};
use pki_core::handout::Released;
use pki_core::ids::{AuthorityGeneration, AuthorityName, DpsName, Generation, RegistrationId};
use pki_core::inventory::{
    AuthorityRecord, GenerationRecord, GenerationState, Inventory, Recorded,
};
use pki_core::issue::Issuer;
use pki_core::key::software::SoftwareSigner;
use pki_core::key::{KeyAlgorithm, KeyError, Signer, read_private_key};
use pki_core::lifecycle::refusals_as_declared;
use pki_core::lint;
use pki_core::time::{Span, Time, TimeError, Validity};
use zeroize::Zeroizing;

use crate::authority_key::AuthorityKeys;
use crate::context::Context;
use crate::error::CommandError;
use crate::files::{Access, Existing, NewFile, ending, file_name};
use crate::home::Home;
use crate::render::ui::Ui;
use crate::secrets::Secrets;
use crate::unknown::with_nearest;

use dps_operations::issuers::issuers_among;
pub(crate) use dps_operations::issuers::{authority_certificates, certificate_of, issuers};

/// One generation of an authority, its key at hand.
pub(crate) struct OpenAuthority {
    name: AuthorityName,
    generation: Generation,
    certificate: Certificate,
    issuers: Vec<Certificate>,
    signer: Box<dyn Signer>,
    policy: IssuancePolicy,
    /// All authorities as they were when this one was opened.
    authorities: Arc<[AuthorityRecord]>,
}

impl OpenAuthority {
    /// Opens the generation of an authority that issues, with the passphrase of the home, or its token:
    /// the one that is being rolled in, if there is one, else the current one.
    pub(crate) fn open(
        context: &Context,
        inventory: &dyn Inventory,
        name: &AuthorityName,
    ) -> Result<Self, CommandError> {
        let authorities = inventory.authorities()?.into();
        Self::of_issuing(context, inventory, name, &authorities)
    }

    fn of_issuing(
        context: &Context,
        inventory: &dyn Inventory,
        name: &AuthorityName,
        authorities: &Arc<[AuthorityRecord]>,
    ) -> Result<Self, CommandError> {
        match issuing(authorities, name) {
            Some(generation) => {
                refuse_future(context.now(), name, generation)?;
                Self::of(&context.keys, inventory, authorities, name, generation)
            }
            None => Err(no_authority(&context.home, name)?),
        }
    }

    /// Opens one generation of an authority; the current one if none is named.
    pub(crate) fn open_generation(
        keys: &AuthorityKeys,
        inventory: &dyn Inventory,
        name: &AuthorityName,
        generation: Option<Generation>,
    ) -> Result<Self, CommandError> {
        let record = generation_of(&keys.home, inventory, name, generation)?;
        let authorities = inventory.authorities()?.into();
        Self::of(keys, inventory, &authorities, name, &record)
    }

    fn of(
        keys: &AuthorityKeys,
        inventory: &dyn Inventory,
        authorities: &Arc<[AuthorityRecord]>,
        name: &AuthorityName,
        record: &GenerationRecord,
    ) -> Result<Self, CommandError> {
        let signer = keys.open(&record.key_reference)?;
        Self::with_signer(&keys.home, inventory, authorities, name, record, signer)
    }

    /// As [`Self::open`], to judge what it would sign: a dry run does without the key if no passphrase is
    /// at hand.
    pub(crate) fn open_or_stand_in(
        context: &Context,
        inventory: &dyn Inventory,
        name: &AuthorityName,
    ) -> Result<Self, CommandError> {
        let authorities: Arc<[AuthorityRecord]> = inventory.authorities()?.into();
        let issuing = issuing(&authorities, name);
        let Some(generation) = issuing.filter(|_| context.settings.dry_run) else {
            return Self::of_issuing(context, inventory, name, &authorities);
        };
        let certificate = certificate_of(name, generation)?;
        match Unopened::instead(&context.secrets, &context.ui, name, &certificate)? {
            Some(unopened) => {
                let unopened = Box::new(unopened);
                Self::with_signer(
                    &context.home,
                    inventory,
                    &authorities,
                    name,
                    generation,
                    unopened,
                )
            }
            None => Self::of(&context.keys, inventory, &authorities, name, generation),
        }
    }

    fn with_signer(
        home: &Home,
        inventory: &dyn Inventory,
        authorities: &Arc<[AuthorityRecord]>,
        name: &AuthorityName,
        record: &GenerationRecord,
        signer: Box<dyn Signer>,
    ) -> Result<Self, CommandError> {
        let certificate = certificate_of(name, record)?;
        Ok(Self {
            name: name.clone(),
            generation: record.generation,
            issuers: issuers_among(inventory, authorities, &certificate)?,
            authorities: Arc::clone(authorities),
            certificate,
            signer,
            policy: policy(home)?,
        })
    }

    /// The authority, ready to sign.
    pub(crate) fn signing(&self) -> Result<SigningAuthority<'_>, CommandError> {
        Ok(SigningAuthority::new(
            self.name.clone(),
            self.generation,
            self.certificate.clone(),
            self.signer.as_ref(),
            self.policy,
        )?)
    }

    /// Which generation it is.
    pub(crate) fn generation(&self) -> AuthorityGeneration {
        AuthorityGeneration {
            name: self.name.clone(),
            generation: self.generation,
        }
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    pub(crate) fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    /// The signing side of a bulk issuance.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer::authority(
            self.name.clone(),
            self.generation,
            self.certificate.clone(),
            self.signer.as_ref(),
        )
    }

    /// Warns of what every leaf below it will suffer from: a chain too large for small devices, one through a
    /// compromised generation, or one that no declared instance lets in.
    pub(crate) fn warn_of_chain(&self, home: &Home, ui: &Ui) -> Result<(), CommandError> {
        if let Some(above) = self.compromised_above() {
            let name = &self.name;
            ui.warning(format!(
                "{} generation {}, above {name} generation {}, is compromised: DPS refuses new leaves unless something nearer to them is verified; roll {name} first, with: dps-pki roll start {name}",
                above.name, above.generation, self.generation
            ));
        }
        let chain = self.chain();
        if let Some(finding) = lint::chain_too_large(&chain) {
            ui.warning(finding);
        }
        let declared = &home.declaration()?.dps;
        let refusals = refusals_as_declared(declared, &self.authorities, &chain);
        if !refusals.is_empty() {
            self.warn_of_refusals(ui, &refusals);
            return Ok(());
        }
        let verified = verified_cas(home, &self.authorities)?;
        if !verified.is_empty()
            && let Some(finding) = lint::reaches_verified_ca(&chain, &verified)
        {
            ui.warning(finding);
        }
        Ok(())
    }

    /// Groups are one way in; whoever wants the devices enrolled one by one knows better.
    fn warn_of_refusals(&self, ui: &Ui, refusals: &[(DpsName, Outcome)]) {
        let decided: Vec<String> = refusals
            .iter()
            .map(|(dps, outcome)| format!("in DPS {dps} {outcome}"))
            .collect();
        ui.warning(format!(
            "no enrollment group of pki.toml lets in devices below {} generation {}: {}; enroll them individually, or declare a group for them",
            self.name,
            self.generation,
            decided.join(", ")
        ));
    }

    /// A compromised generation whose certificate is above its own.
    fn compromised_above(&self) -> Option<AuthorityGeneration> {
        self.authorities.iter().find_map(|authority| {
            let above = authority.generations.iter().find(|record| {
                let recorded = record.certificate.as_ref();
                record.state == GenerationState::Compromised
                    && recorded.is_some_and(|one| self.issuers.contains(one.certificate()))
            });
            Some(AuthorityGeneration {
                name: authority.name.clone(),
                generation: above?.generation,
            })
        })
    }

    /// When a leaf is valid that is issued now.
    pub(crate) fn validity(&self, now: Time, span: Span) -> Result<Validity, TimeError> {
        self.policy.validity_below(&self.certificate, now, span)
    }

    /// Its certificate and those above it, up to the root.
    pub(crate) fn chain(&self) -> Vec<Certificate> {
        [self.certificate.clone()]
            .into_iter()
            .chain(self.issuers.iter().cloned())
            .collect()
    }
}

/// Stands for a key in a dry run for which no passphrase is at hand: nothing is signed there.
struct Unopened {
    algorithm: KeyAlgorithm,
    public_key: Vec<u8>,
}

impl Unopened {
    /// What stands for the key of an authority, if it need not be opened; says so.
    fn instead(
        secrets: &Secrets,
        ui: &Ui,
        name: &AuthorityName,
        certificate: &Certificate,
    ) -> Result<Option<Self>, CommandError> {
        if secrets.given_passphrase()?.is_some() {
            return Ok(None);
        }
        let public_key = certificate.public_key();
        let Some(algorithm) = KeyAlgorithm::of_public_key(&public_key) else {
            return Ok(None);
        };
        ui.note(format!(
            "not checked: whether the key of authority {name} can be opened"
        ));
        Ok(Some(Self {
            algorithm,
            public_key,
        }))
    }
}

impl Signer for Unopened {
    fn key_algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        let action = "sign in a dry run";
        Err(KeyError::Backend { action })
    }
}

/// What `pki.toml` says for every certificate.
pub(crate) fn policy(home: &Home) -> Result<IssuancePolicy, CommandError> {
    Ok(IssuancePolicy {
        backdate: home.declaration()?.backdate,
    })
}

/// Refuses the generation that an authority is to be rolled to while it has not begun.
pub(crate) fn refuse_not_begun(
    now: Time,
    inventory: &dyn Inventory,
    name: &AuthorityName,
) -> Result<(), CommandError> {
    let record = inventory.authority(name)?;
    match record.as_ref().and_then(AuthorityRecord::next) {
        Some(next) => refuse_future(now, name, next),
        None => Ok(()),
    }
}

/// The generation of an authority that issues.
fn issuing<'a>(
    authorities: &'a [AuthorityRecord],
    name: &AuthorityName,
) -> Option<&'a GenerationRecord> {
    let named = authorities.iter().find(|authority| authority.name == *name);
    named.and_then(AuthorityRecord::issuing)
}

/// Whatever a generation signs that has not begun is refused by everybody until then.
fn refuse_future(
    now: Time,
    name: &AuthorityName,
    record: &GenerationRecord,
) -> Result<(), CommandError> {
    let recorded = record.certificate.as_ref();
    let begins = recorded.map(|one| one.certificate().validity().not_before());
    let Some(begins) = begins.filter(|begins| *begins > now) else {
        return Ok(());
    };
    let number = record.generation;
    let message = format!(
        "generation {number} of authority {name} begins on {begins}, and it is {now}: the clock that made \
         it was ahead, or this one is behind"
    );
    let error = CommandError::refused(message);
    Err(match record.state {
        GenerationState::Next | GenerationState::Pending => {
            error.hint(format!("give it up with: dps-pki roll abort {name}"))
        }
        _ => error,
    })
}

/// The generation of an authority that issues.
pub(crate) fn current(
    home: &Home,
    inventory: &dyn Inventory,
    name: &AuthorityName,
) -> Result<GenerationRecord, CommandError> {
    let record = inventory.authority(name)?;
    match record.as_ref().and_then(AuthorityRecord::current) {
        Some(current) => Ok(current.clone()),
        None => Err(no_authority(home, name)?),
    }
}

/// One generation of an authority; the current one if none is named.
pub(crate) fn generation_of(
    home: &Home,
    inventory: &dyn Inventory,
    name: &AuthorityName,
    generation: Option<Generation>,
) -> Result<GenerationRecord, CommandError> {
    match generation {
        None => current(home, inventory, name),
        Some(number) => numbered(home, inventory, name, number),
    }
}

fn numbered(
    home: &Home,
    inventory: &dyn Inventory,
    name: &AuthorityName,
    number: Generation,
) -> Result<GenerationRecord, CommandError> {
    let Some(record) = inventory.authority(name)? else {
        return Err(no_authority(home, name)?);
    };
    let found = record.generation(number).cloned();
    let missing =
        || CommandError::not_found(format!("authority {name} has no generation {number}"));
    found.ok_or_else(missing)
}

/// The certificates of the CAs that `pki.toml` has DPS verify.
pub(crate) fn verified_cas(
    home: &Home,
    authorities: &[AuthorityRecord],
) -> Result<Vec<Certificate>, CommandError> {
    let declared = home.declaration()?.dps.values();
    let names: Vec<&AuthorityName> = declared
        .flat_map(|dps| dps.ca.values().map(|ca| &ca.authority))
        .collect();
    let verified = authorities
        .iter()
        .filter(|authority| names.contains(&&authority.name));
    let current = verified.filter_map(AuthorityRecord::current);
    let certificates = current.filter_map(|generation| generation.certificate.as_ref());
    Ok(certificates
        .map(|recorded| recorded.certificate().clone())
        .collect())
}

pub(crate) fn no_authority(
    home: &Home,
    name: &AuthorityName,
) -> Result<CommandError, CommandError> {
    let declaration = home.declaration()?;
    if declaration.authority(name).is_some() {
        let error =
            CommandError::not_found(format!("authority {name} is declared but was not made yet"));
        return Ok(error.hint(format!("make it with: dps-pki authority create {name}")));
    }
    let known: Vec<&str> = declaration
        .authorities
        .iter()
        .map(|authority| authority.name.as_str())
        .collect();
    let error = CommandError::not_found(format!("there is no authority {name}"));
    let error = with_nearest(error, name.as_str(), &known);
    Ok(error.hint(format!("pki.toml declares: {}", known.join(", "))))
}

/// A folder that takes the files of devices beside whatever else is in it.
pub(crate) struct Folder<'a> {
    context: &'a Context,
    path: PathBuf,
    /// What a run left behind that was cut short: these files may be written over.
    left: BTreeSet<PathBuf>,
    /// Why the last files were not written.
    refusal: Option<CommandError>,
}

impl<'a> Folder<'a> {
    pub(crate) fn new(context: &'a Context, path: &Path) -> Self {
        Self {
            context,
            path: path.to_owned(),
            left: BTreeSet::new(),
            refusal: None,
        }
    }

    /// Where it is, for sentences.
    pub(crate) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Makes the folder unless it is there.
    pub(crate) fn create(&self) -> Result<(), CommandError> {
        self.context.files.keep_off_homes(&self.path)?;
        self.context.files.create_folder(&self.path, Access::Secret)
    }

    /// What is written for a device: key (if it is made here), certificate, full chain.
    pub(crate) fn paths(&self, device: &Device) -> Vec<PathBuf> {
        let key = (device.key == DeviceKey::New).then_some(ending::KEY);
        let endings = key
            .into_iter()
            .chain([ending::CERTIFICATE, ending::FULL_CHAIN]);
        endings
            .map(|ending| self.path_of(&device.id, ending))
            .collect()
    }

    /// Refuses before anything is issued if files of this device would be in the way. What is left of one of
    /// the `dead` is not: those were never delivered.
    pub(crate) fn make_room(
        &mut self,
        device: &Device,
        dead: impl FnOnce() -> Result<Vec<Recorded>, CommandError>,
    ) -> Result<(), CommandError> {
        let files = &self.context.files;
        let mut in_the_way = self.paths(device);
        for path in &in_the_way {
            files.keep_off_homes(path)?;
        }
        in_the_way.retain(|path| files.exists(path));
        if in_the_way.is_empty() {
            return Ok(());
        }
        let dead = dead()?;
        let is_left = |path: &PathBuf| dead.iter().any(|dead| self.is_of(path, dead));
        for path in in_the_way.iter().filter(|path| !is_left(path)) {
            files.check_output(path)?;
        }
        self.left.extend(in_the_way);
        Ok(())
    }

    /// Whether all that a device gets with this certificate is here.
    pub(crate) fn holds(&self, device: &Device, recorded: &Recorded) -> bool {
        self.has_chain(recorded)
            && self.has_certificate(recorded)
            && (device.key != DeviceKey::New || self.has_key_of(recorded))
    }

    /// Why the last files were not written, which an error of an outlet does not say.
    pub(crate) fn refusal(&mut self) -> Option<CommandError> {
        self.refusal.take()
    }

    /// Whether a file is one of those that a certificate was to be delivered in.
    fn is_of(&self, path: &Path, recorded: &Recorded) -> bool {
        let is = |ending| self.file_of(recorded, ending).is_some_and(|of| of == path);
        (is(ending::KEY) && self.has_key_of(recorded))
            || (is(ending::CERTIFICATE) && self.has_certificate(recorded))
            || (is(ending::FULL_CHAIN) && self.has_chain(recorded))
    }

    fn path_of(&self, id: &RegistrationId, ending: &str) -> PathBuf {
        self.path.join(file_name(id.as_str(), ending))
    }

    fn file_of(&self, recorded: &Recorded, ending: &str) -> Option<PathBuf> {
        Some(self.path_of(recorded.registration_id()?, ending))
    }

    fn content_of(&self, recorded: &Recorded, ending: &str) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.file_of(recorded, ending)?;
        self.context.files.read(&path).ok()
    }

    fn has_certificate(&self, recorded: &Recorded) -> bool {
        let content = self.content_of(recorded, ending::CERTIFICATE);
        content.is_some_and(|pem| *pem == recorded.certificate().to_pem().as_bytes())
    }

    fn has_chain(&self, recorded: &Recorded) -> bool {
        let content = self.content_of(recorded, ending::FULL_CHAIN);
        let chain = content.and_then(|pem| pem::certificates(&pem).ok());
        chain.is_some_and(|chain| chain.first() == Some(recorded.certificate()))
    }

    fn has_key_of(&self, recorded: &Recorded) -> bool {
        let content = self.content_of(recorded, ending::KEY);
        let key = content.and_then(|pem| read_private_key(&pem, None).ok());
        let signer = key.and_then(|key| SoftwareSigner::new(&key).ok());
        signer.is_some_and(|signer| signer.public_key() == recorded.certificate().public_key())
    }

    fn write(&self, released: &Released) -> Result<(), CommandError> {
        let files: Vec<NewFile<'_>> = released
            .files
            .iter()
            .map(|file| NewFile {
                path: self.path.join(&file.path),
                content: &file.content,
                access: file.access,
            })
            .collect();
        let existing = if files.iter().any(|file| self.left.contains(&file.path)) {
            Existing::Replace
        } else {
            Existing::Keep
        };
        self.context.files.write_all(&files, existing)
    }
}

impl Outlet for Folder<'_> {
    /// The key first and the chain last: who finds the chain finds all. Durable on return.
    fn append(&mut self, released: &Released) -> io::Result<()> {
        self.write(released).map_err(|refusal| {
            let told = io::Error::other(refusal.to_string());
            self.refusal = Some(refusal);
            told
        })
    }

    fn sync(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn finish(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}
