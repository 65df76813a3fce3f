//! What can be set for all ONNX models of a program.

use std::path::PathBuf;

use serde::Deserialize;

/// What holds for all ONNX models of a program: the key `onnx` of the service's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The models folder; by default `openanomaly/models` in the user's data folder.
    pub folder: Option<PathBuf>,
    /// The ONNX Runtime library; found where it is not given.
    pub library: Option<PathBuf>,
    /// Whether the library is fetched from the Python package index where it is not found.
    pub fetch: bool,
    /// Where graphs run; one that is not there is an error.
    pub provider: Provider,
    /// How many runs of a model's graph there are at the same time, each on one thread; by default one for each core.
    /// A graph with weights of hundreds of megabytes gets fewer, with as many threads in all.
    pub sessions: Option<usize>,
    /// A graph whose file is greater is refused, in bytes.
    pub max_file_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folder: None,
            library: None,
            fetch: true,
            provider: Provider::Cpu,
            sessions: None,
            max_file_bytes: 4 << 30,
        }
    }
}

/// Where graphs run (ONNX Runtime's *execution providers*).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// NVIDIA TensorRT.
    Tensorrt,
    /// Intel OpenVINO.
    Openvino,
    /// Apple Core ML.
    Coreml,
    /// Windows DirectML.
    Directml,
}
