//! What is wrong with a document of pipelines, and where.

use std::fmt;

/// A place in a document: line and column, both from 1. Line 0 where the place isn't known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

/// One thing that is wrong with a pipeline: where, what was found, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PipelineError {
    /// The file, or whatever else the document was read from.
    pub origin: String,
    /// Where in it.
    pub place: Place,
    /// The pipeline's name, where it could be read.
    pub pipeline: Option<String>,
    /// The field from the top of the pipeline, such as `anomaly.threshold`; empty where the whole is meant.
    pub field: String,
    /// What was found and what is allowed.
    pub message: String,
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        if let Some(pipeline) = &self.pipeline {
            write!(f, ": pipeline `{pipeline}`")?;
        }
        if !self.field.is_empty() {
            write!(f, ": `{}`", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with one pipeline, or with the document that should hold it; at least one error, in
/// the order of the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PipelineErrors(Vec<PipelineError>);

impl PipelineErrors {
    pub(super) fn new(mut errors: Vec<PipelineError>) -> Self {
        errors.sort_by_key(|error| error.place);
        Self(errors)
    }

    /// The errors.
    pub fn errors(&self) -> &[PipelineError] {
        &self.0
    }
}

impl fmt::Display for PipelineErrors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let newline = if i > 0 { "\n" } else { "" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}
