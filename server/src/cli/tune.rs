//! `tune`: finds the model and the settings that are best on history, and proves them on a part that the choice has not
//! seen.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use engine::Pipeline;
use engine::backtest::result::Summary;
use engine::pipeline::duration::Show;
use models::{ModelSpec, tuning};
use serde_json::{Map, Value, json};

use super::backtest::{Outcome, Setup, SourceArgs, Work, inputs, run};
use super::settings::JudgeArgs;
use super::{CliError, Terminal};
use crate::render::backtest::{percent, thousandths};
use crate::render::format::{Ink, count, number};
use crate::render::table;

/// The models that are tried where none is named: those that are cheap enough for any number of series.
const MODELS: [&str; 6] = [models::DEFAULT, "mstl", "seasonal_naive", "holt_winters", "std", "rolling_quantile"];

/// The part of what is judged that candidates are chosen on; they are proven on the rest.
const CHOSEN_ON: f64 = 0.6;

/// How many sets of seasons are tried, and on how many inputs they are looked for.
const SEASONS: (usize, usize) = (3, 8);

/// Finds the model and the settings that are best on history.
///
/// Every candidate is replayed as a backtest does it, chosen on the first part of the history and proven on the last, which
/// the choice has not seen. With labels the aim is to catch events with few false alarms (the mean of VUS-PR and of the
/// recall that the budget of false alarms allows with one threshold for all series); without, it is the least pinball loss.
/// The best is printed as a pipeline.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TuneArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// A model to try; may be repeated [default: mstl, seasonal_naive, holt_winters, std, rolling_quantile].
    #[arg(short, long, value_name = "ID", help_heading = "Search")]
    model: Vec<String>,
    /// How many false alarms a day and series are affordable.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = budget, help_heading = "Search")]
    false_alarms_a_day: f64,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Writes the pipeline to a file instead of the standard output.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  openanomaly tune labelled/
  openanomaly tune metrics.csv --labels incidents.csv --model mstl --model ets
  openanomaly tune --url http://localhost:8428 -q 'rate(http_requests_total[5m])' --last 4w -o web.yaml";

fn budget(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "this is no number".to_string())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("it must be above 0".into()) }
}

/// What was tried, and what it is worth.
struct Tried {
    spec: ModelSpec,
    /// On the part that is chosen on; more is better.
    worth: Option<f64>,
    /// The threshold for all series that the budget allows there.
    threshold: Option<f64>,
    chosen_on: Summary,
    proven_on: Summary,
}

impl Tried {
    fn new(spec: ModelSpec, outcome: &Outcome, budget: f64) -> Self {
        let [first, last] = &outcome.parts[..] else { unreachable!("there are two parts") };
        let (chosen_on, proven_on) = (first.summary(), last.summary());
        let shared = first.curve.best(budget);
        let ranked = chosen_on.against.as_ref().and_then(|against| against.vus_pr);
        let with_labels = ranked.zip(shared).map(|(vus_pr, (_, recall))| (vus_pr + recall) / 2.0);
        let worth = if chosen_on.against.is_some() { with_labels } else { chosen_on.loss.map(|loss| -loss) };
        Self { spec, worth, threshold: shared.map(|(threshold, _)| threshold), chosen_on, proven_on }
    }
}

