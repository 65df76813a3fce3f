//! Every wrong document gives an error that tells a stranger what to do. The messages are reviewed as one snapshot.

use std::fmt::Write;
use std::path::Path;

use engine::Pipeline;

/// What a file would be too odd, or too large, to show.
fn made() -> Vec<(&'static str, String)> {
    let long = "n".repeat(500_000);
    vec![
        ("made: a NUL byte", "name: cpu\nquery: u\0p".into()),
        ("made: a name of 10 MB", format!("name: {}\nquery: up", "n".repeat(10_000_000))),
        ("made: a long name", format!("name: {long}\nquery: up")),
        ("made: a long key", format!("name: cpu\nquery: up\n? {long}\n: 1")),
        ("made: a long word", format!("name: cpu\nquery: up\nmode: {long}")),
        ("made: a long schedule", format!("name: cpu\nquery: up\nanomaly_schedule: \"{}\"", "* ".repeat(200_000))),
        ("made: a long model", format!("name: cpu\nquery: up\nmodel: {{id: {long}}}")),
        ("made: deep flow nesting", format!("name: cpu\nquery: {}up{}", "[".repeat(2000), "]".repeat(2000))),
        ("made: deep block nesting", (0..200).fold(String::new(), |text, i| text + &" ".repeat(i) + "a:\n")),
        ("made: many documents", "---\nname: a\n".repeat(3000)),
        ("made: an escape sequence", "name: \"\\e[31mred\"\nquery: up".into()),
        ("made: a byte order mark", "\u{feff}name: cpu\nquery: up\nstep: 1".into()),
        ("made: Windows line ends", "name: cpu\r\nquery: up\r\nstep: 1\r\n".into()),
        ("made: JSON", r#"{"name": "cpu", "query": "up", "step": "1"}"#.into()),
    ]
}

#[test]
fn every_wrong_document_says_what_is_wrong() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut cases: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    cases.sort();
    cases.extend(made().into_iter().map(|(name, text)| (name.to_owned(), text)));
    assert!(cases.len() >= 40, "{}", cases.len());

    let mut messages = String::new();
    for (name, text) in &cases {
        let errors = match Pipeline::parse(text, name) {
            Ok(pipeline) => panic!("{name} was accepted as {pipeline:?}"),
            Err(errors) => errors,
        };
        assert!(!errors.errors().is_empty(), "{name}");
        for error in errors.errors() {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{name}: a control character in {message:?}");
            assert!(message.chars().count() < 700, "{name}: {} characters", message.chars().count());
            writeln!(messages, "{message}").unwrap();
        }
    }
    insta::assert_snapshot!(messages);
}
