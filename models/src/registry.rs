//! Every model by its id. A new one is one file and one line in [`MODELS`].

use crate::entry::{BuildError, Built, Entry, join};
use crate::resources::Resources;
use crate::spec::ModelSpec;
use crate::{
    auto, cascade, ets, holt_winters, mad, mstl, onnx, panel, quantile, remote, rolling_quantile, seasonal_naive,
    seasonal_std, zscore,
};

/// All models, the ones to try first at the top.
pub const MODELS: &[Entry] = &[
    auto::ENTRY,
    onnx::entry::NANO,
    mstl::ENTRY,
    holt_winters::ENTRY,
    seasonal_naive::ENTRY,
    seasonal_std::ENTRY,
    quantile::ENTRY,
    mad::ENTRY,
    zscore::ENTRY,
    rolling_quantile::ENTRY,
    ets::ENTRY,
    cascade::ENTRY,
    panel::FOREST,
    panel::PEERS,
];

/// The id of the model that is used where none is named.
pub const DEFAULT: &str = "auto";

/// The id of the model that forecasts where none is named.
pub const FORECASTER: &str = "mstl";

/// The id of the model that an isolation forest judges the points of.
pub const FOREST: &str = panel::FOREST.id;

/// Builds the model of `spec`, by its id or an alias of it. Parameters are checked; nothing is read, loaded or asked yet,
/// so that a specification can be checked by building it with [`Resources::default`].
///
/// # Errors
/// No model has this id, or it has no such parameter, or not with that value, or its endpoint is no URL.
pub fn build(spec: &ModelSpec, resources: &Resources) -> Built {
    if let Some(endpoint) = &spec.endpoint {
        return remote::build(spec, endpoint, resources);
    }
    let entry = entry(&spec.id).ok_or_else(|| BuildError::UnknownModel {
        found: spec.id.clone(),
        nearest: nearest(&spec.id),
        known: join(MODELS.iter().map(|entry| entry.id)),
    })?;
    (entry.build)(spec, resources)
}

/// The model `id`, which may be an alias, or the hub id of a model in the models folder.
pub fn entry(id: &str) -> Option<&'static Entry> {
    MODELS.iter().find(|entry| entry.id == id || entry.aliases.contains(&id)).or_else(|| onnx::entry::entry(id))
}

fn nearest(id: &str) -> Option<String> {
    let names = MODELS.iter().flat_map(|entry| std::iter::once(&entry.id).chain(entry.aliases));
    let likeness = |name: &str| strsim::jaro_winkler(&id.to_lowercase(), name);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.75).then(|| (*best).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn check_error(id: &str, parameters: &str, expected: &[&str]) {
        let spec = ModelSpec::local(id, serde_json::from_str(parameters).unwrap());
        let Err(error) = build(&spec, &Resources::default()) else { panic!("{spec:?} was built") };
        let error = error.to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }

    #[test]
    fn wrong_ids_and_parameters_are_named() {
        check_error("seasonal-naive", "{}", &["seasonal-naive", "did you mean \"seasonal_naive\"", "zscore"]);
        check_error("zcore_online", "{}", &["did you mean \"zscore_online\""]);
        check_error("xyz", "{}", &["no model \"xyz\"; known are"]);
        check_error("seasonal_naive", r#"{"seson": 3}"#, &["model seasonal_naive", "seson", "allowed are season"]);
        check_error("seasonal_naive", r#"{"season": 0}"#, &["parameter season", "0 is neither", "\"auto\""]);
        check_error("seasonal_naive", r#"{"season": "soon"}"#, &["parameter season", "soon"]);
        check_error("seasonal_naive", r#"{"season": ["1d", -4]}"#, &["parameter season", "-4"]);
        check_error("zscore", r#"{"seasonal_interval": "-1d"}"#, &["parameter seasonal_interval", "-1d"]);
        check_error("zscore", r#"{"seasonal_interval": true}"#, &["parameter seasonal_interval", "true"]);
    }

    #[test]
    fn names_are_unique_and_defaults_build() {
        let mut names: Vec<_> = MODELS.iter().flat_map(|entry| entry.aliases.iter().chain([&entry.id])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(build(&ModelSpec::local(*name, Map::new()), &Resources::default()).is_ok(), "{name}");
        }
        assert!(entry(DEFAULT).is_some());
    }

    #[test]
    fn good_parameters_build() {
        for parameters in [r#"{"season": "1d"}"#, r#"{"season": ["1d", "1w", 7]}"#, r#"{"season": "none"}"#] {
            let spec = ModelSpec::local("seasonal_naive", serde_json::from_str(parameters).unwrap());
            assert!(build(&spec, &Resources::default()).is_ok(), "{parameters}");
        }
    }
}
