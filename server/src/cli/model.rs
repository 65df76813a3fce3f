//! Which model, and what it is told.

use std::sync::Arc;

use models::{Forecaster, ModelSpec, Resources};
use serde_json::{Map, Value};

use super::CliError;

/// The model and its parameters.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The model; `openanomaly models list` shows them all.
    #[arg(short, long, value_name = "ID", default_value = models::registry::DEFAULT)]
    pub model: String,
    /// A parameter of the model, such as season=1d; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
}

impl ModelArgs {
    /// The parameters. A value is read as JSON, and as text where it is none.
    ///
    /// # Errors
    /// A parameter without `=`.
    pub fn parameters(&self) -> Result<Map<String, Value>, CliError> {
        let pair = |text: &String| {
            let (name, value) =
                text.split_once('=').ok_or_else(|| CliError::flag("--param", text, "this is not NAME=VALUE"))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            Ok((name.to_string(), value))
        };
        self.param.iter().map(pair).collect()
    }

    /// The model.
    ///
    /// # Errors
    /// An unknown model, or parameters that it doesn't take.
    pub fn build(&self) -> Result<Arc<dyn Forecaster>, CliError> {
        let spec = ModelSpec::local(&self.model, self.parameters()?);
        Ok(models::build(&spec, &Resources::default())?)
    }
}
