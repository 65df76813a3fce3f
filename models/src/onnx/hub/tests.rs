mod fake;

use serde_json::json;

use super::*;
use crate::onnx::inspect::Limits;
use crate::onnx::inspect::sample::{external, field, good, model, node, tensor};
use fake::{COMMIT, Fake, Repository, Trouble};

const GRAPH_BYTES: usize = 100_000;

struct Home {
    root: tempfile::TempDir,
    library: Library,
    hub: Hub,
    fake: Fake,
}

fn files(files: &[(&str, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect()
}

/// A repository with one graph of a bit more than 100,000 bytes.
fn usual() -> Repository {
    Repository { files: files(&[("model.onnx", good(GRAPH_BYTES / 4, 1))]), ..Repository::default() }
}

fn with(repository: Repository) -> Home {
    let root = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: 1 << 20, ..Limits::default() };
    let library = Library::new(root.path().join("models"), limits);
    let fake = Fake::start(repository);
    let home = root.path().join("hf");
    let hub = Hub { endpoint: fake.url.clone(), token: None, home, pause: Duration::ZERO };
    Home { root, library, hub, fake }
}

fn troubled(trouble: &[Trouble]) -> Home {
    with(Repository { trouble: std::sync::Mutex::new(trouble.iter().copied().collect()), ..usual() })
}

impl Home {
    fn pull(&self) -> Result<Installed, HubError> {
        self.pull_file(None)
    }

    fn pull_file(&self, file: Option<&str>) -> Result<Installed, HubError> {
        let wanted = Wanted { id: "org/name".into(), revision: None, file: file.map(str::to_owned) };
        self.hub.pull(&self.library, &wanted, &mut |_| {})
    }

    fn check_error(&self, file: Option<&str>, message: &str) {
        let error = self.pull_file(file).unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} lacks {message:?}");
        let ours = [".staging", ".locks", ".downloads"];
        let entries = fs::read_dir(self.library.folder()).into_iter().flatten().flatten();
        let others: Vec<_> = entries.filter(|entry| !ours.iter().any(|name| entry.file_name() == *name)).collect();
        assert!(others.is_empty(), "{others:?}");
        let beside = fs::read_dir(self.root.path()).unwrap().flatten().filter(|entry| entry.file_name() != "models");
        assert_eq!(beside.count(), 0, "nothing is written beside the models folder");
    }

    fn check_pull(&self, requests: &[&str]) {
        self.pull().unwrap();
        self.library.verify("org/name").unwrap();
        assert_eq!(self.fake.requests(), requests);
        assert!(!self.library.folder().join(".downloads/org/name").exists());
    }
}

#[test]
fn a_model_comes_with_its_licence() {
    let manifest = json!({"some": "other tool's"}).to_string().into_bytes();
    let all = [
        ("README.md", b"# It".to_vec()),
        ("config.json", b"{}".to_vec()),
        ("LICENSE.txt", b"Apache".to_vec()),
        ("manifest.json", manifest),
        ("onnx/NOTICE", b"beside".to_vec()),
        ("onnx/model.onnx", good(4, 1)),
        ("model.safetensors", vec![0; 100]),
    ];
    let home = with(Repository { files: files(&all), ..Repository::default() });
    let mut seen = vec![];
    let wanted = Wanted { id: "org/name".into(), ..Wanted::default() };
    let installed = home.hub.pull(&home.library, &wanted, &mut |event| seen.push(format!("{event:?}"))).unwrap();
    assert_eq!(installed, home.library.verify("org/name").unwrap().0);
    assert_eq!(installed.manifest.license.as_deref(), Some("Apache-2.0"));
    assert_eq!(installed.manifest.revision.as_deref(), Some(COMMIT));
    assert_eq!(installed.manifest.source.as_deref(), Some("org/name"));
    let mut names: Vec<_> = fs::read_dir(&installed.folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["LICENSE.txt", "NOTICE", "config.json", "manifest.json", "model.onnx"]);
    let bytes = good(4, 1).len();
    assert_eq!(seen[0], format!("Begins {{ file: \"onnx/model.onnx\", bytes: Some({bytes}), done: 0 }}"));
    assert_eq!(seen[1..3], [format!("Advances {{ bytes: {bytes} }}"), "Ends".into()]);
    assert_eq!(home.fake.requests().len(), 5);
}

