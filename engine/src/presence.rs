//! Which series have gone, and how: those that have ended are told from those that are missing.
//!
//! A series goes when the newest points have no value of it. Whether somebody ended it, as at a scale-in, or its samples
//! just stopped, only the store can know, which sees stale markers. It is asked when a series goes, so that an end is told
//! at once, and once more when the series has been away for longer than is usual for it: without a marker until then, it
//! is missing. All of this is a matter of times alone, so that the same comes out wherever it begins.

use std::collections::HashMap;
use std::time::Duration;

use tsdb::{Frame, Labels, Step, Timestamp};

use crate::context::History;

/// How long a series is away before it can be missing, at least: as far as Prometheus looks back.
const LOOKBACK: Duration = Duration::from_secs(5 * 60);

/// … and that many steps.
const FEW_STEPS: usize = 3;

/// A gap that came so often in the kept history is usual: a job that runs once an hour is not missing in between, and an
/// outage or two make nobody blind for the next one.
const USUAL: usize = 3;

/// The series of a pipeline that have gone.
#[derive(Debug, Clone)]
pub struct Presence {
    step: Step,
    /// How long what has gone is remembered: as long as the history of a series is kept.
    memory: Duration,
    gone: HashMap<Labels, Absence>,
    until: Option<Timestamp>,
}

/// A series that has gone.
#[derive(Debug, Clone, Copy)]
struct Absence {
    /// The time of its last value.
    last: Timestamp,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has been asked yet.
    New,
    /// There was no marker, and there may be one later; it is missing at this time.
    Waiting(Timestamp),
    /// It has ended, or nobody can tell.
    Settled,
    /// Its samples have stopped.
    Missing,
}

/// What has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Series that have ended, and the times of their last values.
    pub ended: Vec<(Labels, Timestamp)>,
    /// Series that are missing from now on.
    pub missing: Vec<Labels>,
    /// Series that have gone, and the store can't tell how.
    pub unknown: Vec<Labels>,
    /// Series that were missing and have come again.
    pub back: Vec<Labels>,
    /// Series that have been missing for so long that they are forgotten.
    pub forgotten: Vec<Labels>,
}

impl Presence {
    /// Nothing has gone yet. `memory` is how long the history of a series is kept without a value.
    pub fn new(step: Step, memory: Duration) -> Self {
        Self { step, memory, gone: HashMap::new(), until: None }
    }

