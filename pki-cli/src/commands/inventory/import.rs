//! `inventory import`: certificates that were issued elsewhere, by an authority that was taken over.
//!
//! Known ones are left as they are, so that the command can be run again, and run daily while both
//! worlds issue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use pki_core::certificate::{Certificate, pem};
use pki_core::ids::{AuthorityGeneration, RegistrationId, SerialNumber, Sha256Thumbprint};
use pki_core::inventory::openssl_index::{self, IndexEntry};
use pki_core::inventory::{
    Filter, Inventory as _, Labels, NamedLabel, NewCertificate, Revocation, RowKey, Status,
    Uniqueness,
};
use pki_core::name::DistinguishedName;
use pki_core::profile::Role;
use pki_core::sqlite::SqliteInventory;
use pki_core::wording::counted;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, CommandResult, ErrorKind, Outcome};
use crate::files::Files;
use crate::inputs::Inputs;
use crate::locks::HomeLock;

/// Record certificates that were issued elsewhere
///
/// Takes folders, files with certificates, and the index.txt of openssl ca, which says what was
/// revoked; its certificates are looked for in its folder, as OpenSSL and easy-rsa keep them. Nothing is
/// revoked by an index that is not named, such as a backup in a folder, or that is older than what is known.
/// What the inventory knows already stays as it is. Certificates of authorities are passed over: they are taken
/// over with authority import, before what they issued.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  dps-pki inventory import ~/easy-rsa/pki/index.txt
  dps-pki inventory import devices/ more/sensor-7.cert.pem --dry-run")]
pub(super) struct ImportArgs {
    /// A folder, a file with certificates, or the index of openssl ca
    #[arg(required = true, value_name = "DIR|FILE|index.txt")]
    from: Vec<PathBuf>,
}

/// What was found in the places that were named.
#[derive(Default)]
struct Found {
    certificates: BTreeMap<Sha256Thumbprint, Certificate>,
    /// The same by serial number; several issuers may have used one.
    by_serial_number: BTreeMap<String, Vec<Sha256Thumbprint>>,
    indexes: Vec<(PathBuf, Vec<IndexEntry>)>,
    /// Files that are an index by their content, and were not named.
    unnamed: Vec<PathBuf>,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Imported {
    imported: usize,
    already_known: usize,
    revoked: usize,
    without_registration_id: usize,
    issued_by_others: usize,
    authorities: usize,
    dry_run: bool,
}

/// A line of an index whose certificate is nowhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    file: PathBuf,
    line: usize,
    serial_number: String,
}

impl ImportArgs {
    pub(super) fn run(&self, context: &Context) -> CommandResult {
        let mut found = Found::default();
        for path in &self.from {
            found.gather(&context.inputs, &context.files, path)?;
        }
        let mut inventory = context.home.inventory()?;
        let _lock = if context.settings.dry_run {
            None
        } else {
            Some(HomeLock::wait(
                &context.home,
                &context.ui,
                "import",
                "imports certificates",
            )?)
        };
        let mut done = Imported {
            dry_run: context.settings.dry_run,
            ..Imported::default()
        };
        found.tell_unnamed(context);
        for (path, entries) in &found.indexes {
            found.refuse_older(&inventory, path, entries)?;
        }
        let missing = found.missing();
        found.record(context, &mut inventory, &mut done)?;
        found.revoke(context, &mut inventory, &mut done)?;
        context.ui.result(&done)?;
        match missing.len() {
            0 => Ok(Outcome::Done),
            count => Err(CommandError::new(
                ErrorKind::PartlyFailed,
                format!(
                    "nowhere in the folder of their index, and not imported: {}",
                    counted(count, "certificate", "certificates")
                ),
            )
            .lines(&missing)),
        }
    }
}

