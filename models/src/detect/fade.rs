//! How a score goes down again: at once after a spike, slowly after something that lasted, and over a day after a restless
//! one.

/// Means and peaks over time of what the parts say together.
#[derive(Debug, Clone)]
pub(super) struct Fade {
    peak_keeps: f64,
    mean_keeps: f64,
    echo_keeps: f64,
    day_keeps: f64,
    peak: f64,
    mean: f64,
    echo: f64,
    day: f64,
}

/// How long a spike takes to fade to 37%.
const PEAK_MINUTES: f64 = 15.0;

/// Over which time what lasts is told from what doesn't.
const MEAN_MINUTES: f64 = 45.0;

/// How long what lasted takes to fade to 37%.
const ECHO_MINUTES: f64 = 480.0;

/// What counts at most towards what lasts, in usual scores, so that one spike does not.
const MOST: f64 = 3.0;

/// How long a restless day is remembered: no point is less unusual than those of the day before it were on average.
const DAY_MINUTES: f64 = 1440.0;

/// What counts at most towards it, in usual scores.
const DAY_MOST: f64 = 2.0;

/// How loud the echo of something that lasted is.
const ECHO: f64 = 0.8;

impl Fade {
    /// For points so many seconds apart.
    pub(super) fn new(step_seconds: i64) -> Self {
        let keeps = |minutes: f64| (-(step_seconds as f64) / 60.0 / minutes).exp();
        let [peak_keeps, mean_keeps, echo_keeps, day_keeps] =
            [PEAK_MINUTES, MEAN_MINUTES, ECHO_MINUTES, DAY_MINUTES].map(keeps);
        Self { peak_keeps, mean_keeps, echo_keeps, day_keeps, peak: 0.0, mean: 0.0, echo: 0.0, day: 0.0 }
    }

    /// The score at a point of which the parts say `together`.
    pub(super) fn push(&mut self, together: f64) -> f64 {
        self.peak = together.max(self.peak * self.peak_keeps);
        self.mean = self.mean * self.mean_keeps + (1.0 - self.mean_keeps) * together.min(MOST);
        self.echo = self.mean.max(self.echo * self.echo_keeps);
        self.day = self.day * self.day_keeps + (1.0 - self.day_keeps) * together.min(DAY_MOST);
        self.peak.max(ECHO * self.echo).max(self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_fades_at_once_and_what_lasted_slowly() {
        let after = |lasting: usize| {
            let mut fade = Fade::new(60);
            for _ in 0..lasting {
                fade.push(10.0);
            }
            (0..120).map(|_| fade.push(0.0)).last().unwrap_or_default()
        };
        assert!(after(1) < 0.06, "{}", after(1));
        assert!(after(240) > 1.5, "{}", after(240));
    }

    #[test]
    fn a_restless_day_is_remembered_and_is_no_alert() {
        let after = |usual: f64| {
            let mut fade = Fade::new(300);
            (0..288).for_each(|_| _ = fade.push(usual));
            (0..144).map(|_| fade.push(0.0)).last().unwrap_or_default()
        };
        // A day fills the mean to 63%, and half a day leaves 61% of that.
        assert!((after(0.5) - 0.5 * 0.632 * 0.607).abs() < 1e-3, "{}", after(0.5));
        assert!(after(100.0) < 1.0, "{}", after(100.0));
    }
}
