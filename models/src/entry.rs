//! What a model tells the registry, and how it is made from its parameters.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::forecaster::Forecaster;
use crate::resources::Resources;
use crate::spec::ModelSpec;
use crate::univariate::{PerSeries, Univariate};

/// A model, or why there is none.
pub type Built = Result<Arc<dyn Forecaster>, BuildError>;

/// A model that can be built by its id.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What a pipeline names it by.
    pub id: &'static str,
    /// Other names under which it is accepted.
    pub aliases: &'static [&'static str],
    /// What it does, in a line.
    pub summary: &'static str,
    /// What can be set.
    pub parameters: &'static [Parameter],
    /// Makes one from its parameters. Nothing is read or loaded before it is asked for a forecast or to prepare.
    pub build: fn(&ModelSpec, &Resources) -> Built,
}

/// A parameter of a model, for a person to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
    /// What it does, and in which units.
    pub meaning: &'static str,
}

/// Why a model can't be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No model has this id.
    #[error("there is no model {found:?}{}; known are {known}", did_you_mean(nearest.as_deref()))]
    UnknownModel {
        /// The id that was asked for.
        found: String,
        /// The id or alias that it may be a misspelling of.
        nearest: Option<String>,
        /// Every id, separated by commas.
        known: String,
    },
    /// A parameter is unknown or has a value that it can't have.
    #[error("model {model}: {}", parameter_fault(parameter.as_deref(), message, allowed))]
    Parameter {
        /// The model's id.
        model: Box<str>,
        /// The parameter's key, where it is a known one.
        parameter: Option<String>,
        /// What was found and what was expected.
        message: String,
        /// Every parameter of the model, separated by commas.
        allowed: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean {name:?}?")).unwrap_or_default()
}

/// A wrong value says what it should be by itself; for an unknown parameter, all of them are listed.
fn parameter_fault(parameter: Option<&str>, message: &str, allowed: &str) -> String {
    match parameter {
        Some(key) => format!("parameter {key}: {message}"),
        None => format!("{message}; allowed are {allowed}"),
    }
}

/// Builds a model that looks at one series at a time from the parameters `P` that it deserialises.
pub(crate) fn per_series<P: DeserializeOwned, M: Univariate + 'static>(
    entry: &Entry,
    parameters: &Map<String, Value>,
    model: impl FnOnce(P) -> M,
) -> Built {
    let parameters = parse(entry, parameters)?;
    Ok(Arc::new(PerSeries { id: entry.id, model: model(parameters) }))
}

pub(crate) fn parse<P: DeserializeOwned>(entry: &Entry, parameters: &Map<String, Value>) -> Result<P, BuildError> {
    serde_path_to_error::deserialize(Value::Object(parameters.clone())).map_err(|error| {
        let path = error.path().to_string();
        BuildError::Parameter {
            model: entry.id.into(),
            parameter: entry.parameters.iter().any(|known| path.starts_with(known.name)).then_some(path),
            message: error.into_inner().to_string(),
            allowed: allowed(entry),
        }
    })
}

/// The error of a parameter of `entry` whose value it can't have.
pub(crate) fn wrong(entry: &Entry, parameter: &str, message: String) -> BuildError {
    BuildError::Parameter {
        model: entry.id.into(),
        parameter: Some(parameter.to_owned()),
        message,
        allowed: String::new(),
    }
}

fn allowed(entry: &Entry) -> String {
    if entry.parameters.is_empty() { "none".to_owned() } else { join(entry.parameters.iter().map(|known| known.name)) }
}

/// The names, separated by commas.
pub(crate) fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