#[test]
fn a_token_goes_to_the_hub_alone() {
    let mut home = with(Repository { token: Some("secret"), ..usual() });
    home.check_error(None, "set HF_TOKEN");
    home.hub.token = Some("wrong".into());
    home.check_error(None, "the token has no access");
    home.hub.token = Some("secret".into());
    home.check_pull(&["model.onnx all"]);
}

#[test]
fn a_token_may_lie_in_a_file() {
    let home = with(Repository { token: Some("secret"), ..usual() });
    fs::create_dir_all(home.hub.home.join("hub")).unwrap();
    fs::write(home.hub.home.join("token"), "secret\n").unwrap();
    home.pull().unwrap();
}

#[test]
fn what_breaks_off_goes_on() {
    use Trouble::{Cut, OtherRange, Status, Whole};
    let whole = "model.onnx all";
    let from = |bytes: usize| format!("model.onnx bytes={bytes}-");
    troubled(&[Cut(5000)]).check_pull(&[whole, &from(5000)]);
    troubled(&[Cut(5000), Cut(70_000), Status(503)]).check_pull(&[whole, &from(5000), &from(75_000), &from(75_000)]);
    troubled(&[Status(429)]).check_pull(&[whole, whole]);
    // A server that knows no ranges, or others than asked for, begins again.
    troubled(&[Cut(5000), Whole]).check_pull(&[whole, &from(5000)]);
    troubled(&[Cut(5000), OtherRange]).check_pull(&[whole, &from(5000), whole]);
}

#[test]
fn what_breaks_off_too_often_goes_on_the_next_time() {
    let home = troubled(&[Trouble::Cut(1000); 5]);
    home.check_error(None, "broke off at 4000 bytes");
    home.pull().unwrap();
    let last = home.fake.requests().pop().unwrap();
    assert_eq!(last, "model.onnx bytes=5000-");
    home.library.verify("org/name").unwrap();
}

#[test]
fn what_is_here_already_is_not_fetched_again() {
    let home = troubled(&[Trouble::Cut(1000); 4]);
    home.check_error(None, "broke off");
    let folder = home.library.folder().join(".downloads/org/name");
    let part = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&part, good(GRAPH_BYTES / 4, 1)).unwrap();
    home.pull().unwrap();
    assert_eq!(home.fake.requests().len(), 4);
    // More than there can be, or something else.
    for (content, message) in [(vec![0; 2 * GRAPH_BYTES], None), (vec![0; GRAPH_BYTES], Some("was thrown away"))] {
        let home = with(usual());
        let folder = home.library.own(".downloads/org/name").unwrap();
        fs::write(folder.join(part.file_name().unwrap()), content).unwrap();
        if let Some(message) = message {
            home.check_error(None, message);
        }
        home.pull().unwrap();
        home.library.verify("org/name").unwrap();
    }
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let home = troubled(&[Trouble::Changed]);
    home.check_error(None, "was thrown away");
    home.pull().unwrap();
    assert_eq!(home.fake.requests(), ["model.onnx all"; 2]);
    troubled(&[Trouble::More]).check_error(None, "are more than the 100");
    for status in [403, 404, 410] {
        troubled(&[Trouble::Status(status)])
            .check_error(None, if status == 404 { "there is no such" } else { "answers" });
    }
}

