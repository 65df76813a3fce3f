//! The incidents that are open.

use std::collections::{BTreeMap, BTreeSet};

use engine::incident::Severity;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tsdb::Timestamp;

use crate::app::App;
use crate::database::incidents::{self, Incident};

/// How old a count may be, in milliseconds: however often somebody scrapes, the database is asked no more often.
const FRESH_MS: i64 = 5_000;

/// How many incidents of a pipeline are told one by one: those that began last.
const MOST: usize = 100;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OpenLabels {
    pipeline: String,
    severity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IncidentLabels {
    pipeline: String,
    incident: String,
}

/// The open incidents of the pipelines that this process runs.
#[derive(Default)]
pub(crate) struct Incidents {
    open: Family<OpenLabels, Gauge>,
    severity: Family<IncidentLabels, Gauge>,
    counted: Mutex<Timestamp>,
}

impl Incidents {
    pub(super) fn register(&self, registry: &mut Registry) {
        register!(registry, self,
            open: "incidents_open", "Incidents that may still go on, by severity";
            severity: "incident_severity", "Every open incident: 1 is info, 2 a warning, 3 critical";
        );
    }

    fn set(&self, running: &BTreeSet<String>, found: &[Incident]) {
        self.open.clear();
        self.severity.clear();
        for pipeline in running {
            for severity in Severity::ALL {
                let labels = OpenLabels { pipeline: pipeline.clone(), severity: severity.name() };
                self.open.get_or_create(&labels).set(0);
            }
        }
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for incident in found.iter().filter(|one| running.contains(&one.pipeline)) {
            let severity = Severity::named(&incident.severity).unwrap_or(Severity::Info);
            let labels = OpenLabels { pipeline: incident.pipeline.clone(), severity: severity.name() };
            self.open.get_or_create(&labels).inc();
            let told = told.entry(&incident.pipeline).or_default();
            *told += 1;
            if *told <= MOST {
                let labels = IncidentLabels { pipeline: incident.pipeline.clone(), incident: incident.id.clone() };
                self.severity.get_or_create(&labels).set(severity as i64 + 1);
            }
        }
    }
}

/// Counts the open incidents anew where the last count is no longer fresh. Where the database fails, the others of the
/// metrics are told all the same.
pub async fn refresh(app: &App) {
    let (metrics, now) = (&app.metrics.incidents, app.now());
    let mut counted = metrics.counted.lock().await;
    if now.millis() - counted.millis() < FRESH_MS {
        return;
    }
    // Several processes on one database tell each of their own pipelines, so that no incident is told twice.
    let running: BTreeSet<String> = app.status.health().pipelines.into_keys().collect();
    match incidents::open(&app.database, now).await {
        Ok(found) => {
            metrics.set(&running, &found);
            *counted = now;
        }
        Err(error) => tracing::warn!("open incidents are not counted: {error}"),
    }
}
