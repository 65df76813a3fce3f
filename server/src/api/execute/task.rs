//! One run without a past: the forecasts that judge the newest points, and the one that reaches ahead.

use std::sync::{Arc, LazyLock};

use engine::judge::Masks;
use engine::outlook::{Known, Outlook, Turn};
use engine::pass::compute;
use engine::replay::{judge, replay};
use engine::{History, Pipeline, Scored};
use models::{ForecastError, Forecaster};
use tokio::sync::Semaphore;
use tsdb::Timestamp;

/// How many compute at a time: more would only wait for the same threads, each with its memory.
static THREADS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// What is to be computed.
pub(super) struct Task {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) model: Arc<dyn Forecaster>,
    pub(super) history: History,
    /// What is judged, and what is known for it.
    pub(super) turns: Vec<(Turn, Vec<Known>)>,
    /// The last point that the forecast sees.
    pub(super) origin: Timestamp,
    /// What is known for the forecast.
    pub(super) known: Vec<Known>,
}

/// What was computed, and from what.
pub(super) struct Done {
    pub(super) history: History,
    pub(super) scored: Scored,
    pub(super) outlook: Outlook,
}

impl Task {
    /// Computes it, on the threads for that, when its turn has come.
    ///
    /// # Errors
    /// The model fails.
    pub(super) async fn run(self) -> Result<Done, ForecastError> {
        let waits = self.model.waits();
        let id = self.pipeline.model.id.clone();
        let turn = if waits { None } else { Some(THREADS.acquire().await.expect("it is never closed")) };
        let done = compute(waits, move || {
            let _turn = turn;
            self.work()
        });
        done.await.unwrap_or_else(|| Err(ForecastError::new(id, "the model panicked")))
    }

    fn work(self) -> Result<Done, ForecastError> {
        let Self { pipeline, model, history, turns, origin, known } = self;
        let scored = match (pipeline.learns(), turns.first()) {
            // A detector learns from all that is there.
            (true, Some((turn, _))) => replay(&pipeline, &*model, &history, turn.origin, origin)?,
            _ => judge(&pipeline, &*model, &history, &turns, origin)?,
        };
        let outlook = Outlook::at(origin, &pipeline, &*model, &history, &known, Masks::new())?;
        Ok(Done { history, scored, outlook })
    }
}

/// The turns that judge the last points of `history`, with forecasts that each reach a horizon: all points after the
/// first context, or, where there is no more than that, the last horizon, but at most half.
pub(super) fn turns(pipeline: &Pipeline, history: &History) -> Vec<Turn> {
    let (step, horizon) = (pipeline.step, pipeline.horizon_points);
    let points = usize::try_from((history.end().millis() - history.start().millis()) / step.millis() + 1).unwrap_or(0);
    let learned =
        if points > pipeline.context_points { pipeline.context_points } else { points - horizon.min(points / 2) };
    let time = |point: usize| history.start() + step.times(point);
    let starts = (learned..points).step_by(horizon);
    starts
        .map(|first| Turn {
            origin: time(first) - step,
            first: time(first),
            last: time((first + horizon).min(points) - 1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::{Frame, Labels, Step};

    /// With a context of 60 points and a horizon of 15: the first point judged, the last one, and how many forecasts.
    fn check(points: usize, expected: Option<(usize, usize, usize)>) {
        let pipeline = Pipeline::parse(
            "{name: a, query: a, step: 1s, context_window: 1m, prediction_horizon: 15s, \
                                        forecast_schedule: 15s}",
            "a",
        )
        .unwrap();
        let step = Step::from_millis(1000).unwrap();
        let frame =
            Frame::new(vec![Labels::metric("a")], Timestamp::default(), step, points, vec![0.0; points]).unwrap();
        let turns = turns(&pipeline, &History::of(frame));
        assert!(turns.windows(2).all(|pair| pair[1].origin == pair[0].last));
        let second = |time: Timestamp| (time.millis() / 1000) as usize;
        let found = turns.first().zip(turns.last()).map(|(a, b)| (second(a.first), second(b.last), turns.len()));
        assert_eq!(found, expected, "{points} points");
    }

    #[test]
    fn what_comes_after_the_context_is_judged() {
        check(200, Some((60, 199, 10)));
        check(61, Some((60, 60, 1)));
        check(60, Some((45, 59, 1)));
        check(20, Some((10, 19, 1)));
        check(2, Some((1, 1, 1)));
        check(1, None);
    }
}
