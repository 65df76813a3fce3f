//! What stands beside a graph: `manifest.json`, which says where it comes from, how large it must be, and how it is asked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::inspect::{Inspection, Port, is_plain_name};

/// The manifest's name.
pub const FILE: &str = "manifest.json";

/// The version of the contract between graphs and this program.
pub const CONTRACT: u32 = 1;

/// What a graph's metadata of our contract begin with.
const PREFIX: &str = "openanomaly.";

/// The most bytes of a manifest.
const MOST_BYTES: u64 = 1 << 20;

/// What is known of a graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the contract.
    pub contract: u32,
    /// The hub id.
    pub id: String,
    /// The architecture, as `bolt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The graph's file.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Levels of the quantiles that it answers, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f64>,
    /// How many steps ahead one run reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<u64>,
    /// How many points a patch has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<u64>,
    /// The most points that it looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_max: Option<u64>,
    /// The licence of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where the weights come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The SHA-256 of the weights that the graph was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
    /// The commit on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// In which numbers the weights are held, as `fp32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// What goes in.
    #[serde(default)]
    pub inputs: Vec<Port>,
    /// What comes out.
    #[serde(default)]
    pub outputs: Vec<Port>,
    /// Files of weights beside the graph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Data>,
    /// What else an exporter says, such as how far the graph was from upstream.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its name.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// A manifest that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}", path = path.display())]
