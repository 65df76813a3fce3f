//! How points are scored, as it is written, checked.

use std::time::Duration;

use tsdb::Step;

use super::duration::Show;
use super::kinds::{Pair, Range};
use super::raw::{RawAnomaly, RawPipeline, RawTechnique};
use super::read::{Field, Reader};
use super::{Anomaly, Calibration, Sides, Technique};
use crate::budget::Budget;

/// A number within bounds; the message says what is `expected`.
fn number(field: &Field<f64>, expected: &str, within: impl Fn(f64) -> bool, reader: &mut Reader) -> Option<f64> {
    let at = field.as_ref()?;
    if within(at.value) {
        return Some(at.value);
    }
    reader.refuse_at(at, format!("found the number {}; expected {expected}", at.value))
}

fn sides(field: &Field<Pair>, expected: &str, within: impl Fn(f64) -> bool, reader: &mut Reader) -> Option<Sides> {
    let at = field.as_ref()?;
    let Pair(below, above) = at.value;
    if let Some(wrong) = [below, above].into_iter().find(|side| !side.is_finite() || !within(*side)) {
        return reader.refuse_at(at, format!("found the number {wrong}; expected {expected}"));
    }
    Some(Sides { below, above })
}

/// What `raw` says of how points are scored; `grid` is the step and the points of a context and a forecast.
pub(super) fn anomaly(raw: &RawPipeline, grid: Option<(Step, usize, usize)>, reader: &mut Reader) -> Option<Anomaly> {
    let raw = &raw.anomaly.as_ref()?.value;
    let positive = |value: f64| value > 0.0 && value.is_finite();
    let level = number(
        &raw.confidence_level,
        "one between 0 and 1, both excluded, such as 0.95",
        |level| level > 0.0 && level < 1.0,
        reader,
    );
    let threshold = number(&raw.threshold, "one above 0, such as 3", positive, reader);
    let min_dev = sides(&raw.min_dev_from_expected, "0 or more", |side| side >= 0.0, reader);
    let min_rel_dev = sides(&raw.min_rel_dev_from_expected, "0 or more", |side| side >= 0.0, reader);
    let scale = sides(&raw.scale, "one above 0", |side| side > 0.0, reader);
    let data_range = data_range(raw, reader);
    let outside = &raw.anomaly_score_outside_data_range;
    let outside = number(outside, "0 or more", |score| score >= 0.0 && score.is_finite(), reader);
    let budget = budget(&raw.alert_budget, reader);
    let calibration = calibration(raw, reader);
    let mask_limit = grid.and_then(|(step, context, _)| mask_limit(raw, step, context, reader));
    Some(Anomaly {
        technique: technique(raw.technique.as_ref()?.value, level?, threshold?)?,
        detection_direction: raw.detection_direction.as_ref()?.value,
        min_dev_from_expected: min_dev?,
        min_rel_dev_from_expected: min_rel_dev?,
        scale: scale?,
        data_range: data_range?,
        clip_predictions: raw.clip_predictions.as_ref()?.value,
        score_outside_data_range: outside?,
        calibration: calibration?,
        budget: budget?,
        patience: raw.for_.as_ref()?.value.0,
        mask_limit: mask_limit?,
    })
}

fn technique(technique: RawTechnique, confidence_level: f64, threshold: f64) -> Option<Technique> {
    match technique {
        RawTechnique::ConfidenceInterval => Some(Technique::ConfidenceInterval { confidence_level }),
        RawTechnique::ZScore => Some(Technique::ZScore { threshold }),
        RawTechnique::Iqr => Some(Technique::Iqr { threshold }),
        RawTechnique::IsolationForest => Some(Technique::IsolationForest { confidence_level }),
    }
}

fn data_range(raw: &RawAnomaly, reader: &mut Reader) -> Option<(f64, f64)> {
    let at = raw.data_range.as_ref()?;
    let Range(lowest, highest) = at.value;
    if lowest < highest {
        return Some((lowest, highest));
    }
    reader.refuse_at(at, format!("found [{lowest}, {highest}]; expected the lower bound first and the two to differ"))
}

/// A band that is no confidence interval has no level that it could be calibrated to.
fn calibration(raw: &RawAnomaly, reader: &mut Reader) -> Option<Calibration> {
    let is_interval = raw.technique.as_ref()?.value == RawTechnique::ConfidenceInterval;
    match &raw.calibration {
        None if is_interval => Some(Calibration::Conformal),
        None => Some(Calibration::None),
        Some(at) if at.value == Calibration::Conformal && !is_interval => {
            reader.refuse_at(at, "found conformal, which needs the technique `confidence_interval`; expected none")
        }
        Some(at) => Some(at.value),
    }
}

/// `None` is a wrong one, `Some(None)` one that isn't there.
fn budget(field: &Field<String>, reader: &mut Reader) -> Option<Option<Budget>> {
    let Some(at) = field else { return Some(None) };
    match at.value.parse::<Budget>() {
        Ok(budget) => Some(Some(budget)),
        Err(error) => reader.refuse_at(at, error.to_string()),
    }
}

/// For how long anomalous points are hidden: `Some(None)` where they are not. Half of a context always stays to be learned
/// from.
fn mask_limit(raw: &RawAnomaly, step: Step, context_points: usize, reader: &mut Reader) -> Option<Option<Duration>> {
    let masks = raw.mask_anomalies.as_ref()?;
    let usual = Anomaly::usual_mask_limit(step, context_points);
    let Some(at) = &raw.mask_limit else { return Some(masks.value.then_some(usual)) };
    let most = step.times(context_points / 2);
    let found = Show(at.value.0);
    if !masks.value {
        return reader.refuse_at(
            at,
            format!("found {found}, but nothing is hidden, since `mask_anomalies` is false; leave it out"),
        );
    }
    if at.value.0 < step.duration() || at.value.0 > most {
        let (step, most) = (Show(step.duration()), Show(most));
        let message = format!(
            "found {found}; expected at least a step, {step}, and at most half of `context_window`, {most}, so that something is left to learn from"
        );
        return reader.refuse_at(at, message);
    }
    Some(Some(at.value.0))
}
