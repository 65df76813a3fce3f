//! The ensemble: how unlike its own past every point of a series is, online, in bounded memory.
//!
//! Two families see different things. Residuals of a seasonal forecast catch points early; distances to past
//! stretches catch shapes that every single point of would pass. Each part is divided by what it usually reaches (a
//! running quantile of its own past), so that parts can be averaged and series compared; the average is divided by what
//! *it* usually reaches. Everything at a point depends on that point and those before it only.

mod autoregression;
mod cusum;
mod fade;
mod hidden;
mod loudness;
mod nearest;
mod neighbours;
mod season;
mod sketch;

use std::time::Duration;

use autoregression::{Autoregression, Known};
use cusum::Cusum;
use fade::Fade;
use hidden::{Hidden, Memory};
use loudness::Loudness;
use neighbours::Neighbours;
use season::{Residual, Season};
use sketch::Sketch;

/// What the parts of a finding are called, in their order.
pub const PARTS: [&str; 11] = [
    "shape of 3 points",
    "shape of 5 points",
    "shape of 10 points",
    "shape of 20 points, against earlier days",
    "shape of five hours",
    "distance from season and level",
    "distance from the level of the last hours",
    "distance from season and level, over 10 points",
    "surprise after the last points, over 10 points",
    "surprise that adds up in one direction",
    "stands still",
];

/// How much each of them counts: more where it sees what no other does, at once or over hours.
const WEIGHTS: [f64; PARTS.len()] = [1.5, 1.0, 1.0, 1.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.5, 1.0];

/// How many values are seen before anything is said.
const START: usize = 32;

/// How many points a root mean square is taken over.
const RUN: usize = 10;

/// How many points a series stands still over.
const MOVES: usize = 20;

/// Which part that is.
const STILL: usize = PARTS.len() - 1;

/// What it counts at most: a series that never stood still before would drown all else in it.
const STILL_MOST: f64 = 25.0;

/// The quantile of its own past that a part is measured in.
const USUAL: f64 = 0.95;

/// The quantile that all parts together are compared with: of a series whose parts have long tails, it is large.
const USUAL_TOGETHER: f64 = 0.95;

/// A series that nearly always repeats itself has usual distances of nothing: then what it rarely reaches counts.
const RARELY: f64 = 0.995;

/// How many times the usual that may be.
const RARELY_RATIO: f64 = 100.0;

/// How often quantiles are taken anew, in points.
const RENEWED: usize = 16;

/// The power mean that joins the parts: below 1, so that one part alone does not decide.
const POWER: f64 = 0.7;

/// How many times further than the first values lie apart a value may lie, so that squares of distances are numbers.
const FURTHEST: f64 = 1e15;

/// How far above the usual a score is that is worth an alert.
const ALERT: f64 = 2.5;

/// What is said of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// 0 where the point is like its past, 1 where it is worth an alert.
    pub score: f64,
    /// What was expected one step ahead.
    pub expected: f64,
    /// The lower edge of the band.
    pub lower: f64,
    /// The upper edge of the band.
    pub upper: f64,
    /// What each of the [`PARTS`] says, in what it usually reaches.
    pub parts: [f64; PARTS.len()],
}

/// The ensemble at work on one series.
#[derive(Debug, Clone)]
pub struct Detector {
    step_seconds: i64,
    confidence: f64,
    start: Vec<(i64, f64)>,
    work: Option<Box<Work>>,
}

/// What there is once the first values have said how large the numbers are.
#[derive(Debug, Clone)]
struct Work {
    centre: f64,
    scale: f64,
    day: usize,
    lead: usize,
    seen: usize,
    /// The mean square of how far values lie from their usual level.
    spread: f64,
    neighbours: Neighbours,
    season: Season,
    autoregression: Autoregression,
    runs: [[f64; RUN]; 2],
    moves: [f64; MOVES],
    level: Cusum,
    usual: [Usual; PARTS.len()],
    hidden: Hidden,
    fade: Fade,
    together: Usual,
    loudness: Loudness,
    band: Band,
}

/// What a number usually reaches.
#[derive(Debug, Clone)]
struct Usual {
    sketch: Sketch,
    level: f64,
    reaches: f64,
}

