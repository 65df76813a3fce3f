//! Which model, and what it is told.

use std::sync::Arc;

use models::{Forecaster, ModelSpec, Resources};
use serde_json::{Map, Value};

use super::CliError;
use crate::preferred;

/// The model that was chosen, ready to forecast.
pub struct Chosen {
    /// Its id.
    pub id: String,
    /// The model itself.
    pub forecaster: Arc<dyn Forecaster>,
}

/// The model and its parameters.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The model; `openanomaly models list` shows them all [default: nano, or without a --param mstl where ONNX Runtime can't be had; in a backtest that of a pipeline which names none].
    #[arg(short, long, value_name = "ID")]
    pub model: Option<String>,
    /// A parameter of the model, such as context=1000, or with --model mstl season=1d; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
}

impl ModelArgs {
    /// The parameters. A value is read as JSON, and as text where it is none.
    ///
    /// # Errors
    /// A parameter without `=`.
    pub fn parameters(&self) -> Result<Map<String, Value>, CliError> {
        parameters(&self.param)
    }

    /// The model, ready to forecast. Where none was named and the first choice can't be had, it is the second, which
    /// is said.
    ///
    /// # Errors
    /// An unknown model, parameters that it doesn't take, or one that was named and can't be had.
    pub fn choose(&self) -> Result<Chosen, CliError> {
        let resources = Resources::default();
        if self.model.is_none() && self.param.is_empty() {
            let (spec, forecaster) = preferred::choose(&resources, |reason| tracing::warn!("{reason}"));
            return Ok(Chosen { id: spec.id, forecaster });
        }
        let spec = ModelSpec::local(self.model.as_deref().unwrap_or(preferred::FIRST), self.parameters()?);
        let forecaster = models::build(&spec, &resources)?;
        forecaster.prepare()?;
        Ok(Chosen { id: spec.id, forecaster })
    }
}

/// Parameters that are written NAME=VALUE. A value is read as JSON, and as text where it is none.
///
/// # Errors
/// A parameter without `=`.
pub fn parameters(written: &[String]) -> Result<Map<String, Value>, CliError> {
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| CliError::flag("--param", text, "this is not NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
        Ok((name.to_string(), value))
    };
    written.iter().map(pair).collect()
}
