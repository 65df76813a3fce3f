//! Maintenance windows and holidays: ranges of time that are known beforehand.

use std::ops::Range;
use std::time::Duration;

use tsdb::Timestamp;

use crate::schedule::Schedule;
use crate::silence::{Matcher, Silence};

/// When a calendar silences.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Once: the first moment, and the first one after it.
    Once(Range<Timestamp>),
    /// Again and again.
    Recurring {
        /// When each begins.
        schedule: Schedule,
        /// How long each lasts; shorter than the time until the next.
        length: Duration,
    },
}

/// Ranges of time in which the series that fulfil all of `matchers` are neither scored nor learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// For people.
    pub name: String,
    /// The ranges.
    pub when: When,
    /// What a series must fulfil; without any, all series do.
    pub matchers: Vec<Matcher>,
}

impl Calendar {
    /// Those of its ranges that touch the time from `from` to `until`, both included.
    pub fn silences(&self, from: Timestamp, until: Timestamp) -> Vec<Silence> {
        let silence =
            |range: Range<Timestamp>| Silence { from: range.start, until: range.end, matchers: self.matchers.clone() };
        match &self.when {
            When::Once(range) => {
                (range.start <= until && range.end > from).then(|| silence(range.clone())).into_iter().collect()
            }
            When::Recurring { schedule, length } => {
                let ticks =
                    std::iter::successors(Some(schedule.last_until(from)), |tick| Some(schedule.next_after(*tick)));
                let ranges = ticks.take_while(|tick| *tick <= until).map(|tick| tick..tick + *length);
                ranges.filter(|range| range.end > from).map(silence).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(time.as_millisecond())
    }

    fn check(when: &When, from: &str, until: &str, expected: &[(&str, &str)]) {
        let calendar = Calendar { name: "c".into(), when: when.clone(), matchers: vec![] };
        let found: Vec<(Timestamp, Timestamp)> =
            calendar.silences(at(from), at(until)).iter().map(|silence| (silence.from, silence.until)).collect();
        let expected: Vec<(Timestamp, Timestamp)> =
            expected.iter().map(|(from, until)| (at(from), at(until))).collect();
        assert_eq!(found, expected, "{when:?} from {from} to {until}");
    }

    #[test]
    fn a_range_comes_once() {
        let once = When::Once(at("2026-12-24T00:00:00Z")..at("2026-12-27T00:00:00Z"));
        let range = [("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z")];
        check(&once, "2026-12-25T00:00:00Z", "2026-12-25T01:00:00Z", &range);
        check(&once, "2026-12-20T00:00:00Z", "2026-12-24T00:00:00Z", &range);
        check(&once, "2026-12-20T00:00:00Z", "2026-12-23T23:59:59Z", &[]);
        check(&once, "2026-12-27T00:00:00Z", "2026-12-28T00:00:00Z", &[]);
    }

    #[test]
    fn a_window_comes_again_by_the_clock_of_its_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let schedule = Schedule::parse("30 2 * * SUN", &zone).unwrap();
        let weekly = When::Recurring { schedule, length: Duration::from_secs(3600) };
        let (winter, summer) =
            (("2026-03-22T01:30:00Z", "2026-03-22T02:30:00Z"), ("2026-04-05T00:30:00Z", "2026-04-05T01:30:00Z"));
        // On the 29th of March there is no 2:30; the window begins when the clock goes on.
        let between = ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z");
        check(&weekly, "2026-03-22T02:29:59Z", "2026-04-05T00:30:00Z", &[winter, between, summer]);
        check(&weekly, "2026-03-22T02:30:00Z", "2026-03-28T00:00:00Z", &[]);
    }
}
