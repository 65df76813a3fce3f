//! Where a model is put together before it is installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{GRAPH, Installed, Library, LibraryError, Manifest, io_at, same};
use crate::onnx::inspect::{Inspection, inspect};
use crate::onnx::manifest::{self, Data, ManifestError};

/// A folder that becomes a model by a rename, or vanishes.
pub(crate) struct Stage<'a> {
    library: &'a Library,
    /// Only for this user, and gone with this value.
    outer: TempDir,
    /// What becomes the model's folder, with the rights that folders usually have.
    inner: PathBuf,
    /// While there is one, nobody sweeps.
    _shared: File,
}

impl<'a> Stage<'a> {
    /// An empty one, in the models folder's own file system.
    pub(crate) fn new(library: &'a Library) -> Result<Self, LibraryError> {
        let folder = library.own(".staging")?;
        let shared = library.lock_file("staging")?;
        if shared.try_lock().is_ok() {
            sweep(&folder);
        }
        // Where the file system knows no locks, nothing is ever swept.
        let _ = shared.unlock().and_then(|()| shared.lock_shared());
        let outer = TempDir::new_in(&folder).map_err(io_at(&folder))?;
        let inner = outer.path().join("model");
        fs::create_dir(&inner).map_err(io_at(&inner))?;
        Ok(Self { library, outer, inner, _shared: shared })
    }

    /// The path of its file `name`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.inner.join(name)
    }

    /// Takes a copy of a file.
    pub(crate) fn copy(&self, from: &Path, name: &str) -> Result<(), LibraryError> {
        fs::copy(from, self.file(name)).map(drop).map_err(io_at(from))
    }

    /// Takes a file over.
    pub(crate) fn take(&self, from: &Path, name: &str) -> Result<(), LibraryError> {
        fs::rename(from, self.file(name)).map_err(io_at(from))
    }

    /// Checks what is there, and answers its manifest: `known`, if it is about these files, else what the graph says.
    pub(crate) fn manifest(&self, id: &str, known: Option<Manifest>) -> Result<(Manifest, Inspection), LibraryError> {
        let graph = self.file(GRAPH);
        let found = inspect(&graph, self.library.limits())?;
        let sha256 = manifest::sha256(&graph).map_err(io_at(&graph))?;
        let mut made = match known {
            Some(known) => {
                same(&graph, "the size", found.bytes, known.bytes)?;
                same(&graph, "the SHA-256", &sha256, &known.sha256)?;
                Manifest { inputs: found.inputs.clone(), outputs: found.outputs.clone(), ..known }
            }
            None => Manifest::of(&found, id, GRAPH, sha256)
                .map_err(|message| ManifestError { path: graph.clone(), message })?,
        };
        id.clone_into(&mut made.id);
        GRAPH.clone_into(&mut made.file);
        made.data = self.data(&found, &made.data)?;
        Ok((made, found))
    }

    /// The files of weights, which must be as far as they are known.
    fn data(&self, found: &Inspection, known: &[Data]) -> Result<Vec<Data>, LibraryError> {
        let data = |location: &String| {
            let path = self.file(location);
            let sha256 = manifest::sha256(&path).map_err(io_at(&path))?;
            if let Some(known) = known.iter().find(|data| data.file == *location) {
                same(&path, "the SHA-256", &sha256, &known.sha256)?;
            }
            let bytes = fs::metadata(&path).map_err(io_at(&path))?.len();
            Ok(Data { file: location.clone(), sha256, bytes })
        };
        found.external.iter().map(|external| data(&external.location)).collect()
    }

    /// Makes it the model of its manifest's id, in place of what is there.
    pub(crate) fn install(self, manifest: Manifest) -> Result<Installed, LibraryError> {
        let path = self.file(manifest::FILE);
        fs::write(&path, manifest.text()).map_err(io_at(&path))?;
        self.settle()?;
        let folder = self.library.path(&manifest.id)?;
        let organisation = folder.parent().unwrap_or(self.library.folder());
        fs::create_dir_all(organisation).map_err(io_at(organisation))?;
        self.library.inside(organisation)?;
        let old = self.outer.path().join("old");
        let had = fs::symlink_metadata(&folder).is_ok();
        if had {
            fs::rename(&folder, &old).map_err(io_at(&folder))?;
        }
        if let Err(error) = fs::rename(&self.inner, &folder) {
            // What was there goes on to be there.
            let _ = fs::rename(&old, &folder);
            return Err(io_at(&folder)(error));
        }
        sync(organisation)?;
        Ok(Installed { id: manifest.id.clone(), folder, manifest })
    }

    /// Takes a model's folder away and removes it.
    pub(super) fn take_away(self, folder: &Path) -> Result<(), LibraryError> {
        fs::rename(folder, self.outer.path().join("old")).map_err(io_at(folder))?;
        let path = self.outer.path().to_owned();
        self.outer.close().map_err(io_at(&path))
    }

    /// Nothing is renamed before it is on the disk, so that a crash leaves all of it or nothing.
    fn settle(&self) -> Result<(), LibraryError> {
        for entry in fs::read_dir(&self.inner).map_err(io_at(&self.inner))? {
            sync(&entry.map_err(io_at(&self.inner))?.path())?;
        }
        sync(&self.inner)
    }
}

/// Only Unix opens folders as files.
fn sync(path: &Path) -> Result<(), LibraryError> {
    if cfg!(unix) || path.is_file() {
        File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))?;
    }
    Ok(())
}

/// Removes what programs left behind that were killed. What can't be removed now is in nobody's way.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = fs::remove_dir_all(entry.path());
    }
}
