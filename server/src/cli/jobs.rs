//! `jobs`: long work of a running service.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tsdb::Timestamp;

use super::client::{ServiceArgs, ask};
use super::models::ListForm;
use super::source::time;
use super::{CliError, Terminal};
use crate::jobs::Kind;
use crate::render::format::{Ink, cut};
use crate::render::table;

/// How often is asked how far a job has come.
const LOOK: Duration = Duration::from_secs(1);

/// Submits, shows and cancels jobs of a running service.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(subcommand)]
    command: JobsCommand,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly jobs submit backfill requests --from 2026-01-01
  openanomaly jobs submit train requests --watch
  openanomaly jobs list --state running
  openanomaly jobs result 0199f3b2-5a1e-7c8d-9e0f-112233445566

Exit codes: 0 done, 1 failed, 2 wrong flags";

#[derive(Subcommand, Debug)]
enum JobsCommand {
    /// Lists jobs, the newest first.
    List(ListArgs),
    /// Shows one job.
    Show(JobArgs),
    /// Submits a job.
    Submit(SubmitArgs),
    /// Cancels a job.
    Cancel(JobArgs),
    /// Follows a job until it ends; fails where it does not succeed.
    Watch(JobArgs),
    /// Writes the result of a job that has succeeded, as JSON.
    Result(JobArgs),
}

#[derive(clap::Args, Debug)]
struct JobArgs {
    /// The job's id.
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
}

fn id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_id { Ok(text.to_owned()) } else { Err("this is no id of a job".into()) }
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Those of one kind.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Those in one state: queued, running, succeeded, failed or cancelled.
    #[arg(long, value_name = "STATE", value_parser = ["queued", "running", "succeeded", "failed", "cancelled"])]
    state: Option<String>,
    /// Those of one pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The form of the list.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ListForm,
}

#[derive(clap::Args, Debug)]
struct SubmitArgs {
    /// What is to be done.
    #[arg(value_enum, value_name = "KIND")]
    kind: Kind,
    /// The pipeline's name.
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// The first point of a backfill or backtest: 2026-01-31, 2026-01-31T10:00:00Z or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// The last point of a backfill or backtest [default: now].
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Higher ones are done first.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    priority: i64,
    /// How long an attempt may take, such as 10m [default: as the service says].
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Two jobs of one key are one job.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    /// Follows the job until it ends.
    #[arg(long)]
    watch: bool,
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// Runs the command.
///
/// # Errors
/// The service can't be reached, or refuses; a watched job that does not succeed.
pub fn jobs(args: &JobsArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let service = &args.service;
    match &args.command {
        JobsCommand::List(args) => list(args, service, terminal)?,
        JobsCommand::Show(JobArgs { id }) => print(&get(service, &format!("/api/v1/jobs/{id}"))?, terminal)?,
        JobsCommand::Result(JobArgs { id }) => print(&get(service, &format!("/api/v1/jobs/{id}/result"))?, terminal)?,
        JobsCommand::Cancel(JobArgs { id }) => {
            let job = ask(service, Method::DELETE, &format!("/api/v1/jobs/{id}"), &[], None)?.body;
            let state = job["state"].as_str().unwrap_or_default();
            let word = if state == "running" { "is told to stop" } else { state };
            writeln!(terminal.out, "{id} {word}")?;
        }
        JobsCommand::Watch(JobArgs { id }) => return watch(id, service, terminal),
        JobsCommand::Submit(args) => return submit(args, service, terminal),
    }
    Ok(ExitCode::SUCCESS)
}

fn get(service: &ServiceArgs, path: &str) -> Result<Value, CliError> {
    Ok(ask(service, Method::GET, path, &[], None)?.body)
}

fn print(value: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    Ok(writeln!(terminal.out, "{}", serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)?)
}

fn list(args: &ListArgs, service: &ServiceArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut query = reqwest::Url::parse("http://service/api/v1/jobs").expect("the text is a URL");
    query.query_pairs_mut().append_pair("limit", &args.limit.to_string());
    let filters = [
        ("kind", args.kind.map(|kind| kind.name().to_owned())),
        ("state", args.state.clone()),
        ("pipeline", args.pipeline.clone()),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            query.query_pairs_mut().append_pair(name, &value);
        }
    }
    let page = get(service, &format!("/api/v1/jobs?{}", query.query().unwrap_or_default()))?;
    if args.output == ListForm::Json {
        return print(&page["items"], terminal);
    }
    let titles = ["Id", "Kind", "Pipeline", "State", "Done", "Created", "Message"];
    let mut table = table::plain(&titles, terminal.width, terminal.paint);
    let jobs = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for job in jobs {
        let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
        let message = job["error"].as_str().or(job["message"].as_str()).unwrap_or_default();
        let created = text("created");
        table.add_row([
            text("id"),
            text("kind"),
            text("pipeline"),
            text("state"),
            percent(job),
            created.split('.').next().unwrap_or_default().to_owned(),
            cut(message, 60),
        ]);
    }
    match jobs.len() {
        0 => writeln!(terminal.out, "{}", terminal.paint.ink(Ink::Faint, "no jobs"))?,
        _ => table::write(&table, &mut terminal.out)?,
    }
    Ok(())
}

fn percent(job: &Value) -> String {
    format!("{:.0}%", job["progress"].as_f64().unwrap_or(0.0) * 100.0)
}

fn submit(args: &SubmitArgs, service: &ServiceArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let mut body = Map::new();
    body.insert("pipeline".into(), json!(args.pipeline));
    body.insert("priority".into(), json!(args.priority));
    let optional = [
        ("from", args.from.map(|time| time.to_string())),
        ("until", args.until.map(|time| time.to_string())),
        ("timeout", args.timeout.clone()),
        ("idempotency_key", args.idempotency_key.clone()),
    ];
    body.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    let path = format!("/api/v1/jobs/{}", args.kind.name());
    let submitted = ask(service, Method::POST, &path, &[], Some(&Value::Object(body)))?.body;
    let id = submitted["id"].as_str().unwrap_or_default();
    writeln!(terminal.out, "{id}")?;
    if args.watch { watch(id, service, terminal) } else { Ok(ExitCode::SUCCESS) }
}

/// Says how far the job comes, until it ends.
fn watch(id: &str, service: &ServiceArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let mut last = String::new();
    loop {
        let job = get(service, &format!("/api/v1/jobs/{id}"))?;
        let state = job["state"].as_str().unwrap_or_default();
        let message = job["error"].as_str().or(job["message"].as_str()).unwrap_or_default();
        let line = format!("{state} {} {message}", percent(&job));
        if line != last {
            writeln!(terminal.out, "{}", line.trim_end())?;
            terminal.out.flush()?;
            last = line;
        }
        match state {
            "succeeded" => return Ok(ExitCode::SUCCESS),
            "failed" | "cancelled" => return Ok(ExitCode::FAILURE),
            _ => std::thread::sleep(LOOK),
        }
    }
}
