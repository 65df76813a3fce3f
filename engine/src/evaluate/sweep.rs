//! What every threshold would catch, and how often it would wake somebody for nothing.

use std::collections::BTreeMap;

use super::{Event, Judged, Rules, events};

/// What one threshold would have done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The threshold: scores of this or more are alarms.
    pub threshold: f64,
    /// How many events are caught.
    pub caught: usize,
    /// How long after their starts the first alarms came, all events together, in milliseconds.
    pub delay_ms: i64,
    /// How many false alarms there are.
    pub false_alarms: u64,
}

/// What each threshold would have done, from the highest score down to the lowest; none where nothing is scored.
///
/// One pass over the scores, the highest first: alarms only ever become more, so events and groups of false alarms are
/// kept and extended. That makes it exact at every threshold for the price of a sort.
pub fn readings(judged: &Judged<'_>, rules: &Rules) -> Vec<Reading> {
    let mut order: Vec<usize> = (0..judged.scores.len()).filter(|at| !judged.scores[*at].is_nan()).collect();
    order.sort_by(|a, b| judged.scores[*b].total_cmp(&judged.scores[*a]));
    let mut alarms = Alarms::new(judged, rules);
    let mut found: Vec<Reading> = vec![];
    for at in order {
        alarms.add(at);
        let threshold = judged.scores[at];
        let reading =
            Reading { threshold, caught: alarms.caught, delay_ms: alarms.delay_ms, false_alarms: alarms.false_alarms };
        match found.last_mut() {
            Some(last) if last.threshold <= threshold => *last = reading,
            _ => found.push(reading),
        }
    }
    found
}

impl Reading {
    /// The best of `readings` with at most `most` false alarms: the one that catches the most events, and of those the
    /// one with the fewest false alarms. `None` where nothing can be caught.
    pub fn best(readings: &[Self], most: f64) -> Option<Self> {
        // So many a day times so many days is a product of floating point.
        let is_affordable = |reading: &&Self| reading.false_alarms as f64 <= most + 1e-9 && reading.caught > 0;
        let affordable = readings.iter().filter(is_affordable).copied();
        affordable.min_by_key(|reading| (std::cmp::Reverse(reading.caught), reading.false_alarms))
    }
}

/// The alarms so far.
struct Alarms<'a> {
    judged: &'a Judged<'a>,
    rules: &'a Rules,
    events: Vec<Event>,
    /// The points behind those that catch each event.
    ends: Vec<usize>,
    zones: Vec<bool>,
    /// The first alarm of each event.
    first: Vec<Option<i64>>,
    /// Groups of false alarms: from their first time to their last.
    groups: BTreeMap<i64, i64>,
    caught: usize,
    delay_ms: i64,
    false_alarms: u64,
}

impl<'a> Alarms<'a> {
    fn new(judged: &'a Judged<'a>, rules: &'a Rules) -> Self {
        let events = events(judged.labels);
        let ends = events.iter().map(|event| judged.window(event, rules).end).collect();
        let (zones, first) = (judged.zones(&events, rules), vec![None; events.len()]);
        let groups = BTreeMap::new();
        Self { judged, rules, events, ends, zones, first, groups, caught: 0, delay_ms: 0, false_alarms: 0 }
    }

    fn add(&mut self, at: usize) {
        if self.judged.neither[at] {
            return;
        }
        let behind = self.events.partition_point(|event| event.first <= at);
        let first = (0..behind).rev().take_while(|event| at < self.ends[*event]).last().unwrap_or(behind);
        for event in first..behind {
            self.catch(event, self.judged.time(at));
        }
        if !self.zones[at] {
            self.add_false(self.judged.time(at));
        }
    }

    fn catch(&mut self, event: usize, time: i64) {
        let start = self.judged.time(self.events[event].first);
        let before = self.first[event].map(|first| first - start);
        let delay = before.map_or(time - start, |before| before.min(time - start));
        self.caught += usize::from(before.is_none());
        self.delay_ms += delay - before.unwrap_or(0);
        self.first[event] = Some(start + delay);
    }

    fn add_false(&mut self, time: i64) {
        let (mut first, mut last) = (time, time);
        if let Some((&start, &end)) = self.groups.range(..=time).next_back() {
            if time <= end {
                return;
            }
            if time - end <= self.rules.merge {
                first = start;
                self.take(start);
            }
        }
        if let Some((&start, &end)) = self.groups.range(time..).next()
            && start - time <= self.rules.merge
        {
            last = end;
            self.take(start);
        }
        self.false_alarms += self.rules.notifications(first, last);
        self.groups.insert(first, last);
    }

