//! The command line.
/// Nothing yet.
pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
