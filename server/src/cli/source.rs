//! Where series come from: a file, stdin, or a server.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use engine::pipeline::duration;
use tsdb::file::{File, FileOptions};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Limits, RangeQuery, Read, Step, Timestamp};

use super::{CliError, Terminal};

/// The grid of a range query where none is given.
const DEFAULT_STEP: Duration = Duration::from_secs(300);

const DAY: Duration = Duration::from_secs(86_400);

/// Where series come from, and which part of them is looked at.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// A CSV, Parquet or Arrow file, `-` for stdin, or the URL of a server that speaks Prometheus's API.
    #[arg(value_name = "SOURCE", help_heading = "Arguments")]
    pub source: String,
    /// PromQL or MetricsQL for a server; for a file, a selector such as 'cpu{host=~"web.*"}'.
    #[arg(short, long, value_name = "PROMQL")]
    pub query: Option<String>,
    /// The distance between points, such as 5m [default: a file's own, 5m for a server].
    #[arg(long, value_name = "DURATION", value_parser = step)]
    pub step: Option<Step>,
    /// How much of the past is looked at [default: all of a file, 1d of a server].
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
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Columns of a file (guessed from their names and types)")]
pub struct ColumnArgs {
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

impl ColumnArgs {
    /// How a file of these columns is read.
    pub fn options(&self) -> FileOptions {
        FileOptions {
            time: self.time_column.clone(),
            value: self.value_column.clone(),
            series: self.series_column.clone(),
            labels: self.label_column.clone(),
            ..FileOptions::default()
        }
    }
}

/// Reads a duration as Prometheus writes it.
///
/// # Errors
/// Why it is none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

pub(super) fn step(text: &str) -> Result<Step, String> {
    Step::from_duration(parse_duration(text)?).ok_or_else(|| "a step is at least a millisecond".into())
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("this is not `Name: value`")?;
    Ok((name.trim().to_string(), value.trim().to_string()))
}

/// Reads a date, a date with a time (in UTC where no offset is given), or seconds since 1970.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
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

    /// Reads the source: of a server, from `context` before the start to the end; of a file, what is there.
    ///
    /// # Errors
    /// What can't be read, and what has no value in it.
    pub fn read(&self, context: Span, terminal: &Terminal) -> Result<Frame, CliError> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(CliError::Usage("--from must be before --to".into()));
        }
        let frame = if self.is_server() { self.query(context, terminal)? } else { self.file()? };
        if frame.samples() == 0 {
            return Err(self.nothing(match &self.query {
                Some(query) => format!("there is no value for `{query}` in the time looked at"),
                None => "there is no value in it".into(),
            }));
        }
        Ok(frame)
    }

    /// What the source is called: a URL without its query, a path, or `stdin`.
    pub fn title(&self) -> String {
        if self.source == "-" { "stdin".into() } else { self.source.clone() }
    }

    /// An error about the source as a whole.
    pub fn nothing(&self, reason: impl Into<String>) -> CliError {
        CliError::Source { origin: self.title(), reason: reason.into() }
    }

    /// The first point that is looked at, where `end` is the newest; `None` where a file's own start decides.
    pub fn start(&self, end: Timestamp) -> Option<Timestamp> {
        let last = self.last.or(self.is_server().then_some(DAY));
        self.from.or_else(|| Some(self.to.unwrap_or(end) - last?))
    }

    fn query(&self, context: Span, terminal: &Terminal) -> Result<Frame, CliError> {
        let query = self.query.as_deref().ok_or_else(|| CliError::Usage("a server needs --query".into()))?;
        let step = self.step.or(Step::from_duration(DEFAULT_STEP)).expect("five minutes are a step");
        let to = self.to.unwrap_or(terminal.now);
        let from = self.start(terminal.now).unwrap_or(to) - step.times(context.points(step));
        let range = RangeQuery::new(query, from, to, step)
            .ok_or_else(|| CliError::Usage("there is no point between --from and --to".into()))?;
        let mut connection = Connection::new(&self.source);
        connection.headers = self.header.clone();
        let server = QueryRange::new(&connection, 0).map_err(|error| self.nothing(error.to_string()))?;
        answer(&server, &range)
    }

    /// Says what is missing where `localhost:9090` is meant as a server.
    fn check_is_no_address(&self) -> Result<(), CliError> {
        let is_port = |port: &str| port.split('/').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let is_address = self.source.split_once(':').is_some_and(|(_, port)| is_port(port));
        if is_address && !Path::new(&self.source).exists() {
            let why = format!("there is no such file; the URL of a server is http://{}", self.source);
            return Err(self.nothing(why));
        }
        Ok(())
    }

    fn file(&self) -> Result<Frame, CliError> {
        let options = FileOptions { step: self.step, ..self.columns.options() };
        let file = if self.source == "-" {
            let mut bytes = vec![];
            io::stdin().lock().read_to_end(&mut bytes).map_err(|error| self.nothing(error.to_string()))?;
            File::from_bytes("stdin", bytes, &options)?
        } else {
            self.check_is_no_address()?;
            File::open(&self.source, &options)?
        };
        for warning in file.warnings() {
            tracing::warn!("{}: {warning}", self.title());
        }
        let frame = file.frame(None)?;
        let Some(selector) = &self.query else { return Ok(frame) };
        let all = RangeQuery::new(selector, frame.start(), frame.end(), frame.step())
            .ok_or_else(|| self.nothing("there is no point in it"))?;
        answer(&file, &all)
    }
}

