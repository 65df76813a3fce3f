//! Numbers, times and durations for people, and the colours of a terminal.

use std::fmt::Display;
use std::time::Duration;

use tsdb::{Step, Timestamp};

/// A number with four significant digits, and a letter for thousands (k), millions (M) and so on above 100,000.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "–".into() } else { format!("{value}") };
    }
    if value.abs() >= 1e17 || (value != 0.0 && value.abs() < 1e-4) {
        return format!("{value:.2e}");
    }
    let (scaled, unit) = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(size, _)| value.abs() >= 1e5 && value.abs() >= *size)
        .map_or((value, ""), |(size, unit)| (value / size, unit));
    let digits = if scaled == 0.0 { 0 } else { scaled.abs().log10().floor() as i32 };
    let text = format!("{scaled:.*}", usize::try_from(3 - digits).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// A number in full, as short as it can be read back.
pub fn exact(value: f64) -> String {
    if value.is_nan() { String::new() } else { format!("{value}") }
}

/// A time in UTC without what the step makes superfluous: `2026-01-31 10:00` on a grid of minutes.
pub fn time(time: Timestamp, step: Step) -> String {
    let Ok(parsed) = jiff::Timestamp::from_millisecond(time.millis()) else { return time.to_string() };
    let format = match step.millis() {
        millis if millis % 60_000 == 0 && time.millis() % 60_000 == 0 => "%Y-%m-%d %H:%M",
        millis if millis % 1000 == 0 => "%Y-%m-%d %H:%M:%S",
        _ => "%Y-%m-%d %H:%M:%S%.3f",
    };
    parsed.strftime(format).to_string()
}

/// A duration with its two largest units: `2h 5m`, `1.25s`, `3.4ms`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 if seconds < 0.001 => format!("{}µs", duration.as_micros()),
        0 => format!("{}ms", number((seconds * 1e4).round() / 10.0)),
        1..60 => format!("{}s", number((seconds * 100.0).round() / 100.0)),
        whole => {
            let units = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
            let mut rest = whole;
            let mut parts = units.map(|(size, unit)| {
                let count = rest / size;
                rest %= size;
                (count, unit)
            });
            let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(4);
            let shown = &mut parts[first..(first + 2).min(5)];
            let texts = shown.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}"));
            texts.collect::<Vec<_>>().join(" ")
        }
    }
}

/// A count with its noun in singular or plural: `1 series`, `2 points`, `12,345 points`.
pub fn count(count: usize, one: &str, many: &str) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    format!("{} {}", groups.join(","), if count == 1 { one } else { many })
}

/// Text cut to `width` characters, the cut marked by `…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Colours where they are wanted, and none where not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// Whether escape sequences are written at all.
    pub on: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Something wrong.
    Alarm,
    /// The measured values.
    Actual,
    /// The expected values.
    Expected,
    /// The band around what is expected.
    Band,
    /// Titles.
    Strong,
    /// What is only there for those who look for it.
    Faint,
}

impl Paint {
    /// The text in its colour.
    pub fn ink(self, ink: Ink, text: impl Display) -> String {
        let code = match ink {
            Ink::Alarm => "1;31",
            Ink::Actual => "36",
            Ink::Expected => "33",
            Ink::Band => "34",
            Ink::Strong => "1",
            Ink::Faint => "2",
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (0.123_456, "0.1235"),
            (1234.56, "1235"),
            (99_999.0, "99999"),
            (100_000.0, "100k"),
            (1_234_567.0, "1.235M"),
            (-3.2e9, "-3.2G"),
            (1e-7, "1.00e-7"),
            (f64::NAN, "–"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (0, "0µs"),
            (3, "3ms"),
            (1250, "1.25s"),
            (90_000, "1m 30s"),
            (7_500_000, "2h 5m"),
            (86_400_000, "1d"),
            (86_401_000, "1d"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn times_show_what_the_step_needs() {
        let check = |millis, step, text: &str| {
            assert_eq!(time(Timestamp::from_millis(millis), Step::from_millis(step).unwrap()), text);
        };
        check(60_000, 60_000, "1970-01-01 00:01");
        check(61_000, 1000, "1970-01-01 00:01:01");
        check(61_250, 250, "1970-01-01 00:01:01.250");
    }

    #[test]
    fn counts_and_cuts() {
        assert_eq!(count(1, "point", "points"), "1 point");
        assert_eq!(count(1_234_567, "point", "points"), "1,234,567 points");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
