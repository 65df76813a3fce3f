//! Chance as a function: the same key and index always give the same number, in any order.

/// A stream of numbers that are drawn by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// An independent stream below this one.
    pub(crate) fn of(self, stream: u64) -> Self {
        Self(self.bits(stream))
    }

    /// 64 even bits.
    pub(crate) fn bits(self, index: u64) -> u64 {
        mix(self.0 ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Even in [0, 1).
    pub(crate) fn uniform(self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Even in [low, high).
    pub(crate) fn between(self, index: u64, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform(index)
    }

    /// Nearly normal with mean 0 and deviation 1: the sum of four even numbers (Irwin and Hall), never beyond 3.5.
    pub(crate) fn normal(self, index: u64) -> f64 {
        let bits = self.bits(index);
        let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
        (sum as f64 / 65_535.0 - 2.0) * 1.732_050_807_568_877_2
    }

    /// Slow noise around 0: normal at every whole number of `at`, and a smooth way between them.
    pub(crate) fn drift(self, at: f64) -> f64 {
        let knot = libm::floor(at);
        let part = at - knot;
        let (left, right) = (self.normal(knot as i64 as u64), self.normal(knot as i64 as u64 + 1));
        left + (right - left) * part * part * (3.0 - 2.0 * part)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_they_claim() {
        let chance = Chance::new(3).of(5);
        let count = 20_000;
        let mean = |draw: &dyn Fn(u64) -> f64| (0..count).map(draw).sum::<f64>() / count as f64;
        assert!((mean(&|i| chance.uniform(i)) - 0.5).abs() < 0.01);
        assert!(mean(&|i| chance.normal(i)).abs() < 0.03);
        assert!((mean(&|i| chance.normal(i) * chance.normal(i)) - 1.0).abs() < 0.03);
    }

    #[test]
    fn streams_differ_and_repeat() {
        let chance = Chance::new(1);
        assert_eq!(chance.bits(4), Chance::new(1).bits(4));
        assert_ne!(chance.bits(4), Chance::new(2).bits(4));
        assert_ne!(chance.bits(4), chance.of(0).bits(4));
    }

    #[test]
    fn drift_is_continuous() {
        let chance = Chance::new(9);
        for step in 1..1000 {
            let at = f64::from(step) / 100.0;
            assert!((chance.drift(at) - chance.drift(at - 0.01)).abs() < 0.15, "{at}");
        }
    }
}
