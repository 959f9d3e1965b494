//! From columns to values. A value that cannot have been written by us is damage, not a panic.

use der::asn1::AnyRef;
use der::{Decode as _, Header, SliceReader, Tag, Tagged as _};
use rusqlite::Row;

use super::Failure;
use crate::certificate::Certificate;
use crate::ids::{AuthorityGeneration, Generation, RegistrationId, SerialNumber};
use crate::inventory::audit::{AuditEntry, AuditHash, Rows, StoredCertificate};
use crate::inventory::{
    BatchRecord, BatchState, CertificateState, GenerationState, InventoryEntry, InventoryError,
    Label, Labels, NewCertificate, Recorded, RowKey, Status, Uniqueness,
};
use crate::profile::Role;
use crate::time::Time;

/// Everything about certificates that [`entry`] and [`stored`] read.
pub(super) const COLUMNS: &str = "
    c.id, r.role, r.status, g.authority, g.number, c.registration_id, b.name, c.labels, c.der,
    r.recorded_in, r.changed_in, recorded.at, changed.at,
    CASE WHEN r.status IN ('voided', 'revoked') THEN changed.detail END";

/// What the columns need of a certificate `c` and its run `r`.
pub(super) const JOINS: &str = "
    JOIN audit recorded ON recorded.sequence = r.recorded_in
    JOIN audit changed ON changed.sequence = r.changed_in
    LEFT JOIN generation g ON g.id = r.signed_by
    LEFT JOIN batch b ON b.id = r.batch";

/// Finds the run of a certificate `c`.
pub(super) const RUN_OF_CERTIFICATE: &str = "
    CROSS JOIN run r ON r.first = (SELECT max(first) FROM run WHERE first <= c.id) AND r.last >= c.id";

/// What the columns need of a certificate `c` that is looked for by itself: where its run or the entries
/// were removed it is damaged, not one that is not there.
pub(super) const JOINS_IF_ANY: &str = "
    LEFT JOIN run r ON r.first = (SELECT max(first) FROM run WHERE first <= c.id) AND r.last >= c.id
    LEFT JOIN audit recorded ON recorded.sequence = r.recorded_in
    LEFT JOIN audit changed ON changed.sequence = r.changed_in
    LEFT JOIN generation g ON g.id = r.signed_by
    LEFT JOIN batch b ON b.id = r.batch";

/// Everything about batches that [`batch`] reads.
pub(super) const BATCHES: &str = "
    SELECT b.id, b.name, g.authority, g.number, b.fingerprint, b.total, b.delivered,
           b.output_octets, b.output, b.format, b.state, b.started_at, b.completed_at, b.manifest
    FROM batch b LEFT JOIN generation g ON g.id = b.signed_by";

/// Everything about audit entries that [`audit_entry`] reads.
pub(super) const AUDIT_ENTRIES: &str =
    "SELECT sequence, at, action, subject, detail, certificates, content, hash FROM audit";

/// A certificate with its state.
pub(super) fn entry(row: &Row<'_>) -> Result<InventoryEntry, Failure> {
    let stored = stored(row)?;
    let last = match row.get::<_, Option<String>>(13)? {
        Some(detail) => LastChange::read(&detail),
        None => LastChange::default(),
    };
    let at = match last.since {
        Some(since) => since,
        None => time(row, 12)?,
    };
    let state = CertificateState::assemble(stored.status, at, last.reason.as_deref());
    let key = stored.recorded.row();
    Ok(InventoryEntry {
        recorded: stored.recorded,
        recorded_at: time(row, 11)?,
        recorded_in: stored.recorded_in,
        state: state.ok_or_else(|| damage(key, "reason"))?,
    })
}

/// What the trail says of certificates that were voided or revoked.
#[derive(Default, serde::Deserialize)]
pub(super) struct LastChange {
    pub(super) reason: Option<String>,
    /// When they were revoked, if that was before the trail learnt of it.
    since: Option<Time>,
}