#[test]
fn what_the_hub_says_is_checked() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 14] = [
        (|said| said["siblings"][0]["rfilename"] = "../../x.onnx".into(), "leads out of the repository"),
        (|said| said["siblings"][0]["rfilename"] = "/etc/x.onnx".into(), "leads out of the repository"),
        (|said| said["siblings"][0]["rfilename"] = "a\\..\\x.onnx".into(), "leads out of the repository"),
        (|said| said["siblings"][0]["rfilename"] = "C:x.onnx".into(), "leads out of the repository"),
        (|said| said["siblings"][0]["rfilename"] = "a//x.onnx".into(), "leads out of the repository"),
        (|said| said["siblings"][0]["rfilename"] = "other.onnx".into(), "there is no such"),
        (|said| said["sha"] = "../../main".into(), "is no commit"),
        (|said| said["sha"] = "".into(), "is no commit"),
        (|said| said["sha"] = 3.into(), "makes no sense"),
        (|said| *said = "<html>".into(), "makes no sense"),
        (|said| said["siblings"] = serde_json::Value::Null, "makes no sense"),
        (|said| said["siblings"] = json!([]), "python -m export_openanomaly export org/name"),
        (|said| said["siblings"][0]["lfs"]["size"] = (5_u64 << 30).into(), "5368709120 bytes are more than"),
        (|said| said["siblings"][0]["lfs"]["sha256"] = "../../x".into(), "was thrown away"),
    ];
    for (change, message) in cases {
        with(Repository { listing: Some(change), ..usual() }).check_error(None, message);
    }
}

#[test]
fn sizes_that_nobody_says_have_a_limit() {
    fn silent(said: &mut serde_json::Value) {
        said["siblings"] = json!([{"rfilename": "model.onnx"}]);
    }
    with(Repository { listing: Some(silent), ..usual() }).check_pull(&["model.onnx all"]);
    let large = files(&[("model.onnx", good(1 << 19, 1))]);
    let home = with(Repository { listing: Some(silent), files: large, ..Repository::default() });
    home.check_error(None, "are more than the 1048576 that are allowed");
}

#[test]
fn one_graph_is_chosen() {
    let check = |names: &[&str], file: Option<&str>, expected: Result<&str, &str>| {
        let all: Vec<_> = names.iter().map(|name| (*name, good(4, 1))).collect();
        let home = with(Repository { files: files(&all), ..Repository::default() });
        match expected {
            Ok(name) => {
                home.pull_file(file).unwrap();
                assert_eq!(home.fake.requests(), [format!("{name} all")]);
            }
            Err(message) => home.check_error(file, message),
        }
    };
    check(&["a.onnx"], None, Ok("a.onnx"));
    check(&["onnx/model_int8.onnx", "onnx/model.onnx"], None, Ok("onnx/model.onnx"));
    check(&["b.onnx", "a.onnx"], None, Err("several ONNX files, choose one by --file: b.onnx, a.onnx"));
    check(&["b.onnx", "a.onnx"], Some("a.onnx"), Ok("a.onnx"));
    check(&["b.onnx"], Some("c.onnx"), Err("no file \"c.onnx\"; there is b.onnx"));
    check(&["b.onnx"], Some("../b.onnx"), Err("no file \"../b.onnx\""));
    check(&["model.safetensors"], None, Err("openanomaly models add FOLDER/model.onnx --id org/name"));
}

#[test]
fn weights_come_along() {
    let away = [external("location", "model.onnx_data"), external("length", "16")];
    let graph = model(&[node("", "Identity", &[]), field(5, tensor("w", &[4], &away))]);
    let all = [("onnx/model.onnx", graph.clone()), ("onnx/model.onnx_data", vec![7; 16])];
    let home = with(Repository { files: files(&all), ..Repository::default() });
    assert_eq!(home.pull().unwrap().manifest.data[0].file, "model.onnx_data");
    let home = with(Repository { files: files(&all[..1]), ..Repository::default() });
    home.check_error(None, "no file \"onnx/model.onnx_data\"");
    let out = [external("location", "../../../etc/passwd")];
    let graph = model(&[node("", "Identity", &[]), field(5, tensor("w", &[4], &out))]);
    let home = with(Repository { files: files(&[("model.onnx", graph)]), ..Repository::default() });
    home.check_error(None, "plain file name");
}

