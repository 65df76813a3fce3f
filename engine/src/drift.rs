//! Whether a pipeline's data still are what its model was made for: the forecast's error, the band's coverage, and the
//! distribution of the values, watched over days.
//!
//! Everything is kept by the hour, and looked at over the last 24 of them, so that the time of day has no say.
//!
//! - **Error and misses** are watched by the Page-Hinkley test: E. S. Page, *Continuous inspection schemes* (Biometrika
//!   1954), as Gama et al., *A survey on concept drift adaptation* (ACM Computing Surveys 2014), section 3.2, describe
//!   it. It adds up by how much the logarithm of the daily value lies above its mean so far, and looks at the rise of
//!   that sum. The error is the symmetric relative one, |y − yhat| / (|y| + |yhat|), which needs no scale of its series;
//!   a miss is a point outside its band.
//! - **Values** of a week are compared with those of the weeks before by the statistic of Kolmogorov and Smirnov, the
//!   largest difference of the two cumulative distributions (Kifer, Ben-David, Gehrke, *Detecting Change in Data Streams*,
//!   VLDB 2004, section 3), over sketches with logarithmic bins (as in Masson et al., *DDSketch*, VLDB 2019, section 2).
//!   Weeks, since a weekend is no drift.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};
use tsdb::Timestamp;

use crate::score::Scored;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// How many hours are looked at together.
const WINDOW: usize = 24;

/// How many hours must have been looked at before anything is said of error and misses.
const WARM_UP: u64 = 72;

/// A rise of the logarithm smaller than this is none.
const TOLERANCE: f64 = 0.1;

/// The rise of the sum from which on it is a drift: of a doubled error, after about two days.
const RISE: f64 = 20.0;

/// What is added to a rate, so that one miss in a thousand points is no drift from none.
const LEAST: f64 = 0.01;

/// How many days of values are looked at together, and how many must have gone before.
const DAYS: usize = 7;

/// The largest difference of two cumulative distributions from which on it is a drift: three days of a week that are
/// wholly different.
const DIFFERENCE: f64 = 0.4;

/// Points that a week must have to be compared.
const ENOUGH: u64 = 100;

/// What the reference keeps of itself from day to day: half of it is four weeks old.
const KEPT: f64 = 0.975_55;

/// How many bins a factor of two has, and how many factors of two are told apart around 1.
const BINS: f64 = 2.0;
const OCTAVES: f64 = 60.0;

/// What has drifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The forecast's error.
    Error,
    /// The points outside the band.
    Coverage,
    /// The distribution of the values.
    Input,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Error, Self::Coverage, Self::Input];

    /// Its name: `error`, `coverage` or `input`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Coverage => "coverage",
            Self::Input => "input",
        }
    }
}

/// A drift that was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The end of the hour in which it was found.
    pub at: Timestamp,
    /// What has drifted.
    pub kind: Kind,
    /// The mean before: relative error, or part of the points outside the band; of the input, 0.
    pub before: f64,
    /// The mean of the last 24 hours; of the input, the largest difference of the cumulative distributions.
    pub now: f64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| format!("{:.1}%", part * 100.0);
        let (before, now) = (percent(self.before), percent(self.now));
        match self.kind {
            Kind::Error => write!(f, "the relative error of forecasts has risen from {before} to {now}"),
            Kind::Coverage => write!(f, "{now} of the points lie outside their band, {before} did before"),
            Kind::Input => write!(
                f,
                "the values of the last week are distributed otherwise than those of the weeks before (they differ by {now})"
            ),
        }
    }
}

/// What is counted of points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    points: u64,
    misses: u64,
    error: f64,
    bins: Bins,
}

