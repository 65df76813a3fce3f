//! What a model answers: quantiles of what comes.

/// Why numbers are no quantile levels.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LevelError {
    /// No level at all.
    #[error("there must be at least one quantile level")]
    Empty,
    /// A level outside 0 to 1.
    #[error("a quantile level must lie between 0 and 1, not {0}")]
    OutOfRange(f64),
}

/// The quantile levels of a forecast: strictly between 0 and 1, rising, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels(Vec<f64>);

impl Levels {
    /// Sorts and checks `levels`; one that is there twice is kept once.
    ///
    /// # Errors
    /// No level, or one that is not strictly between 0 and 1.
    pub fn new(mut levels: Vec<f64>) -> Result<Self, LevelError> {
        if let Some(bad) = levels.iter().find(|level| !(**level > 0.0 && **level < 1.0)) {
            return Err(LevelError::OutOfRange(*bad));
        }
        levels.sort_unstable_by(f64::total_cmp);
        levels.dedup();
        if levels.is_empty() { Err(LevelError::Empty) } else { Ok(Self(levels)) }
    }

    /// The levels, rising.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// How many levels there are: at least one.
    #[allow(clippy::len_without_is_empty, reason = "there is always a level")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Where `level` stands.
    pub fn position(&self, level: f64) -> Option<usize> {
        self.0.iter().position(|known| (known - level).abs() < 1e-9)
    }
}

/// Quantiles `[series, level, step ahead]`, row-major, in the units of the data.
///
/// The values of one series are either all finite, and rise from level to level, or all NaN where the model can
/// say nothing about it (no data).
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    levels: Levels,
    horizon: usize,
    values: Vec<f64>,
    failures: Vec<Failure>,
}

/// A series that should have been forecast and was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which series of the request.
    pub series: usize,
    /// What went wrong.
    pub message: String,
}

impl Forecast {
    /// A forecast for `series` series, without any value yet (all NaN).
    pub fn unknown(series: usize, levels: Levels, horizon: usize) -> Self {
        let values = vec![f64::NAN; series * levels.len() * horizon];
        Self { levels, horizon, values, failures: vec![] }
    }

    /// The quantile levels, rising.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// How many steps ahead it reaches.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.values.len().checked_div(self.levels.len() * self.horizon).unwrap_or(0)
    }

    /// The series that could not be forecast, of which all values are NaN.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Takes back what is known of a series, and says why.
    ///
    /// # Panics
    /// Where there is no such series.
    pub fn fail(&mut self, series: usize, message: impl Into<String>) {
        self.of_mut(series).fill(f64::NAN);
        self.failures.push(Failure { series, message: message.into() });
    }

    /// One series: `[level, step ahead]`.
    ///
    /// # Panics
    /// Where there is no such series.
    pub fn of(&self, series: usize) -> &[f64] {
        let size = self.levels.len() * self.horizon;
        &self.values[series * size..(series + 1) * size]
    }

    /// The same, to fill in.
    pub(crate) fn of_mut(&mut self, series: usize) -> &mut [f64] {
        let size = self.levels.len() * self.horizon;
        &mut self.values[series * size..(series + 1) * size]
    }

    /// One series and level: a value a step ahead.
    ///
    /// # Panics
    /// Where there is no such series or level.
    pub fn quantile(&self, series: usize, level: usize) -> &[f64] {
        &self.of(series)[level * self.horizon..(level + 1) * self.horizon]
    }

    /// The rows `[level, step ahead]` of all series, to fill in, in parallel where that pays.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_sorted_unique_and_inside() {
        assert_eq!(Levels::new(vec![0.9, 0.1, 0.9]).unwrap().as_slice(), [0.1, 0.9]);
        for bad in [vec![], vec![0.0], vec![1.0], vec![f64::NAN]] {
            assert!(Levels::new(bad).is_err());
        }
    }

    #[test]
    fn rows_are_where_they_should_be() {
        let mut forecast = Forecast::unknown(2, Levels::new(vec![0.1, 0.9]).unwrap(), 3);
        forecast.values_mut().copy_from_slice(&(0..12).map(f64::from).collect::<Vec<_>>());
        assert_eq!(forecast.series(), 2);
        assert_eq!(forecast.quantile(1, 0), [6.0, 7.0, 8.0]);
    }
}
