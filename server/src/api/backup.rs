//! A copy of the database, to be kept.

use std::io::Seek;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::io::AsyncReadExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Routes;
use super::problem::Problem;
use crate::app::App;
use crate::backup;

/// How much of the file is sent at a time.
const CHUNK: usize = 1 << 16;

/// The routes.
pub(super) fn routes() -> Routes {
    Routes { admin: OpenApiRouter::new().routes(routes!(make)), ..Routes::default() }
}

/// A copy of the database as it is now: what `openanomaly backup` writes and `openanomaly restore` reads. It holds
/// hashes of passwords and keys.
#[utoipa::path(
    post,
    path = "/api/v1/backup",
    tag = "service",
    responses(
        (status = 200, description = "Lines of JSON, compressed by gzip", body = Vec<u8>, content_type = "application/gzip"),
        (status = 500, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn make(State(app): State<App>) -> Result<Response, Problem> {
    let internal = |error: &dyn std::fmt::Display| Problem::internal(error);
    let mut file = tempfile::tempfile().map_err(|error| internal(&error))?;
    let now = app.now();
    backup::write(&app.database, &mut file, now).await.map_err(|error| internal(&error))?;
    file.rewind().map_err(|error| internal(&error))?;
    let name = now.to_string().replace([':', '-'], "");
    let chunks = stream::try_unfold(tokio::fs::File::from_std(file), |mut file| async {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    let disposition = format!("attachment; filename=\"openanomaly-{name}.jsonl.gz\"");
    let headers = [(CONTENT_TYPE, "application/gzip".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
