//! What passes find, put in: points extend episodes, and episodes form incidents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::Pipeline;
use engine::incident::{
    Anomalous, Episode, Point, Severity, has_lasted, inherited, join, reach, telling, together, weight,
};
use sqlx::{Any, AssertSqlSafe, Transaction};
use tsdb::{Labels, Timestamp};

use super::{Database, DatabaseError, Incident, Member, placeholders};
use crate::app::new_id;
use crate::recipe::Recipe;

/// How many rows one statement writes at most: SQLite binds no more than 32,766 values.
const CHUNK: usize = 500;

/// What of a pipeline matters for its incidents.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    pipeline: String,
    reach: Duration,
    /// How long after its last point an incident may still be extended.
    lingers: Duration,
    /// How long a series must stay above 1 before there is an incident.
    patience: Duration,
    /// All series that the pipeline watches; none where that is not known.
    watched: Arc<[Labels]>,
    recipe: Option<Arc<Recipe>>,
}

impl Scene {
    /// That of `pipeline`.
    pub fn of(pipeline: &Pipeline) -> Self {
        let reach = reach(pipeline.step);
        // A pass is due once in a gap, and may take as long as one.
        let lingers = reach + pipeline.data_delay + pipeline.anomaly_schedule.largest_gap() * 2;
        let patience = pipeline.anomaly.patience;
        Self { pipeline: pipeline.name.clone(), reach, lingers, patience, watched: Arc::default(), recipe: None }
    }

    /// The same, whose scores are made with `recipe`.
    #[must_use]
    pub fn made_with(self, recipe: Arc<Recipe>) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// The same, while the pipeline watches `series`. They are kept as long as they stay the same.
    #[must_use]
    pub fn watching(mut self, series: &[Labels]) -> Self {
        if *self.watched != *series {
            self.watched = series.into();
        }
        self
    }
}

