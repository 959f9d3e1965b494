//! The service plane: enrollment groups, individual enrollments and registration records
//! (service API 2021-10-01).
//!
//! Both kinds of entries have the same operations, so they are written once, in [`Enrollments`].
//! Records of registrations can be read and deleted, not written.

mod bulk;
mod create;
mod enrollments;
mod query;
mod registrations;

pub use bulk::{BulkError, BulkMode, BulkResult};
pub use enrollments::{Enrollments, Groups, Individuals};
pub use registrations::Registrations;
