//! `explain`: why an incident was found.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use reqwest::Method;

use super::client::{ServiceArgs, ask};
use super::{CliError, Terminal};
use crate::explanation::Explanation;
use crate::render::explanation;

/// Explains why an incident was found, in sentences and with a chart.
///
/// Its score is made again from the same data, model and configuration; where it is another one now, it says so and why
/// that may be.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The incident's id, as the page and /api/v1/anomalies show it.
    #[arg(value_name = "ANOMALY_ID", value_parser = id)]
    id: String,
    /// A series of the incident, as PromQL writes it [default: the one with the highest score].
    #[arg(long, value_name = "SERIES")]
    series: Option<String>,
    /// Writes a page (.html), an object (.json) or text to a file, instead of text to the terminal.
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes an object to stdout.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly explain 0199f3b2-5a1e-7c8d-9e0f-112233445566
  openanomaly explain 0199f3b2-5a1e-7c8d-9e0f-112233445566 --output why.html
  openanomaly explain 0199f3b2-5a1e-7c8d-9e0f-112233445566 --series 'load{host=\"a\"}' --json";

fn id(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_id { Ok(text.to_owned()) } else { Err("this is no id of an incident".into()) }
}

/// In which form it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    /// That of a file by its name.
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("html" | "htm") => Self::Html,
            Some("json") => Self::Json,
            _ => Self::Text,
        }
    }
}

/// Explains an incident.
///
/// # Errors
/// The service can't be reached, or refuses; the file can't be written.
pub fn explain(args: &ExplainArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let mut url = reqwest::Url::parse("http://service").expect("the text is a URL");
    url.set_path(&format!("/api/v1/anomalies/{}/explanation", args.id));
    if let Some(series) = &args.series {
        url.query_pairs_mut().append_pair("series", series);
    }
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let reply = ask(&args.service, Method::GET, &format!("{}{query}", url.path()), &[], None)?;
    let wrong = |error: serde_json::Error| CliError::Source {
        origin: args.service.server.clone(),
        reason: format!("the answer is not understood, is it another version? {error}"),
    };
    let found: Explanation = serde_json::from_value(reply.body).map_err(wrong)?;
    match &args.output {
        None => write(&found, if args.json { Form::Json } else { Form::Text }, terminal.width, None, terminal),
        Some(path) => write(&found, Form::of(path), terminal.width, Some(path), terminal),
    }
}

fn write(
    found: &Explanation,
    form: Form,
    width: usize,
    file: Option<&PathBuf>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let plain = crate::render::format::Paint { on: false };
    let paint = if file.is_some() { plain } else { terminal.paint };
    let to = |out: &mut dyn Write| match form {
        Form::Text => explanation::text(found, width, paint, out),
        Form::Html => explanation::html(found, out),
        Form::Json => {
            serde_json::to_writer_pretty(&mut *out, found)?;
            writeln!(out)
        }
    };
    let Some(path) = file else { return Ok(to(&mut *terminal.out)?) };
    let failed = |source| CliError::File { path: path.clone(), source };
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    to(&mut out).and_then(|()| out.flush()).map_err(failed)
}
