use std::collections::HashSet;

use super::*;
use crate::IncidentKind;

const DAY: usize = 288;

fn scenario(seed: u64, series: usize) -> Scenario {
    Scenario::new(seed, Timestamp::from_seconds(1_700_000_000), Step::from_millis(300_000).unwrap(), series)
}

/// Bit for bit, so that gaps equal gaps.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn kind(row: usize) -> SeriesKind {
    SeriesKind::ALL[row % SeriesKind::ALL.len()]
}

#[test]
fn the_same_seed_gives_the_same_and_another_another() {
    let (one, again) = (generate(&scenario(1, 20), 400), generate(&scenario(1, 20), 400));
    assert_eq!(bits(one.frame.values()), bits(again.frame.values()));
    assert_eq!(one.incidents, again.incidents);
    let other = scenario(2, 20).frame(0..400);
    for row in 0..20 {
        assert_ne!(bits(one.frame.row(row)), bits(other.row(row)), "{:?}", kind(row));
    }
}

#[test]
fn values_stay_what_they_were_on_every_machine() {
    // A change of the generator changes what tests and benchmarks elsewhere measure, so it must be meant.
    let frame = scenario(1, 20).frame(0..3 * DAY);
    let folded = frame.values().iter().filter(|value| !value.is_nan());
    let hash = folded.fold(0u64, |hash, value| hash.rotate_left(5) ^ value.to_bits().wrapping_mul(0x9e37_79b9));
    assert_eq!(hash, 15_049_927_328_664_597_987);
}

#[test]
fn longer_runs_more_series_and_chunks_agree_with_the_whole() {
    let whole = scenario(3, 30).frame(0..12 * DAY);
    let shorter = scenario(3, 30).frame(0..11 * DAY);
    let narrower = scenario(3, 17).frame(0..12 * DAY);
    let chunks: Vec<_> = [0..1, 1..1000, 1000..1001, 1001..12 * DAY].map(|range| scenario(3, 30).frame(range)).into();
    for row in 0..30 {
        assert_eq!(bits(shorter.row(row)), bits(&whole.row(row)[..11 * DAY]), "{:?}", kind(row));
        let joined: Vec<f64> = chunks.iter().flat_map(|chunk| chunk.row(row)).copied().collect();
        assert_eq!(bits(&joined), bits(whole.row(row)), "{:?}", kind(row));
    }
    assert_eq!(bits(narrower.values()), bits(&whole.values()[..17 * 12 * DAY]));
    assert_eq!(chunks[2].start(), whole.time(1000));
    let later = scenario(3, 30).incidents(9 * DAY..12 * DAY);
    let all = scenario(3, 30).incidents(0..12 * DAY);
    assert!(!later.is_empty() && later.iter().all(|incident| all.contains(incident)));
}

#[test]
fn values_stay_within_what_they_measure() {
    let frame = scenario(4, 200).frame(0..21 * DAY);
    for (row, (labels, values)) in frame.rows().enumerate() {
        let high = match kind(row) {
            SeriesKind::Cpu => 100.0,
            SeriesKind::ErrorRatio => 1.0,
            SeriesKind::DiskUsage => 5e11,
            SeriesKind::Temperature => 95.0,
            _ => f64::MAX,
        };
        assert!(values.iter().all(|value| value.is_nan() || (0.0..=high).contains(value)), "{labels}");
    }
}

#[test]
fn counters_only_grow_but_for_a_restart_a_day() {
    let frame = scenario(5, 100).frame(0..14 * DAY);
    for (row, (labels, values)) in frame.rows().enumerate().filter(|(row, _)| kind(*row) == SeriesKind::RequestCounter)
    {
        let values: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let resets = values.windows(2).filter(|pair| pair[1] < pair[0]).count();
        let most =
            if frame.row(row).iter().filter(|value| value.is_nan()).count() > DAY / 4 { 0..=14 } else { 13..=14 };
        assert!(most.contains(&resets), "{labels}: {resets}");
    }
}

