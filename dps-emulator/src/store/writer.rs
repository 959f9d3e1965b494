//! The thread that keeps what requests change.
//!
//! A request hands its changes over under the store's lock, and is answered once they are kept. It waits
//! as a task: no thread of the runtime writes to a disk. What is handed over while a transaction is
//! written goes into the next one together, so that many requests share one.
//! Invariant: changes are kept in the order in which they were handed over, and none without those before
//! it. What could not be kept is part of the next attempt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

use super::keeper::{Changes, Keeper, StateError};

/// Keeps changes on a thread of its own. Dropping it waits until all of them were tried.
pub(crate) struct Writer {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Changes>>,
    thread: Option<JoinHandle<()>>,
    progress: Progress,
}

/// What was handed over so far, and how much of it is kept. Each hand-over has a number, from 1 on.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    handed: Arc<AtomicU64>,
    reached: watch::Receiver<Reached>,
}

#[derive(Debug, Clone, Default)]
struct Reached {
    /// The last hand-over that was tried.
    tried: u64,
    /// The last one that is kept.
    kept: u64,
    /// Why those behind it are not.
    failure: Option<Arc<StateError>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(keeper: Box<dyn Keeper>) -> io::Result<Self> {
        let (queue, handed) = mpsc::channel();
        let (report, reached) = watch::channel(Reached::default());
        let thread = thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || keep_all(keeper, &handed, &report))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            progress: Progress {
                handed: Arc::default(),
                reached,
            },
        })
    }

    /// Hands over what is to be kept, whole or not at all.
    pub(crate) fn hand_over(&mut self, changes: Changes) -> Result<(), StateError> {
        let queue = self.queue.as_ref().ok_or(StateError::Ended)?;
        queue.send(changes).map_err(|_| StateError::Ended)?;
        self.progress.handed.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the state failed");
        }
    }
}

impl Progress {
    /// Of a store that keeps nothing: there is nothing to wait for.
    pub(crate) fn of_nothing() -> Self {
        let (_, reached) = watch::channel(Reached::default());
        Self {
            handed: Arc::default(),
            reached,
        }
    }

    /// The last hand-over that was tried.
    pub(crate) fn tried(&self) -> u64 {
        self.reached.borrow().tried
    }

    /// Waits until everything that was handed over by now is kept, as far as it had not been tried before.
    pub(crate) async fn kept_since(&self, tried: u64) -> Result<(), Arc<StateError>> {
        let handed = self.handed.load(Ordering::Acquire);
        if handed <= tried {
            return Ok(());
        }
        let mut watched = self.reached.clone();
        match watched.wait_for(|reached| reached.tried >= handed).await {
            Ok(reached) => match &reached.failure {
                Some(failure) if reached.kept < handed => Err(Arc::clone(failure)),
                _ => Ok(()),
            },
            // The thread ended before it came to this.
            Err(_) => Err(Arc::new(StateError::Ended)),
        }
    }
}

fn keep_all(
    mut keeper: Box<dyn Keeper>,
    handed: &mpsc::Receiver<Changes>,
    report: &watch::Sender<Reached>,
) {
    let mut pending = Changes::default();
    let mut tried = 0;
    while let Ok(first) = handed.recv() {
        // Waiting for more than what is there would make answers late for little: under full load this
        // thread takes three per cent of the processor.
        for changes in std::iter::once(first).chain(handed.try_iter()) {
            pending.extend(changes);
            tried += 1;
        }
        let failure = keeper.keep(&pending).err().map(Arc::new);
        if let Some(error) = &failure {
            tracing::error!(%error, "the state was not kept; what changed is tried again with the next change");
        } else {
            pending.clear();
        }
        report.send_modify(|reached| {
            reached.tried = tried;
            if failure.is_none() {
                reached.kept = tried;
            }
            reached.failure = failure;
        });
    }
}

/// A keeper that does what a test wants.
#[cfg(test)]
pub(crate) mod testing {
    use super::super::keeper::Row;
    use super::*;

    /// Says what each attempt is handed, and waits to be told how it ends.
    pub(crate) struct Gate {
        attempts: mpsc::Sender<Vec<String>>,
        outcomes: mpsc::Receiver<Result<(), StateError>>,
    }

