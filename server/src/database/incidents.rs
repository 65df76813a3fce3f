//! Incidents: anomalous points of one series that belong together.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Pipeline;
use engine::incident::{Anomalous, Episode, Joined, Point, join, reach};
use sqlx::{Any, AssertSqlSafe, FromRow, Transaction};
use tsdb::{Labels, Timestamp};

use super::select::{Select, placeholders};
use super::{Database, DatabaseError};
use crate::api::page::{Cursor, Limit};
use crate::app::new_id;

/// How many rows one statement writes at most: SQLite binds no more than 32,766 values.
const CHUNK: usize = 500;

/// One incident.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The source series, as PromQL writes it.
    pub series: String,
    /// The source series' labels, a JSON object.
    pub labels: String,
    /// The first point above 1.
    pub start_ms: i64,
    /// The last point above 1.
    pub end_ms: i64,
    /// The point with the highest score.
    pub peak_ms: i64,
    /// The highest score.
    pub peak_score: f64,
    /// What came there.
    pub peak_actual: f64,
    /// What was expected there.
    pub peak_expected: f64,
    /// The lower edge of the band there.
    pub peak_lower: f64,
    /// The upper edge of the band there.
    pub peak_upper: f64,
    /// How many points are above 1.
    pub points: i64,
    /// Until when another point may still belong to it.
    pub open_until_ms: i64,
    /// When it was first recorded.
    pub created_ms: i64,
    /// When it last changed.
    pub changed_ms: i64,
}

/// Which incidents are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Those of one pipeline.
    pub pipeline: Option<String>,
    /// Those of series with all of these labels.
    pub labels: Vec<(String, String)>,
    /// Those that end then or later.
    pub from: Option<Timestamp>,
    /// Those that begin before.
    pub until: Option<Timestamp>,
    /// Those whose highest score is at least this.
    pub min_score: Option<f64>,
    /// Those that may still go on at a time, or those that may not.
    pub open: Option<(bool, Timestamp)>,
    /// Those after this place in the list.
    pub after: Option<Cursor>,
}

/// The incidents that pass `filter`, those that began last first, with one more than `limit` where there are so many.
///
/// # Errors
/// The database can't be read.
pub async fn list(database: &Database, filter: Filter, limit: Limit) -> Result<Vec<Incident>, DatabaseError> {
    let mut select = Select::all("incidents")
        .and_if("pipeline = ?", filter.pipeline)
        .and_if("end_ms >= ?", filter.from.map(Timestamp::millis))
        .and_if("start_ms < ?", filter.until.map(Timestamp::millis))
        .and_if("peak_score >= ?", filter.min_score);
    for (name, value) in filter.labels {
        // A pair with its quotes can't be part of another: inside a text, quotes are escaped.
        let pair = format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(value));
        select = select.and("REPLACE(labels, ?, '') <> labels", [pair.into()]);
    }
    match filter.open {
        Some((true, now)) => select = select.and("open_until_ms >= ?", [now.millis().into()]),
        Some((false, now)) => select = select.and("open_until_ms < ?", [now.millis().into()]),
        None => {}
    }
    if let Some(Cursor { at_ms, id }) = filter.after {
        select = select.and("(start_ms, id) < (?, ?)", [at_ms.into(), id.into()]);
    }
    select.then("ORDER BY start_ms DESC, id DESC LIMIT ?", [limit.rows().into()]).rows(database).await
}

/// The incident `id`, if it is known.
///
/// # Errors
/// The database can't be read.
pub async fn get(database: &Database, id: &str) -> Result<Option<Incident>, DatabaseError> {
    Select::all("incidents").and("id = ?", [id.to_string().into()]).row(database).await
}

/// The incidents of `pipeline`, or of all, that have changed after `after`, in the order of their changes, `most` at
/// most.
///
/// # Errors
/// The database can't be read.
pub async fn changed(
    database: &Database,
    pipeline: Option<String>,
    after: Cursor,
    most: i64,
) -> Result<Vec<Incident>, DatabaseError> {
    Select::all("incidents")
        .and_if("pipeline = ?", pipeline)
        .and("(changed_ms, id) > (?, ?)", [after.at_ms.into(), after.id.into()])
        .then("ORDER BY changed_ms, id LIMIT ?", [most.into()])
        .rows(database)
        .await
}

