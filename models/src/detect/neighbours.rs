//! How far the newest stretch of a series is from everything that it did before.

/// How many of the nearest stretches are averaged.
const NEAREST: usize = 3;

/// The lengths of the short stretches, in points.
const LENGTHS: [usize; 4] = [3, 5, 10, 20];

/// How many samples the long stretch is made of, each the mean of its share.
const SAMPLES: usize = 12;

/// How many stretches are compared at a time.
const BLOCK: usize = 64;

/// Mean distances to the nearest earlier stretches that don't overlap: plain Euclidean ones, without normalising each
/// stretch, since level and amplitude of a metric are what may be wrong with it. Distances of this kind are the best
/// simple detectors of Liu and Paparrizos, "The Elephant in the Room", NeurIPS 2024 (there as Sub-KNN).
///
/// Every earlier stretch that is kept is compared, so the answer is exact; that is about 40 operations a kept point.
#[derive(Debug, Clone)]
pub(super) struct Neighbours {
    kept: usize,
    day: usize,
    share: usize,
    values: Vec<f32>,
    /// The mean of the last `share` values at each point.
    means: Vec<f32>,
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

/// The smallest distances so far, in ascending order.
#[derive(Debug, Clone, Copy)]
struct Nearest([f32; NEAREST]);

impl Nearest {
    const NONE: Self = Self([f32::INFINITY; NEAREST]);

    fn worst(&self) -> f32 {
        self.0[NEAREST - 1]
    }

    fn put(&mut self, distance: f32) {
        if distance < self.worst() {
            let at = self.0.iter().position(|known| distance < *known).unwrap_or(NEAREST - 1);
            self.0[at..].rotate_right(1);
            self.0[at] = distance;
        }
    }

    /// The mean distance a point, of squared distances over `length` points.
    fn mean(&self, length: usize) -> f64 {
        let found = self.0.iter().filter(|distance| distance.is_finite());
        let (sum, count) =
            found.fold((0.0, 0.0), |(sum, count), square| (sum + f64::from(*square).sqrt(), count + 1.0));
        if count == 0.0 { 0.0 } else { sum / count / (length as f64).sqrt() }
    }
}

impl Neighbours {
    /// Nothing yet; `kept` points are compared with, `day` points make a day, `share` are a twelfth of the long stretch.
    pub(super) fn new(kept: usize, day: usize, share: usize) -> Self {
        Self { kept, day, share, values: vec![], means: vec![], sum: 0.0 }
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
        if self.values.len() >= 2 * self.kept {
            let gone = self.values.len() - self.kept;
            self.values.drain(..gone);
            self.means.drain(..gone);
        }
        self.values.push(value);
        self.sum += f64::from(value);
        if self.values.len() > self.share {
            self.sum -= f64::from(self.values[self.values.len() - 1 - self.share]);
        }
        self.means.push((self.sum / self.share.min(self.values.len()) as f64) as f32);
    }

    /// The last `count` values, the newest last; fewer where there are no more.
    pub(super) fn last(&self, count: usize) -> Vec<f64> {
        let from = self.values.len().saturating_sub(count);
        self.values[from..].iter().map(|value| f64::from(*value)).collect()
    }

    /// The value `points` before the next one.
    pub(super) fn ago(&self, points: usize) -> Option<f64> {
        self.values.len().checked_sub(points).map(|at| f64::from(self.values[at]))
    }

    fn short(&self) -> Distances {
        const LONGEST: usize = LENGTHS[LENGTHS.len() - 1];
        let newest = self.values.len() - 1;
        if newest < 2 * LONGEST {
            return Distances::default();
        }
        let mut nearest = [Nearest::NONE; LENGTHS.len()];
        // The last one is compared with what is older than a day.
        let until = [LENGTHS[0], LENGTHS[1], LENGTHS[2], self.day.max(LONGEST)].map(|gap| newest.checked_sub(gap));
        let end = newest - LENGTHS[0] + 1;
        let recent: [f32; LONGEST] = std::array::from_fn(|back| self.values[newest - back]);
        let mut first = (newest + 1).saturating_sub(self.kept).max(LONGEST - 1);
        while first < end {
            let size = BLOCK.min(end - first);
            let blocks = short_block(&self.values, &recent, first, size);
            for ((squares, nearest), until) in blocks.iter().zip(&mut nearest).zip(until) {
                let allowed = until.map_or(0, |until| (until + 1).saturating_sub(first).min(size));
                take(&squares[..allowed], nearest);
            }
            first += size;
        }
        let [a, b, c, earlier] = [0, 1, 2, 3].map(|at| nearest[at].mean(LENGTHS[at]));
        Distances { short: [a, b, c], earlier, long: 0.0 }
    }

    fn long(&self) -> f64 {
        let (newest, span) = (self.means.len() - 1, self.share * SAMPLES);
        if newest < 2 * span {
            return 0.0;
        }
        let recent: [f32; SAMPLES] = std::array::from_fn(|back| self.means[newest - back * self.share]);
        let mut nearest = Nearest::NONE;
        let (mut first, end) = ((newest + 1).saturating_sub(self.kept).max(span), newest - span + 1);
        while first < end {
            let size = BLOCK.min(end - first);
            take(&long_block(&self.means, &recent, self.share, first, size)[..size], &mut nearest);
            first += size;
        }
        nearest.mean(SAMPLES)
    }
}

/// Takes what is near; most blocks hold nothing that is.
fn take(squares: &[f32], nearest: &mut Nearest) {
    let least = squares.iter().fold(f32::INFINITY, |least, square| least.min(*square));
    if least < nearest.worst() {
        squares.iter().for_each(|square| nearest.put(*square));
    }
}

/// Squared distances of the recent stretches, newest value first, to those that end at `first` and the points after it.
fn short_block(values: &[f32], recent: &[f32; 20], first: usize, size: usize) -> [[f32; BLOCK]; LENGTHS.len()] {
    let mut sums = [0.0; BLOCK];
    let mut all = [[f32::INFINITY; BLOCK]; LENGTHS.len()];
    let mut length = 0;
    for (back, value) in recent.iter().enumerate() {
        add_squares(&mut sums, *value, &values[first - back..first - back + size]);
        if back + 1 == LENGTHS[length] {
            all[length] = sums;
            length += 1;
        }
    }
    all
}

/// The same for the long stretch, of which every `share`th mean is looked at.
fn long_block(means: &[f32], recent: &[f32; SAMPLES], share: usize, first: usize, size: usize) -> [f32; BLOCK] {
    let mut sums = [0.0; BLOCK];
    for (back, value) in recent.iter().enumerate() {
        let start = first - back * share;
        add_squares(&mut sums, *value, &means[start..start + size]);
    }
    sums
}

/// Adds the squared differences from `value`; whole blocks are of a fixed size, so that they are computed in vectors.
#[inline]
fn add_squares(sums: &mut [f32; BLOCK], value: f32, others: &[f32]) {
    if let Ok(others) = <&[f32; BLOCK]>::try_from(others) {
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += (value - other) * (value - other));
    } else {
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += (value - other) * (value - other));
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
}
