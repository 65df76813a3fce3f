//! What the service waits for: changed files, SIGHUP, and the signals to stop.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::DaemonError;
use crate::config::CONFIG_EXTENSIONS;

/// Editors write a file in several steps; they are taken as one change.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The configuration may have changed.
    Changed,
    /// The service is to stop.
    Stop,
}

/// Whether a path may be configuration: the service may well log into the same folder. Kubernetes swaps a link whose
/// name begins with two dots.
pub(crate) fn is_config(path: &Path) -> bool {
    let is_link = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".."));
    is_link || path.extension().is_some_and(|extension| CONFIG_EXTENSIONS.iter().any(|known| extension == *known))
}

/// Files that look like configuration, in one folder.
pub(crate) struct Files {
    changes: mpsc::Receiver<()>,
    // When a change that was not told yet is over: whoever waits may give up at any time and come again.
    due: Option<Instant>,
    watcher: RecommendedWatcher,
}

impl Files {
    /// Those of the folder that [`Files::watch`] is told.
    pub(crate) fn new() -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_config(path))) {
                // One change that waits is as good as many.
                let _ = sender.try_send(());
            }
        })?;
        Ok(Self { changes, due: None, watcher })
    }

    /// Watches `folder`, or what is in its place by now.
    pub(crate) fn watch(&mut self, folder: &Path) -> Result<(), notify::Error> {
        // Nothing to end where nothing was watched.
        let _ = self.watcher.unwatch(folder);
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }

    /// Ends the watch over `folder`, which may be gone.
    pub(crate) fn forget(&mut self, folder: &Path) {
        let _ = self.watcher.unwatch(folder);
    }

    /// Waits for a change and until it is over. Where the wait is broken off, the next one goes on with it.
    pub(crate) async fn changed(&mut self) {
        let due = match self.due {
            Some(due) => due,
            None => match self.changes.recv().await {
                Some(()) => *self.due.insert(Instant::now() + SETTLE),
                None => std::future::pending().await,
            },
        };
        tokio::time::sleep_until(due).await;
        while self.changes.try_recv().is_ok() {}
        self.due = None;
    }
}

/// Waits for what happens.
pub struct Changes {
    files: Files,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Changes {
    /// Watches the folder of the configuration.
    ///
    /// # Errors
    /// A folder that can't be watched, or a signal that can't be caught.
    pub fn watch(config_file: &Path) -> Result<Self, DaemonError> {
        let wrong = |error: &dyn std::fmt::Display| DaemonError::Changes(error.to_string());
        let folder = config_file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut files = Files::new().map_err(|error| wrong(&error))?;
        files.watch(folder).map_err(|error| wrong(&error))?;
        let catch = |kind| signal(kind).map_err(|error| wrong(&error));
        Ok(Self {
            files,
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// The next thing that happens. Nothing is lost where the wait is broken off.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hangup.recv() => Event::Changed,
            () = self.files.changed() => Event::Changed,
        }
    }
}
