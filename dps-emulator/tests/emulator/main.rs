//! The emulator over real HTTPS and mTLS, asked by a plain HTTP client.

mod admission;
mod fixture;
