//! Bulk issuance: identities for a whole line, at the speed of the cryptography.
//!
//! [`input`] checks all of the input before the first key is made, and a [`Rehearsal`] whatever a leaf can be
//! refused for. [`run`] then issues in chunks:
//! workers on all cores generate keys, press leaves, sign and render; one committer records a chunk
//! in the inventory, hands it to the output, and has it marked as delivered in the transaction of
//! the next chunk. Order is kept, and memory does not grow with the number of devices. A few devices are
//! chunks of one, made on the caller's thread: [`run_each`]. A [`renewal`] is an issuance whose devices have a
//! leaf already.
//! Invariant: cut anywhere, every device up to the batch's progress is delivered, and everything
//! recorded beyond it is voided by the next run, which cuts the output back to the same place.

mod in_order;
pub mod input;
mod pipeline;
mod presses;
pub mod renewal;
pub mod requests;
mod run;

pub use pipeline::{LeafTerms, WorkError};
pub use presses::Rehearsal;
pub use run::{BulkError, Delivery, Finished, Issuance, Job, Outlet, Progress, run, run_each};
