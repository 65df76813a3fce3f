//! What a series usually does at this time of the day, around the level that it has now.

/// One round of the profile.
const DAY_SECONDS: i64 = 86_400;

/// Residuals further out than so many times the usual one are cut before anything is learned from them.
const CUT: f64 = 4.0;

/// So many residuals are seen before any is said to be large.
const FIRST: usize = 10;

/// A profile of the day, a level that follows within a few points, one that takes hours, and how large residuals usually
/// are. All of it is learned online, from residuals that are cut as in robust exponential smoothing (Gelper, Fried and
/// Croux, Journal of Forecasting 2010, section 2.2).
#[derive(Debug, Clone)]
pub(super) struct Season {
    profile: Slots,
    sizes: Slots,
    /// The weight of one point in a mean over a day.
    daily: f64,
    seen: usize,
    fast: f64,
    slow: f64,
    /// The level that the profile is relative to.
    base: f64,
    fast_size: f64,
    slow_size: f64,
}

/// A number for each part of the day.
#[derive(Debug, Clone)]
struct Slots {
    width: i64,
    /// How many points fall into one slot on one day.
    points: f64,
    value: Vec<f64>,
    count: Vec<f64>,
}

impl Slots {
    fn new(step_seconds: i64, least_width: i64) -> Self {
        let width = step_seconds.max(least_width).min(DAY_SECONDS);
        let slots = (DAY_SECONDS / width) as usize;
        Self { width, points: (width / step_seconds).max(1) as f64, value: vec![0.0; slots], count: vec![0.0; slots] }
    }

    fn at(&self, seconds: i64) -> usize {
        (seconds.div_euclid(self.width)).rem_euclid(self.value.len() as i64) as usize
    }
}

/// How far a value lies from what was expected; sizes are relative to the usual one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Residual {
    /// What was expected, just before the value came.
    pub(super) expected: f64,
    /// The size that residuals usually have at this time of the day.
    pub(super) size: f64,
    /// From the level of the last points.
    pub(super) fast: f64,
    /// From the level of the last hours.
    pub(super) slow: f64,
}

impl Season {
    /// Knows nothing but the first value.
    pub(super) fn new(step_seconds: i64, first: f64) -> Self {
        Self {
            profile: Slots::new(step_seconds, 300),
            sizes: Slots::new(step_seconds, 900),
            daily: 1.0 / (DAY_SECONDS as f64 / step_seconds as f64).max(8.0),
            seen: 0,
            fast: first,
            slow: first,
            base: first,
            fast_size: 0.0,
            slow_size: 0.0,
        }
    }

    /// What is usual at this time of the day, relative to the level.
    pub(super) fn usual(&self, seconds: i64) -> f64 {
        self.profile.value[self.profile.at(seconds)]
    }

    /// What the level usually is.
    pub(super) fn base(&self) -> f64 {
        self.base
    }

    /// Judges `value`, then learns from it. A size below `least` is no size.
    pub(super) fn push(&mut self, seconds: i64, value: f64, least: f64) -> Residual {
        let usual = self.usual(seconds);
        let (fast, slow) = (value - self.fast - usual, value - self.slow - usual);
        let slot = self.sizes.at(seconds);
        let at_this_time = if self.sizes.count[slot] > 20.0 { self.sizes.value[slot] } else { self.fast_size };
        let size = 0.5 * (at_this_time + self.fast_size) + least;
        let in_sizes = |residual: f64, size: f64| if self.seen < FIRST { 0.0 } else { residual.abs() / size };
        let (fast_size, slow_size) = (size, self.slow_size + least);
        let expected = self.fast + usual;
        let residual = Residual { expected, size, fast: in_sizes(fast, fast_size), slow: in_sizes(slow, slow_size) };
        self.learn(seconds, value, fast, slow, least);
        residual
    }

    fn learn(&mut self, seconds: i64, value: f64, fast: f64, slow: f64, least: f64) {
        self.seen += 1;
        let is_new = self.seen < 200;
        let weight = |weight: f64| if is_new { weight.max(1.0 / (self.seen as f64 + 1.0)) } else { weight };
        // With a size of nothing, nothing could ever be learned.
        let cut = |residual: f64, size: f64| {
            let most = CUT * (size + 20.0 * least);
            if is_new { residual } else { residual.clamp(-most, most) }
        };
        let (daily, slowly) = (weight(self.daily), weight(4.0 * self.daily));
        let (fast_cut, slow_cut) = (cut(fast, self.fast_size), cut(slow, self.slow_size));
        self.fast += 0.2 * fast_cut;
        self.slow += slowly * slow_cut;
        self.base += daily * cut(value - self.base, CUT * (self.slow_size + 300.0 * least));
        self.learn_size(seconds, cut(fast, 2.0 * self.fast_size).abs());
        self.learn_profile(seconds, value, least);
        self.fast_size += daily * (fast_cut.abs() - self.fast_size);
        self.slow_size += daily * (slow_cut.abs() - self.slow_size);
    }

    fn learn_size(&mut self, seconds: i64, size: f64) {
        let slot = self.sizes.at(seconds);
        let weight = (1.0 / (self.sizes.count[slot] + 1.0)).max(0.1 / self.sizes.points);
        self.sizes.count[slot] += 1.0;
        self.sizes.value[slot] += weight * (size - self.sizes.value[slot]);
    }

    fn learn_profile(&mut self, seconds: i64, value: f64, least: f64) {
        let (slot, points) = (self.profile.at(seconds), self.profile.points);
        let (known, relative) = (self.profile.count[slot], value - self.base);
        let error = relative - self.profile.value[slot];
        let most = CUT * (1.5 * self.slow_size + 50.0 * least);
        let error = if known > 2.0 * points { error.clamp(-most, most) } else { error };
        let weight = if known == 0.0 { 1.0 } else { (1.0 / (known / points + 1.0)).max(0.2) / points };
        self.profile.value[slot] += weight * error;
        self.profile.count[slot] += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(seconds: i64) -> f64 {
        50.0 + 20.0 * (seconds as f64 / DAY_SECONDS as f64 * std::f64::consts::TAU).sin()
    }

    #[test]
    fn a_season_is_learned_and_a_spike_is_not() {
        let mut season = Season::new(300, wave(0));
        let mut last = Residual::default();
        for at in 0..7 * 288 {
            last = season.push(at * 300, wave(at * 300), 1e-6);
        }
        assert!((last.expected - wave((7 * 288 - 1) * 300)).abs() < 1.0, "{last:?}");
        let before = season.usual(7 * DAY_SECONDS);
        let spike = season.push(7 * DAY_SECONDS, 1e6, 1e-6);
        assert!(spike.fast > 1000.0, "{spike:?}");
        assert!((season.usual(7 * DAY_SECONDS) - before).abs() < 10.0);
        let next = season.push(7 * DAY_SECONDS + 300, wave(300), 1e-6);
        assert!((next.expected - wave(300)).abs() < 5.0, "{next:?}");
    }

    #[test]
    fn steps_beyond_a_day_and_times_before_the_epoch_are_no_trouble() {
        let mut season = Season::new(7 * DAY_SECONDS, 1.0);
        for at in -10..10 {
            assert!(season.push(at * 7 * DAY_SECONDS, 1.0, 1e-6).fast.abs() < 1e-9);
        }
    }
}
