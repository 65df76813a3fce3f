//! How well bands held what came.

use tsdb::Frame;

use crate::score::Scored;
use crate::train::pinball;

/// How well the bands of one series, or of several, held what came.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fit {
    /// Points that came and of which something was expected.
    pub points: usize,
    /// Those inside the band.
    pub inside: usize,
    /// The sum of the pinball losses of the three quantiles, in units of `scale`.
    loss: f64,
}

impl Fit {
    /// The points of `row` from the point `from` on. The edges of the band are the quantiles `low` and `1 - low`; losses are
    /// over the mean change from point to point.
    pub fn of(scored: &Scored, row: usize, points: std::ops::Range<usize>, low: f64) -> Self {
        let cut = |frame: &Frame| frame.row(row)[points.clone()].to_vec();
        let [y, lower, middle, upper] = [&scored.y, &scored.yhat_lower, &scored.yhat, &scored.yhat_upper].map(cut);
        let scale = scale(&y);
        let mut fit = Self::default();
        for at in (0..y.len()).filter(|at| !y[*at].is_nan() && !middle[*at].is_nan()) {
            fit.points += 1;
            fit.inside += usize::from(lower[at] <= y[at] && y[at] <= upper[at]);
            let edges = [(low, lower[at]), (0.5, middle[at]), (1.0 - low, upper[at])];
            fit.loss +=
                edges.iter().map(|(level, quantile)| pinball(*level, y[at], *quantile)).sum::<f64>() / 3.0 / scale;
        }
        fit
    }

    /// The same of more points.
    pub fn join(&mut self, other: &Self) {
        self.points += other.points;
        self.inside += other.inside;
        self.loss += other.loss;
    }

    /// The part of the points inside the band; `None` without any.
    pub fn coverage(&self) -> Option<f64> {
        (self.points > 0).then(|| self.inside as f64 / self.points as f64)
    }

    /// The mean pinball loss (Koenker & Bassett 1978) of the two edges and the median, over the mean change from point to
    /// point: least for the true quantiles. `None` without any point.
    pub fn loss(&self) -> Option<f64> {
        (self.points > 0).then(|| self.loss / self.points as f64)
    }
}

/// The mean change from a point to the next; 1 where nothing changes.
fn scale(values: &[f64]) -> f64 {
    let changes: Vec<f64> =
        values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).filter(|change| change.is_finite()).collect();
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    if mean > 0.0 && mean.is_finite() { mean } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::{Labels, Step, Timestamp};

    #[test]
    fn the_loss_is_least_for_the_right_band_and_gaps_do_not_count() {
        let points = 200;
        let frame = |value: &dyn Fn(usize) -> f64| {
            let values = (0..points).map(value).collect();
            let step = Step::from_millis(1000).unwrap();
            Frame::new(vec![Labels::metric("a")], Timestamp::default(), step, points, values).unwrap()
        };
        // Evenly between -1 and 1.
        let y = |at: usize| if at < 10 { f64::NAN } else { (at * 7919 % points) as f64 / points as f64 * 2.0 - 1.0 };
        let fit = |width: f64| {
            let (yhat, yhat_lower, yhat_upper) = (frame(&|_| 0.0), frame(&|_| -width), frame(&|_| width));
            let scored = Scored { y: frame(&y), yhat, yhat_lower, yhat_upper, score: frame(&|_| 0.0) };
            Fit::of(&scored, 0, 0..points, 0.1)
        };
        assert_eq!(fit(1.0).points, 190);
        assert!((fit(0.8).coverage().unwrap() - 0.8).abs() < 0.02, "{:?}", fit(0.8));
        assert!(fit(0.8).loss() < fit(0.4).loss() && fit(0.8).loss() < fit(1.6).loss());
        assert_eq!((Fit::default().coverage(), Fit::default().loss()), (None, None));
        let mut both = fit(0.8);
        both.join(&fit(0.8));
        assert_eq!((both.points, both.loss()), (380, fit(0.8).loss()));
    }
}
