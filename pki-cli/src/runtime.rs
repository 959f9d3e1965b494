//! The asynchronous runtime: commands are synchronous, and wait here for the network or for Ctrl-C.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::Handle;

use crate::error::{CommandError, ErrorKind};
use crate::once::once;

/// The runtime of one command, started when it is first needed.
#[derive(Default)]
pub struct Runtime {
    started: OnceLock<tokio::runtime::Runtime>,
}

impl Runtime {
    /// The runtime itself.
    ///
    /// # Errors
    /// `Failed` if the system gives no threads.
    pub fn get(&self) -> Result<&tokio::runtime::Runtime, CommandError> {
        once(&self.started, || {
            tokio::runtime::Runtime::new()
                .map_err(|error| CommandError::failed("cannot start threads").because(error))
        })
    }

    /// Whether it runs and this thread is none of its own, so that the thread can wait for it.
    pub(crate) fn can_be_waited_for(&self) -> bool {
        self.started.get().is_some() && Handle::try_current().is_err()
    }

    /// Runs something that waits for the network until it is done, or Ctrl-C stops it.
    ///
    /// # Errors
    /// What it returns; `Interrupted`; `Failed` as for [`Self::get`].
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        self.get()?.block_on(async {
            tokio::select! {
                result = future => result,
                _ = tokio::signal::ctrl_c() => {
                    let error = CommandError::new(ErrorKind::Interrupted, "interrupted");
                    Err(error.hint("run it again to go on"))
                }
            }
        })
    }

    /// The same for what fails in its own way.
    ///
    /// # Errors
    /// As [`Self::block_on`].
    pub(crate) fn wait_for<T, E: Into<CommandError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CommandError> {
        self.block_on(async { future.await.map_err(Into::into) })
    }
}