impl Sample {
    /// Counts the points of `scored`, by the hour that they are in.
    pub fn of(scored: &Scored) -> Vec<(Timestamp, Self)> {
        let mut hours: BTreeMap<i64, Self> = BTreeMap::new();
        let Scored { y, yhat, yhat_lower, yhat_upper, score } = scored;
        for point in 0..score.points() {
            let hour = hours.entry(score.time(point).millis().div_euclid(HOUR_MS)).or_default();
            for row in 0..score.series().len() {
                let (y, yhat) = (y.row(row)[point], yhat.row(row)[point]);
                if y.is_finite() && yhat.is_finite() {
                    let is_inside = yhat_lower.row(row)[point] <= y && y <= yhat_upper.row(row)[point];
                    hour.count(y, yhat, is_inside);
                }
            }
        }
        let counted = hours.into_iter().filter(|(_, sample)| sample.points > 0);
        counted.map(|(hour, sample)| (Timestamp::from_millis(hour * HOUR_MS), sample)).collect()
    }

    fn count(&mut self, y: f64, yhat: f64, is_inside: bool) {
        let size = y.abs() + yhat.abs();
        self.points += 1;
        self.misses += u64::from(!is_inside);
        self.error += if size > 0.0 { (y - yhat).abs() / size } else { 0.0 };
        *self.bins.entry(bin(y)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.misses += other.misses;
        self.error += other.error;
        other.bins.iter().for_each(|(bin, count)| *self.bins.entry(*bin).or_default() += count);
    }

    fn error(&self) -> f64 {
        self.error / self.points.max(1) as f64
    }

    fn misses(&self) -> f64 {
        self.misses as f64 / self.points.max(1) as f64
    }
}

/// The bin of a value: its sign, and its magnitude by powers of the root of two. Zero has its own.
fn bin(value: f64) -> i16 {
    if value == 0.0 {
        return 0;
    }
    let place = ((value.abs().log2().clamp(-OCTAVES, OCTAVES) + OCTAVES) * BINS).round() as i16 + 1;
    if value > 0.0 { place } else { -place }
}

/// The Page-Hinkley test for a rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Test {
    seen: u64,
    mean: f64,
    sum: f64,
    least: f64,
}

impl Test {
    fn observe(&mut self, value: f64) {
        let value = (value + LEAST).ln();
        self.seen += 1;
        self.mean += (value - self.mean) / self.seen as f64;
        self.sum += value - self.mean - TOLERANCE;
        self.least = self.least.min(self.sum);
    }

    /// How far it is on the way to a drift; 1 is one.
    fn level(&self) -> f64 {
        if self.seen < WARM_UP { 0.0 } else { (self.sum - self.least) / RISE }
    }

    /// The mean of what was observed.
    fn usual(&self) -> f64 {
        self.mean.exp() - LEAST
    }
}

/// What is known of a pipeline: the hours of the last day, the days of the last week, and those before in one sketch. Its size is bounded,
/// whatever the number of series; it can be written down and gone on with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    hours: VecDeque<(i64, Sample)>,
    /// The day that is being counted.
    day: i64,
    today: Bins,
    /// The days before it, up to a week of them.
    week: VecDeque<Bins>,
    /// The days before those, and how many they are.
    reference: BTreeMap<i16, f64>,
    reference_days: usize,
    error: Test,
    coverage: Test,
    difference: f64,
}

type Bins = BTreeMap<i16, u64>;

impl Drift {
    /// Takes in what was counted in the hour that begins at `hour`, and answers what has drifted by the hours that are
    /// over by now. What comes for an hour that is over already is left out.
    pub fn observe(&mut self, hour: Timestamp, sample: &Sample) -> Vec<Event> {
        let hour = hour.millis().div_euclid(HOUR_MS);
        match self.hours.back_mut() {
            Some((last, known)) if *last == hour => {
                known.add(sample);
                return vec![];
            }
            Some((last, _)) if *last > hour => return vec![],
            _ => {}
        }
        let mut events = if self.hours.len() == WINDOW { self.look() } else { vec![] };
        if self.hours.len() == WINDOW {
            self.hours.pop_front();
        }
        events.extend(self.go_to(hour));
        self.hours.push_back((hour, sample.clone()));
        events
    }

