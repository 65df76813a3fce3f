//! What was expected: the median of a forecast and the band around it.

use models::{Forecast, Levels};

use crate::pipeline::{Anomaly, Technique};

/// The quantile of a normal distribution's mean plus one standard deviation.
const ONE_SIGMA: f64 = 0.841_344_746_068_543;

/// Why three rows of numbers are no band.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BandError {
    /// The three don't have the same length.
    #[error("expected values, lower and upper edges number {0}, {1} and {2}")]
    Lengths(usize, usize, usize),
    /// An edge is on the wrong side of the expected value.
    #[error("at {0}, lower ≤ expected ≤ upper does not hold")]
    Order(usize),
}

/// Expected values and the edges around them, `[series, step ahead]`, row-major. At every place
/// lower ≤ expected ≤ upper, or all three are NaN where nothing can be expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    horizon: usize,
    expected: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
}

/// The band at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// The expected value.
    pub expected: f64,
    /// The lower edge.
    pub lower: f64,
    /// The upper edge.
    pub upper: f64,
}

impl Band {
    /// A band of `horizon` points a series.
    ///
    /// # Errors
    /// Unequal lengths, or an edge on the wrong side.
    pub fn new(horizon: usize, expected: Vec<f64>, lower: Vec<f64>, upper: Vec<f64>) -> Result<Self, BandError> {
        if expected.len() != lower.len() || expected.len() != upper.len() {
            return Err(BandError::Lengths(expected.len(), lower.len(), upper.len()));
        }
        let ordered = |at: usize| {
            let (e, l, u) = (expected[at], lower[at], upper[at]);
            (l <= e && e <= u) || (l.is_nan() && e.is_nan() && u.is_nan())
        };
        match (0..expected.len()).find(|at| !ordered(*at)) {
            Some(at) => Err(BandError::Order(at)),
            None => Ok(Self { horizon, expected, lower, upper }),
        }
    }

    /// The band that the technique of `anomaly` reads off `forecast`, which must have the levels of [`levels`]; not shaped
    /// yet.
    ///
    /// # Errors
    /// The forecast's quantiles cross.
    pub fn around(forecast: &Forecast, anomaly: &Anomaly) -> Result<Self, BandError> {
        let size = forecast.series() * forecast.horizon();
        let (mut expected, mut lower, mut upper) =
            (Vec::with_capacity(size), Vec::with_capacity(size), Vec::with_capacity(size));
        let edges = Edges::of(anomaly.technique);
        for series in 0..forecast.series() {
            let row = |level: f64| {
                let at = forecast.levels().position(level).expect("the forecast was asked for these levels");
                forecast.quantile(series, at)
            };
            let (low, median, high) = (row(edges.low), row(0.5), row(1.0 - edges.low));
            for at in 0..forecast.horizon() {
                let band = edges.widen(low[at], median[at], high[at]);
                expected.push(band.expected);
                lower.push(band.lower);
                upper.push(band.upper);
            }
        }
        Self::new(forecast.horizon(), expected, lower, upper)
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.expected.len().checked_div(self.horizon).unwrap_or(0)
    }

    /// Takes what `other`, a band of the same horizon, says of its rows for the rows `rows` of this one.
    pub(crate) fn replace(&mut self, rows: &[usize], other: &Self) {
        for (from, to) in rows.iter().enumerate() {
            let (from, to) = (from * self.horizon, to * self.horizon);
            self.expected[to..to + self.horizon].copy_from_slice(&other.expected[from..from + self.horizon]);
            self.lower[to..to + self.horizon].copy_from_slice(&other.lower[from..from + self.horizon]);
            self.upper[to..to + self.horizon].copy_from_slice(&other.upper[from..from + self.horizon]);
        }
    }

    /// What was expected of `series`, `ahead` steps after the first (from 0); NaN where the band doesn't reach.
    pub fn at(&self, series: usize, ahead: usize) -> Expectation {
        if series >= self.series() || ahead >= self.horizon {
            return Expectation { expected: f64::NAN, lower: f64::NAN, upper: f64::NAN };
        }
        let at = series * self.horizon + ahead;
        Expectation { expected: self.expected[at], lower: self.lower[at], upper: self.upper[at] }
    }
}

/// The quantile levels that a band by `technique` needs: low, median, high.
///
/// # Panics
/// Never: a technique's confidence level lies between 0 and 1.
pub fn levels(technique: Technique) -> Levels {
    let low = Edges::of(technique).low;
    Levels::new(vec![low, 0.5, 1.0 - low]).expect("0 < low < 1")
}

