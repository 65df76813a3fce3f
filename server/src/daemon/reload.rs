//! What the service waits for: changed files, SIGHUP, and the signals to stop.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

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

/// Waits for what happens.
pub struct Changes {
    files: mpsc::Receiver<()>,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    // Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches the folder of the configuration.
    ///
    /// # Errors
    /// A folder that can't be watched, or a signal that can't be caught.
    pub fn watch(config_file: &Path) -> Result<Self, DaemonError> {
        let wrong = |error: &dyn std::fmt::Display| DaemonError::Changes(error.to_string());
        let (sender, files) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(|path| is_config(path))) {
                // One change that waits is as good as many.
                let _ = sender.try_send(());
            }
        })
        .map_err(|error| wrong(&error))?;
        let folder = config_file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for folder in [folder] {
            if folder.is_dir() {
                watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| wrong(&error))?;
            }
        }
        let catch = |kind| signal(kind).map_err(|error| wrong(&error));
        Ok(Self {
            files,
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            _watcher: watcher,
        })
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hangup.recv() => Event::Changed,
            Some(()) = self.files.recv() => {
                tokio::time::sleep(SETTLE).await;
                while self.files.try_recv().is_ok() {}
                Event::Changed
            }
        }
    }
}
