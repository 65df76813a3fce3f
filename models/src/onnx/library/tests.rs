use super::*;
use crate::onnx::inspect::sample::{self, external, field, good, model, node, tensor};

struct Home {
    root: tempfile::TempDir,
    library: Library,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let library = Library::new(root.path().join("models"), Limits::default());
        Self { root, library }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn good(&self, id: &str) -> Installed {
        let file = self.file("good.onnx", good(8, 1));
        self.library.add(&file, Some(id), false).unwrap()
    }

    /// What stands in the models folder's own folders, but for locks.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.library.folder().join(".staging")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn check_error<T: std::fmt::Debug>(found: Result<T, LibraryError>, message: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(message), "{error:?} lacks {message:?}");
}

#[test]
fn a_model_is_added_listed_opened_and_removed() {
    let home = Home::new();
    let library = &home.library;
    assert!(library.list().unwrap().is_empty());
    let installed = home.good("org/name");
    assert_eq!(installed.file(), library.folder().join("org/name/model.onnx"));
    assert_eq!((installed.manifest.family.as_deref(), installed.bytes()), (Some("bolt"), good(8, 1).len() as u64));
    assert_eq!(library.open("org/name").unwrap().0, installed);
    assert_eq!(library.verify("org/name").unwrap().0, installed);
    let listed = library.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].1.as_ref().unwrap(), &installed);
    library.remove("org/name").unwrap();
    check_error(library.open("org/name"), "openanomaly models pull org/name");
    check_error(library.remove("org/name"), "is not in");
    assert!(!library.folder().join("org").exists());
    assert!(home.left().is_empty());
}

#[test]
fn ids_are_checked() {
    let home = Home::new();
    for id in [
        "",
        "a",
        "a/",
        "/a",
        "a/b/c",
        "../a",
        "a/..",
        "a/.b",
        ".a/b",
        "-a/b",
        "a/b.",
        "a b/c",
        "a/b\0",
        "a\\b/c",
        "a/b\n",
        "/etc/passwd",
        "a/x..y",
        "ä/b",
    ] {
        check_error(home.library.open(id), "is no model id");
        check_error(home.library.remove(id), "is no model id");
    }
    check_error(home.library.open(&format!("a/{}", "b".repeat(97))), "is no model id");
    for id in ["amazon/chronos-bolt-tiny", "Datadog/Toto-2.0", "a/b", "_a/1"] {
        check_error(home.library.open(id), "is not in");
    }
}

#[test]
fn ids_come_from_the_manifest_or_the_file() {
    let home = Home::new();
    let bytes = good(2, 1);
    let plain = home.file("my-model.onnx", &bytes);
    assert_eq!(home.library.add(&plain, None, false).unwrap().id, "local/my-model");
    let graph = home.file("export/model.onnx", &bytes);
    let sha256 = manifest::sha256(&graph).unwrap();
    for (id, expected) in [("org/it", "org/it"), ("it", "local/it"), ("../it", "local/model")] {
        let text = format!(
            r#"{{"contract": 1, "id": "{id}", "family": "timesfm", "file": "model.onnx", "sha256": "{sha256}",
                "bytes": {}, "quantiles": [0.5], "parity": {{"max_error": 1}}}}"#,
            bytes.len()
        );
        home.file("export/manifest.json", text);
        let installed = home.library.add(&graph, None, true).unwrap();
        assert_eq!((installed.id.as_str(), installed.manifest.id.as_str()), (expected, expected));
        assert_eq!(installed.manifest.family.as_deref(), Some("timesfm"), "the manifest goes before the graph");
        assert_eq!(installed.manifest.inputs.len(), 1, "inputs are those that were found");
        assert_eq!(installed.manifest.extra["parity"]["max_error"], 1);
    }
}

#[test]
fn a_file_can_be_looked_at_where_it_is() {
    let home = Home::new();
    let odd = home.file("odd name (1).onnx", good(8, 1));
    let (manifest, found) = home.library.look(&odd).unwrap();
    assert_eq!((manifest.id.as_str(), manifest.family.as_deref()), ("local/odd name (1)", Some("bolt")));
    assert_eq!((manifest.bytes, found.parameters), (good(8, 1).len() as u64, 8));
    check_error(home.library.look(&home.file("x.onnx", "{}")), "JSON");
}

#[test]
fn what_is_there_is_only_replaced_where_that_is_said() {
    let home = Home::new();
    home.good("org/name");
    let other = home.file("other.onnx", good(9, 2));
    check_error(home.library.add(&other, Some("org/name"), false), "is there already");
    assert_eq!(home.library.verify("org/name").unwrap().1.parameters, 8);
    home.library.add(&other, Some("org/name"), true).unwrap();
    assert_eq!(home.library.verify("org/name").unwrap().1.parameters, 9);
    assert!(home.left().is_empty());
}

