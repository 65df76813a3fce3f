//! Bands that hold what they promise: how much wider or narrower a model's band must be, learned from what came.
//!
//! Every residual is measured in half-widths of the band that the model gave, so that one number says of all points how
//! far that band must be moved. The edges are the quantiles of the newest residuals (conformalised quantile regression,
//! Romano, Patterson & Candès 2019, on a rolling window), at rates that follow what was missed (adaptive conformal
//! inference, Gibbs & Candès 2021, equation 2). Below what the window can tell, the tail is exponential (peaks over a
//! threshold, Davison & Smith 1990, with shape 0). Steps ahead are grouped by powers of two; a group has its own spread,
//! and all groups share the window, which none of them could fill alone.
//!
//! The state forgets by epochs that begin at multiples of [`EPOCH_POINTS`] steps since the Unix epoch: what judges a point
//! was learned since the begin of the epoch before. So it depends on the data of that time alone, and whoever begins
//! there comes to the same state.

use tsdb::{Step, Timestamp};

use crate::band::Expectation;
use crate::pipeline::Sides;

/// How many points an epoch has.
pub const EPOCH_POINTS: i64 = 256;

/// How many residuals it takes until a band is no longer held to be at least as wide as [`UNSURE`].
const SURE: usize = 30;

/// How many times as wide as the model's own a band is while nothing is known.
const UNSURE: f64 = 1.5;

/// The least that a band is narrowed to.
const NARROWEST: f64 = 0.02;

/// How fast the rates follow what was missed: γ of Gibbs & Candès, section 2.
const PACE: f64 = 0.01;

/// How far a rate may move from its target, as parts of that.
const RATES: (f64, f64) = (0.1, 6.0);

/// A point this many times as far out as the edge is an incident, of which nothing is learned…
const FAR: f64 = 5.0;

/// …for so many points: then it is how things are now.
const PATIENCE: f32 = 24.0;

/// How much patience comes back with every other point.
const RECOVERY: f32 = 0.02;

/// So many points must lie beyond an edge to read it off the window.
const TOLD: f64 = 5.0;

/// Groups of steps ahead: 1, 2–3, 4–7, …
const GROUPS: usize = 16;

/// How many points of a group weigh as much as what all groups say.
const SHRINKAGE: f64 = 20.0;

/// A band without any width is taken to be as wide as this part of the expected value.
const LEAST_WIDTH: f64 = 1e-6;

/// The calibration of one series.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The part of the points that is to lie beyond each edge.
    rate: f64,
    epoch: i64,
    /// What judges: learned since the begin of the epoch before.
    now: State,
    /// What will judge in the next epoch: learned since the begin of this one.
    next: State,
}

impl Calibration {
    /// A calibration that has learned nothing, for a band that is to hold the part `confidence_level` of the points.
    pub fn new(confidence_level: f64) -> Self {
        let rate = (1.0 - confidence_level) / 2.0;
        Self { rate, epoch: i64::MIN, now: State::new(rate), next: State::new(rate) }
    }

    /// The begin of the time that the state at `time` is learned from.
    pub fn since(time: Timestamp, step: Step) -> Timestamp {
        let length = step.millis().saturating_mul(EPOCH_POINTS);
        Timestamp::from_millis((time.millis().div_euclid(length) - 1).saturating_mul(length))
    }

    /// Forgets what is too old at `time`, which never goes back.
    pub fn go_to(&mut self, time: Timestamp, step: Step) {
        let epoch = time.millis().div_euclid(step.millis().saturating_mul(EPOCH_POINTS));
        if epoch == self.epoch {
            return;
        }
        let next = std::mem::replace(&mut self.next, State::new(self.rate));
        self.now = if epoch == self.epoch.saturating_add(1) { next } else { State::new(self.rate) };
        self.epoch = epoch;
    }

    /// Whether enough has come to know how wide the band must be.
    pub fn is_sure(&self) -> bool {
        self.now.residuals.len() >= SURE
    }

    /// The model's `band` for a point `ahead` steps after the context, as wide as it must be.
    pub fn widen(&self, band: Expectation, ahead: usize) -> Expectation {
        let factors = self.now.factors(group(ahead));
        let widths = Widths::of(band);
        // The model's own width bounds how far it is narrowed; where it has none, there is nothing to bound.
        let half = |factor: f64, width: f64, own: f64| (factor * width).max(NARROWEST * own);
        Expectation {
            expected: band.expected,
            lower: band.expected - half(factors.below, widths.0.below, band.expected - band.lower),
            upper: band.expected + half(factors.above, widths.0.above, band.upper - band.expected),
        }
    }

    /// Learns that `actual` came where the model expected `band`, `ahead` steps after the context.
    pub fn learn(&mut self, actual: f64, band: Expectation, ahead: usize) {
        let residual = Widths::of(band).residual(actual - band.expected);
        for state in [&mut self.now, &mut self.next] {
            state.learn(residual, group(ahead), self.rate);
        }
    }
}

