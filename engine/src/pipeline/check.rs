//! From what is written to what is meant: fields against their bounds and against each other.

use std::time::Duration;

use jiff::tz::TimeZone;
use tsdb::Step;

use super::document::quoted;
use super::duration::Show;
use super::kinds::{Length, ScheduleText, Templates};
use super::raw::{MissingWord, RawMissing, RawPipeline, RawTechnique};
use super::read::{At, Field, Reader, nearest};
use super::{MetricFormat, Missing, Mode, Output, Pipeline};
use crate::schedule::Schedule;

/// The most points that a context or a forecast has.
const MAX_POINTS: usize = 100_000;

/// What `pipeline` says, or `None` with what is wrong reported.
pub(super) fn check(raw: RawPipeline, reader: &mut Reader) -> Option<Pipeline> {
    let raw = flat(raw, reader);
    super::later::refuse(&raw, reader);
    let switched_on = modes(&raw, reader);
    let name = name(&raw.name, "a name", reader);
    let query = query(&raw.query, reader);
    let datasource = self::name(&raw.datasource, "a datasource's name", reader);
    let prometheus_url = url(&raw.prometheus_url, reader);
    let prometheus_write_url = url(&raw.prometheus_write_url, reader);
    let grid = grid(&raw, reader);
    let zone = zone(&raw.timezone, reader);
    let forecast_schedule = zone.as_ref().and_then(|zone| schedule(&raw.forecast_schedule, zone, reader));
    let anomaly_schedule = zone.as_ref().and_then(|zone| schedule(&raw.anomaly_schedule, zone, reader));
    let training = zone.as_ref().and_then(|zone| super::training::training(&raw, zone, reader));
    let max_series = max_series(&raw.max_series, reader);
    let inputs = super::model::inputs(&raw, reader);
    let anomaly = super::anomaly::anomaly(&raw, grid, reader);
    let calendars = zone.as_ref().and_then(|zone| super::calendar::calendars(&raw, zone, reader));
    let output = output(&raw, reader);
    let (enabled, mode) = switched_on?;
    let (step, context_points, horizon_points) = grid?;
    let forecast_schedule = forecast_schedule?;
    if mode.scores() {
        reach(&raw.forecast_schedule, &forecast_schedule, step.times(horizon_points), reader)?;
    }
    let super::model::Inputs { model, together, covariates } = inputs?;
    super::training::fits(&raw, &model, reader)?;
    Some(Pipeline {
        name: name?,
        description: raw.description?.value,
        enabled,
        query: query?,
        datasource: datasource?,
        prometheus_url: prometheus_url?,
        prometheus_write_url: prometheus_write_url?,
        step,
        context_points,
        horizon_points,
        mode,
        forecast_schedule,
        anomaly_schedule: anomaly_schedule?,
        data_delay: raw.data_delay?.value.0,
        missing: missing(&raw.missing?, reader)?,
        max_series: max_series?,
        model,
        training: training?,
        together,
        covariates,
        anomaly: anomaly?,
        calendars: calendars?,
        output: output?,
    })
}

/// Moves the fields of the flat form to where they belong.
fn flat(mut raw: RawPipeline, reader: &mut Reader) -> RawPipeline {
    replace(&mut raw.context_window, raw.forecast_context_window.take(), reader);
    replace(&mut raw.prediction_horizon, raw.forecast_horizon.take(), reader);
    if let Some(anomaly) = raw.anomaly.as_mut().map(|anomaly| &mut anomaly.value) {
        // In the flat form there is no technique, and the threshold is told in standard deviations.
        let technique = anomaly.technique.as_mut().filter(|technique| !technique.written);
        if let (Some(technique), Some(_)) = (technique, &raw.anomaly_threshold) {
            technique.value = RawTechnique::ZScore;
        }
        replace(&mut anomaly.threshold, raw.anomaly_threshold.take(), reader);
    }
    super::training::flat(&mut raw, reader);
    raw
}

pub(super) fn replace<T>(field: &mut Field<T>, flat: Field<T>, reader: &mut Reader) {
    let Some(flat) = flat else { return };
    match field {
        Some(nested) if nested.written => {
            let message = format!("means the same as `{}` in line {}; keep one", nested.field, nested.place.line);
            reader.refuse_at::<(), _>(&flat, message);
        }
        _ => *field = Some(flat),
    }
}