/// Records what was `found` anomalous in the series of `pipeline`: points within reach of a known episode extend it,
/// others begin a new one, and episodes that belong together are one incident. The same points may come again, and
/// change nothing.
///
/// # Errors
/// The database can't be read or written; then nothing is recorded.
pub async fn record(database: &Database, scene: &Scene, found: &[Anomalous]) -> Result<(), DatabaseError> {
    let mut transaction = database.begin().await?;
    insert(&mut transaction, database.clock(), scene, found).await?;
    Ok(transaction.commit().await?)
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
    let mut points: BTreeMap<&Labels, Vec<Point>> = BTreeMap::new();
    for one in found {
        points.entry(&one.series).or_default().extend(&one.points);
    }
    let times = || points.values().flatten().map(|point| point.at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    let now = take_turns(transaction, clock).await?;
    // Whatever the points may change is near them, or part of an incident that is.
    let near = near(transaction, scene, first, last).await?;
    let episodes = of_incidents(transaction, "episodes", "incident", &near).await?;
    let incidents: Vec<Incident> = of_incidents(transaction, "incidents", "id", &near).await?;
    let Some(change) = Change::of(scene, episodes, incidents, &points, now) else { return Ok(()) };
    if let Some(recipe) = &scene.recipe {
        keep_recipe(transaction, &scene.pipeline, recipe, now).await?;
    }
    drop_joined(transaction, &change).await?;
    write_members(transaction, &change.members).await?;
    write_incidents(transaction, &change.incidents).await
}

/// What is to be written.
struct Change {
    members: Vec<Member>,
    incidents: Vec<Incident>,
    /// Episodes that have become part of another one.
    lost_episodes: Vec<String>,
    /// Incidents that are no more, and the one that each has become part of.
    lost_incidents: Vec<(String, String)>,
}

impl Change {
    /// What becomes of the known `episodes` and their `incidents` when `points` come; nothing, where they say nothing
    /// new.
    fn of(
        scene: &Scene,
        episodes: Vec<Member>,
        incidents: Vec<Incident>,
        points: &BTreeMap<&Labels, Vec<Point>>,
        now: Timestamp,
    ) -> Option<Self> {
        let Extended { mut members, changed, lost } = Extended::by(scene, episodes, points);
        if changed.is_empty() {
            return None;
        }
        let spans: Vec<Episode> = members.iter().map(Member::episode).collect();
        let groups = together(&spans, scene.reach);
        let numbers: BTreeMap<&str, usize> = incidents.iter().zip(0..).map(|(one, at)| (one.id.as_str(), at)).collect();
        let owners: Vec<Option<usize>> =
            members.iter().map(|one| numbers.get(one.incident.as_str()).copied()).collect();
        let mut change = Self { members: vec![], incidents: vec![], lost_episodes: lost, lost_incidents: vec![] };
        let heirs = inherited(&groups, &owners);
        let mut into: BTreeMap<usize, String> = BTreeMap::new();
        for (group, heir) in groups.iter().zip(&heirs) {
            let old = heir.map(|at| &incidents[at]);
            let id = old.map_or_else(new_id, |old| old.id.clone());
            let is_touched = group.iter().any(|&at| members[at].incident != id || changed.contains(&members[at].id));
            for &at in group {
                if let Some(owner) = owners[at] {
                    into.entry(owner).or_insert_with(|| id.clone());
                }
                if members[at].incident != id || changed.contains(&members[at].id) {
                    members[at].incident.clone_from(&id);
                    change.members.push(members[at].clone());
                }
            }
            let own: Vec<&Member> = group.iter().map(|&at| &members[at]).collect();
            let has_lost = old.is_some_and(|old| old.points != own.iter().map(|one| one.points).sum::<i64>());
            if is_touched || has_lost {
                change.incidents.push(incident(scene, id, &own, old, now));
            }
        }
        let is_gone = |at: &usize| !heirs.contains(&Some(*at));
        let gone = (0..incidents.len()).filter(is_gone);
        change.lost_incidents =
            gone.filter_map(|at| Some((incidents[at].id.clone(), into.get(&at)?.clone()))).collect();
        Some(change)
    }
}

/// The episodes after points have come.
struct Extended {
    members: Vec<Member>,
    /// The ids of those that are new or have grown.
    changed: BTreeSet<String>,
    /// The ids of those that have become part of another one.
    lost: Vec<String>,
}

impl Extended {
    fn by(scene: &Scene, episodes: Vec<Member>, points: &BTreeMap<&Labels, Vec<Point>>) -> Self {
        let mut known: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        for member in episodes {
            known.entry(member.series.clone()).or_default().push(member);
        }
        let mut extended = Self { members: vec![], changed: BTreeSet::new(), lost: vec![] };
        for (labels, points) in points {
            let mut own = known.remove(&text(&labels.to_string())).unwrap_or_default();
            own.sort_by_key(|one| one.start_ms);
            extended.series(scene, labels, own, points);
        }
        extended.members.extend(known.into_values().flatten());
        extended
    }

    /// The `known` episodes of one series, after `points` have come.
    fn series(&mut self, scene: &Scene, labels: &Labels, known: Vec<Member>, points: &[Point]) {
        let episodes: Vec<Episode> = known.iter().map(Member::episode).collect();
        let joined = join(&episodes, points, scene.reach);
        let touched: BTreeSet<usize> = joined.iter().flat_map(|one| one.known.iter().copied()).collect();
        for one in &joined {
            let mut parts = one.known.iter().map(|at| &known[*at]);
            let member = member(scene, labels, &one.episode, parts.next());
            self.lost.extend(parts.map(|part| part.id.clone()));
            self.changed.insert(member.id.clone());
            self.members.push(member);
        }
        let kept = known.into_iter().enumerate().filter(|(at, _)| !touched.contains(at));
        self.members.extend(kept.map(|(_, one)| one));
    }
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

/// The incidents of a pipeline that have an episode near the points from `first` to `last`.
async fn near(
    transaction: &mut Transaction<'_, Any>,
    scene: &Scene,
    first: Timestamp,
    last: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let query = "SELECT DISTINCT incident FROM episodes WHERE pipeline = $1 AND end_ms >= $2 AND start_ms <= $3";
    let query = sqlx::query_as(query).bind(scene.pipeline.clone());
    let query = query.bind((first - scene.reach).millis()).bind((last + scene.reach).millis());
    let rows: Vec<(String,)> = query.fetch_all(&mut **transaction).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// The rows of `table` whose `column` is one of `ids`.
async fn of_incidents<T>(
    transaction: &mut Transaction<'_, Any>,
    table: &'static str,
    column: &'static str,
    ids: &[String],
) -> Result<Vec<T>, sqlx::Error>
where
    T: for<'r> sqlx::FromRow<'r, sqlx::any::AnyRow> + Send + Unpin,
{
    let mut rows = vec![];
    for chunk in ids.chunks(CHUNK) {
        let places: Vec<String> = (1..=chunk.len()).map(|at| format!("${at}")).collect();
        let select = format!("SELECT * FROM {table} WHERE {column} IN ({})", places.join(", "));
        let query = chunk.iter().fold(sqlx::query_as(AssertSqlSafe(select)), |query, id| query.bind(id.clone()));
        rows.extend(query.fetch_all(&mut **transaction).await?);
    }
    Ok(rows)
}

/// The row of an episode, in the place of `old` where it has grown out of that.
fn member(scene: &Scene, labels: &Labels, episode: &Episode, old: Option<&Member>) -> Member {
    Member {
        id: old.map_or_else(new_id, |old| old.id.clone()),
        incident: old.map(|old| old.incident.clone()).unwrap_or_default(),
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
        weight: weight(episode.peak.score, episode.points),
    }
}

/// The row of an incident of these members, in the place of `old` where it has grown out of that.
fn incident(scene: &Scene, id: String, members: &[&Member], old: Option<&Incident>, now: Timestamp) -> Incident {
    let highest = members.iter().copied().max_by(|a, b| a.peak_score.total_cmp(&b.peak_score).then(b.id.cmp(&a.id)));
    let highest = highest.expect("a group has members");
    let heaviest = members.iter().map(|one| one.weight).fold(0.0, f64::max);
    let end_ms = members.iter().map(|one| one.end_ms).max().unwrap_or(highest.end_ms);
    let series: BTreeSet<&str> = members.iter().map(|one| one.series.as_str()).collect();
    let watched = if scene.watched.is_empty() { old.map_or(0, |old| old.watched) } else { whole(scene.watched.len()) };
    let at = Timestamp::from_millis;
    let has_lasted = |one: &&Member| has_lasted(at(one.start_ms), at(one.end_ms), scene.patience);
    let is_confirmed = old.is_some_and(|old| old.confirmed == 1) || members.iter().any(has_lasted);
    let severity = Severity::of(heaviest, series.len(), usize::try_from(watched).unwrap_or(0).max(series.len()));
    Incident {
        id,
        pipeline: scene.pipeline.clone(),
        series: highest.series.clone(),
        labels: highest.labels.clone(),
        start_ms: members.iter().map(|one| one.start_ms).min().unwrap_or(highest.start_ms),
        end_ms,
        peak_ms: highest.peak_ms,
        peak_score: highest.peak_score,
        peak_actual: highest.peak_actual,
        peak_expected: highest.peak_expected,
        peak_lower: highest.peak_lower,
        peak_upper: highest.peak_upper,
        points: members.iter().map(|one| one.points).sum(),
        weight: members.iter().map(|one| one.weight).sum(),
        members: whole(series.len()),
        watched,
        telling: told(scene, members, old),
        severity: severity.name().to_owned(),
        confirmed: i64::from(is_confirmed),
        open_until_ms: (at(end_ms) + scene.lingers).millis(),
        recipe: old.map_or_else(|| scene.recipe.as_ref().map(|one| one.hash.clone()), |old| old.recipe.clone()),
        created_ms: old.map_or(now.millis(), |old| old.created_ms),
        changed_ms: now.millis(),
    }
}

/// The labels that tell the members from the others, as JSON.
fn told(scene: &Scene, members: &[&Member], old: Option<&Incident>) -> String {
    if scene.watched.is_empty() {
        return old.map_or_else(|| "[]".into(), |old| old.telling.clone());
    }
    let members: Vec<Labels> = members.iter().map(|one| one.labels()).collect();
    serde_json::to_string(&telling(&members, &scene.watched)).unwrap_or_else(|_| "[]".into())
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A text that every database takes.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Labels as a JSON object, the metric's name among them.
fn json(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(name, value)| (name.to_string(), serde_json::Value::from(text(value))));
    serde_json::Value::Object(pairs.collect()).to_string()
}

async fn keep_recipe(
    transaction: &mut Transaction<'_, Any>,
    pipeline: &str,
    recipe: &Recipe,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let statement = "INSERT INTO recipes (hash, pipeline, document, model, created_ms) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (hash) DO NOTHING";
    let query = sqlx::query(statement).bind(&recipe.hash).bind(pipeline).bind(&recipe.document).bind(&recipe.model);
    query.bind(now.millis()).execute(&mut **transaction).await?;
    Ok(())
}

/// Takes out what became part of another, and lets what was said of it be said of that.
async fn drop_joined(transaction: &mut Transaction<'_, Any>, change: &Change) -> Result<(), sqlx::Error> {
    for id in &change.lost_episodes {
        sqlx::query("DELETE FROM episodes WHERE id = $1").bind(id).execute(&mut **transaction).await?;
    }
    for (id, into) in &change.lost_incidents {
        let feedback = sqlx::query("UPDATE feedback SET incident = $1 WHERE incident = $2");
        feedback.bind(into).bind(id).execute(&mut **transaction).await?;
        sqlx::query("DELETE FROM incidents WHERE id = $1").bind(id).execute(&mut **transaction).await?;
    }
    Ok(())
}

async fn write_members(transaction: &mut Transaction<'_, Any>, members: &[Member]) -> Result<(), sqlx::Error> {
    for chunk in members.chunks(CHUNK) {
        let statement = format!(
            "INSERT INTO episodes (id, incident, pipeline, series, labels, start_ms, end_ms, peak_ms, peak_score, \
             peak_actual, peak_expected, peak_lower, peak_upper, points, weight) VALUES {} \
             ON CONFLICT (id) DO UPDATE SET incident = excluded.incident, start_ms = excluded.start_ms, \
             end_ms = excluded.end_ms, peak_ms = excluded.peak_ms, peak_score = excluded.peak_score, \
             peak_actual = excluded.peak_actual, peak_expected = excluded.peak_expected, \
             peak_lower = excluded.peak_lower, peak_upper = excluded.peak_upper, points = excluded.points, \
             weight = excluded.weight",
            placeholders(chunk.len(), 15)
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
            let query = query.bind(&one.id).bind(&one.incident).bind(&one.pipeline).bind(&one.series);
            let query = query.bind(&one.labels).bind(one.start_ms).bind(one.end_ms).bind(one.peak_ms);
            let query = query.bind(one.peak_score).bind(one.peak_actual).bind(one.peak_expected);
            query.bind(one.peak_lower).bind(one.peak_upper).bind(one.points).bind(one.weight)
        });
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

const INCIDENT_COLUMNS: [&str; 23] = [
    "id",
    "pipeline",
    "series",
    "labels",
    "start_ms",
    "end_ms",
    "peak_ms",
    "peak_score",
    "peak_actual",
    "peak_expected",
    "peak_lower",
    "peak_upper",
    "points",
    "weight",
    "members",
    "watched",
    "telling",
    "severity",
    "confirmed",
    "open_until_ms",
    "recipe",
    "created_ms",
    "changed_ms",
];

async fn write_incidents(transaction: &mut Transaction<'_, Any>, incidents: &[Incident]) -> Result<(), sqlx::Error> {
    let columns = INCIDENT_COLUMNS;
    let updates: Vec<String> = columns.iter().skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
    for chunk in incidents.chunks(CHUNK) {
        let statement = format!(
            "INSERT INTO incidents ({}) VALUES {} ON CONFLICT (id) DO UPDATE SET {}",
            columns.join(", "),
            placeholders(chunk.len(), columns.len()),
            updates.join(", ")
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, one| {
            let query = query.bind(&one.id).bind(&one.pipeline).bind(&one.series).bind(&one.labels);
            let query = query.bind(one.start_ms).bind(one.end_ms).bind(one.peak_ms).bind(one.peak_score);
            let query = query.bind(one.peak_actual).bind(one.peak_expected).bind(one.peak_lower);
            let query = query.bind(one.peak_upper).bind(one.points).bind(one.weight).bind(one.members);
            let query = query.bind(one.watched).bind(&one.telling).bind(&one.severity).bind(one.confirmed);
            query.bind(one.open_until_ms).bind(one.recipe.clone()).bind(one.created_ms).bind(one.changed_ms)
        });
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

impl Member {
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