/// The half-widths that residuals are measured in; above 0 unless 0 is expected.
struct Widths(Sides);

impl Widths {
    fn of(band: Expectation) -> Self {
        let least = LEAST_WIDTH * band.expected.abs();
        let width = |own: f64| if own > 0.0 { own } else { least };
        Self(Sides { below: width(band.expected - band.lower), above: width(band.upper - band.expected) })
    }

    /// The deviation in half-widths of its side, upwards positive, and never out of bounds.
    fn residual(&self, deviation: f64) -> f64 {
        const FARTHEST: f64 = 1e9;
        let width = if deviation > 0.0 { self.0.above } else { self.0.below };
        if deviation == 0.0 { 0.0 } else { (deviation / width).clamp(-FARTHEST, FARTHEST) }
    }
}

fn group(ahead: usize) -> usize {
    (ahead.max(1).ilog2() as usize).min(GROUPS - 1)
}

/// What was learned since the begin of an epoch; two epochs at most.
#[derive(Clone, Debug)]
struct State {
    /// In half-widths of the model's band and over the spread of their group; sorted.
    residuals: Vec<f32>,
    /// The rates that the edges are read off at.
    rates: Sides,
    /// How much patience is used up.
    frozen: f32,
    /// The sizes of the residuals of each group: their sum, and how many.
    groups: [(f32, f32); GROUPS],
}

impl State {
    fn new(rate: f64) -> Self {
        let rates = Sides { below: rate, above: rate };
        Self { residuals: vec![], rates, frozen: 0.0, groups: [(0.0, 0.0); GROUPS] }
    }

    /// How large residuals of a group are beside those of all groups.
    fn spread(&self, group: usize) -> f64 {
        let (sum, count) = self.groups.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let mean = f64::from(sum) / f64::from(count).max(1.0);
        let (sum, count) = self.groups[group];
        if mean > 0.0 { (f64::from(sum) + SHRINKAGE * mean) / (f64::from(count) + SHRINKAGE) / mean } else { 1.0 }
    }

    /// What the half-widths of the model's band are to be multiplied with.
    fn factors(&self, group: usize) -> Sides {
        let (count, spread) = (self.residuals.len(), self.spread(group));
        let factor = |edge: f64| {
            let sure = (count as f64 / SURE as f64).min(1.0);
            spread * (sure * edge + (1.0 - sure) * edge.max(UNSURE)).max(0.0)
        };
        let below = tail(count, self.rates.below, |at| -f64::from(self.residuals[at]));
        let above = tail(count, self.rates.above, |at| f64::from(self.residuals[count - 1 - at]));
        Sides { below: factor(below), above: factor(above) }
    }

    fn learn(&mut self, residual: f64, group: usize, rate: f64) {
        let factors = self.factors(group);
        let edge = if residual > 0.0 { factors.above } else { factors.below }.max(NARROWEST);
        self.follow(residual, factors, rate);
        if self.residuals.len() >= SURE && residual.abs() > FAR * edge {
            self.frozen = (self.frozen + 1.0).min(2.0 * PATIENCE);
            if self.frozen <= PATIENCE {
                return;
            }
        } else {
            self.frozen = (self.frozen - RECOVERY).max(0.0);
        }
        let scaled = (residual / self.spread(group)) as f32;
        let (sum, count) = &mut self.groups[group];
        *sum += residual.abs().min(factors.below.max(factors.above)) as f32;
        *count += 1.0;
        let at = self.residuals.partition_point(|known| *known < scaled);
        self.residuals.insert(at, scaled);
    }

    /// Moves the rates: after a miss the edge on that side goes out, after all others it comes in a little.
    fn follow(&mut self, residual: f64, factors: Sides, rate: f64) {
        let moved = |now: f64, missed: bool| {
            let next = now + PACE * (rate - f64::from(u8::from(missed)));
            next.clamp(RATES.0 * rate, RATES.1 * rate)
        };
        self.rates.above = moved(self.rates.above, residual > factors.above.max(NARROWEST));
        self.rates.below = moved(self.rates.below, -residual > factors.below.max(NARROWEST));
    }
}

/// The value that the part `rate` of `count` values lies beyond; `at` answers the values from the outermost inwards.
fn tail(count: usize, rate: f64, at: impl Fn(usize) -> f64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let beyond = rate * (count as f64 + 1.0);
    if beyond >= TOLD || count < 20 {
        let (whole, part) = ((beyond as usize).max(1), (beyond - beyond.floor()) * f64::from(u8::from(beyond >= 1.0)));
        let outer = at((whole - 1).min(count - 1));
        return outer + part * (at(whole.min(count - 1)) - outer);
    }
    let peaks = (count / 10).clamp(TOLD as usize, 25);
    let threshold = at(peaks);
    let excess = (0..peaks).map(|peak| at(peak) - threshold).sum::<f64>() / peaks as f64;
    threshold + excess * (peaks as f64 / beyond).ln()
}
