//! The model that is used where none is named: points are judged by the ensemble of [`crate::detect`], and what is
//! forecast for people to look at comes from a classical model.

use serde::Deserialize;
use serde_json::Map;

use crate::entry::{BuildError, Built, Entry, Parameter, parse};
use crate::registry;
use crate::resources::Resources;
use crate::spec::ModelSpec;

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "auto",
    aliases: &["ensemble"],
    summary: "an ensemble of online detectors judges each point; forecasts come from another model",
    parameters: &[Parameter {
        name: "forecaster",
        default: "mstl",
        meaning: "the model that forecasts are written of: an id, with its own defaults",
    }],
    build,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    forecaster: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { forecaster: "mstl".into() }
    }
}

fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    let Parameters { forecaster } = parse(&ENTRY, &spec.parameters)?;
    let wrong = |message: String| BuildError::Parameter {
        model: ENTRY.id.into(),
        parameter: Some("forecaster".into()),
        message,
        allowed: String::new(),
    };
    if forecaster == ENTRY.id || ENTRY.aliases.contains(&forecaster.as_str()) {
        return Err(wrong(format!("{forecaster} can't be its own forecaster")));
    }
    registry::build(&ModelSpec::local(forecaster, Map::new()), resources).map_err(|error| wrong(error.to_string()))
}
