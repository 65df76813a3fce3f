//! How many alerts are wanted, and the threshold that gives about as many.
//!
//! What is kept of the past is the highest score of each block of time, an hour or four points. A threshold is read off
//! the tail of these maxima: the highest of them follow a Pareto law (the peaks-over-threshold method of Davison & Smith
//! 1990 on the logarithm of the score, whose exponential tail has the estimator of Hill 1975), which also says how high
//! what comes once in a longer time than the past has been will be.
//!
//! The past is no promise: scores fall while a series is learned, alerts come in bursts, and few peaks say little. So the
//! alerts that the threshold gave are counted as well, and what is owed of the budget, or was spent beyond it, raises or
//! lowers the rate that is asked for next (the feedback of adaptive conformal inference, Gibbs & Candès 2021, on alerts in
//! place of misses).
//!
//! All of it begins anew at fixed times, the epochs: a threshold knows its own epoch and the one before it, and nothing
//! of what was earlier.

use std::str::FromStr;
use std::time::Duration;

use tsdb::{Step, Timestamp};

use crate::incident;
use crate::pipeline::duration;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// The days of an epoch: at least, and at most.
const EPOCH: (u32, u32) = (4, 14);

/// How many alerts in the past the tail is fitted to, at least, where there are as many.
const PEAKS: usize = 6;

/// Blocks that a threshold needs: half a day of hours.
const FEWEST_BLOCKS: usize = 12;

/// How many alerts are owed at most, or were too many: each makes the rate that is asked for *e* times as high or low.
const MOST_OWED: f64 = 3.0;

/// A threshold lies between these. The lower one is far below what is usual: where little happens, little is enough.
const BOUNDS: (f64, f64) = (0.05, 500.0);

/// The threshold where nothing is known.
const UNKNOWN: f64 = 1.0;

/// Why a text is no budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected a number of alerts and the time they are for, such as 2/week, 1/day per series or 10/30d")]
pub struct BudgetError(String);

/// Whom a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All series of a pipeline together: what is out of the ordinary at the same time is one alert.
    Pipeline,
    /// Each series.
    Series,
}

/// A number of alerts in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How many; above 0.
    pub alerts: f64,
    /// In how long.
    pub per: Duration,
    /// For whom.
    pub share: Share,
}

impl FromStr for Budget {
    type Err = BudgetError;

    /// Reads `2/week`, `0.5/day`, `10/30d`, each with or without `per series`.
    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let trimmed = text.trim();
        let (rate, share) = match trimmed.strip_suffix("per series") {
            Some(rate) => (rate.trim_end(), Share::Series),
            None => (trimmed, Share::Pipeline),
        };
        let (alerts, per) = rate.split_once('/').ok_or_else(|| BudgetError(format!("found no / in {text:?}")))?;
        let number = alerts.trim().parse::<f64>().ok().filter(|alerts| *alerts > 0.0 && *alerts <= 1e6);
        let alerts =
            number.ok_or_else(|| BudgetError(format!("found {alerts:?}, no number above 0, at most 1000000")))?;
        Ok(Self { alerts, per: period(per.trim())?, share })
    }
}

fn period(text: &str) -> Result<Duration, BudgetError> {
    let named = [("hour", HOUR), ("day", DAY), ("week", 7 * DAY), ("month", 30 * DAY), ("year", 365 * DAY)];
    if let Some((_, length)) = named.iter().find(|(name, _)| *name == text) {
        return Ok(*length);
    }
    match duration::parse(text) {
        Ok(length) if length >= HOUR => Ok(length),
        Ok(_) => Err(BudgetError(format!("found {text:?}, which is shorter than an hour"))),
        Err(error) => Err(BudgetError(format!(
            "found {text:?}, which is none of hour, day, week, month, year, and no duration, since {}",
            error.reason
        ))),
    }
}

impl Budget {
    /// The length of an epoch: the budget's own time, if that is neither too short to say anything nor too long to be
    /// replayed.
    fn epoch(&self) -> Duration {
        self.per.clamp(EPOCH.0 * DAY, EPOCH.1 * DAY)
    }

    /// The number of the epoch of `time`, counted from 1970.
    fn epoch_of(&self, time: Timestamp) -> i64 {
        time.millis().div_euclid(self.epoch().as_millis() as i64)
    }

    /// The begin of what a threshold at `time` is solved from: that of the epoch before its own.
    pub fn since(&self, time: Timestamp) -> Timestamp {
        Timestamp::from_millis((self.epoch_of(time) - 1) * self.epoch().as_millis() as i64)
    }
}

/// What is kept of the past of one sequence of scores, and the threshold that is solved from it.
#[derive(Clone, Debug)]
pub struct Threshold {
    grid: Grid,
    /// The epoch that the last threshold was asked for in.
    epoch: Option<i64>,
    /// What has gone on since the epoch before this one began.
    older: Solver,
    /// What has gone on since this one began: it takes the place of the other when the next one begins.
    younger: Option<Solver>,
}

