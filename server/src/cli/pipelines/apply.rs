//! `pipelines apply`: makes the pipelines of a service those of files.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::store::Document;
use reqwest::Method;
use serde_json::Value;

use super::super::client::ask;
use super::super::{CliError, Terminal};
use super::{Found, ServiceArgs, fetch, files, path_of};
use crate::config;
use crate::daemon::environment;
use crate::render::format::Ink;

/// Makes and changes the pipelines of a running service so that they are as files say.
///
/// All files are checked before anything is sent. `${NAME}` is replaced by the environment of this command.
#[derive(clap::Args, Debug)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// A file, a folder of files, or `-` for what comes in; more than once for several.
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Deletes the pipelines of the service that are in none of the files; those that it has from files of its own
    /// stay.
    #[arg(long)]
    prune: bool,
}

/// What is to be done with a pipeline.
#[derive(Debug, PartialEq)]
enum Change {
    Create(Document),
    /// Puts the document in the place of this version.
    Replace(Document, String),
    /// Nothing.
    Keep,
    /// Takes this version out.
    Delete(String),
}

pub(super) fn apply(args: &ApplyArgs, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let documents = documents(&args.files)?;
    let found = fetch(&args.service)?;
    let mut counts = [0; 4];
    for (name, change) in plan(documents, &found, args.prune) {
        if !args.dry_run {
            make(&args.service, &name, &change)?;
        }
        let (index, word, ink) = match &change {
            Change::Create(_) => (0, "created", Ink::Actual),
            Change::Replace(..) => (1, "changed", Ink::Expected),
            Change::Keep => (2, "unchanged", Ink::Faint),
            Change::Delete(_) => (3, "deleted", Ink::Alarm),
        };
        counts[index] += 1;
        let fields = fields(&change, found.iter().find(|one| one.name == name));
        writeln!(terminal.out, "{} {name}{fields}", terminal.paint.ink(ink, word))?;
    }
    let [created, changed, unchanged, deleted] = counts;
    let would = if args.dry_run { "nothing is done; it would be: " } else { "" };
    writeln!(terminal.out, "{would}{created} created, {changed} changed, {unchanged} unchanged, {deleted} deleted")?;
    Ok(ExitCode::SUCCESS)
}

/// The documents of all files with their names, where all of them are right.
fn documents(paths: &[PathBuf]) -> Result<Vec<(String, Document)>, CliError> {
    let mut documents: Vec<(String, Document)> = vec![];
    let mut faults = vec![];
    for path in paths {
        for (origin, text) in texts(path)? {
            let read = match config::resolved(&text, &origin, &environment) {
                Ok(read) => read,
                Err(error) => {
                    faults.push(error.to_string());
                    continue;
                }
            };
            for (document, checked) in read {
                match checked.map(|pipeline| pipeline.name) {
                    Ok(name) if documents.iter().any(|(other, _)| *other == name) => {
                        faults.push(format!("{origin}: pipeline `{name}` is there twice"));
                    }
                    Ok(name) => documents.push((name, document)),
                    Err(errors) => faults.extend(errors.errors().iter().map(ToString::to_string)),
                }
            }
        }
    }
    if faults.is_empty() { Ok(documents) } else { Err(CliError::Invalid(faults.join("\n"))) }
}

/// The texts at `path`, each with where it lies.
fn texts(path: &Path) -> Result<Vec<(String, String)>, CliError> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(vec![("-".into(), text)]);
    }
    let read = |path: PathBuf| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(source) => Err(CliError::File { path, source }),
    };
    let files = files(&[path.to_owned()])?;
    files.into_iter().filter(|file| !config::is_service(file)).map(read).collect()
}

