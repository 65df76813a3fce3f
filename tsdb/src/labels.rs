//! The name of a series: its labels.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Why a set of labels can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A label without a name.
    #[error("a label has an empty name")]
    EmptyName,
    /// The same name twice.
    #[error("the label `{0}` is there twice")]
    Duplicate(String),
    /// Text that is not `name{label="value", …}`.
    #[error("`{text}` is no series name: {reason}")]
    Syntax {
        /// What was read.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The labels of one series, the metric's name among them: sorted by name, names unique and not empty, values
/// not empty. Cheap to clone, to compare and to hash.
#[derive(Clone)]
pub struct Labels(Arc<Set>);

struct Set {
    hash: u64,
    pairs: Box<[(Arc<str>, Arc<str>)]>,
}

impl Labels {
    /// Sorts and checks `pairs`. A label with an empty value is the same as none, as in Prometheus.
    ///
    /// # Errors
    /// An empty or a repeated name.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelError>
    where
        N: Into<Arc<str>>,
        V: Into<Arc<str>>,
    {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if pairs.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err(LabelError::EmptyName);
        }
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LabelError::Duplicate(twice[0].0.to_string()));
        }
        Ok(Self::sorted(pairs))
    }

    fn sorted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        let mut hasher = DefaultHasher::new();
        pairs.hash(&mut hasher);
        Self(Arc::new(Set { hash: hasher.finish(), pairs: pairs.into() }))
    }

    /// A series that is only a metric's name.
    pub fn metric(name: &str) -> Self {
        Self::sorted(if name.is_empty() { vec![] } else { vec![(METRIC_NAME.into(), name.into())] })
    }

    /// The value of the label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pairs = &self.0.pairs;
        pairs.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| &*pairs[at].1)
    }

    /// The metric's name; empty where the series has none, as the answer of a PromQL function has.
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The shared strings themselves, sorted by name: for building other labels without copying text.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0.pairs
    }

    /// How many labels there are, the metric's name included.
    pub fn len(&self) -> usize {
        self.0.pairs.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// The same labels with `name` set to `value`, or without `name` where `value` is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.0.pairs.to_vec();
        match (pairs.binary_search_by(|(n, _)| (**n).cmp(name)), value.is_empty()) {
            (Ok(at), true) => drop(pairs.remove(at)),
            (Ok(at), false) => pairs[at].1 = value.into(),
            (Err(at), false) if !name.is_empty() => pairs.insert(at, (name.into(), value.into())),
            (Err(_), _) => {}
        }
        Self::sorted(pairs)
    }

    /// A hash that is the same in every process.
    pub fn stable_hash(&self) -> u64 {
        self.0.hash
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.pairs == other.0.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.pairs.cmp(&other.0.pairs)
    }
}

impl fmt::Display for Labels {
    /// As PromQL writes it: `name{label="value"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() {
            return if self.name().is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        f.write_str("{")?;
        let mut comma = "";
        for (name, value) in rest {
            write!(f, "{comma}{name}={value:?}")?;
            comma = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Labels {
    type Err = LabelError;

    /// Reads `name`, `name{label="value"}` or `{label="value"}`, with Prometheus's escapes `\\`, `\"` and `\n`.
    fn from_str(text: &str) -> Result<Self, LabelError> {
        let wrong = |reason| LabelError::Syntax { text: text.to_string(), reason };
        let (name, rest) = text.trim().split_once('{').unwrap_or((text.trim(), "}"));
        let mut pairs = vec![(METRIC_NAME.to_string(), name.trim().to_string())];
        let mut rest = rest.trim_start();
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once('=').ok_or_else(|| wrong("`=` is missing after a label's name"))?;
            let value = value.trim_start().strip_prefix('"').ok_or_else(|| wrong("a value must be in quotes"))?;
            let (value, after) = unquote(value).ok_or_else(|| wrong("a quote is not closed"))?;
            pairs.push((label.trim().to_string(), value));
            let after = after.trim_start();
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            if rest == after && !rest.starts_with('}') {
                return Err(wrong("`,` or `}` is missing after a value"));
            }
        }
        if rest[1..].trim().is_empty() { Self::new(pairs) } else { Err(wrong("there is text after `}`")) }
    }
}

/// The text up to the closing quote, unescaped, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

/// Keeps one copy of each text, since the same few names and values come in every series.
#[derive(Default)]
pub struct Interner(HashSet<Arc<str>>);

impl Interner {
    /// The shared copy of `text`.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_values_are_none() {
        let labels = Labels::new([("z", "1"), ("__name__", "up"), ("a", "2"), ("gone", "")]).unwrap();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("__name__", "up"), ("a", "2"), ("z", "1")]);
        assert_eq!(labels.to_string(), r#"up{a="2", z="1"}"#);
    }

    #[test]
    fn bad_labels_are_refused() {
        assert_eq!(Labels::new([("a", "1"), ("a", "2")]), Err(LabelError::Duplicate("a".into())));
        assert_eq!(Labels::new([("", "1")]), Err(LabelError::EmptyName));
    }

    #[test]
    fn text_comes_back_as_it_was_written() {
        for text in ["up", r#"up{a="x"}"#, r#"{a="x, \"y\" \\ =", b="\n"}"#, "{}"] {
            let labels: Labels = text.parse().unwrap();
            assert_eq!(labels.to_string().parse::<Labels>().unwrap(), labels, "{text}");
        }
        for text in ["up{", "up{a}", "up{a=1}", r#"up{a="1"#, r#"up{a="1" b="2"}"#, "up{} x"] {
            assert!(text.parse::<Labels>().is_err(), "{text}");
        }
    }

    #[test]
    fn with_sets_replaces_and_removes() {
        let up = Labels::metric("up");
        let a = up.with("a", "1");
        assert_eq!(a.get("a"), Some("1"));
        assert_eq!(a.with("a", "2").get("a"), Some("2"));
        assert_eq!(a.with("a", ""), up);
    }
}
