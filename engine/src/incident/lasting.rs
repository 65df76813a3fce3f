//! How high what lasts is: a score that is above a threshold when somebody is told of it, whatever the threshold.

use std::collections::VecDeque;

use super::PAUSE;

/// The newest scores of a series, as many as say whether somebody is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lasting {
    patience: usize,
    newest: VecDeque<f64>,
}

impl Lasting {
    /// Somebody is told of what has lasted for `patience` steps after its first point.
    pub fn new(patience: usize) -> Self {
        Self { patience, newest: VecDeque::new() }
    }

    /// Takes in the score of the next point of the grid, NaN where there is none. The answer is above a threshold exactly
    /// where the score is, and belongs to an episode above that threshold which has lasted ([`super::has_lasted`]); NaN
    /// where there is no score.
    pub fn push(&mut self, score: f64) -> f64 {
        if self.patience == 0 {
            return score;
        }
        self.newest.push_back(if score.is_nan() { 0.0 } else { score });
        while self.newest.len() > self.patience + PAUSE + 1 {
            self.newest.pop_front();
        }
        if score.is_nan() {
            return f64::NAN;
        }
        let newest = self.newest.make_contiguous();
        let Some(first) = newest.len().checked_sub(self.patience + 1) else { return 0.0 };
        // An episode goes on as long as no more than a pause lies between its points.
        let recent = |at: usize| newest[at.saturating_sub(PAUSE)..=at].iter().copied().fold(0.0, f64::max);
        (first..newest.len()).map(recent).fold(score, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{Incident, incidents};
    use tsdb::{Frame, Labels, Step, Timestamp};

    /// The points that somebody is told of at 1, of scores that are 2 where there is a `#` and unknown where there is a
    /// `?`.
    fn told(patience: usize, text: &str) -> String {
        let mut lasting = Lasting::new(patience);
        let score = |mark| match mark {
            '#' => 2.0,
            '?' => f64::NAN,
            _ => 0.5,
        };
        text.chars().map(|mark| if lasting.push(score(mark)) > 1.0 { '#' } else { '.' }).collect()
    }

    #[test]
    fn somebody_is_told_of_what_lasts() {
        for (patience, text, expected) in [
            (0, "#.##..#", "#.##..#"),
            (2, "####...", "..##..."),
            (2, "#.#.#", "..#.#"),
            (2, "#...#...#", "....#...#"),
            (2, "#....#....#", "..........."),
            (4, "#??##?#", "....#.#"),
            (4, "#????##?#..#.....#", "...........#......"),
            (9, "########", "........"),
        ] {
            assert_eq!(told(patience, text), expected, "{text} for {patience}");
        }
    }

    #[test]
    fn it_says_of_every_threshold_what_episodes_say() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        let scores: Vec<f64> = (0..300).map(|_| random() * 2.0).collect();
        for (patience, threshold) in [(1, 0.5), (3, 1.5), (3, 1.9), (6, 1.2), (20, 0.9), (20, 1.6)] {
            let mut lasting = Lasting::new(patience);
            let found: Vec<bool> = scores.iter().map(|score| lasting.push(*score) > threshold).collect();
            let scaled = scores.iter().map(|score| score / threshold).collect();
            let (start, step) = (Timestamp::default(), Step::from_millis(1000).unwrap());
            let frame = Frame::new(vec![Labels::metric("a")], start, step, scores.len(), scaled).unwrap();
            let mut expected = vec![false; scores.len()];
            for Incident { first, last, .. } in incidents(&frame, PAUSE) {
                for at in first + patience..=last {
                    expected[at] = scores[at] > threshold;
                }
            }
            assert_eq!(found, expected, "{patience} at {threshold}");
        }
    }
}
