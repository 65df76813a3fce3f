//! Series that come with the request, made into one frame.

use std::collections::BTreeMap;

use engine::pipeline::duration;
use serde::Deserialize;
use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, FrameBuilder, Labels, Step, Timestamp};
use utoipa::ToSchema;

/// Cells of the grid that the series of one request may need.
const MOST_CELLS: usize = 4_000_000;

/// The last time that can be told, a day before the year 9999 ends, so that it is told wherever one is.
const LAST_MILLIS: i64 = 253_402_207_200_999;

/// Numbers from here on are milliseconds: as seconds, they would lie thousands of years ahead.
const FIRST_MILLIS: f64 = 1e11;

/// The step where no two points say what it is.
const STEP: Step = Step::from_millis(60_000).expect("a minute is positive");

/// A series and its samples: `timestamps`, or `start` and `step`, and a value for each, `null` for a gap.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Series {
    /// Its labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Its metric's name, or all of it: `up{job="a"}`; or its labels as Prometheus answers them.
    metric: Option<Metric>,
    /// When each value was.
    timestamps: Option<Vec<Time>>,
    /// When the first value was.
    start: Option<Time>,
    /// How far the values are apart, such as `1m`.
    step: Option<String>,
    /// The values.
    values: Vec<Option<f64>>,
}

/// A name, or labels.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Metric {
    /// `up` or `up{job="a"}`.
    Name(String),
    /// `{"__name__": "up", "job": "a"}`.
    Labels(BTreeMap<String, String>),
}

/// A time: seconds or milliseconds since the Unix epoch, or RFC 3339.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum Time {
    /// Seconds, or milliseconds.
    Number(f64),
    /// Such as `2026-01-31T10:00:00Z`.
    Text(String),
}

impl Time {
    /// The time.
    ///
    /// # Errors
    /// What was found, and what is allowed.
    pub(in crate::api) fn get(&self) -> Result<Timestamp, String> {
        let millis = match self {
            Self::Number(number) if number.abs() < FIRST_MILLIS => (number * 1000.0).round() as i64,
            Self::Number(number) => *number as i64,
            Self::Text(text) => {
                let time: Result<jiff::Timestamp, _> = text.parse();
                time.map_err(|_| format!("found `{text}`; expected seconds, milliseconds or RFC 3339"))?
                    .as_millisecond()
            }
        };
        match (0..=LAST_MILLIS).contains(&millis) {
            true => Ok(Timestamp::from_millis(millis)),
            false => Err("expected a time from 1970 to 9999".into()),
        }
    }
}

/// All series on one grid of multiples of its step, which begins `offset` milliseconds before the series do.
#[derive(Debug, Clone)]
pub(super) struct Inline {
    pub(super) frame: Frame,
    pub(super) offset: i64,
}

/// Something wrong with the series, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) path: String,
    pub(super) message: String,
}

/// One series, read.
struct Samples {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<Option<f64>>,
}

/// Puts `series` on the grid of `step`; where none is asked for, on that of the two points that are closest. Of two
/// samples that fall on one point of the grid, the later in the list counts.
///
/// # Errors
/// What is wrong with them.
pub(super) fn frame(series: Vec<Series>, step: Option<Step>) -> Result<Inline, Wrong> {
    let wrong = |message: &str| Wrong { path: "series".into(), message: message.into() };
    let read = series.into_iter().enumerate().map(|(at, series)| {
        samples(series, step).map_err(|(field, message)| Wrong { path: format!("series[{at}].{field}"), message })
    });
    let all = read.collect::<Result<Vec<_>, _>>()?;
    let times = || all.iter().flat_map(|samples| samples.times.iter().copied());
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Err(wrong("has no values")) };
    let step = step.or_else(|| closest(&all)).unwrap_or(STEP);
    let index = |time: i64| ((time - first + step.millis() / 2) / step.millis()) as usize;
    let points = index(last) + 1;
    if points.saturating_mul(all.len()) > MOST_CELLS {
        let message = format!("needs {} × {points} points at this step; expected at most {MOST_CELLS}", all.len());
        return Err(wrong(&message));
    }
    let offset = first.rem_euclid(step.millis());
    let start = Timestamp::from_millis(first - offset);
    let mut builder = FrameBuilder::new(start, step, points);
    for (at, samples) in all.iter().enumerate() {
        let row = builder.row(&samples.labels);
        if row < at {
            let message = format!("{} is there twice", samples.labels);
            return Err(Wrong { path: format!("series[{at}]"), message });
        }
        for (time, value) in samples.times.iter().zip(&samples.values) {
            let time = Timestamp::from_millis(start.millis() + index(*time) as i64 * step.millis());
            builder.set(row, time, value.unwrap_or(f64::NAN));
        }
    }
    Ok(Inline { frame: builder.finish(), offset })
}

