//! All tests of the command line in one binary: the program run within the process, with [`support`].

mod audit_checkpoint;
mod audit_proof;
mod batch;
mod batch_open;
mod batch_split;
mod check;
mod commands;
mod crl;
mod dps_records;
mod enroll;
mod explain;
mod frame;
mod help_examples;
mod hostile;
#[path = "../../tests/support/in_process.rs"]
mod in_process;
mod inventory;
mod outputs;
mod permissions;
mod plan_faults;
mod plans;
mod renew;
mod sign;
mod support;
