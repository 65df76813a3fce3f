//! What is in an ONNX file, read before ONNX Runtime sees it: a file from elsewhere is not to be trusted.
//!
//! Looked at is its structure, not its weights, in memory that doesn't grow with the file. What is found is within limits,
//! every tensor has the data that its shape takes, external weights lie beside the file, and there are only operators that
//! compute. What a graph computes, and for how long, can't be seen from outside.
//!
//! Format: `onnx.proto` of the ONNX standard (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>), IR versions 3 to 14.

mod element;
mod operators;
mod proto;
mod walk;
mod wire;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use walk::Walk;
use wire::Wire;

/// How large a file and what is in it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file, and of each file of external weights.
    pub file_bytes: u64,
    /// Bytes of the file that are not weights: ONNX Runtime takes many times their size in memory.
    pub structure_bytes: u64,
    /// Operators, those of graphs in graphs included.
    pub nodes: u64,
    /// Tensors.
    pub tensors: u64,
    /// How deep graphs may stand in graphs.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 4 << 30, structure_bytes: 64 << 20, nodes: 200_000, tensors: 200_000, depth: 8 }
    }
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// The file's size.
    pub bytes: u64,
    /// The version of ONNX's format.
    pub ir_version: u64,
    /// The program that wrote it.
    pub producer: String,
    /// Versions of operators, by domain.
    pub operator_sets: Vec<(String, i64)>,
    /// What goes in, without weights.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// How many operators there are of each kind.
    pub operators: BTreeMap<String, u64>,
    /// How many operators there are.
    pub nodes: u64,
    /// How many numbers its tensors hold.
    pub parameters: u64,
    /// Files of weights beside it.
    pub external: Vec<External>,
    /// What it says of itself.
    pub metadata: Vec<(String, String)>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its values, as `f32`.
    #[serde(rename = "type")]
    pub element: String,
    /// The length of each axis.
    pub shape: Vec<Dimension>,
}

/// The length of an axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dimension {
    /// Always this.
    Fixed(u64),
    /// Any, with the name that the graph gives it.
    Open(String),
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct External {
    /// Its name, beside the graph.
    pub location: String,
    /// The least bytes that it has.
    pub bytes: u64,
}

/// A file that is not to be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}", path = path.display())]
pub struct InspectError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It can't be read.
    #[error("{0}")]
    Io(io::Error),
    /// It is something else.
    #[error("this is no ONNX model but {looks}")]
    NotOnnx {
        /// What it looks like.
        looks: &'static str,
    },
    /// It is no protobuf, or no ONNX.
    #[error("this is no ONNX model, or a damaged one: byte {at} makes no sense")]
    Broken {
        /// Where.
        at: u64,
    },
    /// It ends too early.
    #[error("the file is damaged or was cut off: {wants} bytes should follow byte {at}, and there are {has}")]
    Truncated {
        /// Where.
        at: u64,
        /// What should follow.
        wants: u64,
        /// What follows.
        has: u64,
    },
    /// It is too large.
    #[error("{what}: {found} are more than the {most} that are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: u64,
        /// How much is allowed.
        most: u64,
    },
    /// It has parts that no forecasting model needs.
    #[error("it has {what}, which is not supported")]
    Unsupported {
        /// Which.
        what: &'static str,
    },
    /// It has an operator that may do more than compute.
    #[error(
        "operator {kind:?} of domain {domain:?} is not allowed: only standard operators are, and known fusions of them"
    )]
    Operator {
        /// The operator's domain.
        domain: String,
        /// The operator.
        kind: String,
    },
    /// A tensor is not what it says.
    #[error("tensor {name:?}: {why}")]
    Tensor {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// An input or output is no tensor.
    #[error("{name:?} is not a tensor")]
    Port {
        /// Which.
        name: String,
    },
    /// External weights are elsewhere than beside the file, or are missing.
    #[error("external weights {location:?}: {why}")]
    External {
        /// Where they should be.
        location: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// Looks into the file `path`. External weights must lie beside it and be as long as is said.
///
/// # Errors
/// It is no ONNX model, is damaged, goes beyond `limits`, or may do more than compute.
pub fn inspect(path: &Path, limits: &Limits) -> Result<Inspection, InspectError> {
    let named = |fault| InspectError { path: path.to_owned(), fault };
    let found = inspect_alone(path, limits)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    found.external.iter().try_for_each(|external| beside(folder, external, limits)).map_err(named)?;
    Ok(found)
}

/// As [`inspect`], where external weights are not there yet.
///
/// # Errors
/// As there.
pub fn inspect_alone(path: &Path, limits: &Limits) -> Result<Inspection, InspectError> {
    open(path, limits)
        .and_then(|(file, bytes)| Walk::new(Wire::new(file), bytes, limits).model())
        .map_err(|fault| InspectError { path: path.to_owned(), fault })
}

fn open(path: &Path, limits: &Limits) -> Result<(File, u64), Fault> {
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(path)?.is_file() {
        return Err(Fault::NotOnnx { looks: "a folder or a device" });
    }
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > limits.file_bytes {
        return Err(Fault::Limit { what: "bytes", found: bytes, most: limits.file_bytes });
    }
    let mut start = vec![];
    file.by_ref().take(64).read_to_end(&mut start)?;
    file.rewind()?;
    looks(&start).map_or(Ok((file, bytes)), |looks| Err(Fault::NotOnnx { looks }))
}

/// What people take for a model by mistake.
fn looks(start: &[u8]) -> Option<&'static str> {
    let text = start.trim_ascii_start();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()));
    match start {
        [] => Some("an empty file"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive, such as PyTorch's"),
        [0x80, 2..=5, ..] => Some("a Python pickle"),
        [_, _, _, _, _, _, _, 0, b'{', ..] => Some("safetensors weights"),
        _ if begins("version https://git-lfs") => Some("a pointer of Git LFS: `git lfs pull` gets the file"),
        _ if begins("<") => Some("an HTML page"),
        _ if begins("{") => Some("JSON"),
        _ => None,
    }
}

/// Links are not followed: the file must be there itself.
fn beside(folder: &Path, external: &External, limits: &Limits) -> Result<(), Fault> {
    let fault = |why| Fault::External { location: external.location.clone(), why };
    let found = fs::symlink_metadata(folder.join(&external.location)).map_err(|_| fault("this file is missing"))?;
    match found.len() {
        _ if !found.is_file() => Err(fault("this is not a file")),
        bytes if bytes > limits.file_bytes => {
            Err(Fault::Limit { what: "bytes of external weights", found: bytes, most: limits.file_bytes })
        }
        bytes if bytes < external.bytes => Err(fault("this file is too short")),
        _ => Ok(()),
    }
}

/// Whether this is the name of a file and no path: letters, digits, `.`, `_` and `-`, and no dot at the start.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    plain && !name.is_empty() && !name.starts_with('.') && name.len() <= 255
}

#[cfg(test)]
pub(super) mod sample;

#[cfg(test)]
mod tests;
