//! The selectors of a query.

use std::collections::HashMap;

use tsink::promql::ast::{Expr, LabelMatcher, MatchOp, UnaryOp, VectorSelector};
use tsink::{SeriesMatcher, SeriesSelection};

/// What a selector asks for.
pub(super) fn selection(selector: &VectorSelector) -> SeriesSelection {
    let matchers = selector.matchers.iter().map(matcher).collect();
    let selection = SeriesSelection::new().with_matchers(matchers);
    match &selector.metric_name {
        Some(name) => selection.with_metric(name),
        None => selection,
    }
}

fn matcher(matcher: &LabelMatcher) -> SeriesMatcher {
    let (name, value) = (matcher.name.as_str(), matcher.value.as_str());
    match matcher.op {
        MatchOp::Equal => SeriesMatcher::equal(name, value),
        MatchOp::NotEqual => SeriesMatcher::not_equal(name, value),
        MatchOp::RegexMatch => SeriesMatcher::regex_match(name, value),
        MatchOp::RegexNoMatch => SeriesMatcher::regex_no_match(name, value),
    }
}

/// By metric, what the selectors of a query ask for. A selector without a metric's name may want any metric: then
/// there is nothing here.
pub(super) fn wanted(expr: &Expr) -> HashMap<String, Vec<SeriesSelection>> {
    let mut selectors = vec![];
    walk(expr, &mut selectors);
    let mut wanted: HashMap<String, Vec<SeriesSelection>> = HashMap::new();
    for selector in selectors {
        let Some(name) = selector.metric_name.clone() else { return HashMap::new() };
        let (known, new) = (wanted.entry(name).or_default(), selection(selector));
        if !known.contains(&new) {
            known.push(new);
        }
    }
    wanted
}

/// The query without the matchers of those metrics that are asked for in one way only: the view answers them with
/// nothing else, and tsink would compile each regular expression again for every series at every step.
pub(super) fn simplify(query: &str, wanted: &HashMap<String, Vec<SeriesSelection>>) -> String {
    let mut out = String::with_capacity(query.len());
    let (mut quoted, mut dropping) = (false, false);
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        let kept = !dropping;
        match c {
            '#' if !quoted => return query.to_string(),
            '"' => quoted = !quoted,
            '{' if !quoted => dropping = wanted.get(last_word(&out)).is_some_and(|ways| ways.len() == 1),
            '}' if !quoted => dropping = false,
            '\\' if quoted => {
                out.extend(kept.then_some(c));
                out.extend(chars.next().filter(|_| kept));
                continue;
            }
            _ => {}
        }
        out.extend((kept && !dropping).then_some(c));
    }
    out
}

fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    &text[text.trim_end_matches(part_of_name).len()..]
}

/// The first regular expression of the query that is none, and why.
pub(super) fn bad_regex(expr: &Expr) -> Option<String> {
    let mut selectors = vec![];
    walk(expr, &mut selectors);
    let matchers = selectors.into_iter().flat_map(|selector| &selector.matchers);
    let regexes = matchers.filter(|matcher| matches!(matcher.op, MatchOp::RegexMatch | MatchOp::RegexNoMatch));
    regexes.filter_map(|matcher| regex::Regex::new(&matcher.value).err()).map(|error| error.to_string()).next()
}

fn walk<'a>(expr: &'a Expr, out: &mut Vec<&'a VectorSelector>) {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::VectorSelector(selector) => out.push(selector),
        Expr::MatrixSelector(matrix) => out.push(&matrix.vector),
        Expr::Subquery(subquery) => walk(&subquery.expr, out),
        Expr::Unary(unary) => walk(&unary.expr, out),
        Expr::Paren(inner) => walk(inner, out),
        Expr::Binary(binary) => [&binary.lhs, &binary.rhs].into_iter().for_each(|side| walk(side, out)),
        Expr::Aggregation(sum) => sum.param.iter().chain([&sum.expr]).for_each(|part| walk(part, out)),
        Expr::Call(call) => call.args.iter().for_each(|part| walk(part, out)),
    }
}

/// Whether the expression looks at the ends of the whole query, by `@ start()` or `@ end()`.
pub(super) fn looks_at_ends(expr: &Expr) -> bool {
    use tsink::promql::ast::AtModifier::{End, Start};
    let bound = |at: &Option<_>| matches!(at, Some(Start | End));
    let mut selectors = vec![];
    walk(expr, &mut selectors);
    selectors.iter().any(|selector| bound(&selector.at)) || has_subquery_at(expr)
}

