//! What the models of one program share.

use std::sync::Arc;

use crate::onnx;

/// What models share, made once a program: graphs that are loaded, and where they are found. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// ONNX Runtime, the models folder, and the graphs that are loaded.
    pub onnx: Arc<onnx::Graphs>,
}

impl Resources {
    /// Resources with the given settings. Nothing is loaded yet.
    pub fn new(onnx: onnx::Settings) -> Self {
        Self { onnx: Arc::new(onnx::Graphs::new(onnx)) }
    }
}
