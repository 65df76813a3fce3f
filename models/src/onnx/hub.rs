//! Fetching graphs from the Hugging Face hub, or a server that speaks its API.
//!
//! `/api/models/ID/revision/REVISION?blobs=true` lists a repository's files with their sizes and hashes, and
//! `/ID/resolve/COMMIT/FILE` has each of them, for ranges too, behind redirects
//! (<https://huggingface.co/docs/hub/api>). Requests are those of the crate `hf-hub`: its client, its addresses, its
//! token. Files are written by us: its own way takes paths from what the server answers.

mod download;
mod listing;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::inspect::{InspectError, inspect_alone};
use super::library::{GRAPH, Installed, Library, LibraryError, Stage, check_id, io_at};
use super::manifest::{self, Manifest, ManifestError};
use listing::{Listing, Remote};

/// The hub, where `HF_ENDPOINT` names no other.
const ENDPOINT: &str = "https://huggingface.co";

/// What people run to make a graph of a repository that has none.
const EXPORT: &str = "python -m export_openanomaly export";

/// The most bytes of a text file that comes with a model.
const MOST_TEXT_BYTES: u64 = 1 << 20;

/// A hub, and who asks it.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    /// `HF_HOME`, where a token may lie.
    home: PathBuf,
    /// How long to wait before a download goes on that broke off, doubled every time.
    pause: Duration,
}

/// What is wanted of a hub.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The repository, as `amazon/chronos-bolt-tiny`.
    pub id: String,
    /// A branch, tag or commit; else `main`.
    pub revision: Option<String>,
    /// The graph's file, where there are several.
    pub file: Option<String>,
}

/// How a download goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file begins, or goes on.
    Begins {
        /// The file.
        file: &'a str,
        /// Its size, where the hub says it.
        bytes: Option<u64>,
        /// What is here already.
        done: u64,
    },
    /// More bytes came.
    Advances {
        /// How many.
        bytes: u64,
    },
    /// The file is here.
    Ends,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The models folder.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The file is not fit to be used.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A revision that is none.
    #[error("{revision:?} is no branch, tag or commit")]
    Revision {
        /// What was asked for.
        revision: String,
    },
    /// The client can't be made, for a token or an address that is none.
    #[error("the hub {endpoint} can't be asked: {message}")]
    Client {
        /// The hub.
        endpoint: String,
        /// Why.
        message: String,
    },
    /// No answer, or it broke off.
    #[error("{url}: {message}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        message: String,
    },
    /// It has to be known who asks.
    #[error("{id}: the hub answers {status}: {}", denied(*token))]
    Denied {
        /// The repository.
        id: String,
        /// The answer's status.
        status: u16,
        /// Whether a token was sent.
        token: bool,
    },
    /// There is no such repository, revision or file.
    #[error("{url}: there is no such repository, revision or file")]
    Missing {
        /// What was asked.
        url: String,
    },
    /// Another status.
    #[error("{url}: the hub answers {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("{url}: the hub's answer makes no sense: {message}")]
    Answer {
        /// What was asked.
        url: String,
        /// Why.
        message: String,
    },
    /// There is no graph in the repository.
    #[error(
        "{id} has no ONNX file. To make one: `{EXPORT} {id} --output FOLDER`, then `openanomaly models add FOLDER/{GRAPH} --id {id}`"
    )]
    NoGraph {
        /// The repository.
        id: String,
    },
    /// There are several.
    #[error("{id} has several ONNX files, choose one by --file: {}", files.join(", "))]
    Choose {
        /// The repository.
        id: String,
        /// They.
        files: Vec<String>,
    },
    /// The file asked for is not there.
    #[error("{id} has no file {file:?}{}", known(files))]
    NoFile {
        /// The repository.
        id: String,
        /// What was asked for.
        file: String,
        /// The graphs that there are.
        files: Vec<String>,
    },
    /// A file is larger than it may be.
    #[error("{file}: {bytes} bytes are more than the {most} that are allowed")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size, as far as it is known.
        bytes: u64,
        /// What is allowed.
        most: u64,
    },
    /// What came is not what the hub says.
    #[error("{file}: what came has the SHA-256 {found}, where the hub says {expected}; it was thrown away")]
    Hash {
        /// The file.
        file: String,
        /// What came.
        found: String,
        /// What was said.
        expected: String,
    },
    /// A download broke off again and again.
    #[error("{file}: broke off at {done} bytes: {message}. The next try goes on from there")]
    Interrupted {
        /// The file.
        file: String,
        /// What is here.
        done: u64,
        /// Why.
        message: String,
    },
}

fn denied(token: bool) -> &'static str {
    if token {
        "the token has no access to it, or there is no such repository"
    } else {
        "there is no such repository, or it needs a token: set HF_TOKEN (and accept the model's terms on its page)"
    }
}

fn known(files: &[String]) -> String {
    if files.is_empty() { String::new() } else { format!("; there is {}", files.join(", ")) }
}

impl Hub {
    /// The hub that the environment names: `HF_ENDPOINT`, with `HF_TOKEN` or the token that `hf auth login` left.
    pub fn of(environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let home = set("HF_HOME").map(PathBuf::from);
        let cache = || set("HOME").map(|home| PathBuf::from(home).join(".cache/huggingface")).unwrap_or_default();
        Self {
            endpoint: text("HF_ENDPOINT").map_or_else(|| ENDPOINT.into(), |url| url.trim_end_matches('/').into()),
            token: text("HF_TOKEN").map(|token| token.trim().to_owned()),
            home: home.unwrap_or_else(cache),
            pause: Duration::from_secs(1),
        }
    }

