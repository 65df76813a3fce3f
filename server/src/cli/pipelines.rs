//! `pipelines`: what is configured.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use engine::Pipeline;
use engine::pipeline::duration::Show;

use super::models::ListForm;
use super::{CliError, Terminal};
use crate::config::{self, Config, ConfigError};
use crate::daemon::{DaemonError, environment};
use crate::render::format::{Ink, cut};
use crate::render::table;

/// Shows the pipelines.
#[derive(clap::Args, Debug)]
pub struct PipelinesArgs {
    #[command(subcommand)]
    command: PipelinesCommand,
}

#[derive(Subcommand, Debug)]
enum PipelinesCommand {
    /// Lists the pipelines of a directory.
    List {
        /// The directory with the pipelines' files.
        #[arg(long, value_name = "DIR", default_value = "config/pipelines")]
        config_dir: PathBuf,
        /// The form of the list.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        output: ListForm,
    },
}

/// What was found in files.
pub struct Loaded {
    /// How many files were read.
    pub files: usize,
    /// The pipelines that are good, with their files.
    pub pipelines: Vec<(PathBuf, Pipeline)>,
    /// Everything that is wrong, for people.
    pub errors: Vec<String>,
}

/// Reads pipeline files, and those of directories, in the order of their names, as the service does; the service's
/// own configuration is checked where it is among them.
///
/// # Errors
/// A path that can't be read.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, CliError> {
    let mut loaded = Loaded { files: 0, pipelines: vec![], errors: vec![] };
    for path in files(paths)? {
        loaded.files += 1;
        if config::is_service(&path) {
            loaded.errors.extend(Config::load(&path, &environment).err().map(|error| error.to_string()));
            continue;
        }
        for outcome in config::load_pipelines(&path, &environment) {
            match outcome {
                Ok(pipeline) => loaded.add(&path, pipeline),
                Err(ConfigError::Pipeline(errors)) => {
                    loaded.errors.extend(errors.errors().iter().map(ToString::to_string));
                }
                Err(error) => loaded.errors.push(error.to_string()),
            }
        }
    }
    Ok(loaded)
}

impl Loaded {
    /// Names are unique over all files.
    fn add(&mut self, path: &Path, pipeline: Pipeline) {
        match self.pipelines.iter().find(|(_, other)| other.name == pipeline.name) {
            None => self.pipelines.push((path.to_owned(), pipeline)),
            Some((other, _)) => self.errors.push(format!(
                "{}: pipeline `{}` is also in {}",
                path.display(),
                pipeline.name,
                other.display()
            )),
        }
    }
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = vec![];
    for path in paths {
        let failed = |source| CliError::File { path: path.clone(), source };
        if fs::metadata(path).map_err(failed)?.is_dir() {
            files.extend(config::pipeline_files(path).map_err(DaemonError::from)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Lists the pipelines.
///
/// # Errors
/// The writer's, and a directory that can't be read.
pub fn pipelines(args: &PipelinesArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let PipelinesCommand::List { config_dir, output } = &args.command;
    let loaded = load(std::slice::from_ref(config_dir))?;
    match output {
        ListForm::Table => list(&loaded, terminal)?,
        ListForm::Json => {
            let list: Vec<_> = loaded.pipelines.iter().map(|(path, pipeline)| describe(path, pipeline)).collect();
            writeln!(terminal.out, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
        }
    }
    for error in &loaded.errors {
        tracing::error!("{error}");
    }
    Ok(ExitCode::from(u8::from(!loaded.errors.is_empty())))
}

fn list(loaded: &Loaded, terminal: &mut Terminal) -> Result<(), CliError> {
    let titles = ["Name", "Model", "Step", "Context", "Horizon", "Forecast", "Score", "Enabled", "Query"];
    let mut table = table::plain(&titles, terminal.width, terminal.paint);
    for (_, pipeline) in &loaded.pipelines {
        table.add_row([
            pipeline.name.clone(),
            pipeline.model.id.clone(),
            Show(pipeline.step.duration()).to_string(),
            Show(pipeline.step.times(pipeline.context_points)).to_string(),
            Show(pipeline.step.times(pipeline.horizon_points)).to_string(),
            pipeline.forecast_schedule.to_string(),
            pipeline.anomaly_schedule.to_string(),
            if pipeline.enabled { "yes" } else { "no" }.to_string(),
            cut(&pipeline.query, 60),
        ]);
    }
    match loaded.pipelines.len() {
        0 => writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Faint, "no pipelines"))?,
        _ => table::write(&table, &mut terminal.out)?,
    }
    Ok(())
}

fn describe(path: &Path, pipeline: &Pipeline) -> serde_json::Value {
    serde_json::json!({
        "name": pipeline.name, "file": path.display().to_string(), "description": pipeline.description,
        "enabled": pipeline.enabled, "query": pipeline.query, "datasource": pipeline.datasource,
        "model": pipeline.model.id, "step_seconds": pipeline.step.seconds(),
        "context_points": pipeline.context_points, "horizon_points": pipeline.horizon_points,
        "forecast_schedule": pipeline.forecast_schedule.to_string(),
        "anomaly_schedule": pipeline.anomaly_schedule.to_string(),
    })
}
