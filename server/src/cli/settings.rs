//! What is expected, and what counts as unusual: settings of a pipeline that is written nowhere.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use engine::Schedule;
use engine::pipeline::{Anomaly, Direction as Side, Pipeline, Technique};
use tsdb::Step;

use super::source::{Span, parse_span};

const DAY: Duration = Duration::from_secs(86_400);

/// What is expected, and what counts as unusual.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Detection")]
pub struct JudgeArgs {
    /// How much of the past each forecast sees, as points or as a duration [default: up to two weeks].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span)]
    pub context: Option<Span>,
    /// How far ahead each forecast reaches [default: about an hour].
    #[arg(long, value_name = "POINTS|DURATION", value_parser = parse_span)]
    pub horizon: Option<Span>,
    /// The share of points that the band should hold [default: 0.999 to detect, 0.95 in a backtest, as in a pipeline].
    #[arg(long, value_name = "PART", value_parser = confidence)]
    pub confidence: Option<f64>,
    /// Which deviations count.
    #[arg(long, value_enum, default_value_t, value_name = "SIDE")]
    pub direction: Direction,
}

/// Which deviations count.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Only higher values than expected.
    Above,
    /// Only lower values than expected.
    Below,
    /// Both.
    #[default]
    Both,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Above => "above",
            Self::Below => "below",
            Self::Both => "both",
        })
    }
}

pub(super) fn confidence(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "this is no number".to_string())?;
    if part > 0.0 && part < 1.0 { Ok(part) } else { Err("it must lie between 0 and 1".into()) }
}

impl JudgeArgs {
    /// A pipeline of these settings for series of `step`. The band holds `usual` of the points where nothing else is
    /// asked for.
    pub fn pipeline(&self, step: Step, usual: f64) -> Pipeline {
        let mut pipeline =
            Pipeline::parse("{name: detect, query: detect}", "detect").expect("a name and a query are a pipeline");
        let points = |span: Option<Span>, usual: usize| span.map_or(usual, |span| span.points(step));
        pipeline.step = step;
        pipeline.context_points = points(self.context, widest(step)).max(2);
        pipeline.horizon_points = points(self.horizon, step.count(DAY / 24).clamp(4, 60));
        pipeline.forecast_schedule = Schedule::Every(step.times(pipeline.horizon_points));
        pipeline.anomaly.mask_limit = Some(Anomaly::usual_mask_limit(step, pipeline.context_points));
        let confidence_level = self.confidence.unwrap_or(usual);
        pipeline.anomaly.technique = Technique::ConfidenceInterval { confidence_level };
        pipeline.anomaly.detection_direction = match self.direction {
            Direction::Above => Side::AboveExpected,
            Direction::Below => Side::BelowExpected,
            Direction::Both => Side::Both,
        };
        pipeline
    }
}

/// How much a forecast sees: two weeks, but at most 4,032 points (two weeks of five minutes) or three days, and at
/// least 336 points (two weeks of hours).
pub(super) fn widest(step: Step) -> usize {
    step.count(14 * DAY).max(336).min(step.count(3 * DAY).max(4032))
}
