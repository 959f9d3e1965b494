//! What a batch hands out, and the statements that go with it.
//!
//! A [`Renderer`] makes it, on any thread: a [`Rendered`] is shut until the inventory has the
//! certificate, and only [`Rendered::release`] opens it. [`seal`] encrypts keys and whole outputs,
//! [`digest`] hashes an output as it is written, a [`manifest`] says what was written and can be signed;
//! a [`checkpoint`] signs the head of the audit trail. [`each_device`] reads a batch again, where it arrives.
//! Not here: the forms themselves ([`crate::encoding`]). Everything here is about octets and
//! `impl Write`; files and folders are the caller's.
//! Invariant: what a [`Renderer`] made leaves through [`Rendered::release`] and no other way.

pub mod checkpoint;
pub mod digest;
mod entry;
mod jws;
pub mod manifest;
mod ndjson;
mod opened;
mod render;
mod rendered;
pub mod seal;
mod tar;

pub use entry::{Access, Entry, Shards, ending, file_name};
pub use jws::JwsError;
pub use opened::{OpenedDevice, OpenedError, OpenedKey, Problem, begins_as_batch, each_device};
pub use render::{Device, DeviceFiles, Form, KeyForm, RenderError, Renderer};
pub use rendered::{Piece, Released, Rendered, UnrecordedError};
