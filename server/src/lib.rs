//! The program `openanomaly`: flags, configuration, assembly.

pub mod assembly;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod metrics;
pub mod preferred;
pub mod render;