pub struct ManifestError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// It can't be read, is of another contract, or says what can't be.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let named = |message: String| ManifestError { path: path.to_owned(), message };
        let text = read_text(path, MOST_BYTES).map_err(|error| named(error.to_string()))?;
        Self::parse(&text).map_err(named)
    }

    /// Reads and checks a manifest's text.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let contract: Contract = serde_json::from_str(text).map_err(|error| format!("this is no manifest: {error}"))?;
        if contract.contract != CONTRACT {
            return Err(format!("contract {} is not known: only {CONTRACT} is", contract.contract));
        }
        let manifest: Self = serde_json::from_str(text).map_err(|error| format!("this is no manifest: {error}"))?;
        manifest.check().map(|()| manifest)
    }

    fn check(&self) -> Result<(), String> {
        let files = || self.data.iter().map(|data| (&data.file, &data.sha256));
        for (file, hash) in files().chain([(&self.file, &self.sha256)]) {
            if !is_plain_name(file) {
                return Err(format!("{file:?} is not the name of a file in its folder"));
            }
            if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("{hash:?} is not a SHA-256 in hexadecimal"));
            }
        }
        let levels = &self.quantiles;
        let inside = levels.iter().all(|level| *level > 0.0 && *level < 1.0);
        if !inside || !levels.is_sorted_by(|one, next| one < next) {
            return Err("quantiles must rise, and lie between 0 and 1".into());
        }
        let sizes = [("horizon", self.horizon), ("patch", self.patch), ("context_max", self.context_max)];
        match sizes.iter().find(|(_, size)| size.is_some_and(|size| size == 0 || size > 1 << 24)) {
            Some((name, _)) => Err(format!("{name} must lie between 1 and {}", 1 << 24)),
            None => Ok(()),
        }
    }

    /// What a graph without a manifest says of itself, by the metadata of our contract where it has them.
    ///
    /// # Errors
    /// Metadata that say what can't be, in words.
    pub fn of(inspection: &Inspection, id: &str, file: &str, sha256: String) -> Result<Self, String> {
        let said = |key: &str| {
            let found = inspection.metadata.iter().find(|(name, _)| name.strip_prefix(PREFIX) == Some(key));
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let text = |key| said(key).map(str::to_owned);
        let size = |key| said(key).map(|value| number(key, value)).transpose();
        let levels = said("quantiles").map(|list| list.split(',').map(|level| number("quantiles", level)).collect());
        let manifest = Self {
            contract: size("contract")?.map_or(CONTRACT, |version| u32::try_from(version).unwrap_or(u32::MAX)),
            id: id.to_owned(),
            family: text("family"),
            file: file.to_owned(),
            sha256,
            bytes: inspection.bytes,
            quantiles: levels.transpose()?.unwrap_or_default(),
            horizon: size("horizon")?,
            patch: size("patch")?,
            context_max: size("context_max")?,
            license: text("license"),
            source: text("source"),
            source_sha256: text("source_sha256"),
            precision: text("precision"),
            inputs: inspection.inputs.clone(),
            outputs: inspection.outputs.clone(),
            ..Self::default()
        };
        match manifest.contract {
            CONTRACT => manifest.check().map(|()| manifest),
            other => Err(format!("contract {other} is not known: only {CONTRACT} is")),
        }
    }

    /// Its text, a line a field.
    pub(super) fn text(&self) -> String {
        // Text, numbers and lists of them can always be written.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Read first, so that another version is named as such, whatever its fields.
#[derive(Deserialize)]
struct Contract {
    contract: u32,
}

fn number<N: FromStr>(key: &str, value: &str) -> Result<N, String> {
    value.trim().parse().map_err(|_| format!("metadata {PREFIX}{key}: {value:?} is no number that it may be"))
}

/// A small text file that must not be larger than `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(text)
}

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(change: &str, to: &str) -> String {
        let good = format!(
            r#"{{"contract": 1, "id": "a/b", "family": "bolt", "file": "model.onnx", "sha256": "{}", "bytes": 3,
            "quantiles": [0.1, 0.5, 0.9], "horizon": 64, "patch": 16, "context_max": 2048, "license": "Apache-2.0",
            "parity": {{"max_error": 1e-6}}, "inputs": [{{"name": "context", "type": "f32", "shape": ["batch", 512]}}],
            "outputs": []}}"#,
            "0a".repeat(32)
        );
        assert!(change.is_empty() || good.contains(change), "{change}");
        good.replacen(change, to, 1)
    }

    #[test]
    fn what_is_read_is_written_again() {
        let read = Manifest::parse(&manifest("", "")).unwrap();
        assert_eq!(read.inputs[0].shape[1], super::super::inspect::Dimension::Fixed(512));
        assert_eq!(read.extra["parity"]["max_error"], 1e-6);
        assert_eq!(Manifest::parse(&read.text()).unwrap(), read);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (change, to, message) in [
            ("\"contract\": 1", "\"contract\": 2", "contract 2 is not known"),
            ("\"contract\": 1,", "", "contract"),
            ("{", "", "this is no manifest"),
            ("model.onnx", "../model.onnx", "../model.onnx"),
            ("model.onnx", "/etc/passwd", "/etc/passwd"),
            ("model.onnx", ".hidden", "hidden"),
            ("0a0a", "0A0a", "SHA-256"),
            ("0a0a", "0a", "SHA-256"),
            ("0.1, 0.5", "0.5, 0.1", "must rise"),
            ("0.1, 0.5", "0, 0.5", "between 0 and 1"),
            ("0.1, 0.5", "0.5, 0.5", "must rise"),
            ("\"horizon\": 64", "\"horizon\": 0", "horizon"),
            ("\"horizon\": 64", "\"horizon\": -4", "-4"),
            ("\"patch\": 16", "\"patch\": 1e99", "patch"),
            ("\"patch\": 16", "\"patch\": 99999999999", "patch"),
            ("\"inputs\": [", "\"inputs\": [3, ", "3"),
        ] {
            let error = Manifest::parse(&manifest(change, to)).unwrap_err();
            assert!(error.contains(message) || error.contains("this is no manifest"), "{change} → {to}: {error}");
        }
    }

    #[test]
    fn metadata_make_a_manifest() {
        let check = |metadata: &[(&str, &str)]| {
            let metadata =
                metadata.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect();
            let inspection = Inspection { bytes: 7, metadata, ..Inspection::default() };
            Manifest::of(&inspection, "a/b", "model.onnx", "0a".repeat(32))
        };
        let made = check(&[("family", "bolt"), ("quantiles", "0.1,0.5"), ("horizon", "64")]).unwrap();
        assert_eq!(
            (made.family.as_deref(), &made.quantiles[..], made.horizon),
            (Some("bolt"), &[0.1, 0.5][..], Some(64))
        );
        assert_eq!((made.id.as_str(), made.bytes), ("a/b", 7));
        assert_eq!(check(&[]).unwrap().family, None);
        for (key, value) in [("quantiles", "0.5,x"), ("quantiles", "0.9,0.5"), ("horizon", "-1"), ("contract", "7")] {
            let error = check(&[(key, value)]).unwrap_err();
            assert!(error.contains(key) || error.contains("rise"), "{key} {value}: {error}");
        }
    }
}