#[test]
fn what_is_not_fit_leaves_nothing() {
    let home = Home::new();
    let add = |bytes: &[u8], manifest: Option<&str>| {
        let file = home.file("in/model.onnx", bytes);
        let beside = file.with_file_name(manifest::FILE);
        let _ = fs::remove_file(&beside);
        manifest.map(|text| fs::write(&beside, text)).transpose().unwrap();
        home.library.add(&file, Some("org/name"), false)
    };
    let manifest = |change: &str| {
        let zeros = "0".repeat(64);
        format!(r#"{{"contract": 1, "id": "a/b", "file": "model.onnx", "sha256": "{zeros}", "bytes": {change}}}"#)
    };
    let whole = good(8, 1);
    check_error(add(b"<html>", None), "HTML");
    check_error(add(&model(&[node("evil", "Run", &[])]), None), "not allowed");
    check_error(add(&whole, Some(&manifest("3"))), "the size");
    check_error(add(&whole, Some(&manifest(&whole.len().to_string()))), "the SHA-256");
    check_error(add(&whole, Some("{}")), "manifest.json");
    check_error(add(&whole, Some(&manifest("3").replace("\"contract\": 1", "\"contract\": 9"))), "contract 9");
    let level = field(14, sample::entry("openanomaly.quantiles", "2"));
    check_error(add(&[whole, level].concat(), None), "between 0 and 1");
    assert!(home.library.list().unwrap().is_empty() && home.left().is_empty());
}

#[test]
fn weights_come_along() {
    let home = Home::new();
    let away = [external("location", "model.onnx.data"), external("length", "16")];
    let bytes = model(&[node("", "Identity", &[]), field(5, tensor("w", &[4], &away))]);
    let file = home.file("in/model.onnx", bytes);
    check_error(home.library.add(&file, Some("a/b"), false), "missing");
    home.file("in/model.onnx.data", [7; 16]);
    let installed = home.library.add(&file, Some("a/b"), false).unwrap();
    assert_eq!(installed.manifest.data[0].bytes, 16);
    assert_eq!(installed.bytes(), 16 + installed.manifest.bytes);
    home.library.verify("a/b").unwrap();
    fs::write(installed.folder.join("model.onnx.data"), [8; 16]).unwrap();
    home.library.open("a/b").unwrap();
    check_error(home.library.verify("a/b"), "model.onnx.data: the SHA-256");
    fs::write(installed.folder.join("model.onnx.data"), [7; 15]).unwrap();
    check_error(home.library.open("a/b"), "too short");
}

#[test]
fn what_has_changed_is_found() {
    let home = Home::new();
    let file = home.good("a/b").file();
    fs::write(&file, good(8, 2)).unwrap();
    home.library.open("a/b").unwrap();
    check_error(home.library.verify("a/b"), "the SHA-256");
    fs::write(&file, good(9, 1)).unwrap();
    check_error(home.library.open("a/b"), "the size");
    fs::write(&file, "<html>").unwrap();
    check_error(home.library.open("a/b"), "HTML");
    fs::remove_file(&file).unwrap();
    check_error(home.library.open("a/b"), "model.onnx");
    fs::remove_file(file.with_file_name(manifest::FILE)).unwrap();
    check_error(home.library.open("a/b"), "manifest.json");
    let listed = home.library.list().unwrap();
    assert!(listed.len() == 1 && listed[0].1.is_err());
    home.library.remove("a/b").unwrap();
    assert!(home.library.list().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    let outside = Home::new();
    let elsewhere = outside.good("a/b");
    fs::create_dir_all(home.library.folder().join("org")).unwrap();
    symlink(&elsewhere.folder, home.library.folder().join("org/link")).unwrap();
    symlink(outside.library.folder().join("a"), home.library.folder().join("all")).unwrap();
    let file = home.good("org/file").file();
    fs::remove_file(&file).unwrap();
    symlink(elsewhere.file(), &file).unwrap();
    for id in ["org/link", "all/b", "org/file"] {
        check_error(home.library.open(id), "leads out of the models folder");
    }
    for id in ["org/link", "all/b"] {
        check_error(home.library.remove(id), "leads out of the models folder");
    }
    let new = home.file("good.onnx", good(8, 1));
    check_error(home.library.add(&new, Some("all/new"), false), "leads out");
    assert!(elsewhere.file().exists() && !outside.library.folder().join("a/new").exists());
    // A models folder that is a link itself is no way out.
    let link = home.root.path().join("link");
    symlink(outside.library.folder(), &link).unwrap();
    Library::new(link, Limits::default()).open("a/b").unwrap();
}

#[test]
fn many_at_once_leave_one_whole_model() {
    let home = Home::new();
    let files: Vec<_> = (1..5).map(|seed| home.file(&format!("{seed}.onnx"), good(1 << 12, seed))).collect();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| home.library.add(file, Some("a/b"), true).unwrap());
        }
    });
    home.library.verify("a/b").unwrap();
    assert!(home.left().is_empty());
}

#[test]
fn what_a_killed_program_left_is_swept() {
    let home = Home::new();
    home.file("models/.staging/x/model/model.onnx", "half");
    home.good("a/b");
    assert!(home.left().is_empty());
}

#[test]
fn the_settings_name_folder_and_limit() {
    let settings = Settings { folder: Some("/set".into()), max_file_bytes: 7, ..Settings::default() };
    let library = Library::of(&settings).unwrap();
    assert_eq!((library.folder(), library.limits().file_bytes), (Path::new("/set"), 7));
    assert_eq!(full_id("chronos-2"), "amazon/chronos-2");
    assert_eq!(full_id("../x"), "../x");
}
