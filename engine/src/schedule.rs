//! When passes are due.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Year};
use jiff::Zoned;
use jiff::tz::TimeZone;
use tsdb::Timestamp;

use crate::pipeline::duration;

/// Where the search for the largest gap begins: 2027-01-01T00:00:00Z. Any year would do; a fixed one gives the same
/// answer every day.
const GAP_SEARCH_START: i64 = 1_798_761_600_000;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Neither a cron pattern nor a duration.
    #[error(
        "found {text:?}, which is no schedule: {reason}; expected cron with 5 fields (minute hour day month weekday) such as \
         \"*/5 * * * *\", with 6 (seconds first) such as \"30 */5 * * * *\", or a duration such as 30s"
    )]
    Syntax {
        /// What was read, cut where it is long.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern such as the 31st of February.
    #[error("found {text:?}, which never fires: no day of any year matches it")]
    Never {
        /// What was read.
        text: String,
    },
    /// A duration that is too short.
    #[error("found {text:?}; expected a duration of at least 1ms")]
    Zero {
        /// What was read.
        text: String,
    },
}

/// When something is due: at the times of a cron pattern in a time zone, or every so often.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At every multiple of this duration since the Unix epoch; at least 1 ms.
    Every(Duration),
    /// At the times that match a cron pattern.
    Cron(CronSchedule),
}

/// A cron pattern in a time zone. Made by [`Schedule::parse`].
///
/// A pattern with one fixed time of day that the clock skips fires at the first moment after the gap, and once where
/// the clock repeats it; any other pattern follows the clock, twice through a repeated hour.
#[derive(Clone, Debug, PartialEq)]
pub struct CronSchedule {
    text: String,
    cron: Box<Cron>,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a cron pattern (5 fields, or 6 with seconds first, or `@hourly` and its like), whose times are those of
    /// `zone`, or a Prometheus duration. Day of month and weekday together mean either of them, as in cron.
    ///
    /// # Errors
    /// Neither of them, and a pattern that never fires.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, ScheduleError> {
        let trimmed = text.trim();
        // A pattern has several fields or a nickname, a duration has neither.
        if !trimmed.is_empty() && !trimmed.contains(char::is_whitespace) && !trimmed.starts_with('@') {
            return every(trimmed);
        }
        let cron = match parser().parse(&shortened(trimmed)) {
            Ok(cron) => cron,
            Err(error) => return Err(syntax(trimmed, cron_reason(trimmed, &error))),
        };
        let schedule = CronSchedule { text: trimmed.to_owned(), cron: Box::new(cron), zone: zone.clone() };
        match schedule.find(Timestamp::from_millis(GAP_SEARCH_START), true) {
            Some(_) => Ok(Self::Cron(schedule)),
            None => Err(ScheduleError::Never { text: schedule.text }),
        }
    }

    /// The first time after `time`. Past the year 5000, which no pattern reaches, the end of all timestamps.
    pub fn next_after(&self, time: Timestamp) -> Timestamp {
        match self {
            Self::Every(every) => {
                let every = millis(*every);
                Timestamp::from_millis((time.millis().div_euclid(every).saturating_add(1)).saturating_mul(every))
            }
            Self::Cron(cron) => cron.find(time, true).unwrap_or(Timestamp::from_millis(i64::MAX)),
        }
    }

    /// The last time that is not after `time`. Before the year 1, the begin of all timestamps.
    pub fn last_until(&self, time: Timestamp) -> Timestamp {
        match self {
            Self::Every(every) => {
                let every = millis(*every);
                Timestamp::from_millis(time.millis().div_euclid(every).saturating_mul(every))
            }
            Self::Cron(cron) => cron.find(time, false).unwrap_or(Timestamp::from_millis(i64::MIN)),
        }
    }

    /// The longest time between two neighbouring times of the schedule, changes of the clock included. For a cron
    /// pattern, that of the year 2027, and longer where the pattern doesn't fire every year.
    pub fn largest_gap(&self) -> Duration {
        let zone = match self {
            Self::Every(every) => return *every,
            Self::Cron(cron) => &cron.zone,
        };
        let start = Timestamp::from_millis(GAP_SEARCH_START);
        // Gaps of more than a day hold one of the year's probes. Shorter ones are alike on every day that fires,
        // but for the days on which the clock changes.
        let mut largest = self.probe(start, YEAR, DAY);
        for around in std::iter::once(self.next_after(start)).chain(clock_changes(zone, start, YEAR)) {
            largest = largest.max(self.probe(around - DAY, 3 * DAY, HOUR));
        }
        // Gaps of less than an hour are alike in every hour that fires.
        largest.max(self.walk(self.next_after(start), 2 * HOUR))
    }

    /// The largest of the gaps that hold one of the times from `start` on, `stride` apart.
    fn probe(&self, start: Timestamp, length: Duration, stride: Duration) -> Duration {
        let mut largest = Duration::ZERO;
        let (end, mut time) = (start + length, start);
        while time < end {
            let next = self.next_after(time);
            largest = largest.max(between(self.last_until(time), next));
            time = (time + stride).max(next);
        }
        largest
    }

    /// The largest of the gaps that begin within `length` after the tick `start`.
    fn walk(&self, start: Timestamp, length: Duration) -> Duration {
        let mut largest = Duration::ZERO;
        let (end, mut time) = (start + length, start);
        while time < end {
            let next = self.next_after(time);
            largest = largest.max(between(time, next));
            time = next;
        }
        largest
    }
}

