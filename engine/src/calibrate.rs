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
const PATIENCE: f64 = 24.0;

/// How much patience comes back with every other point.
const RECOVERY: f64 = 0.02;

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
        let half = |factor: f64, width: f64, own: f64| (factor * width).max(NARROWEST * own).min(f64::MAX / 4.0);
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
    /// In half-widths of the model's band and over the spread of their group; sorted. Not rounded to f32: a store that keeps
    /// 15 digits would then make differences of 1e-8 out of those of 1e-15.
    residuals: Vec<f64>,
    /// The rates that the edges are read off at.
    rates: Sides,
    /// How much patience is used up.
    frozen: f64,
    /// The sizes of the residuals of each group: their sum, and how many.
    groups: [(f64, f64); GROUPS],
}

impl State {
    fn new(rate: f64) -> Self {
        let rates = Sides { below: rate, above: rate };
        Self { residuals: vec![], rates, frozen: 0.0, groups: [(0.0, 0.0); GROUPS] }
    }

    /// How large residuals of a group are beside those of all groups.
    fn spread(&self, group: usize) -> f64 {
        let (sum, count) = self.groups.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let mean = sum / f64::max(count, 1.0);
        let (sum, count) = self.groups[group];
        if mean > 0.0 { (sum + SHRINKAGE * mean) / (count + SHRINKAGE) / mean } else { 1.0 }
    }

