//! All tests of the core in one binary: a module for each subject, and [`support`] for a small PKI to test with.
#![expect(
    clippy::disallowed_methods,
    reason = "the fence is for the core: how much is tried, and whether this is CI, is in the environment"
)]

mod admission;
mod csr;
mod declaration;
mod declared;
mod format;
mod hostile;
mod impact;
mod inventory_at_once;
mod inventory_contract;
mod inventory_edits;
mod inventory_proof;
mod inventory_sqlite;
mod issue;
mod key_files;
mod lifecycle_properties;
mod limbo;
mod list_forms;
mod pkits;
mod plan;
mod precedent;
mod press;
mod promise;
mod quarantine;
mod readmit;
mod renewal;
mod roll;
mod signers;
#[path = "../../tests/support/skip.rs"]
mod skip;
#[path = "support/softhsm.rs"]
mod softhsm;
mod support;
mod walks;
