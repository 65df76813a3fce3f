//! How many series a second one thread forecasts with an ONNX graph: `graph_rate FOLDER MODEL FILE HORIZON ROUNDS`, the
//! model `MODEL` of the models folder `FOLDER`, the contexts as the lines of `FILE`, numbers with spaces between.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use benches::{Cost, argument};
use models::onnx::Settings;
use models::{Forecaster, Levels, ModelSpec, Request, Resources};

/// Whatever went wrong.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let (folder, id): (PathBuf, String) = (argument(1, "FOLDER"), argument(2, "MODEL"));
    let (file, horizon): (PathBuf, usize) = (argument(3, "FILE"), argument(4, "HORIZON"));
    let rounds: usize = argument(5, "ROUNDS");
    let settings = Settings { folder: Some(folder), sessions: Some(1), ..Settings::default() };
    let model = models::build(&ModelSpec::local(id, serde_json::Map::new()), &Resources::new(settings))?;
    model.prepare()?;
    let text = std::fs::read_to_string(file)?;
    let contexts: Vec<Vec<f64>> = text.lines().map(numbers).collect::<Result<_, _>>()?;
    let contexts: Vec<&[f64]> = contexts.iter().map(Vec::as_slice).collect();
    let core = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    core.install(|| one(&model, &contexts, horizon))?;
    let rates: Result<Vec<f64>, Failure> =
        (0..rounds).map(|_| core.install(|| one(&model, &contexts, horizon))).collect();
    let best = rates?.into_iter().fold(0.0, f64::max);
    writeln!(std::io::stdout(), r#"{{"series_a_second": {best:.2}}}"#)?;
    Ok(())
}

fn numbers(line: &str) -> Result<Vec<f64>, std::num::ParseFloatError> {
    line.split_ascii_whitespace().map(str::parse).collect()
}

/// Series a second of CPU time, for one call with all of them.
fn one(model: &Arc<dyn Forecaster>, contexts: &[&[f64]], horizon: usize) -> Result<f64, Failure> {
    let levels = Levels::new(vec![0.1, 0.5, 0.9])?;
    let cost = Cost::begin();
    model.forecast(&Request::new(contexts, 1_700_000_000_000, Duration::from_secs(300), horizon, &levels))?;
    Ok(contexts.len() as f64 / cost.seconds().1)
}
