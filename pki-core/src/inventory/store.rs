//! The port: what an inventory must do, whatever it keeps its rows in.
//!
//! Synchronous, and owned by one thread. Every method that changes something is one transaction
//! that holds the change, its counters and its audit entries, and returns when that is durable.
//! Several processes may work on one inventory; an adapter keeps serial numbers, generations and the
//! one live leaf of a device unique among them: by what its transaction finds, never by a look before. Nothing here assumes SQLite.

use super::audit::{AuditEntry, AuditEvent, AuditHead, AuditReport, EventAction};
use super::{
    AuthorityRecord, BatchProgress, BatchRecord, Filter, GenerationChange, Holder, IdPage,
    InventoryEntry, InventoryError, KeyHolder, Label, LostLeaves, NewBatch, NewCertificate,
    NewGeneration, Page, PageKey, Recorded, Revocation, RowKey, Stats, Status,
};
use crate::crl::RevocationReason;
use crate::ids::{
    AuthorityGeneration, AuthorityName, RegistrationId, SerialNumber, Sha1Thumbprint,
    Sha256Thumbprint,
};
use crate::key::KeyIdentity;
use crate::profile::Role;
use crate::time::Time;

/// What has happened in one PKI home.
pub trait Inventory: Send {
    /// Records a chunk of certificates as undelivered, in the order given.
    ///
    /// # Errors
    /// [`InventoryError::DuplicateSerial`], [`InventoryError::UnknownSigner`],
    /// [`InventoryError::BatchNotFound`], [`InventoryError::BatchComplete`];
    /// [`InventoryError::LeafExists`], [`InventoryError::TwoLeaves`] as [`super::Uniqueness`] says;
    /// [`InventoryError::KeyTaken`], [`InventoryError::KeyTwice`] of leaves that answer requests.
    /// Nothing of the chunk is recorded then.
    fn record(
        &mut self,
        chunk: Vec<NewCertificate>,
        at: Time,
    ) -> Result<Vec<Recorded>, InventoryError> {
        self.deliver_and_record(&[], None, chunk, at)
    }

    /// Marks one chunk as delivered and records the next, in one transaction: what a bulk writer
    /// does, so that a chunk costs one flush to the disk. `progress` says how far that brings the
    /// batch.
    ///
    /// # Errors
    /// As [`Self::mark_delivered`] and [`Self::record`]; [`InventoryError::BatchProgress`]. Nothing
    /// is changed then.
    fn deliver_and_record(
        &mut self,
        delivered: &[RowKey],
        progress: Option<&BatchProgress>,
        chunk: Vec<NewCertificate>,
        at: Time,
    ) -> Result<Vec<Recorded>, InventoryError>;

    /// Marks undelivered certificates as delivered.
    ///
    /// # Errors
    /// [`InventoryError::CertificateNotFound`], [`InventoryError::CertificateState`].
    fn mark_delivered(&mut self, rows: &[RowKey], at: Time) -> Result<(), InventoryError> {
        self.deliver_and_record(rows, None, Vec::new(), at)
            .map(drop)
    }

    /// Voids undelivered certificates: they count as never issued.
    ///
    /// # Errors
    /// [`InventoryError::CertificateNotFound`], [`InventoryError::CertificateState`].
    fn void(&mut self, rows: &[RowKey], reason: &str, at: Time) -> Result<(), InventoryError>;

    /// Revokes certificates, for the next CRL of their issuers.
    ///
    /// # Errors
    /// [`InventoryError::CertificateNotFound`]; [`InventoryError::CertificateState`] if one is
    /// revoked already, unless it was on hold and the new reason is another.
    fn revoke(
        &mut self,
        rows: &[RowKey],
        reason: RevocationReason,
        at: Time,
    ) -> Result<(), InventoryError>;

    /// Revokes certificates that were revoked elsewhere before, all or none: each keeps its own date.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    fn revoke_as_of(&mut self, revocations: &[Revocation], at: Time) -> Result<(), InventoryError>;

    /// Opens a batch. One that is open with the same fingerprint is returned as it stands, and so is
    /// one with the same name and fingerprint, even if it is complete: the same command run again
    /// finds its work.
    ///
    /// # Errors
    /// [`InventoryError::BatchExists`] if another batch has the name;
    /// [`InventoryError::UnknownSigner`].
    fn open_batch(&mut self, new: NewBatch, at: Time) -> Result<BatchRecord, InventoryError>;

    /// Opens a batch anew, under its name, that is complete and was lost: leaves that it delivered are
    /// withdrawn, to be issued again.
    ///
    /// # Errors
    /// [`InventoryError::BatchNotFound`]; [`InventoryError::BatchUnfinished`] if it is not complete;
    /// [`InventoryError::CertificateState`] of what it has not delivered, or was withdrawn since;
    /// [`InventoryError::UnknownSigner`].
    fn replace_batch(
        &mut self,
        new: NewBatch,
        lost: &[LostLeaves],
        at: Time,
    ) -> Result<BatchRecord, InventoryError>;

