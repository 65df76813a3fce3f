//! What the model is, and what it sees beside the series themselves.

use models::{BuildError, Endpoint, Format, Judging, ModelSpec, Resources, panel, registry};

use super::Covariate;
use super::Mode;
use super::check::{query, url};
use super::raw::{ModelType, RawModel, RawPipeline, RawTechnique, SerializationFormat, SeriesType};
use super::read::{At, Field, Reader};

/// The name of a remote model that is given none.
const REMOTE: &str = "remote";

/// The model, whether all series are one input of it, and what else it sees.
pub(super) struct Inputs {
    pub(super) model: ModelSpec,
    pub(super) together: bool,
    pub(super) covariates: Vec<Covariate>,
}

pub(super) fn inputs(raw: &RawPipeline, reader: &mut Reader) -> Option<Inputs> {
    let covariates = covariates(raw, reader);
    let (model, takes_joint) = model(&raw.model.as_ref()?.value, default(raw), reader)?;
    let (kind, covariates) = (raw.series_type.as_ref()?, covariates?);
    let together = kind.value == SeriesType::Multivariate;
    let judging = judging(raw, &model, reader)?;
    let takes_joint = takes_joint || (covariates.is_empty() && matches!(judging, Judging::Panel(_)));
    if (together || !covariates.is_empty()) && !takes_joint {
        let message =
            format!("model {} forecasts each series from its own past alone; write another, or univariate", model.id);
        return reader.refuse_at(kind, message);
    }
    Some(Inputs { model, together, covariates })
}

/// What judges the points: the technique may say it, where the model doesn't.
fn judging(raw: &RawPipeline, model: &ModelSpec, reader: &mut Reader) -> Option<Judging> {
    let judging = model.judging();
    let technique = raw.anomaly.as_ref()?.value.technique.as_ref()?;
    match (technique.value == RawTechnique::IsolationForest, &judging) {
        (true, Judging::Forecasts) => Some(Judging::Panel(panel::Detector::forest())),
        (true, Judging::Panel(panel::Detector::Forest(_))) | (false, _) => Some(judging),
        (true, _) => reader.refuse_at(
            technique,
            format!("model {} judges points itself, and not by a forest; leave one of the two out", model.id),
        ),
    }
}

/// The local model of a pipeline that names none: a forecaster where forecasts are what is asked for, since a detector has no
/// settings to train, no multiples of a deviation, and looks at one series at a time.
fn default(raw: &RawPipeline) -> &'static str {
    let is_trained = raw.training.as_ref().and_then(|at| at.value.enabled.as_ref()).is_some_and(|at| at.value);
    let technique = raw.anomaly.as_ref().and_then(|at| at.value.technique.as_ref());
    let has_band = technique.is_some_and(|at| matches!(at.value, RawTechnique::ZScore | RawTechnique::Iqr));
    let has_forest = technique.is_some_and(|at| at.value == RawTechnique::IsolationForest);
    let only_forecasts = raw.mode.as_ref().is_some_and(|at| at.value == Mode::ForecastOnly);
    // Parameters without a model are those of a forecaster, as pipelines had them before there was a detector.
    let has_parameters =
        raw.model.as_ref().and_then(|at| at.value.parameters.as_ref()).is_some_and(|at| !at.value.is_empty());
    if is_trained || has_band || only_forecasts {
        registry::FORECASTER
    } else if has_forest {
        registry::FOREST
    } else if has_parameters {
        registry::FORECASTER
    } else {
        registry::DEFAULT
    }
}

fn model(raw: &RawModel, default: &'static str, reader: &mut Reader) -> Option<(ModelSpec, bool)> {
    let (kind, parameters) = (raw.kind.as_ref()?, raw.parameters.as_ref()?);
    let endpoint = match kind.value {
        ModelType::Local => local(raw, reader)?,
        ModelType::Remote => Some(remote(raw, kind, reader)?),
    };
    let default = if endpoint.is_some() { REMOTE } else { default };
    let id = raw.id.as_ref().map_or(default, |at| &at.value).to_owned();
    let spec = ModelSpec { id, endpoint, parameters: parameters.value.clone() };
    // The registry repeats what it was given, however long that is.
    let cut = |error: &BuildError| error.to_string().chars().take(400).collect::<String>();
    match registry::build(&spec, &Resources::default()) {
        Ok(model) => Some((spec, model.takes_joint())),
        Err(error @ BuildError::Parameter { .. }) => reader.refuse_at(parameters, cut(&error)),
        // The model that none names is always there, so an id was written.
        Err(error) => reader.refuse_at(raw.id.as_ref()?, cut(&error)),
    }
}

/// A local model has no endpoint.
fn local(raw: &RawModel, reader: &mut Reader) -> Option<Option<Endpoint>> {
    match &raw.endpoint {
        Some(at) => reader.refuse_at(at, "a local model has no endpoint; write `type: remote` to ask it there"),
        None => Some(None),
    }
}

fn remote(raw: &RawModel, kind: &At<ModelType>, reader: &mut Reader) -> Option<Endpoint> {
    if raw.endpoint.is_none() {
        return reader.refuse_at(kind, "a remote model needs an `endpoint`, such as http://localhost:8000/predict");
    }
    let url = url(&raw.endpoint, reader)??;
    let format = match raw.serialization_format.as_ref()?.value {
        SerializationFormat::Json => Format::Json,
        SerializationFormat::Arrow => Format::Arrow,
    };
    Some(Endpoint { url, format })
}

fn covariates(raw: &RawPipeline, reader: &mut Reader) -> Option<Vec<Covariate>> {
    let (kind, list) = (raw.series_type.as_ref()?, raw.covariates.as_ref()?);
    match (kind.value, list.value.is_empty()) {
        (SeriesType::Covariate, true) => return reader.refuse_at(kind, "`covariate` needs `covariates`"),
        (SeriesType::Univariate, false) => {
            return reader.refuse_at(list, "covariates need `series_type: covariate`, or multivariate");
        }
        _ => {}
    }
    let mut names: Vec<&str> = vec![];
    let mut found = vec![];
    for raw in &list.value {
        let name = covariate_name(&raw.name, &names, reader)?;
        names.push(name);
        let (query, future) = (query(&raw.query, reader)?, raw.future.as_ref()?.value);
        found.push(Covariate { name: name.to_owned(), query, future });
    }
    Some(found)
}

fn covariate_name<'a>(field: &'a Field<String>, known: &[&str], reader: &mut Reader) -> Option<&'a str> {
    let at = field.as_ref()?;
    if at.value.trim().is_empty() {
        return reader.refuse_at(at, "found an empty text; expected a name");
    }
    if known.contains(&at.value.as_str()) {
        return reader.refuse_at(at, format!("there are two covariates `{}`", at.value));
    }
    Some(&at.value)
}
