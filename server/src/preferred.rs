//! The model that is used where nobody names one: the best that can be had here.

use std::sync::Arc;

use models::onnx::{Settings, runtime};
use models::{Forecaster, ModelSpec, Resources};
use serde_json::Map;

use crate::cli::models::runtime::fetch_shown;

/// The first choice: a foundation model that comes with the program, but needs ONNX Runtime.
pub const FIRST: &str = "nano";

/// What takes its place where that can't be had.
pub const SECOND: &str = models::registry::FORECASTER;

/// The first choice, ready to forecast; where it can't be had, the second, and `tell` hears why.
pub fn choose(resources: &Resources, tell: impl FnOnce(String)) -> (ModelSpec, Arc<dyn Forecaster>) {
    let model = |id: &str| {
        let spec = ModelSpec::local(id, Map::new());
        let model = models::build(&spec, resources).expect("the registry has it, and its defaults are right");
        (spec, model)
    };
    let (first, forecaster) = model(FIRST);
    if let Err(error) = ready(&*forecaster, resources.onnx.settings()) {
        tell(format!("{SECOND} is used in place of {FIRST}: {error}"));
        return model(SECOND);
    }
    (first, forecaster)
}

/// Makes the model ready; what has to be fetched for it is, where people see how far that has come.
fn ready(model: &dyn Forecaster, settings: &Settings) -> Result<(), String> {
    if runtime::must_be_fetched(settings) {
        fetch_shown().map_err(|error| format!("ONNX Runtime can't be fetched: {error}"))?;
    }
    model.prepare().map_err(|error| error.to_string())
}
