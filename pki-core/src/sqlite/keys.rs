//! The upgrade of an inventory in which certificates were not found by their public keys.

use rusqlite::Transaction;

use super::{Failure, lookup, row};
use crate::inventory::RowKey;
use crate::key::KeyIdentity;

/// So many may take more than moments: 300,000 took 0.4 s of processor time, and 2.2 s on a busy machine.
const MANY: u64 = 100_000;

/// Adds the keys of all certificates to the lookups. If there are many, `tell` is told how many beforehand.
pub(super) fn index(transaction: &Transaction<'_>, tell: impl FnOnce(u64)) -> Result<(), Failure> {
    /// Entries that are held in memory: a megabyte.
    const MOST: usize = 1 << 16;
    let last = "SELECT ifnull(max(id), 0) FROM certificate";
    let certificates = transaction.query_row(last, [], |row| row.get(0))?;
    let certificates = row::unsigned(certificates)?;
    if certificates >= MANY {
        tell(certificates);
    }
    let mut query = transaction.prepare("SELECT id, der FROM certificate ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut entries = Vec::new();
    while let Some(found) = rows.next()? {
        let key = RowKey::new(found.get(0)?);
        let der = found.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let public_key = match KeyIdentity::in_certificate(der) {
            Some(public_key) => public_key,
            None => row::certificate(key, der)?.key_identity(),
        };
        entries.push(lookup::entry(public_key.as_octets(), key));
        if entries.len() == MOST {
            lookup::insert(transaction, std::mem::take(&mut entries))?;
        }
    }
    lookup::insert(transaction, entries)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema::MIGRATIONS;
    use super::*;
    use crate::testing::SampleAuthority;
    use crate::time::{Span, Time, Validity};

    #[test]
    fn a_long_upgrade_is_told_of_beforehand() {
        let now: Time = "2026-03-01T00:00:00Z".parse().expect("time");
        let validity = Validity::new(now, now + Span::from_days(365)).expect("order");
        let certificate = SampleAuthority::new("Contoso Line 1").certificate("a", 1, validity);
        for (last, wanted) in [(99_999_i64, None), (100_000, Some(100_000))] {
            let mut connection = Connection::open_in_memory().expect("opened");
            for migration in MIGRATIONS {
                connection.execute_batch(migration).expect("schema");
            }
            let transaction = connection.transaction().expect("begun");
            transaction
                .execute(
                    "INSERT INTO certificate VALUES (?, 'a', 0, NULL, ?)",
                    (last, certificate.der()),
                )
                .expect("inserted");
            let mut told = None;
            index(&transaction, |certificates| told = Some(certificates)).expect("upgraded");
            assert_eq!(told, wanted);
        }
    }
}
