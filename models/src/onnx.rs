//! Foundation models in this process, as ONNX graphs.

mod card;
mod family;
mod graph;
pub mod hub;
pub mod inspect;
pub mod library;
pub mod manifest;
mod nano;
pub mod settings;

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
