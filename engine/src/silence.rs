//! Ranges of time in which series are neither scored nor learned from: silences, maintenance windows, what people have
//! said is no anomaly.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use regex::Regex;
use tsdb::{Labels, Timestamp};

/// Why a text is no matcher of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// It is not of the form that Prometheus has.
    #[error(
        "found `{text}`, in which {reason}; expected a label, one of = != =~ !~ and a value in quotes, such as zone=\"b\""
    )]
    Syntax {
        /// What was read.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The label can't be the name of one.
    #[error("found the label `{0}`; a label's name has letters, digits and _, and begins with no digit")]
    Label(String),
    /// The value of `=~` or `!~` is no regular expression.
    #[error("found the regular expression `{pattern}`: {reason}")]
    Pattern {
        /// What was read.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a matcher compares a label's value with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches a regular expression.
    Matches,
    /// `!~`: the whole value doesn't match it.
    MatchesNot,
}

impl Operator {
    /// Those of two characters stand first, since the others begin like them.
    const ALL: [(&'static str, Self); 4] =
        [("=~", Self::Matches), ("!~", Self::MatchesNot), ("!=", Self::NotEqual), ("=", Self::Equal)];

    fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, operator)| *operator == self).map_or("", |(text, _)| text)
    }
}

/// One condition on a label, as PromQL and Alertmanager have it. A label that a series doesn't have is empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    label: String,
    operator: Operator,
    value: String,
    pattern: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.operator, &self.value) == (&other.label, other.operator, &other.value)
    }
}

impl Matcher {
    /// The condition that `label` compares to `value` as `operator` says.
    ///
    /// # Errors
    /// The label can't be one, or the value is to be a regular expression and is none.
    pub fn new(label: &str, operator: Operator, value: &str) -> Result<Self, MatcherError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if label.is_empty() || label.starts_with(|c: char| c.is_ascii_digit()) || !label.chars().all(is_name) {
            return Err(MatcherError::Label(label.to_owned()));
        }
        let pattern = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Matches | Operator::MatchesNot => Some(whole(value)?),
        };
        Ok(Self { label: label.to_owned(), operator, value: value.to_owned(), pattern })
    }

    /// Whether `labels` fulfil it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let found = labels.get(&self.label).unwrap_or("");
        let same = self.pattern.as_ref().map_or(found == self.value, |pattern| pattern.is_match(found));
        same == matches!(self.operator, Operator::Equal | Operator::Matches)
    }
}

/// The pattern that matches whole values, as Prometheus reads it.
fn whole(value: &str) -> Result<Regex, MatcherError> {
    // The text alone first, so that it can't close the group that is put around it.
    let made = Regex::new(value).and_then(|_| Regex::new(&format!("^(?s:{value})$")));
    made.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        MatcherError::Pattern { pattern: value.to_owned(), reason }
    })
}

impl FromStr for Matcher {
    type Err = MatcherError;

    /// Reads `label="value"`, `label!="value"`, `label=~"pattern"` or `label!~"pattern"`; the quotes may be left out.
    fn from_str(text: &str) -> Result<Self, MatcherError> {
        let wrong = |reason| MatcherError::Syntax { text: text.to_owned(), reason };
        let at = text.find(['=', '!']).ok_or_else(|| wrong("there is no operator"))?;
        let (label, rest) = text.split_at(at);
        let known = Operator::ALL.iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, operator) = known.ok_or_else(|| wrong("`!` stands alone"))?;
        let value = unquoted(rest[sign.len()..].trim()).map_err(wrong)?;
        Self::new(label.trim(), *operator, &value)
    }
}

/// What stands between quotes, with Prometheus's escapes; text without quotes as it is.
fn unquoted(text: &str) -> Result<String, &'static str> {
    let Some(quoted) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next() {
            None => return Err("a quote is not closed"),
            Some('"') if chars.as_str().is_empty() => return Ok(value),
            Some('"') => return Err("there is text after the closing quote"),
            Some('\\') => match chars.next() {
                Some('n') => value.push('\n'),
                Some(other) => value.push(other),
                None => return Err("a quote is not closed"),
            },
            Some(other) => value.push(other),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.label, self.operator.text(), self.value)
    }
}

/// A range of time in which the series that fulfil all of `matchers` are neither scored nor learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
    /// What a series must fulfil; without any, all series do.
    pub matchers: Vec<Matcher>,
}

