//! What passes did, written to the database by one task that no pass waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::incident::Anomalous;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::database::Database;
use crate::database::incidents::{self, Scene};
use crate::database::runs::{self, Prediction, Run};
use crate::metrics::Metrics;

/// How many rows and anomalous points may wait while the database is away; a few tens of megabytes at most.
const ROOM: usize = 100_000;

/// How many entries are written at once.
const BATCH: usize = 500;

/// How long is waited after a failure, at first and at most.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// How often a batch is tried that the database itself refuses.
const TRIES: usize = 8;

/// How long [`Journal::flush`] waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A pass, and the forecast that it made.
    Run(Run, Option<Box<Prediction>>),
    /// What was found anomalous.
    Anomalous(Scene, Vec<Anomalous>),
}

enum Message {
    Entry(Box<Entry>, OwnedSemaphorePermit),
    /// All that was sent before is written.
    Flush(oneshot::Sender<()>),
}

/// Takes what is to be remembered. Cloning it is cheap.
#[derive(Clone)]
pub struct Journal {
    messages: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
    is_full: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Journal {
    /// A journal in `database`, whose writer runs as long as the journal lives.
    pub fn open(database: Database, metrics: Arc<Metrics>) -> Self {
        // What waits is bounded by the room.
        let (messages, received) = mpsc::unbounded_channel();
        let (room, is_full) = (Arc::new(Semaphore::new(ROOM)), Arc::new(AtomicBool::new(false)));
        let writer = Writer { database, metrics: metrics.clone(), is_full: is_full.clone() };
        tokio::spawn(writer.work(received));
        Self { messages, room, is_full, metrics }
    }

    /// Notes `entry`, and never waits: what finds no room, because the database has been away for long, is lost, counted
    /// and logged.
    pub fn note(&self, entry: Entry) {
        let size = entry.size().min(ROOM);
        match self.room.clone().try_acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX)) {
            // The writer ends with the process only.
            Ok(room) => drop(self.messages.send(Message::Entry(Box::new(entry), room))),
            Err(_) => {
                self.metrics.records_lost(entry.size());
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    tracing::error!("the database has been away for too long: runs and incidents are not recorded");
                }
            }
        }
    }

    /// Waits until all that was noted is written, for a few seconds at most.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let _ = self.messages.send(Message::Flush(done));
        if tokio::time::timeout(PATIENCE, written).await.is_err() {
            tracing::warn!("the last runs and incidents are not recorded: the database takes too long");
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        match self {
            Self::Run(..) => 1,
            Self::Anomalous(_, found) => found.iter().map(|one| one.points.len()).sum(),
        }
    }
}

struct Writer {
    database: Database,
    metrics: Arc<Metrics>,
    is_full: Arc<AtomicBool>,
}

impl Writer {
    async fn work(self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut batch = vec![];
        while messages.recv_many(&mut batch, BATCH).await > 0 {
            let (mut entries, mut rooms, mut flushes) = (vec![], vec![], vec![]);
            for message in batch.drain(..) {
                match message {
                    Message::Entry(entry, room) => {
                        entries.push(*entry);
                        rooms.push(room);
                    }
                    Message::Flush(done) => flushes.push(done),
                }
            }
            self.write_patiently(&entries).await;
            drop(rooms);
            for done in flushes {
                // Whoever has given up waiting hears nothing.
                let _ = done.send(());
            }
        }
    }

    /// Tries until the database takes `entries`. What it refuses though it can be reached is given up one by one.
    async fn write_patiently(&self, entries: &[Entry]) {
        let mut wait = WAITS.0;
        for attempt in 1.. {
            let Err(error) = self.write(entries).await else { break };
            if attempt == 1 {
                tracing::warn!("runs and incidents wait to be recorded: {error}");
            }
            if attempt >= TRIES && error.as_database_error().is_some() {
                self.write_singly(entries).await;
                break;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
        }
        if self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("runs and incidents are recorded again");
        }
    }

    async fn write_singly(&self, entries: &[Entry]) {
        for entry in entries {
            if let Err(error) = self.write(std::slice::from_ref(entry)).await {
                tracing::error!("not recorded: {error}");
                self.metrics.records_lost(entry.size());
            }
        }
    }

    /// All of `entries` or none.
    async fn write(&self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let (mut passes, mut predictions) = (vec![], vec![]);
        for entry in entries {
            if let Entry::Run(run, prediction) = entry {
                passes.push(run.clone());
                predictions.extend(prediction.as_deref().cloned());
            }
        }
        let mut transaction = self.database.begin().await?;
        runs::insert(&mut transaction, &passes).await?;
        runs::insert_predictions(&mut transaction, &predictions).await?;
        for entry in entries {
            if let Entry::Anomalous(scene, found) = entry {
                incidents::insert(&mut transaction, self.database.clock(), scene, found).await?;
            }
        }
        transaction.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::page::Limit;
    use crate::database::testing;
    use tsdb::Timestamp;

    fn run(id: &str) -> Run {
        Run {
            id: id.into(),
            pipeline: "p".into(),
            stage: "forecast".into(),
            tick_ms: 1000,
            started_ms: 1001,
            took_ms: 5,
            outcome: "success".into(),
            series: 1,
            scored: 0,
            anomalous: 0,
            written: 3,
            rejected: 0,
            error: None,
            instance: "i".into(),
            job: None,
        }
    }

    fn prediction(id: &str) -> Prediction {
        Prediction {
            run: id.into(),
            pipeline: "p".into(),
            model: "mstl".into(),
            model_version: None,
            origin_ms: 900,
            step_ms: 100,
            horizon: 4,
            series: 1,
            made_ms: 1006,
        }
    }

    #[tokio::test]
    async fn what_is_noted_is_there_after_a_flush_and_once() {
        let database = testing::database().await;
        let journal = Journal::open(database.clone(), Metrics::new(Timestamp::default()));
        for id in ["a", "b", "a"] {
            journal.note(Entry::Run(run(id), Some(Box::new(prediction(id)))));
        }
        journal.flush().await;
        let rows = runs::list(&database, runs::Filter::default(), Limit::default()).await.unwrap();
        assert_eq!(rows, [run("b"), run("a")]);
        assert_eq!(runs::prediction(&database, "a").await.unwrap(), Some(prediction("a")));
        let ticks = runs::last_ticks(&database, "p", Timestamp::default()).await.unwrap();
        assert_eq!(ticks, [("forecast".to_string(), Timestamp::from_seconds(1))]);
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted() {
        let database = testing::database().await;
        let metrics = Metrics::new(Timestamp::default());
        let journal = Journal::open(database.clone(), metrics.clone());
        // Nothing runs in between, so the writer can't make room.
        (0..ROOM + 2).for_each(|_| journal.note(Entry::Run(run("a"), None)));
        assert!(metrics.render().contains("openanomaly_records_lost_total 2"), "{}", metrics.render());
    }
}
