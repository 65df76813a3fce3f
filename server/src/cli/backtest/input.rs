//! Where the series come from that are replayed: files, folders of files, and servers.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Pipeline;
use serde::Deserialize;
use tsdb::file::{File, FileOptions, Row};
use tsdb::prometheus::{Connection, QueryRange};
use tsdb::{Frame, Labels, RangeQuery, Step, Timestamp};

use crate::cli::CliError;
use crate::cli::detect::shifted;
use crate::cli::source::{ColumnArgs, Span, answer, between};

/// What a folder may hold beside its series.
const MANIFEST: &str = "manifest.json";

/// The endings of files that a folder is searched for; `.gz` may follow.
const ENDINGS: [&str; 7] = ["csv", "tsv", "parquet", "pq", "arrow", "arrows", "feather"];

/// How much is only learned from where nobody says: this part of a series, but at most so many points.
const LEARNED: (f64, usize) = (0.15, 750);

/// How far the buffer of the volume under the surface reaches where nobody says, in points.
const VUS_WINDOW: usize = 100;

/// One place that series come from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// What it is called: of a file its name without endings.
    pub(crate) name: String,
    place: Place,
    told: Told,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Server(String),
}

/// What a manifest says of a series.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Told {
    name: String,
    /// The first row that is judged.
    eval_start: Option<usize>,
    step_s: Option<f64>,
    /// How far the buffer of the volume under the surface reaches, in points.
    vus_window: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    series: Vec<Told>,
}

/// How inputs are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    pub(crate) columns: ColumnArgs,
    pub(crate) step: Option<Step>,
    pub(crate) query: Option<String>,
    pub(crate) from: Option<Timestamp>,
    /// How much of the past is judged, where no start is given.
    pub(crate) last: Option<Duration>,
    pub(crate) to: Option<Timestamp>,
    pub(crate) headers: Vec<(String, String)>,
    /// How much of a file is only learned from.
    pub(crate) warm_up: Option<Span>,
    pub(crate) vus_window: Option<usize>,
    /// Now: where the range of a server ends that nobody ends.
    pub(crate) now: Timestamp,
}

/// The places that `sources` name: a server by its URL, a file, or the files of a folder.
///
/// # Errors
/// A path that can't be read, a folder without series, two inputs of one name.
pub(crate) fn inputs(sources: &[String]) -> Result<Vec<Input>, CliError> {
    let mut inputs = vec![];
    for source in sources {
        let path = Path::new(source);
        if source.starts_with("http://") || source.starts_with("https://") {
            let place = Place::Server(source.clone());
            inputs.push(Input { name: source.clone(), place, told: Told::default() });
        } else if path.is_dir() {
            inputs.extend(folder(path)?);
        } else {
            inputs.push(Input { name: stem(path), place: Place::File(path.to_owned()), told: Told::default() });
        }
    }
    let mut seen = HashSet::new();
    if let Some(twice) = inputs.iter().find(|input| !seen.insert(&input.name)) {
        return Err(CliError::Usage(format!("two of the inputs are called `{}`; names are unique", twice.name)));
    }
    Ok(inputs)
}

/// The files of a folder, or of its folder `series`, in the order of their names.
fn folder(path: &Path) -> Result<Vec<Input>, CliError> {
    let failed = |path: PathBuf| move |source| CliError::File { path, source };
    let series = path.join("series");
    let within = if series.is_dir() { series } else { path.to_owned() };
    let mut files = vec![];
    for entry in fs::read_dir(&within).map_err(failed(within.clone()))? {
        let file = entry.map_err(failed(within.clone()))?.path();
        if file.is_file() && is_series(&file) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let reason = format!("there is no file of series in it; read are .{}, also with .gz", ENDINGS.join(", ."));
        return Err(CliError::Source { origin: within.display().to_string(), reason });
    }
    let mut told = manifest(&path.join(MANIFEST))?;
    let input = |file: PathBuf| {
        let name = stem(&file);
        Input { told: told.remove(&name).unwrap_or_default(), name, place: Place::File(file) }
    };
    Ok(files.into_iter().map(input).collect())
}

fn manifest(path: &Path) -> Result<HashMap<String, Told>, CliError> {
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let text = fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let wrong =
        |error: serde_json::Error| CliError::Source { origin: path.display().to_string(), reason: error.to_string() };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(wrong)?;
    Ok(manifest.series.into_iter().map(|told| (told.name.clone(), told)).collect())
}

