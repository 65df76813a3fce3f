//! Why a point was found unusual, in sentences for somebody who has never seen the program: what was expected and why,
//! what came, and how unusual that is.

use std::time::Duration;

use models::detect::{Detector, PARTS};
use serde::{Deserialize, Serialize};
use tsdb::labels::METRIC_NAME;
use tsdb::{Labels, Step, Timestamp};

use crate::feedback::Side;
use crate::incident::Point;
use crate::pipeline::{Pipeline, USUAL_CONFIDENCE};

mod grouped;

pub use grouped::Grouped;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many earlier days are looked at for the same time of day.
const EARLIER_DAYS: usize = 14;

/// How many points of one time of day make a sentence.
const ENOUGH_DAYS: usize = 2;

/// How many points just before are looked at.
const JUST_BEFORE: usize = 12;

/// What is known of a point of one series.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The point, and what was expected of it.
    pub point: Point,
    /// The values up to the point, the last of which is its own; gaps are NaN.
    pub values: &'a [f64],
    /// The distance between them.
    pub step: Step,
    /// The scores of the same points as far as they are known, NaN elsewhere; empty where none are.
    pub scores: &'a [f64],
    /// What the parts of the score say, by their names; none where it has no parts.
    pub parts: Option<&'a [(String, f64)]>,
    /// What a detector of several series saw; none where no such detector judged it.
    pub grouped: Option<&'a Grouped>,
}

impl Evidence<'_> {
    /// Whether what was expected of the series alone, and its band, say nothing of the score.
    fn is_beside_band(&self) -> bool {
        self.grouped.is_some_and(Grouped::is_beside_band)
    }
}

/// What the parts of the ensemble say of the last of `values`, which end at `at`, in what each usually reaches; `None` where
/// `pipeline` is judged by forecasts, or there is too little to say.
pub fn parts(pipeline: &Pipeline, values: &[f64], at: Timestamp) -> Option<Vec<(String, f64)>> {
    let mut detector = pipeline.learns().then(|| Detector::new(pipeline.step.duration(), USUAL_CONFIDENCE))?;
    let first = at - pipeline.step.times(values.len().saturating_sub(1));
    let times = (0..values.len()).map(|point| (first + pipeline.step.times(point)).millis());
    let found = times.zip(values).map(|(time, value)| detector.push(time, *value)).last()??;
    Some(PARTS.iter().map(|name| (*name).to_owned()).zip(found.parts).collect())
}

/// A part of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// Its sentences.
    pub text: Vec<String>,
}

impl Section {
    /// A section of these sentences.
    pub fn new(title: &str, text: Vec<String>) -> Self {
        Self { title: title.to_owned(), text }
    }
}

/// The explanation of a point: what was expected, what came, how unusual that is, and what the parts of the score say, or the
/// other series that it was judged with.
pub fn explain(evidence: &Evidence<'_>) -> Vec<Section> {
    let mut sections = vec![
        Section::new("What was expected", expected(evidence)),
        Section::new("What came", came(evidence)),
        Section::new("How unusual that is", unusual(evidence)),
    ];
    if let Some(parts) = evidence.parts.filter(|parts| !parts.is_empty()) {
        sections.push(Section::new("What the parts of the score say", of_parts(parts)));
    }
    sections.extend(evidence.grouped.map(Grouped::section));
    sections.retain(|section| !section.text.is_empty());
    sections
}

fn expected(evidence: &Evidence<'_>) -> Vec<String> {
    let Point { expected, lower, upper, .. } = evidence.point;
    let alone = if evidence.is_beside_band() { ", taken by itself" } else { "" };
    let mut text = vec![format!(
        "About {}. Anything between {} and {} would have been usual{alone}.",
        number(expected),
        number(lower),
        number(upper)
    )];
    let earlier = same_time_before(evidence);
    if earlier.len() >= ENOUGH_DAYS {
        let (low, high) = extent(&earlier);
        text.push(format!(
            "At this time of day it was {} on the {} days before (around {}).",
            between(low, high),
            earlier.len(),
            number(median(&earlier))
        ));
    }
    let before = just_before(evidence);
    if before.len() >= 2 {
        let (low, high) = extent(&before);
        let span = span(evidence.step.times(before.len()));
        text.push(format!("In the {span} before it was {}.", between(low, high)));
    }
    text
}

