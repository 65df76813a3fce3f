//! The sentences that need more than the point itself: who else, what people said, and whether it can be made again.

use engine::Pipeline;
use engine::band::Expectation;
use engine::explain::{Section, distinct, duration, grouped, moment, number};
use engine::feedback::{Seen, Side, Verdict, moved};
use engine::incident::Point;
use engine::score::score;
use tsdb::{Labels, Timestamp};

use super::Case;
use super::again::Again;
use crate::advice::Notice;
use crate::database::incidents::Member;

/// How many of the other series are named.
const NAMED: usize = 5;

/// Two scores are the same where they differ by no more than this part: stores keep values to some fifteen digits, and a
/// score is a small difference over another.
const SAME: f64 = 1e-6;

/// `cpu{host="a"} was far above what is usual on Thu 26 Nov 2026 10:05 UTC.`
pub(super) fn headline(case: &Case) -> String {
    unusual(&case.episode.series, &case.point())
}

fn unusual(series: &str, point: &Point) -> String {
    let Point { at, score, actual, expected, lower, upper } = *point;
    let (far, unlike) = match score {
        score if score >= 5.0 => ("far ", "very unlike"),
        score if score >= 2.0 => ("", "unlike"),
        _ => ("a little ", "a little unlike"),
    };
    let side = match Side::of(actual, expected) {
        Side::Above => "above",
        Side::Below => "below",
    };
    if lower <= actual && actual <= upper {
        return format!("{series} was {unlike} what is usual on {}, though its value alone was not.", moment(at));
    }
    format!("{series} was {far}{side} what is usual on {}.", moment(at))
}

/// How long it went on, and who else was part of it.
pub(super) fn together(case: &Case) -> Option<Section> {
    let (incident, at) = (&case.incident, Timestamp::from_millis);
    let lasted = u64::try_from(incident.end_ms - incident.start_ms).unwrap_or(0);
    let mut text = vec![if lasted == 0 {
        "The incident is this one point.".to_owned()
    } else {
        let lasted = duration(std::time::Duration::from_millis(lasted));
        format!("The incident lasted {lasted}, until {}.", moment(at(incident.end_ms)))
    }];
    text.push(format!("It is {}.", severity(&incident.severity)));
    if incident.members > 1 {
        let watched = match incident.watched {
            0 => String::new(),
            watched if watched == incident.members => ", all that the pipeline watches,".to_owned(),
            watched => format!(" of the {} that the pipeline watches", grouped(usize::try_from(watched).unwrap_or(0))),
        };
        let members = grouped(usize::try_from(incident.members).unwrap_or(0));
        text.push(format!("{members} series{watched} deviate together, so this is one incident."));
        text.extend(incident.telling().iter().map(|told| format!("Of those, {told}.")));
        text.extend(named(case));
    }
    Some(Section::new("How bad it was, and who else", text))
}

fn severity(name: &str) -> &'static str {
    match name {
        "critical" => "critical: far outside what is usual for some time, or so for many series",
        "warning" => "a warning: clearly outside what is usual, but short or few",
        _ => "for information: a little or shortly outside what is usual",
    }
}

/// The series that contribute most, with their parts; each by the labels that are not the same in all of them.
fn named(case: &Case) -> Vec<String> {
    let weight = case.incident.weight.max(f64::MIN_POSITIVE);
    let mut parts: Vec<(&str, f64)> = vec![];
    for one in &case.members {
        match parts.iter().position(|(series, _)| *series == one.series) {
            Some(at) => parts[at].1 += one.weight / weight,
            None if parts.len() < NAMED => parts.push((&one.series, one.weight / weight)),
            None => {}
        }
    }
    let all: Vec<Labels> = case.members.iter().map(Member::labels).collect();
    let line = |(series, part): &(&str, f64)| {
        let labels = case.members.iter().find(|one| one.series == *series).map(Member::labels);
        let name = labels.map_or_else(|| (*series).to_owned(), |labels| distinct(&labels, &all));
        format!("{}% of it: {name}", number((part * 100.0).round()))
    };
    parts.iter().map(line).collect()
}

/// What people said that moved the threshold, and what they said of the incident itself.
pub(super) fn said(case: &Case, pipeline: &Pipeline, labels: &Labels) -> Option<Section> {
    let point = case.point();
    let mut text = vec![];
    let band = Expectation { expected: point.expected, lower: point.lower, upper: point.upper };
    let raw = score(point.actual, band, &pipeline.anomaly);
    let verdicts: Vec<Verdict> =
        case.said.iter().filter_map(|one| one.moves()).filter(|verdict| verdict.is_for(labels)).collect();
    let deviation = (point.actual - point.expected).abs();
    let seen = Seen { at: point.at, side: Side::of(point.actual, point.expected), score: raw, deviation };
    if let Some(moved) = moved(&verdicts, &seen).filter(|moved| (moved.threshold - 1.0).abs() > 1e-9) {
        let by = case.said.iter().find(|one| one.id == moved.verdict.id).map_or("somebody", |one| &one.created_by);
        let word = if moved.threshold > 1.0 { "raised" } else { "lowered" };
        let (given, threshold) = (moment(moved.verdict.given), number(moved.threshold));
        let what = case.said.iter().find(|one| one.id == moved.verdict.id).map_or("", |one| &one.verdict);
        text.push(format!(
            "The verdict `{what}` of {given} by {by} {word} the threshold for this point from 1 to {threshold}: the score \
             was divided by that, and would have been {} without it.",
            number(raw)
        ));
    }
    for one in case.said.iter().filter(|one| one.incident.as_deref() == Some(&case.incident.id)) {
        let note = if one.note.is_empty() { String::new() } else { format!(": “{}”", one.note) };
        let given = moment(Timestamp::from_millis(one.created_ms));
        text.push(format!("{} said `{}` of this incident on {given}{note}.", one.created_by, one.verdict));
    }
    (!text.is_empty()).then(|| Section::new("What people said", text))
}

