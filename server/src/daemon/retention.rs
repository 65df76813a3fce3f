//! Once an hour, one of the processes forgets what is old.

use std::time::Duration;

use crate::app::App;
use crate::database::{DatabaseError, leases, retention};

/// How often a process looks whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long the first look waits for the start to be over.
const START: Duration = Duration::from_secs(60);

/// How long the task is done for, once it was done.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Forgets what is old, for as long as the service runs.
pub async fn keep(app: App) {
    tokio::time::sleep(START).await;
    loop {
        if let Err(error) = once(&app).await {
            tracing::warn!("old rows are not deleted: {error}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn once(app: &App) -> Result<(), DatabaseError> {
    // Nobody gives this lease up: whoever claims it next does so an hour later.
    if !leases::claim_task(&app.database, "retention", &app.instance, HOUR).await? {
        return Ok(());
    }
    let config = app.current().config;
    for (table, rows) in retention::prune(&app.database, &config.retention, app.now()).await? {
        tracing::info!(table, rows, "old rows are deleted");
    }
    Ok(())
}
