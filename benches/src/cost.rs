//! What work has cost this process.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time on the clock and the time on processors, user and system, over all threads.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    begun: Instant,
    used: Duration,
}

impl Cost {
    /// Begins to count.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), used: used() }
    }

    /// Seconds on the clock and on processors since the beginning.
    pub fn seconds(self) -> (f64, f64) {
        (self.begun.elapsed().as_secs_f64(), (used() - self.used).as_secs_f64())
    }
}

fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).expect("a process has used no negative time");
    let nanoseconds = u32::try_from(used.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}

/// The most memory that this process has held at a time, in bytes; 0 where the system doesn't say.
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
}
