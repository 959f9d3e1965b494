//! The committer: chunk by chunk into the inventory, out, and marked.
//!
//! A chunk goes through three durable moments: recorded, in the output, marked as delivered; the
//! mark rides in the transaction that records the next chunk, so that a chunk costs one commit.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::in_order::in_order;
use super::input::{BadLine, Device};
use super::pipeline::{Chunk, LeafTerms, Prepared, Spent, WorkError, Worker};
use crate::handout::{Released, Renderer, UnrecordedError};
use crate::inventory::{BatchProgress, Inventory, InventoryError, Label, Recorded, RowKey};
use crate::issue::Issuer;
use crate::key::{KeyGenerator, Signer};
use crate::ports::Entropy;
use crate::time::{Time, TimeError};

/// What all leaves of a run have in common.
pub struct Issuance<'a> {
    /// The batch that they belong to, if there is one.
    pub batch: Option<Label>,
    /// Who signs.
    pub issuer: Issuer,
    /// With which key.
    pub signer: &'a dyn Signer,
    /// Makes the devices' keys.
    pub generator: &'a dyn KeyGenerator,
    /// Makes serial numbers.
    pub entropy: &'a dyn Entropy,
    /// The moment at which the run began: what the inventory notes.
    pub now: Time,
    /// What each device gets; most get the same, which is borrowed.
    pub terms: &'a (dyn Fn(&Device) -> Result<Cow<'a, LeafTerms>, TimeError> + Sync),
    /// Makes what the output gets of it.
    pub renderer: &'a Renderer,
}

/// Everything about a batch but its devices.
pub struct Job<'a> {
    /// What its leaves have in common.
    pub issuance: Issuance<'a>,
    /// How many workers.
    pub jobs: usize,
    /// How many devices there are in all.
    pub total: u64,
    /// How many devices a chunk has at the most.
    pub chunk: usize,
    /// When chunks count as delivered.
    pub delivery: Delivery,
}

/// When a chunk counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as the output has it: a run that is cut goes on behind it.
    Chunkwise,
    /// When the output is finished, because what was written of it before is worth nothing: a sealed
    /// stream. A run that is cut begins anew.
    AtEnd,
}

impl Job<'_> {
    /// How many devices the chunk has that begins with this one: fewer towards the end, so that no
    /// worker is still busy with a whole chunk when the others have nothing left.
    fn chunk_at(&self, first: u64) -> usize {
        /// Fewer are not worth a commit.
        const LEAST: usize = 50;
        let left = usize::try_from(self.total.saturating_sub(first)).unwrap_or(usize::MAX);
        let share = left / (2 * self.jobs.max(1));
        share.max(LEAST).min(self.chunk).max(1)
    }
}

/// Where identities go once they are recorded: a folder, a stream.
pub trait Outlet {
    /// Takes what belongs to the next devices.
    ///
    /// # Errors
    /// The output's.
    fn append(&mut self, released: &Released) -> io::Result<()>;

    /// Makes everything that was taken durable, and tells how many octets of a stream there are in all.
    ///
    /// # Errors
    /// The output's.
    fn sync(&mut self) -> io::Result<u64>;

    /// Writes what comes after the last device, makes all of it durable, and tells how many octets
    /// there are.
    ///
    /// # Errors
    /// The output's.
    fn finish(&mut self) -> io::Result<u64>;
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Devices of the input that are delivered, those of earlier runs included.
    pub delivered: u64,
    /// Octets of the output that belong to them.
    pub output_octets: u64,
}

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Every device is delivered.
    All(Progress),
    /// It was told to stop, and did at the end of a chunk.
    Stopped(Progress),
}

/// Why a run ended early. What was delivered stays delivered; the next run goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// A worker could not make a leaf.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The inventory could not record or mark a chunk.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The output took no more.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    /// The inventory gave back other certificates than it was given; a bug.
    #[error("the inventory recorded something else than it was given: {0}")]
    Mismatch(#[from] UnrecordedError),
}

/// Issues the devices from `from` on: those before it are delivered already.
///
/// `stop` is looked at between chunks; `observe` is told after each.
///
/// # Errors
/// [`BulkError`]; the last chunk may stay recorded but undelivered, for the next run to void.
pub fn run(
    job: &Job<'_>,
    inventory: &mut dyn Inventory,
    devices: impl Iterator<Item = Result<Device, BadLine>> + Send,
    from: Progress,
    output: &mut dyn Outlet,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Progress),
) -> Result<Finished, BulkError> {
    let all_fed = AtomicBool::new(false);
    let mut committer = Committer {
        issuance: &job.issuance,
        delivery: job.delivery,
        inventory,
        output,
        progress: from,
        unmarked: Vec::new(),
    };
    let result = in_order(
        chunks(job, devices, from.delivered, stop, &all_fed),
        job.jobs,
        || {
            let mut worker = Worker::new(&job.issuance);
            move |chunk, spent| worker.prepare(chunk, spent)
        },
        |prepared: Result<Prepared, WorkError>| {
            let spent = committer.commit(prepared?)?;
            observe(committer.progress);
            Ok(spent)
        },
    );
    committer.end(result, all_fed.load(Ordering::Acquire))
}

