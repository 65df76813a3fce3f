//! `openanomaly models`, on the graph that the program brings along.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::{openanomaly, stderr, stdout};

const GRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/src/onnx/nano.onnx");

struct Shelf(tempfile::TempDir);

impl Shelf {
    fn run(&self, args: &[&str]) -> Output {
        let mut command = openanomaly(&["models"]);
        command.args(args).env("OPENANOMALY_MODELS", self.0.path().join("models")).env_remove("HF_TOKEN");
        command.env("HF_HOME", self.0.path().join("hf")).env_remove("HF_ENDPOINT").output().unwrap()
    }

    fn check(&self, args: &[&str], code: i32, expected: &str) -> String {
        let output = self.run(args);
        let text = stdout(&output) + &stderr(&output);
        assert!(output.status.code() == Some(code) && text.contains(expected), "{args:?} {output:?}");
        text
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&stdout(&self.run(args))).unwrap()
    }
}

#[test]
fn models_are_added_shown_and_removed() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    shelf.check(&["list"], 0, "`openanomaly models pull ID` fetches one");
    shelf.check(&["verify"], 0, "no models in");
    shelf.check(&["add", GRAPH, "--id", "me/wave"], 0, "me/wave is in");
    shelf.check(&["add", GRAPH, "--id", "me/wave"], 2, "--yes");
    shelf.check(&["add", GRAPH, "--id", "me/wave", "--yes"], 0, "licence");
    shelf.check(&["list"], 0, "me/wave");
    let list = shelf.json(&["list", "--output", "json"]);
    assert_eq!(list.as_array().unwrap().last().unwrap()["manifest"]["file"], "model.onnx");

    shelf.check(&["inspect", "me/wave"], 0, "context f32[");
    for model in ["me/wave", GRAPH] {
        let found = shelf.json(&["inspect", model, "--output", "json"]);
        assert_eq!(found["graph"]["inputs"][0]["name"], "context");
        assert_eq!(found["manifest"]["sha256"].as_str().unwrap().len(), 64);
        assert!(found["graph"]["nodes"].as_u64().unwrap() > 10);
    }
    shelf.check(&["verify", "me/wave"], 0, "files are good");

    shelf.check(&["remove", "me/wave"], 2, "--yes");
    shelf.check(&["remove", "me/wave", "--yes"], 0, "me/wave is removed");
    shelf.check(&["remove", "me/wave", "--yes"], 1, "is not in");
    shelf.check(&["inspect", "me/wave"], 1, "`openanomaly models pull me/wave` fetches it");
}

#[test]
fn what_is_wrong_is_said_by_code_and_words() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let text = shelf.0.path().join("text.onnx");
    std::fs::write(&text, "<html>").unwrap();
    let text = text.to_str().unwrap();
    shelf.check(&["add", text], 1, "HTML");
    shelf.check(&["inspect", text], 1, "HTML");
    shelf.check(&["inspect", "nowhere.onnx"], 1, "nowhere.onnx");
    shelf.check(&["add", GRAPH, "--id", "../x"], 2, "is no model id");
    for command in ["remove", "inspect", "verify", "pull"] {
        shelf.check(&[command, "a/../b"], 2, "is no model id");
    }
    shelf.check(&["bench", "nonsense"], 2, "there is no model \"nonsense\"");
    shelf.check(&["bench", "mstl", "--batch", "0"], 2, "1 to 1000000");
    shelf.check(&["pull", "a/b", "--revision", "../c"], 2, "no branch, tag or commit");

    shelf.check(&["add", GRAPH, "--id", "me/wave"], 0, "");
    let file = shelf.0.path().join("models/me/wave/model.onnx");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    shelf.check(&["verify"], 1, "me/wave: not good:");
}

#[test]
fn any_model_can_be_verified_and_measured() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    shelf.check(&["verify", "seasonal_naive"], 0, "forecasts a plain wave with an error of 0%");
    let args = ["bench", "seasonal_naive", "--batch", "1,3", "--seconds", "0", "--context", "96", "--horizon", "12"];
    shelf.check(&args, 0, "Series/s");
    let measured = shelf.json(&[&args[..], &["--output", "json", "--param", "season=24"]].concat());
    assert_eq!(measured["measured"][1]["batch"], 3);
    assert!(measured["measured"][0]["series_per_second"].as_f64().unwrap() > 0.0);
    shelf.check(&[&args[..], &["--param", "sesn=24"]].concat(), 2, "allowed are season");
    let shown = shelf.run(&["runtime", "show"]);
    assert_eq!(shown.status.success(), !stdout(&shown).contains("is not installed"), "{shown:?}");
}

/// A hub with the repository `org/name`, which has one graph.
fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let graph = std::fs::read(Path::new(GRAPH)).unwrap();
    let sha = "0".repeat(40);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let siblings = json!([{"rfilename": "model.onnx", "size": graph.len()}]);
            let listing = json!({"sha": sha, "siblings": siblings, "tags": ["license:cc-by-nc-4.0"]});
            let (status, body) = match request.split(' ').nth(1).unwrap_or("") {
                "/api/models/org/name/revision/main?blobs=true" => (200, listing.to_string().into_bytes()),
                path if path == format!("/org/name/resolve/{sha}/model.onnx") => (200, graph.clone()),
                path if path.contains("secret") => (401, vec![]),
                _ => (404, vec![]),
            };
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    url
}

#[test]
fn models_are_pulled_from_a_hub() {
    let shelf = Shelf(tempfile::tempdir().unwrap());
    let hub = hub();
    let pull = |id: &str, code: i32, expected: &str| {
        let mut command = openanomaly(&["models", "pull", id, "--folder"]);
        command.arg(shelf.0.path().join("models")).env("HF_ENDPOINT", &hub).env_remove("HF_TOKEN");
        let output = command.env("HF_HOME", shelf.0.path()).output().unwrap();
        let text = stdout(&output) + &stderr(&output);
        assert!(output.status.code() == Some(code) && text.contains(expected), "{id} {output:?}");
    };
    pull("org/name", 0, "org/name is in");
    pull("org/name", 0, "org/name is in");
    pull("org/other", 1, "there is no such repository");
    pull("org/secret", 1, "set HF_TOKEN");
    let found = shelf.json(&["inspect", "org/name", "--output", "json"]);
    assert_eq!(found["manifest"]["revision"], "0".repeat(40));
    shelf.check(&["verify", "org/name"], 0, "files are good");
}
