//! How many alerts are wanted, and the threshold that gives about as many.
//!
//! What is kept of the past is the highest score of each block of time, an hour or four points: bounded, and enough,
//! since points that lie so close to each other are one alert anyway. The threshold is read off the tail of these maxima:
//! the highest of them follow a Pareto law (the peaks-over-threshold method of Davison & Smith 1990 on the logarithm of
//! the score, whose exponential tail has the estimator of Hill 1975), which also says how high what comes once in a longer
//! time than the past has been will be.
//!
//! A threshold is solved anew at the begin of each UTC day from the blocks of the days before it, so it depends on these
//! days alone, and moves slowly.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use tsdb::{Step, Timestamp};

use crate::incident;
use crate::pipeline::duration;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// The days of the past that a threshold is solved from: at least, and at most.
const HISTORY: (u32, u32) = (7, 28);

/// How many alerts in the past the tail is fitted to, at least, where there are as many.
const PEAKS: usize = 6;

/// Blocks that a threshold needs: half a day of hours.
const FEWEST_BLOCKS: usize = 12;

/// A threshold lies between these.
const BOUNDS: (f64, f64) = (0.5, 500.0);

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
    /// How many days of the past its threshold is solved from: twice its own time, if that is neither too short to say
    /// anything nor too long to be replayed.
    pub fn history(&self) -> Duration {
        (2 * self.per).clamp(HISTORY.0 * DAY, HISTORY.1 * DAY)
    }

    /// The begin of what a threshold at `time` is solved from.
    pub fn since(&self, time: Timestamp) -> Timestamp {
        day_of(time) - self.history()
    }
}

/// The begin of the UTC day.
fn day_of(time: Timestamp) -> Timestamp {
    let day = DAY.as_millis() as i64;
    Timestamp::from_millis(time.millis().div_euclid(day) * day)
}

/// What is kept of the past of one sequence of scores, and the threshold that was last solved from it.
#[derive(Clone, Debug)]
pub struct Threshold {
    budget: Budget,
    /// The length of a block in milliseconds.
    block: i64,
    /// The number of the first block that is kept.
    first: i64,
    /// The highest score of each block, 0 where nothing came.
    maxima: VecDeque<f32>,
    /// The day that it was solved for, and the threshold.
    solved: Option<(Timestamp, f64)>,
}

impl Threshold {
    /// A threshold for scores on a grid of `step`, of which nothing is known yet.
    pub fn new(budget: Budget, step: Step) -> Self {
        let block = HOUR.max(incident::reach(step)).as_millis() as i64;
        Self { budget, block, first: 0, maxima: VecDeque::new(), solved: None }
    }

    /// Takes in a score; times never go back.
    pub fn push(&mut self, time: Timestamp, score: f64) {
        let block = time.millis().div_euclid(self.block);
        let keep = (self.budget.history() + 2 * DAY).as_millis() as i64 / self.block + 1;
        if self.maxima.is_empty() || block - self.first >= 2 * keep {
            (self.first, self.maxima) = (block, VecDeque::new());
        }
        let Ok(at) = usize::try_from(block - self.first) else { return };
        if at >= self.maxima.len() {
            self.maxima.resize(at + 1, 0.0);
        }
        self.maxima[at] = self.maxima[at].max(score as f32);
        while self.maxima.len() as i64 > keep {
            self.maxima.pop_front();
            self.first += 1;
        }
    }

    /// What the score at `time` is to be divided by, so that above 1 is an alert: solved from the days before that of
    /// `time`, of which all scores must have been pushed.
    pub fn factor(&mut self, time: Timestamp) -> f64 {
        let day = day_of(time);
        if let Some((solved, factor)) = self.solved
            && solved == day
        {
            return factor;
        }
        let factor = Self::solve(&self.blocks(self.budget.since(time), day), self.block_length(), &self.budget);
        self.solved = Some((day, factor));
        factor
    }

    /// How much of the budget was used in its time before `time`: 1 is all of it, at the threshold of today.
    pub fn used(&self, time: Timestamp) -> f64 {
        let Some((_, factor)) = self.solved else { return 0.0 };
        let blocks = self.blocks(time - self.budget.per, time + self.block_length());
        alerts(&blocks, factor) as f64 / self.budget.alerts
    }

    fn block_length(&self) -> Duration {
        Duration::from_millis(self.block.unsigned_abs())
    }

    /// The maxima of the blocks that begin at or after `from` and end at or before `until`.
    fn blocks(&self, from: Timestamp, until: Timestamp) -> Vec<f32> {
        let begin = -(-from.millis()).div_euclid(self.block) - self.first;
        let end = until.millis().div_euclid(self.block) - self.first;
        let count = self.maxima.len() as i64;
        let (from, until) = (begin.clamp(0, count) as usize, end.clamp(0, count) as usize);
        self.maxima.range(from..until.max(from)).copied().collect()
    }

