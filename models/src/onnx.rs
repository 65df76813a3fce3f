//! Foundation models in this process, as ONNX graphs.

mod bolt;
mod card;
mod chronos2;
mod family;
mod folders;
mod graph;
pub mod install;
mod joint;
mod load;
mod nano;
mod rollout;
pub mod runtime;
pub mod settings;
mod timesfm;
mod toto;

pub use install::{InstallError, Progress};
pub use runtime::RuntimeError;
pub use settings::{Provider, Settings};

/// The graphs of one program: the runtime, found once, and each graph, loaded once and shared by all who name it.
#[derive(Debug, Default)]
pub struct Graphs {
    settings: Settings,
}

impl Graphs {
    /// Nothing is loaded yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
