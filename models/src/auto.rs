//! The model that is used where none is named: points are judged by the ensemble of [`crate::detect`], and what is
//! forecast for people to look at comes from a classical model.

use serde::Deserialize;
use serde_json::Map;

use crate::entry::{Built, Entry, Parameter, parse, wrong};
use crate::registry;
use crate::resources::Resources;
use crate::spec::{Judging, ModelSpec};

/// The model's line in the registry.
pub(crate) const ENTRY: Entry = Entry {
    id: "auto",
    aliases: &["ensemble"],
    summary: "an ensemble of online detectors judges each point; forecasts come from another model",
    parameters: &[FORECASTER],
    build,
};

/// The parameter of a model that judges points itself.
pub(crate) const FORECASTER: Parameter = Parameter {
    name: "forecaster",
    default: "mstl",
    meaning: "the model that forecasts are written of: an id, with its own defaults",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    forecaster: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { forecaster: FORECASTER.default.into() }
    }
}

fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    let Parameters { forecaster: id } = parse(&ENTRY, &spec.parameters)?;
    forecaster(&ENTRY, id, resources)
}

/// The model `id`, which the one of `entry` has for its forecasts.
pub(crate) fn forecaster(entry: &Entry, id: String, resources: &Resources) -> Built {
    let spec = ModelSpec::local(id, Map::new());
    if spec.judging() != Judging::Forecasts {
        return Err(wrong(entry, FORECASTER.name, format!("{} makes no forecasts of its own", spec.id)));
    }
    registry::build(&spec, resources).map_err(|error| wrong(entry, FORECASTER.name, error.to_string()))
}
