//! How far outside its band a point was.

use tsdb::Frame;

use crate::band::Expectation;
use crate::pipeline::{Anomaly, Direction};

/// The highest score: what a deviation from a band without any width gets.
pub const HIGHEST_SCORE: f64 = 1000.0;

/// Points and what was expected of them: five frames with the same source series and the same grid.
///
/// All five are NaN where nothing could be expected (no forecast) or nothing came (a gap).
#[derive(Clone, Debug)]
pub struct Scored {
    /// The actual values.
    pub y: Frame,
    /// The expected values: the median of the forecast.
    pub yhat: Frame,
    /// The lower edge of the band.
    pub yhat_lower: Frame,
    /// The upper edge of the band.
    pub yhat_upper: Frame,
    /// 0 where actual = expected, 1 at the edge of the band, above 1 outside.
    pub score: Frame,
}

impl Scored {
    /// The five frames under the names that they are written by.
    pub fn named(self) -> [(&'static str, Frame); 5] {
        [
            ("anomaly_score", self.score),
            ("y", self.y),
            ("yhat", self.yhat),
            ("yhat_lower", self.yhat_lower),
            ("yhat_upper", self.yhat_upper),
        ]
    }
}

/// The score of `actual`: its distance to the expected value over the half-width of the band on that side. 0 where
/// the deviation is on a side that doesn't count or smaller than the least that does; at least
/// `score_outside_data_range` outside the data's range. NaN where `actual` or the band is.
pub fn score(actual: f64, band: Expectation, anomaly: &Anomaly) -> f64 {
    if actual.is_nan() || band.expected.is_nan() {
        return f64::NAN;
    }
    let deviation = deviation_score(actual, band, anomaly).min(HIGHEST_SCORE);
    let (lowest, highest) = anomaly.data_range;
    if actual < lowest || actual > highest {
        return deviation.max(anomaly.score_outside_data_range);
    }
    deviation
}

/// The score of `actual` where a detector says `detected`, and expected `band`: 0 where the deviation is on a side that
/// doesn't count or smaller than the least that does; at least `score_outside_data_range` outside the data's range.
pub fn detected_score(actual: f64, band: Expectation, detected: f64, anomaly: &Anomaly) -> f64 {
    let (lowest, highest) = anomaly.data_range;
    let score = if counts(actual, band, anomaly) { detected.min(HIGHEST_SCORE) } else { 0.0 };
    if actual < lowest || actual > highest { score.max(anomaly.score_outside_data_range) } else { score }
}

/// What a `score` of [`score`] is where a budget of alerts has moved the threshold: `factor` becomes 1. What can never be
/// right stays as it is.
pub fn beside_threshold(score: f64, factor: f64, actual: f64, anomaly: &Anomaly) -> f64 {
    let (lowest, highest) = anomaly.data_range;
    let least = if actual < lowest || actual > highest { anomaly.score_outside_data_range } else { 0.0 };
    (score / factor).max(least)
}

fn deviation_score(actual: f64, band: Expectation, anomaly: &Anomaly) -> f64 {
    let is_above = actual > band.expected;
    let deviation = (actual - band.expected).abs();
    if deviation == 0.0 || !counts(actual, band, anomaly) {
        return 0.0;
    }
    let half_width = if is_above { band.upper - band.expected } else { band.expected - band.lower };
    deviation / half_width
}

/// Whether the deviation of `actual` is on a side that counts, and large enough.
fn counts(actual: f64, band: Expectation, anomaly: &Anomaly) -> bool {
    let is_above = actual > band.expected;
    let deviation = (actual - band.expected).abs();
    let side = |sides: crate::pipeline::Sides| if is_above { sides.above } else { sides.below };
    let is_on_a_side = match anomaly.detection_direction {
        Direction::Both => true,
        Direction::AboveExpected => is_above,
        Direction::BelowExpected => !is_above,
    };
    is_on_a_side
        && deviation >= side(anomaly.min_dev_from_expected)
        && deviation >= side(anomaly.min_rel_dev_from_expected) * band.expected.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::pipeline::{Calibration, Sides, Technique};

    const ANOMALY: Anomaly = Anomaly {
        technique: Technique::ConfidenceInterval { confidence_level: 0.95 },
        detection_direction: Direction::Both,
        min_dev_from_expected: Sides { below: 0.0, above: 0.0 },
        min_rel_dev_from_expected: Sides { below: 0.0, above: 0.0 },
        scale: Sides { below: 1.0, above: 1.0 },
        data_range: (f64::NEG_INFINITY, f64::INFINITY),
        clip_predictions: false,
        score_outside_data_range: 1.01,
        calibration: Calibration::None,
        budget: None,
        patience: Duration::ZERO,
        mask_limit: None,
    };

    /// The score of `actual` where 10 is expected, between 8 and 14.
    fn check(anomaly: &Anomaly, actual: f64, expected: f64) {
        let got = score(actual, Expectation { expected: 10.0, lower: 8.0, upper: 14.0 }, anomaly);
        assert!((got - expected).abs() < 1e-9 || (got.is_nan() && expected.is_nan()), "{actual}: {got} ≠ {expected}");
    }

    #[test]
    fn a_score_is_the_distance_in_half_widths_of_its_side() {
        for (actual, expected) in [(10.0, 0.0), (14.0, 1.0), (18.0, 2.0), (8.0, 1.0), (9.0, 0.5), (6.0, 2.0)] {
            check(&ANOMALY, actual, expected);
        }
        check(&ANOMALY, f64::NAN, f64::NAN);
    }

    #[test]
    fn only_the_asked_direction_counts() {
        let above = Anomaly { detection_direction: Direction::AboveExpected, ..ANOMALY };
        let below = Anomaly { detection_direction: Direction::BelowExpected, ..ANOMALY };
        check(&above, 18.0, 2.0);
        check(&above, 6.0, 0.0);
        check(&below, 18.0, 0.0);
        check(&below, 6.0, 2.0);
    }

    #[test]
    fn small_deviations_score_nothing() {
        let absolute = Anomaly { min_dev_from_expected: Sides { below: 3.0, above: 9.0 }, ..ANOMALY };
        check(&absolute, 18.0, 0.0);
        check(&absolute, 19.0, 2.25);
        check(&absolute, 7.0, 1.5);
        check(&absolute, 8.0, 0.0);
        let relative = Anomaly { min_rel_dev_from_expected: Sides { below: 0.5, above: 0.9 }, ..ANOMALY };
        check(&relative, 18.0, 0.0);
        check(&relative, 4.0, 3.0);
    }

    #[test]
    fn values_that_can_never_be_right_are_anomalous_whatever_the_band() {
        let positive = Anomaly { data_range: (9.0, 12.0), ..ANOMALY };
        check(&positive, 8.5, 1.01);
        check(&positive, 6.0, 2.0);
        check(&positive, 11.0, 0.25);
    }

    #[test]
    fn a_threshold_moves_what_counts_but_not_what_can_never_be_right() {
        let positive = Anomaly { data_range: (0.0, 100.0), ..ANOMALY };
        for (score, factor, actual, expected) in
            [(3.0, 2.0, 10.0, 1.5), (3.0, 6.0, 10.0, 0.5), (3.0, 6.0, -1.0, 1.01), (0.6, 0.5, 10.0, 1.2)]
        {
            let moved = beside_threshold(score, factor, actual, &positive);
            assert!((moved - expected).abs() < 1e-12, "{score} beside {factor}: {moved}");
        }
    }

    #[test]
    fn a_band_without_width_gives_the_highest_score_and_never_infinity() {
        let flat = Expectation { expected: 1.0, lower: 1.0, upper: 1.0 };
        assert_eq!(score(1.0, flat, &ANOMALY), 0.0);
        assert_eq!(score(2.0, flat, &ANOMALY), HIGHEST_SCORE);
        assert!(score(f64::INFINITY, flat, &ANOMALY).is_finite());
        assert!(score(1e308, Expectation { expected: -1e308, lower: -1e308, upper: -1e308 }, &ANOMALY).is_finite());
    }
}
