//! How far a pipeline has judged, and how it goes on after a restart.

use std::time::Duration;

use tsdb::{Limits, RangeQuery, ReadError, Timestamp};

use super::{PassError, Watch};
use crate::outlook::turns;
use crate::output::{SCORE_KINDS, selector};

/// How far back the newest score is looked for at first.
const FIRST_LOOK: Duration = Duration::from_secs(60 * 60);

/// How far a pipeline has judged, for whoever goes on with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest point that has been judged.
    pub judged_until: Option<Timestamp>,
    /// Points up to this one may have been written already, though they are not judged yet.
    pub unsure_until: Option<Timestamp>,
}

impl Watch {
    /// How far it has judged.
    pub fn standing(&self) -> Standing {
        Standing { judged_until: self.judged_until, unsure_until: self.unsure_until }
    }

    /// Goes on where somebody else has stopped.
    pub fn take_over(&mut self, standing: Standing) {
        self.judged_until = self.judged_until.max(standing.judged_until);
        self.unsure_until = self.unsure_until.max(standing.unsure_until);
    }

    /// Takes up where an earlier run ended: looks for the newest score between `since` and `tick`, and goes back to
    /// the start of its turn, which may have been written in part. Answers from where it will go on, if there are
    /// any scores.
    ///
    /// # Errors
    /// The scores can't be read.
    pub async fn resume(&mut self, since: Timestamp, tick: Timestamp) -> Result<Option<Timestamp>, PassError> {
        // A delay that has become longer since then does not undo what was written.
        let until = tick.floor(self.pipeline.step);
        let Some(last) = self.newest_score(since, until).await? else { return Ok(None) };
        let turn = turns(&self.pipeline, last - self.pipeline.step, last).last();
        self.took_up = Some(last);
        self.judged_until = turn.map(|turn| turn.origin.max(since.floor(self.pipeline.step)));
        self.unsure_until = Some(until);
        Ok(self.judged_until)
    }

    /// The time of the newest score that was written from `since` to `until`. Most restarts are quick, so the newest
    /// hour is looked at first, and then ever more.
    pub(super) async fn newest_score(
        &self,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, ReadError> {
        let query = format!("max(timestamp({}))", selector(&self.pipeline, SCORE_KINDS[0]));
        let (mut last, mut span) = (until, FIRST_LOOK);
        while last >= since {
            let first = (last - span).max(since);
            if let Some(query) = RangeQuery::new(query.as_str(), first, last, self.pipeline.step) {
                let answer = self.ports.written.read(&query, &Limits::default()).await?;
                let seconds = answer.frame.values().iter().copied().filter(|seconds| seconds.is_finite());
                if let Some(newest) = seconds.max_by(f64::total_cmp) {
                    return Ok(Some(Timestamp::from_millis((newest * 1000.0).round() as i64)));
                }
            }
            (last, span) = (Timestamp::from_millis(first.millis() - 1), span * 4);
        }
        Ok(None)
    }

    /// Begins with the points after `time`, for a pipeline that has judged nothing yet.
    pub fn begin_after(&mut self, time: Timestamp) {
        let judged = *self.judged_until.get_or_insert(time.floor(self.pipeline.step));
        self.took_up.get_or_insert(judged);
    }
}
