//! Forms in which certificates and keys come and go.
//!
//! [`pem`] reads what people hand in, [`contents`] whatever a file may hold; an [`Identity`] is written
//! as PKCS#12, a [`c_header`] or [`nvs`], certificates as [`p7b`]. What a batch hands out is made by a [`Renderer`], on any thread:
//! a [`Rendered`] is shut until the inventory has the certificate, and only [`Rendered::release`]
//! opens it. [`seal`] encrypts keys and whole outputs, [`digest`] hashes an output as it is written,
//! and a [`manifest`] says what was written and can be signed.
//! Everything here is about octets and `impl Write`; files and folders are the caller's.
//! Invariant: what a [`Renderer`] made leaves through [`Rendered::release`] and no other way.

mod armor;
pub mod c_header;
pub mod checkpoint;
pub mod contents;
pub mod digest;
mod entry;
mod identity;
mod jws;
pub mod manifest;
mod ndjson;
pub mod nvs;
pub mod p7b;
pub mod pem;
mod pfx;
mod render;
mod rendered;
pub mod seal;
mod tar;

pub use entry::{Access, Entry, Shards, file_name};
pub use identity::{Identity, IdentityError};
pub use jws::JwsError;
pub use pfx::{Pfx, PfxEncryption};
pub use render::{Device, DeviceFiles, Form, KeyForm, RenderError, Renderer};
pub use rendered::{Piece, Released, Rendered, UnrecordedError};
