//! The inventory in one SQLite file, for one machine.
//!
//! Write-ahead log with `synchronous=FULL`: when a method returns, its transaction survives a power
//! cut. Several processes may use the file at once; one writes at a time, and the others wait for as
//! long as it gets on ([`Patience`]). The schema is `migrations/sqlite`, its number is in `user_version`. A file that is
//! write-protected, or lies in a folder that is, can be read.
//! Not here: rules. Which change is allowed, and what the trail says of it, is decided beside the
//! port and the same for every adapter.

mod batch;
mod bound;
mod failure;
mod generation;
mod journal;
mod keys;
mod leaves;
mod list;
mod lookup;
mod open;
mod patience;
mod read;
mod row;
mod run;
mod schema;
mod trail;
mod trust;
mod unique;
mod unknown_keys;
mod verify;
mod write;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::failure::{Failure, explain};
use self::journal::Followed;
pub use self::patience::Patience;
use self::trust::Trusted;
use self::unknown_keys::UnknownKeys;
use crate::crl::RevocationReason;
use crate::ids::{
    AuthorityGeneration, AuthorityName, RegistrationId, SerialNumber, Sha1Thumbprint,
    Sha256Thumbprint,
};
use crate::inventory::audit::{
    AuditEntry, AuditEvent, AuditFinding, AuditHead, AuditReport, Draft, EventAction,
};
use crate::inventory::{
    AuthorityRecord, BatchProgress, BatchRecord, CertificateState, Filter, GenerationChange,
    Holder, IdPage, Inventory, InventoryEntry, InventoryError, KeyHolder, Label, LostLeaves,
    NewBatch, NewCertificate, NewGeneration, Page, PageKey, Recorded, Revocation, RowKey, Stats,
    Status, Uniqueness,
};
use crate::key::KeyIdentity;
use crate::time::Time;

/// An inventory in a SQLite file.
///
/// ```no_run
/// use pki_core::inventory::Inventory as _;
/// use pki_core::sqlite::SqliteInventory;
/// let inventory = SqliteInventory::open("home/inventory.db".as_ref())?;
/// println!("{} certificates", inventory.stats()?.total());
/// # Ok::<(), pki_core::inventory::InventoryError>(())
/// ```
#[derive(Debug)]
pub struct SqliteInventory {
    connection: Connection,
    path: PathBuf,
    patience: Patience,
    trusted: RefCell<Trusted>,
    unknown_keys: RefCell<UnknownKeys>,
    /// The number of the schema, which grows with each change to it, when it was last found to be ours.
    schema: Cell<i64>,
    /// The plan that is being carried out, as the trail says it is.
    followed: Option<Followed>,
}

impl SqliteInventory {
    /// Opens an inventory that exists. Where it cannot be written it can be read, and every change
    /// is refused as [`InventoryError::WriteProtected`].
    ///
    /// # Errors
    /// [`InventoryError::Missing`], [`InventoryError::NotAnInventory`],
    /// [`InventoryError::SchemaTooNew`], [`InventoryError::Locked`], [`InventoryError::Storage`];
    /// [`InventoryError::SchemaTooOld`], [`InventoryError::Unfinished`] where it cannot be written.
    pub fn open(path: &Path) -> Result<Self, InventoryError> {
        if !path.exists() {
            return Err(InventoryError::Missing {
                path: path.to_owned(),
            });
        }
        Self::open_file(path, Patience::default())
    }

