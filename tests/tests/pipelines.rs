//! `openanomaly pipelines` against a running service.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says what is wrong")]

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use tests::{Service, eventually, openanomaly};

/// The program in `folder`, asking `service`.
struct Cli<'a> {
    service: &'a Service,
    folder: &'a Path,
}

impl Cli<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        self.fed(arguments, "")
    }

    fn fed(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = openanomaly()
            .arg("pipelines")
            .args(arguments)
            .current_dir(self.folder)
            .env("OPENANOMALY_SERVER", format!("http://{}", self.service.address()))
            .env("QUERY", "up")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command says that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that fails.
    fn complains(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.says(&["list", "--output", "json"])).unwrap();
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_made_shown_changed_run_and_deleted() {
    let service = Service::start("http://127.0.0.1:9", &[("file.yaml", "name: file\nquery: up\n")]);
    eventually("the service", async || service.health().await["status"].is_string().then_some(())).await;
    let folder = tempfile::tempdir().unwrap();
    let cli = Cli { service: &service, folder: folder.path() };
    std::fs::create_dir(folder.path().join("all")).unwrap();
    cli.write("all/one.yaml", "name: one\nquery: ${QUERY}\nanomaly: {threshold: 3}\n---\nname: two\nquery: up\n");
    // What is wrong is told as a whole, and nothing is sent.
    cli.write(
        "wrong.yaml",
        "name: three\nquery: up\n---\nname: four\nquerry: up\n---\nname: five\nquery: up\nstep: 1x\n",
    );
    let error = cli.complains(&["apply", "-f", "all", "-f", "wrong.yaml"]);
    assert!(error.contains("wrong.yaml:5:1") && error.contains("querry") && error.contains("step"), "{error}");
    let dry = cli.says(&["apply", "-f", "all", "--dry-run"]);
    assert!(dry.contains("created one") && dry.contains("nothing is done; it would be: 2 created"), "{dry}");
    assert_eq!(cli.names(), ["file"]);
    assert!(cli.says(&["apply", "-f", "all"]).contains("2 created, 0 changed, 0 unchanged, 0 deleted"));
    assert_eq!(cli.names(), ["file", "one", "two"]);
    assert!(cli.says(&["apply", "-f", "all"]).contains("0 created, 0 changed, 2 unchanged, 0 deleted"));
    cli.write("all/one.yaml", "name: one\nquery: up\nanomaly: {threshold: 2}\nstep: 30s\n");
    let changed = cli.says(&["apply", "-f", "all", "--prune"]);
    assert!(changed.contains("changed one: anomaly.threshold, step\n") && changed.contains("deleted two"), "{changed}");
    assert_eq!(cli.names(), ["file", "one"], "what the service has from files of its own stays");
    // What is shown can be applied.
    let shown = cli.says(&["show", "one"]);
    let again = cli.fed(&["apply", "-f", "-"], &shown);
    assert!(String::from_utf8_lossy(&again.stdout).contains("unchanged one"), "{again:?}\n{shown}");
    let json: Value = serde_json::from_str(&cli.says(&["show", "one", "-o", "json"])).unwrap();
    assert_eq!((&json["document"]["step"], &json["read_only"]), (&"30s".into(), &false.into()));
    let list = cli.says(&["list"]);
    assert!(list.contains("one") && list.contains("the store") && list.contains("a file"), "{list}");
    assert!(cli.says(&["watch", "--every", "10ms", "--count", "2"]).matches("one").count() >= 2);
    assert!(cli.says(&["run", "one", "anomaly"]).starts_with("Anomaly check triggered: job "));
    cli.write("file.yaml", "name: file\nquery: down\n");
    assert!(cli.complains(&["apply", "-f", "file.yaml"]).contains("only read"));
    assert!(cli.says(&["delete", "one"]).contains("deleted one"));
    assert_eq!(cli.names(), ["file"]);
    for missing in [&["show", "one"][..], &["delete", "one"], &["run", "one"], &["delete", "../health"]] {
        let error = cli.complains(missing);
        assert!(error.contains("there is no pipeline"), "{missing:?}: {error}");
    }
    assert!(cli.complains(&["list", "--server", "http://127.0.0.1:9"]).contains("http://127.0.0.1:9"));
}
