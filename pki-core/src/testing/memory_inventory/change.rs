//! Changes, each on a copy that its caller keeps or drops.

use super::{Held, MemoryInventory, states};
use crate::ids::{AuthorityGeneration, RegistrationId};
use crate::inventory::audit::{AuditEntry, AuditHash, AuditHead, Draft, Links, Rows};
use crate::inventory::unique::{keys_brought, only_leaves, refuse_holders, refuse_key_holders};
use crate::inventory::{
    self, CertificateState, GenerationRecord, GenerationState, Holder, Inventory as _,
    InventoryEntry, InventoryError, Label, LostLeaves, NewCertificate, NewGeneration, Recorded,
    RowKey, Status, Uniqueness,
};
use crate::time::Time;

impl MemoryInventory {
    pub(super) fn append(&mut self, draft: Draft) -> AuditHead {
        let last = self.audit.last().map(AuditEntry::head);
        let earlier = Links::earlier_than(last.map_or(0, |last| last.sequence) + 1);
        let earlier = self
            .audit
            .iter()
            .find(|entry| entry.sequence() == earlier)
            .map_or(AuditHash::NONE, AuditEntry::hash);
        let entry = draft.seal(last.as_ref(), earlier);
        let head = entry.head();
        self.audit.push(entry);
        head
    }

    pub(super) fn insert_chunk(
        &mut self,
        chunk: Vec<NewCertificate>,
        at: Time,
    ) -> Result<Vec<Recorded>, InventoryError> {
        if chunk.is_empty() {
            return Ok(Vec::new());
        }
        self.refuse_second_leaves(&chunk, at)?;
        refuse_key_holders(self.key_holders(&keys_brought(&chunk)?, at)?)?;
        let first = self.certificates.last().map_or(1, |held| held.row() + 1);
        let rows: Vec<RowKey> = (first..).take(chunk.len()).map(RowKey::new).collect();
        let thumbprints = chunk.iter().map(|new| new.certificate.sha256_thumbprint());
        let thumbprints: Vec<_> = thumbprints.collect();
        let draft = Draft::recorded(&chunk, &thumbprints, Rows::of(&rows), at);
        let sequence = self.append(draft).sequence;
        for new in &chunk {
            self.refuse_unknown_signer(new.signed_by.as_ref())?;
            if let Some(batch) = &new.batch {
                self.known(batch)?.refuse_complete()?;
            }
        }
        let mut recorded = Vec::new();
        for (row, mut new) in rows.into_iter().zip(chunk) {
            self.refuse_duplicate(&new)?;
            let request = new.request.take();
            self.requests.extend(request.map(|der| (row, der)));
            let content = Recorded::new(row, new);
            recorded.push(content.clone());
            self.certificates.push(Held {
                entry: InventoryEntry {
                    recorded: content,
                    recorded_at: at,
                    recorded_in: sequence,
                    state: CertificateState::Undelivered,
                },
                changed_in: sequence,
            });
        }
        Ok(recorded)
    }

