//! How each pipeline goes, for `/health` and for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tsdb::Timestamp;

/// How each pipeline goes.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

#[derive(Debug, Default, Clone)]
struct State {
    pipelines: BTreeMap<String, PipelineStatus>,
    config_errors: Vec<String>,
    /// By name, why a datasource was last not to be reached.
    datasources: BTreeMap<String, String>,
    database: Option<String>,
}

/// How one pipeline goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PipelineStatus {
    /// When a pass last succeeded, RFC 3339.
    pub last_success: Option<String>,
    /// Why the last pass of a stage failed, by stage; nothing where it succeeded.
    pub errors: BTreeMap<&'static str, String>,
}

/// What `/health/ready` answers.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok`, or `degraded` where something needs a person.
    pub status: &'static str,
    /// What is wrong with the configuration.
    pub config_errors: Vec<String>,
    /// Why the database does not answer; absent where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// How each pipeline that this process runs goes.
    pub pipelines: BTreeMap<String, PipelineStatus>,
}

impl Status {
    fn change(&self, change: impl FnOnce(&mut State)) {
        // The state is whole after every change, so a panic elsewhere leaves nothing half done.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A pass of `pipeline` succeeded.
    pub fn succeeded(&self, pipeline: &str, stage: &'static str, at: Timestamp) {
        self.change(|state| {
            let status = state.pipelines.entry(pipeline.into()).or_default();
            status.last_success = Some(at.to_string());
            status.errors.remove(stage);
        });
    }

    /// A pass of `pipeline` failed.
    pub fn failed(&self, pipeline: &str, stage: &'static str, error: String) {
        self.change(|state| drop(state.pipelines.entry(pipeline.into()).or_default().errors.insert(stage, error)));
    }

    /// A stage of `pipeline` is over its trouble, though no pass has succeeded yet.
    pub fn cleared(&self, pipeline: &str, stage: &'static str) {
        self.change(|state| {
            if let Some(status) = state.pipelines.get_mut(pipeline) {
                status.errors.remove(stage);
            }
        });
    }

    /// The configuration was read: these pipelines run, and this is wrong.
    pub fn configured<'a>(&self, pipelines: impl Iterator<Item = &'a str>, errors: Vec<String>) {
        self.change(|state| {
            let mut known = std::mem::take(&mut state.pipelines);
            state.pipelines =
                pipelines.map(|name| (name.to_string(), known.remove(name).unwrap_or_default())).collect();
            state.config_errors = errors;
            state.datasources.clear();
        });
    }

    /// The datasource `name` was not to be reached.
    pub fn unreachable(&self, name: &str, error: String) {
        self.change(|state| drop(state.datasources.insert(name.into(), error)));
    }

    /// The datasource `name` was reached.
    pub fn reached(&self, name: &str) {
        self.change(|state| drop(state.datasources.remove(name)));
    }

    /// Why datasources are not to be reached, by name; none where all are.
    pub fn datasources(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        self.change(|state| found = state.datasources.clone());
        found
    }

    /// The database answers, or does not and why.
    pub fn database(&self, error: Option<String>) {
        self.change(|state| state.database = error);
    }

    /// How it goes now.
    pub fn health(&self) -> Health {
        let mut state = State::default();
        self.change(|current| state = current.clone());
        let is_well = state.config_errors.is_empty() && state.database.is_none();
        let is_well = is_well && state.pipelines.values().all(|one| one.errors.is_empty());
        Health {
            status: if is_well { "ok" } else { "degraded" },
            config_errors: state.config_errors,
            database: state.database,
            pipelines: state.pipelines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_says_what_is_wrong_until_it_is_mended() {
        let status = Status::default();
        status.configured(["a", "b"].into_iter(), vec![]);
        assert_eq!(status.health().status, "ok");
        status.failed("a", "anomaly", "no connection".into());
        status.succeeded("a", "forecast", Timestamp::from_seconds(0));
        assert_eq!(status.health().status, "degraded");
        assert_eq!(status.health().pipelines["a"].errors["anomaly"], "no connection");
        status.succeeded("a", "anomaly", Timestamp::from_seconds(0));
        assert_eq!(status.health().status, "ok");
        status.configured(["b"].into_iter(), vec!["a.yaml: wrong".into()]);
        assert_eq!(status.health().status, "degraded");
        assert_eq!(status.health().pipelines.len(), 1);
    }
}
