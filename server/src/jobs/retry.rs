//! When a job that failed is begun again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How long the first wait is.
const FIRST: Duration = Duration::from_secs(2);

/// How long the longest wait is.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait after the failed `attempt` (from 1) at the job `id`: twice as long after each, and a quarter more
/// or less, so that jobs which failed together don't all come back together.
pub fn wait(id: &str, attempt: i64) -> Duration {
    let doublings = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or(0);
    let usual = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (id, attempt).hash(&mut hasher);
    let chance = (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64;
    usual.mul_f64(0.75 + 0.5 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_differ() {
        for (attempt, usual) in [(1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (1000, 300.0), (0, 2.0)] {
            let seconds = wait("a", attempt).as_secs_f64();
            assert!(seconds >= 0.75 * usual && seconds <= 1.25 * usual, "{attempt}: {seconds}");
        }
        assert_ne!(wait("a", 1), wait("b", 1));
        assert_eq!(wait("a", 1), wait("a", 1));
    }
}
