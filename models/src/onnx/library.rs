//! The models folder: graphs that were fetched or added, each checked, with its manifest.
//!
//! `FOLDER/<org>/<name>/` has `model.onnx`, `manifest.json`, and what the graph needs beside it. A model appears by one
//! rename of a folder that is complete, and goes by one. Folders whose names begin with a dot are the library's own.

mod stage;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub(super) use stage::Stage;

use super::Settings;
use super::inspect::{InspectError, Inspection, Limits, inspect, inspect_alone};
use super::manifest::{self, Manifest, ManifestError};

/// The name of an installed graph.
pub const GRAPH: &str = "model.onnx";

/// The organisation of models that come from nowhere else.
const LOCAL: &str = "local";

/// The folder of files that are locked by those who change a model.
const LOCKS: &str = ".locks";

/// The models folder.
#[derive(Debug, Clone)]
pub struct Library {
    folder: PathBuf,
    limits: Limits,
}

/// A model in the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its hub id.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What is known of it.
    pub manifest: Manifest,
}

/// Why a model can't be installed, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no folder to look in.
    #[error("no models folder: name one with OPENANOMALY_MODELS")]
    NoFolder,
    /// An id that is none.
    #[error("{id:?} is no model id: it is an organisation and a name, as amazon/chronos-bolt-tiny")]
    Id {
        /// The id.
        id: String,
    },
    /// Nothing of that id is there.
    #[error("model {id} is not in {folder}: `openanomaly models pull {id}` fetches it", folder = folder.display())]
    Missing {
        /// The id.
        id: String,
        /// The models folder.
        folder: PathBuf,
    },
    /// It is there already.
    #[error("model {id} is there already")]
    Exists {
        /// The id.
        id: String,
    },
    /// A link leads out of the models folder.
    #[error("{path}: this leads out of the models folder", path = path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// A file is not what its manifest says.
    #[error("{path}: {what} is {found}, where the manifest says {expected}", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different.
        what: &'static str,
        /// What was found.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The file is not fit to be used.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The manifest is not.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file or folder can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An error of the file `path`.
pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> LibraryError {
    move |source| LibraryError::Io { path: path.to_owned(), source }
}

/// A model's id, and what is there of it.
pub type Listed = (String, Result<Installed, LibraryError>);

impl Library {
    /// The library in `folder`, which need not be there yet.
    pub fn new(folder: PathBuf, limits: Limits) -> Self {
        Self { folder, limits }
    }

    /// The library of the settings' models folder, with their limit.
    ///
    /// # Errors
    /// None is set, and the environment names no home.
    pub fn of(settings: &Settings) -> Result<Self, LibraryError> {
        let limits = Limits { file_bytes: settings.max_file_bytes, ..Limits::default() };
        Ok(Self::new(settings.models_folder().ok_or(LibraryError::NoFolder)?, limits))
    }

    /// The models folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a file may have.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The folder of the model `id`, whether there is one or not.
    ///
    /// # Errors
    /// What is no id.
    pub fn path(&self, id: &str) -> Result<PathBuf, LibraryError> {
        check_id(id)?;
        Ok(self.folder.join(id))
    }

    /// The model `id` and what is in its graph, all checked but for hashes: as it must be before it is loaded.
    ///
    /// # Errors
    /// There is none, it leads elsewhere, or is not fit to be used.
    pub fn open(&self, id: &str) -> Result<(Installed, Inspection), LibraryError> {
        let installed = self.installed(id)?;
        let file = installed.file();
        let found = inspect(&file, &self.limits)?;
        same(&file, "the size", found.bytes, installed.manifest.bytes)?;
        Ok((installed, found))
    }

    /// The model `id`, of which only the manifest is read.
    ///
    /// # Errors
    /// There is none, it leads elsewhere, or has no good manifest.
    pub fn installed(&self, id: &str) -> Result<Installed, LibraryError> {
        let folder = self.path(id)?;
        if !folder.is_dir() {
            return Err(LibraryError::Missing { id: id.to_owned(), folder: self.folder.clone() });
        }
        let inside = |path: &Path| self.inside(path);
        inside(&folder)?;
        inside(&folder.join(manifest::FILE))?;
        let installed =
            Installed { id: id.to_owned(), manifest: Manifest::read(&folder.join(manifest::FILE))?, folder };
        inside(&installed.file())?;
        Ok(installed)
    }