    /// The newest point that was looked at.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// The series that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &Labels> {
        self.gone.iter().filter(|(_, absence)| absence.state == State::Missing).map(|(series, _)| series)
    }

    /// Takes up where an earlier run ended with the point `since`: the rows of `missing` were missing then, and what else
    /// had gone for long enough has been told, but for the rows that were silenced. Answers the range of time in which the other series that had gone by then
    /// may have been told to have ended.
    pub fn recall(
        &mut self,
        history: &History,
        since: Timestamp,
        missing: &[usize],
        is_silenced: impl Fn(usize) -> bool,
    ) -> Option<(Timestamp, Timestamp)> {
        for &row in missing {
            // What came since then has brought it back.
            let last = history.newest_until(row, since).unwrap_or(history.start());
            let absence = Absence { last, state: State::Missing };
            self.gone.insert(history.series()[row].clone(), absence);
        }
        let mut unsure: Option<Timestamp> = None;
        for (row, series) in history.series().iter().enumerate() {
            let Some(last) = history.newest(row).filter(|last| *last < since) else { continue };
            if self.gone.contains_key(series) {
                continue;
            }
            let is_told = self.missing_at(history, row, last) <= since && !is_silenced(row);
            let state = if is_told { State::Settled } else { State::New };
            self.gone.insert(series.clone(), Absence { last, state });
            unsure = (state == State::New).then_some(last).into_iter().chain(unsure).min();
        }
        unsure.map(|last| (last + self.step, since))
    }

    /// Settles the series that were told to have ended, as the markers say that were written behind their scores: a value
    /// after the last one of the series.
    pub fn settle(&mut self, told: &Frame, name: impl Fn(&Labels) -> Labels) {
        let told = newest_marks(told);
        for (series, absence) in self.gone.iter_mut().filter(|(_, absence)| absence.state == State::New) {
            if told.get(&name(series)) > Some(&absence.last) {
                absence.state = State::Settled;
            }
        }
    }

    /// Looks at the history, which has more points than the last time. Afterwards the store is to be asked what
    /// [`Presence::question`] says, and [`Presence::answer`] told.
    pub fn look(&mut self, history: &History) -> Changes {
        let (until, mut changes) = (history.end(), Changes::default());
        let forgotten = until - self.memory;
        let seen = self.until;
        self.gone.retain(|series, absence| {
            // Only what is new can have brought it back.
            let first = absence.last.max(seen.unwrap_or(absence.last)) + history.step();
            let new = history.find(series).map_or(&[][..], |row| history.range(row, first, until));
            let (is_back, is_old) = (new.iter().any(|value| !value.is_nan()), absence.last < forgotten);
            if absence.state == State::Missing && is_back {
                changes.back.push(series.clone());
            } else if absence.state == State::Missing && is_old {
                changes.forgotten.push(series.clone());
            }
            !is_back && !is_old
        });
        for (row, series) in history.series().iter().enumerate() {
            if !history.value(row, until).is_nan() || self.gone.contains_key(series) {
                continue;
            }
            if let Some(last) = history.newest(row).filter(|newest| *newest >= forgotten) {
                self.gone.insert(series.clone(), Absence { last, state: State::New });
            }
        }
        self.until = Some(until);
        changes
    }

    /// The range of time of which the store is to be asked which series have ended in it; nothing where there is nothing to
    /// ask.
    pub fn question(&self) -> Option<(Timestamp, Timestamp)> {
        let until = self.until?;
        let first = self.gone.values().filter(|absence| absence.is_due(until)).map(|absence| absence.last).min()?;
        Some((first + self.step, until))
    }

    /// Takes in what the store answers: of each series at what points there was a marker; nothing where it can't tell.
    pub fn answer(&mut self, history: &History, ended: Option<&Frame>, changes: &mut Changes) {
        let Some(until) = self.until else { return };
        let marks = ended.map(newest_marks);
        let due = self
            .gone
            .iter()
            .filter(|(_, absence)| absence.is_due(until))
            .map(|(series, absence)| (series.clone(), *absence));
        for (series, absence) in due.collect::<Vec<_>>() {
            let missing_at = match absence.state {
                State::Waiting(at) => at,
                _ => history.find(&series).map_or(until, |row| self.missing_at(history, row, absence.last)),
            };
            let mark = marks.as_ref().and_then(|marks| marks.get(&series));
            let state = if mark > Some(&absence.last) {
                changes.ended.push((series.clone(), absence.last));
                State::Settled
            } else if missing_at > until {
                State::Waiting(missing_at)
            } else if marks.is_some() {
                changes.missing.push(series.clone());
                State::Missing
            } else {
                changes.unknown.push(series.clone());
                State::Settled
            };
            self.gone.insert(series, Absence { state, ..absence });
        }
        changes.sort();
    }

    /// When a series without a value since `last` is missing: once it has been away for longer than it usually is.
    fn missing_at(&self, history: &History, row: usize, last: Timestamp) -> Timestamp {
        last + LOOKBACK.max(self.step.times(FEW_STEPS)) + self.step.times(usual_gap(history, row))
    }
}

impl Absence {
    /// Whether the store is to be asked at `until`.
    fn is_due(&self, until: Timestamp) -> bool {
        match self.state {
            State::New => true,
            State::Waiting(at) => at <= until,
            State::Settled | State::Missing => false,
        }
    }
}

impl Changes {
    /// Puts the series of each kind into the order of their names.
    fn sort(&mut self) {
        self.ended.sort_by_cached_key(|(series, _)| series.to_string());
        for kind in [&mut self.missing, &mut self.unknown, &mut self.back, &mut self.forgotten] {
            kind.sort_by_cached_key(ToString::to_string);
        }
    }
}

/// The newest point of each series that has a mark.
fn newest_marks(marks: &Frame) -> HashMap<&Labels, Timestamp> {
    let newest = |(series, row): (_, &[f64])| {
        let at = row.iter().rposition(|mark| !mark.is_nan())?;
        Some((series, marks.time(at)))
    };
    marks.rows().filter_map(newest).collect()
}