fn came(evidence: &Evidence<'_>) -> Vec<String> {
    let Point { actual, expected, lower, upper, score, .. } = evidence.point;
    let (word, half_width) = match Side::of(actual, expected) {
        Side::Above => ("more", upper - expected),
        Side::Below => ("less", expected - lower),
    };
    let deviation = (actual - expected).abs();
    let mut text = vec![format!("{}, which is {} {word} than expected.", number(actual), number(deviation))];
    if half_width > 0.0 && half_width.is_finite() && !evidence.is_beside_band() {
        let times = number(deviation / half_width);
        text.push(format!("That is {times} times as far from the expected value as the edge of what is usual."));
    }
    text.push(format!("Its score is {}: 1 is the edge, and more is unusual.", number(score)));
    text
}

fn unusual(evidence: &Evidence<'_>) -> Vec<String> {
    let mut text = vec![];
    let actual = evidence.point.actual;
    let Some((_, before)) = evidence.values.split_last() else { return text };
    let is_as_far = |value: f64| match Side::of(actual, evidence.point.expected) {
        Side::Above => value >= actual,
        Side::Below => value <= actual,
    };
    let known = before.iter().filter(|value| !value.is_nan()).count();
    if known > 0 {
        let word = if Side::of(actual, evidence.point.expected) == Side::Above { "high" } else { "low" };
        let span = span(evidence.step.times(before.len()));
        let last = before.iter().rposition(|value| is_as_far(*value));
        text.push(match last {
            None => format!("It is the {word}est value of the {span} before ({} values).", grouped(known)),
            Some(last) => {
                let ago = duration(evidence.step.times(before.len() - last));
                let as_far = before.iter().filter(|value| is_as_far(**value)).count();
                let times = if as_far == 1 { "once".to_owned() } else { format!("{} times", grouped(as_far)) };
                format!(
                    "In the {span} before it was as {word} {times}, last {ago} earlier: the height alone is not it."
                )
            }
        });
    }
    text.extend(as_far_off(evidence));
    text
}

/// How many points were as far off.
fn as_far_off(evidence: &Evidence<'_>) -> Option<String> {
    let before = evidence.scores.split_last().map_or(&[][..], |(_, before)| before);
    let known = before.iter().filter(|score| !score.is_nan()).count();
    if known == 0 {
        return None;
    }
    let as_far = before.iter().filter(|score| **score >= evidence.point.score).count();
    let of = format!("the {} points that were scored before", grouped(known));
    Some(match as_far {
        0 => format!("None of {of} was as far off."),
        1 => format!("Of {of}, one was as far off."),
        _ => format!("Of {of}, {} were as far off.", grouped(as_far)),
    })
}

fn of_parts(parts: &[(String, f64)]) -> Vec<String> {
    let mut parts: Vec<&(String, f64)> = parts.iter().collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.into_iter().map(|(name, value)| format!("{name}: {} times the usual", number(*value))).collect()
}

/// The values at the same time of earlier days, the latest first.
fn same_time_before(evidence: &Evidence<'_>) -> Vec<f64> {
    let last = evidence.values.len().saturating_sub(1);
    let in_a_day = DAY.as_millis() as i64 / evidence.step.millis();
    if in_a_day < 2 || DAY.as_millis() as i64 % evidence.step.millis() != 0 {
        return vec![];
    }
    let back = (1..=EARLIER_DAYS).map_while(|day| last.checked_sub(day * in_a_day as usize));
    back.map(|at| evidence.values[at]).filter(|value| !value.is_nan()).collect()
}

/// The values just before the point.
fn just_before(evidence: &Evidence<'_>) -> Vec<f64> {
    let last = evidence.values.len().saturating_sub(1);
    let first = last.saturating_sub(JUST_BEFORE);
    evidence.values[first..last].iter().copied().filter(|value| !value.is_nan()).collect()
}

