//! What people say that passes heed: verdicts on incidents, and times at which nothing is to be judged, from feedback,
//! Alertmanager and Grafana. It is read again and again beside the passes, which never wait for it: where a source can't
//! be reached, what it said last holds.

mod alertmanager;
mod grafana;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use engine::Pipeline;
use engine::feedback::Verdict;
use engine::silence::{Matcher, MatcherError, Operator, Silence};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;
use tsdb::labels::METRIC_NAME;
use tsdb::{Labels, Timestamp};

use crate::app::App;
use crate::config::service::Silences;
use crate::database::{DatabaseError, feedback};

/// How often is looked whether somebody has given a verdict, in whatever process.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long verdicts are of any use.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const MOST_BYTES: usize = 16 << 20;

/// The names of the alerts that we ship: a silence of any of them is one of the series.
const OUR_ALERTS: [&str; 4] = ["Anomaly", "CriticalIncident", "Incident", "ManyAnomalies"];

/// Why a server did not say what is silenced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It can't be reached, or takes too long.
    #[error("{0}")]
    Reach(#[source] reqwest::Error),
    /// It refuses.
    #[error("it answers {0}")]
    Status(reqwest::StatusCode),
    /// It says too much.
    #[error("its answer is larger than {MOST_BYTES} bytes")]
    TooLarge,
    /// It says something else.
    #[error("its answer is not understood: {0}")]
    Shape(#[from] serde_json::Error),
    /// The file with the token.
    #[error("{path}: {source}")]
    Secret {
        /// Which.
        path: String,
        /// Why it can't be read.
        source: std::io::Error,
    },
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        Self::Reach(error.without_url())
    }
}

/// One condition, not bound to a pipeline yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) label: String,
    pub(crate) operator: Operator,
    pub(crate) value: String,
}

impl Condition {
    fn matcher(&self, label: &str) -> Result<Matcher, MatcherError> {
        Matcher::new(label, self.operator, &self.value)
    }
}

/// A time at which something is not to be judged, and who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// `alertmanager`, `grafana` or `feedback`.
    pub source: &'static str,
    /// Its id there.
    pub id: String,
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
    /// What people wrote to it.
    pub comment: String,
    /// The pipeline that it is about; any, where none is named.
    pub pipeline: Option<String>,
    conditions: Vec<Condition>,
}

impl Notice {
    /// What it must be told of a series, as Prometheus writes it.
    pub fn conditions(&self) -> Vec<String> {
        let told = self.conditions.iter().filter_map(|one| one.matcher(&one.label).ok());
        told.map(|matcher| matcher.to_string()).collect()
    }

    /// The silence that it is for the series of `pipeline`; none where it is not about them. What an alert of ours has
    /// beside the labels of its series is compared with that: `pipeline`, `model`, `alertname`; `source` is the metric's
    /// name.
    fn silence(&self, pipeline: &Pipeline) -> Option<Silence> {
        if self.pipeline.as_ref().is_some_and(|name| *name != pipeline.name) {
            return None;
        }
        let mut matchers = vec![];
        for condition in &self.conditions {
            let own = |values: &[&str]| {
                let matcher = condition.matcher(&condition.label).ok()?;
                let fits = |value: &&str| {
                    Labels::new([(condition.label.as_str(), *value)]).is_ok_and(|one| matcher.matches(&one))
                };
                values.iter().any(fits).then_some(())
            };
            match condition.label.as_str() {
                "pipeline" => own(&[&pipeline.name])?,
                "model" => own(&[&pipeline.model.id])?,
                "alertname" => own(&OUR_ALERTS)?,
                "source" => matchers.push(condition.matcher(METRIC_NAME).ok()?),
                label => matchers.push(condition.matcher(label).ok()?),
            }
        }
        Some(Silence { from: self.from, until: self.until, matchers })
    }
}

/// All that people say.
#[derive(Debug, Default)]
struct Said {
    verdicts: BTreeMap<String, Arc<[Verdict]>>,
    /// By source.
    notices: BTreeMap<&'static str, Vec<Notice>>,
}

/// What people say, as it was last heard.
#[derive(Debug, Default)]
pub struct Advice {
    said: RwLock<Arc<Said>>,
    hurry: Notify,
}

