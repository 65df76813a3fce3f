//! The HTTP API, asked over a socket: a service in this process with a database and a store of its own.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod execute;
mod frame;
mod harness;
mod incidents;
mod original;
mod pipelines;
mod prometheus;
