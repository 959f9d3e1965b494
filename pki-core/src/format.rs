//! Forms in which certificates and keys come and go.

pub mod pem;