    /// Opens an inventory, or begins one if there is no file: readable by its owner only.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_or_create(path: &Path) -> Result<Self, InventoryError> {
        Self::open_or_create_with(path, Patience::default())
    }

    /// As [`Self::open_or_create`], and says how others are waited for, now and later.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_or_create_with(path: &Path, patience: Patience) -> Result<Self, InventoryError> {
        open::create_file(path).map_err(|source| InventoryError::Storage {
            action: "create",
            place: path.display().to_string(),
            source: source.into(),
        })?;
        Self::open_file(path, patience)
    }

    fn open_file(path: &Path, patience: Patience) -> Result<Self, InventoryError> {
        let opened = patience.wait(path, || open::open_file(path, &patience));
        Ok(Self {
            connection: opened.map_err(|failure| explain(failure, "open", path))?,
            path: path.to_owned(),
            patience,
            trusted: RefCell::default(),
            unknown_keys: RefCell::default(),
            schema: Cell::default(),
            followed: None,
        })
    }

    /// Runs a change as one transaction; what it returns may be told once this has returned.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, InventoryError> {
        // The writer's lock from the start: what is read below cannot change before the commit.
        let begin = || {
            let behavior = TransactionBehavior::Immediate;
            Ok(Transaction::new_unchecked(&self.connection, behavior)?)
        };
        let run = || {
            let transaction = self.patience.wait(&self.path, begin)?;
            self.refuse_changed_schema(&transaction, schema::number(&transaction)?)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|failure| explain(failure, "write to", &self.path))
    }

    /// As [`Self::write`], for a change that records certificates.
    fn write_certificates<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &mut UnknownKeys) -> Result<T, Failure>,
    ) -> Result<T, InventoryError> {
        let mut unknown = self.unknown_keys.take();
        let written = self.write(|transaction| change(transaction, &mut unknown));
        self.unknown_keys.replace(unknown);
        written
    }

    /// Runs a query on one snapshot.
    fn read<T>(
        &self,
        query: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, InventoryError> {
        let begin = || {
            let transaction = self.connection.unchecked_transaction()?;
            // Whoever closes the file last keeps others out of it for a moment; the first look meets that.
            let number = schema::number(&transaction)?;
            Ok((transaction, number))
        };
        let run = || {
            let (transaction, number) = self.patience.wait(&self.path, begin)?;
            self.refuse_changed_schema(&transaction, number)?;
            query(&transaction)
        };
        run().map_err(|failure| explain(failure, "read", &self.path))
    }

    /// Looks at the schema once, and again when somebody has changed it, which changes its number.
    fn refuse_changed_schema(
        &self,
        transaction: &Transaction<'_>,
        number: i64,
    ) -> Result<(), Failure> {
        if self.schema.get() != number {
            open::refuse_newer(transaction)?;
            schema::refuse_changed(transaction)?;
            self.schema.set(number);
        }
        Ok(())
    }
}

impl SqliteInventory {
    /// Reads certificates, and refuses those that are not as the trail says.
    fn trusted(
        &self,
        query: impl FnOnce(&Transaction<'_>) -> Result<Vec<InventoryEntry>, Failure>,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        self.read(|transaction| {
            let found = query(transaction)?;
            let mut trusted = self.trusted.borrow_mut();
            trusted.certificates(transaction, &found)?;
            Ok(found)
        })
    }

    /// As [`Self::trusted`], for authorities.
    fn trusted_authorities(
        &self,
        name: Option<&AuthorityName>,
    ) -> Result<Vec<AuthorityRecord>, InventoryError> {
        self.read(|transaction| {
            let found = read::authorities(transaction, name)?;
            let mut trusted = self.trusted.borrow_mut();
            trusted.authorities(transaction, name, &found)?;
            Ok(found)
        })
    }
}

/// Joins what was committed with its rows.
fn recorded(rows: Vec<RowKey>, chunk: Vec<NewCertificate>) -> Vec<Recorded> {
    let pairs = rows.into_iter().zip(chunk);
    pairs.map(|(row, new)| Recorded::new(row, new)).collect()
}

impl Inventory for SqliteInventory {
    fn deliver_and_record(
        &mut self,
        delivered: &[RowKey],
        progress: Option<&BatchProgress>,
        chunk: Vec<NewCertificate>,
        at: Time,
    ) -> Result<Vec<Recorded>, InventoryError> {
        let rows = self.write_certificates(|transaction, unknown| {
            if let Some(progress) = progress {
                batch::advance(transaction, progress)?;
            }
            run::deliver(transaction, delivered, progress, at)?;
            write::insert_chunk(transaction, unknown, &chunk, at)
        })?;
        Ok(recorded(rows, chunk))
    }

    fn open_batch(&mut self, new: NewBatch, at: Time) -> Result<BatchRecord, InventoryError> {
        self.write(|transaction| batch::open(transaction, new, at))
    }

    fn replace_batch(
        &mut self,
        new: NewBatch,
        lost: &[LostLeaves],
        at: Time,
    ) -> Result<BatchRecord, InventoryError> {
        self.write(|transaction| batch::replace(transaction, new, lost, at))
    }

    fn lost_leaves(&self, batch: &Label) -> Result<Vec<RowKey>, InventoryError> {
        self.read(|transaction| trust::lost_leaves(transaction, batch))
    }

    fn complete_batch(
        &mut self,
        name: &Label,
        manifest: &str,
        at: Time,
    ) -> Result<BatchRecord, InventoryError> {
        self.write(|transaction| batch::complete(transaction, name, manifest, at))
    }

