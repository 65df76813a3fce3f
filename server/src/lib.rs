//! The program `openanomaly`: flags, configuration, assembly.

pub mod advice;
pub mod api;
pub mod app;
pub mod assembly;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod database;
pub mod demo;
pub mod egress;
pub mod explanation;
pub mod jobs;
pub mod metrics;
pub mod page;
pub mod preferred;
pub mod recipe;
pub mod registry;
pub mod render;
pub mod store;
pub mod tls;
pub mod traces;
