//! Whether a level has changed: what is too small to be seen in one point adds up where it goes on in one direction.

/// What a surprise must be, in usual ones, to add to the sum: half of the smallest change that is looked for, in means of
/// absolute values.
const SLACK: f64 = 1.0;

/// The largest surprise that counts, so that one outlier is no change of level.
const LARGEST: f64 = 8.0;

/// What a sum may come to: it falls from there by as much as comes, so that the end of a change is seen soon.
const MOST: f64 = 20.0;

/// Cumulative sums of surprises in either direction (Page, Continuous Inspection Schemes, Biometrika 1954, section 3).
#[derive(Debug, Clone, Default)]
pub(super) struct Cusum {
    above: f64,
    below: f64,
}

impl Cusum {
    /// The larger of the two sums, with `surprise`, which has a sign.
    pub(super) fn push(&mut self, surprise: f64) -> f64 {
        let surprise = surprise.clamp(-LARGEST, LARGEST);
        self.above = (self.above + surprise - SLACK).clamp(0.0, MOST);
        self.below = (self.below - surprise - SLACK).clamp(0.0, MOST);
        self.above.max(self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(surprises: &[f64], expected: &[f64]) {
        let mut cusum = Cusum::default();
        let found: Vec<f64> = surprises.iter().map(|surprise| cusum.push(*surprise)).collect();
        assert_eq!(found, expected, "{surprises:?}");
    }

    #[test]
    fn what_goes_on_in_one_direction_adds_up() {
        check(&[0.5, -0.5, 1.0, -1.0], &[0.0; 4]);
        check(&[2.0, 2.0, 2.0, 0.0, 0.0], &[1.0, 2.0, 3.0, 2.0, 1.0]);
        check(&[-2.5, -2.5, 3.0, 3.0], &[1.5, 3.0, 2.0, 4.0]);
        check(&[100.0, 0.0], &[7.0, 6.0]);
        check(&[9.0, 9.0, 9.0, -3.0], &[7.0, 14.0, 20.0, 16.0]);
    }
}
