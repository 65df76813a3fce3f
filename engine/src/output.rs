//! The names of what is written: source labels kept, who made it added, never two series under one name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tsdb::labels::METRIC_NAME;
use tsdb::{Frame, FrameError, Labels, Timestamp};

use crate::outlook::{Outlook, WRITTEN_LEVELS};
use crate::pipeline::Pipeline;
use crate::pipeline::duration::Show;
use crate::score::Scored;

/// The kinds of score series, as [`Scored::named`] orders them.
pub const SCORE_KINDS: [&str; 5] = ["anomaly_score", "y", "yhat", "yhat_lower", "yhat_upper"];

/// What is written of a series whose samples have stopped: 1 while it is missing, 0 once when it has come again.
pub const MISSING: &str = "missing";

/// Two source series would be written as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the source series {first} and {second} would both be written as {output}")]
pub struct Collision {
    /// The series that came first.
    pub first: Labels,
    /// The other one.
    pub second: Labels,
    /// Their common name.
    pub output: Labels,
}

/// The names of a pipeline's output, made once for each source series.
#[derive(Debug)]
pub struct Names {
    pipeline: Arc<Pipeline>,
    rows: Vec<[Labels; 5]>,
    taken: HashMap<Labels, usize>,
}

impl Names {
    /// No names yet.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, rows: vec![], taken: HashMap::new() }
    }

    /// Forgets all names, since row numbers have changed.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.taken.clear();
    }

    /// Names the five score frames: each row gets the name of its source series.
    ///
    /// # Errors
    /// Two source series would be written as one.
    pub fn scores(&mut self, scored: Scored) -> Result<[Frame; 5], Collision> {
        self.learn(scored.y.series())?;
        let mut kind = 0;
        Ok(scored.named().map(|(_, frame)| {
            let (series, start, step, points, values) = frame.into_parts();
            let names = self.rows[..series.len()].iter().map(|names| names[kind].clone()).collect();
            kind += 1;
            Frame::new(names, start, step, points, values).expect("names are unique, and the shape is as it was")
        }))
    }

    fn learn(&mut self, series: &[Labels]) -> Result<(), Collision> {
        for (row, source) in series.iter().enumerate().skip(self.rows.len()) {
            let names = SCORE_KINDS.map(|kind| self.score_name(kind, source));
            if let Some(&first) = self.taken.get(&names[0]) {
                let [output, ..] = names;
                return Err(Collision { first: series[first].clone(), second: source.clone(), output });
            }
            self.taken.insert(names[0].clone(), row);
            self.rows.push(names);
        }
        Ok(())
    }

    /// The name under which what `kind`, one of [`SCORE_KINDS`] or [`MISSING`], says of the series `source` is written.
    pub fn score_name(&self, kind: &str, source: &Labels) -> Labels {
        let format = &self.pipeline.output.metric_format;
        let own = format.labels.iter().map(|(name, value)| (name.as_str(), self.expand(value, kind)));
        let own: Vec<(&str, String)> = own.collect();
        let name = score_metric(&self.pipeline, kind);
        self.labels(source, &name, own.iter().map(|(name, value)| (*name, value.as_str())))
    }

    fn expand(&self, template: &str, kind: &str) -> String {
        template.replace("$VAR", kind).replace("$QUERY_KEY", &self.pipeline.name)
    }

    /// The source's labels, its metric's name moved to `source`, and our own. A label of the source that has the
    /// name of one of ours is kept as `exported_…`, as Prometheus does it.
    fn labels<'a>(
        &'a self,
        source: &'a Labels,
        name: &'a str,
        own: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Labels {
        let fixed = [
            (METRIC_NAME, name),
            ("pipeline", &self.pipeline.name),
            ("model", &self.pipeline.model.id),
            ("source", source.name()),
        ];
        let mut own: Vec<(&str, &str)> = fixed.into_iter().chain(own).collect();
        own.sort_by_key(|(name, _)| *name);
        own.dedup_by_key(|(name, _)| *name);
        let is_own = |name: &str| own.iter().any(|(known, _)| *known == name);
        let kept = source.pairs().iter().filter(|(name, _)| &**name != METRIC_NAME);
        let kept = kept.map(|(name, value)| (free_name(name, source, is_own), value.clone()));
        let kept: Vec<(Arc<str>, Arc<str>)> = kept.collect();
        let own = own.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value)));
        Labels::new(kept.into_iter().chain(own)).expect("own names are unique, and the source's were moved away")
    }

    /// The frames of a forecast. Where the store takes samples `ahead` of now as far as the forecast reaches, each
    /// value stands at its own time; else the last step stands at the time of the forecast, with the label `horizon`.
    ///
    /// # Errors
    /// Two source series would be written as one.
    pub fn forecast(&self, outlook: &Outlook, series: &[Labels], ahead: Duration) -> Result<Vec<Frame>, FrameError> {
        let reach = self.pipeline.step.times(outlook.forecast.horizon());
        let own_times = ahead >= reach;
        let levels = [("type", "mean".to_string(), 0.5)].into_iter();
        let levels = levels.chain(WRITTEN_LEVELS.map(|level| ("quantile", level.to_string(), level)));
        // A pipeline's name may have a dash, a metric's may not.
        let name = self.pipeline.name.replace('-', "_");
        let name = format!("{}{name}_forecast", self.pipeline.output.metric_prefix);
        let horizon = Show(reach).to_string();
        levels
            .map(|(label, value, level)| {
                let horizon = if own_times { "" } else { horizon.as_str() };
                let own = [(label, value.as_str()), ("horizon", horizon)];
                let names = series.iter().map(|source| self.labels(source, &name, own.into_iter())).collect();
                self.forecast_frame(names, outlook, level, own_times)
            })
            .collect()
    }

    fn forecast_frame(
        &self,
        names: Vec<Labels>,
        outlook: &Outlook,
        level: f64,
        own_times: bool,
    ) -> Result<Frame, FrameError> {
        let forecast = &outlook.forecast;
        let at = forecast.levels().position(level).expect("the forecast was asked for the written levels");
        let step = self.pipeline.step;
        let rows = (0..names.len()).map(|row| forecast.quantile(row, at));
        if own_times {
            let values = rows.flatten().copied().collect();
            return Frame::new(names, outlook.origin + step, step, forecast.horizon(), values);
        }
        let values = rows.filter_map(|row| row.last()).copied().collect();
        Frame::new(names, outlook.origin, step, 1, values)
    }
}

