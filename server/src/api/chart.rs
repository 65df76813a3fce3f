//! What a chart of a pipeline shows: which series it has, and what was written of one of them.

mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::Pipeline;
use engine::output::{Names, SCORE_KINDS, selector};
use serde::{Deserialize, Serialize};
use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, ReadError, Step, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::params::{Params, optional_time};
use super::problem::Problem;
use crate::app::App;
use crate::assembly::Trust;
use sample::{Written, thin};

/// The most points that a chart has; more can't be told apart on a screen.
const MOST_POINTS: usize = 2000;

/// The most points that are read to draw one.
const MOST_READ: usize = 200_000;

/// How much is shown where nobody says.
const USUAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The most series that are listed.
const MOST_SERIES: usize = 1000;

/// The routes.
pub(super) fn routes() -> Routes {
    let viewer = OpenApiRouter::new().routes(routes!(chart)).routes(routes!(series));
    Routes { viewer, ..Routes::default() }
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Range {
    /// The beginning; a day before the end where it isn't given.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end; now where it isn't given.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Which series, and when.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChartQuery {
    /// The beginning; a day before the end where it isn't given.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// The end; now where it isn't given.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The series of the pipeline's query, such as `http_requests{job="api"}`.
    series: String,
}

/// All values of one series at the times of a grid. What is not there is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Chart {
    /// The series, as the source names it.
    series: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// The distance between points. Where it is more than the pipeline's step, a point stands for the one with the
    /// highest score among those that it covers.
    step_seconds: f64,
    /// When, in milliseconds since 1970.
    timestamps: Vec<i64>,
    /// The actual value.
    y: Vec<Option<f64>>,
    /// The expected value.
    yhat: Vec<Option<f64>>,
    /// The lower edge of the band.
    yhat_lower: Vec<Option<f64>>,
    /// The upper edge of the band.
    yhat_upper: Vec<Option<f64>>,
    /// How far outside the band the value is: above 1 is an anomaly.
    anomaly_score: Vec<Option<f64>>,
    /// What could not be read, for people.
    warnings: Vec<String>,
}

/// A series of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct SeriesItem {
    /// The series, as the source names it.
    series: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Its newest score in the time.
    last_score: Option<f64>,
    /// Its highest score in the time.
    max_score: Option<f64>,
}

/// The series of a pipeline, the worst first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct SeriesList {
    /// The first of them.
    items: Vec<SeriesItem>,
    /// How many there are in all.
    total: usize,
    /// What could not be read, for people.
    warnings: Vec<String>,
}

/// The series of a pipeline with their scores between two times, the worst first.
#[utoipa::path(get, path = "/api/v1/pipelines/{name}/series", tag = "charts",
    params(("name" = String, Path, description = "The pipeline"), Range),
    responses(
        (status = 200, body = SeriesList),
        (status = 404, description = "there is no such pipeline"),
        (status = 422, description = "the pipeline is not right"),
        (status = 502, description = "its datasource can't be read"),
    ))]
async fn series(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(range): Params<Range>,
) -> Result<Json<SeriesList>, Problem> {
    let view = View::open(&app, &name, range.from, range.until).await?;
    let (mut warnings, at) = (vec![], view.until.floor(view.step));
    let query = RangeQuery::new(&view.pipeline.query, at, at, view.step);
    let mut found: BTreeMap<Labels, [Option<f64>; 2]> = BTreeMap::new();
    match view.source.read(&query.expect("it has one point"), &Limits::default()).await {
        Ok(answer) => found.extend(answer.frame.series().iter().map(|labels| (labels.clone(), [None; 2]))),
        Err(error) => warnings.push(error.to_string()),
    }
    let known: BTreeMap<Labels, Labels> = found.keys().map(|source| (view.output(source), source.clone())).collect();
    for (at_last, function) in [(0, "last_over_time"), (1, "max_over_time")] {
        let frame = view.over_time(function, at).await.map_err(|error| unreadable(&error))?;
        for (labels, row) in frame.rows() {
            let labels = labels.with(METRIC_NAME, "");
            let source = known.get(&labels).cloned().unwrap_or_else(|| source_of(&labels));
            found.entry(source).or_default()[at_last] = row.first().copied().filter(|score| score.is_finite());
        }
    }
    Ok(Json(worst_first(found, warnings)))
}

/// What was written of one series between two times; what was read of it where nothing has been written yet.
#[utoipa::path(get, path = "/api/v1/pipelines/{name}/chart", tag = "charts",
    params(("name" = String, Path, description = "The pipeline"), ChartQuery),
    responses(
        (status = 200, body = Chart),
        (status = 404, description = "there is no such pipeline"),
        (status = 422, description = "the pipeline is not right"),
        (status = 502, description = "its datasource can't be read"),
    ))]
