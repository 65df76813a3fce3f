//! Which settings of a model are worth comparing on data: what training chooses from.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::entry::Entry;
use crate::prepare::Series;
use crate::registry::entry;
use crate::season::Season;
use crate::spec::ModelSpec;

/// The parameters that take seasons; a model has at most one of them.
const SEASONS: [&str; 2] = ["season", "period"];
/// The parameters that take the length of one season.
const ONE_SEASON: [&str; 2] = ["seasonal_interval", "window"];
/// How many settings are compared at most.
const MOST: usize = 12;

/// The seasons that are convincing in `values` (oldest first, a gap is NaN, the last one at `end_ms`), in points,
/// rising; none where there are none.
pub fn seasons(values: &[f64], end_ms: i64, step: Duration) -> Vec<usize> {
    Series::new(values, end_ms, step).map(|series| Season::Auto.lengths(&series)).unwrap_or_default()
}

/// Whether the model of `spec` has settings that data can decide about.
pub fn is_tunable(spec: &ModelSpec) -> bool {
    let tunable = |entry: &Entry| SEASONS.iter().chain(&ONE_SEASON).any(|name| has(entry, name));
    spec.endpoint.is_none() && entry(&spec.id).is_some_and(tunable)
}

/// The parameters worth comparing for the model of `spec`, its own first: at most twelve. `seasons` are sets of season
/// lengths as they were found in the data, in points of `step`, the most convincing first.
pub fn candidates(spec: &ModelSpec, seasons: &[Vec<usize>], step: Duration) -> Vec<Map<String, Value>> {
    let mut found = vec![spec.parameters.clone()];
    let Some(entry) = entry(&spec.id).filter(|_| spec.endpoint.is_none()) else { return found };
    let mut varied = vec![spec.parameters.clone()];
    for name in SEASONS.into_iter().filter(|name| has(entry, name)) {
        varied = with(&varied, name, &season_values(seasons, step));
    }
    for name in ONE_SEASON.into_iter().filter(|name| has(entry, name)) {
        varied = varied.iter().cloned().chain(with(&varied, name, &lengths(seasons, step))).collect();
    }
    if has(entry, "trend") {
        varied = with(&varied, "trend", &[json!(true), json!(false)]);
    }
    for parameters in varied {
        if !found.contains(&parameters) {
            found.push(parameters);
        }
    }
    found.truncate(MOST);
    found
}

fn has(entry: &Entry, name: &str) -> bool {
    entry.parameters.iter().any(|parameter| parameter.name == name)
}

/// Each of `sets` with each of `values` under `name`.
fn with(sets: &[Map<String, Value>], name: &str, values: &[Value]) -> Vec<Map<String, Value>> {
    let one = |set: &Map<String, Value>, value: &Value| {
        let mut set = set.clone();
        set.insert(name.into(), value.clone());
        set
    };
    sets.iter().flat_map(|set| values.iter().map(move |value| one(set, value))).collect()
}

/// The sets of seasons, then whatever each context shows by itself, then none.
fn season_values(seasons: &[Vec<usize>], step: Duration) -> Vec<Value> {
    let set = |set: &Vec<usize>| set.iter().map(|points| length(*points, step)).collect::<Vec<Value>>();
    let sets = seasons.iter().filter(|set| !set.is_empty()).map(|lengths| Value::Array(set(lengths)));
    sets.chain([json!("auto"), json!("none")]).collect()
}

/// Every season length once.
fn lengths(seasons: &[Vec<usize>], step: Duration) -> Vec<Value> {
    let mut points: Vec<usize> = seasons.iter().flatten().copied().collect();
    points.sort_unstable();
    points.dedup();
    points.into_iter().map(|points| length(points, step)).collect()
}

/// A length that people can read, and that holds for another step too, where it is one of whole seconds.
fn length(points: usize, step: Duration) -> Value {
    let millis = step.as_millis().saturating_mul(points as u128);
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if millis.is_multiple_of(unit) {
            return json!(format!("{}{name}", millis / unit));
        }
    }
    json!(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Resources, build};

    const HOUR: Duration = Duration::from_secs(3600);

    fn check(id: &str, parameters: Value, expected: &[Value]) {
        let spec = ModelSpec::local(id, parameters.as_object().unwrap().clone());
        let found = candidates(&spec, &[vec![24, 168], vec![24]], HOUR);
        let found: Vec<Value> = found.into_iter().map(Value::Object).collect();
        assert_eq!(found, expected, "{id}");
        for parameters in found {
            let spec = ModelSpec::local(id, parameters.as_object().unwrap().clone());
            assert!(build(&spec, &Resources::default()).is_ok(), "{parameters}");
        }
    }

    #[test]
    fn its_own_parameters_come_first_and_every_candidate_can_be_built() {
        let seasons = [json!(["1d", "7d"]), json!(["1d"]), json!("auto"), json!("none")];
        let naive = seasons.iter().map(|season| json!({"season": season}));
        check("seasonal_naive", json!({}), &[json!({})].into_iter().chain(naive).collect::<Vec<_>>());
        let trends = |season: &Value| {
            let season = season.clone();
            [true, false].map(move |trend| json!({"season": season.clone(), "trend": trend}))
        };
        let mstl = seasons.iter().flat_map(trends);
        check("mstl", json!({}), &[json!({})].into_iter().chain(mstl).collect::<Vec<_>>());
        check(
            "zscore",
            json!({}),
            &[json!({}), json!({"seasonal_interval": "1d"}), json!({"seasonal_interval": "7d"})],
        );
        check("cascade", json!({}), &[json!({})]);
        check("nano", json!({}), &[json!({})]);
    }

    #[test]
    fn what_can_be_tuned_is_known() {
        for (id, expected) in [("mstl", true), ("std", true), ("rolling_quantile", true), ("nano", false)] {
            assert_eq!(is_tunable(&ModelSpec::local(id, Map::new())), expected, "{id}");
        }
    }

    #[test]
    fn seasons_are_found_where_there_are_some() {
        let day: Vec<f64> = (0..24 * 14).map(|hour| (f64::from(hour) / 24.0 * std::f64::consts::TAU).sin()).collect();
        assert_eq!(seasons(&day, 0, HOUR), [24]);
        assert!(seasons(&[1.0; 5], 0, HOUR).is_empty());
        assert!(seasons(&[], 0, HOUR).is_empty());
    }
}
