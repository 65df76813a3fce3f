//! What stands in `config/` works as it is.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::{Path, PathBuf};
use std::process::Command;

use server::config::{Config, load_pipelines, pipeline_files};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn nothing(_: &str) -> Option<String> {
    None
}

#[test]
fn the_configuration_needs_no_environment_and_its_pipelines_are_good() {
    let config = Config::load(&shipped().join("openanomaly.yaml"), &nothing).unwrap();
    assert_eq!(config.datasources["default"].url.as_deref(), Some("http://localhost:8428"));
    let files = pipeline_files(&config.pipelines).unwrap();
    let pipelines: Vec<_> = files.iter().flat_map(|file| load_pipelines(file, &nothing)).collect();
    assert!(!pipelines.is_empty());
    for pipeline in pipelines {
        config.check(&pipeline.unwrap()).unwrap();
    }
}

/// The line without the comment's sign, where it shows a key: `# key: value`.
fn uncommented(line: &str) -> String {
    let Some((indent, rest)) = line.split_once("# ") else { return line.into() };
    let key = rest.trim_start().split(':').next().unwrap_or("");
    let is_key = rest.contains(':') && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if indent.trim().is_empty() && is_key { format!("{indent}{rest}") } else { line.into() }
}

#[test]
fn the_keys_that_are_commented_out_can_be_used() {
    let text = std::fs::read_to_string(shipped().join("openanomaly.yaml")).unwrap();
    // Only one way to log in may be given, and one kind of tenant.
    let is_other = |line: &&str| line.contains("bearer_token") || line.contains("org_id:");
    let lines = text.lines().filter(|line| !is_other(line)).map(uncommented);
    let text = lines.collect::<Vec<_>>().join("\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openanomaly.yaml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path, &|name| (name == "PASSWORD").then(|| "secret".into())).unwrap();
    let default = &config.datasources["default"];
    assert_eq!(default.basic_auth.as_ref().unwrap().password, "secret");
    assert!(default.write_url.is_some() && default.tls.ca_file.is_some() && default.takes_ahead.is_some());
    assert!(config.datasources["local"].path.is_some());
}

#[test]
fn every_pipeline_of_every_folder_is_good() {
    for folder in ["pipelines", "demo"] {
        for file in pipeline_files(&shipped().join(folder)).unwrap() {
            for outcome in load_pipelines(&file, &nothing) {
                outcome.unwrap();
            }
        }
    }
}

#[test]
fn every_metric_is_in_the_book() {
    let book = std::fs::read_to_string(shipped().join("../docs/metrics.md")).unwrap();
    // An empty family doesn't show on /metrics; its line in the list is `field: "name", "help";`.
    let listed =
        include_str!("../src/metrics.rs").lines().filter(|line| line.ends_with("\";") && line.contains(": \""));
    let names: Vec<&str> = listed.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(book.contains(&format!("`openanomaly_{name}")), "docs/metrics.md doesn't have {name}");
    }
}

#[test]
fn prometheus_takes_the_alert_rules() {
    for file in std::fs::read_dir(shipped().join("alerts")).unwrap() {
        let file = file.unwrap().path();
        let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output();
        let output = output.expect("promtool is installed: apt-get install prometheus");
        assert!(output.status.success(), "{}: {output:?}", file.display());
    }
}
