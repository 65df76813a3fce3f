//! New and changed incidents as they come, by whichever process they were found.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;

use super::{Anomaly, FEW};
use crate::api::page::Cursor;
use crate::api::params::Params;
use crate::api::problem::Problem;
use crate::app::App;
use crate::database::{DatabaseError, incidents};

/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many changes are read at once.
const MOST: i64 = 200;

/// What is followed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filters {
    pipeline: Option<String>,
}

/// New and changed incidents, as server-sent events `new` and `changed` whose data is the incident. Comments come while
/// there are none. After a break, `Last-Event-ID` goes on where it was.
#[utoipa::path(get, path = "/api/v1/anomalies/events", tag = "anomalies",
    params(
        ("pipeline" = Option<String>, Query, description = "those of one pipeline"),
        ("Last-Event-ID" = Option<String>, Header, description = "the id of the last event that was seen")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    Params(filters): Params<Filters>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let after = match last {
        Some(id) => id.parse().map_err(|_| Problem::invalid(format!("`{id}` is no id of an event")))?,
        None => incidents::last_change(&app.database).await?,
    };
    let follower = Follower { app, pipeline: filters.pipeline, after, waiting: VecDeque::new() };
    let stream = unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Somebody who follows what is found.
struct Follower {
    app: App,
    pipeline: Option<String>,
    after: Cursor,
    waiting: VecDeque<Event>,
}

impl Follower {
    /// The next event; none once the service stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if let Err(error) = self.look().await {
                tracing::warn!("following incidents: {error}");
            }
            if self.waiting.is_empty() {
                tokio::select! {
                    () = self.app.stopping.cancelled() => return None,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), DatabaseError> {
        let since = self.after.at_ms;
        let rows = incidents::changed(&self.app.database, self.pipeline.clone(), self.after.clone(), MOST).await?;
        let marks: Vec<(Cursor, bool)> = rows
            .iter()
            .map(|row| (Cursor { at_ms: row.changed_ms, id: row.id.clone() }, row.created_ms > since))
            .collect();
        let anomalies = Anomaly::all(&self.app, rows, None, FEW).await?;
        for (anomaly, (mark, is_new)) in anomalies.iter().zip(marks) {
            let event = Event::default().id(mark.to_string()).event(if is_new { "new" } else { "changed" });
            let data = serde_json::to_string(anomaly).unwrap_or_default();
            self.waiting.push_back(event.data(data));
            self.after = mark;
        }
        Ok(())
    }
}