impl fmt::Display for Schedule {
    /// As [`Schedule::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => duration::Show(*every).fmt(f),
            Self::Cron(cron) => f.write_str(&cron.text),
        }
    }
}

impl CronSchedule {
    /// The first match after `time`, or the last that is not after it.
    fn find(&self, time: Timestamp, forward: bool) -> Option<Timestamp> {
        // Matches lie on whole seconds, so the fraction says nothing.
        let second = jiff::Timestamp::from_second(time.millis().div_euclid(1000)).ok()?;
        let from = Zoned::new(second, self.zone.clone());
        let found = match forward {
            true => self.cron.find_next_occurrence(&from, false),
            false => self.cron.find_previous_occurrence(&from, true),
        };
        found.ok().map(|found| Timestamp::from_millis(found.timestamp().as_millisecond()))
    }
}

/// How much later than its schedule the pipeline `name` starts, so that many pipelines with the same schedule don't
/// all start at once: always the same for a name, evenly spread over a tenth of `interval`, and at most 10 s.
pub fn spread(name: &str, interval: Duration) -> Duration {
    let window = (interval / 10).min(Duration::from_secs(10)).as_millis();
    // FNV-1a (Fowler, Noll, Vo), because the hash of the standard library may change from version to version. Its
    // low bits are the better ones.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    match u64::try_from(window) {
        Ok(window) if window > 0 => Duration::from_millis(hash % window),
        _ => Duration::ZERO,
    }
}

fn every(text: &str) -> Result<Schedule, ScheduleError> {
    match duration::parse(text) {
        Ok(every) if every.is_zero() => Err(ScheduleError::Zero { text: text.to_owned() }),
        Ok(every) => Ok(Schedule::Every(every)),
        Err(error) => Err(syntax(text, error.reason)),
    }
}

fn syntax(text: &str, reason: impl Into<String>) -> ScheduleError {
    ScheduleError::Syntax { text: shortened(text), reason: reason.into() }
}

/// No pattern is longer than this, and no message should be.
fn shortened(text: &str) -> String {
    if text.chars().count() <= 200 { text.to_owned() } else { text.chars().take(50).chain(['…']).collect() }
}

