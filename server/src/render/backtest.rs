//! What replays showed: tables, JSON and a page.

mod picture;
mod table;

use std::io::{self, Write};
use std::time::Duration;

use engine::backtest::result::{SeriesResult, Summary};
use serde::{Deserialize, Serialize};

pub use picture::Picture;
pub use table::table;

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

/// What a backtest showed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Where the series come from.
    pub source: String,
    /// How long it took, reading and writing included.
    pub took_seconds: f64,
    /// Each setup.
    pub runs: Vec<Run>,
}

impl Report {
    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::try_from_secs_f64(self.took_seconds).unwrap_or_default()
    }
}

/// Writes the report as one JSON object: `source`, `took_seconds`, and `runs`, each with `name`, `settings`, `summary` and
/// `series`. Times are in milliseconds since the Unix epoch; what is not known is null.
///
/// # Errors
/// The writer's.
pub fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}
