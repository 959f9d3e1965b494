//! What a person is told while a plan is carried out.

use dps_operations::{Event, Observer};
use pki_core::journal::Settled;

use crate::context::Context;
use crate::error::CommandError;
use crate::planes::Planes;
use crate::render::progress::ProgressLine;

/// From so many steps on, progress is told instead of each step.
const MANY: usize = 20;

/// Tells each step of a short plan, and the progress of a long one.
pub(super) struct Told<'a> {
    context: &'a Context,
    /// `DPS one: `, where there are several instances.
    place: String,
    progress: Option<ProgressLine<'a>>,
}

impl<'a> Told<'a> {
    pub(super) fn new(context: &'a Context, planes: &Planes<'_>) -> Result<Self, CommandError> {
        let place = if context.home.declaration()?.dps.len() > 1 {
            format!("DPS {}: ", planes.name())
        } else {
            String::new()
        };
        Ok(Self {
            context,
            place,
            progress: None,
        })
    }

    /// Ends the line of progress.
    pub(super) fn end(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.end();
        }
    }
}

impl Observer for Told<'_> {
    fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::Opened { steps, done, .. } if steps > MANY => {
                let total = u64::try_from(steps).unwrap_or(u64::MAX);
                self.progress = Some(ProgressLine::new(&self.context.ui, "steps", total, done));
            }
            Event::Done {
                step, how, done, ..
            } => match &mut self.progress {
                Some(progress) => progress.show(done),
                None => {
                    let word = match how {
                        Settled::Sent => "done",
                        Settled::Found => "found done",
                    };
                    let place = &self.place;
                    self.context.ui.note(format!("{place}{word}: {step}"));
                }
            },
            _ => {}
        }
    }
}
