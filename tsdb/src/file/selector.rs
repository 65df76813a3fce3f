//! Which series of a file a query asks for.

use regex::Regex;
use tsink::promql::ast::{Expr, LabelMatcher, MatchOp};

use crate::labels::{Labels, METRIC_NAME};
use crate::read::ReadFault;

/// A name and matchers, as in PromQL.
pub(super) struct Selector {
    name: Option<String>,
    matchers: Vec<Matcher>,
}

struct Matcher {
    label: String,
    test: Test,
    wanted: bool,
}

enum Test {
    Equal(String),
    Regex(Regex),
}

impl Selector {
    /// Reads `name{label="value"}`; empty text and `{}` are all series.
    pub(super) fn parse(text: &str) -> Result<Self, ReadFault> {
        let text = text.trim();
        let everything = text.is_empty() || text.starts_with('{');
        // PromQL refuses matchers alone that match everything, since a store may be large. A file is not.
        let named = if everything { format!("any{text}") } else { text.to_string() };
        let expr = tsink::promql::parse(&named).map_err(|error| bad_data(error.to_string()))?;
        let Expr::VectorSelector(selector) = expr else {
            return Err(bad_data("a file answers selectors such as `cpu{host=\"a\"}`, no functions".to_string()));
        };
        if selector.offset != 0 || selector.at.is_some() {
            return Err(bad_data("a file answers selectors without `offset` and `@`".to_string()));
        }
        let matchers = selector.matchers.into_iter().map(matcher).collect::<Result<_, _>>()?;
        Ok(Self { name: selector.metric_name.filter(|_| !everything), matchers })
    }

    /// Whether a series is asked for.
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        let named = self.name.as_deref().is_none_or(|name| labels.get(METRIC_NAME) == Some(name));
        named
            && self.matchers.iter().all(|matcher| {
                let value = labels.get(&matcher.label).unwrap_or("");
                let found = match &matcher.test {
                    Test::Equal(text) => text == value,
                    Test::Regex(regex) => regex.is_match(value),
                };
                found == matcher.wanted
            })
    }
}

fn matcher(matcher: LabelMatcher) -> Result<Matcher, ReadFault> {
    let test = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => Test::Equal(matcher.value),
        MatchOp::RegexMatch | MatchOp::RegexNoMatch => {
            Test::Regex(Regex::new(&format!("^(?s:{})$", matcher.value)).map_err(|error| bad_data(error.to_string()))?)
        }
    };
    let wanted = matches!(matcher.op, MatchOp::Equal | MatchOp::RegexMatch);
    Ok(Matcher { label: matcher.name, test, wanted })
}

fn bad_data(message: String) -> ReadFault {
    ReadFault::Query { kind: "bad_data".to_string(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_promql() {
        let labels: Labels = r#"cpu{host="web-1", zone="a"}"#.parse().unwrap();
        for (text, wanted) in [
            ("", true),
            ("{}", true),
            ("cpu", true),
            ("cpu{}", true),
            ("mem", false),
            (r#"{host="web-1"}"#, true),
            (r#"cpu{host!="web-1"}"#, false),
            (r#"{host=~"web"}"#, false),
            (r#"{host=~"web-.|db"}"#, true),
            (r#"cpu{zone!~"b|c", none=""}"#, true),
            (r#"{__name__=~"c.u"}"#, true),
            (r#"{none!=""}"#, false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), wanted, "{text}");
        }
    }

    #[test]
    fn other_queries_are_refused() {
        for text in ["rate(cpu[5m])", "cpu offset 5m", "cpu @ 5", "cpu{", r#"cpu{a=~"("}"#, "1", "cpu + 1", "cpu{a=b}"]
        {
            assert!(matches!(Selector::parse(text), Err(ReadFault::Query { .. })), "{text}");
        }
    }
}
