//! `pipelines list`: those of a running service, or those of a folder of files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::Pipeline;
use engine::pipeline::duration::Show;
use serde_json::Value;

use super::super::models::{ListForm, write_json};
use super::super::{CliError, Terminal};
use super::{Found, Loaded, ServiceArgs, fetch, load};
use crate::render::format::{Ink, cut};
use crate::render::table;

/// Lists the pipelines of a running service, or those of a folder of files.
#[derive(clap::Args, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Reads the files of a folder instead, and asks no service.
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// The form of the list.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ListForm,
}

pub(super) fn list(args: &ListArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    match &args.config_dir {
        Some(folder) => of_folder(folder, args.output, terminal),
        None => of_service(&args.service, args.output, terminal),
    }
}

fn of_service(service: &ServiceArgs, form: ListForm, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let found = fetch(service)?;
    match form {
        ListForm::Table => show(&found, terminal)?,
        ListForm::Json => write_json(&found.into_iter().map(|one| one.view).collect(), terminal)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The pipelines of a service, a line each.
pub(super) fn show(found: &[Found], terminal: &mut Terminal) -> Result<(), CliError> {
    if found.is_empty() {
        writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Faint, "no pipelines"))?;
        return Ok(());
    }
    let titles = ["Name", "State", "Last success", "Query", "Kept in"];
    let mut table = table::plain(&titles, terminal.width, terminal.paint);
    for one in found {
        let (word, ink) = one.state();
        let word = ink.map_or(word.into(), |ink| terminal.paint.ink(ink, word));
        let place = if one.is_read_only() { "a file" } else { "the store" };
        let query = one.view["document"]["query"].as_str().unwrap_or("");
        table.add_row([one.name.clone(), word, one.last_success(terminal.now), cut(query, 60), place.into()]);
    }
    table::write(&table, &mut terminal.out)?;
    for one in found {
        for error in one.errors() {
            writeln!(terminal.out, "{} {}: {error}", terminal.paint.ink(Ink::Alarm, "error:"), one.name)?;
        }
    }
    Ok(())
}

fn of_folder(folder: &PathBuf, form: ListForm, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let loaded = load(std::slice::from_ref(folder))?;
    match form {
        ListForm::Table => show_files(&loaded, terminal)?,
        ListForm::Json => {
            let list: Vec<_> = loaded.pipelines.iter().map(|(path, pipeline)| describe(path, pipeline)).collect();
            write_json(&list.into(), terminal)?;
        }
    }
    for error in &loaded.errors {
        tracing::error!("{error}");
    }
    Ok(ExitCode::from(u8::from(!loaded.errors.is_empty())))
}

fn show_files(loaded: &Loaded, terminal: &mut Terminal) -> Result<(), CliError> {
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

fn describe(path: &Path, pipeline: &Pipeline) -> Value {
    serde_json::json!({
        "name": pipeline.name, "file": path.display().to_string(), "description": pipeline.description,
        "enabled": pipeline.enabled, "query": pipeline.query, "datasource": pipeline.datasource,
        "model": pipeline.model.id, "step_seconds": pipeline.step.seconds(),
        "context_points": pipeline.context_points, "horizon_points": pipeline.horizon_points,
        "forecast_schedule": pipeline.forecast_schedule.to_string(),
        "anomaly_schedule": pipeline.anomaly_schedule.to_string(),
    })
}