impl Advice {
    /// The verdicts on the series of `pipeline`.
    pub fn verdicts(&self, pipeline: &str) -> Arc<[Verdict]> {
        self.said().verdicts.get(pipeline).cloned().unwrap_or_default()
    }

    /// The times at which series of `pipeline` are not to be judged.
    pub fn silences(&self, pipeline: &Pipeline) -> Vec<Silence> {
        self.said().notices.values().flatten().filter_map(|notice| notice.silence(pipeline)).collect()
    }

    /// All that is not to be judged, whoever says so.
    pub fn notices(&self) -> Vec<Notice> {
        self.said().notices.values().flatten().cloned().collect()
    }

    /// Has it read again soon: somebody has said something.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    fn said(&self) -> Arc<Said> {
        self.said.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        let mut new = Said { verdicts: said.verdicts.clone(), notices: said.notices.clone() };
        change(&mut new);
        *said = Arc::new(new);
    }

    /// Takes in what was given as feedback.
    fn learn(&self, rows: &[feedback::Feedback]) {
        let mut verdicts: BTreeMap<String, Vec<Verdict>> = BTreeMap::new();
        for row in rows {
            row.moves().into_iter().for_each(|one| verdicts.entry(row.pipeline.clone()).or_default().push(one));
        }
        let notices = rows.iter().flat_map(of_feedback).collect();
        self.change(|said| {
            said.verdicts = verdicts.into_iter().map(|(name, all)| (name, all.into())).collect();
            said.notices.insert("feedback", notices);
        });
    }
}

/// The times of maintenance that somebody has told of.
fn of_feedback(row: &feedback::Feedback) -> Vec<Notice> {
    let notice = |scope: &Labels| Notice {
        source: "feedback",
        id: row.id.clone(),
        from: Timestamp::from_millis(row.start_ms),
        until: Timestamp::from_millis(row.end_ms + 1),
        comment: row.note.clone(),
        pipeline: Some(row.pipeline.clone()),
        conditions: scope.iter().map(|(name, value)| equal(name, value)).collect(),
    };
    if row.verdict == "maintenance" { row.scope().iter().map(notice).collect() } else { vec![] }
}

fn equal(label: &str, value: &str) -> Condition {
    Condition { label: label.to_owned(), operator: Operator::Equal, value: value.to_owned() }
}

/// Reads what people have said before the first pass; what servers say comes as soon as they answer.
pub async fn first(app: &App) {
    if let Err(error) = look(app, &mut None).await {
        tracing::warn!("what people have said can't be read now: {error}");
    }
}

/// Listens for as long as the service runs.
pub async fn listen(app: App) {
    let (mut revision, mut asked) = (None, None::<Instant>);
    let mut failures: BTreeMap<&'static str, String> = BTreeMap::new();
    loop {
        if let Err(error) = look(&app, &mut revision).await {
            tracing::warn!("what people have said can't be read now: {error}");
        }
        let silences = app.current().config.silences.clone();
        if asked.is_none_or(|asked| asked.elapsed() >= silences.every) {
            asked = Some(Instant::now());
            ask_all(&app, &silences, &mut failures).await;
        }
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = app.advice.hurry.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

type Revision = (i64, Option<String>);

/// Reads the feedback, where there is other than before.
async fn look(app: &App, revision: &mut Option<Revision>) -> Result<(), DatabaseError> {
    let found = feedback::revision(&app.database).await?;
    if revision.as_ref() != Some(&found) {
        app.advice.learn(&feedback::since(&app.database, app.now() - REMEMBERED).await?);
        *revision = Some(found);
    }
    Ok(())
}

async fn ask_all(app: &App, silences: &Silences, failures: &mut BTreeMap<&'static str, String>) {
    if let Some(config) = &silences.alertmanager {
        take(app, "alertmanager", alertmanager::ask(config).await, failures);
    } else {
        app.advice.change(|said| drop(said.notices.remove("alertmanager")));
    }
    if let Some(config) = &silences.grafana {
        take(app, "grafana", grafana::ask(config, app.now()).await, failures);
    } else {
        app.advice.change(|said| drop(said.notices.remove("grafana")));
    }
}

/// Takes in what `source` has said; where it failed, what it said before holds, and it is told once.
fn take(
    app: &App,
    source: &'static str,
    answer: Result<Vec<Notice>, AskError>,
    failures: &mut BTreeMap<&'static str, String>,
) {
    match answer {
        Ok(notices) => {
            if failures.remove(source).is_some() {
                tracing::info!(source, "says again what is silenced");
            }
            app.advice.change(|said| drop(said.notices.insert(source, notices)));
        }
        Err(error) => {
            let error = error.to_string();
            if failures.get(source) != Some(&error) {
                tracing::warn!(source, "does not say what is silenced, what it said before holds: {error}");
            }
            failures.insert(source, error);
        }
    }
}

/// What the server at `url` answers to a GET, for whoever has `token`.
async fn get<T: DeserializeOwned>(url: reqwest::Url, token: Option<String>) -> Result<T, AskError> {
    // A redirect might lead to where the token is not meant to go.
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
    let request = client.get(url).header("accept", "application/json");
    let mut response = match token {
        Some(token) => request.bearer_auth(token).send().await?,
        None => request.send().await?,
    };
    if !response.status().is_success() {
        return Err(AskError::Status(response.status()));
    }
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(AskError::TooLarge);
        }
    }
    Ok(serde_json::from_slice(&body)?)
}