/// What is the same for all that is solved.
#[derive(Clone, Copy, Debug)]
struct Grid {
    budget: Budget,
    /// The length of a block in milliseconds.
    block: i64,
    /// How far apart two points of the same alert are at most.
    reach: Duration,
}

impl Grid {
    fn block_of(&self, time: Timestamp) -> i64 {
        time.millis().div_euclid(self.block)
    }

    /// How many alerts are wanted in a block.
    fn a_block(&self) -> f64 {
        self.budget.alerts * self.block as f64 / 1000.0 / self.budget.per.as_secs_f64()
    }
}

impl Threshold {
    /// A threshold for scores on a grid of `step`, of which nothing is known yet.
    pub fn new(budget: Budget, step: Step) -> Self {
        let reach = incident::reach(step);
        let grid = Grid { budget, block: HOUR.max(reach).as_millis() as i64, reach };
        Self { grid, epoch: None, older: Solver::default(), younger: None }
    }

    /// Takes in a score, which was held against the threshold that was last asked for; times never go back.
    pub fn push(&mut self, time: Timestamp, score: f64) {
        self.older.push(time, score, &self.grid);
        if let Some(younger) = &mut self.younger {
            younger.push(time, score, &self.grid);
        }
    }

    /// What scores after `time` are to be divided by, so that above 1 is an alert. It is solved anew for each block, from
    /// the blocks before that of `time`, of which all scores must have been pushed.
    pub fn factor(&mut self, time: Timestamp) -> f64 {
        self.go_to(self.grid.budget.epoch_of(time));
        let block = self.grid.block_of(time);
        if let Some(younger) = &mut self.younger {
            younger.renew(block, &self.grid);
        }
        self.older.renew(block, &self.grid)
    }

    /// How much of the budget was used in its time before `time`, as far as that is remembered: 1 is all of it.
    pub fn used(&self, time: Timestamp) -> f64 {
        let budget = self.grid.budget;
        let alerts = self.older.alerts.iter().filter(|alert| **alert + budget.per > time);
        alerts.count() as f64 / budget.alerts
    }

    fn go_to(&mut self, epoch: i64) {
        match self.epoch {
            Some(known) if epoch == known + 1 => {
                if let Some(younger) = self.younger.replace(Solver::default()) {
                    self.older = younger;
                }
            }
            Some(known) if epoch > known => (self.older, self.younger) = (Solver::default(), None),
            _ => {}
        }
        self.epoch = self.epoch.max(Some(epoch));
    }
}

/// What is known of the scores since some time.
#[derive(Clone, Debug, Default)]
struct Solver {
    /// The highest score of each block in which something came.
    maxima: Vec<f64>,
    /// The number of the block that scores come for.
    open: Option<i64>,
    /// Whether blocks have ended since the threshold was solved.
    is_stale: bool,
    /// The threshold, once it is known.
    solved: Option<f64>,
    /// How many alerts more were wanted than there were.
    owed: f64,
    /// How many alerts began in the open block.
    newest: usize,
    /// When alerts began.
    alerts: Vec<Timestamp>,
    /// The newest point above the threshold.
    above: Option<Timestamp>,
}

impl Solver {
    fn push(&mut self, time: Timestamp, score: f64, grid: &Grid) {
        let block = grid.block_of(time);
        if self.open != Some(block) {
            self.close(grid);
            self.open = Some(block);
            self.maxima.push(0.0);
        }
        if let Some(highest) = self.maxima.last_mut() {
            *highest = highest.max(score);
        }
        if self.solved.is_some_and(|threshold| score > threshold) {
            if self.above.is_none_or(|last| time > last + grid.reach) {
                self.newest += 1;
                self.alerts.push(time);
            }
            self.above = Some(time);
        }
    }

    /// The threshold in the block of this number.
    fn renew(&mut self, block: i64, grid: &Grid) -> f64 {
        if self.open.is_some_and(|open| open < block) {
            self.close(grid);
        }
        if self.is_stale && self.maxima.len() >= FEWEST_BLOCKS {
            let wanted = grid.a_block() * self.maxima.len() as f64 * self.owed.exp();
            self.solved = Some(solve(&self.maxima, wanted));
        }
        self.is_stale = false;
        self.solved.unwrap_or(UNKNOWN)
    }

    /// Ends the open block. Only time in which something came counts, and only once there is a threshold.
    fn close(&mut self, grid: &Grid) {
        if self.open.take().is_none() {
            return;
        }
        self.is_stale = true;
        if self.solved.is_some() {
            let owed = self.owed + grid.a_block() - self.newest as f64;
            self.owed = owed.clamp(-MOST_OWED, MOST_OWED);
        }
        self.newest = 0;
    }
}

