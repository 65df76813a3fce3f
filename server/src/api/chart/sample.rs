//! Fewer points than there are, so that nothing is lost which somebody looks for.

/// The five rows that are written of a series, in the order of [`engine::output::SCORE_KINDS`], of one length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written(pub [Vec<f64>; 5]);

/// One point for every `every` points: the one with the highest score; where none has a score, the first that has a
/// value. Its five values belong together, as they would not if each row were averaged.
pub(super) fn thin(written: &Written, every: usize) -> Written {
    if every == 1 {
        return written.clone();
    }
    let [score, y, ..] = &written.0;
    let starts = (0..score.len()).step_by(every);
    let chosen: Vec<usize> = starts.map(|start| worst(score, y, start..(start + every).min(score.len()))).collect();
    Written(written.0.each_ref().map(|row| chosen.iter().map(|&at| row[at]).collect()))
}

fn worst(score: &[f64], y: &[f64], mut points: std::ops::Range<usize>) -> usize {
    let first = points.start;
    let scored = points.clone().filter(|&at| score[at].is_finite());
    let worst = scored.max_by(|&a, &b| score[a].total_cmp(&score[b]));
    worst.or_else(|| points.find(|&at| y[at].is_finite())).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f64 = f64::NAN;

    fn check(score: &[f64], y: &[f64], every: usize, expected: &[f64]) {
        let rest = || vec![0.0; y.len()];
        let Written([_, thinned, ..]) = thin(&Written([score.to_vec(), y.to_vec(), rest(), rest(), rest()]), every);
        assert_eq!(format!("{thinned:?}"), format!("{expected:?}"));
    }

    #[test]
    fn an_anomaly_is_never_lost() {
        check(&[0.1, 9.0, 0.2, 0.3], &[1.0, 2.0, 3.0, 4.0], 4, &[2.0]);
        check(&[0.1, 9.0, 0.2, 0.3, 0.4], &[1.0, 2.0, 3.0, 4.0, 5.0], 2, &[2.0, 4.0, 5.0]);
        check(&[0.1, 9.0], &[1.0, 2.0], 1, &[1.0, 2.0]);
    }

    #[test]
    fn gaps_are_passed_over() {
        check(&[GAP, GAP, GAP, 0.3], &[GAP, 2.0, 3.0, 4.0], 2, &[2.0, 4.0]);
        check(&[GAP, GAP], &[GAP, GAP], 2, &[GAP]);
        check(&[], &[], 3, &[]);
    }
}
