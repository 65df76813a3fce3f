//! How far the newest stretch of a series is from everything that it did before.

use super::nearest::Row;

/// The lengths of the short stretches, in points.
const LENGTHS: [usize; 4] = [3, 5, 10, 20];

/// The last of them.
const LONGEST: usize = LENGTHS[LENGTHS.len() - 1];

/// How many samples the long stretch is made of, each the mean of its share.
const SAMPLES: usize = 12;

/// How much more than is compared with is kept before the oldest is given away.
const SLACK: usize = 2048;

/// Mean distances to the nearest earlier stretches that don't overlap: plain Euclidean ones, without normalising each
/// stretch, since level and amplitude of a metric are what may be wrong with it. Distances of this kind are the best
/// simple detectors of Liu and Paparrizos, "The Elephant in the Room", NeurIPS 2024 (there as Sub-KNN).
///
/// Every earlier stretch that is kept is compared, so the answer is exact. That is at most about 70 operations a kept
/// point, in vectors; a stretch whose newest points alone are too far away is not looked at further.
#[derive(Debug, Clone)]
pub(super) struct Neighbours {
    kept: usize,
    day: usize,
    share: usize,
    values: Row,
    /// The mean of the last `share` values at each point.
    means: Row,
    /// Infinite where what ends there is not compared with, and 0 elsewhere.
    hidden: Row,
    sum: f64,
}

/// What there is for the newest point; 0 where there is nothing to compare with yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Distances {
    /// To stretches of 3, 5 and 10 points.
    pub(super) short: [f64; 3],
    /// To stretches of 20 points that are older than a day.
    pub(super) earlier: f64,
    /// To stretches of about five hours.
    pub(super) long: f64,
}

impl Neighbours {
    /// Nothing yet; `kept` points are compared with, `day` points make a day, `share` are a twelfth of the long stretch.
    pub(super) fn new(kept: usize, day: usize, share: usize) -> Self {
        Self { kept, day, share, values: Row::new(), means: Row::new(), hidden: Row::new(), sum: 0.0 }
    }

    /// Adds the next value, and compares the stretches that end with it.
    pub(super) fn push(&mut self, value: f32) -> Distances {
        self.keep(value);
        let mut distances = self.short();
        distances.long = self.long();
        distances
    }

    /// Adds the next value without looking for what is near it.
    pub(super) fn keep(&mut self, value: f32) {
        let (known, needed) = (self.values.numbers().len(), self.kept + LONGEST.max(self.share * SAMPLES));
        if known >= needed + SLACK {
            self.values.forget(known - needed);
            self.means.forget(known - needed);
            self.hidden.forget(known - needed);
        }
        self.values.push(value);
        self.hidden.push(0.0);
        let values = self.values.numbers();
        self.sum += f64::from(value);
        if let Some(gone) = values.len().checked_sub(self.share + 1) {
            self.sum -= f64::from(values[gone]);
        }
        self.means.push((self.sum / self.share.min(values.len()) as f64) as f32);
    }

    /// Later stretches are not compared with those that end with the newest value.
    pub(super) fn hide(&mut self) {
        self.hidden.fill_last(1, f32::INFINITY);
    }

    /// Nothing is hidden any more of the newest `points`.
    pub(super) fn accept(&mut self, points: usize) {
        self.hidden.fill_last(points, 0.0);
    }

    /// The last values, the newest last, if there are so many.
    pub(super) fn last<const N: usize>(&self) -> Option<[f64; N]> {
        self.values.numbers().last_chunk().map(|last| last.map(f64::from))
    }

    /// The value `points` before the next one.
    pub(super) fn ago(&self, points: usize) -> Option<f64> {
        let values = self.values.numbers();
        values.len().checked_sub(points).map(|at| f64::from(values[at]))
    }

