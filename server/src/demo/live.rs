//! A fleet that goes on by itself, for `run --demo`: what the last weeks have brought, and then a point whenever one
//! is due.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data::Scenario;
use tsdb::{Limits, RangeQuery, Read, ReadError, Step, Timestamp, Write, WriteError};

use crate::app::App;
use crate::daemon::worker;

/// The distance between points.
const STEP: Step = Step::from_millis(300_000).expect("it is above zero");

/// Monday, the 1st of January 2024. The fleet is always the same at the same time, so that it goes on after a stop.
const START: Timestamp = Timestamp::from_seconds(1_704_067_200);

/// How much has happened already when it is seen for the first time: enough to learn from, and to find something in.
const PAST: Duration = Duration::from_secs(21 * 86_400);

/// How many series there are.
const SERIES: usize = 80;

/// A series that has incidents has at most one in so long a time.
const INCIDENT_EVERY: Duration = Duration::from_secs(3 * 86_400);

/// The configuration of a demo, which stands in its folder.
const CONFIGURATION: &str = "\
# The configuration of a demo: the database of series is inside the program, and lies beside this file.
datasources:
  default:
    path: series
    retention: 60d
";

/// Why the fleet does not go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// What is there can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is new can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Makes the folder of a demo, and answers its configuration. What is there already stays.
///
/// # Errors
/// The folder can't be written.
pub fn prepare(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let file = folder.join("openanomaly.yaml");
    std::fs::create_dir_all(folder.join("pipelines"))?;
    if !file.exists() {
        std::fs::write(&file, CONFIGURATION)?;
    }
    Ok(file)
}

/// The fleet and the store that it writes to.
pub struct Fleet {
    scenario: Scenario,
    source: Arc<dyn Read>,
    sink: Arc<dyn Write>,
    /// The first point that is not written yet.
    next: usize,
}

impl Fleet {
    /// Writes to the datasource `default` what has happened up to now and isn't there yet.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn start(app: &App) -> Result<Self, LiveError> {
        let assembly = app.current().assembly;
        let default = "the configuration of a demo has it";
        let (source, sink) = (assembly.source("default").expect(default), assembly.sink("default").expect(default));
        let warm_up = Duration::ZERO;
        let scenario =
            Scenario { warm_up, incident_every: Some(INCIDENT_EVERY), ..Scenario::new(1, START, STEP, SERIES) };
        let mut fleet = Self { scenario, source, sink, next: 0 };
        fleet.next = fleet.first_missing(app.now()).await?;
        fleet.catch_up(app.now()).await?;
        Ok(fleet)
    }

    /// Writes points as they become due, for ever.
    pub async fn go_on(mut self, app: App) {
        loop {
            let due = START.millis() + self.next as i64 * STEP.millis() - app.now().millis();
            tokio::time::sleep(Duration::from_millis(u64::try_from(due).unwrap_or(0).max(100))).await;
            if let Err(error) = self.catch_up(app.now()).await {
                tracing::error!("the demo's fleet stands still: {error}");
            }
        }
    }

    /// The point after the newest one that the store has of the last weeks; the first of these where it has none.
    async fn first_missing(&self, now: Timestamp) -> Result<usize, ReadError> {
        let (from, until) = (index(now - PAST), index(now));
        let metric = data::SeriesKind::Temperature.metric();
        let query = format!("max(timestamp({metric}))");
        let range = RangeQuery::new(query, START + STEP.times(from), START + STEP.times(until), STEP);
        let frame = self.source.read(&range.expect("weeks are a range"), &Limits::default()).await?.frame;
        let newest = frame.rows().next().and_then(|(_, row)| row.iter().rposition(|time| time.is_finite()));
        Ok(newest.map_or(from, |newest| from + newest + 1))
    }

    async fn catch_up(&mut self, now: Timestamp) -> Result<(), WriteError> {
        let end = index(now) + 1;
        if self.next < end {
            self.sink.write(&[self.scenario.frame(self.next..end)]).await?;
            self.next = end;
        }
        Ok(())
    }
}

/// The newest point at `now`.
fn index(now: Timestamp) -> usize {
    usize::try_from((now.millis() - START.millis()).max(0) / STEP.millis()).unwrap_or(0)
}

/// Fills the store of a demo and keeps it going; the service starts when the past is there.
///
/// # Errors
/// The store can't be read or written.
pub async fn begin(app: &App) -> Result<(), LiveError> {
    let fleet = Fleet::start(app).await?;
    tracing::info!(series = SERIES, until = %worker::now(), "the demo's fleet is there");
    tokio::spawn(fleet.go_on(app.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_its_configuration_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let file = prepare(&folder.path().join("new")).unwrap();
        let config = crate::config::Config::load(&file, &|_| None).unwrap();
        assert_eq!(config.datasources["default"].path, Some(folder.path().join("new/series")));
        std::fs::write(&file, "changed").unwrap();
        assert_eq!(prepare(&folder.path().join("new")).unwrap(), file);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "changed");
    }

    #[test]
    fn the_past_has_incidents_at_whatever_time_one_looks() {
        let scenario = Scenario {
            warm_up: Duration::ZERO,
            incident_every: Some(INCIDENT_EVERY),
            ..Scenario::new(1, START, STEP, SERIES)
        };
        for day in [200, 800, 3000] {
            let now = index(START + Duration::from_secs(day * 86_400));
            let week = now - 7 * 288..now;
            let requests = data::SeriesKind::RequestRate.metric();
            let found = scenario.incidents(week).into_iter().filter(|one| one.series.name() == requests).count();
            assert!(found >= 2, "{found} incidents before day {day}");
        }
    }
}
