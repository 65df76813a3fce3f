//! When passes are due.

use std::fmt;
use std::time::Duration;

use croner::Cron;
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
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let cron = match parser.parse(&shortened(trimmed)) {
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
fn cron_reason(text: &str, error: &croner::errors::CronError) -> String {
    let fields = text.split_whitespace().count();
    match fields {
        0 => "it is empty".into(),
        1 => format!("the nickname {text} is none of @hourly, @daily, @weekly, @monthly, @yearly"),
        5 | 6 => error.to_string().trim_end_matches('.').to_owned(),
        _ => format!("it has {fields} fields"),
    }
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
