//! `detect`: scores a range once, and shows what is unusual in it.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::Scored;
use engine::context::History;
use engine::incident;
use engine::pipeline::Pipeline;
use engine::pipeline::duration::Show;
use engine::replay::replay;
use models::{ForecastError, ModelSpec};
use tsdb::{Frame, Step, Timestamp};

use super::model::{Chosen, ModelArgs};
use super::output::{Form, OutputArgs};
use super::settings::JudgeArgs;
use super::source::{SourceArgs, Span};
use super::terminal::Shown;
use super::{CliError, Terminal};
use crate::render::format::count;
use crate::render::{Report, chart, export, html, table};

/// The exit code of `--fail-on-anomaly` where there is one.
const ANOMALY: u8 = 3;

/// The share of points that the band should hold, where nothing else is asked for.
const CONFIDENCE: f64 = 0.999;

const DAY: Duration = Duration::from_secs(86_400);

/// Finds anomalies in a file or in the answer of a server.
///
/// Every point is judged by a forecast that was made without it, from the points before: what comes first is only
/// learned from.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DetectArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Exits with 3 where there is an anomaly.
    #[arg(long, help_heading = "Output")]
    fail_on_anomaly: bool,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly detect metrics.csv
  openanomaly detect metrics.csv -o report.html
  openanomaly detect http://localhost:9090 -q 'rate(http_requests_total[5m])' --last 2d
  zcat load.csv.gz | openanomaly detect - --value-column load --direction above
  openanomaly detect metrics.parquet --output json | jq '.incidents[0]'

Exit codes: 0 done, 1 failed, 2 wrong flags, 3 anomalies found (with --fail-on-anomaly)";

/// Runs the command.
///
/// # Errors
/// The source can't be read, the model fails, or the result can't be written.
pub fn detect(args: &DetectArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let form = args.output.form(terminal)?;
    let Chosen { spec, forecaster: model } = args.model.judging()?;
    let server_context = args.judge.context.unwrap_or(Span::Duration(7 * DAY));
    let frame = args.source.read(server_context, terminal)?;
    let plan = Plan::new(args, &spec, &frame)?;
    let started = Instant::now();
    let history = History::of(shifted(frame.clone(), -plan.offset));
    let model = Shown::new(model, plan.forecasts());
    let scored = plan.replay(&model, &history)?;
    drop(model);
    let took = started.elapsed();
    if scored.score.samples() == 0 {
        return Err(args.source.nothing("nothing could be scored: give more history, or a smaller --context"));
    }
    let report = Report {
        source: args.source.title(),
        settings: plan.settings(&spec.id, args),
        incidents: incident::incidents(&scored.score, incident::PAUSE),
        scored: with_gaps_filled(scored, &frame),
        took,
    };
    write(&report, form, &args.output, terminal)?;
    let failed = args.fail_on_anomaly && !report.incidents.is_empty();
    Ok(if failed { ExitCode::from(ANOMALY) } else { ExitCode::SUCCESS })
}

/// What is asked of the engine.
struct Plan {
    pipeline: Pipeline,
    /// How far the points of the frame are behind the multiples of the step, which the engine counts in.
    offset: i64,
    /// The last point that is only learned from.
    after: Timestamp,
    until: Timestamp,
}

impl Plan {
    fn new(args: &DetectArgs, model: &ModelSpec, frame: &Frame) -> Result<Self, CliError> {
        let (step, points) = (frame.step(), frame.points());
        let mut pipeline = args.judge.pipeline(step, CONFIDENCE);
        pipeline.mode = engine::pipeline::Mode::AnomalyOnly;
        pipeline.model = model.clone();
        let window = pipeline.context_points;
        let learned = args.judge.context.map_or_else(|| warm_up(step, points).min(window), |_| window);
        let after = match args.source.start(frame.end()) {
            Some(from) => from - step,
            None => frame.time(learned) - step,
        };
        let until = args.source.to.unwrap_or(frame.end()).min(frame.end());
        if after >= until {
            let reason =
                format!("{} are not more than the {learned} to learn from first", count(points, "point", "points"));
            return Err(args.source.nothing(reason));
        }
        let offset = frame.start().millis().rem_euclid(step.millis());
        Ok(Self { pipeline, offset, after, until })
    }

    /// Scores the points after `after`; `history` is moved onto the multiples of the step.
    fn replay(&self, model: &Shown, history: &History) -> Result<Scored, ForecastError> {
        let moved = |time: Timestamp| Timestamp::from_millis(time.millis() - self.offset);
        let scored = replay(&self.pipeline, model, history, moved(self.after), moved(self.until))?;
        let back = |frame| shifted(frame, self.offset);
        Ok(Scored {
            y: back(scored.y),
            yhat: back(scored.yhat),
            yhat_lower: back(scored.yhat_lower),
            yhat_upper: back(scored.yhat_upper),
            score: back(scored.score),
        })
    }

