//! How long a season is: as given, or found in the data.

mod detect;

use jiff::{Span, SpanRelativeTo, Unit};
use serde::Deserialize;
use serde_json::Value;

use crate::entry::Parameter;
use crate::prepare::Series;
use crate::season::detect::detect;

/// The parameter `season` of every model that takes one.
pub(crate) const SEASON: Parameter = Parameter {
    name: "season",
    default: "auto",
    meaning: "the length of a season as a duration (1d) or a number of points (288), a list of them, \"none\", or \
              \"auto\" to find it in the data; the context must hold two of them",
};

/// A length of time, or a number of points: `"1d"`, `"90m"`, `"P1D"` or `288`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Length {
    /// A number of points: at least 1.
    Points(usize),
    /// Milliseconds: at least 1. A day has 24 hours.
    Millis(i64),
}

impl Length {
    /// The number of points nearest to it: at least 1.
    pub(crate) fn points(self, step_ms: i64) -> usize {
        match self {
            Self::Points(points) => points,
            Self::Millis(millis) => usize::try_from((millis + step_ms / 2) / step_ms).unwrap_or(usize::MAX).max(1),
        }
    }

    /// Milliseconds: at least 1.
    pub(crate) fn millis(self, step_ms: i64) -> i64 {
        match self {
            Self::Points(points) => i64::try_from(points).unwrap_or(i64::MAX).saturating_mul(step_ms),
            Self::Millis(millis) => millis,
        }
    }
}

impl TryFrom<Value> for Length {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let found = match &value {
            Value::Number(number) => number.as_u64().and_then(|points| usize::try_from(points).ok()).map(Self::Points),
            Value::String(text) => millis(text).map(Self::Millis),
            _ => None,
        };
        found.filter(|length| length.millis(1) > 0).ok_or_else(|| {
            format!("{value} is neither a duration above zero, such as \"1d\", nor a whole number of points above zero")
        })
    }
}

fn millis(text: &str) -> Option<i64> {
    let span: Span = text.parse().ok()?;
    let millis = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).ok()?;
    (millis >= 1.0).then_some(millis as i64)
}

/// The seasons that a model should expect: `"auto"`, `"none"`, a [`Length`] or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Season {
    /// Whatever is convincing in the data.
    #[default]
    Auto,
    /// Exactly these; none where the list is empty.
    Given(Vec<Length>),
}

impl TryFrom<Value> for Season {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) if text == "auto" => Ok(Self::Auto),
            Value::String(text) if text == "none" => Ok(Self::Given(vec![])),
            Value::Array(lengths) => {
                lengths.into_iter().map(Length::try_from).collect::<Result<_, _>>().map(Self::Given)
            }
            other => Length::try_from(other)
                .map(|length| Self::Given(vec![length]))
                .map_err(|error| format!("{error}, nor \"auto\", \"none\" or a list of lengths")),
        }
    }
}

impl Season {
    /// Season lengths in points, rising: at least 2 points each and at least two seasons in `series`.
    pub(crate) fn lengths(&self, series: &Series) -> Vec<usize> {
        let mut lengths = match self {
            Self::Auto => detect(series),
            Self::Given(lengths) => lengths.iter().map(|length| length.points(series.step_ms)).collect(),
        };
        lengths.retain(|length| (2..=series.len() / 2).contains(length));
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// The longest of [`Season::lengths`] that the series holds three of, else the shortest, for a model that knows
    /// one season only.
    pub(crate) fn length(&self, series: &Series) -> Option<usize> {
        let lengths = self.lengths(series);
        lengths.iter().rev().find(|length| **length * 3 <= series.len()).or(lengths.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STEP_MS: i64 = 300_000;

    #[test]
    fn lengths_are_durations_or_points() {
        for (value, points) in [
            (json!(288), 288),
            (json!("1d"), 288),
            (json!("P1D"), 288),
            (json!("1w"), 2016),
            (json!("90m"), 18),
            (json!("1h 30m"), 18),
            (json!("7m"), 1),
            (json!("8m"), 2),
            (json!("1ms"), 1),
        ] {
            assert_eq!(Length::try_from(value.clone()).unwrap().points(STEP_MS), points, "{value}");
        }
    }

    #[test]
    fn other_values_are_no_lengths() {
        for value in [json!(0), json!(-1), json!(1.5), json!(""), json!("0s"), json!("-1d"), json!("day"), json!({})] {
            assert!(Length::try_from(value.clone()).is_err(), "{value}");
        }
        for value in [json!(null), json!(true), json!("automatic"), json!([["1d"]])] {
            assert!(Season::try_from(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn given_seasons_must_fit_twice() {
        let series = Series::new(&[1.0; 100], 0, std::time::Duration::from_secs(300)).unwrap();
        let given = |value| Season::try_from(value).unwrap();
        assert_eq!(given(json!([24, 50, 51, 24, 1])).lengths(&series), [24, 50]);
        assert_eq!(given(json!([24, 50])).length(&series), Some(24));
        assert_eq!(given(json!("1d")).lengths(&series), [0; 0]);
        assert_eq!(given(json!("none")).length(&series), None);
    }
}