/// How wide the band is, in usual residuals: adaptive conformal inference (Gibbs and Candès, NeurIPS 2021, equation 2)
/// over the quantiles of past residuals.
#[derive(Debug, Clone)]
struct Band {
    confidence: f64,
    miss: f64,
    width: f64,
}

impl Detector {
    /// The most points that stretches are compared with.
    pub const KEEPS: usize = 20_160;

    /// For a series with points `step` apart, whose band is to hold `confidence` of them.
    pub fn new(step: Duration, confidence: f64) -> Self {
        let step_seconds = i64::try_from(step.as_secs()).unwrap_or(i64::MAX).max(1);
        Self { step_seconds, confidence, start: vec![], work: None }
    }

    /// How many points one learns from before what it says is worth being told: those of a week, but not fewer than 1,000
    /// nor more than it keeps.
    pub fn learns_from(step: Duration) -> usize {
        let week = 7 * 86_400 / step.as_secs().max(1);
        usize::try_from(week).unwrap_or(usize::MAX).clamp(1000, Self::KEEPS)
    }

    /// Judges the value at `at_ms`, milliseconds since the Unix epoch, and learns from it. Times ascend; gaps are left
    /// out. `None` until there is something to compare with.
    pub fn push(&mut self, at_ms: i64, value: f64) -> Option<Finding> {
        if !value.is_finite() {
            return None;
        }
        let seconds = at_ms.div_euclid(1000);
        if let Some(work) = &mut self.work {
            return Some(work.push(seconds, value));
        }
        self.start.push((seconds, value));
        if self.start.len() == START {
            let start = std::mem::take(&mut self.start);
            let mut work = Box::new(Work::new(self.step_seconds, self.confidence, &start));
            for (seconds, value) in &start {
                work.push(*seconds, *value);
            }
            self.work = Some(work);
        }
        None
    }
}

impl Work {
    fn new(step_seconds: i64, confidence: f64, start: &[(i64, f64)]) -> Self {
        let (centre, scale) = size(start);
        let days = |days: f64| (days * 86_400.0 / step_seconds as f64) as usize;
        let day = days(1.0).max(1);
        let half_life = days(28.0).max(1000) as f64;
        let share = (5.0 * 3600.0 / 12.0 / step_seconds as f64).round().max(1.0) as usize;
        Self {
            centre,
            scale,
            day,
            lead: day.max(56),
            seen: 0,
            spread: 0.0,
            neighbours: Neighbours::new(Detector::KEEPS, day, share),
            season: Season::new(step_seconds, within(start[0].1, centre, scale)),
            autoregression: Autoregression::new(day as f64),
            runs: [[0.0; RUN]; 2],
            moves: [0.0; MOVES],
            level: Cusum::default(),
            usual: std::array::from_fn(|_| Usual::new(USUAL, half_life)),
            hidden: Hidden::new(day),
            fade: Fade::new(step_seconds),
            together: Usual::new(USUAL_TOGETHER, half_life),
            loudness: Loudness::new(day),
            band: Band { confidence, miss: 1.0 - confidence, width: f64::INFINITY },
        }
    }

    fn push(&mut self, seconds: i64, value: f64) -> Finding {
        let x = within(value, self.centre, self.scale);
        let least = 1e-3 * self.spread.sqrt() + 1e-9;
        let (surprise, still) = (self.surprise(seconds, x, least), self.still(x, least));
        let residual = self.season.push(seconds, x, least);
        let weight = (0.2 / self.day as f64).max(1.0 / (self.seen as f64 + 1.0));
        self.spread += weight * ((x - self.season.base()).powi(2) - self.spread);
        let distances = self.neighbours.push(x as f32);
        let [a, b, c] = distances.short;
        let [season_run, surprise_run] = self.run([residual.fast, surprise.abs()]);
        let raw = [
            a,
            b,
            c,
            distances.earlier,
            distances.long,
            residual.fast,
            residual.slow,
            season_run,
            surprise_run,
            self.level.push(surprise),
            still,
        ];
        self.finding(&residual, raw)
    }

