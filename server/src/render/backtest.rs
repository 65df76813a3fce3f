//! What replays showed: tables, JSON and a page.

mod html;
mod picture;
mod table;

use std::io::{self, Write};
use std::time::Duration;

use engine::backtest::cases::{Case, Outcome, Said};
use engine::backtest::diff::Diff;
use engine::backtest::result::{SeriesResult, Summary};
use serde::{Deserialize, Serialize};

pub use html::html;
pub use picture::Picture;
pub use table::table;
pub(crate) use table::{percent, thousandths};

/// What one setup showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// What the setup is called.
    pub name: String,
    /// Its settings, as name and value, in the order to show them in.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// All series together.
    pub summary: Summary,
    /// Each series.
    pub series: Vec<SeriesResult>,
    /// What there is to see of the series that are most worth it.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
}

/// What changes from one run to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    /// What is compared with.
    pub before: String,
    /// What is compared.
    pub after: String,
    /// How their alerts differ.
    pub diff: Diff,
}

/// What somebody said of a range, and how that went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// In which run.
    pub run: String,
    /// Its id.
    pub id: String,
    /// The first point that it is said of, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// The last one.
    pub until_ms: i64,
    /// What was said.
    pub said: Said,
    /// What else was said.
    pub note: String,
    /// How it went.
    pub outcome: Outcome,
}

impl CaseOutcome {
    /// How `case` went in `run`.
    pub fn of(case: &Case, run: &Run) -> Self {
        let Case { id, from_ms, until_ms, said, note, .. } = case.clone();
        Self { run: run.name.clone(), id, from_ms, until_ms, said, note, outcome: case.outcome(&run.series) }
    }

    /// Whether it is not as it was said.
    pub fn is_broken(&self) -> bool {
        self.outcome == Outcome::Broken
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            Outcome::Kept => "kept",
            Outcome::Broken => "broken",
            Outcome::NotCovered => "not covered",
        }
    }

    fn said_word(&self) -> &'static str {
        match self.said {
            Said::Anomaly => "an anomaly",
            Said::Expected => "expected",
            Said::Maintenance => "maintenance",
        }
    }
}

/// What a backtest showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Where the series come from.
    pub sources: Vec<String>,
    /// How long it took, reading and writing included.
    pub took_seconds: f64,
    /// Each setup.
    pub runs: Vec<Run>,
    /// What changes from the first of them, or from an earlier result, to the others.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// How what people said went.
    #[serde(default)]
    pub cases: Vec<CaseOutcome>,
}

impl Report {
    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::try_from_secs_f64(self.took_seconds).unwrap_or_default()
    }
}

/// Writes the report as one JSON object: `sources`, `took_seconds`, `runs` (each with `name`, `settings`, `summary` and
/// `series`), `changes` and `cases`. Times are in milliseconds since the Unix epoch; what is not known is null.
///
/// # Errors
/// The writer's.
pub fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}