/// The name of a file without what says its form.
fn stem(path: &Path) -> String {
    let plain = if path.extension() == Some(OsStr::new("gz")) { path.with_extension("") } else { path.to_owned() };
    let plain = if is_series(&plain) { plain.with_extension("") } else { plain };
    plain.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_series(path: &Path) -> bool {
    let ending = |path: &Path| path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending(path).as_deref() {
        Some("gz") => is_series(&path.with_extension("")),
        Some(ending) => ENDINGS.contains(&ending),
        None => false,
    }
}

/// The series of one input, on one grid.
#[derive(Debug)]
pub(crate) struct Table {
    /// What the input is called.
    pub(crate) name: String,
    /// The values, on the multiples of the step.
    pub(crate) frame: Frame,
    /// How far the times of the input are behind those of the frame, in milliseconds.
    pub(crate) offset: i64,
    /// The rows as they stand in a file; none of a server, whose points are its rows.
    pub(crate) rows: Option<Vec<Row>>,
    /// The rows of each series, their times rising.
    order: Vec<Vec<u32>>,
    /// How far the buffer of the volume under the surface reaches, in points.
    pub(crate) vus_window: usize,
    /// Whether the input itself says what is an anomaly.
    pub(crate) has_labels: bool,
    start: Start,
}

/// Where judging starts.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// At this time.
    At(Timestamp),
    /// Behind this many rows of each series.
    Behind(usize),
    /// Behind the usual part of each series.
    Usual,
}

/// A row of the input: where it stands on the grid, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// When.
    pub(crate) time: Timestamp,
    /// Its place on the grid of the frame.
    pub(crate) cell: usize,
    /// Whether the input says that it is an anomaly.
    pub(crate) is_anomaly: bool,
}

impl Input {
    /// Reads the series as `pipeline` sees them, where there is one.
    ///
    /// # Errors
    /// The input can't be read, or has no value in it.
    pub(crate) fn read(&self, how: &How, pipeline: Option<&Pipeline>) -> Result<Table, CliError> {
        let table = match &self.place {
            Place::File(path) => self.file(path, how, pipeline)?,
            Place::Server(url) => self.server(url, how, pipeline)?,
        };
        if table.frame.samples() == 0 { Err(self.nothing("there is no value in it")) } else { Ok(table) }
    }

    /// Whether it is a server, which has no step of its own.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self.place, Place::Server(_))
    }

    fn nothing(&self, reason: impl Into<String>) -> CliError {
        CliError::Source { origin: self.name.clone(), reason: reason.into() }
    }

    fn file(&self, path: &Path, how: &How, pipeline: Option<&Pipeline>) -> Result<Table, CliError> {
        let told = self.told.step_s.and_then(|seconds| Step::from_millis((seconds * 1000.0).round() as i64));
        let open = |step| File::open(path, &FileOptions { step, rows: true, ..how.columns.options() });
        let mut file = open(how.step.or(told))?;
        // A grid that is finer than the data is nearly all gaps.
        if let Some(pipeline) = pipeline.filter(|pipeline| how.step.is_none() && pipeline.step > file.step()) {
            file = open(Some(pipeline.step))?;
        }
        for warning in file.warnings() {
            tracing::info!("{}: {warning}", path.display());
        }
        let (mut frame, mut rows) = (file.frame(None)?, file.rows().to_vec());
        if let Some(query) = &how.query {
            let all = RangeQuery::new(query, frame.start(), frame.end(), frame.step());
            let chosen = answer(&file, &all.ok_or_else(|| self.nothing("there is no point in it"))?)?;
            (frame, rows) = only(&frame, &rows, chosen.series());
        }
        if let Some(to) = how.to {
            frame = between(&frame, None, Some(to));
        }
        let from = how.from.or_else(|| Some(frame.end() - how.last?));
        let start = match (from, how.warm_up, self.told.eval_start) {
            (Some(from), ..) => Start::At(from),
            (None, Some(warm_up), _) => behind(warm_up, frame.start()),
            (None, None, Some(rows)) => Start::Behind(rows),
            (None, None, None) => Start::Usual,
        };
        let has_labels = rows.iter().any(|row| row.is_anomaly.is_some());
        let vus_window = how.vus_window.or(self.told.vus_window).unwrap_or(VUS_WINDOW);
        Ok(Table::new(self.name.clone(), frame, Some(rows), start, vus_window, has_labels))
    }

    fn server(&self, url: &str, how: &How, pipeline: Option<&Pipeline>) -> Result<Table, CliError> {
        let usage = |text: &str| CliError::Usage(text.into());
        let pipeline = pipeline.ok_or_else(|| usage("a server needs a pipeline"))?;
        let query = how.query.as_deref().unwrap_or(&pipeline.query);
        let (step, to) = (how.step.unwrap_or(pipeline.step), how.to.unwrap_or(how.now));
        let from = how.from.or_else(|| Some(to - how.last?));
        let from = from.ok_or_else(|| usage("a server needs --from or --last"))?;
        if from >= to {
            return Err(usage("--from must be before --to"));
        }
        let first = from - step.times(pipeline.context_points);
        let range = RangeQuery::new(query, first, to, step)
            .ok_or_else(|| usage("there is no point between --from and --to"))?;
        let mut connection = Connection::new(url);
        connection.headers = how.headers.clone();
        let server = QueryRange::new(&connection, 0).map_err(|error| self.nothing(error.to_string()))?;
        let (frame, vus_window) = (answer(&server, &range)?, how.vus_window.unwrap_or(VUS_WINDOW));
        Ok(Table::new(pipeline.name.clone(), frame, None, Start::At(from), vus_window, false))
    }
}

