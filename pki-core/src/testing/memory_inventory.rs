//! The inventory in memory: the port's rules without storage, for tests and as the model that real
//! adapters are compared with. It makes the very trail that they make.

mod change;
mod journal;

use std::collections::{BTreeMap, HashMap};

use crate::crl::RevocationReason;
use crate::ids::{
    AuthorityGeneration, AuthorityName, Generation, RegistrationId, SerialNumber, Sha1Thumbprint,
    Sha256Thumbprint,
};
use crate::inventory::audit::{
    AuditEntry, AuditEvent, AuditHash, AuditHead, AuditReport, Auditor, Draft, EventAction, Rows,
    StoredCertificate, StoredGeneration, StoredPlan,
};
use crate::inventory::{
    self, AuthorityRecord, BatchProgress, BatchRecord, BatchState, CertificateState, Count, Filter,
    GenerationChange, GenerationRecord, GenerationState, Holder, Inventory, InventoryEntry,
    InventoryError, KeyHolder, Label, LostLeaves, NewBatch, NewCertificate, NewGeneration, Page,
    PageKey, Recorded, Revocation, RowKey, Stats, Status, Uniqueness,
};
use crate::journal::{PlanRecord, subjects_of};
use crate::key::KeyIdentity;
use crate::time::Time;

/// An inventory that forgets everything when it is dropped.
#[derive(Debug, Clone, Default)]
pub struct MemoryInventory {
    certificates: Vec<Held>,
    requests: BTreeMap<RowKey, Vec<u8>>,
    authorities: BTreeMap<AuthorityName, Vec<GenerationRecord>>,
    audit: Vec<AuditEntry>,
    batches: Vec<BatchRecord>,
    plans: Vec<PlanRecord>,
}

#[derive(Debug, Clone)]
struct Held {
    entry: InventoryEntry,
    changed_in: u64,
}

impl MemoryInventory {
    /// An empty inventory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a change on a copy, so that it is made wholly or not at all.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, InventoryError>,
    ) -> Result<T, InventoryError> {
        let mut changed = self.clone();
        let value = change(&mut changed)?;
        *self = changed;
        Ok(value)
    }

    fn known(&self, name: &Label) -> Result<&BatchRecord, InventoryError> {
        let missing = || InventoryError::BatchNotFound {
            batch: name.clone(),
        };
        self.batches
            .iter()
            .find(|batch| batch.name == *name)
            .ok_or_else(missing)
    }

    fn known_mut(&mut self, name: &Label) -> Result<&mut BatchRecord, InventoryError> {
        let missing = || InventoryError::BatchNotFound {
            batch: name.clone(),
        };
        self.batches
            .iter_mut()
            .find(|batch| batch.name == *name)
            .ok_or_else(missing)
    }

    fn generation(&self, id: &AuthorityGeneration) -> Option<&GenerationRecord> {
        self.authorities
            .get(&id.name)?
            .iter()
            .find(|record| record.generation == id.generation)
    }

    fn generation_mut(&mut self, id: &AuthorityGeneration) -> Option<&mut GenerationRecord> {
        self.authorities
            .get_mut(&id.name)?
            .iter_mut()
            .find(|record| record.generation == id.generation)
    }

    /// Newest first.
    fn find(&self, fits: impl Fn(&InventoryEntry) -> bool) -> Vec<InventoryEntry> {
        self.certificates
            .iter()
            .rev()
            .map(|held| &held.entry)
            .filter(|entry| fits(entry))
            .cloned()
            .collect()
    }

    fn counts(&self) -> Vec<Count> {
        let mut counts: HashMap<_, u64> = HashMap::new();
        for Held { entry, .. } in &self.certificates {
            let recorded = &entry.recorded;
            let key = (
                recorded.signed_by().cloned(),
                recorded.role(),
                entry.state.status(),
            );
            *counts.entry(key).or_default() += 1;
        }
        let count = |((signed_by, role, status), certificates)| Count {
            signed_by,
            role,
            status,
            certificates,
        };
        counts.into_iter().map(count).collect()
    }
}

impl Held {
    fn row(&self) -> i64 {
        self.entry.recorded.row().number()
    }
}

fn states(records: &[GenerationRecord]) -> Vec<(Generation, GenerationState)> {
    records
        .iter()
        .map(|record| (record.generation, record.state))
        .collect()
}

impl Inventory for MemoryInventory {
    fn deliver_and_record(
        &mut self,
        delivered: &[RowKey],
        progress: Option<&BatchProgress>,
        chunk: Vec<NewCertificate>,
        at: Time,
    ) -> Result<Vec<Recorded>, InventoryError> {
        self.write(|inventory| {
            match progress {
                None => inventory.deliver(delivered, at)?,
                Some(progress) => {
                    inventory.known_mut(&progress.batch)?.advance(progress)?;
                    let rows = Rows::of(delivered);
                    let draft = Draft::delivered(rows.clone(), Some(progress), at);
                    inventory.change_rows(&rows, &CertificateState::Delivered { at }, draft)?;
                }
            }
            inventory.insert_chunk(chunk, at)
        })
    }