    fn take(&mut self, start: i64) {
        if let Some(end) = self.groups.remove(&start) {
            self.false_alarms -= self.rules.notifications(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::{Step, Timestamp};

    const MINUTE: i64 = 60_000;

    /// Points a minute apart, `#` labelled. Each reading as threshold, caught, delay in minutes, false alarms.
    fn check(labels: &str, scores: &[f64], expected: &[(f64, usize, i64, u64)]) {
        let labels: Vec<bool> = labels.chars().map(|mark| mark == '#').collect();
        let times: Vec<Timestamp> = (0..scores.len()).map(|at| Timestamp::from_millis(at as i64 * MINUTE)).collect();
        let neither = vec![false; scores.len()];
        let judged = Judged { times: &times, scores, labels: &labels, neither: &neither };
        let found = readings(&judged, &Rules::of(Step::from_millis(MINUTE).unwrap()));
        let found: Vec<_> =
            found.iter().map(|one| (one.threshold, one.caught, one.delay_ms / MINUTE, one.false_alarms)).collect();
        assert_eq!(found, expected);
    }

    fn scores(points: usize, high: &[(usize, f64)]) -> Vec<f64> {
        let mut scores = vec![f64::NAN; points];
        high.iter().for_each(|(at, score)| scores[*at] = *score);
        scores
    }

    fn labels(points: usize, event: std::ops::RangeInclusive<usize>) -> String {
        (0..points).map(|at| if event.contains(&at) { '#' } else { '.' }).collect()
    }

    #[test]
    fn an_event_is_caught_from_its_start_until_a_little_after_its_end() {
        let events = labels(200, 100..=103);
        for (at, caught, delay, false_alarms) in [
            (94, 0, 0, 1),
            (95, 0, 0, 0),
            (99, 0, 0, 0),
            (100, 1, 0, 0),
            (108, 1, 8, 0),
            (109, 0, 0, 0),
            (133, 0, 0, 0),
            (134, 0, 0, 1),
        ] {
            check(&events, &scores(200, &[(at, 2.0)]), &[(2.0, caught, delay, false_alarms)]);
        }
    }

    #[test]
    fn lower_thresholds_catch_earlier_and_more() {
        let high = [(102, 5.0), (101, 3.0), (104, 2.0), (100, 1.0)];
        let expected = [(5.0, 1, 2, 0), (3.0, 1, 1, 0), (2.0, 1, 1, 0), (1.0, 1, 0, 0)];
        check(&labels(200, 100..=103), &scores(200, &high), &expected);
    }

    #[test]
    fn false_alarms_close_to_each_other_are_one() {
        let none = labels(400, 0..=0).replace('#', ".");
        check(
            &none,
            &scores(400, &[(10, 5.0), (30, 4.0), (20, 3.0)]),
            &[(5.0, 0, 0, 1), (4.0, 0, 0, 2), (3.0, 0, 0, 1)],
        );
        // Merged they last for 61 minutes, and so are told of twice.
        let high: Vec<(usize, f64)> = (0..=60).step_by(10).map(|at| (100 + at, 2.0)).collect();
        check(&none, &scores(400, &high), &[(2.0, 0, 0, 2)]);
        check(&none, &scores(400, &[(10, 5.0), (21, 5.0)]), &[(5.0, 0, 0, 2)]);
    }

    #[test]
    fn where_nothing_is_scored_there_is_nothing_to_read() {
        check("...", &[f64::NAN; 3], &[]);
        check("", &[], &[]);
    }

    #[test]
    fn a_budget_buys_the_best_threshold_that_it_can_afford() {
        let reading = |threshold, caught, false_alarms| Reading { threshold, caught, delay_ms: 0, false_alarms };
        let all = [reading(9.0, 0, 0), reading(5.0, 1, 1), reading(4.0, 1, 0), reading(3.0, 2, 3), reading(2.0, 2, 9)];
        for (most, expected) in [(0.0, Some(4.0)), (1.0, Some(4.0)), (3.0, Some(3.0)), (100.0, Some(3.0))] {
            assert_eq!(Reading::best(&all, most).map(|best| best.threshold), expected, "{most}");
        }
        assert_eq!(Reading::best(&all[..1], 5.0), None);
    }
}
