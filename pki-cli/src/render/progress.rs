//! The progress of a batch or a plan: a line that is rewritten where a person looks, a line every ten seconds
//! otherwise, nothing with `--quiet` or for scripts.

use std::time::{Duration, Instant};

use super::ui::Ui;

/// Tells how far it is, its rate, and the time left.
pub(crate) struct ProgressLine<'a> {
    ui: &'a Ui,
    what: &'static str,
    total: u64,
    before: u64,
    began: Instant,
    told: Instant,
    open: bool,
}

impl<'a> ProgressLine<'a> {
    /// The progress of `total` devices or steps, of which `before` were done by earlier runs.
    pub(crate) fn new(ui: &'a Ui, what: &'static str, total: u64, before: u64) -> Self {
        let now = Instant::now();
        Self {
            ui,
            what,
            total,
            before,
            began: now,
            told: now,
            open: false,
        }
    }

    /// Tells where it stands, if the last time was long enough ago.
    pub(crate) fn show(&mut self, delivered: u64) {
        let at_terminal = self.ui.rewrites();
        let interval = Duration::from_millis(if at_terminal { 200 } else { 10_000 });
        if self.told.elapsed() < interval {
            return;
        }
        self.told = Instant::now();
        self.ui.progress(&self.text(delivered));
        self.open = at_terminal;
    }

    /// Ends the line that is being rewritten.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            self.ui.end_progress();
        }
    }

    fn text(&self, delivered: u64) -> String {
        let milliseconds = u64::try_from(self.began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let rate = (delivered - self.before).saturating_mul(1000) / milliseconds;
        let left = self
            .total
            .saturating_sub(delivered)
            .checked_div(rate)
            .map(|seconds| format!(", {seconds} s left"))
            .unwrap_or_default();
        format!(
            "{delivered} of {} {}, {rate} a second{left}",
            self.total, self.what
        )
    }
}
