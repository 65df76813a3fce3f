//! What is in a repository.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{HubError, MOST_TEXT_BYTES, Source};
use crate::onnx::inspect::is_plain_name;
use crate::onnx::manifest::{self, hex};

/// The most bytes of a listing.
const MOST_BYTES: u64 = 16 << 20;

/// How long a listing may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names of texts that are kept with a model, in lower case and without what follows a dot.
const TEXTS: [&str; 4] = ["license", "licence", "notice", "copying"];

/// Where repositories keep a graph beside others, and are taken to mean it.
const USUAL: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// A repository's files at a commit.
pub(super) struct Listing {
    id: String,
    /// The commit.
    pub(super) sha: String,
    files: Vec<Remote>,
    license: Option<String>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// Where it is in the repository.
    pub(super) path: String,
    /// Its size, where the hub says it.
    pub(super) bytes: Option<u64>,
    /// Its SHA-256, which the hub knows of large files.
    pub(super) sha256: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Value>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Asks for it.
    pub(super) fn fetch(source: &Source) -> Result<Self, HubError> {
        let unreachable = |error: &dyn std::error::Error| HubError::Unreachable {
            url: source.url.clone(),
            message: error.to_string(),
        };
        let request = source.repo.info_request().query("blobs", "true").config();
        let request = request.http_status_as_error(false).https_only(source.secure).timeout_global(Some(PATIENCE));
        let mut response = request.build().call().map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(source.refused(&source.url, status));
        }
        let text = response.body_mut().with_config().limit(MOST_BYTES).read_to_string();
        Self::parse(source, &text.map_err(|error| unreachable(&error))?)
    }

    fn parse(source: &Source, text: &str) -> Result<Self, HubError> {
        let senseless = |message: String| HubError::Answer { url: source.url.clone(), message };
        let answer: Answer = serde_json::from_str(text).map_err(|error| senseless(error.to_string()))?;
        let commit = answer.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) && (7..=64).contains(&answer.sha.len());
        if !commit {
            return Err(senseless(format!("{:?} is no commit", answer.sha)));
        }
        // A repository can't have such files, and who says so has something in mind.
        if let Some(file) = answer.siblings.iter().find(|file| leads_out(&file.rfilename)) {
            return Err(senseless(format!("the file {:?} leads out of the repository", file.rfilename)));
        }
        let license = license(&answer);
        let files = answer.siblings.into_iter().map(Remote::of).collect();
        Ok(Self { id: source.id.clone(), sha: answer.sha, files, license })
    }

    /// The graph: the one that is asked for, the only one, or the one of a usual name.
    pub(super) fn graph(&self, wanted: Option<&str>) -> Result<&Remote, HubError> {
        let graphs: Vec<&Remote> = self.files.iter().filter(|file| file.path.ends_with(".onnx")).collect();
        let names = || graphs.iter().map(|file| file.path.clone()).collect();
        let named = |name: &str| self.files.iter().find(|file| file.path == name);
        if let Some(name) = wanted {
            let missing = || HubError::NoFile { id: self.id.clone(), file: name.to_owned(), files: names() };
            return named(name).ok_or_else(missing);
        }
        match graphs.as_slice() {
            [] => Err(HubError::NoGraph { id: self.id.clone() }),
            [only] => Ok(only),
            _ => USUAL
                .iter()
                .find_map(|name| named(name))
                .ok_or_else(|| HubError::Choose { id: self.id.clone(), files: names() }),
        }
    }

    /// The file `name` in the folder of `graph`.
    pub(super) fn beside(&self, graph: &Remote, name: &str) -> Result<Remote, HubError> {
        let path = format!("{}{name}", graph.folder());
        let found = self.files.iter().find(|file| file.path == path).cloned();
        found.ok_or_else(|| HubError::NoFile { id: self.id.clone(), file: path, files: vec![] })
    }

    /// Licence, configuration and manifest: beside the graph, else at the top.
    pub(super) fn texts(&self, graph: &Remote) -> Vec<&Remote> {
        let mut texts: Vec<&Remote> = vec![];
        for folder in [graph.folder(), ""] {
            for file in self.files.iter().filter(|file| file.folder() == folder && file.is_text()) {
                if !texts.iter().any(|text| text.name() == file.name()) {
                    texts.push(file);
                }
            }
        }
        texts
    }

    /// The licence, as the model's card names it.
    pub(super) fn license(&self) -> Option<String> {
        self.license.clone()
    }
}

impl Remote {
    fn of(sibling: Sibling) -> Self {
        let (size, sha256) = sibling.lfs.map_or((None, None), |lfs| (lfs.size, lfs.sha256));
        let sha256 = sha256.map(|hash| hash.to_ascii_lowercase());
        Self { path: sibling.rfilename, bytes: size.or(sibling.size), sha256 }
    }

    /// Its name, without the folder.
    pub(super) fn name(&self) -> &str {
        &self.path[self.folder().len()..]
    }

    /// The folder that it is in, with a `/` at its end; empty at the top.
    fn folder(&self) -> &str {
        self.path.rfind('/').map_or("", |slash| &self.path[..=slash])
    }

    fn is_text(&self) -> bool {
        let name = self.name().to_ascii_lowercase();
        let stem = name.split('.').next().unwrap_or("");
        let kept = TEXTS.contains(&stem) || name == "config.json" || name == manifest::FILE;
        kept && is_plain_name(self.name()) && self.bytes.is_none_or(|bytes| bytes <= MOST_TEXT_BYTES)
    }

    /// The name under which it is kept until it is complete: of its content and place, and nothing that a server
    /// chose.
    pub(super) fn key(&self, commit: &str) -> String {
        let of = self.sha256.as_deref().unwrap_or(commit);
        format!("{}.part", hex(&Sha256::digest(format!("{of}/{}", self.path))[..16]))
    }
}

fn leads_out(path: &str) -> bool {
    let part = |part: &str| part.is_empty() || part == "." || part == "..";
    path.contains(['\\', ':', '\0']) || path.split('/').any(part)
}

fn license(answer: &Answer) -> Option<String> {
    let card = answer.card.as_ref().and_then(|card| card.get("license")).and_then(Value::as_str);
    let tag = || answer.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
    match card.or_else(tag)? {
        "apache-2.0" => Some("Apache-2.0".into()),
        "mit" => Some("MIT".into()),
        other => Some(other.chars().filter(|letter| !letter.is_control()).take(100).collect()),
    }
}
