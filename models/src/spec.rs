//! Which model is wanted: by its id here, or behind a URL, and what it is told.

use serde_json::{Map, Value};

use crate::{auto, panel, registry};

/// A model by its id, where it runs, and what it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSpec {
    /// The id in [`crate::registry`], the hub id of a model in the models folder, or the name of a remote model.
    pub id: String,
    /// Where it runs, if not in this program.
    pub endpoint: Option<Endpoint>,
    /// The model's own parameters.
    pub parameters: Map<String, Value>,
}

impl ModelSpec {
    /// The model `id` in this program, with `parameters`.
    pub fn local(id: impl Into<String>, parameters: Map<String, Value>) -> Self {
        Self { id: id.into(), endpoint: None, parameters }
    }

    /// What judges the points of a pipeline with this model.
    pub fn judging(&self) -> Judging {
        let entry = registry::entry(&self.id).filter(|_| self.endpoint.is_none());
        match panel::Detector::of(self) {
            Some(detector) => Judging::Panel(detector),
            None if entry.is_some_and(|entry| entry.id == auto::ENTRY.id) => Judging::Ensemble,
            None => Judging::Forecasts,
        }
    }
}

/// What judges points.
#[derive(Clone, Debug, PartialEq)]
pub enum Judging {
    /// The forecasts of the model: a point is as odd as it is far from them.
    Forecasts,
    /// A [`Detector`](crate::detect::Detector) for each series, which learns online.
    Ensemble,
    /// A detector that looks at several series at once.
    Panel(panel::Detector),
}

/// Where a remote model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL that requests are sent to.
    pub url: String,
    /// How they are encoded, where the protocol leaves that open.
    pub format: Format,
}

/// How requests to a remote model are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON, a request for each series.
    #[default]
    Json,
    /// An Arrow IPC file with many series.
    Arrow,
}
