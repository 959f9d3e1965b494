//! The emulator over real HTTPS and mTLS, asked by a plain HTTP client.

mod admission;
mod enrollment;
mod fixture;
mod hub;
mod lifecycle;
mod possession;
mod symmetric_key;
mod tls;
mod token;