fn extent(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn between(low: f64, high: f64) -> String {
    let (low, high) = (number(low), number(high));
    if low == high { low } else { format!("between {low} and {high}") }
}

/// A series by its labels that are not the same in `all`: `requests, host=a`; whole where there are none.
pub fn distinct(labels: &Labels, all: &[Labels]) -> String {
    let differs = |name: &str| all.iter().any(|other| other.get(name) != labels.get(name));
    let own = labels.iter().filter(|(name, _)| differs(name)).map(|(name, value)| match name {
        METRIC_NAME => value.to_owned(),
        _ => format!("{name}={value}"),
    });
    let text = own.collect::<Vec<_>>().join(", ");
    if text.is_empty() { labels.to_string() } else { text }
}

/// A number with four significant digits, such as `12.34`, `1,235` or `0.00012`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nothing".into() } else { format!("{value}") };
    }
    let size = value.abs();
    if size >= 1e12 || (value != 0.0 && size < 1e-5) {
        return format!("{value:.3e}");
    }
    let digits = if value == 0.0 { 0 } else { size.log10().floor() as i32 };
    let text = format!("{value:.*}", usize::try_from(3 - digits).unwrap_or(0));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = rest.split_once('.').map_or((rest, String::new()), |(whole, part)| (whole, format!(".{part}")));
    format!("{sign}{}{part}", with_commas(whole))
}

/// A count with commas: `2,016`.
pub fn grouped(count: usize) -> String {
    with_commas(&count.to_string())
}

fn with_commas(digits: &str) -> String {
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// A stretch of time in words: `4 weeks`, `3 days 4 hours`, `12 minutes`.
pub fn duration(time: Duration) -> String {
    let mut rest = time.as_secs();
    let mut parts = vec![];
    for (size, unit) in [(604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")] {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") });
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { format!("{} ms", time.as_millis()) } else { parts.join(" ") }
}

/// The same after an article: `the week`, `the 4 weeks`.
fn span(time: Duration) -> String {
    let text = duration(time);
    if text.matches(' ').count() == 1 { text.strip_prefix("1 ").map_or(text.clone(), str::to_owned) } else { text }
}