    fn open_batch(&mut self, new: NewBatch, at: Time) -> Result<BatchRecord, InventoryError> {
        let find = |fits: &dyn Fn(&BatchRecord) -> bool| {
            self.batches.iter().find(|batch| fits(batch)).cloned()
        };
        let open =
            find(&|batch| batch.state == BatchState::Open && batch.fingerprint == new.fingerprint);
        let named = find(&|batch| batch.name == new.name);
        if let Some(batch) = inventory::batch::resumed(&new, open, named)? {
            return Ok(batch);
        }
        self.refuse_unknown_signer(Some(&new.signed_by))?;
        let batch = BatchRecord::begin(new, at);
        self.append(Draft::batch_opened(&batch, at));
        self.batches.push(batch.clone());
        Ok(batch)
    }

    fn replace_batch(
        &mut self,
        new: NewBatch,
        lost: &[LostLeaves],
        at: Time,
    ) -> Result<BatchRecord, InventoryError> {
        self.write(|inventory| {
            inventory.refuse_unknown_signer(Some(&new.signed_by))?;
            let name = new.name.clone();
            let batch = inventory.known_mut(&name)?;
            batch.replace(new, at)?;
            let batch = batch.clone();
            for leaves in lost {
                inventory.withdraw(&name, leaves, at)?;
            }
            inventory.append(Draft::batch_replaced(&batch, LostLeaves::all(lost), at));
            Ok(batch)
        })
    }

    fn lost_leaves(&self, batch: &Label) -> Result<Vec<RowKey>, InventoryError> {
        let mut newest_first = self.audit.iter().rev();
        let replaced = newest_first
            .find(|entry| entry.action() == "batch-replaced" && entry.subject() == batch.as_str());
        Ok(replaced.map_or_else(Vec::new, |entry| entry.rows().iter().collect()))
    }

    fn complete_batch(
        &mut self,
        name: &Label,
        manifest: &str,
        at: Time,
    ) -> Result<BatchRecord, InventoryError> {
        let batch = self.known_mut(name)?;
        batch.complete(manifest, at)?;
        let batch = batch.clone();
        self.append(Draft::batch_completed(&batch, manifest, at));
        Ok(batch)
    }

    fn void_undelivered(
        &mut self,
        batch: &Label,
        reason: &str,
        at: Time,
    ) -> Result<u64, InventoryError> {
        self.known(batch)?;
        let filter = Filter {
            batch: Some(batch.clone()),
            ..Filter::default()
        };
        let left = self.undelivered(&filter)?;
        let rows: Vec<RowKey> = left.iter().map(|entry| entry.recorded.row()).collect();
        self.void(&rows, reason, at)?;
        Ok(Rows::of(&rows).count())
    }

    fn batch(&self, name: &Label) -> Result<Option<BatchRecord>, InventoryError> {
        Ok(self.known(name).ok().cloned())
    }

    fn ends_of_batch(
        &self,
        name: &Label,
    ) -> Result<Option<(SerialNumber, SerialNumber)>, InventoryError> {
        let filter = Filter {
            batch: Some(name.clone()),
            status: Some(Status::Delivered),
            ..Filter::default()
        };
        let newest_first = self.find(|entry| filter.matches(entry));
        let serial = |entry: &InventoryEntry| entry.recorded.certificate().serial_number().clone();
        Ok(newest_first
            .last()
            .map(serial)
            .zip(newest_first.first().map(serial)))
    }

    fn batches(
        &self,
        after: Option<&Label>,
        limit: usize,
    ) -> Result<Vec<BatchRecord>, InventoryError> {
        let start = match after {
            None => 0,
            Some(name) => {
                let after = self.known(name)?;
                self.batches
                    .iter()
                    .position(|batch| batch == after)
                    .map_or(0, |place| place + 1)
            }
        };
        Ok(self
            .batches
            .iter()
            .skip(start)
            .take(limit)
            .cloned()
            .collect())
    }

    fn void(&mut self, rows: &[RowKey], reason: &str, at: Time) -> Result<(), InventoryError> {
        let voided = CertificateState::Voided {
            at,
            reason: reason.to_owned(),
        };
        self.write(|inventory| {
            inventory.change_state(rows, &voided, |rows| Draft::voided(rows, reason, at))
        })
    }

    fn revoke(
        &mut self,
        rows: &[RowKey],
        reason: RevocationReason,
        at: Time,
    ) -> Result<(), InventoryError> {
        let revoked = CertificateState::Revoked { at, reason };
        self.write(|inventory| {
            inventory.change_state(rows, &revoked, |rows| Draft::revoked(rows, reason, at, at))
        })
    }

