//! Where series come from: a file, stdin, or a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::pipeline::duration;
use tsdb::file::{File, FileOptions};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Limits, RangeQuery, Read, Step, Timestamp};

use super::{CliError, Terminal};
use crate::render::format;

/// The grid of a range query where none is given.
const DEFAULT_STEP: Duration = Duration::from_secs(300);

/// Where series come from, and which part of them is looked at.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// A CSV, Parquet or Arrow file, `-` for stdin, or the URL of a server that speaks Prometheus's API.
    #[arg(value_name = "SOURCE", help_heading = "Arguments")]
    pub source: String,
    /// PromQL or MetricsQL, for a server.
    #[arg(short, long, value_name = "PROMQL")]
    pub query: Option<String>,
    /// The distance between points, such as 5m [default: a file's own, 5m for a server].
    #[arg(long, value_name = "DURATION", value_parser = step)]
    pub step: Option<Step>,
    /// How much of the past is looked at, for a server [default: 1d].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "from")]
    pub last: Option<Duration>,
    /// Where to begin: 2026-01-31, 2026-01-31T10:00:00Z or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Where to end [default: the newest point].
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// A header sent to the server, such as 'Authorization: Bearer …'; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(String, String)>,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// Which column of a file is what.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Columns of a file (guessed from their names and types)")]
struct ColumnArgs {
    /// The column that holds the times.
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// The column that holds the values.
    #[arg(long, value_name = "NAME")]
    value_column: Option<String>,
    /// The column that says which series a line belongs to.
    #[arg(long, value_name = "NAME")]
    series_column: Option<String>,
    /// A column that is a label of the series; may be repeated.
    #[arg(long, value_name = "NAME")]
    label_column: Vec<String>,
}

/// Reads a duration as Prometheus writes it.
///
/// # Errors
/// Why it is none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

fn step(text: &str) -> Result<Step, String> {
    Step::from_duration(parse_duration(text)?).ok_or_else(|| "a step is at least a millisecond".into())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("this is not `Name: value`")?;
    Ok((name.trim().to_string(), value.trim().to_string()))
}

/// Reads a date, a date with a time (in UTC where no offset is given), or seconds since 1970.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_seconds(seconds));
    }
    let utc = |time: jiff::civil::DateTime| time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let parsed = text.parse::<jiff::Timestamp>().ok().or_else(|| utc(text.parse().ok()?));
    parsed
        .map(|time| Timestamp::from_millis(time.as_millisecond()))
        .ok_or_else(|| "a time is written 2026-01-31, 2026-01-31T10:00:00Z or as seconds since 1970".into())
}

impl SourceArgs {
    fn is_server(&self) -> bool {
        self.source.starts_with("http://") || self.source.starts_with("https://")
    }

    /// Reads everything from `from` − `context` to `to`; of a file, everything up to `to`.
    ///
    /// # Errors
    /// What can't be read, and what has nothing in it.
    pub fn read(&self, context: Option<Duration>, terminal: &Terminal) -> Result<Frame, CliError> {
        let frame = if self.is_server() { self.query(context, terminal.now)? } else { self.file()? };
        if frame.samples() == 0 {
            return Err(self.nothing("there is no value in it"));
        }
        Ok(frame)
    }

    /// An error about the source as a whole.
    pub fn nothing(&self, reason: impl Into<String>) -> CliError {
        CliError::Source { origin: self.source.clone(), reason: reason.into() }
    }

    fn query(&self, context: Option<Duration>, now: Timestamp) -> Result<Frame, CliError> {
        let query = self.query.as_deref().ok_or_else(|| CliError::Usage("a server needs --query".into()))?;
        let step = self.step.or(Step::from_duration(DEFAULT_STEP)).expect("five minutes are a step");
        let to = self.to.unwrap_or(now);
        let from = self.from.unwrap_or(to - self.last.unwrap_or(Duration::from_secs(86_400)));
        let range = RangeQuery::new(query, from - context.unwrap_or_default(), to, step)
            .ok_or_else(|| CliError::Usage("--from must be before --to".into()))?;
        let mut connection = Connection::new(&self.source);
        connection.headers = self.header.clone();
        let server = QueryRange::new(&connection).map_err(|error| self.nothing(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Output)?;
        let answer = runtime.block_on(server.read(&range, &Limits::default()))?;
        answer.warnings.iter().for_each(|warning| tracing::warn!(%warning, "the server says"));
        Ok(answer.frame)
    }

    fn file(&self) -> Result<Frame, CliError> {
        todo!()
    }
}