#[test]
fn the_counter_counts_the_requests_of_the_rate() {
    let frame = scenario(6, 10).frame(0..2 * DAY);
    let (rate, counter) = (frame.row(1), frame.row(2));
    let mut compared = 0;
    for at in 1..2 * DAY {
        let increase = counter[at] - counter[at - 1];
        if increase >= 0.0 && !rate[at].is_nan() {
            assert!((increase / 300.0 - rate[at]).abs() <= 1.0 / 300.0, "point {at}");
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn every_incident_shows_and_nothing_else_changes() {
    let with = scenario(7, 150);
    let without = Scenario { incident_every: None, ..with.clone() };
    let (upset, calm) = (generate(&with, 28 * DAY), generate(&without, 28 * DAY));
    assert!(calm.incidents.is_empty());
    let mut kinds = HashSet::new();
    for incident in &upset.incidents {
        kinds.insert(incident.kind);
        assert!(incident.start >= upset.frame.time(7 * DAY), "{incident:?}");
        let from = upset.frame.index(incident.start).unwrap();
        let to = upset.frame.index(incident.end).unwrap_or(28 * DAY);
        let (row, usual) = (upset.frame.row(incident.row), calm.frame.row(incident.row));
        let present: Vec<usize> = (from..to).filter(|at| !row[*at].is_nan()).collect();
        // A total shows what is missing from it only little by little, so for a counter any difference counts.
        let least = if kind(incident.row) == SeriesKind::RequestCounter { 0.0 } else { 0.04 };
        let changed = present.iter().filter(|at| (row[**at] - usual[**at]).abs() > least * usual[**at].abs()).count();
        assert!(2 * changed >= present.len(), "{incident:?}: {changed} of {}", present.len());
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(kinds.contains(&IncidentKind::MissingPeak));
    only_incidents_differ(&upset, &calm);
}

/// Where two runs differ there is an incident; in a counter also from there to the next restart.
fn only_incidents_differ(upset: &Generated, calm: &Generated) {
    let mut covered = vec![false; upset.frame.values().len()];
    for incident in &upset.incidents {
        let (points, from) = (upset.frame.points(), upset.frame.index(incident.start).unwrap());
        let tail = if kind(incident.row) == SeriesKind::RequestCounter { DAY } else { 0 };
        let to = (upset.frame.index(incident.end).unwrap_or(points) + tail).min(points);
        covered[incident.row * points + from..incident.row * points + to].fill(true);
    }
    let pairs = upset.frame.values().iter().zip(calm.frame.values()).zip(covered);
    for ((one, other), covered) in pairs {
        assert!(covered || one.to_bits() == other.to_bits(), "{one} and {other} without an incident");
    }
}

#[test]
fn some_series_have_no_incident() {
    let generated = generate(&scenario(8, 200), 28 * DAY);
    let upset: HashSet<usize> = generated.incidents.iter().map(|incident| incident.row).collect();
    assert!((60..160).contains(&upset.len()), "{}", upset.len());
}

#[test]
fn labels_are_unique_over_many_hosts() {
    // `Frame::new` refuses doubles, so that it answers is the proof.
    assert_eq!(scenario(9, 12_000).frame(0..1).series().len(), 12_000);
}

#[test]
fn there_are_gaps_but_few_where_hosts_stay() {
    let frame = scenario(10, 400).frame(0..14 * DAY);
    let share = |row: &[f64]| row.iter().filter(|value| value.is_nan()).count() as f64 / row.len() as f64;
    let shares: Vec<f64> = frame.rows().map(|(_, row)| share(row)).collect();
    assert!(shares.iter().all(|share| *share < 0.35));
    let whole = shares.iter().filter(|share| **share < 0.01).count();
    assert!((300..400).contains(&whole), "{whole}");
    assert!(frame.samples() < frame.values().len());
}

/// Median and median absolute deviation.
fn middle(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    let mut away: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
    away.sort_unstable_by(f64::total_cmp);
    Some((median, away[away.len() / 2]))
}

/// Where two points in a row are far from the median of the same time on the last seven days. The plainest detector
/// that knows a daily season.
fn alarms(row: &[f64]) -> Vec<usize> {
    let week = |at: usize| (1..=7).flat_map(move |day| row[at - day * DAY - 1..=at - day * DAY + 1].iter().copied());
    let far = |at: usize| {
        let history: Vec<f64> = week(at).collect();
        middle(&history).is_some_and(|(median, away)| {
            let width =
                7.0 * away + 0.05 * median.abs() + 2.0 * f64::from(median.abs() < 40.0 && median.fract() == 0.0);
            (row[at] - median).abs() > width
        })
    };
    let flags: Vec<bool> = (0..row.len()).map(|at| at > 7 * DAY && far(at)).collect();
    (1..row.len()).filter(|at| flags[*at] && flags[at - 1]).collect()
}

#[test]
fn a_plain_detector_finds_most_incidents_and_little_else() {
    let Generated { frame, incidents } = generate(&scenario(11, 100), 21 * DAY);
    let (mut found, mut all, mut false_alarms) = (0, 0, vec![0; 10]);
    for row in (0..100).filter(|row| kind(*row) != SeriesKind::RequestCounter) {
        let own: Vec<_> = incidents.iter().filter(|incident| incident.row == row).collect();
        let alarms = alarms(frame.row(row));
        all += own.len();
        found += own.iter().filter(|i| alarms.iter().any(|at| (i.start..i.end).contains(&frame.time(*at)))).count();
        let mut last = 0;
        for at in alarms {
            let time = frame.time(at);
            // What an incident leaves in the history of the same hours isn't the generator's fault.
            let tainted = own.iter().any(|i| i.start <= time && time.millis() < i.end.millis() + 3_600_000);
            if !tainted && at > last + 12 {
                false_alarms[row % 10] += 1;
            }
            last = at;
        }
    }
    assert!(found * 10 >= all * 9, "{found} of {all}");
    // Ten series of a kind over two weeks: one false alarm a series and week.
    let most = false_alarms.iter().max().unwrap();
    assert!(*most <= 20, "{false_alarms:?}");
}