    /// Fetches a graph with what belongs to it, and installs it in place of what is there, unless that is the same. A
    /// download that broke off goes on where it was.
    ///
    /// # Errors
    /// The hub's, the models folder's, and of a file that is not fit to be used.
    pub fn pull(
        &self,
        library: &Library,
        wanted: &Wanted,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Installed, HubError> {
        check_id(&wanted.id)?;
        let revision = revision(wanted)?;
        let _lock = library.lock(&wanted.id)?;
        let listing = Listing::fetch(&self.source(&wanted.id, revision)?)?;
        let graph = listing.graph(wanted.file.as_deref())?;
        if let Some(same) = unchanged(library, &wanted.id, &listing, graph) {
            return Ok(same);
        }
        let folder = library.own(&format!(".downloads/{}", wanted.id))?;
        // From now on that commit, whatever is pushed in the meantime.
        let source = self.source(&wanted.id, &listing.sha)?;
        let most = library.limits().file_bytes;
        let mut pull = Pull { source, folder: &folder, commit: &listing.sha, on };
        let fetched = pull.file(graph, most)?;
        let mut files = vec![(fetched.clone(), GRAPH.to_owned())];
        for external in inspect_alone(&fetched, library.limits())?.external {
            let remote = listing.beside(graph, &external.location)?;
            files.push((pull.file(&remote, most)?, external.location));
        }
        for text in listing.texts(graph) {
            files.push((pull.file(text, MOST_TEXT_BYTES)?, text.name().to_owned()));
        }
        let installed = install(library, wanted, &listing, files)?;
        // They have become the model; what is left of earlier commits goes too.
        let _ = fs::remove_dir_all(&folder);
        Ok(installed)
    }

    fn source(&self, id: &str, revision: &str) -> Result<Source, HubError> {
        let cache = Cache::new(self.home.join("hub"));
        let token = self.token.clone().or_else(|| cache.token());
        let known = token.is_some();
        let builder = ApiBuilder::from_cache(cache)
            .with_endpoint(self.endpoint.clone())
            .with_token(token)
            .with_progress(false)
            .with_user_agent("openanomaly", env!("CARGO_PKG_VERSION"));
        let client = |error: ApiError| HubError::Client { endpoint: self.endpoint.clone(), message: error.to_string() };
        let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
        Ok(Source {
            id: id.to_owned(),
            url: format!("{}/api/{}", self.endpoint, repo.api_url()),
            repo: builder.build().map_err(client)?.repo(repo),
            secure: self.endpoint.starts_with("https://"),
            token: known,
            pause: self.pause,
        })
    }
}

/// A repository at a revision.
struct Source {
    id: String,
    /// Where its files are listed.
    url: String,
    repo: ApiRepo,
    /// Whether redirects may not lead to unencrypted addresses.
    secure: bool,
    token: bool,
    pause: Duration,
}

impl Source {
    /// What a status other than success means.
    fn refused(&self, url: &str, status: u16) -> HubError {
        match status {
            401 | 403 => HubError::Denied { id: self.id.clone(), status, token: self.token },
            404 => HubError::Missing { url: url.to_owned() },
            _ => HubError::Status { url: url.to_owned(), status },
        }
    }
}

/// Downloads of one commit.
struct Pull<'a> {
    source: Source,
    folder: &'a Path,
    commit: &'a str,
    on: &'a mut dyn FnMut(Event<'_>),
}

impl Pull<'_> {
    /// Fetches a file; answers where it is.
    fn file(&mut self, remote: &Remote, most: u64) -> Result<PathBuf, HubError> {
        let path = self.folder.join(remote.key(self.commit));
        download::download(&self.source, remote, most, &path, self.on)?;
        Ok(path)
    }
}

fn revision(wanted: &Wanted) -> Result<&str, HubError> {
    let revision = wanted.revision.as_deref().unwrap_or("main");
    let plain = revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    match plain && !revision.is_empty() && !revision.contains("..") && !revision.starts_with('/') {
        true => Ok(revision),
        false => Err(HubError::Revision { revision: revision.to_owned() }),
    }
}

/// The model that is there, if it is of that commit and has that graph.
fn unchanged(library: &Library, id: &str, listing: &Listing, graph: &Remote) -> Option<Installed> {
    let (installed, _) = library.open(id).ok()?;
    let same = installed.manifest.revision.as_ref() == Some(&listing.sha)
        && graph.sha256.as_ref() == Some(&installed.manifest.sha256);
    same.then_some(installed)
}

fn install(
    library: &Library,
    wanted: &Wanted,
    listing: &Listing,
    files: Vec<(PathBuf, String)>,
) -> Result<Installed, HubError> {
    let stage = Stage::new(library)?;
    for (from, name) in &files {
        stage.take(from, name)?;
    }
    let (mut manifest, _) = stage.manifest(&wanted.id, known_manifest(&stage.file(manifest::FILE))?)?;
    manifest.revision = Some(listing.sha.clone());
    manifest.license = manifest.license.or_else(|| listing.license());
    manifest.source = manifest.source.or_else(|| Some(wanted.id.clone()));
    Ok(stage.install(manifest)?)
}

/// The repository's manifest, where it is of our contract: others give a file of that name another meaning.
fn known_manifest(path: &Path) -> Result<Option<Manifest>, LibraryError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = manifest::read_text(path, MOST_TEXT_BYTES).map_err(io_at(path))?;
    let ours = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| json.get("contract").is_some());
    if !ours {
        return Ok(None);
    }
    Manifest::parse(&text).map(Some).map_err(|message| ManifestError { path: path.to_owned(), message }.into())
}

#[cfg(test)]
mod tests;