/// Where the last change stands among all changes.
///
/// # Errors
/// The database can't be read.
pub async fn last_change(database: &Database) -> Result<Cursor, DatabaseError> {
    let last = Select::all("incidents").then("ORDER BY changed_ms DESC, id DESC LIMIT 1", []);
    let last: Option<Incident> = last.row(database).await?;
    Ok(last.map_or(Cursor { at_ms: 0, id: String::new() }, |last| Cursor { at_ms: last.changed_ms, id: last.id }))
}

/// Records what was `found` anomalous in the series of `pipeline`: points within reach of a known incident extend it,
/// others begin a new one. The same points may come again, and change nothing.
///
/// # Errors
/// The database can't be read or written; then nothing is recorded.
pub async fn record(database: &Database, pipeline: &Pipeline, found: &[Anomalous]) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    insert(&mut transaction, database.clock(), &Scene::of(pipeline), found).await?;
    Ok(transaction.commit().await?)
}

/// What of a pipeline matters for its incidents.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pipeline: String,
    reach: Duration,
    /// How long after its last point an incident may still be extended.
    patience: Duration,
}

impl Scene {
    /// That of `pipeline`.
    pub fn of(pipeline: &Pipeline) -> Self {
        let reach = reach(pipeline.step);
        // A pass is due once in a gap, and may take as long as one.
        let patience = reach + pipeline.data_delay + pipeline.anomaly_schedule.largest_gap() * 2;
        Self { pipeline: pipeline.name.clone(), reach, patience }
    }
}

/// The same as a part of a transaction that [`Database::begin`] has begun, on a database with that `clock`.
///
/// # Errors
/// The database can't be read or written.
pub async fn insert(
    transaction: &mut Transaction<'_, Any>,
    clock: &'static str,
    scene: &Scene,
    found: &[Anomalous],
) -> Result<(), sqlx::Error> {
    let mut series: BTreeMap<&Labels, Vec<Point>> = BTreeMap::new();
    for one in found {
        series.entry(&one.series).or_default().extend(&one.points);
    }
    let times = || series.values().flatten().map(|point| point.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    let now = take_turns(transaction, clock).await?;
    let mut known: BTreeMap<String, Vec<Incident>> = BTreeMap::new();
    for incident in near(transaction, scene, first, last).await? {
        known.entry(incident.series.clone()).or_default().push(incident);
    }
    let (mut changed, mut gone) = (vec![], vec![]);
    for (labels, points) in &series {
        let name = text(&labels.to_string());
        let known = known.remove(&name).unwrap_or_default();
        let episodes: Vec<Episode> = known.iter().map(Incident::episode).collect();
        for joined in join(&episodes, points, scene.reach) {
            let parts = joined.known.iter().map(|at| &known[*at]);
            let row = row(scene, labels, &joined, parts.clone().next(), now);
            gone.extend(parts.skip(1).map(|part| (part.id.clone(), row.id.clone())));
            changed.push(row);
        }
    }
    drop_joined(transaction, &gone).await?;
    write(transaction, &changed).await
}

/// Lets only one at a time look for incidents and write them, and answers the time of this turn: the database's, and
/// later than that of any turn before. So whoever follows the changes by their times misses none.
async fn take_turns(transaction: &mut Transaction<'_, Any>, clock: &'static str) -> Result<Timestamp, sqlx::Error> {
    let statement = "INSERT INTO settings (name, value) VALUES ('turn of incidents', '') \
                     ON CONFLICT (name) DO UPDATE SET value = ''";
    sqlx::query(statement).execute(&mut **transaction).await?;
    let query = format!("SELECT {clock}, CAST(COALESCE(MAX(changed_ms), 0) AS BIGINT) FROM incidents");
    let (now, last): (i64, i64) = sqlx::query_as(AssertSqlSafe(query)).fetch_one(&mut **transaction).await?;
    Ok(Timestamp::from_millis(now.max(last + 1)))
}

/// The incidents of a pipeline that points from `first` to `last` may belong to, in order.
async fn near(
    transaction: &mut Transaction<'_, Any>,
    scene: &Scene,
    first: Timestamp,
    last: Timestamp,
) -> Result<Vec<Incident>, sqlx::Error> {
    let query =
        "SELECT * FROM incidents WHERE pipeline = $1 AND end_ms >= $2 AND start_ms <= $3 ORDER BY series, start_ms";
    let query = sqlx::query_as(query).bind(scene.pipeline.clone());
    let query = query.bind((first - scene.reach).millis()).bind((last + scene.reach).millis());
    query.fetch_all(&mut **transaction).await
}

/// The row of an episode, in the place of `old` where it has grown out of that.
fn row(scene: &Scene, labels: &Labels, joined: &Joined, old: Option<&Incident>, now: Timestamp) -> Incident {
    let episode = joined.episode;
    Incident {
        id: old.map_or_else(new_id, |old| old.id.clone()),
        pipeline: scene.pipeline.clone(),
        series: text(&labels.to_string()),
        labels: json(labels),
        start_ms: episode.first.millis(),
        end_ms: episode.last.millis(),
        peak_ms: episode.peak.at.millis(),
        peak_score: episode.peak.score,
        peak_actual: episode.peak.actual,
        peak_expected: episode.peak.expected,
        peak_lower: episode.peak.lower,
        peak_upper: episode.peak.upper,
        points: i64::try_from(episode.points).unwrap_or(i64::MAX),
        open_until_ms: (episode.last + scene.patience).millis(),
        created_ms: old.map_or(now.millis(), |old| old.created_ms),
        changed_ms: now.millis(),
    }
}

/// A text that every database takes.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Labels as a JSON object, the metric's name among them.
pub fn json(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| (name.to_string(), serde_json::Value::from(text(value))));
    serde_json::Value::Object(pairs.collect()).to_string()
}