/// The threshold that gives about as many alerts as are `wanted`, where `maxima` are the highest scores of blocks that
/// follow each other.
fn solve(maxima: &[f64], wanted: f64) -> f64 {
    // Where few are wanted, the tail is fitted to more, since so small a number is left to chance.
    let told = wanted.max(PEAKS as f64).min(maxima.len() as f64 / 4.0);
    let Some(base) = level(maxima, told) else { return UNKNOWN };
    let (mut peaks, mut tail, mut run) = (0.0, 0.0, 0.0f64);
    for &highest in maxima.iter().chain(&[0.0]) {
        if highest > base {
            run = run.max(highest);
        } else if run > 0.0 {
            (peaks, tail, run) = (peaks + 1.0, tail + (run / base).ln(), 0.0);
        }
    }
    // Below its base nothing is known of the tail: it may be the level that a series nearly always has.
    let beyond = (f64::max(peaks, 1.0) / wanted).max(1.0).powf(tail / f64::max(peaks, 1.0));
    (base * beyond).clamp(BOUNDS.0, BOUNDS.1)
}

/// The lowest threshold above 0 that at most so many alerts are above; `None` where nothing ever deviates.
fn level(maxima: &[f64], most: f64) -> Option<f64> {
    let mut levels: Vec<f64> = maxima.iter().copied().filter(|highest| *highest > 0.0).collect();
    levels.sort_unstable_by(f64::total_cmp);
    let at = levels.partition_point(|level| alerts(maxima, *level) as f64 > most);
    levels.get(at).copied()
}