    fn void_undelivered(
        &mut self,
        batch: &Label,
        reason: &str,
        at: Time,
    ) -> Result<u64, InventoryError> {
        self.write(|transaction| batch::void_undelivered(transaction, batch, reason, at))
    }

    fn batch(&self, name: &Label) -> Result<Option<BatchRecord>, InventoryError> {
        self.read(|transaction| {
            let found = batch::find(transaction, name)?.map(|(_, record)| record);
            trust::batch(transaction, name.as_str(), found.as_ref())?;
            Ok(found)
        })
    }

    fn ends_of_batch(
        &self,
        name: &Label,
    ) -> Result<Option<(SerialNumber, SerialNumber)>, InventoryError> {
        self.read(|transaction| batch::ends(transaction, name))
    }

    fn batches(
        &self,
        after: Option<&Label>,
        limit: usize,
    ) -> Result<Vec<BatchRecord>, InventoryError> {
        self.read(|transaction| batch::list(transaction, after, limit))
    }

    fn void(&mut self, rows: &[RowKey], reason: &str, at: Time) -> Result<(), InventoryError> {
        let reason = reason.to_owned();
        let voided = CertificateState::Voided { at, reason };
        self.write(|transaction| run::change_state(transaction, rows, &voided, at))
    }

    fn revoke(
        &mut self,
        rows: &[RowKey],
        reason: RevocationReason,
        at: Time,
    ) -> Result<(), InventoryError> {
        let revoked = CertificateState::Revoked { at, reason };
        self.write(|transaction| run::change_state(transaction, rows, &revoked, at))
    }

    fn revoke_as_of(&mut self, revocations: &[Revocation], at: Time) -> Result<(), InventoryError> {
        self.write(|transaction| {
            revocations.iter().try_for_each(|revocation| {
                let revoked = CertificateState::Revoked {
                    at: revocation.since,
                    reason: revocation.reason,
                };
                run::change_state(transaction, &[revocation.row], &revoked, at)
            })
        })
    }

    fn record_authority(
        &mut self,
        generation: NewGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError> {
        let row = self.write_certificates(|transaction, unknown| {
            generation::record_authority(transaction, unknown, &generation, &certificate, at)
        })?;
        Ok(Recorded::new(row, certificate))
    }

    fn record_request(
        &mut self,
        generation: NewGeneration,
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|transaction| generation::record_request(transaction, &generation, at))
    }

    fn adopt(
        &mut self,
        generation: &AuthorityGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError> {
        let row = self.write_certificates(|transaction, unknown| {
            generation::adopt(transaction, unknown, generation, &certificate, at)
        })?;
        Ok(Recorded::new(row, certificate))
    }

    fn settle_generations(
        &mut self,
        authority: &AuthorityName,
        changes: &[GenerationChange],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|transaction| {
            generation::settle_generations(transaction, authority, changes, at)
        })
    }

    fn authority(&self, name: &AuthorityName) -> Result<Option<AuthorityRecord>, InventoryError> {
        Ok(self.trusted_authorities(Some(name))?.pop())
    }

    fn authorities(&self) -> Result<Vec<AuthorityRecord>, InventoryError> {
        self.trusted_authorities(None)
    }

    fn certificate(&self, row: RowKey) -> Result<Option<InventoryEntry>, InventoryError> {
        let found = self.trusted(|transaction| {
            let found = read::certificate(transaction, row)?;
            if found.is_none() && read::is_taken(transaction, row)? {
                let missing = AuditFinding::CertificateUnrecorded { row };
                return Err(trust::refused(&missing));
            }
            Ok(found.into_iter().collect())
        })?;
        Ok(found.into_iter().next())
    }

    fn request(&self, row: RowKey) -> Result<Option<Vec<u8>>, InventoryError> {
        self.read(|transaction| {
            let found = read::request(transaction, row)?;
            if found.is_some() || read::is_taken(transaction, row)? {
                self.trusted.borrow_mut().request(transaction, row)?;
            }
            Ok(found)
        })
    }

    fn certificates_of(&self, id: &RegistrationId) -> Result<Vec<InventoryEntry>, InventoryError> {
        self.trusted(|transaction| read::certificates_of(transaction, id))
    }

    fn by_serial_number(
        &self,
        serial: &SerialNumber,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        self.trusted(|transaction| read::by_serial_number(transaction, serial))
    }

