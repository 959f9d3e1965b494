//! Whether the clock by which a generation is to be made can be right.
//!
//! The audit trail is the one witness of time that a home has. A generation that was made by a clock which
//! was ahead can be used by nobody until its beginning has come, and its roll is stuck until it is
//! given up.

use crate::time::{Span, Time};

/// So far may the beginning of a generation lie after what happened last.
const MOST: Span = Span::from_days(1);

/// The clock may be ahead: nothing has happened for long, or it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the generation would begin on {begins}, more than a day after the last entry of the audit trail, \
     of {last}: is the clock right? One that begins too late can be used by nobody"
)]
pub struct ClockAhead {
    /// When the generation would begin.
    pub begins: Time,
    /// When the last entry of the trail was written.
    pub last: Time,
}

/// Refuses a generation that would begin more than a day after the last entry of the trail, if there is
/// one.
///
/// # Errors
/// [`ClockAhead`]; who knows that the clock is right need not ask.
pub fn refuse_clock_ahead(begins: Time, last: Option<Time>) -> Result<(), ClockAhead> {
    match last {
        Some(last) if begins > last + MOST => Err(ClockAhead { begins, last }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_begins_no_more_than_a_day_after_what_happened_last() {
        let last: Time = "2026-03-01T00:00:00Z".parse().expect("time");
        let day = last + Span::from_days(1);
        let late = day + Span::from_seconds(1);
        assert_eq!(refuse_clock_ahead(day, Some(last)), Ok(()));
        assert_eq!(
            refuse_clock_ahead(late, Some(last)),
            Err(ClockAhead { begins: late, last })
        );
        // Nothing has happened yet, or the clock was ahead before.
        assert_eq!(refuse_clock_ahead(late, None), Ok(()));
        assert_eq!(refuse_clock_ahead(last, Some(late)), Ok(()));
    }
}
