//! Durations as Prometheus writes them: `1h30m`, `2w`, `500ms`.

use std::fmt;
use std::time::Duration;

/// The units from the largest down, in milliseconds. A year is 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration: a hundred years, so that no sum with a time can leave what a timestamp holds.
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

/// Why a text is no duration, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; a duration is a whole number and a unit (y w d h m s ms), largest first, such as 30s, 1h30m or 2w")]
pub struct DurationError {
    /// The characters before the one where reading stopped.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Reads a Prometheus duration: numbers with units, the larger before the smaller, each at most once; or `0`.
///
/// # Errors
/// Anything else, and more than a hundred years.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut parser = Parser { text, at: 0, next_unit: 0 };
    let mut millis = 0u64;
    loop {
        millis = millis.saturating_add(parser.part()?);
        if millis > LONGEST_MS {
            return parser.fail("it is longer than 100y");
        }
        if parser.rest().is_empty() {
            return Ok(Duration::from_millis(millis));
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// The first of [`UNITS`] that may still come.
    next_unit: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !is(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// One number with its unit, in milliseconds.
    fn part(&mut self) -> Result<u64, DurationError> {
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return self.fail(match self.rest().chars().next() {
                None => "it is empty".into(),
                Some('-') => "it is negative".into(),
                Some(c) => format!("{c:?} stands where a digit is expected"),
            });
        }
        let start = self.at;
        let unit = self.take(|c| c.is_ascii_alphabetic());
        let Some(position) = UNITS.iter().position(|(name, _)| *name == unit) else {
            self.at = start;
            return self.unknown(digits, unit);
        };
        if position < self.next_unit {
            self.at = start;
            return self.fail(format!("`{unit}` stands after a smaller unit or for the second time"));
        }
        self.next_unit = position + 1;
        Ok(digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(UNITS[position].1))
    }

    fn unknown(&self, digits: &str, unit: &str) -> Result<u64, DurationError> {
        self.fail(match (unit, self.rest().chars().next()) {
            ("", None) => format!("the number {digits} has no unit"),
            ("", Some('.' | ',')) => "only whole numbers are read, so 1.5h is written 1h30m".into(),
            ("", Some(c)) => format!("{c:?} stands where a unit is expected"),
            _ => format!("`{unit}` is no unit"),
        })
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, DurationError> {
        Err(DurationError { at: self.text[..self.at].chars().count(), reason: reason.into() })
    }
}

/// Shows a duration as [`parse`] reads it. What is below a millisecond is left out.
#[derive(Clone, Copy, Debug)]
pub struct Show(pub Duration);

impl fmt::Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Weeks and years are left to people: `30d` reads better than `4w2d`.
        for (unit, millis) in &UNITS[2..] {
            let count = rest / millis;
            rest %= millis;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("90m", 5_400_000),
            ("1d", 86_400_000),
            ("2w", 14 * 86_400_000),
            ("1y", 365 * 86_400_000),
            ("1y2w3d4h5m6s7ms", 365 * 86_400_000 + 17 * 86_400_000 + 4 * 3_600_000 + 5 * 60_000 + 6007),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn says_where_and_why() {
        for (text, at, reason) in [
            ("", 0, "it is empty"),
            ("60", 2, "the number 60 has no unit"),
            ("1.5h", 1, "only whole numbers are read, so 1.5h is written 1h30m"),
            ("1h 30m", 2, "' ' stands where a digit is expected"),
            ("5 m", 1, "' ' stands where a unit is expected"),
            ("-5m", 0, "it is negative"),
            ("5min", 1, "`min` is no unit"),
            ("5M", 1, "`M` is no unit"),
            ("30m1h", 4, "`h` stands after a smaller unit or for the second time"),
            ("1m1m", 3, "`m` stands after a smaller unit or for the second time"),
            ("101y", 4, "it is longer than 100y"),
            ("99999999999999999999s", 21, "it is longer than 100y"),
            ("h", 0, "'h' stands where a digit is expected"),
            ("5µs", 1, "'µ' stands where a unit is expected"),
            ("٣m", 0, "'٣' stands where a digit is expected"),
        ] {
            assert_eq!(parse(text), Err(DurationError { at, reason: reason.into() }), "{text}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["0s", "500ms", "1h30m", "30d", "1d1s"] {
            assert_eq!(Show(parse(text).unwrap()).to_string(), text);
        }
    }
}