/// Issues to devices one after the other, on this thread: each is recorded and in the output before the
/// next is begun, and belongs to no batch. Returns what was recorded, in the order of the devices.
///
/// # Errors
/// [`BulkError`]; those before the one that failed are delivered, and it may stay recorded but undelivered,
/// for [`crate::delivery::resume`].
pub fn run_each(
    issuance: &Issuance<'_>,
    inventory: &mut dyn Inventory,
    devices: Vec<Device>,
    output: &mut dyn Outlet,
) -> Result<Vec<Recorded>, BulkError> {
    let mut worker = Worker::new(issuance);
    let mut committer = Committer {
        issuance,
        delivery: Delivery::Chunkwise,
        inventory,
        output,
        progress: Progress {
            delivered: 0,
            output_octets: 0,
        },
        unmarked: Vec::new(),
    };
    let mut all = Vec::with_capacity(devices.len());
    let mut each = (0..).zip(devices).map(|(first, device)| Chunk {
        first,
        devices: vec![Ok(device)],
    });
    let result = each.try_for_each(|chunk| {
        let prepared = worker.prepare(chunk, Spent::default())?;
        all.extend(committer.commit(prepared)?.recorded);
        Ok::<(), BulkError>(())
    });
    committer.end(result, true)?;
    Ok(all)
}

/// Cuts the input into chunks, until it ends or `stop` says so; `all_fed` tells whether it was the
/// first.
fn chunks<'a>(
    job: &'a Job<'_>,
    devices: impl Iterator<Item = Result<Device, BadLine>> + 'a,
    skip: u64,
    stop: &'a AtomicBool,
    all_fed: &'a AtomicBool,
) -> impl Iterator<Item = Chunk> + 'a {
    let mut devices = devices
        .skip(usize::try_from(skip).unwrap_or(usize::MAX))
        .peekable();
    let mut first = skip;
    std::iter::from_fn(move || {
        if devices.peek().is_none() {
            all_fed.store(true, Ordering::Release);
            return None;
        }
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let chunk = Chunk {
            first,
            devices: devices.by_ref().take(job.chunk_at(first)).collect(),
        };
        first += u64::try_from(chunk.devices.len()).unwrap_or_default();
        Some(chunk)
    })
}

struct Committer<'a, 'j> {
    issuance: &'a Issuance<'j>,
    delivery: Delivery,
    inventory: &'a mut dyn Inventory,
    output: &'a mut dyn Outlet,
    progress: Progress,
    /// Rows that are in the output and not marked as delivered.
    unmarked: Vec<RowKey>,
}

impl Committer<'_, '_> {
    fn commit(&mut self, chunk: Prepared) -> Result<Spent, BulkError> {
        let rows = match self.delivery {
            Delivery::Chunkwise => std::mem::take(&mut self.unmarked),
            Delivery::AtEnd => Vec::new(),
        };
        let progress = self.batch_progress();
        let progress = progress.as_ref().filter(|_| !rows.is_empty());
        let certificates = chunk.certificates;
        let recorded =
            self.inventory
                .deliver_and_record(&rows, progress, certificates, self.issuance.now)?;
        let released = chunk.rendered.release(&recorded)?;
        self.output.append(&released).map_err(BulkError::Output)?;
        let output_octets = self.output.sync().map_err(BulkError::Output)?;
        let count = u64::try_from(recorded.len()).unwrap_or_default();
        self.progress = Progress {
            delivered: self.progress.delivered + count,
            output_octets,
        };
        self.unmarked.extend(recorded.iter().map(Recorded::row));
        Ok(Spent { recorded, released })
    }

    /// Finishes the output if all went well, and marks what it holds.
    fn end(mut self, result: Result<(), BulkError>, all_fed: bool) -> Result<Finished, BulkError> {
        let complete = result.is_ok() && all_fed;
        if complete {
            let octets = self.output.finish().map_err(BulkError::Output)?;
            self.progress.output_octets = octets;
        }
        let worth_marking = complete || self.delivery == Delivery::Chunkwise;
        let marked = if worth_marking { self.mark() } else { Ok(()) };
        // Of two failures the first is told; a chunk that stays unmarked is voided by the next run.
        result?;
        marked?;
        Ok(if complete {
            Finished::All(self.progress)
        } else {
            Finished::Stopped(self.progress)
        })
    }

    fn mark(&mut self) -> Result<(), BulkError> {
        let rows = std::mem::take(&mut self.unmarked);
        if !rows.is_empty() {
            let progress = self.batch_progress();
            self.inventory.deliver_and_record(
                &rows,
                progress.as_ref(),
                Vec::new(),
                self.issuance.now,
            )?;
        }
        Ok(())
    }

    fn batch_progress(&self) -> Option<BatchProgress> {
        Some(BatchProgress {
            batch: self.issuance.batch.clone()?,
            delivered: self.progress.delivered,
            output_octets: self.progress.output_octets,
        })
    }
}
