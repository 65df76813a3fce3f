//! What the models of one program share.

use std::fmt;
use std::sync::Arc;

use crate::onnx;

/// What models share, made once a program: graphs that are loaded, and where they are found. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// ONNX Runtime, the models folder, and the graphs that are loaded.
    pub onnx: Arc<onnx::Graphs>,
    /// Says where the names of remote models lead, instead of the system.
    pub resolver: Option<Resolver>,
}

/// Says to which addresses a name leads, and may refuse to. No proxy is used beside it, which would look for itself.
#[derive(Clone)]
pub struct Resolver(pub Arc<dyn reqwest::dns::Resolve>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(…)")
    }
}

impl Resources {
    /// Resources with the given settings. Nothing is loaded yet.
    pub fn new(onnx: onnx::Settings) -> Self {
        Self { onnx: Arc::new(onnx::Graphs::new(onnx)), resolver: None }
    }
}