async fn chart(
    State(app): State<App>,
    Path(name): Path<String>,
    Params(query): Params<ChartQuery>,
) -> Result<Json<Chart>, Problem> {
    let view = View::open(&app, &name, query.from, query.until).await?;
    let source: Labels = query.series.parse().map_err(|error| Problem::invalid(format!("series: {error}")))?;
    let grid = view.grid()?;
    let mut rows = vec![];
    for kind in SCORE_KINDS {
        rows.push(view.written(kind, &source, &grid).await.map_err(|error| unreadable(&error))?);
    }
    let written = Written(<[Vec<f64>; 5]>::try_from(rows).expect("there are five kinds"));
    let thinned = thin(&written, grid.points().div_ceil(MOST_POINTS).max(1));
    let [score, mut y, yhat, lower, upper] = thinned.0;
    let step = Step::from_millis(view.step.millis() * grid.points().div_ceil(MOST_POINTS).max(1) as i64);
    let step = step.expect("it is above zero");
    let warnings = view.fill(&source, &mut y, grid.start(), step).await.err().map(|error| error.to_string());
    let millis = |at: usize| grid.start().millis() + at as i64 * step.millis();
    Ok(Json(Chart {
        series: source.to_string(),
        labels: pairs(&source),
        step_seconds: step.seconds(),
        timestamps: (0..y.len()).map(millis).collect(),
        y: nullable(y),
        yhat: nullable(yhat),
        yhat_lower: nullable(lower),
        yhat_upper: nullable(upper),
        anomaly_score: nullable(score),
        warnings: warnings.into_iter().collect(),
    }))
}

/// A pipeline, where it reads and what it has written, between two times.
struct View {
    pipeline: Arc<Pipeline>,
    source: Arc<dyn Read>,
    written: Arc<dyn Read>,
    from: Timestamp,
    until: Timestamp,
    step: Step,
}

impl View {
    async fn open(app: &App, name: &str, from: Option<Timestamp>, until: Option<Timestamp>) -> Result<Self, Problem> {
        let until = until.unwrap_or(app.now());
        let from = from.unwrap_or(until - USUAL);
        if from >= until {
            return Err(Problem::invalid("`from` must lie before `until`"));
        }
        let missing = || Problem::not_found(format!("there is no pipeline `{name}`"));
        let stored = app.store.get(name).await?.ok_or_else(missing)?;
        let trust = Trust::of(&stored);
        let pipeline = stored.checked.map_err(|errors| Problem::from(&errors))?;
        let wrong = |error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_pipeline", format!("{error}"));
        let (source, written) = app.current().assembly.readers(&pipeline, trust).map_err(wrong)?;
        let step = pipeline.step;
        Ok(Self { pipeline: Arc::new(pipeline), source, written, from, until, step })
    }

    /// The points that are read: whole points of the chart, so that it doesn't flicker as time goes on.
    fn grid(&self) -> Result<RangeQuery, Problem> {
        let points = (self.until.millis() - self.from.millis()) / self.step.millis();
        let points = usize::try_from(points).unwrap_or(usize::MAX);
        if points > MOST_READ {
            let detail = format!("{points} points lie between `from` and `until`; at most {MOST_READ} are read");
            return Err(Problem::invalid(detail));
        }
        let coarse = Step::from_millis(self.step.millis() * points.div_ceil(MOST_POINTS).max(1) as i64);
        let from = self.from.floor(coarse.expect("it is above zero"));
        Ok(RangeQuery::new("", from, self.until.max(from), self.step).expect("the beginning is on the grid"))
    }

    /// How the scores of `source` are named, without the metric.
    fn output(&self, source: &Labels) -> Labels {
        Names::new(self.pipeline.clone()).score_name(SCORE_KINDS[0], source).with(METRIC_NAME, "")
    }

    /// What `function` makes of every score between the two times.
    async fn over_time(&self, function: &str, at: Timestamp) -> Result<Frame, ReadError> {
        let span = (self.until.millis() - self.from.millis()).max(1);
        let query = format!("{function}({}[{span}ms])", selector(&self.pipeline, SCORE_KINDS[0]));
        let query = RangeQuery::new(query, at, at, self.step).expect("it has one point");
        Ok(self.written.read(&query, &Limits::default()).await?.frame)
    }

