//! What a graph says of itself: which family it is of, what its quantiles are, how far it sees and how far it reaches.
//!
//! It stands in the file's own metadata, under keys that begin with `openanomaly.`, or in `manifest.json` beside the
//! file. For files that others have published, which say nothing, the rest is told from the names and shapes of what
//! goes in and out, as far as that goes.

use serde_json::{Map, Value};

use super::graph::Port;
use crate::forecast::Levels;

/// The contract that this program knows.
const CONTRACT: usize = 1;
/// What every key in a file's metadata begins with.
pub(crate) const PREFIX: &str = "openanomaly.";
/// The architecture that a graph holds, which says how it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The contract and nothing else: `context` in, `quantiles` out.
    Nano,
    /// Chronos-Bolt (Amazon).
    Bolt,
    /// Chronos-2 (Amazon).
    Chronos2,
    /// TimesFM 2.5 (Google).
    Timesfm,
    /// Toto 2.0 (Datadog).
    Toto,
}

/// Every family by the names under which files know it.
const FAMILIES: &[(&str, Family)] = &[
    ("nano", Family::Nano),
    ("bolt", Family::Bolt),
    ("chronos2", Family::Chronos2),
    ("timesfm25", Family::Timesfm),
    ("timesfm", Family::Timesfm),
    ("toto", Family::Toto),
    ("toto2", Family::Toto),
];

/// What is known of a graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    /// The architecture.
    pub(crate) family: Family,
    /// The levels of its quantiles, in the order of its output: at least one on either side of the median.
    pub(crate) quantiles: Levels,
    /// How many steps ahead one run reaches.
    pub(crate) horizon: usize,
    /// How many points a patch has: a context is padded to a multiple of it.
    pub(crate) patch: usize,
    /// The most points that it looks at.
    pub(crate) context_max: usize,
    /// The licence of the weights.
    pub(crate) license: Option<String>,
    /// Where the weights come from.
    pub(crate) source: Option<String>,
    /// In which numbers the weights are held, as `fp32`.
    pub(crate) precision: Option<String>,
    /// What nobody said and was assumed, a sentence each.
    pub(crate) assumed: Vec<String>,
}

impl Card {
    /// Reads the card from `facts`, which a file or the manifest beside it states, and completes it from what goes in
    /// and out of the graph.
    ///
    /// # Errors
    /// What is stated is not possible, or what is not stated can't be told.
    pub(crate) fn read(facts: Map<String, Value>, inputs: &[Port], outputs: &[Port]) -> Result<Self, String> {
        let facts = Facts(facts);
        if let Some(contract) = facts.number("contract")?.filter(|contract| *contract != CONTRACT) {
            return Err(format!("it keeps to contract {contract}, and this program knows {CONTRACT} only"));
        }
        let mut assumed = vec![];
        let family = facts.family()?.map_or_else(|| guessed_family(inputs, outputs, &mut assumed), Ok)?;
        let quantiles = facts.levels()?.map_or_else(|| guessed_levels(outputs, &mut assumed), Ok)?;
        let mut number = |key: &str, guess: usize| -> Result<usize, String> {
            Ok(facts.number(key)?.unwrap_or_else(|| {
                assumed.push(format!("{key} is not stated and taken to be {guess}"));
                guess
            }))
        };
        let horizon = number("horizon", guessed_horizon(outputs, quantiles.len()))?;
        let patch = number("patch", guessed_patch(family))?;
        let context_max = number("context_max", guessed_context(inputs))?;
        Ok(Self {
            family,
            quantiles,
            horizon,
            patch,
            context_max,
            license: facts.text("license"),
            source: facts.text("source"),
            precision: facts.text("precision"),
            assumed,
        })
    }
}

/// What is stated, by key: text in a file's metadata, any value in a manifest.
struct Facts(Map<String, Value>);

impl Facts {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).map(text_of).filter(|text| !text.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (1..=1 << 24).contains(number));
        number.map(Some).ok_or_else(|| format!("{key} is {text:?}, which is no number above 0"))
    }

    fn family(&self) -> Result<Option<Family>, String> {
        let Some(name) = self.text("family") else { return Ok(None) };
        let known = FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family);
        let names = || FAMILIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        known.map(Some).ok_or_else(|| format!("it is of the family {name:?}; known are {}", names()))
    }

    fn levels(&self) -> Result<Option<Levels>, String> {
        let Some(stated) = self.0.get("quantiles") else { return Ok(None) };
        let numbers: Option<Vec<f64>> = match stated {
            Value::Array(values) => values.iter().map(Value::as_f64).collect(),
            other => {
                text_of(other).trim_matches(['[', ']']).split(',').map(|level| level.trim().parse().ok()).collect()
            }
        };
        let wrong = |why: &str| format!("quantiles are {stated}: {why}");
        let numbers = numbers.ok_or_else(|| wrong("they must be numbers"))?;
        let levels = Levels::new(numbers.clone()).map_err(|error| wrong(&error.to_string()))?;
        // Their order is that of the output.
        if levels.as_slice() != numbers {
            return Err(wrong("they must rise"));
        }
        let sides = levels.as_slice().first() < Some(&0.5) && levels.as_slice().last() > Some(&0.5);
        if sides { Ok(Some(levels)) } else { Err(wrong("some must lie below the median, and some above it")) }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn has(ports: &[Port], name: &str) -> bool {
    ports.iter().any(|port| port.name == name)
}

fn guessed_family(inputs: &[Port], outputs: &[Port], assumed: &mut Vec<String>) -> Result<Family, String> {
    let (family, sign) = if has(inputs, "group_ids") {
        (Family::Chronos2, "it takes group_ids")
    } else if has(inputs, "series_ids") {
        (Family::Toto, "it takes series_ids")
    } else if has(outputs, "spread") {
        (Family::Timesfm, "it answers a spread")
    } else if inputs.len() == 1 && outputs.iter().any(|port| port.shape.contains(&Some(9))) {
        (Family::Bolt, "it takes a context and answers 9 quantiles")
    } else {
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "it does not say of which family it is, and that can't be told from its inputs ({}) and outputs ({})",
            names(inputs),
            names(outputs)
        ));
    };
    assumed.push(format!("family is not stated and taken to be {family:?}, as {sign}"));
    Ok(family)
}