/// `name`, with `exported_` in front as often as it takes to be neither ours nor another label of the source.
fn free_name(name: &Arc<str>, source: &Labels, is_own: impl Fn(&str) -> bool) -> Arc<str> {
    let mut free = name.clone();
    while is_own(&free) || (free != *name && source.get(&free).is_some()) {
        free = format!("exported_{free}").into();
    }
    free
}

/// The name of the metric of one kind. A pipeline's name may have a dash, a metric's may not.
fn score_metric(pipeline: &Pipeline, kind: &str) -> String {
    let format = &pipeline.output.metric_format.name;
    format.replace("$VAR", kind).replace("$QUERY_KEY", &pipeline.name.replace('-', "_"))
}

/// The PromQL selector of all series of one kind that `pipeline` writes.
pub fn selector(pipeline: &Pipeline, kind: &str) -> String {
    format!("{}{{pipeline={:?}}}", score_metric(pipeline, kind), pipeline.name)
}

/// Turns the cells of `frame` that `written` already has into gaps. `written` holds, for each series without its
/// metric's name, the time in seconds of the sample that stands at each point, as PromQL's `timestamp()` answers.
pub fn blank_written(frame: &mut Frame, written: &Frame) {
    let known: HashMap<&Labels, usize> = written.series().iter().zip(0..).collect();
    let names: Vec<Labels> = frame.series().iter().map(|labels| labels.with(METRIC_NAME, "")).collect();
    let times: Vec<Timestamp> = (0..frame.points()).map(|point| frame.time(point)).collect();
    for (row, name) in names.iter().enumerate() {
        let Some(&found) = known.get(name) else { continue };
        for (point, &time) in times.iter().enumerate() {
            let is_there = written.index(time).is_some_and(|at| is_at(written.row(found)[at], time));
            if is_there {
                frame.row_mut(row)[point] = f64::NAN;
            }
        }
    }
}

/// Whether a sample's time in seconds is `time`, to the millisecond.
fn is_at(seconds: f64, time: Timestamp) -> bool {
    (seconds - time.seconds()).abs() < 0.0005
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pipeline;

    fn check(source: &str, expected: &str) {
        let names = Names::new(Arc::new(pipeline()));
        let expected: Labels = expected.parse().unwrap();
        assert_eq!(names.score_name("y", &source.parse().unwrap()), expected);
    }

    #[test]
    fn source_labels_are_kept_and_ours_added() {
        check("up{job=\"a\"}", "y{job=\"a\", model=\"last\", pipeline=\"test\", source=\"up\"}");
        check("{job=\"a\"}", "y{job=\"a\", model=\"last\", pipeline=\"test\"}");
    }

    #[test]
    fn labels_of_our_names_are_exported() {
        check(
            "up{model=\"x\", source=\"s\", exported_source=\"t\"}",
            "y{exported_exported_source=\"s\", exported_model=\"x\", exported_source=\"t\", model=\"last\", \
             pipeline=\"test\", source=\"up\"}",
        );
    }

    #[test]
    fn a_dash_in_a_pipelines_name_is_none_in_a_metrics() {
        let mut pipeline = pipeline();
        pipeline.name = "my-pipe".into();
        pipeline.output.metric_format.name = "$QUERY_KEY_$VAR".into();
        assert_eq!(selector(&pipeline, "y"), "my_pipe_y{pipeline=\"my-pipe\"}");
    }

    #[test]
    fn a_collision_names_both_series() {
        let mut names = Names::new(Arc::new(pipeline()));
        let series = ["up{a=\"1\", model=\"x\"}", "up{a=\"1\", exported_model=\"x\"}"];
        let series = series.map(|text| text.parse().unwrap());
        let collision = names.learn(&series).unwrap_err();
        assert_eq!((collision.first, collision.second), (series[0].clone(), series[1].clone()));
    }

    #[test]
    fn what_is_written_is_blanked() {
        let step = tsdb::Step::from_millis(1000).unwrap();
        let frame = |name: &str, values: &[f64]| {
            let series = vec![name.parse().unwrap()];
            Frame::new(series, Timestamp::from_seconds(10), step, values.len(), values.to_vec()).unwrap()
        };
        let mut scores = frame("y{a=\"1\"}", &[1.0, 2.0, 3.0]);
        // A store that looks back answers the newest sample before a point that has none of its own.
        blank_written(&mut scores, &frame("{a=\"1\"}", &[10.0, 10.0, f64::NAN]));
        assert_eq!(format!("{:?}", scores.values()), "[NaN, 2.0, 3.0]");
        blank_written(&mut scores, &frame("{a=\"2\"}", &[10.0, 11.0, 12.0]));
        assert_eq!(scores.samples(), 2);
    }
}