    fn short(&self) -> Distances {
        let values = self.values.numbers();
        let newest = values.len() - 1;
        if newest < 2 * LONGEST {
            return Distances::default();
        }
        let recent: [f32; LONGEST] = std::array::from_fn(|back| values[newest - back]);
        let first = (newest + 1).saturating_sub(self.kept).max(LONGEST - 1);
        // The last one is compared with what is older than a day.
        let gaps = [LENGTHS[0], LENGTHS[1], LENGTHS[2], self.day.max(LONGEST)];
        let ends = gaps.map(|gap| (newest + 1).saturating_sub(gap));
        let nearest = self.values.nearest_short(&self.hidden, &recent, first, ends);
        let [a, b, c, earlier] = std::array::from_fn(|at| nearest[at].mean(LENGTHS[at]));
        Distances { short: [a, b, c], earlier, long: 0.0 }
    }

    fn long(&self) -> f64 {
        let means = self.means.numbers();
        let (newest, stride, span) = (means.len() - 1, self.share, self.share * SAMPLES);
        if newest < 2 * span {
            return 0.0;
        }
        let recent: [f32; SAMPLES] = std::array::from_fn(|back| means[newest - back * stride]);
        let first = (newest + 1).saturating_sub(self.kept).max(span);
        self.means.nearest_long(&self.hidden, &recent, stride, first, newest + 1 - span).mean(SAMPLES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(at: usize) -> f32 {
        ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32
    }

    /// By the definition.
    fn mean_distance(values: &[f32], length: usize, gap: usize, kept: usize) -> f64 {
        let newest = values.len() - 1;
        let first = values.len().saturating_sub(kept).max(19);
        let distance = |end: usize| -> f64 {
            (0..length).map(|back| f64::from(values[newest - back] - values[end - back]).powi(2)).sum::<f64>().sqrt()
        };
        let mut all: Vec<f64> = (first..=newest - gap).map(distance).collect();
        all.sort_by(f64::total_cmp);
        all[..3].iter().sum::<f64>() / 3.0 / (length as f64).sqrt()
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let mut neighbours = Neighbours::new(300, 100, 2);
        let mut values = vec![];
        for at in 0..1000 {
            values.push(noise(at));
            let found = neighbours.push(noise(at));
            if at == 30 {
                assert_eq!((found.short, found.earlier), ([0.0; 3], 0.0));
            }
            if at.is_multiple_of(97) && at > 200 {
                let from = values.len().saturating_sub(319);
                let kept = &values[from..];
                for (found, length) in found.short.into_iter().zip([3, 5, 10]) {
                    let expected = mean_distance(kept, length, length, 300);
                    assert!((found - expected).abs() < 1e-5, "{at}, {length}: {found} instead of {expected}");
                }
                let expected = mean_distance(kept, 20, 100, 300);
                assert!((found.earlier - expected).abs() < 1e-5, "{at}: {} instead of {expected}", found.earlier);
            }
        }
    }

    #[test]
    fn what_has_been_seen_is_near_and_what_has_not_is_far() {
        let mut neighbours = Neighbours::new(1000, 48, 2);
        let wave = |at: usize| (at as f32 / 24.0 * std::f32::consts::TAU).sin();
        let last = (0..500).map(|at| neighbours.push(wave(at))).last().unwrap();
        assert!(last.short.iter().chain([&last.earlier, &last.long]).all(|distance| *distance < 1e-3), "{last:?}");
        let odd = neighbours.push(wave(500) + 1.0);
        assert!(odd.short.iter().all(|distance| *distance > 0.2), "{odd:?}");
    }

    #[test]
    fn what_is_hidden_is_not_compared_with_until_it_is_accepted() {
        let far = |accepts: bool| {
            let mut neighbours = Neighbours::new(1000, 48, 2);
            for at in 0..200 {
                let is_odd = at % 60 == 59;
                neighbours.push(if is_odd { 5.0 } else { noise(at) });
                if is_odd {
                    neighbours.hide();
                }
            }
            if accepts {
                neighbours.accept(200);
            }
            neighbours.push(5.0).short[0]
        };
        assert!(far(false) > 2.0, "{}", far(false));
        assert!(far(true) < 0.6, "{}", far(true));
    }
}
