//! The JSON Schema of a file of pipelines.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::raw::RawPipeline;

/// A document is one pipeline, or a list of them under `pipelines`.
pub(super) fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let pipeline = generator.subschema_for::<RawPipeline>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OpenAnomaly pipeline",
        "description": "One pipeline, or several under `pipelines`. Durations are those of Prometheus, such as 30s, \
                        1h30m or 2w. What is said to be not supported yet is refused when it asks for something.",
        "type": "object",
        "if": { "required": ["pipelines"] },
        "then": {
            "properties": { "pipelines": { "type": "array", "items": &pipeline } },
            "additionalProperties": false
        },
        "else": &pipeline,
        "$defs": definitions,
    })
}