#[test]
fn a_manifest_of_ours_must_be_about_the_graph() {
    let graph = good(4, 1);
    let check = |sha256: &str, contract: u32, expected: Result<(), &str>| {
        let manifest = json!({"contract": contract, "id": "some/where", "family": "chronos2", "file": "model.onnx",
            "sha256": sha256, "bytes": graph.len(), "license": "MIT", "source": "up/stream"});
        let all = [("model.onnx", graph.clone()), ("manifest.json", manifest.to_string().into_bytes())];
        let home = with(Repository { files: files(&all), ..Repository::default() });
        match expected {
            Ok(()) => {
                let manifest = home.pull().unwrap().manifest;
                assert_eq!((manifest.id.as_str(), manifest.family.as_deref()), ("org/name", Some("chronos2")));
                assert_eq!((manifest.license.as_deref(), manifest.source.as_deref()), (Some("MIT"), Some("up/stream")));
            }
            Err(message) => home.check_error(None, message),
        }
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, &graph).unwrap();
    check(&manifest::sha256(file.path()).unwrap(), 1, Ok(()));
    check(&manifest::sha256(file.path()).unwrap(), 2, Err("contract 2 is not known"));
    check(&"0".repeat(64), 1, Err("the SHA-256"));
    check("x", 1, Err("SHA-256 in hexadecimal"));
}

#[test]
fn what_is_no_model_is_not_installed() {
    for (bytes, message) in [(&b"<html>"[..], "HTML"), (b"version https://git-lfs", "Git LFS"), (b"", "empty")] {
        let home = with(Repository { files: files(&[("model.onnx", bytes.to_vec())]), ..Repository::default() });
        home.check_error(None, message);
    }
    let evil = model(&[node("evil.corp", "Run", &[])]);
    with(Repository { files: files(&[("model.onnx", evil)]), ..Repository::default() })
        .check_error(None, "not allowed");
}

#[test]
fn a_hub_may_be_away() {
    let mut home = with(usual());
    for (id, revision, message) in [
        ("org/other", None, "there is no such repository"),
        ("org/name", Some("v9"), "there is no such repository, revision"),
        ("org/name", Some("../x"), "no branch, tag or commit"),
        ("org/name", Some("a b"), "no branch, tag or commit"),
        ("org/../x", None, "is no model id"),
    ] {
        let wanted = Wanted { id: id.into(), revision: revision.map(str::to_owned), file: None };
        let error = home.hub.pull(&home.library, &wanted, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains(message), "{error:?} lacks {message:?}");
    }
    for endpoint in ["http://127.0.0.1:1", "nonsense", ""] {
        home.hub.endpoint = endpoint.into();
        home.check_error(None, "/api/models/org/name/revision/main: ");
    }
}

#[test]
fn many_at_once_fetch_one_whole_model() {
    let home = with(usual());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| home.pull().unwrap());
        }
    });
    home.library.verify("org/name").unwrap();
    assert_eq!(home.fake.requests(), ["model.onnx all"]);
    fs::write(home.library.open("org/name").unwrap().0.file(), "damaged").unwrap();
    home.pull().unwrap();
    home.library.verify("org/name").unwrap();
}

#[test]
fn the_environment_names_the_hub() {
    let find = |environment: &[(&str, &str)]| {
        let hub = Hub::of(|name| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
        (hub.endpoint, hub.token, hub.home)
    };
    assert_eq!(find(&[("HOME", "/me")]), (ENDPOINT.into(), None, "/me/.cache/huggingface".into()));
    let all = [("HF_ENDPOINT", "http://mirror/"), ("HF_TOKEN", " t\n"), ("HF_HOME", "/hf")];
    assert_eq!(find(&all), ("http://mirror".into(), Some("t".into()), "/hf".into()));
}