/// How many points without a value there have been one after another at least [`USUAL`] times in the row; 0 where gaps are
/// fewer.
fn usual_gap(history: &History, row: usize) -> usize {
    let mut longest = [0; USUAL];
    let mut run = None;
    for value in history.range(row, history.start(), history.end()) {
        match (&mut run, value.is_nan()) {
            (None, true) => {}
            (Some(points), true) => *points += 1,
            (ended, false) => {
                let points = ended.replace(0).unwrap_or(0);
                if points > longest[0] {
                    longest[0] = points;
                    longest.sort_unstable();
                }
            }
        }
    }
    longest[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute, so that a series is away for five points before it is missing.
    const STEP: Step = Step::from_millis(60_000).unwrap();

    fn at(point: usize) -> Timestamp {
        Timestamp::default() + STEP.times(point)
    }

    fn point(time: Timestamp) -> i64 {
        time.millis() / STEP.millis()
    }

    fn labels(row: usize) -> Labels {
        Labels::metric("up").with("row", &row.to_string())
    }

    /// The points from `first` to `last` of series that are written as text, a sign a point: `.` is a gap.
    fn frame(rows: &[&str], first: usize, last: usize) -> Frame {
        let cell = |text: &str, point: usize| match text.as_bytes().get(point) {
            None | Some(b'.' | b' ') => f64::NAN,
            Some(_) => 1.0,
        };
        let rows = rows.iter().enumerate();
        let rows: Vec<(Labels, Vec<f64>)> = rows
            .map(|(row, text)| (labels(row), (first..=last).map(|point| cell(text, point)).collect::<Vec<_>>()))
            .filter(|(_, values)| values.iter().any(|value| !value.is_nan()))
            .collect();
        let (series, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        Frame::new(series, at(first), STEP, last + 1 - first, values.concat()).unwrap()
    }

    /// What is told of `changes` at the point `now`.
    fn told(now: usize, changes: &Changes) -> Vec<String> {
        let row = |series: &Labels| series.get("row").unwrap().to_string();
        let ended = changes.ended.iter();
        let mut told: Vec<String> =
            ended.map(|(series, last)| format!("{now}: {} ended after {}", row(series), point(*last))).collect();
        for (series, word) in [
            (&changes.missing, "missing"),
            (&changes.unknown, "unknown"),
            (&changes.back, "back"),
            (&changes.forgotten, "forgotten"),
        ] {
            told.extend(series.iter().map(|series| format!("{now}: {} {word}", row(series))));
        }
        told
    }

    /// Looks at the points from `first` on as they come, `every` at a time, and asks `marks`. Answers what is told, and how
    /// often was asked.
    fn follow(
        presence: &mut Presence,
        (values, marks): (&[&str], Option<&[&str]>),
        (first, every): (usize, usize),
    ) -> (Vec<String>, usize) {
        let points = values.iter().map(|text| text.len()).max().unwrap();
        let mut history = History::of(frame(values, 0, first));
        let (mut all, mut asked, mut now) = (vec![], 0, first);
        loop {
            let mut changes = presence.look(&history);
            let question = presence.question();
            asked += usize::from(question.is_some());
            let ended = question.zip(marks).map(|((from, until), marks)| {
                assert!(from <= until, "{from} to {until}");
                frame(marks, point(from) as usize, point(until) as usize)
            });
            presence.answer(&history, ended.as_ref(), &mut changes);
            all.extend(told(now, &changes));
            let next = (now + every).min(points - 1);
            if next == now {
                return (all, asked);
            }
            history.extend(&frame(values, now + 1, next), 1000);
            now = next;
        }
    }

    fn presence() -> Presence {
        Presence::new(STEP, STEP.times(20))
    }

    /// A series is told so, having been asked about so often.
    fn check(values: &str, marks: Option<&str>, expected: &[&str], asked: usize) {
        let marks = marks.map(|marks| [marks]);
        let marks = marks.as_ref().map(|marks| &marks[..]);
        let found = follow(&mut presence(), (&[values], marks), (0, 1));
        assert_eq!(found, (expected.iter().map(|text| (*text).to_string()).collect(), asked), "{values}");
    }

    #[test]
    fn what_has_ended_is_told_from_what_is_missing() {
        //     0         1         2         3         4
        check("1111111111", Some("          "), &[], 0);
        check("11111..........", Some("     x"), &["5: 0 ended after 4"], 1);
        check("11111.........1", Some("     x"), &["5: 0 ended after 4"], 1);
        check("11111....11", Some(""), &[], 1);
        check("11111....", Some(""), &[], 1);
        check("11111.....", Some(""), &["9: 0 missing"], 2);
        check("11111..........11", Some(""), &["9: 0 missing", "15: 0 back"], 2);
        check("11111.......1.......", Some(""), &["9: 0 missing", "12: 0 back", "17: 0 missing"], 4);
        // A marker that comes later is seen where it would be missing.
        check("11111..........", Some("       x"), &["9: 0 ended after 4"], 2);
        check("11111....11..", Some("       x"), &[], 2);
        // One that came before the last value has ended nothing.
        check("11111...11.......", Some("     x"), &["5: 0 ended after 4", "14: 0 missing"], 3);
        check("11111...11....", Some("     x    x"), &["5: 0 ended after 4", "10: 0 ended after 9"], 2);
        check("....1111.....", Some(""), &["12: 0 missing"], 2);
        check("........", Some("xxxxxxxx"), &[], 0);
    }

    #[test]
    fn where_the_store_cant_tell_nothing_is_missing() {
        check("11111..........", None, &["9: 0 unknown"], 2);
        check("11111..........11", None, &["9: 0 unknown"], 2);
        check("11111...11...", None, &[], 2);
    }

    #[test]
    fn gaps_that_are_usual_are_waited_for() {
        let values = "1......".repeat(4) + "1.............";
        let expected = ["5: 0 missing", "7: 0 back", "12: 0 missing", "14: 0 back", "19: 0 missing", "21: 0 back"];
        let expected = [&expected[..], &["39: 0 missing"]].concat();
        check(&values, Some(""), &expected, 9);
    }

    #[test]
    fn what_is_missing_for_long_is_forgotten() {
        let values = "1111".to_string() + &".".repeat(30);
        check(&values, Some(""), &["8: 0 missing", "24: 0 forgotten"], 2);
        check(&values, Some("    x"), &["4: 0 ended after 3"], 1);
        check(&(values + "1"), Some(""), &["8: 0 missing", "24: 0 forgotten"], 2);
    }

    #[test]
    fn all_that_have_gone_are_asked_about_at_once() {
        let values = ["111111111111", "1111........", "1111........", "11111.......", "111111111111"];
        let marks = ["", "    x", "", "     x", "  x"];
        let expected = ["4: 1 ended after 3", "5: 3 ended after 4", "8: 2 missing"].map(String::from).to_vec();
        assert_eq!(follow(&mut presence(), (&values[..], Some(&marks[..])), (0, 1)), (expected, 3));
        // The same comes out where passes are rare, later.
        let expected = ["8: 1 ended after 3", "8: 3 ended after 4", "8: 2 missing"].map(String::from).to_vec();
        assert_eq!(follow(&mut presence(), (&values[..], Some(&marks[..])), (0, 8)), (expected, 1));
    }

    #[test]
    fn three_steps_are_waited_for_where_they_are_longer() {
        let hour = Step::from_millis(3_600_000).unwrap();
        let history = |points| {
            let values = (0..points).map(|point| if point < 2 { 1.0 } else { f64::NAN }).collect();
            History::of(Frame::new(vec![labels(0)], Timestamp::default(), hour, points, values).unwrap())
        };
        let mut presence = Presence::new(hour, hour.times(20));
        let mut missing = |points| {
            let history = history(points);
            let mut changes = presence.look(&history);
            presence.answer(&history, Some(&Frame::empty(history.end(), hour, 1)), &mut changes);
            changes.missing.len()
        };
        assert_eq!([3, 4, 5].map(&mut missing), [0, 0, 1]);
    }

    #[test]
    fn after_a_restart_nothing_is_told_that_was_told() {
        let values = [
            "1111......................", // gone long before
            "11111111111111111.........", // gone, and nothing told
            "11111111111111111.........", // gone, and told
            "111111....................", // missing
            "11111...............111111", // was missing
            "11111111111111111111......", // goes after the restart
            "11111111111111111.........", // stops
            "111111..............1.....", // missing; came and went while nobody looked
        ];
        let marks = [
            "    x",
            "                 x",
            "                 x",
            "",
            "",
            "                    x",
            "",
            "                     x",
        ];
        let history = History::of(frame(&values, 0, 21));
        let mut again = presence();
        assert_eq!(again.recall(&history, at(19), &[3, 4, 7], |_| false), Some((at(17), at(19))));
        let score = |series: &Labels| series.with("__name__", "anomaly_score");
        let mut written = frame(&["", "", "                 x"], 17, 19);
        written = Frame::new(vec![score(&labels(2))], at(17), STEP, 3, written.values().to_vec()).unwrap();
        again.settle(&written, score);
        let (told, asked) = follow(&mut again, (&values[..], Some(&marks[..])), (21, 1));
        assert_eq!(
            told,
            [
                "21: 1 ended after 16",
                "21: 5 ended after 19",
                "21: 7 ended after 20",
                "21: 6 missing",
                "21: 4 back",
                "21: 7 back"
            ]
        );
        assert_eq!(asked, 1);
        let missing: Vec<&Labels> = again.missing().collect();
        assert_eq!(missing.len(), 2, "{missing:?}");
    }
}