/// The points of a frame from `from` to `to`, both included.
pub fn between(frame: &Frame, from: Option<Timestamp>, to: Option<Timestamp>) -> Frame {
    let inside = |point: &usize| {
        let time = frame.time(*point);
        from.is_none_or(|from| time >= from) && to.is_none_or(|to| time <= to)
    };
    let points: Vec<usize> = (0..frame.points()).filter(inside).collect();
    let first = points.first().copied().unwrap_or(0);
    let values: Vec<f64> = frame.rows().flat_map(|(_, row)| &row[first..first + points.len()]).copied().collect();
    Frame::new(frame.series().to_vec(), frame.time(first), frame.step(), points.len(), values)
        .expect("its rows are unique, and as long as its points are many")
}

/// Reads from a store, and logs what it warns of.
pub(super) fn answer(store: &dyn Read, query: &RangeQuery) -> Result<Frame, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(store.read(query, &Limits::default()))?;
    for warning in &answer.warnings {
        tracing::warn!("{query}: {warning}", query = query.query());
    }
    Ok(answer.frame)
}

/// A stretch of time, as points or as a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// So many points.
    Points(usize),
    /// As many points as fit.
    Duration(Duration),
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Points(points) => write!(f, "{points} points"),
            Self::Duration(duration) => write!(f, "{}", duration::Show(*duration)),
        }
    }
}

impl Span {
    /// How many points it is on a grid.
    pub fn points(self, step: Step) -> usize {
        match self {
            Self::Points(points) => points,
            Self::Duration(duration) => step.count(duration).max(1),
        }
    }
}

/// Reads a number of points or a duration; neither may be zero.
///
/// # Errors
/// Why it is neither.
pub fn parse_span(text: &str) -> Result<Span, String> {
    let span = match text.parse() {
        Ok(points) => Span::Points(points),
        Err(_) => Span::Duration(parse_duration(text)?),
    };
    let is_nothing = matches!(span, Span::Points(0) | Span::Duration(Duration::ZERO));
    if is_nothing { Err("it must be more than nothing".into()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        for text in ["2026-01-31T10:00:00Z", "2026-01-31T11:00:00+01:00", "2026-01-31 10:00:00", "1769853600"] {
            assert_eq!(time(text), Ok(Timestamp::from_seconds(1_769_853_600)), "{text}");
        }
        assert_eq!(time("2026-01-31"), Ok(Timestamp::from_seconds(1_769_817_600)));
        for text in ["", "yesterday", "2026-02-30", "1.5"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_points_or_durations() {
        let step = Step::from_millis(60_000).unwrap();
        for (text, points) in [("12", 12), ("1h", 60), ("1h30m", 90), ("1s", 1)] {
            assert_eq!(parse_span(text).unwrap().points(step), points, "{text}");
        }
        for text in ["", "0", "0s", "-3", "1.5h", "soon"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_frame_keeps_its_times() {
        let step = Step::from_millis(1000).unwrap();
        let series = vec![tsdb::Labels::metric("a"), tsdb::Labels::metric("b")];
        let frame = Frame::new(series, Timestamp::default(), step, 3, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let second = Some(Timestamp::from_seconds(1));
        for (from, to, start, values) in [
            (None, None, 0, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..]),
            (second, None, 1, &[1.0, 2.0, 4.0, 5.0]),
            (None, second, 0, &[0.0, 1.0, 3.0, 4.0]),
            (second, second, 1, &[1.0, 4.0]),
            (Some(Timestamp::from_seconds(9)), None, 0, &[]),
        ] {
            let part = between(&frame, from, to);
            assert_eq!((part.start(), part.values()), (Timestamp::from_seconds(start), values));
        }
    }

    #[test]
    fn headers_have_a_name() {
        assert_eq!(header("X-Scope-OrgID: 12"), Ok(("X-Scope-OrgID".into(), "12".into())));
        assert!(header("nothing").is_err());
    }
}