/// What is to be done so that the service has `documents`, and with `prune` no others.
fn plan(documents: Vec<(String, Document)>, found: &[Found], prune: bool) -> Vec<(String, Change)> {
    let is_wanted = |one: &&Found| documents.iter().any(|(name, _)| *name == one.name);
    let over: Vec<(String, Change)> = found
        .iter()
        .filter(|one| prune && !one.is_read_only() && !is_wanted(one))
        .map(|one| (one.name.clone(), Change::Delete(one.version())))
        .collect();
    let change = |(name, document): (String, Document)| {
        let change = match found.iter().find(|one| one.name == name) {
            None => Change::Create(document),
            Some(one) if one.view["document"].as_object() == Some(&document) => Change::Keep,
            Some(one) => Change::Replace(document, one.version()),
        };
        (name, change)
    };
    documents.into_iter().map(change).chain(over).collect()
}

fn make(service: &ServiceArgs, name: &str, change: &Change) -> Result<(), CliError> {
    let path = path_of(name);
    let tag = |version: &str| format!("\"{version}\"");
    match change {
        Change::Create(document) => {
            let body = Value::Object(document.clone());
            ask(service, Method::PUT, &path, &[("if-none-match", "*")], Some(&body))?;
        }
        Change::Replace(document, version) => {
            let body = Value::Object(document.clone());
            ask(service, Method::PUT, &path, &[("if-match", &tag(version))], Some(&body))?;
        }
        Change::Delete(version) => {
            ask(service, Method::DELETE, &path, &[("if-match", &tag(version))], None)?;
        }
        Change::Keep => {}
    }
    Ok(())
}

/// Which fields a change is about.
fn fields(change: &Change, found: Option<&Found>) -> String {
    let (Change::Replace(document, _), Some(found)) = (change, found) else { return String::new() };
    let mut paths = vec![];
    differences("", &found.view["document"], &Value::Object(document.clone()), &mut paths);
    format!(": {}", paths.join(", "))
}

fn differences(path: &str, before: &Value, after: &Value, paths: &mut Vec<String>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        if before != after {
            paths.push(path.to_owned());
        }
        return;
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    for key in new.keys().chain(gone) {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        differences(&inner, &value(old), &value(new), paths);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(name: &str, document: &Value, is_read_only: bool) -> Found {
        let view = json!({"name": name, "document": document, "version": "v1", "read_only": is_read_only});
        Found { name: name.into(), view }
    }

    fn document(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_to_be_done_follows_from_what_is_there() {
        let there = [
            found("same", &json!({"name": "same", "query": "up", "model": {"id": "mad"}}), false),
            found("other", &json!({"name": "other", "query": "up", "anomaly": {"threshold": 3}, "step": "1m"}), false),
            found("extra", &json!({"name": "extra", "query": "up"}), false),
            found("file", &json!({"name": "file", "query": "up"}), true),
        ];
        let same = document(json!({"model": {"id": "mad"}, "query": "up", "name": "same"}));
        let other = document(json!({"name": "other", "query": "up", "anomaly": {"threshold": 2}, "mode": "x"}));
        let new = document(json!({"name": "new", "query": "up"}));
        let wanted =
            || vec![("same".into(), same.clone()), ("other".into(), other.clone()), ("new".into(), new.clone())];
        let expected = [
            ("same".into(), Change::Keep),
            ("other".into(), Change::Replace(other.clone(), "v1".into())),
            ("new".into(), Change::Create(new.clone())),
        ];
        assert_eq!(plan(wanted(), &there, false), expected);
        let pruned = plan(wanted(), &there, true);
        assert_eq!(pruned[..3], expected);
        assert_eq!(pruned[3..], [("extra".to_owned(), Change::Delete("v1".into()))]);
        let told = fields(&expected[1].1, Some(&there[1]));
        assert_eq!(told, ": anomaly.threshold, mode, step");
    }

    #[test]
    fn all_that_is_wrong_is_told_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "name: a\nquery: up\n---\nname: b\nquerry: up\n");
        write("c.yaml", "name: a\nquery: up\n");
        write("d.yaml", "name: d\nquery: up{x=\"${OPENANOMALY_NOBODY_SETS_THIS}\"}\n");
        let error = documents(&[folder.path().to_owned()]).unwrap_err().to_string();
        for part in ["a.yaml:5:1", "querry", "`a` is there twice", "OPENANOMALY_NOBODY_SETS_THIS"] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}
