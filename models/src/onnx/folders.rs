//! Where this program keeps what it fetches, by each platform's own custom.

use std::env;
use std::path::{Path, PathBuf};

use super::Settings;

/// The program's folder in the user's cache: what is there can be fetched again.
pub(crate) fn cache() -> Option<PathBuf> {
    let platform = if cfg!(windows) {
        folder_of("LOCALAPPDATA", "")
    } else if cfg!(target_os = "macos") {
        folder_of("HOME", "Library/Caches")
    } else {
        folder_of("HOME", ".cache")
    };
    Some(folder_of("XDG_CACHE_HOME", "").or(platform)?.join("openanomaly"))
}

/// The program's folder in the user's data: what is there was put there on purpose.
pub(crate) fn data() -> Option<PathBuf> {
    let platform = if cfg!(windows) {
        folder_of("APPDATA", "")
    } else if cfg!(target_os = "macos") {
        folder_of("HOME", "Library/Application Support")
    } else {
        folder_of("HOME", ".local/share")
    };
    Some(folder_of("XDG_DATA_HOME", "").or(platform)?.join("openanomaly"))
}

/// A folder below the one that a variable of the environment names; a relative one counts as none.
fn folder_of(variable: &str, below: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os(variable)?);
    folder.is_absolute().then(|| if below.is_empty() { folder.clone() } else { folder.join(Path::new(below)) })
}

impl Settings {
    /// The models folder: the one that is set, here or by `OPENANOMALY_MODELS`, else `openanomaly/models` in the user's
    /// data folder.
    pub fn models_folder(&self) -> Option<PathBuf> {
        let named = || env::var_os("OPENANOMALY_MODELS").filter(|value| !value.is_empty()).map(PathBuf::from);
        self.folder.clone().or_else(named).or_else(|| Some(data()?.join("models")))
    }
}