    fn finding(&mut self, residual: &Residual, raw: [f64; PARTS.len()]) -> Finding {
        let width = self.band.push(residual.fast, &self.usual[5].sketch, self.seen);
        let mut parts: [f64; PARTS.len()] =
            std::array::from_fn(|at| self.usual[at].push(raw[at], self.seen, self.lead));
        parts[STILL] = parts[STILL].min(STILL_MOST);
        let weighted = parts.iter().zip(WEIGHTS).map(|(part, weight)| weight * part.powf(POWER));
        let mean = weighted.sum::<f64>() / WEIGHTS.iter().sum::<f64>();
        let together = mean.powf(1.0 / POWER);
        self.remember(together);
        let faded = self.fade.push(together);
        self.together.push(faded, self.seen, self.lead);
        let score = faded / self.loudness.push(self.together.reaches) / ALERT;
        self.seen += 1;
        let back = |x: f64| x * self.scale + self.centre;
        let half = width * residual.size;
        let (expected, lower, upper) =
            (back(residual.expected), back(residual.expected - half), back(residual.expected + half));
        Finding { score, expected, lower, upper, parts }
    }

    /// Has later points compared with the newest one, or not.
    fn remember(&mut self, together: f64) {
        // What comes on the first day is new in every way.
        if self.seen <= self.lead {
            return;
        }
        match self.hidden.push(together) {
            Memory::Kept => {}
            Memory::Hidden => self.neighbours.hide(),
            Memory::Accepted => self.neighbours.accept(2 * self.day),
        }
    }

    /// The residual of the autoregression, which knows the points before only.
    fn surprise(&mut self, seconds: i64, x: f64, least: f64) -> f64 {
        let Some(last) = self.neighbours.last::<{ Autoregression::LAGS }>() else { return 0.0 };
        let yesterday = if self.day < 2000 { self.neighbours.ago(self.day) } else { None };
        let step_seconds = 86_400 / self.day as i64;
        let known = Known {
            last: &last,
            usual: [self.season.usual(seconds), self.season.usual(seconds - step_seconds)],
            yesterday: yesterday.unwrap_or(self.season.base()),
        };
        self.autoregression.push(x, &known, least)
    }

    /// How little the series has moved over the last points.
    fn still(&mut self, x: f64, least: f64) -> f64 {
        let last = self.neighbours.ago(1).unwrap_or(x);
        self.moves[self.seen % MOVES] = (x - last).abs();
        if self.seen < MOVES {
            return 0.0;
        }
        1.0 / (self.moves.iter().sum::<f64>() / MOVES as f64 + 2.0 * least)
    }

    /// The root mean squares over the last points.
    fn run(&mut self, newest: [f64; 2]) -> [f64; 2] {
        let at = self.seen % RUN;
        std::array::from_fn(|which| {
            self.runs[which][at] = newest[which].min(1e9).powi(2);
            (self.runs[which].iter().sum::<f64>() / RUN as f64).sqrt()
        })
    }
}

/// `value` in the scale of the first values, as far as numbers can be reckoned with.
fn within(value: f64, centre: f64, scale: f64) -> f64 {
    ((value - centre) / scale).clamp(-FURTHEST, FURTHEST)
}

/// The middle of the first values, and how far they lie apart.
fn size(start: &[(i64, f64)]) -> (f64, f64) {
    let mut values: Vec<f64> = start.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let centre = values[values.len() / 2];
    let variance = values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / values.len() as f64;
    let scale = variance.sqrt();
    (centre, if scale > 1e-9 * centre.abs() && scale.is_finite() { scale } else { centre.abs().max(1.0) })
}

impl Usual {
    fn new(level: f64, half_life: f64) -> Self {
        Self { sketch: Sketch::new(half_life), level, reaches: 0.0 }
    }

    /// `value` in what it usually reaches, as far as that was known before it. What comes in the first `lead` points is
    /// new in every way, and counts little afterwards.
    fn push(&mut self, value: f64, seen: usize, lead: usize) -> f64 {
        let value = if value.is_finite() { value.min(1e9) } else { 1e9 };
        let relative = if self.reaches > 0.0 { (value / self.reaches).min(1e4) } else { 0.0 };
        self.sketch.push(value);
        if seen == lead {
            self.sketch.shrink(0.05);
        }
        if seen.is_multiple_of(RENEWED) || seen < 4 * START {
            let rarely = self.sketch.quantile(RARELY) / RARELY_RATIO;
            self.reaches = self.sketch.quantile(self.level).max(rarely);
        }
        relative
    }
}

