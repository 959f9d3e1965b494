//! Forms in which keys and certificates lie in files of other tools.
//!
//! [`contents`] reads whatever a file may hold; an [`Identity`] is written as PKCS#12 ([`Pfx`]), a
//! [`c_header`] or [`nvs`], certificates as [`p7b`]. The blocks of PEM are [`crate::pem`]'s.
//! Not here: what a batch of devices hands out ([`crate::handout`]). Everything here is about octets;
//! files are the caller's.

pub(crate) mod armor;
pub mod c_header;
pub mod contents;
mod identity;
pub mod nvs;
pub mod p7b;
mod pfx;

pub use identity::{Identity, IdentityError, IdentityParts};
pub use pfx::{Pfx, PfxEncryption};