/// How a technique reads its edges off three quantiles.
struct Edges {
    low: f64,
    /// How many times the distance between `base` and the quantile the edge is beyond `base`.
    reach: f64,
    /// Whether the reach counts from the quantile (quartile fences) instead of the median.
    from_quantile: bool,
}

impl Edges {
    fn of(technique: Technique) -> Self {
        match technique {
            Technique::ConfidenceInterval { confidence_level } | Technique::IsolationForest { confidence_level } => {
                Self { low: (1.0 - confidence_level) / 2.0, reach: 1.0, from_quantile: false }
            }
            Technique::ZScore { threshold } => Self { low: 1.0 - ONE_SIGMA, reach: threshold, from_quantile: false },
            Technique::Iqr { threshold } => Self { low: 0.25, reach: threshold, from_quantile: true },
        }
    }

    fn widen(&self, low: f64, median: f64, high: f64) -> Expectation {
        let (lower, upper) = if self.from_quantile {
            let iqr = high - low;
            (low - self.reach * iqr, high + self.reach * iqr)
        } else {
            (median - self.reach * (median - low), median + self.reach * (high - median))
        };
        Expectation { expected: median, lower, upper }
    }
}

impl Expectation {
    /// Widened by `scale`, and cut to the data's range where that is asked for.
    #[must_use]
    pub fn shaped(self, anomaly: &Anomaly) -> Self {
        let (scale, (lowest, highest)) = (anomaly.scale, anomaly.data_range);
        let shaped = Self {
            expected: self.expected,
            lower: self.expected - (self.expected - self.lower) * scale.below,
            upper: self.expected + (self.upper - self.expected) * scale.above,
        };
        if !anomaly.clip_predictions {
            return shaped;
        }
        Self {
            expected: shaped.expected.clamp(lowest, highest),
            lower: shaped.lower.clamp(lowest, highest),
            upper: shaped.upper.clamp(lowest, highest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Sides;

    fn anomaly(technique: Technique) -> Anomaly {
        Anomaly { technique, ..crate::testing::pipeline().anomaly }
    }

    /// The band around a forecast whose quantiles are 8, 10 and 14.
    fn check(anomaly: &Anomaly, expected: [f64; 3]) {
        let mut forecast = Forecast::unknown(1, levels(anomaly.technique), 1);
        forecast.values_mut().copy_from_slice(&[8.0, 10.0, 14.0]);
        let band = Band::around(&forecast, anomaly).unwrap().at(0, 0).shaped(anomaly);
        for (got, want) in [band.lower, band.expected, band.upper].into_iter().zip(expected) {
            assert!((got - want).abs() < 1e-9, "{band:?} is not {expected:?}");
        }
    }

    #[test]
    fn each_technique_reads_its_band_off_the_quantiles() {
        check(&anomaly(Technique::ConfidenceInterval { confidence_level: 0.95 }), [8.0, 10.0, 14.0]);
        check(&anomaly(Technique::ZScore { threshold: 3.0 }), [4.0, 10.0, 22.0]);
        check(&anomaly(Technique::Iqr { threshold: 1.5 }), [-1.0, 10.0, 23.0]);
    }

    #[test]
    fn scale_and_range_shape_the_band() {
        let mut wide = anomaly(Technique::ConfidenceInterval { confidence_level: 0.9 });
        wide.scale = Sides { below: 2.0, above: 3.0 };
        check(&wide, [6.0, 10.0, 22.0]);
        wide.data_range = (7.0, 9.0);
        check(&wide, [6.0, 10.0, 22.0]);
        wide.clip_predictions = true;
        check(&wide, [7.0, 9.0, 9.0]);
    }

    #[test]
    fn what_is_no_band_is_refused() {
        assert_eq!(Band::new(1, vec![1.0], vec![], vec![1.0]), Err(BandError::Lengths(1, 0, 1)));
        assert_eq!(Band::new(1, vec![1.0], vec![2.0], vec![3.0]), Err(BandError::Order(0)));
        assert_eq!(Band::new(1, vec![1.0], vec![f64::NAN], vec![3.0]), Err(BandError::Order(0)));
        assert!(Band::new(1, vec![f64::NAN], vec![f64::NAN], vec![f64::NAN]).unwrap().at(0, 0).expected.is_nan());
    }

    #[test]
    fn beyond_the_band_nothing_is_expected() {
        let band = Band::new(1, vec![1.0], vec![1.0], vec![1.0]).unwrap();
        assert!(band.at(1, 0).expected.is_nan());
        assert!(band.at(0, 1).expected.is_nan());
    }
}