    /// What `kind` says of `source` at every point of `grid`, gaps as gaps.
    async fn written(&self, kind: &str, source: &Labels, grid: &RangeQuery) -> Result<Vec<f64>, ReadError> {
        let name = Names::new(self.pipeline.clone()).score_name(kind, source);
        // A plain selector would answer a gap with the value before it.
        let within = (self.step.millis().min(60_000) - 1).max(1);
        let query = format!("last_over_time({}[{within}ms])", matching(&name));
        let query = RangeQuery::new(query, grid.start(), grid.end(), self.step).expect("the grid is a range");
        let frame = self.written.read(&query, &Limits::default()).await?.frame;
        let bare = name.with(METRIC_NAME, "");
        // What the selector matches may have labels more.
        let row = frame.rows().find(|(labels, _)| labels.with(METRIC_NAME, "") == bare);
        Ok(row.map_or_else(|| vec![f64::NAN; grid.points()], |(_, row)| row.to_vec()))
    }

    /// Fills what is missing at both ends of `y` from the source.
    async fn fill(&self, source: &Labels, y: &mut [f64], start: Timestamp, step: Step) -> Result<(), ReadError> {
        let first = y.iter().position(|value| value.is_finite()).unwrap_or(y.len());
        let last = y.iter().rposition(|value| value.is_finite()).map_or(y.len(), |last| last + 1);
        for part in [0..first, last..y.len()] {
            if part.is_empty() {
                continue;
            }
            let time = |at: usize| start + step.times(at);
            let query = RangeQuery::new(&self.pipeline.query, time(part.start), time(part.end - 1), step);
            let frame = self.source.read(&query.expect("the part is not empty"), &Limits::default()).await?.frame;
            if let Some((_, row)) = frame.rows().find(|(labels, _)| *labels == source) {
                y[part].copy_from_slice(row);
            }
        }
        Ok(())
    }
}

fn unreadable(error: &ReadError) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "datasource_failed", error.to_string())
}

/// The selector of the series of that name.
pub(crate) fn matching(name: &Labels) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = name.iter().filter(|(label, _)| *label != METRIC_NAME);
    let pairs: Vec<String> = pairs.map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
    format!("{}{{{}}}", name.name(), pairs.join(","))
}

/// The series that a score was written of, as far as its labels tell: for one that its source has no more.
fn source_of(score: &Labels) -> Labels {
    let name = score.get("source").unwrap_or("").to_owned();
    ["pipeline", "model", "source"].iter().fold(score.with(METRIC_NAME, &name), |labels, own| {
        let kept = labels.get(&format!("exported_{own}")).unwrap_or("").to_owned();
        labels.with(&format!("exported_{own}"), "").with(own, &kept)
    })
}

fn worst_first(found: BTreeMap<Labels, [Option<f64>; 2]>, warnings: Vec<String>) -> SeriesList {
    let total = found.len();
    let item = |(labels, [last_score, max_score]): (Labels, [Option<f64>; 2])| SeriesItem {
        series: labels.to_string(),
        labels: pairs(&labels),
        last_score,
        max_score,
    };
    let mut items: Vec<SeriesItem> = found.into_iter().map(item).collect();
    let worst = |item: &SeriesItem| item.max_score.unwrap_or(-1.0);
    items.sort_by(|a, b| worst(b).total_cmp(&worst(a)));
    items.truncate(MOST_SERIES);
    SeriesList { items, total, warnings }
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn nullable(row: Vec<f64>) -> Vec<Option<f64>> {
    row.into_iter().map(|value| Some(value).filter(|value| value.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.parse().unwrap()
    }

    #[test]
    fn a_selector_quotes_what_is_in_values() {
        let name = Labels::new([(METRIC_NAME, "y"), ("path", "C:\\\"a\"\n")]).unwrap();
        assert_eq!(matching(&name), r#"y{path="C:\\\"a\"\n"}"#);
        assert_eq!(matching(&labels("up")), "up{}");
    }

    #[test]
    fn the_source_of_a_score_is_known_by_its_labels() {
        let score = r#"anomaly_score{exported_model="T4", job="a", model="mstl", pipeline="p", source="up"}"#;
        assert_eq!(source_of(&labels(score)), labels(r#"up{job="a", model="T4"}"#));
    }

    #[test]
    fn the_worst_series_comes_first_and_those_without_a_score_last() {
        let found = [("a", None), ("b", Some(0.5)), ("c", Some(3.0)), ("d", Some(0.0))];
        let found = found.map(|(name, max)| (labels(name), [max, max]));
        let list = worst_first(found.into_iter().collect(), vec![]);
        let names: Vec<&str> = list.items.iter().map(|item| item.series.as_str()).collect();
        assert_eq!(names, ["c", "b", "d", "a"]);
        assert_eq!(list.total, 4);
    }
}
