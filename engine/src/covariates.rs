//! What a model sees beside the series: the answers of further queries.

use tsdb::{Limits, RangeQuery, Read, ReadError, Timestamp};

use crate::outlook::{Known, context_start};
use crate::pipeline::{Covariate, Pipeline};

/// What is known of every covariate of `pipeline` for a forecast made at `origin`, and what people should know of it.
///
/// # Errors
/// A query can't be answered.
pub async fn known(
    pipeline: &Pipeline,
    source: &dyn Read,
    origin: Timestamp,
) -> Result<(Vec<Known>, Vec<String>), ReadError> {
    let (mut known, mut warnings) = (vec![], vec![]);
    for covariate in &pipeline.covariates {
        let found = known_of(covariate, pipeline, source, origin, &mut warnings).await?;
        if found.past.iter().all(|value| value.is_nan()) {
            warnings.push(format!("covariate `{}`: its query answers nothing", covariate.name));
        }
        known.push(found);
    }
    Ok((known, warnings))
}

async fn known_of(
    covariate: &Covariate,
    pipeline: &Pipeline,
    source: &dyn Read,
    origin: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<Known, ReadError> {
    let (step, points) = (pipeline.step, pipeline.context_points);
    let ahead = if covariate.future { pipeline.horizon_points } else { 0 };
    let (first, last) = (context_start(pipeline, origin), origin + step.times(ahead));
    let mut past = vec![f64::NAN; points + ahead];
    if let Some(query) = RangeQuery::new(&covariate.query, first, last, step) {
        let answer = source.read(&query, &Limits { series: 1, ..Limits::default() }).await?;
        if let Some((_, values)) = answer.frame.rows().next() {
            let count = values.len().min(past.len());
            past[..count].copy_from_slice(&values[..count]);
        }
        warnings.extend(answer.warnings);
    }
    let future = past.split_off(points);
    Ok(Known { past, future })
}
