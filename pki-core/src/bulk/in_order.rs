//! Work on all cores whose results come in the order of what was worked on.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Hands what `items` gives to `jobs` workers, each made by `worker` in a thread of its own, and
/// their results to `take` on this thread, in order. Few items wait between two stages, so that
/// memory does not grow with their number.
///
/// What `take` leaves of a result goes back to its worker with a later item, to be used again or
/// dropped: a thread that frees what others allocated makes them wait.
///
/// # Errors
/// The first that `take` returns; nothing more is taken then.
pub(super) fn in_order<T, R, L, W, E>(
    items: impl Iterator<Item = T> + Send,
    jobs: usize,
    worker: impl Fn() -> W + Sync,
    take: impl FnMut(R) -> Result<L, E>,
) -> Result<(), E>
where
    T: Send,
    R: Send,
    L: Send + Default,
    W: FnMut(T, L) -> R,
{
    /// Enough to keep every stage busy, and no more.
    const WAITING: usize = 4;
    let (to_workers, from_feeder) = sync_channel(WAITING);
    // Owned by the workers alone, so that the feeder is let go when the last of them ends.
    let from_feeder = Arc::new(Mutex::new(from_feeder));
    let (to_taker, results) = sync_channel(WAITING);
    thread::scope(|scope| {
        scope.spawn(move || {
            // Ends early when nobody listens any more.
            let _ = (0_u64..)
                .zip(items)
                .try_for_each(|item| to_workers.send(item));
        });
        for _ in 0..jobs.max(1) {
            let from_feeder = Arc::clone(&from_feeder);
            let to_taker = to_taker.clone();
            let worker = &worker;
            let (give_back, leftovers) = channel();
            scope.spawn(move || {
                let mut work = worker();
                while let Some((number, item)) = next(&from_feeder) {
                    // Not waited for: the taker may need this worker's result before it gives any back.
                    let leftover = leftovers.try_recv().unwrap_or_default();
                    let result = Made {
                        number,
                        result: work(item, leftover),
                        give_back: give_back.clone(),
                    };
                    if to_taker.send(result).is_err() {
                        return;
                    }
                }
            });
        }
        // A sender that is left would keep the taker waiting for more when all workers have ended.
        drop((from_feeder, to_taker));
        take_in_order(results, take)
    })
}

/// A result, and the way back to the worker that made it.
struct Made<R, L> {
    number: u64,
    result: R,
    give_back: Sender<L>,
}

fn next<T>(items: &Mutex<Receiver<T>>) -> Option<T> {
    let items = items.lock().unwrap_or_else(PoisonError::into_inner);
    items.recv().ok()
}

/// Owns the results, so that whoever still waits to hand one over is let go at an error.
fn take_in_order<R, L, E>(
    results: Receiver<Made<R, L>>,
    mut take: impl FnMut(R) -> Result<L, E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for made in results {
        early.insert(made.number, made);
        while let Some(made) = early.remove(&next) {
            let leftover = take(made.result)?;
            // Nobody waits for it once the items are at their end.
            let _ = made.give_back.send(leftover);
            next += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        let mut taken = Vec::new();
        let worker = || {
            |number: u64, ()| {
                thread::sleep(Duration::from_micros(number * 7919 % 500));
                number
            }
        };
        let ended = in_order(0..200, 4, worker, |number| {
            taken.push(number);
            Ok::<(), ()>(())
        });
        assert_eq!(ended, Ok(()));
        assert_eq!(taken, (0..200).collect::<Vec<u64>>());
    }

    /// Neither the feeder nor a worker may be left waiting, or this would never end.
    #[test]
    fn an_error_ends_it_all() {
        let ended = in_order(
            0_u64..,
            3,
            || |number, ()| number,
            |number| match number {
                50 => Err("enough"),
                _ => Ok(()),
            },
        );
        assert_eq!(ended, Err("enough"));
    }
}
