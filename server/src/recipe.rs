//! What scores are made with, so that they can be made again: the pipeline's document, the model and the program.

use engine::Pipeline;
use engine::store::Document;
use models::Resources;
use models::onnx::library::{Library, full_id};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::assembly::Trust;

/// What the scores of a pipeline are made with. Two are the same if and only if their hashes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// A hash of all the others.
    pub hash: String,
    /// The pipeline's document as it was written, a JSON object.
    pub document: String,
    /// The model as it runs, a JSON object: `id`, `version` where it was trained, `parameters`, `file_sha256` where it is
    /// a file, `program`, the program's version, and `is_filed`, whether the document came from a file beside the
    /// configuration.
    pub model: String,
}

impl Recipe {
    /// That of `pipeline`, which is what `document`, written by `trust`, says with the trained `version` of its model.
    pub fn of(
        (document, trust): (&Document, Trust),
        pipeline: &Pipeline,
        version: Option<i64>,
        resources: &Resources,
    ) -> Self {
        let document = Value::Object(document.clone()).to_string();
        let model = json!({
            "id": pipeline.model.id,
            "version": version,
            "parameters": pipeline.model.parameters,
            "file_sha256": file_hash(&pipeline.model.id, resources),
            "program": env!("CARGO_PKG_VERSION"),
            "is_filed": trust == Trust::Operator,
        });
        let model = model.to_string();
        let digest = Sha256::new().chain_update(&document).chain_update([0]).chain_update(&model).finalize();
        let hash = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { hash, document, model }
    }
}

/// The hash of the file that the model `id` is, as the models folder has it.
fn file_hash(id: &str, resources: &Resources) -> Option<String> {
    let library = Library::of(resources.onnx.settings()).ok()?;
    Some(library.installed(full_id(id)).ok()?.manifest.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_changes_a_score_changes_the_hash() {
        let recipe = |text: &str, version: Option<i64>| {
            let document = Pipeline::documents(text).remove(0);
            let pipeline = Pipeline::from_document(&document, "test").unwrap();
            Recipe::of((&document, Trust::Api), &pipeline, version, &Resources::default())
        };
        let one = recipe("{name: p, query: up}", None);
        assert_eq!(one, recipe("{name: p, query: up}", None));
        for other in [
            recipe("{name: p, query: down}", None),
            recipe("{name: p, query: up, step: 1m}", None),
            recipe("{name: p, query: up}", Some(1)),
        ] {
            assert_ne!(one.hash, other.hash, "{other:?}");
        }
        let model: Value = serde_json::from_str(&one.model).unwrap();
        assert_eq!((&model["version"], &model["file_sha256"]), (&Value::Null, &Value::Null));
    }
}
