//! The model that is used where nobody names one: the best that can be had here.

use std::sync::Arc;

use models::{Forecaster, ModelSpec, Resources};
use serde_json::Map;

/// The first choice: a foundation model that comes with the program, but needs ONNX Runtime.
pub const FIRST: &str = "nano";

/// What takes its place where that can't be had.
pub const SECOND: &str = models::registry::DEFAULT;

/// The first choice, ready to forecast; where it can't be had, the second, and `tell` hears why.
pub fn choose(resources: &Resources, tell: impl FnOnce(String)) -> (ModelSpec, Arc<dyn Forecaster>) {
    let model = |id: &str| {
        let spec = ModelSpec::local(id, Map::new());
        let model = models::build(&spec, resources).expect("the registry has it, and its defaults are right");
        (spec, model)
    };
    let (first, forecaster) = model(FIRST);
    if let Err(error) = forecaster.prepare() {
        tell(format!("{SECOND} is used in place of {FIRST}: {error}"));
        return model(SECOND);
    }
    (first, forecaster)
}