/// What is wrong with a pattern, in our words where croner's are about its options.
fn cron_reason(text: &str, error: &CronError) -> String {
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields.len() {
        0 => "it is empty".into(),
        1 => format!("the nickname {text} is none of @hourly, @daily, @weekly, @monthly, @yearly"),
        5 | 6 => wrong_field(&fields).unwrap_or_else(|| bare(error)),
        count => format!("it has {count} fields"),
    }
}

/// The first field that is wrong on its own, and why.
fn wrong_field(fields: &[&str]) -> Option<String> {
    const NAMES: [&str; 6] = ["second", "minute", "hour", "day of the month", "month", "weekday"];
    let names = &NAMES[6 - fields.len()..];
    names.iter().zip(fields).enumerate().find_map(|(i, (name, field))| {
        let mut alone = vec!["*"; fields.len()];
        alone[i] = field;
        let error = parser().parse(&alone.join(" ")).err()?;
        Some(format!("{name} `{field}`: {}", bare(&error)))
    })
}

/// croner's message without the name of its error's variant.
fn bare(error: &CronError) -> String {
    let text = error.to_string();
    let text = text.trim_start_matches("Component error: ").trim_start_matches("Invalid pattern: ");
    text.trim_end_matches('.').to_lowercase()
}

fn parser() -> CronParser {
    CronParser::builder().year(Year::Disallowed).build()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(to.millis().saturating_sub(from.millis()).unsigned_abs())
}

