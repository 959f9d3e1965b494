//! Every command that changes a home, started two to eight times in the same moment, and killed in
//! between: the inventory decides who may, nobody overwrites what another made, whoever lost is told, and
//! the same command run again ends well.
//!
//! Few rounds by default; `DPS_PKI_ROUNDS` says how many of each there are to be (`just at-once` makes
//! 200). Kills come at random moments from a fixed seed.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod authorities;
mod changes;
mod leaves;
mod listed;
mod records;
mod requests;
mod rounds;
mod whole;
