//! The program `openanomaly`: flags, configuration, assembly.

pub mod cli;
pub mod render;
