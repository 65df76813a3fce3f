//! What an endpoint says of one series, and whether it is what was asked.

use std::borrow::Cow;

use super::fault::Fault;

/// The level that a point forecast may stand in for.
const MEDIAN: f64 = 0.5;
/// Quantiles that cross by less than this part of their size have been rounded: single precision has 7 digits.
const ROUNDING: f64 = 1e-6;

/// What was answered about one series; a number that is none is NaN.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    /// A row a level, in any order.
    pub(super) quantiles: Vec<(f64, Vec<f64>)>,
    /// The point forecast.
    pub(super) point: Option<Vec<f64>>,
}

impl Answer {
    /// The quantiles `[level, step ahead]` that were asked for. The point forecast stands in for a median that is not
    /// there, held between its neighbours, as a mean may lie outside them.
    ///
    /// # Errors
    /// A level that is missing or there twice, a row of another length, a value that is no finite number, or
    /// quantiles that cross.
    pub(super) fn rows(&self, levels: &[f64], horizon: usize) -> Result<Vec<f64>, Fault> {
        let mut rows = Vec::with_capacity(levels.len() * horizon);
        if let Some(point) = &self.point {
            check_row("its point forecast", point, horizon)?;
        }
        for level in levels {
            let row = self.row(*level, horizon)?;
            check_row(&format!("its quantile {level}"), &row, horizon)?;
            rows.extend_from_slice(&row);
        }
        order(&mut rows, levels, horizon)?;
        Ok(rows)
    }

    fn row(&self, level: f64, horizon: usize) -> Result<Cow<'_, [f64]>, Fault> {
        let mut found = self.quantiles.iter().filter(|(known, _)| is_same(*known, level));
        match (found.next(), found.next(), &self.point) {
            (Some((_, row)), None, _) => Ok(Cow::Borrowed(row)),
            (Some(_), Some(_), _) => Err(wrong(format!("its quantile {level} is there twice"))),
            (None, _, Some(point)) if is_same(level, MEDIAN) => Ok(Cow::Owned(self.held(point, horizon))),
            (None, ..) => Err(wrong(format!("it lacks the quantile {level}; it has {}", self.names()))),
        }
    }

    /// The point forecast, moved to the nearest quantile below or above the median where it lies outside.
    fn held(&self, point: &[f64], horizon: usize) -> Vec<f64> {
        let mut point = point.to_vec();
        for (level, row) in self.quantiles.iter().filter(|(_, row)| row.len() == horizon) {
            for (value, edge) in point.iter_mut().zip(row).filter(|(_, edge)| edge.is_finite()) {
                *value = if *level < MEDIAN { value.max(*edge) } else { value.min(*edge) };
            }
        }
        point
    }

    fn names(&self) -> String {
        let mut names: Vec<_> = self.quantiles.iter().map(|(level, _)| level.to_string()).collect();
        names.extend(self.point.as_ref().map(|_| "a point forecast".to_owned()));
        names.truncate(20);
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// Whether two levels are the same: `0.1` may come as `0.10` or in single precision.
pub(super) fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-7
}

/// The answer is wrong in this way.
pub(super) fn wrong(what: impl Into<String>) -> Fault {
    Fault::Answer(what.into())
}

fn check_row(what: &str, row: &[f64], horizon: usize) -> Result<(), Fault> {
    if row.len() != horizon {
        return Err(wrong(format!("{what} has {} values where {horizon} were asked for", row.len())));
    }
    match row.iter().position(|value| !value.is_finite()) {
        Some(step) => Err(wrong(format!("{what} has no finite number at step {}", step + 1))),
        None => Ok(()),
    }
}

/// Checks that quantiles rise from level to level, and lifts what is below only by rounding.
fn order(rows: &mut [f64], levels: &[f64], horizon: usize) -> Result<(), Fault> {
    for at in horizon..rows.len() {
        let (below, here) = (rows[at - horizon], rows[at]);
        if here >= below {
            continue;
        }
        if below - here > ROUNDING * below.abs().max(here.abs()) {
            let (level, step) = (at / horizon, at % horizon + 1);
            return Err(wrong(format!(
                "its quantiles cross: at step {step} it has {below} for {} and {here} for {}",
                levels[level - 1],
                levels[level]
            )));
        }
        rows[at] = below;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(quantiles: &[(f64, &[f64])], point: Option<&[f64]>) -> Answer {
        let quantiles = quantiles.iter().map(|(level, row)| (*level, row.to_vec())).collect();
        Answer { quantiles, point: point.map(<[f64]>::to_vec) }
    }

    #[track_caller]
    fn check(answer: &Answer, expected: Result<&[f64], &str>) {
        match (answer.rows(&[0.1, 0.5, 0.9], 2), expected) {
            (Ok(rows), Ok(expected)) => assert_eq!(rows, expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error} lacks {words}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn rows_come_in_the_order_of_levels() {
        let rows: [(f64, &[f64]); 4] = [(0.9, &[5., 6.]), (0.1, &[1., 2.]), (0.5, &[3., 4.]), (0.99, &[1.])];
        check(&answer(&rows, None), Ok(&[1., 2., 3., 4., 5., 6.]));
        check(&answer(&rows, Some(&[f64::NAN, 1.])), Err("point forecast has no finite number at step 1"));
        check(&answer(&rows, Some(&[1.])), Err("point forecast has 1 values where 2 were asked for"));
        check(&answer(&rows[..2], Some(&[3., 9.])), Ok(&[1., 2., 3., 6., 5., 6.]));
        check(&answer(&[(f64::from(0.1f32), &[1., 1.]), rows[0], rows[2]], None), Ok(&[1., 1., 3., 4., 5., 6.]));
    }

    #[test]
    fn what_was_not_asked_for_is_wrong() {
        let low: (f64, &[f64]) = (0.1, &[1., 2.]);
        let high: (f64, &[f64]) = (0.9, &[5., 6.]);
        let with = |row| answer(&[low, (0.5, row), high], None);
        check(&with(&[3.]), Err("quantile 0.5 has 1 values where 2"));
        check(&with(&[]), Err("quantile 0.5 has 0 values"));
        check(&with(&[3., 4., 5.]), Err("quantile 0.5 has 3 values"));
        check(&with(&[3., f64::NAN]), Err("quantile 0.5 has no finite number at step 2"));
        check(&with(&[f64::INFINITY, 3.]), Err("quantile 0.5 has no finite number at step 1"));
        check(&with(&[3., 7.]), Err("cross: at step 2 it has 7 for 0.5 and 6 for 0.9"));
        check(&answer(&[low, high], None), Err("lacks the quantile 0.5; it has 0.1, 0.9"));
        check(&answer(&[low], Some(&[3., 3.])), Err("lacks the quantile 0.9; it has 0.1, a point forecast"));
        check(&answer(&[], None), Err("it has none"));
        check(&answer(&[low, low, high], Some(&[3., 3.])), Err("quantile 0.1 is there twice"));
    }

    #[test]
    fn rounding_is_no_crossing() {
        let rounded = answer(&[(0.1, &[1e9, 2.]), (0.5, &[1e9 - 10., 2.]), (0.9, &[1e9, 2.])], None);
        check(&rounded, Ok(&[1e9, 2., 1e9, 2., 1e9, 2.]));
    }
}
