//! Every model by its id. A new one is one file and one line in [`MODELS`].

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::forecaster::Forecaster;
use crate::univariate::{PerSeries, Univariate};
use crate::{ets, holt_winters, mad, mstl, quantile, rolling_quantile, seasonal_naive, seasonal_std, zscore};

/// All models, the ones to try first at the top.
pub const MODELS: &[Entry] = &[
    mstl::ENTRY,
    holt_winters::ENTRY,
    seasonal_naive::ENTRY,
    seasonal_std::ENTRY,
    quantile::ENTRY,
    mad::ENTRY,
    zscore::ENTRY,
    rolling_quantile::ENTRY,
    ets::ENTRY,
];

/// The id of the model that is used where none is named.
pub const DEFAULT: &str = "mstl";

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
    /// Makes one from its parameters.
    pub build: fn(&Map<String, Value>) -> Built,
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
    #[error("model {model}: {}{message}; allowed are {allowed}", parameter.as_ref().map(|key| format!("parameter {key}: ")).unwrap_or_default())]
    Parameter {
        /// The model's id.
        model: &'static str,
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

/// Builds the model `id` (or an alias of it) with `parameters`.
///
/// # Errors
/// No model has this id, or it has no such parameter, or not with that value.
pub fn build(id: &str, parameters: &Map<String, Value>) -> Built {
    let entry = entry(id).ok_or_else(|| BuildError::UnknownModel {
        found: id.to_owned(),
        nearest: nearest(id),
        known: join(MODELS.iter().map(|entry| entry.id)),
    })?;
    (entry.build)(parameters)
}

/// The model `id`, which may be an alias.
pub fn entry(id: &str) -> Option<&'static Entry> {
    MODELS.iter().find(|entry| entry.id == id || entry.aliases.contains(&id))
}

fn nearest(id: &str) -> Option<String> {
    let names = MODELS.iter().flat_map(|entry| std::iter::once(&entry.id).chain(entry.aliases));
    let likeness = |name: &str| strsim::jaro_winkler(&id.to_lowercase(), name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then(|| (*best).to_owned())
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Builds a model that looks at one series at a time from the parameters `P` that it deserialises.
pub(crate) fn per_series<P: DeserializeOwned, M: Univariate + 'static>(
    entry: &Entry,
    parameters: &Map<String, Value>,
    model: impl FnOnce(P) -> M,
) -> Built {
    let parameters = parse(entry, parameters)?;
    Ok(Arc::new(PerSeries(model(parameters))))
}

fn parse<P: DeserializeOwned>(entry: &Entry, parameters: &Map<String, Value>) -> Result<P, BuildError> {
    serde_path_to_error::deserialize(Value::Object(parameters.clone())).map_err(|error| {
        let path = error.path().to_string();
        BuildError::Parameter {
            model: entry.id,
            parameter: entry.parameters.iter().any(|known| path.starts_with(known.name)).then_some(path),
            message: error.into_inner().to_string(),
            allowed: allowed(entry),
        }
    })
}

fn allowed(entry: &Entry) -> String {
    if entry.parameters.is_empty() { "none".to_owned() } else { join(entry.parameters.iter().map(|known| known.name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(id: &str, parameters: &str, expected: &[&str]) {
        let parameters = serde_json::from_str(parameters).unwrap();
        let Err(error) = build(id, &parameters) else { panic!("{id} {parameters:?} was built") };
        let error = error.to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn wrong_ids_and_parameters_are_named() {
        check_error("seasonal-naive", "{}", &["seasonal-naive", "did you mean \"seasonal_naive\"", "zscore"]);
        check_error("zcore_online", "{}", &["did you mean \"zscore_online\""]);
        check_error("xyz", "{}", &["no model \"xyz\"; known are"]);
        check_error("seasonal_naive", r#"{"seson": 3}"#, &["model seasonal_naive", "seson", "allowed are season"]);
        check_error("seasonal_naive", r#"{"season": 0}"#, &["parameter season", "0 is neither", "\"auto\""]);
        check_error("seasonal_naive", r#"{"season": "soon"}"#, &["parameter season", "soon"]);
        check_error("seasonal_naive", r#"{"season": ["1d", -4]}"#, &["parameter season", "-4"]);
        check_error("zscore", r#"{"seasonal_interval": "-1d"}"#, &["parameter seasonal_interval", "-1d"]);
        check_error("zscore", r#"{"seasonal_interval": true}"#, &["parameter seasonal_interval", "true"]);
    }

    #[test]
    fn names_are_unique_and_defaults_build() {
        let mut names: Vec<_> = MODELS.iter().flat_map(|entry| entry.aliases.iter().chain([&entry.id])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(build(name, &Map::new()).is_ok(), "{name}");
        }
        assert!(entry(DEFAULT).is_some());
    }

    #[test]
    fn good_parameters_build() {
        for parameters in [r#"{"season": "1d"}"#, r#"{"season": ["1d", "1w", 7]}"#, r#"{"season": "none"}"#] {
            assert!(build("seasonal_naive", &serde_json::from_str(parameters).unwrap()).is_ok(), "{parameters}");
        }
    }
}