    /// The other side of a [`Gate`].
    pub(crate) struct Gatekeeper {
        attempts: mpsc::Receiver<Vec<String>>,
        outcomes: mpsc::Sender<Result<(), StateError>>,
    }

    impl Keeper for Gate {
        fn load(&mut self) -> Result<Vec<Row>, StateError> {
            Ok(Vec::new())
        }

        fn keep(&mut self, changes: &Changes) -> Result<(), StateError> {
            let keys = changes.keys().map(|place| place.key.clone());
            self.attempts.send(keys.collect()).expect("a test");
            self.outcomes.recv().expect("an outcome")
        }
    }

    impl Gatekeeper {
        /// The keys of the next attempt.
        pub(crate) fn attempt(&self) -> Vec<String> {
            self.attempts.recv().expect("an attempt")
        }

        /// Lets the attempt under way, or the next one, end so.
        pub(crate) fn end_attempt(&self, outcome: Result<(), StateError>) {
            self.outcomes.send(outcome).expect("a thread");
        }
    }

    pub(crate) fn gate() -> (Gate, Gatekeeper) {
        let (report, attempts) = mpsc::channel();
        let (outcomes, allowed) = mpsc::channel();
        let gate = Gate {
            attempts: report,
            outcomes: allowed,
        };
        (gate, Gatekeeper { attempts, outcomes })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::keeper::RecordKey;
    use super::testing::{Gatekeeper, gate};
    use super::*;

    fn start() -> (Writer, Gatekeeper) {
        let (gate, gatekeeper) = gate();
        let writer = Writer::start(Box::new(gate)).expect("a thread");
        (writer, gatekeeper)
    }

    fn hand_over(writer: &mut Writer, key: &str) {
        let place = RecordKey {
            space: "space".to_owned(),
            key: key.to_owned(),
        };
        let changes = Changes::from([(place, None)]);
        writer.hand_over(changes).expect("a thread");
    }

    #[tokio::test]
    async fn what_comes_during_a_transaction_shares_the_next_one() {
        let (mut writer, gatekeeper) = start();
        let progress = writer.progress();
        hand_over(&mut writer, "a");
        assert_eq!(gatekeeper.attempt(), ["a"]);
        let first = progress.kept_since(0);
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none());

        hand_over(&mut writer, "b");
        hand_over(&mut writer, "c");
        gatekeeper.end_attempt(Ok(()));
        first.await.expect("kept");
        assert_eq!(gatekeeper.attempt(), ["b", "c"]);
        assert!(progress.kept_since(1).now_or_never().is_none());

        gatekeeper.end_attempt(Ok(()));
        progress.kept_since(1).await.expect("kept");
    }

    #[tokio::test]
    async fn a_failure_reaches_all_who_wait_and_the_next_attempt_makes_it_good() {
        let (mut writer, gatekeeper) = start();
        let progress = writer.progress();
        hand_over(&mut writer, "a");
        gatekeeper.end_attempt(Err(StateError::Ended));
        progress.kept_since(0).await.expect_err("not kept");
        assert_eq!(gatekeeper.attempt(), ["a"]);
        let began = progress.tried();
        let answer = progress.kept_since(began).now_or_never();
        answer.expect("nothing to wait for").expect("nothing new");

        hand_over(&mut writer, "b");
        assert_eq!(gatekeeper.attempt(), ["a", "b"]);
        hand_over(&mut writer, "c");
        gatekeeper.end_attempt(Err(StateError::Ended));
        assert_eq!(gatekeeper.attempt(), ["a", "b", "c"]);
        gatekeeper.end_attempt(Ok(()));
        progress.kept_since(began).await.expect("kept");
    }

    #[test]
    fn the_end_waits_for_what_was_handed_over() {
        let (mut writer, gatekeeper) = start();
        hand_over(&mut writer, "a");
        assert_eq!(gatekeeper.attempt(), ["a"]);
        hand_over(&mut writer, "b");
        gatekeeper.end_attempt(Ok(()));
        gatekeeper.end_attempt(Ok(()));
        drop(writer);
        assert_eq!(gatekeeper.attempt(), ["b"]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_is_gone() {
        let (mut writer, gatekeeper) = start();
        let progress = writer.progress();
        hand_over(&mut writer, "a");
        // The keeper fails when it asks for its outcome.
        drop(gatekeeper);
        progress.kept_since(0).await.expect_err("not kept");
    }
}