fn behind(warm_up: Span, first: Timestamp) -> Start {
    match warm_up {
        Span::Points(points) => Start::Behind(points),
        Span::Duration(duration) => Start::At(first + duration),
    }
}

impl Table {
    fn new(
        name: String,
        frame: Frame,
        rows: Option<Vec<Row>>,
        start: Start,
        vus_window: usize,
        has_labels: bool,
    ) -> Self {
        let mut order = vec![vec![]; frame.series().len()];
        for (at, row) in rows.iter().flatten().enumerate() {
            order[row.series].push(at as u32);
        }
        let time = |at: &u32| rows.as_ref().map(|rows| rows[*at as usize].time);
        order.iter_mut().for_each(|rows| rows.sort_by_key(time));
        let offset = frame.start().millis().rem_euclid(frame.step().millis());
        let frame = shifted(frame, -offset);
        Self { name, frame, offset, rows, order, vus_window, has_labels, start }
    }

    /// The time of the input that a time of the frame stands for.
    pub(crate) fn original(&self, time: Timestamp) -> Timestamp {
        Timestamp::from_millis(time.millis() + self.offset)
    }

    /// The place on the grid of a time of the input.
    pub(crate) fn cell(&self, time: Timestamp) -> Option<usize> {
        self.frame.nearest(Timestamp::from_millis(time.millis() - self.offset))
    }

    /// The rows of a series, their times rising. Of a server these are the points behind the context that have a value.
    pub(crate) fn points(&self, series: usize) -> Vec<Point> {
        let Some(rows) = &self.rows else {
            let values = self.frame.row(series);
            let first = self.frame.index(self.before() + self.frame.step()).unwrap_or(0);
            let there = (first..values.len()).filter(|cell| !values[*cell].is_nan());
            let point = |cell| Point { time: self.original(self.frame.time(cell)), cell, is_anomaly: false };
            return there.map(point).collect();
        };
        let point = |at: &u32| {
            let row = rows[*at as usize];
            Some(Point { time: row.time, cell: self.cell(row.time)?, is_anomaly: row.is_anomaly == Some(true) })
        };
        self.order[series].iter().filter_map(point).collect()
    }

    /// The first of the `points` of a series that is judged.
    pub(crate) fn judged_from(&self, points: &[Point]) -> usize {
        match self.start {
            Start::At(time) => points.partition_point(|point| point.time < time),
            Start::Behind(rows) => rows.min(points.len()),
            Start::Usual => ((points.len() as f64 * LEARNED.0) as usize).min(LEARNED.1),
        }
    }

    /// The last point before those that are scored. Of a server's answer the context is only learned from; a file is scored
    /// from its start.
    pub(crate) fn before(&self) -> Timestamp {
        match (&self.rows, self.start) {
            (None, Start::At(time)) => time.ceil(self.frame.step()) - self.frame.step(),
            _ => self.frame.start() - self.frame.step(),
        }
    }

    /// What the series is called: the input itself where it holds no other.
    pub(crate) fn series_name(&self, series: usize) -> String {
        let labels = &self.frame.series()[series];
        match (self.frame.series().len(), &self.rows) {
            (1, Some(_)) => self.name.clone(),
            (_, Some(_)) => format!("{}/{labels}", self.name),
            (_, None) => labels.to_string(),
        }
    }
}

/// The rows of `frame` whose labels are among `chosen`.
fn only(frame: &Frame, rows: &[Row], chosen: &[Labels]) -> (Frame, Vec<Row>) {
    let chosen: HashSet<&Labels> = chosen.iter().collect();
    let kept: Vec<usize> = (0..frame.series().len()).filter(|row| chosen.contains(&frame.series()[*row])).collect();
    let places: HashMap<usize, usize> = kept.iter().copied().zip(0..).collect();
    let series = kept.iter().map(|row| frame.series()[*row].clone()).collect();
    let values = kept.iter().flat_map(|row| frame.row(*row)).copied().collect();
    let part = Frame::new(series, frame.start(), frame.step(), frame.points(), values);
    let moved = |row: &Row| Some(Row { series: *places.get(&row.series)?, ..*row });
    (part.expect("its rows are those of a frame"), rows.iter().filter_map(moved).collect())
}