impl Found {
    fn gather(&mut self, inputs: &Inputs, files: &Files, path: &Path) -> Result<(), CommandError> {
        let resolved = files.resolve(path);
        if resolved.is_dir() {
            return self.gather_folder(files, path);
        }
        let content = inputs.read(path)?;
        if is_named_index(path, &content) {
            self.gather_index(path, &content)?;
            return self.gather_folder(files, path.parent().unwrap_or_else(|| Path::new("")));
        }
        let read = pem::certificates(&content);
        self.add(read.map_err(|error| CommandError::in_file(path, &error))?);
        Ok(())
    }

    fn gather_index(&mut self, path: &Path, content: &[u8]) -> Result<(), CommandError> {
        let text =
            std::str::from_utf8(content).map_err(|error| CommandError::in_file(path, &error))?;
        let entries =
            openssl_index::read(text).map_err(|error| CommandError::in_file(path, &error))?;
        let known = self.indexes.iter().any(|(other, _)| other == path);
        if !known {
            self.indexes.push((path.to_owned(), entries));
        }
        Ok(())
    }

    /// Every certificate below a folder; keys, requests and whatever else lies there is passed over,
    /// and links are not followed.
    fn gather_folder(&mut self, files: &Files, folder: &Path) -> Result<(), CommandError> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in files.list(&folder)? {
                let Ok(metadata) = fs::symlink_metadata(files.resolve(&path)) else {
                    continue;
                };
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.is_file() && metadata.len() <= Files::LARGEST_INPUT {
                    let content = files.read(&path)?;
                    if is_index(&content) {
                        self.unnamed.push(path);
                    } else if let Ok(read) = pem::certificates(&content) {
                        self.add(read);
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, certificates: Vec<Certificate>) {
        for certificate in certificates {
            let thumbprint = certificate.sha256_thumbprint();
            let serial_number = certificate.serial_number().to_string();
            if self.certificates.insert(thumbprint, certificate).is_none() {
                let same = self.by_serial_number.entry(serial_number).or_default();
                same.push(thumbprint);
            }
        }
    }

    /// The certificate of a line: the one with its serial number and name. Serial numbers alone are those of
    /// other authorities too: `openssl ca` counts from 1000.
    fn holder_of(&self, entry: &IndexEntry) -> Option<&Certificate> {
        let same = self
            .by_serial_number
            .get(&entry.serial_number.to_string())?;
        let mut named = same
            .iter()
            .filter_map(|thumbprint| self.certificates.get(thumbprint))
            .filter(|certificate| is_named_by(certificate, entry));
        let first = named.next();
        first.filter(|_| named.next().is_none())
    }

    /// Whoever named one knows of those beside it: `openssl` itself keeps the last but one there.
    fn tell_unnamed(&self, context: &Context) {
        if !self.indexes.is_empty() {
            return;
        }
        for path in &self.unnamed {
            context.ui.note(format!(
                "{}: it is an index of openssl ca and was not named: nothing is revoked by it",
                path.display()
            ));
        }
    }

    /// An index tells of the time until it was last written. One that ends before a certificate of its
    /// authority was issued, and does not list that, is an older copy: what it says was revoked may have been
    /// put right since.
    fn refuse_older(
        &self,
        inventory: &SqliteInventory,
        path: &Path,
        entries: &[IndexEntry],
    ) -> Result<(), CommandError> {
        let listed: Vec<&Certificate> = entries
            .iter()
            .filter_map(|entry| self.holder_of(entry))
            .collect();
        let begins = listed.iter().map(|one| one.validity().not_before());
        let revoked = entries.iter().filter_map(|entry| entry.revoked);
        let ends = begins.chain(revoked.map(|(since, _)| since)).max();
        let Some(ends) = ends else {
            return Ok(());
        };
        let serials: BTreeSet<&SerialNumber> =
            entries.iter().map(|entry| &entry.serial_number).collect();
        let issuers: Vec<DistinguishedName> = listed.iter().map(|one| one.issuer()).collect();
        let is_newer = |one: &Certificate| {
            !one.is_ca()
                && one.validity().not_before() > ends
                && !serials.contains(one.serial_number())
                && issuers.contains(&one.issuer())
        };
        let Some(newer) = self.find_from_elsewhere(inventory, is_newer)? else {
            return Ok(());
        };
        let message = format!(
            "{}: it was last written before {}, when certificate {} of {} was issued, which it does not list: it is older than what is known, and nothing is revoked by it",
            path.display(),
            newer.validity().not_before(),
            newer.serial_number(),
            newer.subject()
        );
        Err(CommandError::refused(message).hint("name the index that the authority uses now"))
    }

    /// A certificate that was issued elsewhere: of those at hand, and of those that were imported before.
    fn find_from_elsewhere(
        &self,
        inventory: &SqliteInventory,
        is_meant: impl Fn(&Certificate) -> bool,
    ) -> Result<Option<Certificate>, CommandError> {
        let mut at_hand = self.certificates.values();
        if let Some(found) = at_hand.find(|one| is_meant(one)) {
            return Ok(Some(found.clone()));
        }
        let filter = Filter {
            label: Some(source()?),
            ..Filter::default()
        };
        let mut after = None;
        loop {
            let page = inventory.list(&filter, after.as_ref(), 1000)?;
            let mut recorded = page
                .entries
                .iter()
                .map(|entry| entry.recorded.certificate());
            if let Some(found) = recorded.find(|one| is_meant(one)) {
                return Ok(Some(found.clone()));
            }
            after = page.next;
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    fn missing(&self) -> Vec<Missing> {
        let entries = self
            .indexes
            .iter()
            .flat_map(|(file, entries)| entries.iter().map(move |entry| (file, entry)));
        entries
            .filter(|(_, entry)| self.holder_of(entry).is_none())
            .map(|(file, entry)| Missing {
                file: file.clone(),
                line: entry.line,
                serial_number: entry.serial_number.to_string(),
            })
            .collect()
    }

    /// Records what is new, a thousand at a time, and marks it as delivered: whoever handed these out
    /// has done so before.
    fn record(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        done: &mut Imported,
    ) -> Result<(), CommandError> {
        const CHUNK: usize = 1000;
        let signers = signers(inventory)?;
        let (authorities, leaves): (Vec<_>, Vec<_>) = self
            .certificates
            .values()
            .partition(|certificate| certificate.is_ca());
        done.authorities = authorities.len();
        let mut cut_short: Vec<RowKey> = Vec::new();
        let mut new = Vec::new();
        for leaf in leaves {
            match inventory.by_sha256_thumbprint(&leaf.sha256_thumbprint())? {
                None => new.push(to_record(leaf, &signers)?),
                Some(entry) => {
                    done.already_known += 1;
                    let undelivered = entry.state.status() == Status::Undelivered;
                    if undelivered && entry.recorded.labels().contains(&source()?) {
                        cut_short.push(entry.recorded.row());
                    }
                }
            }
        }
        done.imported = new.len();
        done.without_registration_id = count(&new, |new| new.registration_id.is_none());
        done.issued_by_others = count(&new, |new| new.signed_by.is_none());
        if done.dry_run {
            return Ok(());
        }
        if !cut_short.is_empty() {
            inventory.mark_delivered(&cut_short, context.now())?;
        }
        // In their order, so that those of one authority are found by halving.
        new.sort_by_key(|new| {
            let serial = new.certificate.serial_number();
            (serial.as_be_octets().len(), serial.clone())
        });
        for chunk in new.chunks(CHUNK) {
            let recorded = inventory.record(chunk.to_vec(), context.now())?;
            let rows: Vec<RowKey> = recorded
                .iter()
                .map(pki_core::inventory::Recorded::row)
                .collect();
            inventory.mark_delivered(&rows, context.now())?;
        }
        Ok(())
    }

    /// Revokes what an index says was revoked, as of when it says so: CRLs keep the dates that they had.
    fn revoke(
        &self,
        context: &Context,
        inventory: &mut SqliteInventory,
        done: &mut Imported,
    ) -> Result<(), CommandError> {
        let now = context.now();
        let mut revocations: BTreeMap<RowKey, Revocation> = BTreeMap::new();
        for entry in self.indexes.iter().flat_map(|(_, entries)| entries) {
            let (Some((since, reason)), Some(certificate)) = (entry.revoked, self.holder_of(entry))
            else {
                continue;
            };
            if certificate.is_ca() {
                continue;
            }
            let known = inventory.by_sha256_thumbprint(&certificate.sha256_thumbprint())?;
            match known {
                Some(known) if known.state.status() == Status::Revoked => {}
                Some(known) => {
                    let row = known.recorded.row();
                    // A clock that was ahead revokes nothing in the future.
                    let since = since.min(now);
                    let revocation = Revocation { row, since, reason };
                    revocations.entry(row).or_insert(revocation);
                }
                // Not recorded yet, in a dry run.
                None => done.revoked += 1,
            }
        }
        done.revoked += revocations.len();
        if done.dry_run || revocations.is_empty() {
            return Ok(());
        }
        let revocations: Vec<Revocation> = revocations.into_values().collect();
        Ok(inventory.revoke_as_of(&revocations, now)?)
    }
}

/// What is named is an index by its name, or by its first line.
fn is_named_index(path: &Path, content: &[u8]) -> bool {
    path.file_name().is_some_and(|name| name == "index.txt") || is_index(content)
}

fn is_index(content: &[u8]) -> bool {
    std::str::from_utf8(content).is_ok_and(openssl_index::is_index)
}

fn is_named_by(certificate: &Certificate, entry: &IndexEntry) -> bool {
    let names = certificate.subject().common_names();
    names.iter().any(|name| entry.names(name))
}

/// Every certificate that an authority of this home has or had, with its generation.
fn signers(
    inventory: &SqliteInventory,
) -> Result<Vec<(Certificate, AuthorityGeneration)>, CommandError> {
    let mut signers = Vec::new();
    for authority in inventory.authorities()? {
        for generation in authority.generations {
            let id = AuthorityGeneration {
                name: authority.name.clone(),
                generation: generation.generation,
            };
            let certificate = generation
                .certificate
                .map(|recorded| recorded.certificate().clone());
            signers.extend(certificate.map(|certificate| (certificate, id)));
        }
    }
    Ok(signers)
}

fn to_record(
    leaf: &Certificate,
    signers: &[(Certificate, AuthorityGeneration)],
) -> Result<NewCertificate, CommandError> {
    let signer = signers.iter().find(|(issuer, _)| leaf.is_issued_by(issuer));
    let name = leaf.common_name();
    let registration_id: Option<RegistrationId> = name.and_then(|name| name.parse().ok());
    Ok(NewCertificate {
        certificate: leaf.clone(),
        role: Role::Leaf,
        signed_by: signer.map(|(_, generation)| generation.clone()),
        registration_id,
        batch: None,
        labels: [source()?].into_iter().collect::<Labels>(),
        request: None,
        uniqueness: Uniqueness::FromElsewhere,
    })
}

/// What tells an imported certificate from one that was issued here.
fn source() -> Result<NamedLabel, CommandError> {
    NamedLabel::new("source", "import").map_err(|error| CommandError::failed(error.to_string()))
}

fn count(new: &[NewCertificate], is: impl Fn(&NewCertificate) -> bool) -> usize {
    new.iter().filter(|new| is(new)).count()
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run {
            "to import"
        } else {
            "imported"
        };
        write!(f, "{:>8}  {verb}", self.imported)?;
        for (number, what) in [
            (
                self.without_registration_id,
                "of these have a CN that is no registration ID",
            ),
            (
                self.issued_by_others,
                "of these were issued by no authority of this home",
            ),
            (self.already_known, "known already"),
            (self.revoked, "revoked, as the index says"),
            (self.authorities, "of authorities, passed over"),
        ] {
            if number > 0 {
                write!(f, "\n{number:>8}  {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(
            f,
            "{file}, line {}: serial number {}",
            self.line, self.serial_number
        )
    }
}
