//! The engine without a command line: plans on a DPS in memory, and on the emulator.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test is a front end: it owns its runtime"
)]

mod converge;
mod deprovision;
mod example;
mod faults;
mod interruption;
mod killed;
mod line;
mod quarantine;
mod readmit;
mod roll;
mod site;
