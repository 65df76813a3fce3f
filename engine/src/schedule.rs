//! When passes are due.

use std::time::Duration;

use tsdb::Timestamp;

/// When something is due: at the times of a cron pattern in a time zone, or every so often.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At every multiple of this duration since the Unix epoch.
    Every(Duration),
}

impl Schedule {
    /// The first time after `time`.
    pub fn next_after(&self, time: Timestamp) -> Timestamp {
        match self {
            Self::Every(every) => {
                let every = every.as_millis() as i64;
                Timestamp::from_millis((time.millis().div_euclid(every) + 1) * every)
            }
        }
    }

    /// The last time that is not after `time`.
    pub fn last_until(&self, time: Timestamp) -> Timestamp {
        match self {
            Self::Every(every) => {
                let every = every.as_millis() as i64;
                Timestamp::from_millis(time.millis().div_euclid(every) * every)
            }
        }
    }
}
