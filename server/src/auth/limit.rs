//! How often somebody may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// What a rate must be, for people.
pub const EXPECTED_RATE: &str = "expected a number of requests a second above 0, at most 1000000";

/// How often it is looked whether too many are remembered.
const LOOK_EVERY: u64 = 1024;

/// How many are remembered that have not asked lately.
const MOST_IDLE: usize = 10_000;

/// How many are remembered at all; beyond, all begin anew.
const MOST: usize = 100_000;

/// How often a wrong credential may be tried from an address, or for a name: 20 times, then once every 3 seconds.
pub const ATTEMPTS: Rate = Rate { per_second: 1.0 / 3.0, burst: 20 };

/// Whether a number can be a rate.
pub fn is_rate(per_second: f64) -> bool {
    per_second > 0.0 && per_second <= 1e6
}

/// How often somebody may ask: on average, and at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests a second, above 0.
    pub per_second: f64,
    /// Requests at once, at least 1.
    pub burst: u32,
}

impl Rate {
    fn quota(self) -> Quota {
        let period = Duration::try_from_secs_f64(1.0 / self.per_second).unwrap_or(Duration::MAX);
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        Quota::with_period(period.clamp(Duration::from_nanos(1), Duration::from_secs(86_400)))
            .expect("the period is above zero")
            .allow_burst(burst)
    }

    fn key(self) -> (u64, u32) {
        (self.per_second.to_bits(), self.burst)
    }
}

/// Everybody who asked lately, by the rate that holds for them.
#[derive(Default)]
pub struct Limits {
    by_rate: Mutex<HashMap<(u64, u32), Arc<Limiter>>>,
}

struct Limiter {
    keyed: DefaultKeyedRateLimiter<String>,
    calls: AtomicU64,
}

impl Limits {
    /// Whether `who` may ask once more.
    ///
    /// # Errors
    /// Not now, but after this time.
    pub fn check(&self, who: &str, rate: Rate) -> Result<(), Duration> {
        let Limiter { keyed, .. } = &*self.limiter(rate);
        keyed.check_key(&who.to_owned()).map_err(|not_until| not_until.wait_time_from(keyed.clock().now()))
    }

    fn limiter(&self, rate: Rate) -> Arc<Limiter> {
        let mut by_rate = self.by_rate.lock().unwrap_or_else(PoisonError::into_inner);
        if by_rate.len() > MOST_IDLE {
            by_rate.clear();
        }
        let fresh = || Arc::new(Limiter { keyed: RateLimiter::keyed(rate.quota()), calls: AtomicU64::new(0) });
        let limiter = by_rate.entry(rate.key()).or_insert_with(fresh);
        if limiter.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) && limiter.keyed.len() > MOST_IDLE {
            limiter.keyed.retain_recent();
            if limiter.keyed.len() > MOST {
                *limiter = fresh();
            }
        }
        limiter.clone()
    }
}

/// What an address counts as: whoever has one of version 6 has 2⁶⁴ of them.
pub fn of_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_burst_of_its_own_and_is_told_when_to_come_again() {
        let limits = Limits::default();
        let (slow, fast) = (Rate { per_second: 0.1, burst: 2 }, Rate { per_second: 1e6, burst: 1000 });
        assert_eq!((limits.check("a", slow), limits.check("a", slow)), (Ok(()), Ok(())));
        let wait = limits.check("a", slow).unwrap_err();
        assert!((1..=10).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(limits.check("b", slow), Ok(()));
        assert_eq!(limits.check("a", fast), Ok(()), "another rate is another matter");
        for rate in [Rate { per_second: 1e-9, burst: 0 }, Rate { per_second: 1e9, burst: 1 }] {
            assert_eq!(limits.check("c", rate), Ok(()));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits::default();
        let rate = Rate { per_second: 0.001, burst: 1 };
        for who in 0..150_000 {
            limits.check(&who.to_string(), rate).unwrap();
        }
        assert!(limits.limiter(rate).keyed.len() <= MOST + LOOK_EVERY as usize);
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let of = |text: &str| of_address(text.parse().unwrap());
        assert_eq!((of("10.0.0.1"), of("::ffff:10.0.0.1")), ("10.0.0.1".into(), "10.0.0.1".into()));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
    }
}