    pub(super) fn refuse_unknown_signer(
        &self,
        signed_by: Option<&AuthorityGeneration>,
    ) -> Result<(), InventoryError> {
        match signed_by {
            Some(by) if self.generation(by).is_none() => Err(InventoryError::UnknownSigner {
                signed_by: by.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn refuse_second_leaves(
        &self,
        chunk: &[NewCertificate],
        at: Time,
    ) -> Result<(), InventoryError> {
        let leaves = only_leaves(chunk)?;
        let holder =
            |(id, uniqueness): &(&RegistrationId, Uniqueness)| self.holder(id, *uniqueness, at);
        refuse_holders(leaves.iter().filter_map(holder).collect())
    }

    /// The newest leaf of a device that is in the way of another.
    pub(super) fn holder(
        &self,
        id: &RegistrationId,
        uniqueness: Uniqueness,
        at: Time,
    ) -> Option<Holder> {
        let breaks = |held: &&Held| {
            held.entry.recorded.registration_id() == Some(id) && held.entry.breaks(uniqueness, at)
        };
        let entry = &self.certificates.iter().rev().find(breaks)?.entry;
        Some(Holder {
            id: id.clone(),
            row: entry.recorded.row(),
            serial_number: entry.recorded.certificate().serial_number().clone(),
            status: entry.state.status(),
            batch: entry.recorded.batch().cloned(),
        })
    }

    pub(super) fn refuse_duplicate(&self, new: &NewCertificate) -> Result<(), InventoryError> {
        let same = |held: &&Held| {
            let earlier = held.entry.recorded.certificate();
            earlier.serial_number() == new.certificate.serial_number()
                && earlier.issuer() == new.certificate.issuer()
        };
        match self.certificates.iter().find(same) {
            Some(_) => Err(InventoryError::DuplicateSerial {
                issuer: new.certificate.issuer().to_string(),
                serial: new.certificate.serial_number().clone(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn change_state(
        &mut self,
        rows: &[RowKey],
        next: &CertificateState,
        draft: impl FnOnce(Rows) -> Draft,
    ) -> Result<(), InventoryError> {
        match Rows::of(rows) {
            rows if rows.is_empty() => Ok(()),
            rows => self.change_rows(&rows, next, draft(rows.clone())),
        }
    }

    pub(super) fn change_rows(
        &mut self,
        rows: &Rows,
        next: &CertificateState,
        draft: Draft,
    ) -> Result<(), InventoryError> {
        self.change_rows_if(rows, next, draft, |entry| entry.state.may_become(next))
    }

    /// Withdraws what a batch has delivered.
    pub(super) fn withdraw(
        &mut self,
        batch: &Label,
        lost: &LostLeaves,
        at: Time,
    ) -> Result<(), InventoryError> {
        let rows = Rows::of(&lost.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let draft = lost.withdrawal.draft(rows.clone(), at);
        self.change_rows_if(&rows, &lost.withdrawal.state(at), draft, |entry| {
            entry.state.status() == Status::Delivered && entry.recorded.batch() == Some(batch)
        })
    }

    fn change_rows_if(
        &mut self,
        rows: &Rows,
        next: &CertificateState,
        draft: Draft,
        may: impl Fn(&InventoryEntry) -> bool,
    ) -> Result<(), InventoryError> {
        let sequence = self.append(draft).sequence;
        for number in rows.ranges().flat_map(|(first, last)| first..=last) {
            let row = RowKey::new(number);
            let mut held = self.certificates.iter_mut();
            let held = held
                .find(|held| held.row() == number)
                .ok_or(InventoryError::CertificateNotFound { row })?;
            if !may(&held.entry) {
                return Err(InventoryError::CertificateState {
                    row,
                    from: held.entry.state.status(),
                    to: next.status(),
                });
            }
            held.entry.state = next.clone();
            held.changed_in = sequence;
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self, rows: &[RowKey], at: Time) -> Result<(), InventoryError> {
        let delivered = CertificateState::Delivered { at };
        self.change_state(rows, &delivered, |rows| Draft::delivered(rows, None, at))
    }

    pub(super) fn begin(&mut self, new: &NewGeneration) -> Result<(), InventoryError> {
        let records = self.authorities.entry(new.authority.clone()).or_default();
        inventory::authority::begin(new, &states(records))?;
        records.push(GenerationRecord {
            generation: new.generation,
            subject: new.subject.clone(),
            key_reference: new.key_reference.clone(),
            state: GenerationState::Pending,
            certificate: None,
        });
        Ok(())
    }

    pub(super) fn insert_one(
        &mut self,
        generation: &AuthorityGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError> {
        let recorded = self
            .insert_chunk(vec![certificate], at)?
            .pop()
            .ok_or_else(|| InventoryError::corrupt("no row"))?;
        if let Some(record) = self.generation_mut(generation) {
            record.certificate = Some(recorded.clone());
        }
        Ok(recorded)
    }

    pub(super) fn settle_certificate(
        &mut self,
        generation: &AuthorityGeneration,
        to: GenerationState,
        at: Time,
    ) -> Result<(), InventoryError> {
        let certificate = self
            .generation(generation)
            .and_then(|record| record.certificate.as_ref());
        let Some(row) = certificate.map(Recorded::row) else {
            return match to {
                GenerationState::Voided => Ok(()),
                _ => Err(InventoryError::NoCertificate {
                    generation: generation.clone(),
                }),
            };
        };
        let next = inventory::authority::certificate_after(generation, to, at);
        let found = self.certificate(row)?.map(|entry| entry.state.status());
        if found == Some(next.status()) {
            return Ok(());
        }
        match &next {
            CertificateState::Voided { reason, .. } => {
                self.change_state(&[row], &next, |rows| Draft::voided(rows, reason, at))
            }
            _ => self.deliver(&[row], at),
        }
    }
}
