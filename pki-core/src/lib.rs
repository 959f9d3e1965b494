//! The whole of what the toolkit knows about device certificates and DPS.

pub mod enrollment;
pub mod hub;
pub mod ids;
pub mod management;
mod text;
pub mod time;
