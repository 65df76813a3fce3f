//! The two text formats that scrapers read, and which of them one asks for.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// The OpenMetrics text format.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The older text format of Prometheus, which everything reads.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `openmetrics`, or the same in the older format where the scraper doesn't ask for it.
pub fn answer(openmetrics: String, headers: &HeaderMap) -> Response {
    if accepts_openmetrics(headers) {
        ([(CONTENT_TYPE, OPENMETRICS)], openmetrics).into_response()
    } else {
        ([(CONTENT_TYPE, PROMETHEUS)], prometheus(&openmetrics)).into_response()
    }
}

/// Whether one of the media types that are accepted is OpenMetrics, and not refused by a weight of 0.
fn accepts_openmetrics(headers: &HeaderMap) -> bool {
    let accepts = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    };
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(accepts)
}

/// OpenMetrics in the older format: there, a metric is named as its samples are, and an info is a gauge.
pub fn prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 1024);
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|text| text.split_once(' ')) {
            let (end, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{end} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{end} {kind}\n"));
        } else if !line.starts_with("# ") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=1.0.0; q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("text/plain;q=0.5, Application/OpenMetrics-Text;version=1.0.0", true),
            ("application/openmetrics-text;q=0,text/plain", false),
            ("application/openmetrics-textual", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(accepts_openmetrics(&headers), expected, "{accept}");
        }
        assert!(!accepts_openmetrics(&HeaderMap::new()));
    }

    #[test]
    fn both_formats_say_the_same() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                           a_seconds_sum 1.0\n# HELP b Things.\n# TYPE b counter\nb_total{c=\"# x\"} 2\n\
                           # HELP build Version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_sum 1.0\n\
                        # HELP b_total Things.\n# TYPE b_total counter\nb_total{c=\"# x\"} 2\n\
                        # HELP build_info Version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(prometheus(openmetrics), expected);
    }
}
