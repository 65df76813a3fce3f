//! Every wrong document gives an error that tells a stranger what to do. The messages are reviewed as one snapshot.

use std::fmt::Write;
use std::path::Path;

use engine::{Pipeline, Schedule};

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
        ("made: a URL with a password", "name: cpu\nquery: up\nprometheus_url: \"me:secret@host\"".into()),
        ("made: JSON", r#"{"name": "cpu", "query": "up", "step": "1"}"#.into()),
    ]
}

/// What may be wrong with how points are scored.
fn anomalies() -> Vec<(&'static str, String)> {
    let cases = [
        "technique: z_score, calibration: conformal",
        "calibration: true",
        "calibration: conformed",
        "mask_limit: 31m",
        "mask_limit: 30s",
        "mask_limit: 10m, mask_anomalies: false",
        "mask_anomalies: 1d",
        "for: 10",
        "alert_budget: 2",
        "alert_budget: '2'",
        "alert_budget: 0/week",
        "alert_budget: 2/fortnight",
        "alert_budget: 2/5m",
        "alert_budget: 2/week per pod",
    ];
    cases.map(|case| (case, format!("name: cpu\nquery: up\nanomaly: {{{case}}}"))).into()
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
    cases.extend(made().into_iter().chain(anomalies()).map(|(name, text)| (name.to_owned(), text)));
    assert!(cases.len() >= 40, "{}", cases.len());

    let mut messages = String::new();
    for (name, text) in &cases {
        let errors = match Pipeline::parse(text, name) {
            Ok(_) => panic!("{name} was accepted"),
            Err(errors) => errors,
        };
        assert!(!errors.errors().is_empty(), "{name}");
        for error in errors.errors() {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{name}: a control character in {message:?}");
            assert!(message.chars().count() < 700, "{name}: {} characters", message.chars().count());
            // The list of models grows; what is said about the wrong one does not.
            let message = message.split("; known are").next().unwrap_or(&message);
            writeln!(messages, "{message}").unwrap();
        }
    }
    insta::assert_snapshot!(messages);
}

/// The same numbers on every run (Knuth's MMIX generator).
fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

#[test]
fn no_change_of_a_good_document_panics() {
    let good = include_str!("../../config/pipelines/http-requests.yaml");
    let pieces = [
        "\n",
        "\t",
        ": ",
        "- ",
        "*",
        "&a ",
        "[",
        "}",
        "\"",
        "'",
        "|",
        "#",
        "!",
        "0",
        "-1",
        "1e999",
        "é",
        "\u{1F600}",
        "---\n",
        "<<: ",
    ];
    let mut seed = 1;
    for _ in 0..150 {
        let mut text: Vec<char> = good.chars().collect();
        for _ in 0..=random(&mut seed, 4) {
            let (at, length) = (random(&mut seed, text.len()), random(&mut seed, 12));
            let piece = pieces[random(&mut seed, pieces.len())];
            text.splice(at..(at + length).min(text.len()), piece.chars());
        }
        let text: String = text.into_iter().collect();
        for errors in Pipeline::parse_all(&text, "changed").into_iter().filter_map(Result::err) {
            assert!(!errors.errors().is_empty() && !errors.to_string().is_empty(), "{text}");
        }
    }
}

#[test]
fn no_pattern_panics() {
    let pieces = [
        "*",
        "0",
        "7",
        "59",
        "99999999999",
        "/",
        "-",
        ",",
        "L",
        "W",
        "#",
        "?",
        "+",
        "@",
        " ",
        " ",
        " ",
        "MON",
        "é",
        "m",
    ];
    let mut seed = 2;
    for _ in 0..2000 {
        let text: String = (0..random(&mut seed, 16)).map(|_| pieces[random(&mut seed, pieces.len())]).collect();
        if let Ok(schedule) = Schedule::parse(&text, &jiff::tz::TimeZone::UTC) {
            let now = tsdb::Timestamp::from_seconds(1_800_000_000);
            assert!(schedule.last_until(now) <= now && schedule.next_after(now) > now, "{text}");
        }
    }
}