    fn revoke_as_of(&mut self, revocations: &[Revocation], at: Time) -> Result<(), InventoryError> {
        self.write(|inventory| {
            revocations.iter().try_for_each(|revocation| {
                let Revocation { row, since, reason } = *revocation;
                let revoked = CertificateState::Revoked { at: since, reason };
                inventory.change_state(&[row], &revoked, |rows| {
                    Draft::revoked(rows, reason, since, at)
                })
            })
        })
    }

    fn record_authority(
        &mut self,
        generation: NewGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError> {
        self.write(|inventory| {
            inventory.begin(&generation)?;
            let id = AuthorityGeneration {
                name: generation.authority.clone(),
                generation: generation.generation,
            };
            let recorded = inventory.insert_one(&id, certificate, at)?;
            let row = Some(recorded.row());
            inventory.append(Draft::generation_recorded(&generation, row, at));
            Ok(recorded)
        })
    }

    fn record_request(
        &mut self,
        generation: NewGeneration,
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|inventory| {
            inventory.begin(&generation)?;
            inventory.append(Draft::generation_recorded(&generation, None, at));
            Ok(())
        })
    }

    fn adopt(
        &mut self,
        generation: &AuthorityGeneration,
        certificate: NewCertificate,
        at: Time,
    ) -> Result<Recorded, InventoryError> {
        self.write(|inventory| {
            let Some(record) = inventory.generation(generation) else {
                return Err(InventoryError::GenerationNotFound {
                    generation: generation.clone(),
                });
            };
            if record.state != GenerationState::Pending || record.certificate.is_some() {
                return Err(InventoryError::HasCertificate {
                    generation: generation.clone(),
                });
            }
            let recorded = inventory.insert_one(generation, certificate, at)?;
            let name = &generation.name;
            let number = generation.generation;
            inventory.append(Draft::adopted(name, number, recorded.row(), at));
            Ok(recorded)
        })
    }

    fn settle_generations(
        &mut self,
        authority: &AuthorityName,
        changes: &[GenerationChange],
        at: Time,
    ) -> Result<(), InventoryError> {
        self.write(|inventory| {
            let records = inventory.authorities.get(authority).cloned();
            let before = states(&records.unwrap_or_default());
            let after = inventory::authority::settle(authority, &before, changes)?;
            if before == after {
                return Ok(());
            }
            for ((generation, from), (_, to)) in before.into_iter().zip(after) {
                let name = authority.clone();
                let id = AuthorityGeneration { name, generation };
                if from == GenerationState::Pending && to != from {
                    inventory.settle_certificate(&id, to, at)?;
                }
                if let Some(record) = inventory.generation_mut(&id) {
                    record.state = to;
                }
            }
            inventory.append(Draft::settled(authority, changes, at));
            Ok(())
        })
    }

    fn authority(&self, name: &AuthorityName) -> Result<Option<AuthorityRecord>, InventoryError> {
        let records = self.authorities.get(name);
        Ok(records.map(|records| AuthorityRecord {
            name: name.clone(),
            generations: records.clone(),
        }))
    }

    fn authorities(&self) -> Result<Vec<AuthorityRecord>, InventoryError> {
        let record = |(name, records): (&AuthorityName, &Vec<GenerationRecord>)| AuthorityRecord {
            name: name.clone(),
            generations: records.clone(),
        };
        Ok(self.authorities.iter().map(record).collect())
    }

    fn certificate(&self, row: RowKey) -> Result<Option<InventoryEntry>, InventoryError> {
        Ok(self.find(|entry| entry.recorded.row() == row).pop())
    }

    fn request(&self, row: RowKey) -> Result<Option<Vec<u8>>, InventoryError> {
        Ok(self.requests.get(&row).cloned())
    }

    fn certificates_of(&self, id: &RegistrationId) -> Result<Vec<InventoryEntry>, InventoryError> {
        Ok(self.find(|entry| entry.recorded.registration_id() == Some(id)))
    }

    fn by_serial_number(
        &self,
        serial: &SerialNumber,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        Ok(self.find(|entry| entry.recorded.certificate().serial_number() == serial))
    }

    fn by_sha1_thumbprint(
        &self,
        thumbprint: &Sha1Thumbprint,
    ) -> Result<Vec<InventoryEntry>, InventoryError> {
        Ok(self.find(|entry| entry.recorded.certificate().sha1_thumbprint() == *thumbprint))
    }