    /// Takes the last hour into its day, and looks at the week where `hour` begins another day.
    fn go_to(&mut self, hour: i64) -> Option<Event> {
        if let Some((_, last)) = self.hours.back() {
            last.bins.iter().for_each(|(bin, count)| *self.today.entry(*bin).or_default() += count);
        }
        let day = hour.div_euclid(24);
        if self.hours.is_empty() || day == self.day {
            self.day = day;
            return None;
        }
        self.day = day;
        self.week.push_back(std::mem::take(&mut self.today));
        if self.week.len() > DAYS
            && let Some(oldest) = self.week.pop_front()
        {
            self.reference.values_mut().for_each(|weight| *weight *= KEPT);
            oldest.iter().for_each(|(bin, count)| *self.reference.entry(*bin).or_default() += *count as f64);
            self.reference_days += 1;
        }
        self.difference = if self.reference_days < DAYS { 0.0 } else { self.compare() };
        if self.difference < DIFFERENCE {
            return None;
        }
        let at = Timestamp::from_millis(day * 24 * HOUR_MS);
        let event = Event { at, kind: Kind::Input, before: 0.0, now: self.difference };
        // What was found is how it is from now on.
        (self.reference_days, self.week, self.reference) = (0, VecDeque::new(), BTreeMap::new());
        Some(event)
    }

    /// The beginning of the hour that is being counted; none where nothing was.
    pub fn hour(&self) -> Option<Timestamp> {
        self.hours.back().map(|(hour, _)| Timestamp::from_millis(hour * HOUR_MS))
    }

    /// How far each kind is on the way to a drift; 1 is one.
    pub fn levels(&self) -> [(Kind, f64); 3] {
        let input = self.difference / DIFFERENCE;
        [(Kind::Error, self.error.level()), (Kind::Coverage, self.coverage.level()), (Kind::Input, input)]
    }

    /// Looks at the last day, all of whose hours are over.
    fn look(&mut self) -> Vec<Event> {
        let mut day = Sample::default();
        self.hours.iter().for_each(|(_, sample)| day.add(sample));
        self.error.observe(day.error());
        self.coverage.observe(day.misses());
        let at = Timestamp::from_millis(self.hours.back().map_or(0, |(hour, _)| (hour + 1) * HOUR_MS));
        let mut events = vec![];
        for (kind, test, now) in
            [(Kind::Error, &mut self.error, day.error()), (Kind::Coverage, &mut self.coverage, day.misses())]
        {
            if test.level() >= 1.0 {
                events.push(Event { at, kind, before: test.usual(), now });
                *test = Test::default();
            }
        }
        events
    }

