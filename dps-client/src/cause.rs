//! The causes of errors that come from below: another library's, or a transport's own.

use std::error::Error;

/// An error of the layer below.
pub type BoxError = Box<dyn Error + Send + Sync>;