fn samples(series: Series, step: Option<Step>) -> Result<Samples, (&'static str, String)> {
    let labels = labels(series.labels, series.metric)?;
    let times = match (&series.timestamps, &series.start) {
        (Some(times), None) => {
            let times = times.iter().map(|time| time.get().map(Timestamp::millis));
            times.collect::<Result<Vec<_>, _>>().map_err(|message| ("timestamps", message))?
        }
        (None, Some(start)) => {
            let start = start.get().map_err(|message| ("start", message))?.millis();
            let step = match &series.step {
                Some(text) => parsed(text).map_err(|message| ("step", message))?,
                None => step.ok_or_else(|| ("step", "is missing, and the pipeline has none".to_owned()))?,
            };
            (0..series.values.len() as i64).map(|at| start.saturating_add(step.millis().saturating_mul(at))).collect()
        }
        (None, None) => return Err(("timestamps", "are missing; give them, or `start` and `step`".into())),
        (Some(_), Some(_)) => return Err(("start", "stands beside `timestamps`; give one of them".into())),
    };
    if times.len() != series.values.len() {
        let message = format!("are {}, and the timestamps {}; expected one for each", series.values.len(), times.len());
        return Err(("values", message));
    }
    if times.iter().any(|time| *time > LAST_MILLIS) {
        return Err(("values", "reach beyond the year 9999".into()));
    }
    Ok(Samples { labels, times, values: series.values })
}

/// The step that a duration is.
pub(super) fn parsed(text: &str) -> Result<Step, String> {
    let duration = duration::parse(text).map_err(|error| format!("`{text}` is no duration: {error}"))?;
    Step::from_duration(duration).ok_or_else(|| format!("`{text}` is no step; expected at least 1ms"))
}

