//! `pipelines show`, `delete`, `run` and `watch`: one pipeline, or all of them, at work.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use engine::pipeline::duration;
use reqwest::Method;

use super::super::client::ask;
use super::super::models::write_json;
use super::super::{CliError, Terminal};
use super::{ServiceArgs, fetch, list, path_of};
use crate::render::format::Ink;

/// How often it is asked whether a job has ended.
const POLL: Duration = Duration::from_millis(500);

/// Writes the document of a pipeline.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Its name.
    name: String,
    /// The form of the document.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: DocumentForm,
}

/// The form of a document.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DocumentForm {
    /// As it stands in files.
    #[default]
    Yaml,
    /// With all that is known of it.
    Json,
}

pub(super) fn show(args: &ShowArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let reply = ask(&args.service, Method::GET, &path_of(&args.name), &[], None)?;
    match args.output {
        DocumentForm::Yaml => {
            let text = serde_saphyr::to_string(&reply.body["document"]);
            let text =
                text.map_err(|error| CliError::Source { origin: args.name.clone(), reason: error.to_string() })?;
            writeln!(terminal.out, "{}", text.trim_end())?;
        }
        DocumentForm::Json => write_json(&reply.body, terminal)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes pipelines of a running service.
#[derive(clap::Args, Debug)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Their names.
    #[arg(required = true)]
    names: Vec<String>,
}

pub(super) fn delete(args: &DeleteArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    for name in &args.names {
        ask(&args.service, Method::DELETE, &path_of(name), &[], None)?;
        writeln!(terminal.out, "{} {name}", terminal.paint.ink(Ink::Alarm, "deleted"))?;
        terminal.out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a pipeline now, as a job of the service.
#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Its name.
    name: String,
    /// What is done; both a forecast and a check where nothing is said.
    #[arg(value_enum)]
    what: Option<What>,
    /// Waits until it is done, and fails where that fails.
    #[arg(long)]
    wait: bool,
}

/// What is done with a pipeline.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Makes a forecast.
    Forecast,
    /// Scores what has come.
    Anomaly,
    /// Trains the model.
    Train,
}

pub(super) fn run(args: &RunArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let action = match args.what {
        None => "inference",
        Some(What::Forecast) => "trigger_forecast",
        Some(What::Anomaly) => "trigger_anomaly",
        Some(What::Train) => "train",
    };
    let path = format!("{}/{action}", path_of(&args.name));
    let queued = ask(&args.service, Method::POST, &path, &[], None)?.body;
    let id = queued["task_id"].as_str().unwrap_or_default();
    let message = queued["message"].as_str().unwrap_or("queued");
    writeln!(terminal.out, "{message}: job {id}")?;
    terminal.out.flush()?;
    if args.wait { wait(&args.service, id, terminal) } else { Ok(ExitCode::SUCCESS) }
}

fn wait(service: &ServiceArgs, id: &str, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    loop {
        let job = ask(service, Method::GET, &format!("/api/v1/jobs/{id}"), &[], None)?.body;
        match job["state"].as_str().unwrap_or_default() {
            "queued" | "running" => std::thread::sleep(POLL),
            "succeeded" => {
                writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Strong, "succeeded"))?;
                return Ok(ExitCode::SUCCESS);
            }
            state => {
                let reason = job["error"].as_str().or(job["error"]["message"].as_str()).unwrap_or("");
                writeln!(terminal.out, "{} {reason}", terminal.paint.ink(Ink::Alarm, state))?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// Shows how the pipelines of a running service go, until Ctrl-C.
#[derive(clap::Args, Debug)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// How long to wait between two looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = span)]
    every: Duration,
    /// Ends after so many looks.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

pub(super) fn watch(args: &WatchArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let mut looks = 0;
    loop {
        terminal.now = crate::daemon::worker::now();
        let found = fetch(&args.service);
        if terminal.interactive {
            // To the top, and away with what was there.
            write!(terminal.out, "\x1b[H\x1b[2J")?;
        }
        match found {
            Ok(found) => list::show(&found, terminal)?,
            // It may be starting again.
            Err(error) if looks > 0 => writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Alarm, error))?,
            Err(error) => return Err(error),
        }
        writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Faint, terminal.now))?;
        terminal.out.flush()?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(args.every);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn a_document_becomes_yaml_that_reads_as_the_same() {
        let document: Value = serde_json::json!({
            "name": "a", "query": "rate(http_requests_total{job=\"x\"}[5m])", "anomaly": {"threshold": 2.5},
            "covariates": [{"name": "yes", "query": "no"}], "enabled": true, "description": "one: two\n# three",
        });
        let text = serde_saphyr::to_string(&document).unwrap();
        let again: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(again, document, "{text}");
    }
}
