//! The engine without a command line: plans on a DPS in memory, and on the emulator.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod faults;
mod interruption;
mod site;
