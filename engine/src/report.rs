//! What a pass did, or why it failed.

use models::ForecastError;
use tsdb::{Frame, FrameError, ReadError, Rejected, WriteError};

use crate::mask::LevelShift;
use crate::output::Collision;

/// A pass that failed. What the passes before it wrote stands, and the next one takes up where this one ended.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The series, or what was written before, could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The model failed.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// Two source series would be written as one.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// Two series of a forecast would be written as one.
    #[error("naming the forecast: {0}")]
    Frame(#[from] FrameError),
    /// The results could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl PassError {
    /// One word for metrics: the stage that failed.
    pub fn stage(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Forecast(_) => "forecast",
            Self::Collision(_) | Self::Frame(_) => "output",
            Self::Write(_) => "write",
        }
    }

    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read(error) => error.is_retryable(),
            Self::Write(error) => error.is_retryable(),
            // A model may be behind a URL.
            Self::Forecast(_) => true,
            Self::Collision(_) | Self::Frame(_) => false,
        }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Series that the pipeline keeps the history of.
    pub series: usize,
    /// Points that got a score.
    pub scored: usize,
    /// Points whose score is above 1.
    pub anomalous: usize,
    /// Points that lay inside the band.
    pub inside: usize,
    /// Series whose band is still wide, since too little has come to calibrate it.
    pub uncalibrated: usize,
    /// Levels that have shifted for so long that they are learned from now on.
    pub shifts: Vec<LevelShift>,
    /// Series whose samples have stopped.
    pub missing: usize,
    /// Series that have ended since the last time.
    pub ended: usize,
    /// How much of the alert budget was used in its time: 1 is all of it. Nothing where there is no budget.
    pub budget_used: Option<f64>,
    /// Samples that the store took.
    pub written: u64,
    /// Samples that the store refused.
    pub rejected: Vec<Rejected>,
    /// What the store said beside its answers, and which series could not be forecast.
    pub warnings: Vec<String>,
}

impl Report {
    /// Counts the five frames of a turn, in the order of [`SCORE_KINDS`].
    pub(crate) fn count(&mut self, [score, y, _, lower, upper]: &[Frame; 5]) {
        let scores = || score.values().iter().filter(|score| !score.is_nan());
        self.scored += scores().count();
        self.anomalous += scores().filter(|score| **score > 1.0).count();
        let bands = lower.values().iter().zip(upper.values());
        self.inside += y.values().iter().zip(bands).filter(|(y, (low, high))| *low <= *y && *y <= *high).count();
    }
}
