//! How many jobs there are.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tsdb::Timestamp;

use crate::app::App;
use crate::database::{Database, DatabaseError};

/// How old a count may be, in milliseconds: however often somebody scrapes, the database is asked no more often.
const FRESH_MS: i64 = 10_000;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct JobLabels {
    kind: String,
    state: String,
}

/// The jobs of the database.
#[derive(Default)]
pub(crate) struct Jobs {
    jobs: Family<JobLabels, Gauge>,
    counted: Mutex<Timestamp>,
}

impl Jobs {
    pub(super) fn register(&self, registry: &mut Registry) {
        register!(registry, self,
            jobs: "jobs", "Jobs that the database holds, by kind and state";
        );
    }

    async fn count(&self, database: &Database) -> Result<(), DatabaseError> {
        let select = "SELECT state, kind, COUNT(*) FROM jobs GROUP BY state, kind";
        let rows: Vec<(String, String, i64)> = sqlx::query_as(select).fetch_all(&database.pool).await?;
        self.jobs.clear();
        for (state, kind, count) in rows {
            self.jobs.get_or_create(&JobLabels { kind, state }).set(count);
        }
        Ok(())
    }
}

/// Counts the jobs of `app` anew where the last count is no longer fresh. Where the database fails, the others of
/// the metrics are told all the same.
pub async fn refresh(app: &App) {
    let (jobs, now) = (&app.metrics.jobs, app.now());
    let mut counted = jobs.counted.lock().await;
    if now.millis() - counted.millis() < FRESH_MS {
        return;
    }
    match jobs.count(&app.database).await {
        Ok(()) => *counted = now,
        Err(error) => tracing::warn!("jobs are not counted: {error}"),
    }
}