/// What was not to be judged while the incident went on.
pub(super) fn silenced(notices: &[Notice], case: &Case) -> Option<Section> {
    let at = Timestamp::from_millis;
    let (from, until) = (at(case.incident.start_ms), at(case.incident.end_ms));
    let own = notices.iter().filter(|notice| notice.from <= until && from < notice.until);
    let own = own.filter(|notice| notice.pipeline.as_ref().is_none_or(|name| *name == case.incident.pipeline));
    let line = |notice: &Notice| {
        let about = notice.conditions().join(", ");
        let about = if about.is_empty() { "everything".to_owned() } else { about };
        let comment = if notice.comment.is_empty() { String::new() } else { format!(" (“{}”)", notice.comment) };
        format!("{} silenced {about} from {} to {}{comment}.", notice.source, moment(notice.from), moment(notice.until))
    };
    let text: Vec<String> = own.map(line).collect();
    (!text.is_empty()).then(|| Section::new("What was silenced at that time", text))
}

/// Whether the score can be made again, and why not. `found` is the point as it was made again.
pub(super) fn again(
    case: &Case,
    again: &Again,
    found: Option<Point>,
    why_not: Option<String>,
) -> (Option<bool>, Section) {
    let stored = case.point();
    let (is_same, mut text) = match (found, why_not) {
        (_, Some(error)) => (None, vec![format!("It could not be made again: {error}.")]),
        (None, None) => (Some(false), vec![gone(case)]),
        (Some(found), None) if is_close(found.score, stored.score) => (
            Some(true),
            vec![format!("It was made again from the same data, and is the same: {}.", number(stored.score))],
        ),
        (Some(found), None) => (Some(false), differs(&stored, &found)),
    };
    text.extend(again.changes.iter().cloned());
    let hash = again.model["file_sha256"].as_str().map(|hash| format!(", file {}", &hash[..hash.len().min(16)]));
    let version = again.model["version"].as_i64().map(|version| format!(", trained version {version}"));
    let (version, hash) = (version.unwrap_or_default(), hash.unwrap_or_default());
    text.push(format!("The model is {}{version}{hash}.", again.model["id"].as_str().unwrap_or("not known")));
    (is_same, Section::new("The score, made again", text))
}

fn gone(case: &Case) -> String {
    let silenced = case.said.iter().any(|one| one.verdict == "maintenance");
    let silenced = if silenced { ", or its time has been silenced since" } else { "" };
    format!("It can't be made again: its value or the history before it is not kept any more{silenced}.")
}

/// In what the point that was made again differs from what was recorded.
fn differs(stored: &Point, found: &Point) -> Vec<String> {
    let mut text =
        vec![format!("Made again, the score is {}; {} was recorded.", number(found.score), number(stored.score))];
    if !is_close(found.actual, stored.actual) {
        text.push(format!(
            "The value at that time is {} now, and was {}: data came late, or were corrected.",
            number(found.actual),
            number(stored.actual)
        ));
    } else if !is_close(found.expected, stored.expected) {
        text.push(format!(
            "What was expected is {} now, and was {}: the history before it has changed since, or the model has.",
            number(found.expected),
            number(stored.expected)
        ));
    } else if !is_close(found.lower, stored.lower) || !is_close(found.upper, stored.upper) {
        text.push(
            "The same was expected, but the band is another one: earlier points have come late, or changed.".into(),
        );
    } else {
        text.push("Value and band are the same: verdicts have been given or taken back since.".into());
    }
    text
}

fn is_close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= SAME * a.abs().max(b.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_says_how_far_and_where() {
        for (score, actual, expected) in [
            (7.0, 90.0, "cpu was far above what is usual on Thu 1 Jan 1970 00:00 UTC."),
            (3.0, 10.0, "cpu was below what is usual on Thu 1 Jan 1970 00:00 UTC."),
            (1.2, 70.0, "cpu was a little above what is usual on Thu 1 Jan 1970 00:00 UTC."),
            (
                7.0,
                50.0,
                "cpu was very unlike what is usual on Thu 1 Jan 1970 00:00 UTC, though its value alone was not.",
            ),
            (3.0, 50.0, "cpu was unlike what is usual on Thu 1 Jan 1970 00:00 UTC, though its value alone was not."),
            (
                1.2,
                50.0,
                "cpu was a little unlike what is usual on Thu 1 Jan 1970 00:00 UTC, though its value alone was not.",
            ),
        ] {
            let at = Timestamp::from_seconds(0);
            let point = Point { at, score, actual, expected: 50.0, lower: 40.0, upper: 60.0 };
            assert_eq!(unusual("cpu", &point), expected);
        }
    }
}
