//! The inventory: what has happened in one PKI home.
//!
//! It holds every certificate that was ever signed here, the generations of the authorities, and an
//! append-only audit trail in which each change is bound to the one before. [`Inventory`] is the
//! port; `crate::sqlite` keeps it in one file, `testing` in memory.
//! Not here: private keys (an authority names where its key is, nothing more), what is *declared*
//! (`pki.toml`), and whether a change is wise, which is the lifecycle's question.
//! Invariant: a [`Recorded`] exists only after the transaction that holds its certificate is
//! durable, and what writes certificates out takes nothing else.
#![cfg_attr(
    not(any(feature = "sqlite", feature = "testing")),
    expect(
        dead_code,
        unused_imports,
        reason = "what adapters share is not called where none is built"
    )
)]

pub mod audit;
pub(crate) mod authority;
pub(crate) mod batch;
mod error;
mod label;
pub mod openssl_index;
pub(crate) mod query;
mod record;
mod store;
mod succession;
pub(crate) mod unique;

pub use authority::{
    AuthorityRecord, GenerationChange, GenerationRecord, GenerationState, KeyReference,
    NewGeneration, recorded_issuers,
};
pub use batch::{BatchProgress, BatchRecord, BatchState, LostLeaves, NewBatch, Withdrawal};
pub use error::InventoryError;
pub use label::{Label, Labels, NamedLabel};
pub use query::{Count, Filter, IdPage, IdPattern, Page, PageKey, Stats};
pub use record::{
    CertificateState, InventoryEntry, NewCertificate, Recorded, Revocation, RowKey, Standing,
    Status, TextError,
};
pub use store::Inventory;
pub use succession::has_successor;
pub use unique::{Holder, KeyHolder, Uniqueness};