    /// What the half-widths of the model's band are to be multiplied with.
    fn factors(&self, group: usize) -> Sides {
        let (count, spread) = (self.residuals.len(), self.spread(group));
        let factor = |edge: f64| {
            let sure = (count as f64 / SURE as f64).min(1.0);
            spread * (sure * edge + (1.0 - sure) * edge.max(UNSURE)).max(0.0)
        };
        let below = tail(count, self.rates.below, |at| -self.residuals[at]);
        let above = tail(count, self.rates.above, |at| self.residuals[count - 1 - at]);
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
        let scaled = residual / self.spread(group);
        let (sum, count) = &mut self.groups[group];
        *sum += residual.abs().min(factors.below.max(factors.above));
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

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step = Step::from_millis(60_000).unwrap();

    fn time(point: usize) -> Timestamp {
        Timestamp::default() + STEP.times(point)
    }

    /// The same numbers on every run (SplitMix64): two uniform ones make a normal one (Box & Muller 1958).
    fn normal(at: usize) -> f64 {
        let uniform = |at: u64| {
            let mut hash = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((hash ^ (hash >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (-2.0 * uniform(2 * at as u64).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * at as u64 + 1)).cos()
    }

    fn band(below: f64, above: f64) -> Expectation {
        Expectation { expected: 10.0, lower: 10.0 - below, upper: 10.0 + above }
    }

    /// Which of the points are inside, and how wide the band is above, for a model that always answers `model` and turns
    /// of 12 points.
    fn run(level: f64, model: Expectation, points: usize, actual: impl Fn(usize) -> f64) -> Vec<(bool, f64)> {
        let mut calibration = Calibration::new(level);
        let judge = |point: usize| {
            calibration.go_to(time(point), STEP);
            let (y, ahead) = (actual(point), point % 12 + 1);
            let band = calibration.widen(model, ahead);
            calibration.learn(y, model, ahead);
            (band.lower <= y && y <= band.upper, band.upper - 10.0)
        };
        (0..points).map(judge).collect()
    }

    fn coverage(judged: &[(bool, f64)]) -> f64 {
        judged.iter().filter(|(inside, _)| *inside).count() as f64 / judged.len() as f64
    }

    fn check(level: f64, model: Expectation, actual: impl Fn(usize) -> f64) {
        let judged = run(level, model, 5000, actual);
        let found = coverage(&judged[300..]);
        let tolerance = 0.3 * (1.0 - level) + 0.003;
        assert!((found - level).abs() < tolerance, "{level} of {model:?}: {found}");
    }

    #[test]
    fn a_band_holds_what_it_promises_whatever_the_model_says() {
        for level in [0.8, 0.95, 0.99] {
            for model in [band(0.1, 0.1), band(2.0, 2.0), band(15.0, 15.0), band(1.0, 20.0)] {
                check(level, model, |point| 10.0 + normal(point));
                check(level, model, |point| 10.0 + normal(point).exp() - 1.0);
                check(level, model, |point| 10.5 + normal(point) * (1.0 + (point % 12) as f64 / 6.0));
            }
        }
        // Residuals that grow and shrink from day to day.
        check(0.95, band(2.0, 2.0), |point| 10.0 + normal(point) * (2.0 + (point as f64 / 700.0).sin()));
    }

    #[test]
    fn far_ahead_the_band_is_wider_where_the_residuals_are() {
        let mut calibration = Calibration::new(0.95);
        for point in 0..500 {
            calibration.go_to(time(point), STEP);
            let ahead = point % 12 + 1;
            calibration.learn(10.0 + normal(point) * if ahead >= 8 { 3.0 } else { 1.0 }, band(1.0, 1.0), ahead);
        }
        let width = |ahead| calibration.widen(band(1.0, 1.0), ahead).upper - 10.0;
        assert!(width(10) > 1.8 * width(4), "{} and {}", width(10), width(4));
    }

    #[test]
    fn at_first_it_is_wide() {
        let mut calibration = Calibration::new(0.95);
        assert!(!calibration.is_sure());
        assert!((calibration.widen(band(1.0, 2.0), 1).upper - 13.0).abs() < 1e-12);
        calibration.go_to(time(0), STEP);
        for point in 0..2 * EPOCH_POINTS as usize {
            calibration.go_to(time(point), STEP);
            calibration.learn(10.0 + 0.01 * normal(point), band(1.0, 2.0), 1);
        }
        assert!(calibration.is_sure());
        assert!(calibration.widen(band(1.0, 2.0), 1).upper < 10.1);
    }

    #[test]
    fn an_incident_does_not_widen_it_and_what_stays_does() {
        let quiet = |point: usize| 10.0 + normal(point);
        let incident = move |point: usize| if (1000..1020).contains(&point) { 60.0 } else { quiet(point) };
        let (usual, after) = (run(0.95, band(2.0, 2.0), 1100, quiet), run(0.95, band(2.0, 2.0), 1100, incident));
        let (usual, after) = (usual[1099].1, after[1099].1);
        assert!((after - usual).abs() < 0.6 * usual, "{after} in place of {usual}");
        let noisier = move |point: usize| 10.0 + normal(point) * if point >= 1000 { 30.0 } else { 1.0 };
        let judged = run(0.95, band(2.0, 2.0), 3000, noisier);
        assert!(coverage(&judged[1600..]) > 0.9, "{}", coverage(&judged[1600..]));
    }

    #[test]
    fn what_never_deviates_has_no_width_and_a_rare_deviation_is_outside() {
        let judged = run(0.95, band(0.0, 0.0), 2000, |point| if point == 1500 { 11.0 } else { 10.0 });
        assert!(judged[400..1500].iter().all(|(inside, width)| *inside && *width == 0.0));
        assert!(!judged[1500].0);
        // What the model gives no width, but happens again and again, gets one.
        let judged = run(0.95, band(0.0, 0.0), 2000, |point| if point % 10 == 0 { 11.0 } else { 10.0 });
        assert!(coverage(&judged[600..]) > 0.93, "{}", coverage(&judged[600..]));
    }

    #[test]
    fn numbers_at_the_end_of_what_a_float_holds_do_no_harm() {
        let judged = run(0.95, band(1e-300, 1e300), 1000, |point| [10.0, f64::MAX, f64::MIN, 1e-300][point % 4]);
        assert!(judged.iter().all(|(_, width)| width.is_finite()));
    }

    #[test]
    fn it_depends_on_the_two_epochs_before_alone() {
        let state = |first: usize, gap: bool| {
            let mut calibration = Calibration::new(0.95);
            for point in first..1800 {
                if gap && (700..1290).contains(&point) {
                    continue;
                }
                calibration.go_to(time(point), STEP);
                calibration.learn(10.0 + normal(point), band(1.0, 1.0), point % 12 + 1);
            }
            calibration.widen(band(1.0, 1.0), 3)
        };
        let since = Calibration::since(time(1800), STEP);
        assert_eq!(since, time(6 * 256));
        for gap in [false, true] {
            let whole = state(0, gap);
            for first in [1, 500, 1279, 1280, 6 * 256] {
                assert_eq!(state(first, gap), whole, "from {first}");
            }
        }
        assert_ne!(state(6 * 256 + 1, false), state(0, false));
    }
}