impl Silence {
    /// Whether it holds for the series `labels`, at whatever time.
    pub fn is_for(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

/// What is silenced of one series: ranges of time in their order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quiet(Vec<Range<Timestamp>>);

impl Quiet {
    /// The ranges of all that hold for `labels`.
    pub fn of<'a>(silences: impl IntoIterator<Item = &'a Silence>, labels: &Labels) -> Self {
        let own = silences.into_iter().filter(|silence| silence.is_for(labels));
        Self::new(own.map(|silence| silence.from..silence.until).collect())
    }

    /// The ranges, joined where they meet; empty ones are left out.
    pub fn new(mut ranges: Vec<Range<Timestamp>>) -> Self {
        ranges.retain(|range| range.start < range.end);
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<Timestamp>> = vec![];
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// Whether `time` lies in one of them.
    pub fn covers(&self, time: Timestamp) -> bool {
        let after = self.0.partition_point(|range| range.start <= time);
        after > 0 && time < self.0[after - 1].end
    }

    /// Whether nothing is silenced.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in the order of time.
    pub fn ranges(&self) -> &[Range<Timestamp>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matcher: &str, series: &str, expected: bool) {
        let read: Matcher = matcher.parse().unwrap();
        assert_eq!(read.matches(&series.parse().unwrap()), expected, "{matcher} on {series}");
        assert_eq!(read.to_string().parse::<Matcher>().unwrap(), read, "{matcher}");
    }

    #[test]
    fn matchers_are_those_of_prometheus() {
        for (matcher, series, expected) in [
            ("zone=\"b\"", "up{zone=\"b\"}", true),
            ("zone = b", "up{zone=\"b\"}", true),
            ("zone=\"b\"", "up{zone=\"bb\"}", false),
            ("zone=\"\"", "up", true),
            ("zone!=\"b\"", "up{zone=\"a\"}", true),
            ("zone!=\"b\"", "up", true),
            ("__name__=~\"u.\"", "up", true),
            ("zone=~\"b|c\"", "up{zone=\"bc\"}", false),
            ("zone=~\"a.c\"", "up{zone=\"a\\nc\"}", true),
            ("zone!~\"b.*\"", "up{zone=\"bc\"}", false),
            ("zone=\"say \\\"x\\\"\"", "up{zone=\"say \\\"x\\\"\"}", true),
        ] {
            check(matcher, series, expected);
        }
    }

    #[test]
    fn what_is_no_matcher_says_why() {
        for (text, expected) in [
            ("", "there is no operator"),
            ("zone", "there is no operator"),
            ("zone!b", "`!` stands alone"),
            ("zone=\"b", "a quote is not closed"),
            ("zone=\"b\\", "a quote is not closed"),
            ("zone=\"b\" and more", "there is text after the closing quote"),
            ("=\"b\"", "found the label ``"),
            ("1zone=\"b\"", "found the label `1zone`"),
            ("my zone=\"b\"", "found the label `my zone`"),
            ("zone=~\"(\"", "unclosed group"),
            ("zone=~\")|(\"", "unopened group"),
        ] {
            let error = text.parse::<Matcher>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn silence(from: i64, until: i64, matchers: &[&str]) -> Silence {
        let matchers = matchers.iter().map(|text| text.parse().unwrap()).collect();
        Silence { from: Timestamp::from_seconds(from), until: Timestamp::from_seconds(until), matchers }
    }

    #[test]
    fn a_series_is_quiet_in_the_ranges_whose_matchers_it_fulfils() {
        let silences = [
            silence(10, 20, &[]),
            silence(30, 30, &[]),
            silence(50, 40, &[]),
            silence(15, 25, &["zone=b"]),
            silence(60, 70, &["zone=b", "job=x"]),
        ];
        let covered = |series: &str| -> Vec<i64> {
            let quiet = Quiet::of(&silences, &series.parse().unwrap());
            (0..80).filter(|second| quiet.covers(Timestamp::from_seconds(*second))).collect()
        };
        assert_eq!(covered("up"), (10..20).collect::<Vec<_>>());
        assert_eq!(covered("up{zone=\"b\"}"), (10..25).collect::<Vec<_>>());
        assert_eq!(covered("up{zone=\"b\", job=\"x\"}"), (10..25).chain(60..70).collect::<Vec<_>>());
    }
}
