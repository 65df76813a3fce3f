//! Incidents: anomalous points that belong together, of one series or of several that deviate together.

mod record;

use engine::incident::{Severity, Telling};
use sqlx::{AssertSqlSafe, FromRow};
use tsdb::{Labels, Timestamp};

use super::select::{Select, placeholders};
use super::{Database, DatabaseError};
use crate::api::page::{Cursor, Limit};

pub use record::{Scene, insert, record};

/// One incident.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The series of the point with the highest score, as PromQL writes it.
    pub series: String,
    /// That series' labels, a JSON object.
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
    /// What its episodes weigh together.
    pub weight: f64,
    /// How many series are part of it.
    pub members: i64,
    /// How many series the pipeline watched; 0 where that is not known.
    pub watched: i64,
    /// The labels that tell its series from the others, a JSON list.
    pub telling: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// 1 once it has lasted as long as the pipeline asks for, else 0.
    pub confirmed: i64,
    /// Until when another point may still belong to it.
    pub open_until_ms: i64,
    /// The hash of what it was first found with.
    pub recipe: Option<String>,
    /// When it was first recorded.
    pub created_ms: i64,
    /// When it last changed.
    pub changed_ms: i64,
}

impl Incident {
    /// The labels that tell its series from the others.
    pub fn telling(&self) -> Vec<Telling> {
        serde_json::from_str(&self.telling).unwrap_or_default()
    }
}

/// An episode: points of one series that belong together, as a part of an incident.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// The incident.
    pub incident: String,
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
    /// What it contributes to the incident.
    pub weight: f64,
}

impl Member {
    /// The source series' labels.
    pub fn labels(&self) -> Labels {
        let pairs: std::collections::BTreeMap<String, String> = serde_json::from_str(&self.labels).unwrap_or_default();
        Labels::new(pairs).unwrap_or_else(|_| Labels::metric(""))
    }
}

/// Which incidents are asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Those of one pipeline.
    pub pipeline: Option<String>,
    /// Those that a series is part of, as PromQL writes it.
    pub series: Option<String>,
    /// Those of series with all of these labels.
    pub labels: Vec<(String, String)>,
    /// Those that end then or later.
    pub from: Option<Timestamp>,
    /// Those that begin before.
    pub until: Option<Timestamp>,
    /// Those whose highest score is at least this.
    pub min_score: Option<f64>,
    /// Those that are at least so bad.
    pub severity: Option<Severity>,
    /// Whether those are listed too that have not lasted yet as long as their pipeline asks for.
    pub pending: bool,
    /// Those that may still go on at a time, or those that may not.
    pub open: Option<(bool, Timestamp)>,
    /// Those after this place in the list.
    pub after: Option<Cursor>,
}

/// That a series is part of an incident.
const HAS_SERIES: &str =
    "EXISTS (SELECT 1 FROM episodes WHERE episodes.incident = incidents.id AND episodes.series = ?)";

/// That a series of an incident has a label.
const HAS_LABEL: &str = "EXISTS (SELECT 1 FROM episodes WHERE episodes.incident = incidents.id \
                         AND REPLACE(episodes.labels, ?, '') <> episodes.labels)";

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
    if let Some(least) = filter.severity {
        let names = Severity::ALL.into_iter().filter(|one| *one >= least).map(|one| one.name().to_owned());
        select = select.and_in("severity", names);
    }
    if !filter.pending {
        select = select.and("confirmed = ?", [1.into()]);
    }
    select = select.and_if(HAS_SERIES, filter.series);
    for (name, value) in filter.labels {
        // A pair with its quotes can't be part of another: inside a text, quotes are escaped.
        let pair = format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(value));
        select = select.and(HAS_LABEL, [pair.into()]);
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
        .and("confirmed = ?", [1.into()])
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

/// The episodes of `incidents`, of each the `most` that contribute most, in that order; those of `series` alone, where one
/// is named.
///
/// # Errors
/// The database can't be read.
pub async fn members(
    database: &Database,
    incidents: &[&str],
    series: Option<&str>,
    most: i64,
) -> Result<Vec<Member>, DatabaseError> {
    if incidents.is_empty() {
        return Ok(vec![]);
    }
    let ids: Vec<String> = (1..=incidents.len()).map(|at| format!("${at}")).collect();
    let select = format!(
        "SELECT * FROM (SELECT episodes.*, ROW_NUMBER() OVER (PARTITION BY incident \
         ORDER BY weight DESC, start_ms, id) AS place FROM episodes WHERE incident IN ({}) AND series = COALESCE(${}, series)) AS ranked \
         WHERE place <= ${} ORDER BY incident, place",
        ids.join(", "),
        incidents.len() + 1,
        incidents.len() + 2
    );
    let query = incidents.iter().fold(sqlx::query_as(AssertSqlSafe(select)), |query, id| query.bind(id.to_string()));
    Ok(query.bind(series.map(str::to_owned)).bind(most).fetch_all(&database.pool).await?)
}