/// By how many quantiles there are, the levels of the published models that have as many.
fn guessed_levels(outputs: &[Port], assumed: &mut Vec<String>) -> Result<Levels, String> {
    let count =
        |count: usize| outputs.iter().any(|port| port.shape.len() == 3 && port.shape[1..].contains(&Some(count)));
    let levels: Vec<f64> = if count(9) {
        (1..10).map(|tenth| f64::from(tenth) / 10.0).collect()
    } else if count(21) {
        let inner = (1..20).map(|twentieth| f64::from(twentieth) / 20.0);
        std::iter::once(0.01).chain(inner).chain(std::iter::once(0.99)).collect()
    } else {
        return Err("it does not say which quantiles it answers".to_owned());
    };
    assumed.push(format!("quantiles are not stated and taken to be {levels:?}"));
    Levels::new(levels).map_err(|error| error.to_string())
}

/// The dimension of the first output that is neither the batch nor the quantiles.
fn guessed_horizon(outputs: &[Port], levels: usize) -> usize {
    let shape = outputs.first().map(|port| port.shape.as_slice()).unwrap_or_default();
    shape.iter().skip(1).flatten().copied().find(|size| *size != levels).unwrap_or(64)
}

fn guessed_patch(family: Family) -> usize {
    match family {
        Family::Nano | Family::Bolt | Family::Chronos2 => 16,
        Family::Timesfm | Family::Toto => 32,
    }
}

fn guessed_context(inputs: &[Port]) -> usize {
    inputs.first().and_then(|port| port.shape.get(1).copied().flatten()).unwrap_or(2048)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::onnx::graph::Kind;

    fn port(name: &str, shape: &[usize]) -> Port {
        let shape = shape.iter().map(|size| Some(*size).filter(|size| *size > 0)).collect();
        Port { name: name.to_owned(), kind: Kind::F32, shape }
    }

    fn card(facts: Value, inputs: &[Port], outputs: &[Port]) -> Result<Card, String> {
        Card::read(facts.as_object().unwrap().clone(), inputs, outputs)
    }

    fn stated() -> Value {
        json!({"contract": "1", "family": "nano", "quantiles": "0.1,0.5,0.9", "horizon": "64", "patch": "16",
            "context_max": "2048", "license": "Apache-2.0"})
    }

    #[test]
    fn what_is_stated_holds() {
        let (inputs, outputs) = ([port("context", &[0, 0])], [port("quantiles", &[0, 3, 64])]);
        let card = card(stated(), &inputs, &outputs).unwrap();
        assert_eq!(card.family, Family::Nano);
        assert_eq!(card.quantiles.as_slice(), [0.1, 0.5, 0.9]);
        assert_eq!((card.horizon, card.patch, card.context_max), (64, 16, 2048));
        assert_eq!(card.license.as_deref(), Some("Apache-2.0"));
        assert!(card.assumed.is_empty());
    }

    #[test]
    fn a_manifest_may_state_it_as_numbers() {
        let facts = json!({"contract": 1, "family": "bolt", "quantiles": [0.1, 0.5, 0.9], "horizon": 64, "patch": 16,
            "context_max": 512});
        let card = card(facts, &[], &[]).unwrap();
        assert_eq!((card.quantiles.len(), card.context_max), (3, 512));
    }

    #[test]
    fn files_of_others_are_known_by_their_shapes() {
        for (inputs, output, family, levels, horizon, context) in [
            (vec![port("context", &[0, 2048]), port("group_ids", &[0])], [0, 64, 21], Family::Chronos2, 21, 64, 2048),
            (vec![port("context", &[1, 512])], [1, 9, 64], Family::Bolt, 9, 64, 512),
            (vec![port("x", &[0, 0]), port("series_ids", &[0])], [0, 9, 96], Family::Toto, 9, 96, 2048),
        ] {
            let card = card(json!({}), &inputs, &[port("out", &output)]).unwrap();
            assert_eq!((card.family, card.quantiles.len()), (family, levels));
            assert_eq!((card.horizon, card.context_max), (horizon, context));
            assert!(card.assumed.len() >= 4, "{:?}", card.assumed);
        }
    }

    #[test]
    fn what_is_impossible_is_named() {
        for (key, value, expected) in [
            ("contract", json!("2"), "contract 2"),
            ("family", json!("prophet"), "\"prophet\"; known are nano, bolt"),
            ("horizon", json!("-3"), "horizon is \"-3\""),
            ("patch", json!(0), "patch is \"0\""),
            ("context_max", json!("99999999999"), "context_max"),
            ("quantiles", json!("0.1,x"), "must be numbers"),
            ("quantiles", json!("0.9,0.1"), "must rise"),
            ("quantiles", json!([0.1, 1.5]), "between 0 and 1"),
            ("quantiles", json!([0.5]), "below the median"),
        ] {
            let mut facts = stated();
            facts[key] = value;
            let error = card(facts, &[], &[]).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
        let error = card(json!({}), &[port("a", &[0, 0])], &[port("b", &[0, 7])]).unwrap_err();
        assert!(error.contains("inputs (a) and outputs (b)"), "{error}");
    }
}