/// Takes out the incidents that became part of another, and lets what was said of them be said of that.
async fn drop_joined(transaction: &mut Transaction<'_, Any>, gone: &[(String, String)]) -> Result<(), sqlx::Error> {
    for (id, into) in gone {
        let feedback = sqlx::query("UPDATE feedback SET incident = $1 WHERE incident = $2");
        feedback.bind(into.clone()).bind(id.clone()).execute(&mut **transaction).await?;
        let incident = sqlx::query("DELETE FROM incidents WHERE id = $1").bind(id.clone());
        incident.execute(&mut **transaction).await?;
    }
    Ok(())
}

async fn write(transaction: &mut Transaction<'_, Any>, incidents: &[Incident]) -> Result<(), sqlx::Error> {
    for chunk in incidents.chunks(CHUNK) {
        let statement = format!(
            "INSERT INTO incidents (id, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, peak_actual, \
             peak_expected, peak_lower, peak_upper, points, open_until_ms, created_ms, changed_ms) VALUES {} \
             ON CONFLICT (id) DO UPDATE SET start_ms = excluded.start_ms, end_ms = excluded.end_ms, \
             peak_ms = excluded.peak_ms, peak_score = excluded.peak_score, peak_actual = excluded.peak_actual, \
             peak_expected = excluded.peak_expected, peak_lower = excluded.peak_lower, \
             peak_upper = excluded.peak_upper, points = excluded.points, \
             open_until_ms = excluded.open_until_ms, changed_ms = excluded.changed_ms",
            placeholders(chunk.len(), 16)
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
            let query = query.bind(&one.id).bind(&one.pipeline).bind(&one.series).bind(&one.labels);
            let query = query.bind(one.start_ms).bind(one.end_ms).bind(one.peak_ms).bind(one.peak_score);
            let query = query.bind(one.peak_actual).bind(one.peak_expected).bind(one.peak_lower);
            let query = query.bind(one.peak_upper).bind(one.points).bind(one.open_until_ms);
            query.bind(one.created_ms).bind(one.changed_ms)
        });
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

impl Incident {
    fn episode(&self) -> Episode {
        let at = Timestamp::from_millis;
        let peak = Point {
            at: at(self.peak_ms),
            score: self.peak_score,
            actual: self.peak_actual,
            expected: self.peak_expected,
            lower: self.peak_lower,
            upper: self.peak_upper,
        };
        let points = u64::try_from(self.points).unwrap_or(0);
        Episode { first: at(self.start_ms), last: at(self.end_ms), peak, points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;

    fn found(name: &str, seconds: &[i64]) -> Anomalous {
        let point = |&at: &i64| Point {
            at: Timestamp::from_seconds(at),
            score: at as f64,
            actual: f64::INFINITY,
            expected: 5.0,
            lower: 4.0,
            upper: 6.0,
        };
        let series = Labels::metric("m").with("host", name);
        Anomalous { series, points: seconds.iter().map(point).collect() }
    }

    /// What is known after each of `steps` was recorded: host, start, end, points.
    async fn check(steps: &[&[Anomalous]], expected: &[(&str, i64, i64, i64)]) -> testing::Temporary {
        let database = testing::database().await;
        let pipeline = Pipeline::parse("{name: p, query: m, step: 1s}", "test").unwrap();
        for found in steps {
            record(&database, &pipeline, found).await.unwrap();
        }
        let mut rows = list(&database, Filter::default(), Limit::default()).await.unwrap();
        rows.sort_by_key(|row| (row.labels.clone(), row.start_ms));
        let host = |row: &Incident| row.labels.split('"').nth(7).unwrap().to_string();
        let rows: Vec<_> =
            rows.iter().map(|row| (host(row), row.start_ms / 1000, row.end_ms / 1000, row.points)).collect();
        let expected: Vec<_> = expected.iter().map(|one| (one.0.to_string(), one.1, one.2, one.3)).collect();
        assert_eq!(rows, expected);
        database
    }

    #[tokio::test]
    async fn points_extend_what_is_open_and_replays_change_nothing() {
        check(&[&[]], &[]).await;
        let first = [found("a", &[10, 12]), found("b\0", &[11])];
        check(&[&first, &first], &[("a", 10, 12, 2), ("b\u{fffd}", 11, 11, 1)]).await;
        let next = [found("a", &[12, 16]), found("a", &[21])];
        check(&[&first[..1], &next, &next, &first[..1]], &[("a", 10, 16, 3), ("a", 21, 21, 1)]).await;
    }

    #[tokio::test]
    async fn a_backfill_joins_incidents_and_what_was_said_of_them() {
        let database = check(&[&[found("a", &[10, 18])], &[found("a", &[14])]], &[("a", 10, 18, 3)]).await;
        let row = &list(&database, Filter::default(), Limit::default()).await.unwrap()[0];
        assert_eq!(row.peak_score, 18.0);
        assert!(row.created_ms < row.changed_ms, "every change has a time of its own");
        assert_eq!((row.series.as_str(), row.labels.as_str()), ("m{host=\"a\"}", r#"{"__name__":"m","host":"a"}"#));
    }

    #[tokio::test]
    async fn incidents_are_found_by_labels_time_and_score() {
        let known = [("A%", 30, 30, 1), ("a%", 10, 10, 1)];
        let database = check(&[&[found("a%", &[10]), found("A%", &[30])]], &known).await;
        let check = async |filter: Filter, expected: &[i64]| {
            let rows = list(&database, filter.clone(), Limit::default()).await.unwrap();
            let starts: Vec<i64> = rows.iter().map(|row| row.start_ms / 1000).collect();
            assert_eq!(starts, expected, "{filter:?}");
        };
        let at = |seconds| Some(Timestamp::from_seconds(seconds));
        let label = |value: &str| Filter { labels: vec![("host".into(), value.into())], ..Filter::default() };
        check(Filter::default(), &[30, 10]).await;
        check(label("a%"), &[10]).await;
        check(label("%"), &[]).await;
        check(Filter { from: at(11), ..Filter::default() }, &[30]).await;
        check(Filter { until: at(30), ..Filter::default() }, &[10]).await;
        check(Filter { min_score: Some(10.5), ..Filter::default() }, &[30]).await;
        check(Filter { pipeline: Some("q".into()), ..Filter::default() }, &[]).await;
        // Four steps, and twice the minute between passes, after their last points.
        let now = Timestamp::from_seconds(140);
        check(Filter { open: Some((true, now)), ..Filter::default() }, &[30]).await;
        check(Filter { open: Some((false, now)), ..Filter::default() }, &[10]).await;
        let newest = list(&database, Filter::default(), Limit::default()).await.unwrap().remove(0);
        let after = Some(Cursor { at_ms: newest.start_ms, id: newest.id });
        check(Filter { after, ..Filter::default() }, &[10]).await;
    }
}
