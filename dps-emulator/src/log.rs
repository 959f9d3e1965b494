//! The request log: one JSON object a line. What a line says is the planes'.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::own_file::{self, Privacy};

/// Where requests are logged, if they are.
#[derive(Default)]
pub(crate) struct RequestLog {
    file: Option<Mutex<File>>,
}

impl RequestLog {
    /// Goes on with a file, or begins one.
    pub(crate) fn append_to(path: &std::path::Path) -> io::Result<Self> {
        let file = own_file::open(path, Privacy::Public)?;
        Ok(Self {
            file: Some(Mutex::new(file)),
        })
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Writes a line.
    pub(crate) fn write(&self, line: &Value) {
        let Some(file) = &self.file else {
            return;
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            tracing::warn!(%error, "a request was not logged");
        }
    }
}
