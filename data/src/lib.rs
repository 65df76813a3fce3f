//! Life-like infrastructure metrics with labelled incidents, made from a seed.
//!
//! A [`Scenario`] is a fleet of hosts, each with one service, and ten series a host. A value is a function of the
//! scenario, the series and the index of the point, computed without the platform's mathematics library: a longer run
//! begins with the shorter one, a chunk is a cut of the whole, and every machine makes the same bits.
//!
//! ```
//! use data::{Scenario, generate};
//! use tsdb::{Step, Timestamp};
//!
//! let scenario = Scenario::new(7, Timestamp::from_seconds(1_700_000_000), Step::from_millis(300_000).unwrap(), 20);
//! let week = generate(&scenario, 2016);
//! assert_eq!((week.frame.series().len(), week.frame.points()), (20, 2016));
//! assert_eq!(scenario.frame(2016..2028).start(), week.frame.time(2016));
//! ```

mod chance;
mod clock;
mod incident;
mod scenario;
mod series;
mod shape;

pub use incident::{Incident, IncidentKind};
pub use scenario::{Generated, Scenario, generate};
pub use series::SeriesKind;