    /// A graph that need not be in the folder, checked: what is known of it, and what is in it.
    ///
    /// # Errors
    /// It is not fit to be used, or is not what the manifest beside it says.
    pub fn look(&self, file: &Path) -> Result<(Manifest, Inspection), LibraryError> {
        let found = inspect(file, &self.limits)?;
        if let Some(known) = manifest_beside(file)? {
            same(file, "the size", found.bytes, known.bytes)?;
            return Ok((known, found));
        }
        let sha256 = manifest::sha256(file).map_err(io_at(file))?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let made = Manifest::of(&found, &id_of(file, None), GRAPH, sha256);
        let made = made.map_err(|message| ManifestError { path: file.to_owned(), message })?;
        Ok((Manifest { file: name, ..made }, found))
    }

    /// All models by their ids, those with a damaged manifest as errors.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, LibraryError> {
        let mut ids = vec![];
        for organisation in names(&self.folder)? {
            let names = names(&self.folder.join(&organisation))?;
            ids.extend(names.into_iter().map(|name| format!("{organisation}/{name}")));
        }
        ids.sort_unstable();
        Ok(ids.into_iter().map(|id| (self.installed(&id), id)).map(|(found, id)| (id, found)).collect())
    }

    /// Checks the graph `file`, and copies it into the folder with its manifest: the one beside it, else what the graph
    /// says of itself. Without an `id` it is that of the manifest, else `local/` and the file's name.
    ///
    /// # Errors
    /// The file is not fit to be used, is not what its manifest says, or something of that id is there and is not to
    /// be replaced.
    pub fn add(&self, file: &Path, id: Option<&str>, replace: bool) -> Result<Installed, LibraryError> {
        // Before anything is copied, which may take its time.
        inspect(file, &self.limits)?;
        let known = manifest_beside(file)?;
        let id = id.map_or_else(|| id_of(file, known.as_ref()), str::to_owned);
        check_id(&id)?;
        let _lock = self.lock(&id)?;
        if !replace && self.path(&id)?.exists() {
            return Err(LibraryError::Exists { id });
        }
        let stage = Stage::new(self)?;
        stage.copy(file, GRAPH)?;
        let external = inspect_alone(&stage.file(GRAPH), &self.limits)?.external;
        for weights in external {
            stage.copy(&file.with_file_name(&weights.location), &weights.location)?;
        }
        let (known, _) = stage.manifest(&id, known)?;
        stage.install(known)
    }

    /// Removes the model `id`, whatever state it is in.
    ///
    /// # Errors
    /// There is none, or it can't be removed.
    pub fn remove(&self, id: &str) -> Result<(), LibraryError> {
        let folder = self.path(id)?;
        let _lock = self.lock(id)?;
        if fs::symlink_metadata(&folder).is_err() {
            return Err(LibraryError::Missing { id: id.to_owned(), folder: self.folder.clone() });
        }
        self.inside(&folder)?;
        Stage::new(self)?.take_away(&folder)?;
        // The last one of an organisation takes its folder with it; others keep it from being removed.
        let _ = folder.parent().map(fs::remove_dir);
        Ok(())
    }

    /// Checks the model `id` as [`Library::open`] does, and the hashes of all its files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self, id: &str) -> Result<(Installed, Inspection), LibraryError> {
        let (installed, inspection) = self.open(id)?;
        installed.manifest.check_files(&installed.folder, &inspection)?;
        Ok((installed, inspection))
    }

    /// Waits until nobody else changes the model `id`, and keeps others from it for as long as the answer lives.
    pub(super) fn lock(&self, id: &str) -> Result<File, LibraryError> {
        let name = id.replace('/', "--");
        let path = self.folder.join(LOCKS).join(&name);
        let file = self.lock_file(&name)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tracing::warn!("waiting for another program that changes model {id}"),
            // A file system without locks: installing is by renames all the same.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_at(&path)(error)),
        }
        file.lock().map_err(io_at(&path))?;
        Ok(file)
    }

    /// A file that can be locked.
    fn lock_file(&self, name: &str) -> Result<File, LibraryError> {
        let path = self.own(LOCKS)?.join(name);
        File::options().create(true).truncate(false).write(true).open(&path).map_err(io_at(&path))
    }

    /// A folder of the library's own, made where it is missing.
    pub(super) fn own(&self, name: &str) -> Result<PathBuf, LibraryError> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(io_at(&folder))?;
        self.inside(&folder)?;
        Ok(folder)
    }

    /// Follows links: what is there must lie in the models folder.
    fn inside(&self, path: &Path) -> Result<(), LibraryError> {
        let root = self.folder.canonicalize().map_err(io_at(&self.folder))?;
        let real = path.canonicalize().map_err(io_at(path))?;
        if real.starts_with(root) { Ok(()) } else { Err(LibraryError::Outside { path: path.to_owned() }) }
    }
}

