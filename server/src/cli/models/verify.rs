//! `models verify`

use std::f64::consts::TAU;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use models::onnx::library::full_id;
use models::onnx::{Settings, runtime};
use models::{ForecastError, Levels, MODELS, ModelSpec, Request, Resources};
use serde_json::Map;

use super::{CliError, Shelf, Terminal};
use crate::render::format::{Ink, number};

/// Checks models: their files against the manifest, by hash, and whether they forecast.
///
/// Exits with 1 where one is not good.
#[derive(clap::Args, Debug)]
pub(super) struct VerifyArgs {
    /// A model [default: all in the models folder].
    #[arg(value_name = "ID")]
    id: Option<String>,
}

/// The known series: a wave of 24 points.
const CYCLE: usize = 24;
const CYCLES: usize = 20;
const LEVEL: f64 = 100.0;
const AMPLITUDE: f64 = 10.0;

pub(super) fn verify(args: &VerifyArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let ids = match &args.id {
        Some(id) => vec![full_id(id).to_owned()],
        None => shelf.library.list()?.into_iter().map(|(id, _)| id).collect(),
    };
    if ids.is_empty() {
        writeln!(terminal.out, "no models in {}", shelf.library.folder().display())?;
    }
    let mut bad = 0_u8;
    for id in &ids {
        let paint = terminal.paint;
        match verify_one(id, shelf) {
            Ok(found) => writeln!(terminal.out, "{id}: {found}")?,
            Err(CliError::Usage(message)) => return Err(CliError::Usage(message)),
            Err(error) => {
                bad = 1;
                writeln!(terminal.out, "{id}: {} {error}", paint.ink(Ink::Alarm, "not good:"))?;
            }
        }
    }
    Ok(ExitCode::from(bad))
}

fn verify_one(id: &str, shelf: &Shelf) -> Result<String, CliError> {
    let built_in = MODELS.iter().any(|entry| entry.id == id || entry.aliases.contains(&id));
    if !built_in {
        shelf.library.verify(id)?;
    }
    // Nothing is fetched to verify what is there.
    let settings = Settings { fetch: false, ..shelf.settings.clone() };
    if !built_in && runtime::find(&settings).is_none() {
        return Ok("files are good; not tried, as ONNX Runtime is not installed \
                   (`openanomaly models runtime install`)"
            .into());
    }
    let error = forecast_wave(id, &Resources::new(settings))?;
    let files = if built_in { "" } else { "files are good; " };
    Ok(format!(
        "{files}forecasts a plain wave with an error of {}% of its amplitude",
        number((error * 1e4).round() / 100.0)
    ))
}

/// The mean distance of the median from a wave that goes on, in parts of the wave's amplitude.
fn forecast_wave(id: &str, resources: &Resources) -> Result<f64, CliError> {
    let wave = |point: usize| LEVEL + AMPLITUDE * (point as f64 / CYCLE as f64 * TAU).sin();
    let context: Vec<f64> = (0..CYCLES * CYCLE).map(wave).collect();
    let levels = Levels::new(vec![0.1, 0.5, 0.9])?;
    let model = models::build(&ModelSpec::local(id, Map::new()), resources)?;
    let contexts = [context.as_slice()];
    let forecast = model.forecast(&Request::new(&contexts, 0, Duration::from_secs(3600), CYCLE, &levels))?;
    let failed = |message: String| CliError::Forecast(ForecastError::new(id, message));
    if let Some(failure) = forecast.failures().first() {
        return Err(failed(failure.message.clone()));
    }
    let [low, median, high] = [0, 1, 2].map(|level| forecast.quantile(0, level));
    let ordered = low.iter().zip(median).zip(high).all(|((low, median), high)| low <= median && median <= high);
    if !ordered || forecast.of(0).iter().any(|value| !value.is_finite()) {
        return Err(failed("its forecast of a plain wave is no numbers, or its quantiles cross".into()));
    }
    let off = |(step, found): (usize, &f64)| (found - wave(CYCLES * CYCLE + step)).abs() / AMPLITUDE;
    Ok(median.iter().enumerate().map(off).sum::<f64>() / CYCLE as f64)
}