/// How many incidents of each pipeline and severity are open at `now`, of those that have lasted as long as their
/// pipeline asks for.
///
/// # Errors
/// The database can't be read.
pub async fn open(database: &Database, now: Timestamp) -> Result<Vec<Incident>, DatabaseError> {
    Select::all("incidents")
        .and("open_until_ms >= ?", [now.millis().into()])
        .and("confirmed = ?", [1.into()])
        .then("ORDER BY pipeline, start_ms DESC, id LIMIT ?", [MOST_OPEN.into()])
        .rows(database)
        .await
}

/// How many open incidents are looked at.
const MOST_OPEN: i64 = 10_000;

/// The episodes of the series of `pipeline` that have points between two times, the heaviest first.
///
/// # Errors
/// The database can't be read.
pub async fn episodes_between(
    database: &Database,
    pipeline: &str,
    (from, until): (Timestamp, Timestamp),
    most: i64,
) -> Result<Vec<Member>, DatabaseError> {
    Select::all("episodes")
        .and("pipeline = ?", [pipeline.to_owned().into()])
        .and("end_ms >= ?", [from.millis().into()])
        .and("start_ms <= ?", [until.millis().into()])
        .then("ORDER BY weight DESC LIMIT ?", [most.into()])
        .rows(database)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;
    use crate::recipe::Recipe;
    use engine::Pipeline;
    use engine::incident::{Anomalous, Point};
    use models::Resources;

    fn labels(host: &str) -> Labels {
        Labels::metric("m").with("host", host).with("zone", &host[..1])
    }

    fn found(host: &str, seconds: &[i64]) -> Anomalous {
        let point = |&at: &i64| Point {
            at: Timestamp::from_seconds(at),
            score: at as f64,
            actual: f64::INFINITY,
            expected: 5.0,
            lower: 4.0,
            upper: 6.0,
        };
        Anomalous { series: labels(host), points: seconds.iter().map(point).collect() }
    }

    fn scene() -> Scene {
        Scene::of(&Pipeline::parse("{name: p, query: m, step: 1s}", "test").unwrap())
    }

    async fn all(database: &Database, pending: bool) -> Vec<Incident> {
        let mut rows = list(database, Filter { pending, ..Filter::default() }, Limit::default()).await.unwrap();
        rows.reverse();
        rows
    }

    /// The hosts of an incident's episodes, those that contribute most first.
    async fn hosts(database: &Database, id: &str) -> String {
        let members = members(database, &[id], None, 100).await.unwrap();
        let hosts: Vec<String> =
            members.iter().map(|one| one.labels().get("host").unwrap_or_default().to_owned()).collect();
        hosts.join(" ")
    }

    /// What is known after each of `steps` was recorded: hosts, start, end, points.
    async fn check(steps: &[&[Anomalous]], expected: &[(&str, i64, i64, i64)]) -> testing::Temporary {
        let database = testing::database().await;
        for found in steps {
            record(&database, &scene(), found).await.unwrap();
        }
        let mut rows = vec![];
        for row in all(&database, false).await {
            rows.push((hosts(&database, &row.id).await, row.start_ms / 1000, row.end_ms / 1000, row.points));
        }
        let expected: Vec<_> = expected.iter().map(|one| (one.0.to_string(), one.1, one.2, one.3)).collect();
        assert_eq!(rows, expected);
        database
    }

    #[tokio::test]
    async fn points_extend_what_is_open_and_replays_change_nothing() {
        check(&[&[]], &[]).await;
        let first = [found("a", &[10, 12]), found("b\0", &[11])];
        check(&[&first, &first], &[("a b\u{fffd}", 10, 12, 3)]).await;
        let next = [found("a", &[12, 16]), found("a", &[21])];
        check(&[&first[..1], &next, &next, &first[..1]], &[("a", 10, 16, 3), ("a", 21, 21, 1)]).await;
    }

    #[tokio::test]
    async fn series_that_deviate_together_are_one_incident_in_whatever_order_they_come() {
        let parts = [found("a", &[10, 12]), found("b", &[13, 14, 15]), found("c", &[18]), found("d", &[60])];
        let expected = [("b a c", 10, 18, 6), ("d", 60, 60, 1)];
        for turn in 0..parts.len() {
            let mut other = parts.clone();
            other.rotate_left(turn);
            let steps: Vec<&[Anomalous]> = other.chunks(1).collect();
            check(&steps, &expected).await;
            check(&[&other[..2], &other[2..], &other[..1]], &expected).await;
        }
    }

    #[tokio::test]
    async fn a_backfill_joins_incidents_and_what_was_said_of_them() {
        let database = testing::database().await;
        record(&database, &scene(), &[found("a", &[10]), found("b", &[20])]).await.unwrap();
        let ids: Vec<String> = all(&database, false).await.into_iter().map(|row| row.id).collect();
        let said = "INSERT INTO feedback (id, incident, pipeline, labels, start_ms, end_ms, verdict, note, created_ms, \
                    created_by) VALUES ('f', $1, 'p', '{}', 0, 0, 'expected', '', 0, 'me')";
        sqlx::query(said).bind(&ids[1]).execute(&database.pool).await.unwrap();
        record(&database, &scene(), &[found("a", &[14]), found("c", &[16])]).await.unwrap();
        let rows = all(&database, false).await;
        assert_eq!(rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), ids[..1]);
        assert_eq!((rows[0].start_ms, rows[0].end_ms, rows[0].members), (10_000, 20_000, 3));
        assert_eq!((rows[0].peak_score, rows[0].series.as_str()), (20.0, "m{host=\"b\", zone=\"b\"}"));
        assert!(rows[0].created_ms < rows[0].changed_ms, "every change has a time of its own");
        let (incident,): (String,) =
            sqlx::query_as("SELECT incident FROM feedback").fetch_one(&database.pool).await.unwrap();
        assert_eq!(incident, ids[0]);
    }

    #[tokio::test]
    async fn an_incident_whose_series_turn_out_to_have_begun_apart_falls_apart() {
        let late = [found("a", &[38, 39, 40]), found("b", &[38, 39, 41])];
        let early = [found("a", &[10, 14, 18, 22, 26, 30, 34])];
        let expected = [("a", 10, 40, 10), ("b", 38, 41, 3)];
        check(&[&late], &[("a b", 38, 41, 6)]).await;
        check(&[&late, &early, &late], &expected).await;
        check(&[&early, &late], &expected).await;
    }

    #[tokio::test]
    async fn an_incident_says_what_tells_its_series_apart_and_how_bad_it_is() {
        let database = testing::database().await;
        let watched: Vec<Labels> =
            (0..40).map(|host| labels(&format!("{}{host}", if host < 30 { "a" } else { "b" }))).collect();
        let hosts: Vec<Anomalous> = (29..40).map(|host| found(watched[host].get("host").unwrap(), &[10, 11])).collect();
        let document = Pipeline::documents("{name: p, query: m}").remove(0);
        let pipeline = Pipeline::from_document(&document, "test").unwrap();
        let recipe = Recipe::of((&document, crate::assembly::Trust::Api), &pipeline, None, &Resources::default());
        let scene = scene().watching(&watched).made_with(recipe.clone().into());
        record(&database, &scene, &hosts).await.unwrap();
        let row = all(&database, false).await.remove(0);
        let told: Vec<String> = row.telling().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["10 of 11 have zone=b, and none of the other 29"]);
        assert_eq!((row.members, row.watched, row.severity.as_str()), (11, 40, "critical"));
        assert_eq!(row.recipe.as_deref(), Some(recipe.hash.as_str()));
        let (kept,): (String,) =
            sqlx::query_as("SELECT document FROM recipes").fetch_one(&database.pool).await.unwrap();
        assert_eq!(kept, recipe.document);
        record(&database, &self::scene(), &[found("a0", &[12])]).await.unwrap();
        let later = all(&database, false).await.remove(0);
        assert_eq!((later.members, later.watched, later.telling == row.telling), (12, 40, true));
        assert_eq!(later.recipe, row.recipe);
        let shares: Vec<f64> =
            members(&database, &[&later.id], None, 2).await.unwrap().iter().map(|one| one.weight).collect();
        assert_eq!(shares, [20.0, 20.0], "those that contribute most");
    }

    #[tokio::test]
    async fn nobody_is_told_before_it_has_lasted() {
        let database = testing::database().await;
        let patient = Pipeline::parse("{name: p, query: m, step: 1s, anomaly: {for: 5s}}", "test").unwrap();
        for (seconds, is_told) in [(&[10][..], false), (&[14], false), (&[15], true), (&[17], true)] {
            record(&database, &Scene::of(&patient), &[found("a", seconds)]).await.unwrap();
            let known = (all(&database, true).await.len(), all(&database, false).await.len() == 1);
            assert_eq!(known, (1, is_told), "after {seconds:?}");
            let heard = changed(&database, None, Cursor { at_ms: 0, id: String::new() }, 10).await.unwrap();
            assert_eq!(heard.len(), usize::from(is_told));
        }
    }

    #[tokio::test]
    async fn incidents_are_found_by_labels_time_score_and_severity() {
        let known = [("a%", 10, 10, 1), ("A%", 30, 31, 2)];
        let database = check(&[&[found("a%", &[10]), found("A%", &[30, 31])]], &known).await;
        let check = async |filter: Filter, expected: &[i64]| {
            let rows = list(&database, filter.clone(), Limit::default()).await.unwrap();
            let starts: Vec<i64> = rows.iter().map(|row| row.start_ms / 1000).collect();
            assert_eq!(starts, expected, "{filter:?}");
        };
        let at = |seconds| Some(Timestamp::from_seconds(seconds));
        let label = |value: &str| Filter { labels: vec![("host".into(), value.into())], ..Filter::default() };
        check(Filter::default(), &[30, 10]).await;
        check(Filter { series: Some(labels("a%").to_string()), ..Filter::default() }, &[10]).await;
        check(Filter { series: Some("m".into()), ..Filter::default() }, &[]).await;
        check(label("a%"), &[10]).await;
        check(label("%"), &[]).await;
        check(Filter { from: at(11), ..Filter::default() }, &[30]).await;
        check(Filter { until: at(30), ..Filter::default() }, &[10]).await;
        check(Filter { min_score: Some(10.5), ..Filter::default() }, &[30]).await;
        check(Filter { severity: Some(Severity::Info), ..Filter::default() }, &[30, 10]).await;
        check(Filter { severity: Some(Severity::Critical), ..Filter::default() }, &[]).await;
        check(Filter { pipeline: Some("q".into()), ..Filter::default() }, &[]).await;
        // Four steps, and twice the minute between passes, after their last points.
        let now = Timestamp::from_seconds(140);
        check(Filter { open: Some((true, now)), ..Filter::default() }, &[30]).await;
        check(Filter { open: Some((false, now)), ..Filter::default() }, &[10]).await;
        assert_eq!(open(&database, now).await.unwrap().len(), 1);
        let newest = list(&database, Filter::default(), Limit::default()).await.unwrap().remove(0);
        let after = Some(Cursor { at_ms: newest.start_ms, id: newest.id });
        check(Filter { after, ..Filter::default() }, &[10]).await;
        let near = episodes_between(&database, "p", (Timestamp::from_seconds(11), Timestamp::from_seconds(30)), 9);
        assert_eq!(near.await.unwrap().len(), 1);
    }

    /// What a database of the version before holds: an incident of one series, and what was said of it.
    #[tokio::test]
    async fn incidents_of_before_stay_readable_and_go_on() {
        use sqlx::Executor as _;
        let folder = tempfile::tempdir().unwrap();
        let url = crate::database::file_url(&folder.path().join("state.db"));
        let pool = {
            sqlx::any::install_default_drivers();
            sqlx::AnyPool::connect(&format!("{url}?mode=rwc")).await.unwrap()
        };
        let first = crate::database::MIGRATIONS.iter().find(|one| one.version == 1).unwrap();
        let only_first =
            sqlx::migrate::Migrator { migrations: vec![first.clone()].into(), ..sqlx::migrate!("./migrations") };
        only_first.run(&pool).await.unwrap();
        let old = "INSERT INTO incidents VALUES ('i', 'p', 'm{host=\"a\", zone=\"a\"}', \
                   '{\"__name__\":\"m\",\"host\":\"a\",\"zone\":\"a\"}', 10000, 12000, 12000, 12, 9, 5, 4, 6, 2, 20000, 1, 2)";
        pool.execute(old).await.unwrap();
        let said = "INSERT INTO feedback VALUES ('f', 'i', 'p', '{}', 10000, 12000, 'expected', '', 3, 'me')";
        pool.execute(said).await.unwrap();
        pool.close().await;
        let database = Database::open(&url).await.unwrap();
        let row = all(&database, false).await.remove(0);
        assert_eq!((row.id.as_str(), row.members, row.severity.as_str()), ("i", 1, "warning"));
        record(&database, &scene(), &[found("a", &[14]), found("b", &[14])]).await.unwrap();
        let row = all(&database, false).await.remove(0);
        assert_eq!((row.id.as_str(), row.members, row.points), ("i", 2, 4));
        let feedback = crate::database::feedback::about(&database, &[row]).await.unwrap();
        assert!(feedback[0].moves().is_none(), "nobody knows what it was about");
    }
}
