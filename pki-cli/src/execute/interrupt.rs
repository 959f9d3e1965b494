//! Ctrl-C while a plan is carried out: the first ends it after the step that is under way, the second
//! at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Counts interruptions for as long as it lives.
pub(super) struct Interrupt {
    count: Arc<AtomicU32>,
    again: Arc<Notify>,
    listener: JoinHandle<()>,
}

impl Interrupt {
    pub(super) fn listen(runtime: &Runtime) -> Self {
        let (count, again) = (Arc::<AtomicU32>::default(), Arc::<Notify>::default());
        let (counted, notified) = (Arc::clone(&count), Arc::clone(&again));
        let listener = runtime.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                    notified.notify_one();
                }
            }
        });
        Self {
            count,
            again,
            listener,
        }
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_wanted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Waits until it is pressed a second time.
    pub(super) async fn at_once(&self) {
        self.again.notified().await;
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