    /// The leaves that a batch was last opened anew for, in order; none if it never was.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn lost_leaves(&self, batch: &Label) -> Result<Vec<RowKey>, InventoryError>;

    /// Completes a batch of which everything was delivered.
    ///
    /// # Errors
    /// [`InventoryError::BatchNotFound`], [`InventoryError::BatchComplete`],
    /// [`InventoryError::BatchUnfinished`].
    fn complete_batch(
        &mut self,
        name: &Label,
        manifest: &str,
        at: Time,
    ) -> Result<BatchRecord, InventoryError>;

    /// Voids what was recorded in a batch and never delivered, and says how many that were. The caller
    /// knows that no run is at it.
    ///
    /// # Errors
    /// [`InventoryError::BatchNotFound`].
    fn void_undelivered(
        &mut self,
        batch: &Label,
        reason: &str,
        at: Time,
    ) -> Result<u64, InventoryError>;

    /// The batch of this name.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn batch(&self, name: &Label) -> Result<Option<BatchRecord>, InventoryError>;

    /// The serial numbers of the first and of the last certificate that a batch has delivered, if any.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn ends_of_batch(
        &self,
        name: &Label,
    ) -> Result<Option<(SerialNumber, SerialNumber)>, InventoryError>;

    /// The batches in the order in which they were opened, at most `limit` of those after one.
    ///
    /// # Errors
    /// [`InventoryError::BatchNotFound`] if there is none of the name `after`.
    fn batches(
        &self,
        after: Option<&Label>,
        limit: usize,
    ) -> Result<Vec<BatchRecord>, InventoryError>;

    /// Records a pending generation together with its certificate. A root's certificate names the
    /// generation itself as its signer.
    ///
    /// # Errors
    /// [`InventoryError::GenerationNumber`] unless the number is the authority's next;
    /// [`InventoryError::TwoGenerations`] if another one is pending; as [`Self::record`].
    fn record_authority(
        &mut self,
        generation: NewGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError>;

    /// Records a pending generation whose certificate is still to be signed elsewhere.
    ///
    /// # Errors
    /// As [`Self::record_authority`].
    fn record_request(&mut self, generation: NewGeneration, at: Time)
    -> Result<(), InventoryError>;

    /// Records the certificate that was signed elsewhere for a pending generation.
    ///
    /// # Errors
    /// [`InventoryError::GenerationNotFound`]; [`InventoryError::HasCertificate`] if it has one;
    /// as [`Self::record`].
    fn adopt(
        &mut self,
        generation: &AuthorityGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError>;

    /// Changes the states of an authority's generations, all together. A pending generation that
    /// becomes current or next has its certificate marked as delivered; one that is voided has it
    /// voided.
    ///
    /// # Errors
    /// [`InventoryError::GenerationNotFound`], [`InventoryError::GenerationState`],
    /// [`InventoryError::TwoGenerations`]; [`InventoryError::NoCertificate`] if a generation would
    /// issue without a certificate; [`InventoryError::CertificateState`] if the certificate does not
    /// allow the change.
    fn settle_generations(
        &mut self,
        authority: &AuthorityName,
        changes: &[GenerationChange],
        at: Time,
    ) -> Result<(), InventoryError>;

    /// The authority of this name, with all its generations.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn authority(&self, name: &AuthorityName) -> Result<Option<AuthorityRecord>, InventoryError>;

    /// Every authority, by name.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn authorities(&self) -> Result<Vec<AuthorityRecord>, InventoryError>;

    /// The certificate in a row.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn certificate(&self, row: RowKey) -> Result<Option<InventoryEntry>, InventoryError>;

    /// The signing request that a certificate answered (PKCS#10 DER), if its device made its own key.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn request(&self, row: RowKey) -> Result<Option<Vec<u8>>, InventoryError>;

    /// All certificates of a device, newest first.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn certificates_of(&self, id: &RegistrationId) -> Result<Vec<InventoryEntry>, InventoryError>;

    /// The certificates with a serial number: one per issuer at most, newest first.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn by_serial_number(
        &self,
        serial: &SerialNumber,
    ) -> Result<Vec<InventoryEntry>, InventoryError>;

    /// The certificates with a SHA-1 thumbprint, newest first. More than one means that somebody
    /// made a collision.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn by_sha1_thumbprint(
        &self,
        thumbprint: &Sha1Thumbprint,
    ) -> Result<Vec<InventoryEntry>, InventoryError>;

    /// The certificate with a SHA-256 thumbprint.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn by_sha256_thumbprint(
        &self,
        thumbprint: &Sha256Thumbprint,
    ) -> Result<Option<InventoryEntry>, InventoryError>;

    /// A page of the certificates that meet a filter. The order follows from the filter: by
    /// registration ID if its pattern begins with fixed characters, by `notAfter` if that is
    /// bounded, else as recorded.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn list(
        &self,
        filter: &Filter,
        after: Option<&PageKey>,
        limit: usize,
    ) -> Result<Page, InventoryError>;

    /// The certificates that were recorded and never delivered, of those that meet a filter: what a
    /// run that was cut short left behind.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn undelivered(&self, filter: &Filter) -> Result<Vec<InventoryEntry>, InventoryError> {
        let filter = Filter {
            status: Some(Status::Undelivered),
            ..filter.clone()
        };
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.list(&filter, after.as_ref(), 1000)?;
            found.extend(page.entries);
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// The leaves of a device that are delivered, not revoked and valid at a moment, newest first.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn live_leaves(
        &self,
        id: &RegistrationId,
        at: Time,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        let mut leaves = self.certificates_of(id)?;
        leaves.retain(|entry| entry.recorded.role() == Role::Leaf && entry.is_live(at));
        Ok(leaves)
    }

    /// The leaves of a device that got out and have not ended at a moment, newest first; revoked ones too,
    /// since DPS reads no revocation lists.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn unexpired_leaves(
        &self,
        id: &RegistrationId,
        at: Time,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        let mut leaves = self.certificates_of(id)?;
        leaves.retain(|entry| {
            let ends = entry.recorded.certificate().validity().not_after();
            entry.was_delivered() && entry.recorded.role() == Role::Leaf && ends >= at
        });
        Ok(leaves)
    }

    /// A page of the devices below a generation whose leaves are delivered, not revoked and have not
    /// expired, in the order in which the leaves were recorded. An adapter need not parse certificates
    /// for it.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn live_ids(
        &self,
        signed_by: &AuthorityGeneration,
        at: Time,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<IdPage, InventoryError> {
        let filter = Filter {
            authority: Some(signed_by.name.clone()),
            generation: Some(signed_by.generation),
            status: Some(Status::Delivered),
            role: Some(Role::Leaf),
            ..Filter::default()
        };
        let page = self.list(&filter, after.map(PageKey::after_row).as_ref(), limit)?;
        let live = page
            .entries
            .iter()
            .map(|entry| &entry.recorded)
            .filter(|leaf| leaf.certificate().validity().not_after() >= at);
        Ok(IdPage {
            ids: live
                .filter_map(Recorded::registration_id)
                .cloned()
                .collect(),
            next: page.next.map(|key| key.row),
        })
    }

    /// Whether there is a certificate, whatever became of it, of any registration ID from `least` to
    /// `greatest`. Of a new line of devices, whose IDs go on where the last one's ended, there is none.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn any_id_between(
        &self,
        least: &RegistrationId,
        greatest: &RegistrationId,
    ) -> Result<bool, InventoryError>;

    /// Those of some registration IDs that have a live leaf, in the order given. Fastest if they are
    /// sorted.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn find_ids(
        &self,
        ids: &[RegistrationId],
        at: Time,
    ) -> Result<Vec<RegistrationId>, InventoryError>;

    /// The leaves that keep a device from getting one that is to be its only one, by registration ID:
    /// what [`Self::record`] would refuse them for. Fastest if the IDs are sorted.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn holders(&self, ids: &[RegistrationId], at: Time) -> Result<Vec<Holder>, InventoryError>;

    /// The leaves that keep devices from getting one for a key that they bring: what [`Self::record`]
    /// would refuse them for. Fastest if the keys are sorted.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn key_holders(
        &self,
        keys: &[(&RegistrationId, KeyIdentity)],
        at: Time,
    ) -> Result<Vec<KeyHolder>, InventoryError>;

    /// Whether any certificate may be for one of some keys, which are given by the beginnings of their
    /// identities ([`KeyIdentity::beginning`]). Of a new line of devices none is. Fastest if they are sorted.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn any_key(&self, beginnings: &[u128]) -> Result<bool, InventoryError>;

    /// How many certificates meet a filter.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn count(&self, filter: &Filter) -> Result<u64, InventoryError>;

    /// How many certificates there are; kept as counters, so the answer does not depend on their
    /// number.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn stats(&self) -> Result<Stats, InventoryError>;

    /// Appends what happened outside of the inventory to the audit trail.
    ///
    /// # Errors
    /// [`InventoryError`] if the entry could not be made durable.
    fn append_audit(&mut self, event: AuditEvent, at: Time) -> Result<AuditHead, InventoryError>;

    /// The audit trail after an entry, oldest first, at most `limit` entries.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn audit_entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, InventoryError>;

    /// What [`Self::append_audit`] appended of an action and a subject, oldest first. It looks through
    /// the whole trail.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn events(
        &self,
        action: &EventAction,
        subject: &str,
    ) -> Result<Vec<AuditEntry>, InventoryError>;

    /// The last entry of the audit trail: a checkpoint to keep outside of the home.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read.
    fn audit_head(&self) -> Result<Option<AuditHead>, InventoryError>;

    /// Recomputes the audit trail and compares certificates, generations and counters with it. What
    /// disagrees is in the report, not an error.
    ///
    /// # Errors
    /// [`InventoryError`] if the inventory cannot be read at all.
    fn verify_audit(&self, checkpoints: &[AuditHead]) -> Result<AuditReport, InventoryError>;
}
