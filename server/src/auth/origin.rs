//! Requests that a page of somebody else's has a browser send.
//!
//! A browser sends its cookie, and reaches this machine's own addresses, for any page that asks. Who comes with a key
//! or a token in a header is not concerned: no other page can know it.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};

use crate::api::problem::Problem;

/// Whether a request may come from a page, this service's own or one of `allowed`; those that change nothing may
/// always, since no other page can read what is answered.
///
/// # Errors
/// Another page has sent it.
pub fn check(method: &Method, uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin = text(ORIGIN.as_str());
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed == origin)) {
        return Ok(());
    }
    let is_same = match (origin, text("sec-fetch-site")) {
        (_, Some(site)) => matches!(site, "same-origin" | "none"),
        (Some(origin), None) => origin.split_once("://").is_some_and(|(_, host)| Some(host) == host_of(uri, headers)),
        // Every browser of today says one of them where a page sends something.
        (None, None) => true,
    };
    if is_same { Ok(()) } else { Err(refused("another site's page has sent this")) }
}

/// Whether a request to a service that is open to this machine alone names this machine: a name of anybody's can be
/// made to lead here, and then a page of theirs counts as ours.
///
/// # Errors
/// It names another host.
pub fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = host_of(uri, headers) else { return Ok(()) };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(refused("without credentials the service answers to localhost and to addresses, not to other names"))
}

fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let header = || headers.get(HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or_else(header)
}

fn refused(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn check(method: Method, given: &[(&'static str, &str)], expected: bool) {
        let allowed = ["https://team.example.org".to_owned()];
        let found = super::check(&method, &Uri::from_static("/x"), &headers(given), &allowed);
        assert_eq!(found.is_ok(), expected, "{method} {given:?}");
    }

    #[test]
    fn other_pages_change_nothing() {
        let host = ("host", "here:8490");
        check(Method::GET, &[host, ("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")], true);
        check(Method::POST, &[host], true);
        check(Method::POST, &[host, ("origin", "http://here:8490")], true);
        check(Method::POST, &[host, ("sec-fetch-site", "same-origin")], true);
        check(Method::POST, &[host, ("sec-fetch-site", "none")], true);
        check(Method::DELETE, &[host, ("origin", "https://team.example.org"), ("sec-fetch-site", "cross-site")], true);
        for bad in ["http://evil.example", "http://here", "http://here:8490.evil.example", "null", "here:8490", ""] {
            check(Method::POST, &[host, ("origin", bad)], false);
        }
        for bad in ["cross-site", "same-site", "", "é"] {
            check(Method::PUT, &[host, ("sec-fetch-site", bad)], false);
            check(Method::PUT, &[host, ("origin", "http://here:8490"), ("sec-fetch-site", bad)], false);
        }
    }

    #[test]
    fn names_that_lead_here_are_refused() {
        let check = |host: &str| check_host(&Uri::from_static("/"), &headers(&[("host", host)])).is_ok();
        for good in ["localhost", "LocalHost:8490", "127.0.0.1:8490", "127.0.0.1", "[::1]:8490", "[::1]"] {
            assert!(check(good), "{good}");
        }
        for bad in ["evil.example", "evil.example:8490", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
