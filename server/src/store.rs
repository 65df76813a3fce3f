//! Where pipelines are kept: a folder of files, the database, MongoDB. Each is one file here and one line in
//! [`open`].

pub mod folder;
pub mod layered;
pub mod sql;

use std::sync::Arc;

use engine::Pipeline;
use engine::pipeline::PipelineErrors;
use engine::store::{Document, PipelineStore, StoreError};

use crate::config::Config;
use crate::config::service::StoreKind;
use crate::database::Database;

/// The store that `config` asks for: its folder of pipelines, and where those go that are made over the API.
///
/// # Errors
/// The store can't be reached.
pub async fn open(config: &Config, database: &Database) -> Result<Arc<dyn PipelineStore>, StoreError> {
    let folder = folder::Folder::open(&config.pipelines)?;
    let written: Arc<dyn PipelineStore> = match config.store {
        StoreKind::Folder => return Ok(Arc::new(folder)),
        StoreKind::Database => Arc::new(sql::Sql::new(database.clone())),
        StoreKind::Mongodb => {
            let reason = "not built yet".into();
            return Err(StoreError::Unavailable { store: "mongodb".into(), reason });
        }
    };
    Ok(Arc::new(layered::Layered::new(folder, written)))
}

/// The name that a document gives itself, and the pipeline that it is.
fn check(document: &Document, origin: &str) -> Result<(String, Pipeline), PipelineErrors> {
    let pipeline = Pipeline::from_document(document, origin)?;
    Ok((pipeline.name.clone(), pipeline))
}
