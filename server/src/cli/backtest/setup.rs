//! With what history is replayed: a pipeline that is written somewhere, or a model and settings given by flags.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::pipeline::duration::Show;
use engine::pipeline::{Pipeline, Technique};
use models::{Forecaster, ModelSpec, Resources};
use tsdb::Step;

use super::input::{How, Input};
use crate::cli::CliError;
use crate::cli::model::ModelArgs;
use crate::cli::pipelines::load;
use crate::cli::settings::JudgeArgs;

/// The step of a server's answer where nobody says: five minutes.
const DEFAULT_STEP: Step = match Step::from_millis(300_000) {
    Some(step) => step,
    None => unreachable!(),
};

/// The share of points that the band holds where nobody says: as in a pipeline.
const CONFIDENCE: f64 = 0.95;

/// With what history is replayed.
pub(crate) struct Setup {
    /// What it is called.
    pub(crate) name: String,
    /// The settings.
    base: Base,
    /// The model.
    pub(crate) model: Arc<dyn Forecaster>,
}

/// Where the settings come from.
enum Base {
    /// A pipeline, at its own step.
    Pipeline(Box<Pipeline>),
    /// Settings for whatever step an input has.
    Settings { judge: Box<JudgeArgs>, spec: ModelSpec, scale: f64 },
}

/// A model that is ready to forecast.
fn ready(spec: &ModelSpec) -> Result<Arc<dyn Forecaster>, CliError> {
    let model = models::build(spec, &Resources::default())?;
    model.prepare()?;
    Ok(model)
}

impl Setup {
    /// A model and settings that are given by flags.
    ///
    /// # Errors
    /// The model is unknown, doesn't take its parameters, or can't be had.
    pub(crate) fn of_flags(model: &ModelArgs, judge: &JudgeArgs) -> Result<Self, CliError> {
        let spec = ModelSpec::local(model.model.as_deref().unwrap_or(models::DEFAULT), model.parameters()?);
        Self::of_spec(spec, judge, 1.0)
    }

    /// The model of `spec`, whose bands are widened by `scale`.
    ///
    /// # Errors
    /// The model is unknown, doesn't take its parameters, or can't be had.
    pub(crate) fn of_spec(spec: ModelSpec, judge: &JudgeArgs, scale: f64) -> Result<Self, CliError> {
        let (model, judge) = (ready(&spec)?, Box::new(judge.clone()));
        Ok(Self { name: spec.id.clone(), base: Base::Settings { judge, spec, scale }, model })
    }

