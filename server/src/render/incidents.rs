//! Which anomalous points belong together.

use tsdb::Frame;

/// A run of points of one series whose score is above 1; short pauses inside are part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The row of the series.
    pub series: usize,
    /// The first point above 1.
    pub first: usize,
    /// The last point above 1.
    pub last: usize,
    /// How many points are above 1.
    pub points: usize,
    /// The point with the highest score.
    pub peak: usize,
    /// The highest score.
    pub score: f64,
}

/// The incidents of all series, the highest score first. Points above 1 that at most `pause` other points lie
/// between belong to the same incident.
pub fn incidents(score: &Frame, pause: usize) -> Vec<Incident> {
    let mut all: Vec<Incident> =
        score.rows().enumerate().flat_map(|(series, (_, row))| of_series(series, row, pause)).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.series, a.first).cmp(&(b.series, b.first))));
    all
}

fn of_series(series: usize, scores: &[f64], pause: usize) -> Vec<Incident> {
    let mut found: Vec<Incident> = vec![];
    for (at, &score) in scores.iter().enumerate().filter(|(_, score)| **score > 1.0) {
        match found.last_mut() {
            Some(open) if at - open.last <= pause + 1 => {
                open.last = at;
                open.points += 1;
                if score > open.score {
                    (open.peak, open.score) = (at, score);
                }
            }
            _ => found.push(Incident { series, first: at, last: at, points: 1, peak: at, score }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use tsdb::{Labels, Step, Timestamp};

    use super::*;

    fn check(rows: &[&[f64]], pause: usize, expected: &[(usize, usize, usize, usize, usize)]) {
        let series = (0..rows.len()).map(|row| Labels::metric(&format!("m{row}"))).collect();
        let points = rows[0].len();
        let frame =
            Frame::new(series, Timestamp::default(), Step::from_millis(1000).unwrap(), points, rows.concat()).unwrap();
        let found: Vec<_> =
            incidents(&frame, pause).iter().map(|i| (i.series, i.first, i.last, i.points, i.peak)).collect();
        assert_eq!(found, expected, "{rows:?} with pauses of {pause}");
    }

    #[test]
    fn points_above_one_are_grouped_and_the_worst_comes_first() {
        let nan = f64::NAN;
        check(&[&[0.0, 1.0, nan]], 0, &[]);
        check(&[&[2.0, 3.0, 0.0, 4.0]], 0, &[(0, 3, 3, 1, 3), (0, 0, 1, 2, 1)]);
        check(&[&[2.0, 3.0, 0.0, 4.0]], 1, &[(0, 0, 3, 3, 3)]);
        check(&[&[2.0, nan, nan, 2.0]], 1, &[(0, 0, 0, 1, 0), (0, 3, 3, 1, 3)]);
        check(&[&[2.0, 0.0], &[0.0, f64::INFINITY]], 3, &[(1, 1, 1, 1, 1), (0, 0, 0, 1, 0)]);
    }
}