/// Whether there is a subquery with an `@`.
fn has_subquery_at(expr: &Expr) -> bool {
    match expr {
        Expr::Subquery(subquery) => subquery.at.is_some() || has_subquery_at(&subquery.expr),
        Expr::Unary(unary) => has_subquery_at(&unary.expr),
        Expr::Paren(inner) => has_subquery_at(inner),
        Expr::Binary(binary) => has_subquery_at(&binary.lhs) || has_subquery_at(&binary.rhs),
        Expr::Aggregation(sum) => sum.param.iter().chain([&sum.expr]).any(|part| has_subquery_at(part)),
        Expr::Call(call) => call.args.iter().any(has_subquery_at),
        _ => false,
    }
}

/// Whether the answer is without the metric's name, by Prometheus's rules: tsink leaves it where the outermost
/// operation is a sign or a function over a subquery.
pub(super) fn drops_name(expr: &Expr) -> bool {
    const KEEPING: [&str; 8] = [
        "last_over_time",
        "sort",
        "sort_desc",
        "sort_by_label",
        "sort_by_label_desc",
        "label_replace",
        "label_join",
        "info",
    ];
    match expr {
        Expr::Paren(inner) => drops_name(inner),
        Expr::Unary(unary) => unary.op == UnaryOp::Neg || drops_name(&unary.expr),
        Expr::Call(call) => !KEEPING.contains(&call.func.as_str()),
        _ => false,
    }
}

/// Whether a query answers one number without labels at every time, by Prometheus's rules; not where it is no query.
pub fn is_scalar(query: &str) -> bool {
    fn scalar(expr: &Expr) -> bool {
        match expr {
            Expr::NumberLiteral(_) => true,
            Expr::Paren(inner) => scalar(inner),
            Expr::Unary(unary) => scalar(&unary.expr),
            Expr::Binary(binary) => scalar(&binary.lhs) && scalar(&binary.rhs),
            Expr::Call(call) => ["scalar", "time", "pi"].contains(&call.func.as_str()),
            _ => false,
        }
    }
    tsink::promql::parse(query).is_ok_and(|expr| scalar(&expr))
}

/// Whether a query is a selector and nothing else: no offset, no time of its own, no parentheses.
pub fn is_selector(query: &str) -> bool {
    tsink::promql::parse(query).is_ok_and(|expr| bare(&expr).is_some())
}

/// The selector, where the query is one and nothing else.
pub(super) fn bare(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) if selector.at.is_none() && selector.offset == 0 => Some(selector),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_told_from_other_queries() {
        for (query, expected) in [
            ("up", true),
            ("up{a=\"b\",c!~\"d|[e]\"}", true),
            ("{__name__=~\"a|b\"}", true),
            (" job:up:sum ", true),
            ("(up)", false),
            ("-up", false),
            ("up offset 5m", false),
            ("up @ 3", false),
            ("up[5m]", false),
            ("rate(up[5m])", false),
            ("sum(up)", false),
            ("up + 1", false),
            ("up == 1", false),
            ("up{a=\"b\" or c=\"d\"}", false),
            ("WITH (a = up) a", false),
            ("1", false),
            ("up{", false),
            ("", false),
        ] {
            assert_eq!(is_selector(query), expected, "{query}");
        }
    }

    #[test]
    fn numbers_are_told_from_series() {
        for (query, expected) in [
            ("1", true),
            ("(1 + 1) * -2", true),
            ("scalar(up) + time()", true),
            ("up", false),
            ("up + 1", false),
            ("vector(1)", false),
            ("up{", false),
        ] {
            assert_eq!(is_scalar(query), expected, "{query}");
        }
    }

    #[test]
    fn matchers_are_dropped_where_the_view_stands_for_them() {
        for (query, wanted_query) in [
            (r#"sum(cpu{a=~"x}"})"#, "sum(cpu)"),
            (r#"cpu {a="\"}"} + mem{b="}",c="{"}[5m]"#, "cpu  + mem[5m]"),
            (r#"cpu{a="1"} / cpu{a="1"}"#, "cpu / cpu"),
            (r#"cpu{a="1"} / cpu{a="2"}"#, r#"cpu{a="1"} / cpu{a="2"}"#),
            (r#"cpu{a="1"} / cpu"#, r#"cpu{a="1"} / cpu"#),
            (r#"cpu{a="1"} and {b="2"}"#, r#"cpu{a="1"} and {b="2"}"#),
            (
                r#"label_replace(cpu{a="1"}, "b", "{$1}", "a", "(.*)")"#,
                r#"label_replace(cpu, "b", "{$1}", "a", "(.*)")"#,
            ),
            ("1", "1"),
        ] {
            let wanted = wanted(&tsink::promql::parse(query).unwrap());
            assert_eq!(simplify(query, &wanted), wanted_query, "{query}");
        }
        let comment = "cpu{a=\"1\"} # {";
        assert_eq!(simplify(comment, &HashMap::from([("cpu".to_string(), vec![SeriesSelection::new()])])), comment);
    }
}