/// How many runs of blocks above `threshold` there are.
fn alerts(maxima: &[f64], threshold: f64) -> usize {
    let begins = |pair: &[f64]| pair[0] <= threshold && pair[1] > threshold;
    usize::from(maxima.first().is_some_and(|first| *first > threshold))
        + maxima.windows(2).filter(|pair| begins(pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        for (text, alerts, days, share) in [
            ("2/week", 2.0, 7.0, Share::Pipeline),
            (" 0.5 / day ", 0.5, 1.0, Share::Pipeline),
            ("1/day per series", 1.0, 1.0, Share::Series),
            ("10/30d", 10.0, 30.0, Share::Pipeline),
            ("3/month per series", 3.0, 30.0, Share::Series),
            ("1/1h", 1.0, 1.0 / 24.0, Share::Pipeline),
        ] {
            let budget: Budget = text.parse().unwrap();
            assert_eq!((budget.alerts, budget.share), (alerts, share), "{text}");
            assert!((budget.per.as_secs_f64() / 86_400.0 - days).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn what_is_no_budget_says_why() {
        for (text, expected) in [
            ("", "no / in"),
            ("2", "no / in"),
            ("/week", "no number above 0"),
            ("0/week", "no number above 0"),
            ("-1/week", "no number above 0"),
            ("nan/week", "no number above 0"),
            ("inf/week", "no number above 0"),
            ("2/fortnight", "none of hour, day, week"),
            ("2/", "none of hour, day, week"),
            ("2/5m", "shorter than an hour"),
            ("2/week per row", "none of hour, day, week"),
            ("2/week/day", "none of hour, day, week"),
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("such as 2/week"), "{text}: {error}");
        }
    }

    /// The same numbers on every run (SplitMix64), between 0 and 1.
    fn noise(at: u64) -> f64 {
        let mut hash = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn step() -> Step {
        Step::from_millis(300_000).unwrap()
    }

    /// Alerts a week over four weeks of scores `score(uniform)`, after the first two.
    fn check(budget: &str, score: impl Fn(f64) -> f64, expected: std::ops::RangeInclusive<f64>) {
        let mut rates = vec![];
        for seed in 0..5 {
            let mut threshold = Threshold::new(budget.parse().unwrap(), step());
            let (mut count, mut last) = (0, 0);
            for point in 0..6 * 7 * 288u64 {
                let time = Timestamp::default() + step().times(point as usize);
                let value = score(noise(seed * 1_000_000 + point));
                if value / threshold.factor(time) > 1.0 && point >= 2 * 7 * 288 {
                    count += usize::from(count == 0 || point - last > 4);
                    last = point;
                }
                threshold.push(time, value);
            }
            rates.push(count as f64 / 4.0);
        }
        assert!(rates.iter().all(|rate| expected.contains(rate)), "{budget}: {rates:?}");
    }

    #[test]
    fn a_threshold_gives_about_as_many_alerts_as_are_wanted_whatever_the_scores_are() {
        check("2/week", |uniform| -(1.0 - uniform).ln(), 0.5..=4.0);
        check("2/week", |uniform| 0.3 * (1.0 - uniform).powf(-0.5), 0.5..=4.0);
        check("2/week", |uniform| uniform * 2.0, 0.5..=4.0);
        check("2/week", |uniform| if uniform < 0.99 { 0.0 } else { uniform }, 0.5..=4.0);
        check("2/week", |uniform| 0.1 * uniform, 0.5..=4.0);
        check("1/day", |uniform| -(1.0 - uniform).ln(), 3.5..=14.0);
    }

    /// The alerts of the weeks of scores `score(point, uniform)`, each the number of those that begin in it.
    fn weeks(budget: &str, count: usize, score: impl Fn(u64, f64) -> f64) -> Vec<usize> {
        let mut threshold = Threshold::new(budget.parse().unwrap(), step());
        let (mut weeks, mut last) = (vec![0; count], None);
        for point in 0..count as u64 * 7 * 288 {
            let time = Timestamp::default() + step().times(point as usize);
            let value = score(point, noise(point));
            if value / threshold.factor(time) > 1.0 {
                weeks[point as usize / (7 * 288)] += usize::from(last.is_none_or(|last| point - last > 4));
                last = Some(point);
            }
            if !value.is_nan() {
                threshold.push(time, value);
            }
        }
        weeks
    }

    #[test]
    fn it_follows_scores_that_have_become_larger_or_smaller() {
        let tail = |uniform: f64| -(1.0 - uniform).ln();
        for scale in [3.0, 1.0 / 3.0] {
            let found =
                weeks("2/week", 12, |point, uniform| tail(uniform) * if point < 6 * 7 * 288 { 1.0 } else { scale });
            let later: usize = found[7..].iter().sum();
            assert!((5..=16).contains(&later), "{scale}: {found:?}");
        }
    }

    #[test]
    fn a_first_day_of_high_scores_does_not_silence_the_weeks_after_it() {
        let learned = |point: u64, uniform: f64| uniform * if point < 288 { 50.0 } else { 0.5 };
        let found = weeks("2/week", 3, learned);
        assert!((1..=9).contains(&found[1..].iter().sum::<usize>()), "{found:?}");
    }

    #[test]
    fn a_time_without_scores_is_no_time_in_which_alerts_were_missed() {
        let gap = |point: u64, uniform: f64| if (4032..6048).contains(&point) { f64::NAN } else { uniform };
        let found = weeks("2/week", 5, gap);
        assert_eq!(found[2], 0);
        assert!(found[3] <= 4, "{found:?}");
    }

    #[test]
    fn what_never_changes_is_no_alert() {
        for value in [0.0, 0.1, 0.29, 1.0, 7.0] {
            let found = weeks("2/week", 4, |_, _| value);
            assert_eq!(found[1..].iter().sum::<usize>(), 0, "{value}: {found:?}");
        }
    }

    #[test]
    fn what_was_before_the_last_epoch_has_no_say() {
        for budget in ["2/week", "1/day", "1/month"] {
            let budget: Budget = budget.parse().unwrap();
            let until = 60 * 288u64;
            let factors = |from: u64| {
                let mut threshold = Threshold::new(budget, step());
                let mut factors = vec![];
                for point in from..until {
                    let time = Timestamp::default() + step().times(point as usize);
                    factors.push(threshold.factor(time));
                    threshold.push(time, -(1.0 - noise(point)).ln());
                }
                (
                    factors[factors.len() - 288..].to_vec(),
                    threshold.used(Timestamp::default() + step().times(until as usize)),
                )
            };
            let since = budget.since(Timestamp::default() + step().times(until as usize - 288));
            let begin = since.millis() as u64 / 300_000;
            assert_eq!(factors(0), factors(begin), "{budget:?}");
            assert_eq!(factors(begin / 2), factors(begin - 100), "{budget:?}");
        }
    }

    #[test]
    fn the_part_that_is_used_is_told() {
        let mut threshold = Threshold::new("2/week".parse().unwrap(), step());
        for hour in 0..15 * 24 {
            let time = Timestamp::from_seconds(hour * 3600);
            threshold.factor(time);
            let is_high = hour > 14 * 24 && hour % 6 == 1;
            // Above any threshold.
            let score = if is_high { 2.0 * BOUNDS.1 } else { 0.5 };
            threshold.push(time, score);
        }
        let used = threshold.used(Timestamp::from_seconds(15 * 24 * 3600));
        assert!((used - 2.0).abs() < 1e-9, "four alerts of two: {used}");
    }

    #[test]
    fn where_nothing_ever_deviates_there_is_a_threshold_all_the_same() {
        for maxima in [vec![0.0; 12], vec![0.0; 500], vec![1.0; 500], vec![1000.0; 500], vec![1e-9; 500]] {
            for wanted in [1e-6, 1.0, 1e6] {
                let solved = solve(&maxima, wanted);
                assert!((BOUNDS.0..=BOUNDS.1).contains(&solved), "{solved}");
            }
        }
    }
}