    /// About how many forecasts there will be.
    fn forecasts(&self) -> u64 {
        let points = (self.until.millis() - self.after.millis()) / self.pipeline.step.millis();
        points.unsigned_abs().div_ceil(self.pipeline.horizon_points as u64)
    }

    /// What a reader needs to do the same again.
    fn settings(&self, model: &str, args: &DetectArgs) -> Vec<(String, String)> {
        let step = self.pipeline.step;
        let show = |points: usize| format!("{} ({})", count(points, "point", "points"), Show(step.times(points)));
        let mut settings = vec![("model", model.to_owned())];
        settings.extend(args.model.param.iter().map(|text| ("parameter", text.clone())));
        settings.extend(args.source.query.iter().map(|query| ("query", query.clone())));
        settings.extend([
            ("step", Show(step.duration()).to_string()),
            ("context", show(self.pipeline.context_points)),
            ("horizon", show(self.pipeline.horizon_points)),
            ("confidence", args.judge.confidence.unwrap_or(CONFIDENCE).to_string()),
            ("direction", args.judge.direction.to_string()),
            ("openanomaly", env!("CARGO_PKG_VERSION").to_string()),
        ]);
        settings.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// How much of a file is only learned from: a third, or three days where that is at most half.
fn warm_up(step: Step, points: usize) -> usize {
    (points / 3).max(step.count(3 * DAY).min(points / 2)).max(2)
}

/// The same frame, `millis` later.
pub(super) fn shifted(frame: Frame, millis: i64) -> Frame {
    let (series, start, step, points, values) = frame.into_parts();
    let start = Timestamp::from_millis(start.millis() + millis);
    Frame::new(series, start, step, points, values).expect("its parts were a frame")
}

/// The same, with the actual values also where nothing was scored.
fn with_gaps_filled(mut scored: Scored, frame: &Frame) -> Scored {
    for row in 0..scored.y.series().len() {
        for point in 0..scored.y.points() {
            if let Some(at) = frame.index(scored.y.time(point)) {
                scored.y.row_mut(row)[point] = frame.row(row)[at];
            }
        }
    }
    scored
}

fn write(report: &Report, form: Form, output: &OutputArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let charts = output.charts(form);
    if form == Form::Table {
        let (paint, width) = (terminal.paint, terminal.width);
        let style = chart::Style { width, height: 12, paint };
        return output.to(terminal, |out| {
            draw(report, charts, style, out)?;
            table::incidents(report, output.limit(), width, paint, out)?;
            table::summary(report, paint, out)
        });
    }
    output.to(terminal, |out| match form {
        Form::Csv => export::csv(report, out),
        Form::Json => export::json(report, out),
        Form::Parquet => export::parquet(report, out),
        Form::Html | Form::Table => html::write(report, charts, out),
    })?;
    if let Some(path) = output.to_file() {
        table::summary(report, terminal.paint, &mut terminal.out)?;
        writeln!(terminal.out, "written to {}", path.display())?;
    }
    Ok(())
}

/// Draws the worst series, each where it is worst.
fn draw(report: &Report, charts: usize, style: chart::Style, out: &mut dyn io::Write) -> io::Result<()> {
    let scored = &report.scored;
    for row in report.worst_first().into_iter().take(charts) {
        let worst = report.incidents.iter().find(|incident| incident.series == row);
        if worst.is_none() && row != report.worst_first()[0] {
            break;
        }
        let points = scored.y.points();
        let centre = worst.map_or(points, |incident| (incident.first + incident.last) / 2);
        let range = chart::window(centre, points, style.readable_points());
        let name = &scored.y.series()[row];
        let title = worst.map_or(name.to_string(), |incident| format!("{name} · score {}", table::score(incident)));
        chart::draw(&title, &chart::Trace::of(scored, row, range), style, out)?;
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::widest;

    #[test]
    fn defaults_leave_enough_to_learn_from_and_to_judge() {
        // step in minutes, points: what a forecast sees, what is only learned from
        for (minutes, points, sees, learns) in [
            (1, 40_320, 4320, 4320),
            (5, 4032, 4032, 1344),
            (5, 1000, 4032, 500),
            (60, 24 * 30, 336, 240),
            (1440, 365, 336, 121),
            (5, 3, 4032, 2),
        ] {
            let step = Step::from_millis(minutes * 60_000).unwrap();
            let got = (widest(step), warm_up(step, points).min(widest(step)));
            assert_eq!(got, (sees, learns), "{points} points of {minutes} minutes");
        }
    }
}
