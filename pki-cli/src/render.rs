//! What goes out: results on standard output, everything else on standard error.

pub mod certificate;
pub(crate) mod crl;
pub(crate) mod document;
pub mod error;
pub(crate) mod outside;
pub(crate) mod plan;
pub(crate) mod progress;
pub mod table;
pub mod ui;