impl LastChange {
    /// Reads the detail of an entry; nothing is known from one that was tampered with.
    pub(super) fn read(detail: &str) -> Self {
        serde_json::from_str(detail).unwrap_or_default()
    }
}

/// A certificate with what binds it to the trail.
pub(super) fn stored(row: &Row<'_>) -> Result<StoredCertificate, Failure> {
    let key = RowKey::new(row.get(0)?);
    let der = row.get_ref(8)?.as_blob().map_err(rusqlite::Error::from)?;
    let role: String = row.get(1)?;
    let id: Option<String> = row.get(5)?;
    let content = NewCertificate {
        certificate: certificate(key, der)?,
        role: Role::from_word(&role).ok_or_else(|| damage(key, "role"))?,
        signed_by: signed_by(row, 3)?,
        registration_id: parsed(id, || damage(key, "registration ID"))?,
        batch: batch_name(key, row.get(6)?)?,
        labels: parsed::<Labels>(row.get(7)?, || damage(key, "labels"))?.unwrap_or_default(),
        request: None,
        uniqueness: Uniqueness::default(),
    };
    Ok(StoredCertificate {
        recorded: Recorded::new(key, content),
        status: status(key, &row.get::<_, String>(2)?)?,
        recorded_in: unsigned(row.get(9)?)?,
        changed_in: unsigned(row.get(10)?)?,
        request: None,
    })
}

/// The name of a batch that a certificate is in.
pub(super) fn batch_name(key: RowKey, name: Option<String>) -> Result<Option<Label>, Failure> {
    parsed(name, || damage(key, "batch"))
}

pub(super) fn certificate(key: RowKey, der: &[u8]) -> Result<Certificate, Failure> {
    Ok(Certificate::from_der(der).map_err(|_| damage(key, "DER"))?)
}

pub(super) fn serial_number(key: RowKey, der: &[u8]) -> Result<SerialNumber, Failure> {
    let serial = serial_number_in(der);
    Ok(serial.ok_or_else(|| damage(key, "serial number"))?)
}

/// The serial number of a certificate in DER, of which nothing behind it is looked at: for those who
/// search many for one.
fn serial_number_in(der: &[u8]) -> Option<SerialNumber> {
    let mut reader = SliceReader::new(der).ok()?;
    // Certificate, then TBSCertificate (RFC 5280 §4.1).
    for _ in 0..2 {
        let header = Header::decode(&mut reader).ok()?;
        header.tag().assert_eq(Tag::Sequence).ok()?;
    }
    let mut value = AnyRef::decode(&mut reader).ok()?;
    if value.tag().is_context_specific() {
        value = AnyRef::decode(&mut reader).ok()?;
    }
    value.tag().assert_eq(Tag::Integer).ok()?;
    SerialNumber::from_be_octets(value.value()).ok()
}

pub(super) fn registration_id(key: RowKey, id: &str) -> Result<RegistrationId, Failure> {
    Ok(id.parse().map_err(|_| damage(key, "registration ID"))?)
}

pub(super) fn status(key: RowKey, word: &str) -> Result<Status, Failure> {
    Ok(Status::from_word(word).ok_or_else(|| damage(key, "status"))?)
}

/// The generation in two columns, authority and number.
pub(super) fn signed_by(
    row: &Row<'_>,
    column: usize,
) -> Result<Option<AuthorityGeneration>, Failure> {
    let Some(name) = row.get::<_, Option<String>>(column)? else {
        return Ok(None);
    };
    let generation = generation_number(row.get(column + 1)?)?;
    let name = name
        .parse()
        .map_err(|_| InventoryError::corrupt(format!("{name:?} is no authority's name")))?;
    Ok(Some(AuthorityGeneration { name, generation }))
}

pub(super) fn generation_number(number: i64) -> Result<Generation, Failure> {
    let generation = u32::try_from(number).ok().and_then(Generation::new);
    let damage = || InventoryError::corrupt(format!("{number} is no generation"));
    Ok(generation.ok_or_else(damage)?)
}