/// When the clock of `zone` changes within `length` after `start`.
fn clock_changes(zone: &TimeZone, start: Timestamp, length: Duration) -> Vec<Timestamp> {
    let Ok(from) = jiff::Timestamp::from_millisecond(start.millis()) else { return Vec::new() };
    let changes = zone.following(from).map(|change| Timestamp::from_millis(change.timestamp().as_millisecond()));
    changes.take_while(|change| *change < start + length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(time.as_millisecond())
    }

    /// The ticks after `from` are `expected`, and looking back from each, and from between them, finds them again.
    fn check(pattern: &str, zone_name: &str, from: &str, expected: &[&str]) {
        let schedule = Schedule::parse(pattern, &zone(zone_name)).unwrap();
        let mut time = at(from);
        for tick in expected {
            let next = schedule.next_after(time);
            assert_eq!(next.to_string(), at(tick).to_string(), "{pattern} after {time}");
            assert_eq!(schedule.last_until(next), next, "{pattern} at {next}");
            let before = schedule.last_until(next - Duration::from_millis(1));
            assert!(before <= time || schedule.next_after(before) == next, "{pattern} before {next}: {before}");
            assert_eq!(schedule.next_after(before), next, "{pattern}: from {before}");
            time = next;
        }
    }

    #[test]
    fn every_ticks_on_multiples() {
        check("30s", "UTC", "2026-01-01T00:00:10Z", &["2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"]);
        check("1500ms", "UTC", "1969-12-31T23:59:58Z", &["1969-12-31T23:59:58.5Z", "1970-01-01T00:00:00Z"]);
    }

    #[test]
    fn cron_has_five_or_six_fields_or_a_nickname() {
        check("*/5 * * * *", "UTC", "2026-01-01T00:00:00.5Z", &["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"]);
        check("*/20 * * * * *", "UTC", "2026-01-01T00:00:19.999Z", &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"]);
        check("@hourly", "UTC", "2026-01-01T00:00:00Z", &["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]);
        check("0 9 * * MON-FRI", "UTC", "2026-01-02T10:00:00Z", &["2026-01-05T09:00:00Z"]);
        check("0 9 * * 0", "UTC", "2026-01-02T10:00:00Z", &["2026-01-04T09:00:00Z"]);
    }

    #[test]
    fn the_ends_of_months_and_leap_days_come() {
        check("0 0 L * *", "UTC", "2026-01-31T00:00:00Z", &["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]);
        check("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    }

    #[test]
    fn the_clock_goes_forward() {
        // 02:00 becomes 03:00 on the 29th of March 2026: 02:30 is missing, and is made up for at once.
        let ticks = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &ticks);
        check("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    }

    #[test]
    fn the_clock_goes_back() {
        // 03:00 becomes 02:00 on the 25th of October 2026: 02:30 comes twice, and counts once.
        let ticks = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", &ticks);
        check("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    }

    #[test]
    fn gaps() {
        for (pattern, zone_name, expected) in [
            ("30s", "UTC", "30s"),
            ("* * * * *", "UTC", "1m"),
            ("*/7 * * * *", "UTC", "7m"),
            ("0,5 * * * *", "UTC", "55m"),
            ("*/10 * * * * *", "UTC", "10s"),
            ("0 * * * *", "Europe/Berlin", "1h"),
            ("*/5 9-17 * * *", "UTC", "15h5m"),
            ("*/5 9-17 * * *", "Europe/Berlin", "16h5m"),
            ("*/5 9-17 * * MON-FRI", "UTC", "2d15h5m"),
            ("0 0 * * *", "UTC", "1d"),
            ("30 2 * * *", "Europe/Berlin", "1d1h"),
            ("0 0 1 * *", "UTC", "31d"),
            ("0 0 1 1 *", "UTC", "366d"),
            ("0 0 29 2 *", "UTC", "1461d"),
        ] {
            let gap = Schedule::parse(pattern, &zone(zone_name)).unwrap().largest_gap();
            assert_eq!(duration::Show(gap).to_string(), expected, "{pattern} in {zone_name}");
        }
    }

    #[test]
    fn wrong_ones_are_refused() {
        for (text, part) in [
            ("", "it is empty"),
            ("   ", "it is empty"),
            ("* * * *", "it has 4 fields"),
            ("0 * * * * * 2030", "it has 7 fields"),
            ("61 * * * *", "minute `61`"),
            ("* 25 * * *", "hour `25`"),
            ("0 0 * 13 *", "month `13`"),
            ("* * * * FUNDAY", "weekday `FUNDAY`"),
            ("*/0 * * * *", "minute `*/0`"),
            ("@reboot", "the nickname @reboot"),
            ("0 0 31 2 *", "never fires"),
            ("0 0 30 2 *", "never fires"),
            ("every 5m", "it has 2 fields"),
            ("0s", "at least 1ms"),
            ("30", "has no unit"),
            ("*", "'*' stands where a digit"),
        ] {
            let error = Schedule::parse(text, &TimeZone::UTC).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn times_far_away_neither_panic_nor_hang() {
        let schedule = Schedule::parse("0 0 * * *", &zone("Europe/Berlin")).unwrap();
        for time in [i64::MIN, -70_000_000_000_000, 200_000_000_000_000, i64::MAX].map(Timestamp::from_millis) {
            assert!(schedule.next_after(time) >= schedule.last_until(time));
        }
        let every = Schedule::Every(HOUR);
        assert!(
            every.last_until(Timestamp::from_millis(i64::MAX)) <= every.next_after(Timestamp::from_millis(i64::MAX))
        );
    }

    #[test]
    fn starts_are_spread_evenly_and_stay() {
        let minute = Duration::from_secs(60);
        assert_eq!(spread("cpu", minute), spread("cpu", minute));
        assert_eq!(spread("cpu", Duration::ZERO), Duration::ZERO);
        let starts: Vec<u128> = (0..1000).map(|i| spread(&format!("pipeline-{i}"), minute).as_millis()).collect();
        assert!(starts.iter().all(|start| *start < 6000));
        let (first_half, thirds) = (starts.iter().filter(|start| **start < 3000).count(), starts.len() / 3);
        assert!((thirds..2 * thirds).contains(&first_half), "{first_half}");
        assert!((0..1000).all(|i| spread(&i.to_string(), 24 * HOUR) < Duration::from_secs(10)));
    }
}