    /// The pipelines that `written` names, each as `FILE` or `FILE#NAME`. They are called by their names, or as they are
    /// written where two have the same.
    ///
    /// # Errors
    /// A file is wrong, or has not one pipeline of that name.
    pub(crate) fn of_files(written: &[String]) -> Result<Vec<Self>, CliError> {
        let pipelines = written.iter().map(|text| pipeline(text)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        let are_unique = pipelines.iter().all(|pipeline| seen.insert(pipeline.name.clone()));
        let setup = |(pipeline, text): (Pipeline, &String)| {
            let name = if are_unique { pipeline.name.clone() } else { text.clone() };
            Ok(Self { name, model: ready(&pipeline.model)?, base: Base::Pipeline(Box::new(pipeline)) })
        };
        pipelines.into_iter().zip(written).map(setup).collect()
    }

    /// The pipeline for series of `step`.
    pub(crate) fn pipeline(&self, step: Step) -> Pipeline {
        match &self.base {
            Base::Pipeline(pipeline) => at_step(pipeline, step),
            Base::Settings { judge, spec, scale } => {
                let mut pipeline = judge.pipeline(step, CONFIDENCE);
                pipeline.name = "query".into();
                pipeline.mode = engine::pipeline::Mode::AnomalyOnly;
                pipeline.model = spec.clone();
                (pipeline.anomaly.scale.below, pipeline.anomaly.scale.above) = (*scale, *scale);
                pipeline
            }
        }
    }

    /// The pipeline that `input` is read for; `None` where a file's own step decides.
    ///
    /// # Errors
    /// Nobody says what a server is asked.
    pub(crate) fn pipeline_of(&self, input: &Input, how: &How) -> Result<Option<Pipeline>, CliError> {
        match self.written() {
            Some(pipeline) => Ok(Some(pipeline.clone())),
            None if !input.is_server() => Ok(None),
            None if how.query.is_none() => Err(CliError::Usage("a server needs a --query or a --pipeline".into())),
            None => Ok(Some(self.pipeline(how.step.unwrap_or(DEFAULT_STEP)))),
        }
    }

    /// The pipeline, where it is one that is written somewhere.
    pub(crate) fn written(&self) -> Option<&Pipeline> {
        match &self.base {
            Base::Pipeline(pipeline) => Some(pipeline),
            Base::Settings { .. } => None,
        }
    }

    /// Where its scores go within `folder`: into a folder of its own where there are other setups.
    pub(crate) fn scores(&self, folder: &Path, is_many: bool) -> PathBuf {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let own = || self.name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>();
        if is_many { folder.join(own()) } else { folder.to_owned() }
    }

    /// What a reader needs to do the same again.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings: Vec<(&str, String)> = vec![];
        let mut model = |spec: &ModelSpec| {
            settings.push(("model", spec.id.clone()));
            settings.extend(spec.parameters.iter().map(|(name, value)| ("parameter", format!("{name}={value}"))));
        };
        match &self.base {
            Base::Pipeline(pipeline) => {
                model(&pipeline.model);
                let length = |points| Show(pipeline.step.times(points)).to_string();
                settings.push(("query", pipeline.query.clone()));
                settings.push(("step", Show(pipeline.step.duration()).to_string()));
                settings.push(("context", length(pipeline.context_points)));
                settings.push(("horizon", length(pipeline.horizon_points)));
                if let Technique::ConfidenceInterval { confidence_level } = pipeline.anomaly.technique {
                    settings.push(("confidence", confidence_level.to_string()));
                }
            }
            Base::Settings { judge, spec, scale } => {
                model(spec);
                let span = |span: Option<crate::cli::source::Span>, usual: &str| {
                    span.map_or_else(|| usual.to_owned(), |span| span.to_string())
                };
                settings.push(("context", span(judge.context, "up to two weeks")));
                settings.push(("horizon", span(judge.horizon, "about an hour")));
                settings.push(("confidence", judge.confidence.unwrap_or(CONFIDENCE).to_string()));
                settings.push(("direction", judge.direction.to_string()));
                if (scale - 1.0).abs() > f64::EPSILON {
                    settings.push(("scale", scale.to_string()));
                }
            }
        }
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The pipeline that `FILE` or `FILE#NAME` says.
fn pipeline(text: &str) -> Result<Pipeline, CliError> {
    let (file, name) = text.rsplit_once('#').map_or((text, None), |(file, name)| (file, Some(name)));
    let loaded = load(&[PathBuf::from(file)])?;
    if !loaded.errors.is_empty() {
        return Err(CliError::Invalid(loaded.errors.join("\n")));
    }
    let names: Vec<String> = loaded.pipelines.iter().map(|(_, pipeline)| pipeline.name.clone()).collect();
    let is_meant = |pipeline: &Pipeline| name.is_none_or(|name| pipeline.name == name);
    let mut meant = loaded.pipelines.into_iter().map(|(_, pipeline)| pipeline).filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(pipeline), None) => Ok(pipeline),
        (found, _) => {
            let what = if found.is_some() { "holds several pipelines" } else { "holds no such pipeline" };
            let why = format!("{what}; there are {}. Write FILE#NAME", names.join(", "));
            Err(CliError::Usage(format!("{text}: {why}")))
        }
    }
}

/// The same pipeline for another step: what it says in points stays as long in time.
fn at_step(pipeline: &Pipeline, step: Step) -> Pipeline {
    let points = |points: usize, least: usize| step.count(pipeline.step.times(points)).max(least);
    let (context_points, horizon_points) = match pipeline.step == step {
        true => (pipeline.context_points, pipeline.horizon_points),
        false => (points(pipeline.context_points, 2), points(pipeline.horizon_points, 1)),
    };
    Pipeline { step, context_points, horizon_points, ..pipeline.clone() }
}
