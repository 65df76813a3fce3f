//! From the quantile levels that a graph answers to the ones that are asked for.

use crate::forecast::Levels;
use crate::residuals::normal;

/// How each level that is asked for is had from the graph's.
///
/// Between two of the graph's levels it is interpolated in normal scores: exact for a normal distribution, linear in
/// its standard deviations. Beyond the outermost level the distance from the median grows as a normal distribution's
/// does, by the ratio of the normal scores: a graph that stops at 10% and 90% does not say how heavy its tails are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LevelMap {
    median: Way,
    ways: Vec<Way>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// The share of the way from the graph's level `from` to the next.
    Between { from: usize, share: f64 },
    /// So many times as far from the median as the graph's outermost level.
    Beyond { outermost: usize, times: f64 },
}

impl LevelMap {
    /// From `known`, which has levels on both sides of the median, to `wanted`.
    pub(crate) fn new(known: &Levels, wanted: &Levels) -> Self {
        let scores: Vec<f64> = known.as_slice().iter().map(|level| normal(*level)).collect();
        let ways = wanted.as_slice().iter().map(|level| way(&scores, normal(*level))).collect();
        Self { median: way(&scores, 0.0), ways }
    }

    /// The median of a distribution whose quantiles at the known levels are `quantiles`, rising.
    pub(crate) fn median(&self, quantiles: &[f64]) -> f64 {
        self.median.follow(quantiles, 0.0)
    }

    /// The quantiles at the wanted levels.
    pub(crate) fn wanted<'a>(&'a self, quantiles: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let median = self.median(quantiles);
        self.ways.iter().map(move |way| way.follow(quantiles, median))
    }
}

fn way(scores: &[f64], score: f64) -> Way {
    let last = scores.len() - 1;
    // A level that stands at two places of a list has the same score but for the last digits.
    let near = |at: usize| (scores[at] - score).abs() < 1e-9;
    if score < scores[0] && !near(0) {
        return Way::Beyond { outermost: 0, times: score / scores[0] };
    }
    if score > scores[last] && !near(last) {
        return Way::Beyond { outermost: last, times: score / scores[last] };
    }
    let from = scores.partition_point(|known| *known <= score).saturating_sub(1).min(last.saturating_sub(1));
    let share = ((score - scores[from]) / (scores[from + 1] - scores[from])).clamp(0.0, 1.0);
    Way::Between { from, share }
}

impl Way {
    fn follow(self, quantiles: &[f64], median: f64) -> f64 {
        match self {
            Self::Between { from, share } => (1.0 - share) * quantiles[from] + share * quantiles[from + 1],
            Self::Beyond { outermost, times } => median + times * (quantiles[outermost] - median),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(levels: &[f64]) -> Levels {
        Levels::new(levels.to_vec()).unwrap()
    }

    #[test]
    fn a_normal_distribution_stays_one() {
        let wanted = [0.0001, 0.01, 0.1, 0.3, 0.5, 0.55, 0.9, 0.95, 0.99999];
        for known in [&[0.1, 0.5, 0.9][..], &[0.1, 0.2, 0.4, 0.6, 0.8, 0.9], &[0.49, 0.51]] {
            let map = LevelMap::new(&levels(known), &levels(&wanted));
            let quantiles: Vec<f64> = known.iter().map(|level| 7.0 + 3.0 * normal(*level)).collect();
            for (found, level) in map.wanted(&quantiles).zip(wanted) {
                assert!((found - 7.0 - 3.0 * normal(level)).abs() < 1e-9, "{known:?}: {found} at {level}");
            }
        }
    }

    #[test]
    fn known_levels_are_answered_as_they_are_and_sides_differ() {
        let map = LevelMap::new(&levels(&[0.1, 0.5, 0.9]), &levels(&[0.05, 0.1, 0.5, 0.9, 0.95]));
        let found: Vec<f64> = map.wanted(&[-1.0, 0.0, 4.0]).collect();
        assert_eq!(found[1..4], [-1.0, 0.0, 4.0]);
        let farther = normal(0.95) / normal(0.9);
        assert!((found[0] + farther).abs() < 1e-9 && (found[4] - 4.0 * farther).abs() < 1e-9, "{found:?}");
    }
}