impl Band {
    /// How wide the band is around the next residual, in usual sizes; learns from it.
    fn push(&mut self, residual: f64, residuals: &Sketch, seen: usize) -> f64 {
        let width = self.width;
        let missed = if residual > width { 1.0 } else { 0.0 };
        self.miss += 0.005 * (1.0 - self.confidence - missed);
        self.miss = self.miss.clamp(0.1 * (1.0 - self.confidence), 4.0 * (1.0 - self.confidence));
        if seen.is_multiple_of(4) {
            self.width = residuals.quantile(1.0 - self.miss);
        }
        width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: usize = 288;

    fn noise(at: usize) -> f64 {
        let hash = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (hash >> 40) as f64 / (1 << 24) as f64 - 0.5
    }

    /// A day's wave with noise.
    fn usual(at: usize) -> f64 {
        100.0 + 30.0 * (at as f64 / DAY as f64 * std::f64::consts::TAU).sin() + 4.0 * noise(at)
    }

    fn findings(values: impl Iterator<Item = f64>) -> Vec<Option<Finding>> {
        let mut detector = Detector::new(Duration::from_secs(300), 0.95);
        values.enumerate().map(|(at, value)| detector.push(at as i64 * 300_000, value)).collect()
    }

    /// The highest score where something happens on the tenth day, and how many points of the days before it are above 1.
    fn check(what: &str, happens: impl Fn(usize, f64) -> f64, lasts: usize) {
        let begin = 10 * DAY + 100;
        let value = |at: usize| if (begin..begin + lasts).contains(&at) { happens(at, usual(at)) } else { usual(at) };
        let found = findings((0..begin + lasts).map(value));
        let score = |finding: &Option<Finding>| finding.map_or(0.0, |finding| finding.score);
        let highest = found[begin..].iter().map(score).fold(0.0, f64::max);
        assert!(highest > 1.0, "{what}: {highest}");
        let false_alarms = found[3 * DAY..begin].iter().filter(|finding| score(finding) > 1.0).count();
        assert!(false_alarms <= 7, "{what}: {false_alarms} of {}", 7 * DAY);
    }

    #[test]
    fn what_is_unlike_the_past_is_found() {
        check("a spike", |_, usual| usual + 40.0, 1);
        check("a step", |_, usual| usual + 25.0, 24);
        check("a dip", |_, usual| usual * 0.6, 6);
        check("a line that stands still", |_, _| 123.0, 60);
        check("noise that has become larger", |at, usual| usual + 30.0 * noise(at), 36);
        check("another time of the day", |at, _| super::tests::usual(at + DAY / 2), 24);
    }

    #[test]
    fn the_band_holds_what_it_promises() {
        let found = findings((0..14 * DAY).map(usual));
        let later = found.iter().enumerate().skip(DAY);
        let inside = later.filter(|(at, finding)| {
            finding.is_some_and(|finding| finding.lower <= usual(*at) && usual(*at) <= finding.upper)
        });
        let coverage = inside.count() as f64 / (13 * DAY) as f64;
        assert!((0.93..=0.97).contains(&coverage), "{coverage}");
    }

    #[test]
    fn odd_values_are_no_trouble() {
        let rows: [fn(usize) -> f64; 6] = [
            |_| 0.0,
            |_| 1e9,
            |at| if at.is_multiple_of(100) { 1e300 } else { 0.0 },
            |at| 1e9 + noise(at),
            |at| 1e-12 * noise(at),
            |at| if at < 1000 { 0.0 } else { 1e12 * noise(at) },
        ];
        for (which, row) in rows.iter().enumerate() {
            for (at, finding) in findings((0..2000).map(row)).into_iter().enumerate() {
                let Some(finding) = finding else { continue };
                let is_right = finding.score.is_finite() && finding.score >= 0.0 && finding.lower <= finding.upper;
                assert!(is_right, "row {which}, point {at}: {finding:?}");
            }
        }
        assert!(findings([f64::NAN, f64::INFINITY].into_iter()).iter().all(Option::is_none));
        let constant = findings((0..2000).map(|_| 7.0));
        assert!(constant[100..].iter().all(|finding| finding.is_some_and(|finding| finding.score < 1.0)));
    }
}
