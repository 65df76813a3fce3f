//! When and on what the model is trained.

use std::time::Duration;

use jiff::tz::TimeZone;
use models::{ModelSpec, tuning};
use serde_json::{Map, Value as Json};

use super::check::{schedule, url};
use super::document::{Node, Value};
use super::raw::{RawPipeline, RawTraining};
use super::read::{At, Field, Read, Reader};
use crate::schedule::Schedule;

/// When and on what the model of a pipeline is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// When it is trained.
    pub schedule: Schedule,
    /// How much history it is trained and evaluated on.
    pub window: Duration,
    /// The URL of the trainer of a remote model; none for a local one, which is trained here.
    pub endpoint: Option<String>,
    /// What the trainer of a remote model is told.
    pub parameters: Map<String, Json>,
}

/// Moves the flat fields to where they belong: into the block, or where there is none into one that is switched off
/// unless they switch it on.
pub(super) fn flat(raw: &mut RawPipeline, reader: &mut Reader) {
    let is_flat = raw.training_enabled.is_some() || raw.training_schedule.is_some() || raw.training_window.is_some();
    if raw.training.is_none() && is_flat {
        let nothing = Node { value: Value::Map(vec![]), place: Default::default() };
        let mut block = RawTraining::read(&nothing, reader).expect("every field has a default");
        if let Some(enabled) = &mut block.enabled {
            enabled.value = false;
        }
        let (place, field) = (Default::default(), String::new());
        raw.training = Some(At { value: block, place, field, written: false });
    }
    if let Some(training) = raw.training.as_mut().map(|training| &mut training.value) {
        super::check::replace(&mut training.enabled, raw.training_enabled.clone(), reader);
        super::check::replace(&mut training.schedule, raw.training_schedule.clone(), reader);
        super::check::replace(&mut training.window, raw.training_window.clone(), reader);
    }
}

/// `None` is a wrong one, `Some(None)` one that isn't there or is switched off, which is checked all the same.
pub(super) fn training(raw: &RawPipeline, zone: &TimeZone, reader: &mut Reader) -> Option<Option<Training>> {
    let Some(raw) = &raw.training else { return Some(None) };
    let raw = &raw.value;
    let schedule = schedule(&raw.schedule, zone, reader);
    let endpoint = url(&raw.endpoint, reader);
    let window = raw.window.as_ref()?;
    if window.value.0.is_zero() {
        return reader.refuse_at(window, "found 0s; expected a duration such as 30d");
    }
    let (schedule, endpoint) = (schedule?, endpoint?);
    if !raw.enabled.as_ref()?.value {
        return Some(None);
    }
    let parameters = raw.parameters.as_ref()?.value.clone();
    Some(Some(Training { schedule, window: window.value.0, endpoint, parameters }))
}

/// Whether the training and the model that is trained fit each other; else what is wrong is reported.
pub(super) fn fits(raw: &RawPipeline, model: &ModelSpec, reader: &mut Reader) -> Option<()> {
    let Some(raw) = &raw.training else { return Some(()) };
    let raw = &raw.value;
    let enabled = raw.enabled.as_ref()?;
    if !enabled.value {
        return Some(());
    }
    let (endpoint, parameters) = (&raw.endpoint, &raw.parameters);
    match (&model.endpoint, endpoint) {
        (Some(_), Some(_)) => Some(()),
        (Some(_), None) => {
            reader.refuse_at(enabled, "a remote model needs `training.endpoint`, the URL of its trainer")
        }
        (None, Some(at)) => reader.refuse_at(at, "a local model is trained here; leave the endpoint out"),
        (None, None) => local(model, enabled, parameters, reader),
    }
}

fn local(
    model: &ModelSpec,
    enabled: &At<bool>,
    parameters: &Field<Map<String, Json>>,
    reader: &mut Reader,
) -> Option<()> {
    if !tuning::is_tunable(model) {
        let id = &model.id;
        return reader.refuse_at(enabled, format!("model {id} has no setting to train; write `enabled: false`"));
    }
    match parameters {
        Some(at) if !at.value.is_empty() => {
            reader.refuse_at(at, "the training of a local model takes no parameters; leave them out")
        }
        _ => Some(()),
    }
}
