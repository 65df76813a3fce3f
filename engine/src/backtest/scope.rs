//! Which series something is said of.

use std::collections::BTreeMap;

use tsdb::Labels;
use tsdb::labels::METRIC_NAME;

/// Which series something is said of: those that have all labels of any of its sets; all of them where a set is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// What the series is called, or its metric.
    name: Option<String>,
    any_of: Vec<BTreeMap<String, String>>,
}

impl Scope {
    /// Series that have these labels.
    pub fn labels(labels: BTreeMap<String, String>) -> Self {
        Self::any_of(vec![labels])
    }

    /// Series that have all labels of any of these; none where there is no set.
    pub fn any_of(any_of: Vec<BTreeMap<String, String>>) -> Self {
        Self { name: None, any_of }
    }

    /// Reads `name{label="value"}`, or anything else as the name of a series or a metric; nothing is all series.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.parse::<Labels>() {
            Ok(labels) if text.contains('{') => Self::labels(labels_of(&labels)),
            _ => Self { name: Some(text.to_owned()).filter(|name| !name.is_empty()), any_of: vec![BTreeMap::new()] },
        }
    }

    /// Whether it says something of the series `name`, whose labels those are.
    pub fn holds(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let is_named =
            |wanted: &String| wanted == name || labels.get(METRIC_NAME).is_some_and(|metric| metric == wanted);
        let has_all =
            |own: &BTreeMap<String, String>| own.iter().all(|(label, value)| labels.get(label) == Some(value));
        self.name.as_ref().is_none_or(is_named) && self.any_of.iter().any(has_all)
    }
}

/// Labels as a map.
pub fn labels_of(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_name_or_some_labels() {
        let labels = labels_of(&r#"cpu{host="a",zone="b"}"#.parse().unwrap());
        for (text, expected) in [
            ("", true),
            ("web-1", true),
            ("cpu", true),
            (r#"cpu{host="a"}"#, true),
            (r#"{zone="b",host="a"}"#, true),
            ("web-2", false),
            (r#"cpu{host="b"}"#, false),
            (r#"mem{host="a"}"#, false),
            (r#"{pod="a"}"#, false),
        ] {
            assert_eq!(Scope::parse(text).holds("web-1", &labels), expected, "{text}");
        }
        for (sets, expected) in [(&[][..], false), (&["{host=\"b\"}"], false), (&["{host=\"b\"}", "cpu"], true)] {
            let sets = sets.iter().map(|text| labels_of(&text.parse().unwrap())).collect();
            assert_eq!(Scope::any_of(sets).holds("web-1", &labels), expected);
        }
    }
}
