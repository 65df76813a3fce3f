//! ONNX Runtime: found where it is, fetched where it is not, loaded once a process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::Settings;
use super::install::{self, InstallError};

/// The release that is fetched, and that this program is tried with.
pub const VERSION: &str = "1.31.1";

/// Why there is no ONNX Runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The library that was named is not there.
    #[error("the ONNX Runtime library {path} that {named_by} names is not there")]
    Missing {
        /// The path.
        path: PathBuf,
        /// The setting or variable that names it.
        named_by: &'static str,
    },
    /// A library that is there can't be used.
    #[error("the ONNX Runtime library {path} can't be used: {message}")]
    Unusable {
        /// The path.
        path: PathBuf,
        /// What the loader said, as that it is too old.
        message: String,
    },
    /// There is none, and it is not to be fetched.
    #[error(
        "ONNX Runtime is not installed{}: `openanomaly models runtime install` fetches it; or name the library \
         with the setting onnx.library or the variable ORT_DYLIB_PATH",
        passed_over(tried)
    )]
    NotFound {
        /// Libraries that were found and can't be used, and why.
        tried: Vec<String>,
    },
    /// It could not be fetched.
    #[error("ONNX Runtime is not installed and can't be fetched: {0}")]
    Install(#[from] InstallError),
}

fn passed_over(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" (passed over: {})", tried.join("; ")) }
}

/// The one environment of this process, kept until it ends: ONNX Runtime can't be loaded a second time.
static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

/// ONNX Runtime, loaded; found or fetched the first time. Others wait meanwhile.
pub(super) fn environment(settings: &Settings) -> Result<Environment, RuntimeError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*loaded {
        return Ok(environment.clone());
    }
    let environment = Search::here(settings).load()?;
    *loaded = Some(environment.clone());
    Ok(environment)
}

/// The library that is looked at first, without loading it; none where there is none to be found.
pub fn find(settings: &Settings) -> Option<PathBuf> {
    let search = Search::here(settings);
    match search.named {
        Some((path, _)) if path.is_dir() => library_in(&path),
        Some((path, _)) => Some(path).filter(|path| path.is_file()),
        None => search.folders.iter().find_map(|folder| library_in(folder)),
    }
}

/// Whether the first model that needs the library has to fetch it: none is named, none is there, and it may be.
pub fn must_be_fetched(settings: &Settings) -> bool {
    settings.fetch && Search::here(settings).named.is_none() && find(settings).is_none()
}

/// Where a library is looked for, in this order.
struct Search {
    /// Named outright: nothing else will do.
    named: Option<(PathBuf, &'static str)>,
    /// Folders that may hold one.
    folders: Vec<PathBuf>,
    /// Whether it may be fetched.
    fetch: bool,
}

impl Search {
    fn here(settings: &Settings) -> Self {
        let setting = settings.library.clone().map(|path| (path, "the setting onnx.library"));
        let variable = env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty());
        let variable = variable.map(|path| (PathBuf::from(path), "the variable ORT_DYLIB_PATH"));
        let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
        let folders = beside.into_iter().chain(install::folder()).chain(python_folders()).collect();
        Self { named: setting.or(variable), folders, fetch: settings.fetch }
    }

    fn load(&self) -> Result<Environment, RuntimeError> {
        if let Some((path, named_by)) = &self.named {
            let there = if path.is_dir() { library_in(path) } else { Some(path.clone()).filter(|path| path.is_file()) };
            let missing = || RuntimeError::Missing { path: path.clone(), named_by };
            return open(&there.ok_or_else(missing)?);
        }
        let mut tried = vec![];
        for path in self.folders.iter().filter_map(|folder| library_in(folder)) {
            match open(&path) {
                Ok(environment) => return Ok(environment),
                Err(error) => tried.push(error.to_string()),
            }
        }
        if !self.fetch {
            return Err(RuntimeError::NotFound { tried });
        }
        tracing::info!("ONNX Runtime {VERSION} is not installed and is fetched now (24 MB)");
        open(&install::install(&|_| ())?)
    }
}

fn open(path: &Path) -> Result<Environment, RuntimeError> {
    let unusable = |message: String| RuntimeError::Unusable { path: path.to_owned(), message };
    // A relative path would be looked for beside the program.
    let absolute = fs::canonicalize(path).map_err(|error| unusable(error.to_string()))?;
    let builder = ort::init_from(&absolute).map_err(|error| unusable(error.to_string()))?;
    let environment = builder.with_name("openanomaly").with_telemetry(false).build();
    let environment = environment.map_err(|error| unusable(error.message().to_owned()))?;
    environment.set_log_level(LogLevel::Warning);
    tracing::info!(path = %absolute.display(), "ONNX Runtime is loaded");
    Ok(environment)
}

/// The library in a folder; the last by name where there are several versions.
pub(super) fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|file| Some(file.ok()?.path()));
    files.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_library)).max()
}

/// Whether a file's name is that of the library, and not of one that it loads itself.
pub(super) fn is_library(name: &str) -> bool {
    if cfg!(windows) {
        name.eq_ignore_ascii_case("onnxruntime.dll")
    } else if cfg!(target_os = "macos") {
        name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
    } else {
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    }
}

/// The folders of the Python package, in an active environment or in the usual places.
fn python_folders() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let usual = ["/usr/local", "/usr", "/opt/homebrew"].into_iter().map(PathBuf::from);
    active.chain(home).chain(usual).flat_map(|prefix| python_folders_of(&prefix)).collect()
}

fn python_folders_of(prefix: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
    let mut libraries: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    // The newest Python first, and Windows' own layout.
    libraries.sort_unstable_by(|a, b| b.cmp(a));
    libraries.push(prefix.join("Lib"));
    let packages = |library: PathBuf| ["site-packages", "dist-packages"].map(|name| library.join(name));
    libraries.into_iter().flat_map(packages).map(|packages| packages.join("onnxruntime").join("capi")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(named: Option<&Path>, folders: &[&Path]) -> String {
        let named = named.map(|path| (path.to_owned(), "the setting onnx.library"));
        let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
        match (Search { named, folders, fetch: false }).load() {
            Ok(_) => panic!("a library was found"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        let message = search(Some(&path), &[]);
        assert!(message.contains("libonnxruntime.so that the setting onnx.library names is not there"), "{message}");
        let message = search(None, &[folder.path()]);
        assert!(message.contains("`openanomaly models runtime install`"), "{message}");
        assert!(message.contains("ORT_DYLIB_PATH") && !message.contains("passed over"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_library_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let name = if cfg!(windows) {
            "onnxruntime.dll"
        } else if cfg!(target_os = "macos") {
            "libonnxruntime.dylib"
        } else {
            "libonnxruntime.so.1.2.3"
        };
        fs::write(folder.path().join(name), "no library").unwrap();
        let message = search(None, &[folder.path()]);
        assert!(message.contains("passed over") && message.contains(name), "{message}");
        let message = search(Some(folder.path()), &[]);
        assert!(message.contains("can't be used") && message.contains(name), "{message}");
    }

    #[test]
    fn the_library_is_told_from_its_helpers() {
        assert!(!is_library("libonnxruntime_providers_shared.so"));
        assert!(!is_library("onnxruntime_pybind11_state.so"));
        if cfg!(target_os = "linux") {
            assert!(is_library("libonnxruntime.so") && is_library("libonnxruntime.so.1.31.1"));
        }
    }
}