    /// The threshold that gives about as many alerts as `budget` says, where `maxima` are the highest scores of blocks
    /// of the length `block` that follow each other. 1 where they are too few to say anything.
    pub fn solve(maxima: &[f32], block: Duration, budget: &Budget) -> f64 {
        if maxima.len() < FEWEST_BLOCKS {
            return 1.0;
        }
        let wanted = budget.alerts * maxima.len() as f64 * block.as_secs_f64() / budget.per.as_secs_f64();
        // Where few are wanted, the tail is fitted to more, since so small a number is left to chance.
        let told = wanted.max(PEAKS as f64).min(maxima.len() as f64 / 4.0);
        let base = level(maxima, told);
        if base <= 0.0 {
            return BOUNDS.0;
        }
        let peaks = peaks(maxima, base);
        let tail = peaks.iter().map(|peak| (f64::from(*peak) / base).ln()).sum::<f64>() / peaks.len().max(1) as f64;
        (base * (peaks.len().max(1) as f64 / wanted).powf(tail)).clamp(BOUNDS.0, BOUNDS.1)
    }
}

/// The lowest threshold that at most so many alerts are above.
fn level(maxima: &[f32], most: f64) -> f64 {
    let mut levels = maxima.to_vec();
    levels.sort_unstable_by(f32::total_cmp);
    let at = levels.partition_point(|level| alerts(maxima, f64::from(*level)) as f64 > most);
    levels.get(at).copied().map_or(0.0, f64::from)
}

/// How many runs of blocks above `threshold` there are.
fn alerts(maxima: &[f32], threshold: f64) -> usize {
    peaks(maxima, threshold).len()
}

/// The highest block of each run above `threshold`.
fn peaks(maxima: &[f32], threshold: f64) -> Vec<f32> {
    let runs = maxima.chunk_by(|a, b| (f64::from(*a) > threshold) == (f64::from(*b) > threshold));
    let above = runs.filter(|run| f64::from(run[0]) > threshold);
    above.map(|run| run.iter().copied().fold(0.0, f32::max)).collect()
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

    /// Alerts a week over ten weeks of scores `score(uniform)`, after the first four.
    fn check(budget: &str, score: impl Fn(f64) -> f64, expected: std::ops::RangeInclusive<f64>) {
        let mut rates = vec![];
        for seed in 0..10 {
            let mut threshold = Threshold::new(budget.parse().unwrap(), step());
            let (mut count, mut last) = (0, 0);
            for point in 0..14 * 7 * 288u64 {
                let time = Timestamp::default() + step().times(point as usize);
                let value = score(noise(seed * 1_000_000 + point));
                if value / threshold.factor(time) > 1.0 && point >= 4 * 7 * 288 {
                    count += usize::from(count == 0 || point - last > 4);
                    last = point;
                }
                threshold.push(time, value);
            }
            rates.push(count as f64 / 10.0);
        }
        let within = rates.iter().filter(|rate| expected.contains(rate)).count();
        assert!(within >= 9, "{budget}: {rates:?}");
    }

    #[test]
    fn a_threshold_gives_about_as_many_alerts_as_are_wanted_whatever_the_scores_are() {
        check("2/week", |uniform| -(1.0 - uniform).ln(), 0.5..=4.0);
        check("2/week", |uniform| 0.3 * (1.0 - uniform).powf(-0.5), 0.5..=4.0);
        check("2/week", |uniform| uniform * 2.0, 0.0..=4.0);
        check("1/day", |uniform| -(1.0 - uniform).ln(), 3.5..=14.0);
    }

    #[test]
    fn it_follows_scores_that_have_become_larger() {
        let mut threshold = Threshold::new("2/week".parse().unwrap(), step());
        let mut at_day = vec![];
        for point in 0..60 * 288u64 {
            let time = Timestamp::default() + step().times(point as usize);
            let scale = if point < 30 * 288 { 1.0 } else { 3.0 };
            if point % 288 == 0 {
                at_day.push(threshold.factor(time));
            }
            threshold.push(time, scale * -(1.0 - noise(point)).ln());
        }
        assert!((at_day[0] - 1.0).abs() < 1e-12, "nothing is known at first: {}", at_day[0]);
        assert!(at_day[59] > 2.0 * at_day[29], "{} and {}", at_day[29], at_day[59]);
        assert!(at_day.windows(2).skip(3).all(|pair| pair[1] < 2.5 * pair[0]), "{at_day:?}");
    }

    #[test]
    fn the_part_that_is_used_is_told() {
        let mut threshold = Threshold::new("2/week".parse().unwrap(), step());
        for hour in 0..15 * 24 {
            let time = Timestamp::from_seconds(hour * 3600);
            threshold.factor(time);
            threshold.push(time, if hour > 14 * 24 && hour % 6 == 1 { 100.0 } else { 0.5 + 0.01 * (hour % 7) as f64 });
        }
        let used = threshold.used(Timestamp::from_seconds(15 * 24 * 3600));
        assert!((used - 2.0).abs() < 1e-9, "four alerts of two: {used}");
    }

    #[test]
    fn where_nothing_ever_deviates_there_is_a_threshold_all_the_same() {
        for maxima in [vec![], vec![0.0; 5], vec![0.0; 500], vec![1.0; 500], vec![1000.0; 500]] {
            let solved = Threshold::solve(&maxima, HOUR, &"2/week".parse().unwrap());
            assert!((BOUNDS.0..=1000.0).contains(&solved), "{solved}");
        }
    }
}
