//! `models inspect`

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use models::onnx::inspect::{Dimension, Inspection, Port};
use models::onnx::library::full_id;
use models::onnx::manifest::Manifest;
use serde_json::json;

use super::{CliError, ListForm, Shelf, Terminal, bytes, write_json};
use crate::render::format::{Ink, count, number};

/// Shows what is in a model: inputs, outputs, quantiles, horizon, licence, origin, operators and size.
///
/// Nothing is run. A file that is damaged, or may do more than compute, is refused.
#[derive(clap::Args, Debug)]
pub(super) struct InspectArgs {
    /// A model in the models folder, or an ONNX file.
    #[arg(value_name = "ID|FILE")]
    model: String,
    /// The form of the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: ListForm,
}

pub(super) fn inspect(args: &InspectArgs, shelf: &Shelf, terminal: &mut Terminal) -> Result<ExitCode, CliError> {
    let (file, manifest, found) = look(&args.model, shelf)?;
    match args.output {
        ListForm::Table => show(&file, &manifest, &found, terminal)?,
        ListForm::Json => {
            let json = json!({"id": manifest.id, "file": file, "manifest": manifest, "graph": found});
            write_json(&json, terminal)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What ends as ONNX files do, or is a file, is meant as one.
fn look(model: &str, shelf: &Shelf) -> Result<(PathBuf, Manifest, Inspection), CliError> {
    let path = Path::new(model);
    if path.is_file() || path.extension().is_some_and(|ending| ending == "onnx") {
        let (manifest, found) = shelf.library.look(path)?;
        return Ok((path.to_owned(), manifest, found));
    }
    let (installed, found) = shelf.library.open(full_id(model))?;
    Ok((installed.file(), installed.manifest, found))
}

fn show(file: &Path, manifest: &Manifest, found: &Inspection, terminal: &mut Terminal) -> Result<(), CliError> {
    let paint = terminal.paint;
    writeln!(terminal.out, "{}\n  {}", paint.ink(Ink::Strong, &manifest.id), file.display())?;
    for (name, value) in facts(manifest, found) {
        let value = value.unwrap_or_else(|| "not said".into());
        writeln!(terminal.out, "  {} {value}", paint.ink(Ink::Actual, format!("{name:<10}")))?;
    }
    Ok(())
}

fn facts(manifest: &Manifest, found: &Inspection) -> Vec<(&'static str, Option<String>)> {
    let weights: u64 = manifest.data.iter().map(|data| data.bytes).sum();
    let beside = if weights > 0 { format!(" and {} beside it", bytes(weights)) } else { String::new() };
    let size = format!("{}{beside}, {} numbers", bytes(found.bytes), number(found.parameters as f64));
    let precision = manifest.precision.as_ref().map(|precision| format!(" in {precision}")).unwrap_or_default();
    let revision = manifest.revision.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default();
    let patch = manifest.patch.map(|patch| format!(", in patches of {patch}")).unwrap_or_default();
    let points = |points: u64| count(usize::try_from(points).unwrap_or(usize::MAX), "point", "points");
    let sets = |(domain, version): &(String, i64)| {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain.as_str() };
        format!("{domain} {version}")
    };
    vec![
        ("family", manifest.family.as_ref().map(|family| format!("{family}{precision}"))),
        ("licence", manifest.license.clone()),
        ("source", manifest.source.as_ref().map(|source| format!("{source}{revision}"))),
        ("size", Some(size)),
        ("context", manifest.context_max.map(|most| format!("at most {}{patch}", points(most)))),
        ("horizon", manifest.horizon.map(|horizon| format!("{} a run", points(horizon)))),
        ("quantiles", (!manifest.quantiles.is_empty()).then(|| list(manifest.quantiles.iter()))),
        ("inputs", Some(list(found.inputs.iter().map(port)))),
        ("outputs", Some(list(found.outputs.iter().map(port)))),
        ("operators", Some(operators(found))),
        ("written by", Some(found.producer.clone()).filter(|producer| !producer.is_empty())),
        ("versions", Some(list(found.operator_sets.iter().map(sets)))),
        ("sha256", Some(manifest.sha256.clone())),
    ]
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// `context f32[batch, 512]`
fn port(port: &Port) -> String {
    let axis = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => size.to_string(),
        Dimension::Open(name) if name.is_empty() => "?".into(),
        Dimension::Open(name) => name.clone(),
    };
    format!("{} {}[{}]", port.name, port.element, list(port.shape.iter().map(axis)))
}

/// The commonest first.
fn operators(found: &Inspection) -> String {
    let mut kinds: Vec<_> = found.operators.iter().collect();
    kinds.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let mut text = found.nodes.to_string();
    for (place, (kind, times)) in kinds.iter().take(8).enumerate() {
        // Writing to a string can't fail.
        let _ = write!(text, "{} {times} {kind}", if place == 0 { ":" } else { "," });
    }
    if kinds.len() > 8 {
        text.push_str(", …");
    }
    text
}