/// Runs the command.
///
/// # Errors
/// A source can't be read, a model fails, or nothing can be compared.
pub fn tune(args: &TuneArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let inputs = inputs(&args.source.sources(&[])?)?;
    let work = Work {
        how: args.source.how(terminal.now),
        claims: args.source.claims(&[])?,
        parts: vec![(0.0, CHOSEN_ON), (CHOSEN_ON, 1.0)],
        ..Work::default()
    };
    let plain = Setup::of_spec(ModelSpec::local(models::DEFAULT, Map::new()), &args.judge, 1.0)?;
    let first = inputs[0].read(&work.how, plain.pipeline_of(&inputs[0], &work.how)?.as_ref())?;
    let seasons = seasons(&inputs, &work, &plain)?;
    let specs = args.candidates(&seasons, first.frame.step().duration());
    let setups: Vec<Setup> =
        specs.iter().map(|spec| Setup::of_spec(spec.clone(), &args.judge, 1.0)).collect::<Result<_, _>>()?;
    let outcomes = run(&setups, &inputs, &work)?;
    let budget = args.false_alarms_a_day;
    let mut tried: Vec<Tried> =
        specs.into_iter().zip(&outcomes).map(|(spec, outcome)| Tried::new(spec, outcome, budget)).collect();
    // The sort is stable, so that of equals the earlier, which is the plainer, comes first.
    tried.sort_by(|a, b| b.worth.unwrap_or(f64::NEG_INFINITY).total_cmp(&a.worth.unwrap_or(f64::NEG_INFINITY)));
    let best = tried.first().filter(|best| best.worth.is_some()).ok_or_else(|| nothing(&args.source))?;
    show(&tried, terminal)?;
    // A threshold of 1 is then the one that the budget allows.
    let scale = best.threshold.map_or(1.0, |threshold| (threshold * 1000.0).round() / 1000.0).max(0.001);
    let proof = Setup::of_spec(best.spec.clone(), &args.judge, scale)?;
    let proven = run(std::slice::from_ref(&proof), &inputs, &work)?;
    say(best, scale, &proven[0].parts[1].summary(), terminal)?;
    let series = first.frame.series().first().map_or("up", |labels| labels.name());
    let query = args.source.query().unwrap_or(series);
    let text = document(&proof.pipeline(first.frame.step()), query)?;
    match &args.output {
        None => write!(terminal.out, "\n{text}")?,
        Some(path) => {
            std::fs::write(path, text).map_err(|source| CliError::File { path: path.clone(), source })?;
            writeln!(terminal.out, "written to {}", path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing(source: &SourceArgs) -> CliError {
    let reason =
        "nothing can be compared: no candidate expected anything, or the labels name no event in the first part";
    let origin = source.sources(&[]).map_or_else(|_| String::new(), |sources| sources.join(", "));
    CliError::Source { origin, reason: reason.into() }
}

/// The sets of seasons that are found in the part of the first inputs that is chosen on, the most frequent first.
fn seasons(inputs: &[super::backtest::Input], work: &Work, plain: &Setup) -> Result<Vec<Vec<usize>>, CliError> {
    let mut counted: Vec<(usize, Vec<usize>)> = vec![];
    for input in inputs.iter().take(SEASONS.1) {
        let frame = input.read(&work.how, plain.pipeline_of(input, &work.how)?.as_ref())?.frame;
        let end = (frame.points() as f64 * CHOSEN_ON) as usize;
        for (_, row) in frame.rows().take(SEASONS.1) {
            let found = tuning::seasons(&row[..end], frame.time(end).millis(), frame.step().duration());
            match counted.iter_mut().find(|(_, known)| *known == found) {
                Some((count, _)) => *count += 1,
                None if !found.is_empty() => counted.push((1, found)),
                None => {}
            }
        }
    }
    counted.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    Ok(counted.into_iter().take(SEASONS.0).map(|(_, seasons)| seasons).collect())
}

impl TuneArgs {
    /// Every model with every setting that is worth comparing, its own ones first.
    fn candidates(&self, seasons: &[Vec<usize>], step: std::time::Duration) -> Vec<ModelSpec> {
        let named: Vec<&str> = self.model.iter().map(String::as_str).collect();
        let ids = if named.is_empty() { MODELS.to_vec() } else { named };
        let mut specs: Vec<ModelSpec> = vec![];
        for id in ids {
            let own = ModelSpec::local(id, Map::new());
            for parameters in tuning::candidates(&own, seasons, step) {
                let spec = ModelSpec { parameters, ..own.clone() };
                if !specs.contains(&spec) {
                    specs.push(spec);
                }
            }
        }
        specs
    }
}

fn shown(spec: &ModelSpec) -> String {
    let pairs = spec.parameters.iter().map(|(name, value)| format!(" {name}={value}"));
    std::iter::once(spec.id.clone()).chain(pairs).collect()
}

/// The table of what was tried, the best first.
fn show(tried: &[Tried], terminal: &mut Terminal) -> Result<(), CliError> {
    let has_labels = tried[0].chosen_on.against.is_some();
    let labelled = ["Model", "VUS-PR", "Recall at budget", "Held out: VUS-PR", "Coverage"];
    let plain = ["Model", "Loss", "Coverage", "Held out: loss", "Coverage"];
    let titles = if has_labels { labelled } else { plain };
    let mut table = table::plain(&titles, terminal.width, terminal.paint);
    let vus = |summary: &Summary| thousandths(summary.against.as_ref().and_then(|against| against.vus_pr));
    for one in tried {
        let (first, last) = (&one.chosen_on, &one.proven_on);
        let cells = if has_labels {
            // The worth is the mean of both.
            let ranked = first.against.as_ref().and_then(|against| against.vus_pr);
            let recall = one.worth.zip(ranked).map(|(worth, ranked)| 2.0 * worth - ranked);
            [vus(first), percent(recall), vus(last), percent(last.coverage)]
        } else {
            [thousandths(first.loss), percent(first.coverage), thousandths(last.loss), percent(last.coverage)]
        };
        table.add_row(std::iter::once(shown(&one.spec)).chain(cells));
    }
    table::right(&mut table, &[1, 2, 3, 4]);
    table::write(&table, &mut terminal.out)?;
    Ok(())
}

/// What the best is worth where the choice has not looked.
fn say(best: &Tried, scale: f64, proven: &Summary, terminal: &mut Terminal) -> Result<(), CliError> {
    let name = terminal.paint.ink(Ink::Strong, shown(&best.spec));
    let Some(against) = &proven.against else {
        let (loss, coverage) = (thousandths(proven.loss), percent(proven.coverage));
        writeln!(terminal.out, "\n{name} is best: on the held-out part its loss is {loss}, its band holds {coverage}")?;
        return Ok(());
    };
    let events = count(against.events, "event", "events");
    let rate = against.false_alarms_a_week.map_or("–".into(), number);
    writeln!(
        terminal.out,
        "\n{name} is best, with bands widened by {scale}: on the held-out part it catches {} of {events}, with {rate} false \
         alarms a series and week",
        against.caught
    )?;
    Ok(())
}

/// The pipeline as a document.
fn document(pipeline: &Pipeline, query: &str) -> Result<String, CliError> {
    let length = |points: usize| Show(pipeline.step.times(points)).to_string();
    let confidence = match pipeline.anomaly.technique {
        engine::pipeline::Technique::ConfidenceInterval { confidence_level } => json!(confidence_level),
        _ => Value::Null,
    };
    let direction = match pipeline.anomaly.detection_direction {
        engine::pipeline::Direction::Both => "both",
        engine::pipeline::Direction::AboveExpected => "above_expected",
        engine::pipeline::Direction::BelowExpected => "below_expected",
    };
    let horizon = length(pipeline.horizon_points);
    let document = json!({
        "name": "tuned",
        "query": query,
        "step": Show(pipeline.step.duration()).to_string(),
        "context_window": length(pipeline.context_points),
        "prediction_horizon": horizon,
        "forecast_schedule": horizon,
        "mode": "anomaly_only",
        "model": { "id": pipeline.model.id, "parameters": pipeline.model.parameters },
        "anomaly": {
            "confidence_level": confidence,
            "detection_direction": direction,
            "scale": pipeline.anomaly.scale.above,
        },
    });
    serde_saphyr::to_string(&document).map_err(|error| std::io::Error::other(error.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::Step;

    #[test]
    fn the_document_is_the_pipeline_that_was_tried() {
        let judge = JudgeArgs { context: None, horizon: None, confidence: Some(0.9), direction: Default::default() };
        let parameters = json!({"season": ["1d", "7d"]}).as_object().unwrap().clone();
        let setup = Setup::of_spec(ModelSpec::local("seasonal_naive", parameters), &judge, 1.5).unwrap();
        let tried = setup.pipeline(Step::from_millis(300_000).unwrap());
        let text = document(&tried, "rate(requests[5m])").unwrap();
        let read = Pipeline::parse(&text, "test").unwrap();
        let same = Pipeline { name: read.name.clone(), query: read.query.clone(), ..tried };
        assert_eq!(read.query, "rate(requests[5m])");
        assert_eq!(
            (read.model, read.context_points, read.horizon_points),
            (same.model, same.context_points, same.horizon_points)
        );
        assert_eq!(
            (read.anomaly, read.forecast_schedule, read.mode),
            (same.anomaly, same.forecast_schedule, same.mode)
        );
    }

    #[test]
    fn a_budget_is_above_nothing() {
        assert_eq!(budget("0.5"), Ok(0.5));
        for text in ["", "0", "-1", "inf", "NaN", "many"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }
}