    fn by_sha1_thumbprint(
        &self,
        thumbprint: &Sha1Thumbprint,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        self.trusted(|transaction| {
            read::by_thumbprint(transaction, thumbprint.as_octets(), |certificate| {
                certificate.sha1_thumbprint() == *thumbprint
            })
        })
    }

    fn by_sha256_thumbprint(
        &self,
        thumbprint: &Sha256Thumbprint,
    ) -> Result<Option<InventoryEntry>, InventoryError> {
        let mut found = self.trusted(|transaction| {
            read::by_thumbprint(transaction, thumbprint.as_octets(), |certificate| {
                certificate.sha256_thumbprint() == *thumbprint
            })
        })?;
        Ok(found.pop())
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<&PageKey>,
        limit: usize,
    ) -> Result<Page, InventoryError> {
        let page = self.read(|transaction| {
            let ends = matches!(filter.status, Some(Status::Revoked | Status::Voided));
            if ends && after.is_none() {
                self.trusted.borrow_mut().ended(transaction)?;
            }
            list::list(transaction, filter, after, limit)
        })?;
        if let Some(label) = &filter.label {
            for entry in &page.entries {
                trust::label(entry, label)?;
            }
        }
        Ok(page)
    }

    fn live_ids(
        &self,
        signed_by: &AuthorityGeneration,
        at: Time,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<IdPage, InventoryError> {
        self.read(|transaction| list::live_ids(transaction, signed_by, at, after, limit))
    }

    fn any_id_between(
        &self,
        least: &RegistrationId,
        greatest: &RegistrationId,
    ) -> Result<bool, InventoryError> {
        self.read(|transaction| read::any_id_between(transaction, least, greatest))
    }

    fn find_ids(
        &self,
        ids: &[RegistrationId],
        at: Time,
    ) -> Result<Vec<RegistrationId>, InventoryError> {
        self.read(|transaction| read::find_ids(transaction, ids, at))
    }

    fn holders(&self, ids: &[RegistrationId], at: Time) -> Result<Vec<Holder>, InventoryError> {
        let mut leaves: Vec<_> = ids.iter().map(|id| (id, Uniqueness::OnlyLeaf)).collect();
        leaves.sort_by_key(|(id, _)| *id);
        self.read(|transaction| unique::holders(transaction, &leaves, at))
    }

    fn key_holders(
        &self,
        keys: &[(&RegistrationId, KeyIdentity)],
        at: Time,
    ) -> Result<Vec<KeyHolder>, InventoryError> {
        self.read(|transaction| {
            let mut trusted = self.trusted.borrow_mut();
            unique::key_holders(transaction, Some(&mut trusted), keys, at)
        })
    }

    fn any_key(&self, beginnings: &[u128]) -> Result<bool, InventoryError> {
        let octets: Vec<[u8; 16]> = beginnings.iter().map(|key| key.to_be_bytes()).collect();
        let keys: Vec<&[u8]> = octets.iter().map(|key| &key[..]).collect();
        self.read(|transaction| {
            let mut any = false;
            lookup::find_all(transaction, &keys, |_, _| any = true)?;
            if !any && beginnings.is_sorted() {
                let unknown = UnknownKeys::found_none(transaction, beginnings)?;
                self.unknown_keys.replace(unknown);
            }
            Ok(any)
        })
    }

    fn count(&self, filter: &Filter) -> Result<u64, InventoryError> {
        self.read(|transaction| list::count(transaction, filter))
    }

    fn stats(&self) -> Result<Stats, InventoryError> {
        self.read(|transaction| Ok(Stats::from_counts(read::counts(transaction)?)))
    }

    fn append_audit(&mut self, event: AuditEvent, at: Time) -> Result<AuditHead, InventoryError> {
        self.write(|transaction| write::append(transaction, Draft::event(event, at)))
    }

    fn audit_entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, InventoryError> {
        self.read(|transaction| read::audit_entries(transaction, after, limit))
    }

    fn events(
        &self,
        action: &EventAction,
        subject: &str,
    ) -> Result<Vec<AuditEntry>, InventoryError> {
        self.read(|transaction| read::events(transaction, action, subject))
    }

    fn audit_head(&self) -> Result<Option<AuditHead>, InventoryError> {
        self.read(read::audit_head)
    }

    fn verify_audit(&self, checkpoints: &[AuditHead]) -> Result<AuditReport, InventoryError> {
        self.read(|transaction| verify::verify_audit(transaction, checkpoints))
    }
}
