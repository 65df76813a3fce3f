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

/// The names of all metrics. An empty family doesn't show on /metrics, so they are read from where they are
/// registered: `field: "name", "help";`, or a call that begins with the name.
fn metrics() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = std::fs::read_dir(folder.join("metrics")).unwrap().map(|file| file.unwrap().path());
    let files = files.chain([folder.join("metrics.rs")]);
    let text: Vec<String> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let is_registered = |line: &&str| {
        let line = line.trim();
        let is_field = line.contains(": \"") && line.ends_with("\";");
        is_field || line.starts_with("put(\"") || line.starts_with("registry.register(\"")
    };
    let lines = text.iter().flat_map(|text| text.lines()).filter(is_registered);
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_in_the_book_and_no_other() {
    let book = std::fs::read_to_string(shipped().join("../docs/metrics.md")).unwrap();
    let names = metrics();
    assert!(names.len() >= 40, "{names:?}");
    let rows = book.lines().filter_map(|line| line.strip_prefix("| `openanomaly_")?.split('`').next());
    let told: Vec<&str> =
        rows.map(|name| name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name)).collect();
    for name in &names {
        assert!(told.contains(&name.as_str()), "docs/metrics.md doesn't have {name}");
    }
    for name in told {
        assert!(names.iter().any(|other| other == name), "docs/metrics.md has {name}, which there isn't");
    }
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output();
    let output = output.expect("promtool is installed: apt-get install prometheus");
    assert!(output.status.success(), "{}: {output:?}", file.display());
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

#[test]
fn prometheus_takes_the_alert_rules() {
    yaml_files(&shipped().join("alerts")).iter().for_each(|file| promtool(&["check", "rules"], file));
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let cases = yaml_files(&folder);
    cases.iter().for_each(|file| promtool(&["test", "rules"], file));
    let cases: String = cases.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for file in yaml_files(&shipped().join("alerts")) {
        let rules = std::fs::read_to_string(&file).unwrap();
        for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            assert!(cases.contains(&format!("alertname: {alert}\n")), "{alert} has no case");
        }
    }
}