/// The token that is given, or that stands in a file.
fn token(given: Option<&String>, file: Option<&std::path::PathBuf>) -> Result<Option<String>, AskError> {
    let Some(path) = file else { return Ok(given.cloned()) };
    let read = std::fs::read_to_string(path);
    let wrong = |source| AskError::Secret { path: path.display().to_string(), source };
    Ok(Some(read.map_err(wrong)?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(conditions: &[(&str, Operator, &str)]) -> Notice {
        let condition = |(label, operator, value): &(&str, Operator, &str)| Condition {
            label: (*label).to_owned(),
            operator: *operator,
            value: (*value).to_owned(),
        };
        Notice {
            source: "alertmanager",
            id: "a".into(),
            from: Timestamp::from_seconds(10),
            until: Timestamp::from_seconds(20),
            comment: String::new(),
            pipeline: None,
            conditions: conditions.iter().map(condition).collect(),
        }
    }

    /// Which of three series of the pipeline `cpu` are silenced.
    fn check(conditions: &[(&str, Operator, &str)], expected: &str) {
        let pipeline = Pipeline::parse("{name: cpu, query: load, model: {id: mstl}}", "test").unwrap();
        let silence = notice(conditions).silence(&pipeline);
        let series = ["load{host=\"a\"}", "load{host=\"b\"}", "temperature{host=\"a\"}"];
        let silenced =
            series.map(|text| silence.as_ref().is_some_and(|silence| silence.is_for(&text.parse().unwrap())));
        let found: String = silenced.map(|is| if is { 'x' } else { '-' }).iter().collect();
        assert_eq!(found, expected, "{conditions:?}");
    }

    #[test]
    fn a_silence_is_one_of_the_series_that_its_alerts_would_be_about() {
        use Operator::{Equal, Matches, NotEqual};
        check(&[], "xxx");
        check(&[("alertname", Equal, "Anomaly")], "xxx");
        check(&[("alertname", Equal, "DiskFull")], "---");
        check(&[("alertname", Matches, "A.*"), ("host", Equal, "a")], "x-x");
        check(&[("pipeline", Equal, "cpu"), ("source", Equal, "load")], "xx-");
        check(&[("pipeline", Equal, "memory")], "---");
        check(&[("pipeline", NotEqual, "memory"), ("host", NotEqual, "a")], "-x-");
        check(&[("model", Matches, "m.tl")], "xxx");
        check(&[("model", Equal, "nano")], "---");
        check(&[("severity", Equal, "info")], "---");
        check(&[("host", Matches, "(")], "---");
    }

    #[test]
    fn a_notice_for_one_pipeline_is_none_for_others() {
        let pipeline = Pipeline::parse("{name: cpu, query: load}", "test").unwrap();
        let of = |name: &str| Notice { pipeline: Some(name.into()), ..notice(&[]) };
        assert!(of("cpu").silence(&pipeline).is_some() && of("memory").silence(&pipeline).is_none());
    }
}
