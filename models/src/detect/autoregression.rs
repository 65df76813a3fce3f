//! What the last points say of the next one.

/// How many of the last points are looked at.
const LAGS: usize = 8;

/// The inputs: a constant, the lags, the profile of the day now and before, and the same time yesterday.
const INPUTS: usize = LAGS + 4;

/// The largest error that is reckoned with.
const LARGEST: f64 = 1e18;

/// A linear forecast one step ahead, fitted by recursive least squares with forgetting (Haykin, Adaptive Filter Theory,
/// chapter 10) on errors that are cut, so that an outlier moves little.
#[derive(Debug, Clone)]
pub(super) struct Autoregression {
    weights: [f64; INPUTS],
    inverse: [[f64; INPUTS]; INPUTS],
    forget: f64,
    daily: f64,
    seen: usize,
    size: f64,
}

/// What is known before a value comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// The last values, the newest last; at least [`Autoregression::LAGS`].
    pub(super) last: &'a [f64],
    /// The profile of the day at this point and at the one before.
    pub(super) usual: [f64; 2],
    /// The value a day ago, or what else is usual.
    pub(super) yesterday: f64,
}

impl Autoregression {
    /// How many values it needs.
    pub(super) const LAGS: usize = LAGS;

    /// Expects the last value, for a series with so many points a day.
    pub(super) fn new(day: f64) -> Self {
        let mut weights = [0.0; INPUTS];
        weights[1] = 1.0;
        let inverse = std::array::from_fn(|row| std::array::from_fn(|column| if row == column { 10.0 } else { 0.0 }));
        let forget = 1.0 - 1.0 / (4.0 * day).clamp(200.0, 4000.0);
        Self { weights, inverse, forget, daily: 1.0 / day.max(8.0), seen: 0, size: 0.0 }
    }

    /// The residual of `value` in usual residuals, with its sign; then learns from it. A size below `least` is no size.
    pub(super) fn push(&mut self, value: f64, known: &Known<'_>, least: f64) -> f64 {
        let inputs = inputs(known);
        let mut expected: f64 = self.weights.iter().zip(inputs).map(|(weight, input)| weight * input).sum();
        if !expected.is_finite() || !self.inverse.as_flattened().iter().all(|cell| cell.is_finite()) {
            // Numbers of very different sizes have ruined the fit: it begins anew.
            *self = Self { seen: self.seen, size: self.size, ..Self::new(1.0 / self.daily) };
            expected = inputs[1];
        }
        let error = (value - expected).clamp(-LARGEST, LARGEST);
        let relative = if self.seen < 10 { 0.0 } else { error / (self.size + least) };
        self.seen += 1;
        let is_new = self.seen < 200;
        let most = 4.0 * (self.size + 20.0 * least);
        let cut = error.clamp(-most, most);
        self.fit(&inputs, if self.seen < 100 { error } else { cut });
        let weight = if is_new { self.daily.max(1.0 / (self.seen as f64 + 1.0)) } else { self.daily };
        self.size += weight * (if is_new { error } else { cut }.abs() - self.size);
        relative
    }

    fn fit(&mut self, inputs: &[f64; INPUTS], error: f64) {
        let gain: [f64; INPUTS] =
            std::array::from_fn(|row| self.inverse[row].iter().zip(inputs).map(|(cell, input)| cell * input).sum());
        let power: f64 = inputs.iter().zip(gain).map(|(input, gain)| input * gain).sum();
        let divisor = self.forget + power;
        // Inputs that tell nothing for long would let the inverse grow without bound.
        let trace: f64 = (0..INPUTS).map(|at| self.inverse[at][at]).sum();
        let forget = if trace > 1e6 { 1.0 } else { self.forget };
        for (row, gain_row) in gain.iter().enumerate() {
            self.weights[row] += gain_row / divisor * error;
            for (cell, gain_column) in self.inverse[row].iter_mut().zip(gain) {
                *cell = (*cell - gain_row * gain_column / divisor) / forget;
            }
        }
    }
}

fn inputs(known: &Known<'_>) -> [f64; INPUTS] {
    let mut inputs = [1.0; INPUTS];
    for (input, value) in inputs[1..].iter_mut().zip(known.last.iter().rev().take(LAGS)) {
        *input = *value;
    }
    inputs[LAGS + 1..].copy_from_slice(&[known.usual[0], known.usual[1], known.yesterday]);
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_learned_and_a_break_of_it_seen() {
        let mut model = Autoregression::new(288.0);
        let mut values: Vec<f64> = (0..8).map(|at| f64::from(at).sin()).collect();
        let noise = |at: usize| ((at * 7919) % 101) as f64 / 1e4;
        let mut worst: f64 = 0.0;
        for at in 8..3000 {
            let value = (at as f64).sin() + noise(at);
            let known = Known { last: &values[at - 8..], usual: [0.0; 2], yesterday: 0.0 };
            let residual = model.push(value, &known, 1e-9);
            worst = if at > 2000 { worst.max(residual.abs()) } else { 0.0 };
            values.push(value);
        }
        assert!(worst < 6.0, "{worst}");
        let known = Known { last: &values[2992..], usual: [0.0; 2], yesterday: 0.0 };
        assert!(model.push(3.0, &known, 1e-9) > 50.0);
    }
}
