//! Moments, spans and validity periods, in UTC and whole seconds as certificates count them.
//!
//! The core reads no clock: what judges takes a [`Time`], what acts takes a [`crate::ports::Clock`].
//! Invariant: `not_after` is inclusive (RFC 5280 §4.1.2.5), and a [`Validity`] is never empty.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use ::time::format_description::BorrowedFormatItem;
use ::time::format_description::well_known::Rfc3339;
use ::time::macros::format_description;
use ::time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::text::serde_as_text;

const RFC1123: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A moment in UTC, whole seconds, between the years 1950 and 9999 (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(OffsetDateTime);

/// Why a text or number is no [`Time`] or [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The text is not an RFC 3339 moment.
    #[error("{text:?} is not a time; write it as 2031-04-05T06:07:08Z")]
    NotATime {
        /// The text.
        text: String,
    },
    /// The text is not an RFC 1123 date.
    #[error("{text:?} is not a date like Sat, 31 Dec 2039 23:59:59 GMT")]
    NotRfc1123 {
        /// The text.
        text: String,
    },
    /// The text is not a span.
    #[error("{text:?} is not a duration; write it as 90d, 12h, 30min or 5y")]
    NotASpan {
        /// The text.
        text: String,
    },
    /// It may be minutes or months.
    #[error("{text:?} may be months or minutes; write it as {days}d or {minutes}min")]
    MonthsOrMinutes {
        /// The text.
        text: String,
        /// So many months, of 30 days.
        days: u64,
        /// So many minutes.
        minutes: u64,
    },
    /// The moment cannot be written into a certificate.
    #[error("the time is outside the years 1950 to 9999 that a certificate can hold")]
    OutOfRange,
}

impl Time {
    /// The moment that RFC 5280 §4.1.2.5 reserves for "no well-defined expiration".
    pub const FOREVER: Self = Self(::time::macros::datetime!(9999-12-31 23:59:59 UTC));

    /// 1970-01-01T00:00:00Z: what we issue begins no earlier.
    pub const EPOCH: Self = Self(OffsetDateTime::UNIX_EPOCH);

    /// The first moment that a certificate can hold.
    const EARLIEST: Self = Self(::time::macros::datetime!(1950-01-01 00:00:00 UTC));

    /// The moment so many seconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] outside the years 1950 to 9999.
    pub fn from_unix_seconds(seconds: i64) -> Result<Self, TimeError> {
        let moment =
            OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| TimeError::OutOfRange)?;
        Self::from_moment(moment)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// This moment later by `span`, or an error past the year 9999.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`].
    pub fn checked_add(self, span: Span) -> Result<Self, TimeError> {
        let seconds = i64::try_from(span.seconds()).map_err(|_| TimeError::OutOfRange)?;
        let sum = self
            .unix_seconds()
            .checked_add(seconds)
            .ok_or(TimeError::OutOfRange)?;
        Self::from_unix_seconds(sum)
    }

    /// As ARM writes the dates of CA certificates (RFC 1123): `Sat, 31 Dec 2039 23:59:59 GMT`.
    pub fn to_rfc1123(self) -> String {
        self.0.format(RFC1123).unwrap_or_default()
    }

    /// Reads a date as ARM writes those of CA certificates (RFC 1123).
    ///
    /// # Errors
    /// [`TimeError::NotRfc1123`]; [`TimeError::OutOfRange`].
    pub fn from_rfc1123(text: &str) -> Result<Self, TimeError> {
        let moment =
            PrimitiveDateTime::parse(text, RFC1123).map_err(|_| TimeError::NotRfc1123 {
                text: text.to_owned(),
            })?;
        Self::from_moment(moment.assume_utc())
    }

    fn from_moment(moment: OffsetDateTime) -> Result<Self, TimeError> {
        let moment = moment
            .checked_to_offset(UtcOffset::UTC)
            .ok_or(TimeError::OutOfRange)?;
        match moment.year() {
            1950..=9999 => moment
                .replace_nanosecond(0)
                .map(Self)
                .map_err(|_| TimeError::OutOfRange),
            _ => Err(TimeError::OutOfRange),
        }
    }
}

impl FromStr for Time {
    type Err = TimeError;

    /// Reads RFC 3339; an offset is converted to UTC, fractions of a second are cut.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimeError::NotATime {
            text: text.to_owned(),
        })?;
        Self::from_moment(moment)
    }
}

impl fmt::Display for Time {
    /// RFC 3339, without a string in between: bulk output does so for every device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second) = self.0.to_hms();
        let year = u16::try_from(year).map_err(|_| fmt::Error)?;
        let [century, year] = [year / 100, year % 100].map(|part| u8::try_from(part).unwrap_or(0));
        let mut text = *b"0000-00-00T00:00:00Z";
        let parts = [century, year, month.into(), day, hour, minute, second];
        for (place, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
            text[place] += part / 10;
            text[place + 1] += part % 10;
        }
        f.pad(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Time({self})")
    }
}

impl Sub for Time {
    type Output = Span;

