//! The dps-pki command.
fn main() {}
