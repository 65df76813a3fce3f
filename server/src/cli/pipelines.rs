//! `pipelines`: what is configured.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use engine::Pipeline;
use engine::pipeline::duration::Show;

use super::models::ListForm;
use super::{CliError, Terminal};
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

/// Reads pipeline files, and those of directories, in the order of their names.
///
/// # Errors
/// A path that can't be read.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, CliError> {
    let mut loaded = Loaded { files: 0, pipelines: vec![], errors: vec![] };
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in files(paths)? {
        let text = fs::read_to_string(&path).map_err(|source| CliError::File { path: path.clone(), source })?;
        loaded.files += 1;
        for outcome in Pipeline::parse_all(&text, &path.display().to_string()) {
            match outcome.map_err(|errors| errors.errors().iter().map(ToString::to_string).collect()).and_then(checked)
            {
                Ok(pipeline) => match names.insert(pipeline.name.clone(), path.clone()) {
                    None => loaded.pipelines.push((path.clone(), pipeline)),
                    Some(other) => loaded.errors.push(twice(&path, &pipeline, &other)),
                },
                Err(errors) => loaded.errors.extend(errors.into_iter().map(|error: String| located(&path, error))),
            }
        }
    }
    Ok(loaded)
}

fn twice(path: &Path, pipeline: &Pipeline, other: &Path) -> String {
    format!("{}: pipeline `{}` is also in {}", path.display(), pipeline.name, other.display())
}

/// The error with its file in front, where it doesn't have it yet.
fn located(path: &Path, error: String) -> String {
    let path = path.display().to_string();
    if error.starts_with(&path) { error } else { format!("{path}: {error}") }
}

/// The pipeline, if its model can be built.
fn checked(pipeline: Pipeline) -> Result<Pipeline, Vec<String>> {
    match models::registry::build(&pipeline.model.id, &pipeline.model.parameters) {
        Ok(_) => Ok(pipeline),
        Err(error) => Err(vec![format!("pipeline `{}`: `model`: {error}", pipeline.name)]),
    }
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = vec![];
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |source| CliError::File { path: path.clone(), source };
        let mut found = vec![];
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)) {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
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