/// A time as people read it: `Thu 26 Nov 2026 10:05 UTC`, with seconds where there are any.
pub fn moment(time: Timestamp) -> String {
    let Ok(parsed) = jiff::Timestamp::from_millisecond(time.millis()) else { return time.to_string() };
    let form = if time.millis() % 60_000 == 0 { "%a %-d %b %Y %H:%M UTC" } else { "%a %-d %b %Y %H:%M:%S UTC" };
    parsed.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use models::panel::Reason;

    use super::*;

    const HOURLY: Step = Step::from_millis(3_600_000).unwrap();

    fn evidence<'a>(values: &'a [f64], scores: &'a [f64]) -> Evidence<'a> {
        let actual = *values.last().unwrap_or(&f64::NAN);
        let at = Timestamp::from_seconds(1_700_000_000);
        let point = Point { at, score: 3.5, actual, expected: 100.0, lower: 90.0, upper: 110.0 };
        Evidence { point, values, step: HOURLY, scores, parts: None, grouped: None }
    }

    fn check(evidence: &Evidence<'_>, expected: &[&str]) {
        let sections = explain(evidence);
        let text: Vec<&str> = sections.iter().flat_map(|section| &section.text).map(String::as_str).collect();
        assert_eq!(text, expected);
    }

    /// Four days of a wave of hours between 80 and 120, and a last point.
    fn days(last: f64) -> Vec<f64> {
        let wave = |hour: i32| (100.0 + 20.0 * (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin()).round();
        (0..96).map(wave).chain([last]).collect()
    }

    #[test]
    fn a_spike_is_the_highest_for_long() {
        let values = days(135.0);
        check(
            &evidence(&values, &[]),
            &[
                "About 100. Anything between 90 and 110 would have been usual.",
                "At this time of day it was 100 on the 4 days before (around 100).",
                "In the 12 hours before it was between 80 and 100.",
                "135, which is 35 more than expected.",
                "That is 3.5 times as far from the expected value as the edge of what is usual.",
                "Its score is 3.5: 1 is the edge, and more is unusual.",
                "It is the highest value of the 4 days before (96 values).",
            ],
        );
    }

    #[test]
    fn a_value_that_is_not_rare_is_said_to_be_so() {
        let (values, mut scores) = (days(85.0), vec![0.5; 97]);
        (scores[10], scores[96]) = (9.0, 3.5);
        let sections = explain(&evidence(&values, &scores));
        assert_eq!(
            sections[2].text,
            [
                "In the 4 days before it was as low 20 times, last 4 hours earlier: the height alone is not it.",
                "Of the 96 points that were scored before, one was as far off.",
            ]
        );
        scores[10] = 0.5;
        assert!(explain(&evidence(&values, &scores))[2].text[1].starts_with("None of the 96"));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        check(
            &Evidence {
                point: Point { lower: 100.0, upper: 100.0, ..evidence(&[1.0], &[]).point },
                ..evidence(&[1.0], &[f64::NAN])
            },
            &[
                "About 100. Anything between 100 and 100 would have been usual.",
                "1, which is 99 less than expected.",
                "Its score is 3.5: 1 is the edge, and more is unusual.",
            ],
        );
        let gaps = [f64::NAN, f64::NAN, 150.0];
        assert_eq!(explain(&evidence(&gaps, &[])).len(), 2);
        assert_eq!(explain(&evidence(&[], &[])).len(), 2);
    }

    #[test]
    fn parts_are_told_the_greatest_first() {
        let parts = [("band".to_owned(), 0.5), ("nearest neighbours".to_owned(), 4.25)];
        let values = days(135.0);
        let sections = explain(&Evidence { parts: Some(&parts), ..evidence(&values, &[]) });
        assert_eq!(sections[3].text, ["nearest neighbours: 4.25 times the usual", "band: 0.5 times the usual"]);
    }

    #[test]
    fn a_band_that_says_nothing_of_the_score_is_that_of_the_series_alone() {
        let values = days(105.0);
        let reason = Reason::Values { score: 3.5, parts: vec![] };
        let grouped = Grouped { by: vec![], members: vec![Labels::metric("a"), Labels::metric("b")], reason };
        let sections = explain(&Evidence { grouped: Some(&grouped), ..evidence(&values, &[]) });
        assert_eq!(
            sections[0].text[0],
            "About 100. Anything between 90 and 110 would have been usual, taken by itself."
        );
        assert_eq!(
            sections[1].text,
            ["105, which is 5 more than expected.", "Its score is 3.5: 1 is the edge, and more is unusual."]
        );
        assert_eq!(sections[3].title, "What was odd about its group");
    }

    #[test]
    fn a_series_is_called_by_what_tells_it_from_the_others() {
        for (all, expected) in [
            (vec![r#"up{host="a", zone="x"}"#, r#"up{host="b", zone="x"}"#], "host=a"),
            (vec![r#"cpu{host="a"}"#, r#"up{host="b"}"#], "cpu, host=a"),
            (vec![r#"cpu{host="a"}"#, r#"cpu{host="a"}"#], r#"cpu{host="a"}"#),
            (vec!["cpu"], "cpu"),
        ] {
            let all: Vec<Labels> = all.into_iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(distinct(&all[0], &all), expected);
        }
    }

    #[test]
    fn numbers_and_times_are_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (-1234.56, "-1,235"),
            (1_234_567.0, "1,234,567"),
            (0.000_12, "0.00012"),
            (12.5, "12.5"),
            (1e-9, "1.000e-9"),
            (f64::NAN, "nothing"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
        for (seconds, text) in
            [(2_419_200, "4 weeks"), (273_600, "3 days 4 hours"), (61, "1 minute 1 second"), (0, "0 ms")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(moment(Timestamp::from_seconds(1_700_000_000)), "Tue 14 Nov 2023 22:13:20 UTC");
    }
}