    /// The largest difference of the cumulative distributions of the week and of the days before it.
    fn compare(&self) -> f64 {
        let mut week: BTreeMap<i16, f64> = BTreeMap::new();
        self.week.iter().flatten().for_each(|(bin, count)| *week.entry(*bin).or_default() += *count as f64);
        let (now, before): (f64, f64) = (week.values().sum(), self.reference.values().sum());
        if now < ENOUGH as f64 || before < ENOUGH as f64 {
            return 0.0;
        }
        let bins: BTreeSet<i16> = self.reference.keys().chain(week.keys()).copied().collect();
        let part = |bins: &BTreeMap<i16, f64>, bin: &i16, all: f64| bins.get(bin).copied().unwrap_or(0.0) / all;
        let (mut sum, mut largest) = (0.0_f64, 0.0_f64);
        for bin in &bins {
            sum += part(&week, bin, now) - part(&self.reference, bin, before);
            largest = largest.max(sum.abs());
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::{Frame, Labels, Step};

    /// An hour of a point a minute: a daily wave around `level`, forecast with noise of `noise` and a band of ±5.
    fn hour(at: i64, level: f64, noise: f64) -> Scored {
        let start = Timestamp::from_millis(at * HOUR_MS);
        let frame = |values: Vec<f64>| {
            Frame::new(vec![Labels::metric("m")], start, Step::from_millis(60_000).unwrap(), 60, values).unwrap()
        };
        let wave = |minute: i64| level * (1.5 + ((at * 60 + minute) as f64 / 1440.0 * std::f64::consts::TAU).sin());
        let random = |minute: i64| ((at * 60 + minute).wrapping_mul(7919) % 201) as f64 / 100.0 - 1.0;
        let yhat: Vec<f64> = (0..60).map(wave).collect();
        let y: Vec<f64> = (0..60).map(|minute| wave(minute) + noise * random(minute)).collect();
        let edge = |by: f64| frame(yhat.iter().map(|value| value + by).collect());
        Scored {
            score: frame(vec![0.5; 60]),
            yhat_lower: edge(-5.0),
            yhat_upper: edge(5.0),
            yhat: frame(yhat),
            y: frame(y),
        }
    }

    /// What is found, and after how many hours, in `hours` of the hours that `of` makes.
    fn found(hours: i64, of: impl Fn(i64) -> Scored) -> Vec<(i64, Kind)> {
        let mut drift = Drift::default();
        let mut found = vec![];
        for at in 0..hours {
            for (hour, sample) in Sample::of(&of(at)) {
                found.extend(drift.observe(hour, &sample).into_iter().map(|event| (at, event.kind)));
                assert!(drift.levels().iter().all(|(_, level)| level.is_finite() && *level >= 0.0));
            }
        }
        found
    }

    fn check(found: &[(i64, Kind)], kind: Kind, between: std::ops::Range<i64>) {
        let is_right = matches!(found, [(at, found)] if *found == kind && between.contains(at));
        assert!(is_right, "{found:?}, not {kind:?} in {between:?}");
    }

    const WEEK: i64 = 168;

    #[test]
    fn what_goes_on_as_ever_is_no_drift() {
        assert_eq!(found(6 * WEEK, |at| hour(at, 100.0, 4.0)), []);
        // A weekend of half the traffic.
        let weekly = |at: i64| hour(at, if at / 24 % 7 < 5 { 100.0 } else { 50.0 }, 4.0);
        assert_eq!(found(6 * WEEK, weekly), []);
    }

    #[test]
    fn a_worse_forecast_a_band_too_narrow_and_other_values_are_found_once_each() {
        let later = 2 * WEEK;
        check(
            &found(4 * WEEK, |at| hour(at, 100.0, if at < later { 1.0 } else { 4.0 })),
            Kind::Error,
            later..later + 100,
        );
        let found_misses = found(4 * WEEK, |at| hour(at, 100.0, if at < later { 4.9 } else { 7.0 }));
        check(&found_misses, Kind::Coverage, later..later + 72);
        let found_values = found(4 * WEEK, |at| hour(at, if at < later { 100.0 } else { 400.0 }, 4.0));
        check(&found_values, Kind::Input, later + 48..later + 150);
    }

    #[test]
    fn it_can_be_written_down_and_gone_on_with() {
        let mut one = Drift::default();
        let mut other = Drift::default();
        for at in 0..WEEK {
            for (hour, sample) in Sample::of(&hour(at, 100.0, 4.0)) {
                one.observe(hour, &sample);
                other.observe(hour, &sample);
                other = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
            }
        }
        assert_eq!(
            one.levels().map(|(_, level)| (level * 1e9).round()),
            other.levels().map(|(_, level)| (level * 1e9).round())
        );
        assert!(serde_json::to_string(&one).unwrap().len() < 60_000);
    }

    #[test]
    fn what_comes_late_or_is_no_number_is_left_out() {
        let mut drift = Drift::default();
        let early = Sample::of(&hour(5, 1.0, 0.1));
        drift.observe(early[0].0, &early[0].1);
        let before = drift.clone();
        let late = Sample::of(&hour(4, 1.0, 0.1));
        drift.observe(late[0].0, &late[0].1);
        assert_eq!(drift, before);
        let mut gaps = hour(6, 1.0, 0.1);
        gaps.y.values_mut().fill(f64::NAN);
        assert_eq!(Sample::of(&gaps), []);
        for (value, other) in [(0.0, 1e-300), (1.0, -1.0), (1.0, 1.5), (1e300, -1e300)] {
            assert_ne!(bin(value), bin(other), "{value} and {other}");
        }
        assert_eq!(bin(1e200), bin(f64::MAX));
    }
}