/// Whether the pipeline runs, and what it does.
fn modes(raw: &RawPipeline, reader: &mut Reader) -> Option<(bool, Mode)> {
    let (enabled, mode) = (raw.enabled.as_ref()?.value, raw.mode.as_ref()?);
    let Some(flat) = raw.forecast_enabled.as_ref().or(raw.anomaly_enabled.as_ref()) else {
        return Some((enabled, mode.value));
    };
    if mode.written {
        return reader.refuse_at(flat, format!("says the same as `mode` in line {}; keep one", mode.place.line));
    }
    let on = |field: &Field<bool>| field.as_ref().is_none_or(|at| at.value);
    Some(match (on(&raw.forecast_enabled), on(&raw.anomaly_enabled)) {
        (true, true) => (enabled, Mode::ForecastAndAnomaly),
        (true, false) => (enabled, Mode::ForecastOnly),
        (false, true) => (enabled, Mode::AnomalyOnly),
        // Both switched off is how the flat form switches a pipeline off.
        (false, false) => (false, Mode::ForecastAndAnomaly),
    })
}

fn name(field: &Field<String>, what: &str, reader: &mut Reader) -> Option<String> {
    let at = field.as_ref()?;
    let mut chars = at.value.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && at.value.len() <= 63 && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Some(at.value.clone());
    }
    let found = quoted(&at.value);
    reader.refuse_at(at, format!("found {found}; {what} begins with a letter or _, goes on with letters, digits, _ and -, and has at most 63 characters"))
}

pub(super) fn query(field: &Field<String>, reader: &mut Reader) -> Option<String> {
    let at = field.as_ref()?;
    if at.value.trim().is_empty() {
        return reader
            .refuse_at(at, "found an empty text; expected PromQL or MetricsQL, such as rate(http_requests_total[5m])");
    }
    Some(at.value.clone())
}

/// `None` is a wrong one, `Some(None)` one that isn't there.
pub(super) fn url(field: &Field<String>, reader: &mut Reader) -> Option<Option<String>> {
    let Some(at) = field else { return Some(None) };
    let host = at.value.strip_prefix("http://").or_else(|| at.value.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !at.value.contains(char::is_whitespace) => Some(Some(at.value.clone())),
        _ => {
            // What stands before an @ may be a password, and messages are logged.
            let found = if at.value.contains('@') { "something else".into() } else { quoted(&at.value) };
            reader.refuse_at(at, format!("found {found}; expected a URL such as http://localhost:9090"))
        }
    }
}

fn grid(raw: &RawPipeline, reader: &mut Reader) -> Option<(Step, usize, usize)> {
    let step_at = raw.step.as_ref()?;
    let Some(step) = Step::from_duration(step_at.value.0) else {
        return reader.refuse_at(step_at, "found 0s; expected a duration of at least 1ms");
    };
    let mut points = |field: &Field<Length>, least: usize| {
        let at = field.as_ref()?;
        let length = at.value.0;
        let points = usize::try_from(length.as_millis().div_ceil(step.duration().as_millis())).unwrap_or(usize::MAX);
        let (shown, shown_step) = (Show(length), Show(step.duration()));
        if length < step.times(least) {
            let steps = if least == 1 { "step" } else { "steps" };
            return reader.refuse_at(at, format!("found {shown}; expected at least {least} {steps} of {shown_step}"));
        }
        if points > MAX_POINTS {
            let message =
                format!("found {shown}, which is {points} steps of {shown_step}; expected at most {MAX_POINTS}");
            return reader.refuse_at(at, message);
        }
        Some(points)
    };
    let context = points(&raw.context_window, 2);
    let horizon = points(&raw.prediction_horizon, 1);
    Some((step, context?, horizon?))
}

pub(super) fn zone(field: &Field<String>, reader: &mut Reader) -> Option<TimeZone> {
    let at = field.as_ref()?;
    if let Ok(zone) = TimeZone::get(&at.value) {
        return Some(zone);
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = closest_zone(&at.value, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let found = quoted(&at.value);
    reader.refuse_at(
        at,
        format!("found {found}; expected a time zone of the IANA list, such as UTC or Europe/Berlin{hint}"),
    )
}

/// People know the city better than the continent.
fn closest_zone<'z>(found: &str, known: &[&'z str]) -> Option<&'z str> {
    let city = |zone: &'z str| zone.rsplit('/').next().unwrap_or(zone).to_lowercase();
    let wanted = found.rsplit('/').next().unwrap_or(found).to_lowercase();
    known.iter().copied().find(|zone| city(zone) == wanted).or_else(|| nearest(found, known))
}

pub(super) fn schedule(field: &Field<ScheduleText>, zone: &TimeZone, reader: &mut Reader) -> Option<Schedule> {
    let at = field.as_ref()?;
    match Schedule::parse(&at.value.0, zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => reader.refuse_at(at, error.to_string()),
    }
}