    /// How long after `earlier` this is; zero if it is not after it.
    fn sub(self, earlier: Self) -> Span {
        Span(u64::try_from(self.unix_seconds() - earlier.unix_seconds()).unwrap_or(0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;

    /// This moment earlier by `span`, not before 1950.
    fn sub(self, span: Span) -> Self {
        let seconds = self.unix_seconds().saturating_sub_unsigned(span.0);
        Self::from_unix_seconds(seconds).unwrap_or(Self::EARLIEST)
    }
}

impl Add<Span> for Time {
    type Output = Self;

    /// This moment later by `span`, not after [`Time::FOREVER`].
    fn add(self, span: Span) -> Self {
        self.checked_add(span).unwrap_or(Self::FOREVER)
    }
}

/// A length of time in whole seconds. A year is 365 days: what `openssl -days` and `step` count, so
/// that a certificate's end does not depend on leap years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Span(u64);

impl Span {
    const UNITS: [(&'static str, u64); 6] = [
        ("y", 31_536_000),
        ("w", 604_800),
        ("d", 86_400),
        ("h", 3_600),
        ("min", 60),
        ("s", 1),
    ];

    /// So many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// So many days of 86 400 seconds.
    pub const fn from_days(days: u64) -> Self {
        Self(days * 86_400)
    }

    /// The length in seconds.
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_secs(span.0)
    }
}

impl FromStr for Span {
    type Err = TimeError;

    /// Reads a number and a unit: `5y`, `2w`, `90d`, `12h`, `30min`, `45s`. An `m` alone is refused: to one
    /// reader `3m` are months, to the next minutes.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let refuse = || TimeError::NotASpan {
            text: text.to_owned(),
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        if unit == "m" {
            return Err(TimeError::MonthsOrMinutes {
                text: text.to_owned(),
                days: number.saturating_mul(30),
                minutes: number,
            });
        }
        let (_, seconds) = Self::UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(refuse)?;
        number.checked_mul(*seconds).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Span {
    /// The largest unit that divides the span: `90d`, `36h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = Self::UNITS
            .iter()
            .find(|(_, seconds)| self.0 != 0 && self.0.is_multiple_of(*seconds));
        match fits {
            Some((unit, seconds)) => f.pad(&format!("{}{unit}", self.0 / seconds)),
            None => f.pad(&format!("{}s", self.0)),
        }
    }
}

/// When a certificate is valid: from `not_before` to `not_after`, both inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Validity {
    not_before: Time,
    not_after: Time,
}

impl Validity {
    /// The period between two moments, or `None` if the second lies before the first.
    pub fn new(not_before: Time, not_after: Time) -> Option<Self> {
        (not_before <= not_after).then_some(Self {
            not_before,
            not_after,
        })
    }

    /// The period that lasts `span` from `now` on and has begun `backdate` before it, so that devices
    /// whose clocks are a little slow accept it; never before 1970.
    ///
    /// # Errors
    /// [`TimeError::OutOfRange`] if it would end after the year 9999.
    pub fn starting(now: Time, span: Span, backdate: Span) -> Result<Self, TimeError> {
        Ok(Self {
            not_before: (now - backdate).max(Time::EPOCH),
            not_after: now.checked_add(span)?,
        })
    }

    /// The first moment of validity.
    pub fn not_before(self) -> Time {
        self.not_before
    }

    /// The last moment of validity.
    pub fn not_after(self) -> Time {
        self.not_after
    }

    /// Whether `at` lies within.
    pub fn contains(self, at: Time) -> bool {
        self.not_before <= at && at <= self.not_after
    }

    /// Whether `inner` lies wholly within.
    pub fn encloses(self, inner: Self) -> bool {
        self.not_before <= inner.not_before && inner.not_after <= self.not_after
    }
}

serde_as_text!(Time);
serde_as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect(text)
    }

    #[test]
    fn times_are_utc_and_whole_seconds() {
        assert_eq!(
            time("2022-08-27T19:53:19.5143497+02:00").to_string(),
            "2022-08-27T17:53:19Z"
        );
        assert!("2022-08-27".parse::<Time>().is_err());
    }

    #[test]
    fn dates_of_arm_are_read_as_they_are_written() {
        let end = time("2039-12-31T23:59:59Z");
        let text = "Sat, 31 Dec 2039 23:59:59 GMT";
        assert_eq!(end.to_rfc1123(), text);
        assert_eq!(Time::from_rfc1123(text), Ok(end));
        assert!(Time::from_rfc1123("2039-12-31T23:59:59Z").is_err());
    }

    proptest::proptest! {
        #[test]
        fn times_print_as_the_library_prints_them(seconds in -631_152_000_i64..=253_402_300_799) {
            let time = Time::from_unix_seconds(seconds).expect("in range");
            proptest::prop_assert_eq!(time.to_string(), time.0.format(&Rfc3339).expect("text"));
        }
    }

    #[test]
    fn spans_are_read_and_printed_in_their_largest_unit() {
        for text in ["5y", "90d", "12h", "30min", "45s", "2w"] {
            assert_eq!(text.parse::<Span>().expect(text).to_string(), text);
        }
        assert_eq!("365d".parse::<Span>().expect("days").to_string(), "1y");
        for bad in ["", "5", "d", "5 d", "-1d", "1.5d", "99999999999999999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        let ambiguous = "3m".parse::<Span>().expect_err("months or minutes");
        assert_eq!(
            ambiguous.to_string(),
            r#""3m" may be months or minutes; write it as 90d or 3min"#
        );
    }

    /// RFC 5280 §4.1.2.5: the period includes both of its ends.
    #[test]
    fn both_ends_of_a_validity_are_inside() {
        let validity = Validity::new(time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"))
            .expect("order");
        assert!(
            validity.contains(validity.not_before()) && validity.contains(validity.not_after())
        );
        assert!(!validity.contains(validity.not_after() + Span::from_seconds(1)));
        assert!(Validity::new(validity.not_after(), validity.not_before()).is_none());
    }
}