    fn by_sha256_thumbprint(
        &self,
        thumbprint: &Sha256Thumbprint,
    ) -> Result<Option<InventoryEntry>, InventoryError> {
        let found =
            self.find(|entry| entry.recorded.certificate().sha256_thumbprint() == *thumbprint);
        Ok(found.into_iter().next())
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<&PageKey>,
        limit: usize,
    ) -> Result<Page, InventoryError> {
        let mut found = self.find(|entry| filter.matches(entry));
        let order = filter.order();
        found.sort_by_key(|entry| PageKey::of(entry).in_order(order));
        if let Some(after) = after {
            found
                .retain(|entry| PageKey::of(entry).in_order(order) > after.clone().in_order(order));
        }
        found.truncate(limit.saturating_add(1));
        Ok(Page::cut(found, limit))
    }

    fn any_id_between(
        &self,
        least: &RegistrationId,
        greatest: &RegistrationId,
    ) -> Result<bool, InventoryError> {
        let is_between = |id: &RegistrationId| least <= id && id <= greatest;
        let found = self.find(|entry| entry.recorded.registration_id().is_some_and(is_between));
        Ok(!found.is_empty())
    }

    fn find_ids(
        &self,
        ids: &[RegistrationId],
        at: Time,
    ) -> Result<Vec<RegistrationId>, InventoryError> {
        let mut found = ids.to_vec();
        found.retain(|id| {
            let leaves = self.live_leaves(id, at);
            leaves.is_ok_and(|leaves| !leaves.is_empty())
        });
        Ok(found)
    }

    fn holders(&self, ids: &[RegistrationId], at: Time) -> Result<Vec<Holder>, InventoryError> {
        let mut sorted: Vec<&RegistrationId> = ids.iter().collect();
        sorted.sort();
        let holder = |id: &RegistrationId| self.holder(id, Uniqueness::OnlyLeaf, at);
        Ok(sorted.into_iter().filter_map(holder).collect())
    }

    fn key_holders(
        &self,
        keys: &[(&RegistrationId, KeyIdentity)],
        at: Time,
    ) -> Result<Vec<KeyHolder>, InventoryError> {
        let holders = keys.iter().filter_map(|(id, key)| {
            self.certificates
                .iter()
                .map(|held| &held.entry)
                .find_map(|entry| {
                    let is_same = entry.recorded.certificate().key_identity() == *key;
                    KeyHolder::of(id, entry, at).filter(|_| is_same)
                })
        });
        Ok(holders.collect())
    }

    fn any_key(&self, beginnings: &[u128]) -> Result<bool, InventoryError> {
        Ok(self
            .certificates
            .iter()
            .map(|held| held.entry.recorded.certificate())
            .any(|one| beginnings.contains(&one.key_identity().beginning())))
    }

    fn count(&self, filter: &Filter) -> Result<u64, InventoryError> {
        let found = self.find(|entry| filter.matches(entry)).len();
        Ok(u64::try_from(found).unwrap_or(u64::MAX))
    }

    fn stats(&self) -> Result<Stats, InventoryError> {
        Ok(Stats::from_counts(self.counts()))
    }

    fn append_audit(&mut self, event: AuditEvent, at: Time) -> Result<AuditHead, InventoryError> {
        Ok(self.append(Draft::event(event, at)))
    }

    fn audit_entries(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, InventoryError> {
        Ok(self
            .audit
            .iter()
            .filter(|entry| entry.sequence() > after)
            .take(limit)
            .cloned()
            .collect())
    }

    fn events(
        &self,
        action: &EventAction,
        subject: &str,
    ) -> Result<Vec<AuditEntry>, InventoryError> {
        let entries = self.audit.iter();
        let found =
            entries.filter(|entry| entry.action() == action.as_str() && entry.subject() == subject);
        Ok(found.cloned().collect())
    }

    fn audit_head(&self) -> Result<Option<AuditHead>, InventoryError> {
        Ok(self.audit.last().map(AuditEntry::head))
    }

    fn verify_audit(&self, checkpoints: &[AuditHead]) -> Result<AuditReport, InventoryError> {
        let mut auditor = Auditor::new(checkpoints);
        self.audit.iter().for_each(|entry| auditor.entry(entry));
        for held in &self.certificates {
            auditor.certificate(&StoredCertificate {
                recorded: held.entry.recorded.clone(),
                status: held.entry.state.status(),
                recorded_in: held.entry.recorded_in,
                changed_in: held.changed_in,
                request: self
                    .requests
                    .get(&held.entry.recorded.row())
                    .map(|der| AuditHash::of(der)),
            });
        }
        for (authority, records) in &self.authorities {
            for record in records {
                auditor.generation(&StoredGeneration { authority, record });
            }
        }
        self.batches.iter().for_each(|batch| auditor.batch(batch));
        for record in &self.plans {
            auditor.plan(&StoredPlan::of(record)?, subjects_of);
        }
        self.counts()
            .into_iter()
            .for_each(|count| auditor.counter(count));
        Ok(auditor.finish())
    }
}
