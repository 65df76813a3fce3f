//! What the store holds at the end, compared with what is known to have gone wrong.

use std::collections::HashMap;
use std::time::Duration;

use engine::output::{SCORE_KINDS, selector};
use engine::{Pipeline, Scored};
use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, Labels, Limits, RangeQuery, Read, ReadError, Timestamp};

use super::alerts::{Alert, Verdict, alerts, compare};
use super::{Demo, DemoError, Figures, Plan, START, STEP, pipelines};

/// The labels that a pipeline adds to those of its source.
const OWN_LABELS: [&str; 4] = [METRIC_NAME, "pipeline", "model", "source"];

const WEEK_SECONDS: f64 = 604_800.0;

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// How large it was.
    pub plan: Plan,
    /// What was done.
    pub figures: Figures,
    /// How many pipelines there are.
    pub pipelines: usize,
    /// The names of the series, in the order of the fleet.
    pub series: Vec<Labels>,
    /// The scores of every series in the order of the fleet, as they were read back. A series without a score is a
    /// row of gaps.
    pub score: Frame,
    /// What became of the incidents, by time.
    pub verdicts: Vec<Verdict>,
    /// The alerts that no incident explains.
    pub false_alarms: Vec<Alert>,
}

impl Outcome {
    /// How many incidents were found.
    pub fn found(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.alert.is_some()).count()
    }

    /// How many false alarms a series has in a week, all series counted, those without incidents too.
    pub fn false_alarms_per_series_week(&self) -> f64 {
        let weeks = self.plan.watched.as_secs_f64() / WEEK_SECONDS;
        self.false_alarms.len() as f64 / (self.plan.series as f64 * weeks)
    }

    /// The middle of all delays; `None` where nothing was found.
    pub fn median_delay(&self) -> Option<Duration> {
        let mut delays: Vec<Duration> = self.verdicts.iter().filter_map(Verdict::delay).collect();
        delays.sort_unstable();
        delays.get(delays.len() / 2).copied()
    }

    /// Whether it went as it should: at least half of the incidents found, and at most one false alarm a series and
    /// week.
    pub fn is_good(&self) -> bool {
        2 * self.found() >= self.verdicts.len() && self.false_alarms_per_series_week() <= 1.0
    }
}

impl Demo {
    /// Reads all scores back from the store and compares them with the incidents.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn outcome(&self) -> Result<Outcome, DemoError> {
        let watched = self.plan.watched();
        let series = self.scenario.frame(0..1).series().to_vec();
        let mut values = vec![f64::NAN; series.len() * watched.len()];
        for one in &self.watched {
            let pipeline = one.watch.pipeline();
            // A plain selector would answer a gap with the score before it.
            let query = format!("last_over_time({}[1m])", selector(pipeline, SCORE_KINDS[0]));
            let frame = self.read(&*one.ports.written, query).await?;
            for (row, scores) in rows(&frame, pipeline, &series) {
                values[row * watched.len()..(row + 1) * watched.len()].copy_from_slice(scores);
            }
        }
        let start = START + STEP.times(watched.start);
        let score = Frame::new(series.clone(), start, STEP, watched.len(), values).expect("a row a series");
        let (verdicts, false_alarms) = compare(&self.scenario.incidents(watched), &alerts(&score));
        let (plan, figures, pipelines) = (self.plan, self.figures, self.watched.len());
        Ok(Outcome { plan, figures, pipelines, series, score, verdicts, false_alarms })
    }

    /// Everything that was written of one series of the fleet, for a chart; `None` where there is nothing.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn scored(&self, series: &Labels) -> Result<Option<Scored>, DemoError> {
        let Some(one) = self.watched.iter().find(|one| pipelines::watches(one.watch.pipeline(), series)) else {
            return Ok(None);
        };
        let mut frames = vec![];
        for kind in SCORE_KINDS {
            let frame = self.read(&*one.ports.written, selector(one.watch.pipeline(), kind)).await?;
            let all = std::slice::from_ref(series);
            let Some((_, values)) = rows(&frame, one.watch.pipeline(), all).next() else { return Ok(None) };
            let frame = Frame::new(all.to_vec(), frame.start(), STEP, values.len(), values.to_vec());
            frames.push(frame.expect("one row is a frame"));
        }
        let [score, y, yhat, yhat_lower, yhat_upper] = <[Frame; 5]>::try_from(frames).expect("there are five kinds");
        Ok(Some(Scored { y, yhat, yhat_lower, yhat_upper, score }))
    }

    async fn read(&self, store: &dyn Read, query: String) -> Result<Frame, ReadError> {
        let watched = self.plan.watched();
        let time = |index: usize| -> Timestamp { START + STEP.times(index) };
        let query = RangeQuery::new(query, time(watched.start), time(watched.end - 1), STEP);
        Ok(store.read(&query.expect("there is something to watch"), &Limits::default()).await?.frame)
    }
}

/// The rows of `frame`, which `pipeline` wrote, each with the number of its source among `series`.
fn rows<'a>(frame: &'a Frame, pipeline: &'a Pipeline, series: &[Labels]) -> impl Iterator<Item = (usize, &'a [f64])> {
    let own = series.iter().enumerate().filter(|(_, series)| pipelines::watches(pipeline, series));
    let known: HashMap<Labels, usize> = own.map(|(row, series)| (source(series), row)).collect();
    frame.rows().filter_map(move |(labels, values)| Some((*known.get(&source(labels))?, values)))
}

/// The labels that a source has in common with what is written of it.
fn source(labels: &Labels) -> Labels {
    OWN_LABELS.iter().fold(labels.clone(), |labels, own| labels.with(own, ""))
}