impl Installed {
    /// The graph.
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.manifest.file)
    }

    /// The size of the graph and its weights.
    pub fn bytes(&self) -> u64 {
        self.manifest.data.iter().fold(self.manifest.bytes, |all, data| all.saturating_add(data.bytes))
    }
}

impl Manifest {
    /// Whether the files in `folder` are those of the manifest, by their hashes.
    fn check_files(&self, folder: &Path, found: &Inspection) -> Result<(), LibraryError> {
        let graph = folder.join(&self.file);
        same(&graph, "the size", found.bytes, self.bytes)?;
        same(&graph, "the SHA-256", manifest::sha256(&graph).map_err(io_at(&graph))?, self.sha256.clone())?;
        for external in &found.external {
            let path = folder.join(&external.location);
            let Some(data) = self.data.iter().find(|data| data.file == external.location) else {
                return Err(ManifestError {
                    path: folder.join(manifest::FILE),
                    message: format!("{:?} is missing among its data", external.location),
                }
                .into());
            };
            same(&path, "the SHA-256", manifest::sha256(&path).map_err(io_at(&path))?, data.sha256.clone())?;
        }
        Ok(())
    }
}

fn same<T: PartialEq + ToString>(path: &Path, what: &'static str, found: T, expected: T) -> Result<(), LibraryError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), expected.to_string());
    Err(LibraryError::Changed { path: path.to_owned(), what, found, expected })
}

/// An id is `organisation/name`, of letters, digits, `.`, `_` and `-`, neither of which begins with a dot or a dash.
///
/// # Errors
/// Anything else.
pub fn check_id(id: &str) -> Result<(), LibraryError> {
    let good = |part: &str| {
        let first = part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        first && plain && part.len() <= 96 && !part.contains("..") && !part.ends_with('.')
    };
    match id.split_once('/') {
        Some((organisation, name)) if good(organisation) && good(name) => Ok(()),
        _ => Err(LibraryError::Id { id: id.to_owned() }),
    }
}

/// The hub id that a short name stands for, as `chronos-bolt-small`; anything else stays as it is.
pub fn full_id(id: &str) -> &str {
    super::entry::hub_id(id).unwrap_or(id)
}

/// The manifest beside `file`, if it is about that file.
fn manifest_beside(file: &Path) -> Result<Option<Manifest>, LibraryError> {
    let path = file.with_file_name(manifest::FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let found = Manifest::read(&path)?;
    Ok(Some(found).filter(|found| file.file_name().is_some_and(|name| *name == *found.file)))
}

fn id_of(file: &Path, manifest: Option<&Manifest>) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match manifest {
        Some(manifest) if check_id(&manifest.id).is_ok() => manifest.id.clone(),
        Some(manifest) if check_id(&format!("{LOCAL}/{}", manifest.id)).is_ok() => format!("{LOCAL}/{}", manifest.id),
        _ => format!("{LOCAL}/{stem}"),
    }
}

/// The names of folders in a folder that may be parts of an id; none where it is not there.
fn names(folder: &Path) -> Result<Vec<String>, LibraryError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(io_at(folder)(error)),
    };
    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(io_at(folder))?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.path().is_dir() && check_id(&format!("{LOCAL}/{name}")).is_ok() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