fn labels(mut labels: BTreeMap<String, String>, metric: Option<Metric>) -> Result<Labels, (&'static str, String)> {
    match metric {
        None => {}
        Some(Metric::Labels(more)) => labels.extend(more),
        Some(Metric::Name(text)) if text.contains('{') => {
            let parsed: Labels = text.parse().map_err(|error: tsdb::LabelError| ("metric", error.to_string()))?;
            labels.extend(parsed.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        Some(Metric::Name(name)) => drop(labels.insert(METRIC_NAME.into(), name)),
    }
    Labels::new(labels).map_err(|error| ("labels", error.to_string()))
}

/// The smallest distance between two times that follow each other in one series.
fn closest(all: &[Samples]) -> Option<Step> {
    let pairs = all.iter().flat_map(|samples| samples.times.windows(2));
    pairs.filter_map(|pair| Step::from_millis((pair[1] - pair[0]).abs())).min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn framed(series: Value, step: Option<i64>) -> Result<Inline, Wrong> {
        frame(serde_json::from_value(series).unwrap(), step.and_then(Step::from_millis))
    }

    /// The frame's start and step in milliseconds, its series and its values.
    fn check(series: Value, step: Option<i64>, start: i64, grid: i64, names: &str, values: &str) {
        let Inline { frame, offset } = framed(series.clone(), step).unwrap();
        assert_eq!((frame.start().millis() + offset, frame.step().millis()), (start, grid), "{series}");
        assert_eq!(frame.start().millis() % grid, 0);
        let found: Vec<String> = frame.series().iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), names);
        assert_eq!(format!("{:?}", frame.values()), values);
    }

    #[test]
    fn all_ways_to_write_series_are_one_frame() {
        let seconds = json!([{"labels": {"a": "1"}, "timestamps": [60, 120, 240], "values": [1, null, 3]}]);
        check(seconds, None, 60_000, 60_000, "{a=\"1\"}", "[1.0, NaN, NaN, 3.0]");
        let millis =
            json!([{"metric": "up", "timestamps": [1_700_000_000_500_i64, 1_700_000_001_500_i64], "values": [1, 2]}]);
        check(millis, None, 1_700_000_000_500, 1000, "up", "[1.0, 2.0]");
        let text =
            json!([{"metric": {"__name__": "up", "a": "1"}, "timestamps": ["1970-01-01T00:01:00Z"], "values": [7]}]);
        check(text, None, 60_000, 60_000, "up{a=\"1\"}", "[7.0]");
        let regular = json!([{"metric": "up{a=\"1\"}", "start": 61, "step": "30s", "values": [1, 2]}]);
        check(regular, None, 61_000, 30_000, "up{a=\"1\"}", "[1.0, 2.0]");
        let jittered = json!([{"labels": {}, "timestamps": [60.0, 119.9, 180.4], "values": [1, 2, 3]}]);
        check(jittered, Some(60_000), 60_000, 60_000, "{}", "[1.0, 2.0, 3.0]");
        let two = json!([
            {"metric": "a", "timestamps": [60, 120], "values": [1, 2]},
            {"metric": "b", "timestamps": [120], "values": [3]},
        ]);
        check(two, None, 60_000, 60_000, "a b", "[1.0, 2.0, NaN, 3.0]");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_path() {
        let check = |series: Value, path: &str, part: &str| {
            let wrong = framed(series.clone(), None).unwrap_err();
            assert_eq!(wrong.path, path, "{series}");
            assert!(wrong.message.contains(part), "{} doesn't say {part}", wrong.message);
        };
        check(json!([]), "series", "has no values");
        check(json!([{"values": []}]), "series[0].timestamps", "are missing");
        check(json!([{"timestamps": [], "values": []}]), "series", "has no values");
        check(json!([{"timestamps": [1], "values": []}]), "series[0].values", "are 0");
        check(json!([{"timestamps": ["x"], "values": [1]}]), "series[0].timestamps", "found `x`");
        check(json!([{"timestamps": [1e300], "values": [1]}]), "series[0].timestamps", "1970 to 9999");
        check(json!([{"timestamps": [-1], "values": [1]}]), "series[0].timestamps", "1970 to 9999");
        check(json!([{"start": 1, "values": [1]}]), "series[0].step", "is missing");
        check(json!([{"start": 1, "step": "x", "values": [1]}]), "series[0].step", "no duration");
        check(
            json!([{"start": "9999-12-30T21:00:00Z", "step": "1h", "values": [1, 2, 3]}]),
            "series[0].values",
            "9999",
        );
        check(json!([{"start": 1, "timestamps": [1], "values": [1]}]), "series[0].start", "give one of them");
        check(json!([{"timestamps": [1, 1.001, 1e9], "values": [1, 2, 3]}]), "series", "at most 4000000");
        check(json!([{"metric": "a{", "timestamps": [1], "values": [1]}]), "series[0].metric", "no series name");
        check(json!([{"labels": {"": "x"}, "timestamps": [1], "values": [1]}]), "series[0].labels", "empty name");
        let twice = json!([{"metric": "a", "start": 1, "step": "1m", "values": [1]}, {"metric": "a", "start": 1, "step": "1m", "values": [1]}]);
        check(twice, "series[1]", "twice");
    }
}
