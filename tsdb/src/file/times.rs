//! Times as text and as numbers.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The years 1 to 9999, in milliseconds since the Unix epoch.
pub(super) const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Milliseconds from text: a number (see [`from_number`]), RFC 3339, or a date with or without a time of day, which
/// is then in UTC.
pub(super) fn from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(day) = compact_date(text) {
        return day;
    }
    if let Ok(integer) = text.parse::<i64>() {
        return from_integer(integer);
    }
    if let Ok(number) = text.parse::<f64>() {
        return from_number(number);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: DateTime = text.strip_suffix(" UTC").unwrap_or(text).parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok().map(|time| time.as_millisecond())
}

/// A date without dashes, `20260131`: as seconds it would be a day in 1970, of which nobody has metrics.
fn compact_date(text: &str) -> Option<Option<i64>> {
    let is_compact = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let day: Date = text.parse().ok().filter(|day: &Date| is_compact && (1900..2200).contains(&day.year()))?;
    Some(TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).ok().map(|time| time.as_millisecond()))
}

/// Milliseconds from seconds, milliseconds, microseconds or nanoseconds since the Unix epoch: whichever puts the
/// number between the years 1973 and 5138. Small numbers are seconds.
pub(super) fn from_number(number: f64) -> Option<i64> {
    let millis = match number.abs() {
        size if size < 1e11 => number * 1e3,
        size if size < 1e14 => number,
        size if size < 1e17 => number / 1e3,
        _ => number / 1e6,
    };
    (millis.is_finite() && RANGE.contains(&(millis.round() as i64))).then(|| millis.round() as i64)
}

/// The same without the rounding of floating point.
pub(super) fn from_integer(number: i64) -> Option<i64> {
    let millis = match number.unsigned_abs() {
        size if size < 100_000_000_000 => number * 1000,
        size if size < 100_000_000_000_000 => number,
        size if size < 100_000_000_000_000_000 => number.div_euclid(1000),
        _ => number.div_euclid(1_000_000),
    };
    RANGE.contains(&millis).then_some(millis)
}

/// Whether the text is a time and no number.
pub(super) fn is_date(text: &str) -> bool {
    text.trim().parse::<f64>().is_err() && from_text(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_dress() {
        for text in [
            "1767225600",
            "1767225600.0",
            "1767225600000",
            "1767225600000000",
            "1767225600000000000",
            "1.7672256e9",
            "2026-01-01",
            "20260101",
            "2026-01-01 00:00",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00.000",
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00 UTC",
            "2026-01-01 01:00:00+01:00",
            "2025-12-31T19:00:00-05:00",
            " 2026-01-01 ",
        ] {
            assert_eq!(from_text(text), Some(1_767_225_600_000), "{text}");
        }
        assert_eq!(from_text("1767225600.25"), Some(1_767_225_600_250));
        assert_eq!(from_text("0"), Some(0));
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "noon", "2026-13-01", "2026-02-30", "NaN", "inf", "1e300", "01/02/2026", "2026-01-01 25:00"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
