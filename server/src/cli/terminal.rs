//! What there is to write to.

use std::io::{BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use models::{Forecast, ForecastError, Forecaster, Request};
use tsdb::Timestamp;

use crate::render::format::Paint;

/// The width where there is no terminal to ask.
const DEFAULT_WIDTH: usize = 100;

/// Whether there are colours.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && wanted(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Whether the environment has nothing against colours (see no-color.org).
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Colours for stderr.
pub fn paint_stderr(color: Color) -> Paint {
    Paint { on: color.on(std::io::stderr().is_terminal()) }
}

/// Whether the log has colours.
pub fn stderr_has_colors() -> bool {
    Color::Auto.on(std::io::stderr().is_terminal())
}

/// Where results go, and what is known of it.
pub struct Terminal {
    /// Results. Buffered: flush it at the end.
    pub out: Box<dyn Write + Send>,
    /// How many characters fit in a line.
    pub width: usize,
    /// Colours.
    pub paint: Paint,
    /// Whether results go to a terminal.
    pub interactive: bool,
    /// Now.
    pub now: Timestamp,
}

impl Terminal {
    /// The standard output, now.
    pub fn stdout(color: Color) -> Self {
        let stdout = std::io::stdout();
        let interactive = stdout.is_terminal();
        let size = terminal_size::terminal_size().filter(|_| interactive);
        let columns = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
        let width = size.map(|(width, _)| usize::from(width.0)).or_else(columns).unwrap_or(DEFAULT_WIDTH);
        Self {
            out: Box::new(BufWriter::with_capacity(1 << 16, stdout)),
            width: width.clamp(40, 400),
            paint: Paint { on: color.on(interactive) },
            interactive,
            now: Timestamp::from_millis(jiff::Timestamp::now().as_millisecond()),
        }
    }
}

/// How long work must take before its progress is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// A model that shows how many of the forecasts it is asked for are done, where stderr is a terminal and it takes
/// long enough to be seen.
pub struct Shown {
    model: Arc<dyn Forecaster>,
    bar: ProgressBar,
    done: AtomicU64,
}

impl Shown {
    /// Shows the progress of `forecasts` forecasts by `model`.
    pub fn new(model: Arc<dyn Forecaster>, forecasts: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:40.cyan} {pos}/{len} forecasts, {eta} left")
            .expect("the template is well formed");
        Self { model, bar: ProgressBar::new(forecasts).with_style(style), done: AtomicU64::new(0) }
    }
}

impl Forecaster for Shown {
    fn forecast(&self, request: &Request<'_>) -> Result<Forecast, ForecastError> {
        let forecast = self.model.forecast(request);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.bar.elapsed() > PATIENCE {
            self.bar.set_position(done);
        }
        forecast
    }

    fn waits(&self) -> bool {
        self.model.waits()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