pub(super) fn generation_state(word: &str) -> Result<GenerationState, Failure> {
    let damage = || InventoryError::corrupt(format!("{word:?} is no state of a generation"));
    Ok(GenerationState::from_word(word).ok_or_else(damage)?)
}

pub(super) fn audit_entry(row: &Row<'_>) -> Result<AuditEntry, Failure> {
    let sequence = unsigned(row.get(0)?)?;
    let damage =
        |what: &str| InventoryError::corrupt(format!("audit entry {sequence} has a broken {what}"));
    let rows: String = row.get(5)?;
    let content: Option<Vec<u8>> = row.get(6)?;
    let content = content.map(|octets| hash(&octets).ok_or_else(|| damage("content hash")));
    Ok(AuditEntry {
        sequence,
        at: time(row, 1)?,
        action: row.get(2)?,
        subject: row.get(3)?,
        detail: row.get(4)?,
        rows: rows.parse::<Rows>().map_err(|_| damage("set of rows"))?,
        content: content.transpose()?,
        hash: hash(&row.get::<_, Vec<u8>>(7)?).ok_or_else(|| damage("hash"))?,
    })
}

/// A batch and its row.
pub(super) fn batch(row: &Row<'_>) -> Result<(i64, BatchRecord), Failure> {
    let name: String = row.get(1)?;
    let damage =
        |what: &str| InventoryError::corrupt(format!("the batch {name:?} has a broken {what}"));
    let state: String = row.get(10)?;
    let completed_at: Option<i64> = row.get(12)?;
    let record = BatchRecord {
        name: name.parse().map_err(|_| damage("name"))?,
        signed_by: signed_by(row, 2)?.ok_or_else(|| damage("signer"))?,
        fingerprint: row.get(4)?,
        total: unsigned(row.get(5)?)?,
        delivered: unsigned(row.get(6)?)?,
        output_octets: unsigned(row.get(7)?)?,
        output: row.get(8)?,
        format: row.get(9)?,
        state: BatchState::from_word(&state).ok_or_else(|| damage("state"))?,
        started_at: time(row, 11)?,
        completed_at: completed_at.map(|_| time(row, 12)).transpose()?,
        manifest: row.get(13)?,
    };
    Ok((row.get(0)?, record))
}

pub(super) fn hash(octets: &[u8]) -> Option<AuditHash> {
    octets.try_into().ok().map(AuditHash::from_octets)
}

pub(super) fn unsigned(number: i64) -> Result<u64, Failure> {
    let damage = |_| InventoryError::corrupt(format!("{number} where a count is expected"));
    Ok(u64::try_from(number).map_err(damage)?)
}

/// A moment.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Time, Failure> {
    let seconds = row.get(column)?;
    let damage = |_| InventoryError::corrupt(format!("{seconds} is no time"));
    Ok(Time::from_unix_seconds(seconds).map_err(damage)?)
}

fn parsed<T: std::str::FromStr>(
    text: Option<String>,
    damage: impl Fn() -> InventoryError,
) -> Result<Option<T>, Failure> {
    let parse = |text: String| text.parse().map_err(|_| damage());
    Ok(text.map(parse).transpose()?)
}

fn damage(key: RowKey, what: &str) -> InventoryError {
    InventoryError::corrupt(format!("certificate {key} has a broken {what}"))
}

/// A serial number with its length in front, so that its octets compare as the number does.
pub(super) fn serial_key(serial: &SerialNumber) -> Vec<u8> {
    let octets = serial.as_be_octets();
    // At most 20 (RFC 5280 §4.1.2.2).
    let length = u8::try_from(octets.len()).unwrap_or(u8::MAX);
    [&[length], octets].concat()
}

/// A count as SQLite stores it.
pub(super) fn signed(number: u64) -> Result<i64, Failure> {
    let damage = |_| InventoryError::corrupt(format!("the count {number}"));
    Ok(i64::try_from(number).map_err(damage)?)
}
