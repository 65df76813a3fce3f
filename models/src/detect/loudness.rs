//! How much louder the parts of one series are than those of others.

/// What all parts together usually reach in a series that is not loud.
const QUIET: f64 = 1.1;

/// For how many days a series is got to know, …
const FIRST_DAYS: usize = 7;

/// … and how many it takes meanwhile to hear 63% of a change: fewer, and an incident would make itself quiet.
const AT_FIRST: usize = 1;

/// The same afterwards, so that the scores of a series stay comparable.
const LATER: usize = 60;

/// What scores are divided by: above 1 where the parts have long tails.
#[derive(Debug, Clone)]
pub(super) struct Loudness {
    day: usize,
    seen: usize,
    value: f64,
}

impl Loudness {
    /// That of a quiet series, with `day` points a day.
    pub(super) fn new(day: usize) -> Self {
        Self { day: day.max(24), seen: 0, value: 1.0 }
    }

    /// How loud it is, now that all parts together usually reach `reached`.
    pub(super) fn push(&mut self, reached: f64) -> f64 {
        let days = if self.seen < FIRST_DAYS * self.day { AT_FIRST } else { LATER };
        let target = (reached / QUIET).max(1.0);
        self.value *= (target / self.value).powf(1.0 / (days * self.day) as f64);
        self.seen += 1;
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How loud a series with 100 points a day is after so many points that reach so much each.
    fn check(rows: &[(usize, f64)], expected: f64) {
        let mut loudness = Loudness::new(100);
        let all = rows.iter().flat_map(|(points, reached)| std::iter::repeat_n(*reached, *points));
        let found = all.map(|reached| loudness.push(reached)).last().unwrap();
        assert!((found / expected - 1.0).abs() < 0.01, "{rows:?}: {found} instead of {expected}");
    }

    #[test]
    fn a_series_is_got_to_know_within_a_week() {
        check(&[(700, 0.2)], 1.0);
        check(&[(700, 4.4)], 4.0);
        check(&[(700, 4.4), (700, 1.1)], 4f64.powf(1.0 - 7.0 / 60.0));
    }

    #[test]
    fn an_incident_of_the_first_days_does_not_make_itself_quiet() {
        check(&[(300, 1.0), (10, 11.0)], 10f64.powf(0.0956));
        check(&[(300, 1.0), (10, 11.0), (200, 1.0)], 10f64.powf(0.0956 * 0.134));
    }
}