/// Every point that is scored must lie within the newest forecast.
fn reach(at: &Field<ScheduleText>, schedule: &Schedule, horizon: Duration, reader: &mut Reader) -> Option<()> {
    let gap = schedule.largest_gap();
    if gap <= horizon {
        return Some(());
    }
    let (gap, horizon, schedule) = (Show(gap), Show(horizon), quoted(&schedule.to_string()));
    let message = format!(
        "found {schedule}, by which forecasts are up to {gap} apart, but each reaches only {horizon} (`prediction_horizon`), \
         and points past it could not be scored; forecast more often or further"
    );
    reader.refuse_at(at.as_ref()?, message)
}

fn missing(at: &At<RawMissing>, reader: &mut Reader) -> Option<Missing> {
    Some(match at.value {
        RawMissing::Word(MissingWord::Nan) => Missing::Nan,
        RawMissing::Word(MissingWord::Previous) => Missing::Previous,
        RawMissing::Word(MissingWord::Linear) => Missing::Linear,
        RawMissing::Word(MissingWord::Zero) => Missing::Fixed(0.0),
        RawMissing::Fixed(value) if value.is_finite() => Missing::Fixed(value),
        RawMissing::Fixed(value) => {
            return reader.refuse_at(at, format!("found the number {value}; expected one that is finite"));
        }
    })
}

fn max_series(field: &Field<usize>, reader: &mut Reader) -> Option<usize> {
    let at = field.as_ref()?;
    if at.value == 0 {
        return reader.refuse_at(at, "found the number 0; expected 1 or more");
    }
    Some(at.value)
}

fn output(raw: &RawPipeline, reader: &mut Reader) -> Option<Output> {
    let raw = &raw.output.as_ref()?.value;
    let metric_prefix = metric_prefix(raw.metric_prefix.as_ref()?, reader);
    let metric_format = metric_format(raw.metric_format.as_ref()?, reader);
    Some(Output {
        write_forecast: raw.write_forecast.as_ref()?.value,
        write_anomaly_score: raw.write_anomaly_score.as_ref()?.value,
        metric_prefix: metric_prefix?,
        metric_format: metric_format?,
    })
}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn metric_prefix(at: &At<String>, reader: &mut Reader) -> Option<String> {
    if is_metric_name(&at.value) {
        return Some(at.value.clone());
    }
    let found = quoted(&at.value);
    reader
        .refuse_at(at, format!("found {found}; a metric's name has letters, digits, _ and :, and begins with no digit"))
}

fn metric_format(at: &At<Templates>, reader: &mut Reader) -> Option<MetricFormat> {
    let mut format = MetricFormat { name: "$VAR".into(), labels: Vec::new() };
    let before = reader.problems.len();
    for template in &at.value.0 {
        let (label, value) = &template.value;
        if let Some(wrong) = wrong_variable(value) {
            let message = format!("found {} with `{wrong}`; a template knows $VAR and $QUERY_KEY", quoted(value));
            reader.refuse_at::<(), _>(template, message);
        } else if label == tsdb::labels::METRIC_NAME {
            metric_name(template, reader);
            format.name.clone_from(value);
        } else if ["pipeline", "model", "source"].contains(&label.as_str()) {
            reader.refuse_at::<(), _>(template, "is a label that every output has; choose another name");
        } else if label.is_empty() || label.contains(':') || !is_metric_name(label) {
            let message = "is no label's name; one has letters, digits and _, and begins with no digit";
            reader.refuse_at::<(), _>(template, message);
        } else {
            format.labels.push((label.clone(), value.clone()));
        }
    }
    (reader.problems.len() == before).then_some(format)
}

fn metric_name(template: &At<(String, String)>, reader: &mut Reader) {
    let value = &template.value.1;
    let found = quoted(value);
    if !value.contains("$VAR") {
        let message = format!("found {found}; expected a name that holds $VAR, else all outputs would be one series");
        reader.refuse_at::<(), _>(template, message);
    } else if !is_metric_name(&value.replace("$VAR", "_").replace("$QUERY_KEY", "_")) {
        let message = format!("found {found}; a metric's name has letters, digits, _ and :, and begins with no digit");
        reader.refuse_at::<(), _>(template, message);
    }
}

/// The first `$…` of a template that is none of the two it may hold.
fn wrong_variable(template: &str) -> Option<String> {
    template.match_indices('$').find_map(|(at, _)| {
        let rest = &template[at..];
        let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |end| end + 1);
        // `$VAR_score` is `$VAR` and then text.
        let known = rest.starts_with("$VAR") || rest.starts_with("$QUERY_KEY");
        (!known).then(|| rest[..end].to_owned())
    })
}
