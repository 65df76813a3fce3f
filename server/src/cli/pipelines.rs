//! `pipelines`: what a service runs, and what files say that it should.

mod apply;
mod list;
mod remote;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use engine::Pipeline;
use engine::pipeline::duration::Show;
use reqwest::Method;
use serde_json::Value;
use tsdb::Timestamp;

use super::client::{ServiceArgs, ask};
use super::{CliError, Terminal};
use crate::config::{self, Config, ConfigError};
use crate::daemon::{DaemonError, environment};
use crate::render::format::Ink;

/// Shows, changes and runs the pipelines of a running service.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PipelinesArgs {
    #[command(subcommand)]
    command: PipelinesCommand,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly pipelines list
  openanomaly pipelines list --config-dir config/pipelines
  openanomaly pipelines show sockets > sockets.yaml
  openanomaly pipelines apply -f sockets.yaml --dry-run
  openanomaly pipelines apply -f pipelines/ --prune
  openanomaly pipelines run sockets anomaly --wait
  openanomaly pipelines watch";

#[derive(Subcommand, Debug)]
enum PipelinesCommand {
    List(list::ListArgs),
    Show(remote::ShowArgs),
    Apply(apply::ApplyArgs),
    Delete(remote::DeleteArgs),
    Run(remote::RunArgs),
    Watch(remote::WatchArgs),
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

/// Runs the command.
///
/// # Errors
/// The writer's, a folder that can't be read, and what the service refuses.
pub fn pipelines(args: &PipelinesArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    match &args.command {
        PipelinesCommand::List(args) => list::list(args, terminal),
        PipelinesCommand::Show(args) => remote::show(args, terminal),
        PipelinesCommand::Apply(args) => apply::apply(args, terminal),
        PipelinesCommand::Delete(args) => remote::delete(args, terminal),
        PipelinesCommand::Run(args) => remote::run(args, terminal),
        PipelinesCommand::Watch(args) => remote::watch(args, terminal),
    }
}

/// A pipeline of a service, as that tells it.
#[derive(Debug)]
struct Found {
    name: String,
    view: Value,
}

/// All pipelines of a service.
fn fetch(service: &ServiceArgs) -> Result<Vec<Found>, CliError> {
    let body = ask(service, Method::GET, "/api/v1/pipelines", &[], None)?.body;
    let Some(items) = body["items"].as_array() else {
        let reason = "the answer has no list of pipelines; is this OpenAnomaly?".into();
        return Err(CliError::Source { origin: service.server.clone(), reason });
    };
    let found = |view: &Value| Found { name: view["name"].as_str().unwrap_or_default().into(), view: view.clone() };
    Ok(items.iter().map(found).collect())
}

/// Where the service has the pipeline `name`. What can't be a name is refused by the service, not made another path.
fn path_of(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    format!("/api/v1/pipelines/{}", name.bytes().map(escape).collect::<String>())
}

impl Found {
    fn version(&self) -> String {
        self.view["version"].as_str().unwrap_or_default().to_owned()
    }

    fn is_read_only(&self) -> bool {
        self.view["read_only"] == true
    }

    /// How it goes, in a word.
    fn state(&self) -> (&'static str, Option<Ink>) {
        let status = &self.view["status"];
        if !self.errors().is_empty() {
            ("error", Some(Ink::Alarm))
        } else if self.view["document"]["enabled"] == false {
            ("disabled", Some(Ink::Faint))
        } else if status["last_success"].is_null() {
            ("starting", Some(Ink::Expected))
        } else {
            ("ok", None)
        }
    }

    /// When a pass last succeeded, from now.
    fn last_success(&self, now: Timestamp) -> String {
        let time = self.view["status"]["last_success"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let ago = |time: jiff::Timestamp| (now.millis() - time.as_millisecond()).max(0) / 1000;
        time.map_or_else(|| "-".into(), |time| format!("{} ago", Show(Duration::from_secs(ago(time).unsigned_abs()))))
    }

    /// What is wrong with its document, and why its last passes failed.
    fn errors(&self) -> Vec<String> {
        let faults = self.view["errors"].as_array().into_iter().flatten();
        let fault = |fault: &Value| {
            let (path, message) = (fault["path"].as_str().unwrap_or(""), fault["message"].as_str().unwrap_or(""));
            format!("{path}: {message}")
        };
        let stages = self.view["status"]["errors"].as_object().into_iter().flatten();
        let stage = |(stage, error): (&String, &Value)| format!("{stage}: {}", error.as_str().unwrap_or(""));
        faults.map(fault).chain(stages.map(stage)).collect()
    }
}
