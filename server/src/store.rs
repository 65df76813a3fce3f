//! Where pipelines are kept: a folder of files, the database, MongoDB. Each is one file here and one line in
//! [`open`].

pub mod bson;
pub mod folder;
pub mod layered;
pub mod mongodb;
pub mod sql;

use std::sync::Arc;

use engine::Pipeline;
use engine::pipeline::PipelineErrors;
use engine::store::{Document, Expected, PipelineStore, StoreError, Stored, Version};

use crate::config::Config;
use crate::config::service::StoreKind;
use crate::database::Database;

/// The store that `config` asks for: its folder of pipelines, and where those go that are made over the API. A server
/// need not be up yet.
///
/// # Errors
/// The folder can't be watched, or the address of the store is none.
pub async fn open(config: &Config, database: &Database) -> Result<Arc<dyn PipelineStore>, StoreError> {
    let folder = folder::Folder::open(&config.pipelines)?;
    let written: Arc<dyn PipelineStore> = match config.store {
        StoreKind::Folder => return Ok(Arc::new(folder)),
        StoreKind::Database => Arc::new(sql::Sql::new(database.clone())),
        StoreKind::Mongodb => Arc::new(mongodb::Mongodb::open(&config.mongodb)?),
    };
    Ok(Arc::new(layered::Layered::new(folder, written)))
}

/// The name that a document gives itself, and the pipeline that it is.
fn check(document: &Document, origin: &str) -> Result<(String, Pipeline), PipelineErrors> {
    let pipeline = Pipeline::from_document(document, origin)?;
    Ok((pipeline.name.clone(), pipeline))
}

/// What is kept under `name` at `origin`, in a store that we may write.
///
/// # Errors
/// The document has another name, for people.
fn stored(name: String, origin: String, document: Document) -> Result<Stored, String> {
    if document.get("name").and_then(|own| own.as_str()) != Some(&name) {
        return Err(format!("is kept as `{name}`, but its `name` is another one"));
    }
    let checked = check(&document, &origin).map(|(_, pipeline)| pipeline);
    Ok(Stored { name, origin, version: Version::of(&document), document, is_read_only: false, checked })
}

/// Why a change that expects something is not made to what is there: whether there `is` something, and its version.
fn conflict(name: &str, expected: &Expected, is: bool, version: Option<&Version>) -> Option<StoreError> {
    let reason = match expected {
        Expected::Absent if is => "is there already",
        Expected::Version(_) if !is => return Some(StoreError::Missing { name: name.into() }),
        Expected::Version(expected) if version != Some(expected) => "was changed since it was read",
        _ => return None,
    };
    Some(StoreError::Conflict { name: name.into(), reason })
}

/// Others change the pipeline `name` all the time.
fn busy(store: &str, name: &str) -> StoreError {
    StoreError::Unavailable { store: store.into(), reason: format!("pipeline `{name}` is being changed by others") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_say_what_is_there() {
        let check = |expected: &Expected, version: Option<&str>, part: Option<&str>| {
            let version = version.map(Version::named);
            let found = conflict("a", expected, version.is_some(), version.as_ref()).map(|error| error.to_string());
            match part {
                None => assert_eq!(found, None),
                Some(part) => assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?}"),
            }
        };
        let of = |version| Expected::Version(Version::named(version));
        check(&Expected::Anything, None, None);
        check(&Expected::Anything, Some("1"), None);
        check(&Expected::Absent, None, None);
        check(&Expected::Absent, Some("1"), Some("`a` is there already"));
        check(&of("1"), Some("1"), None);
        check(&of("1"), Some("2"), Some("`a` was changed"));
        check(&of("1"), None, Some("there is no pipeline `a`"));
    }
}
