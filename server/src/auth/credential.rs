//! What a request says of who sends it.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys;

/// The cookie that the page is given at a login.
pub const COOKIE_NAME: &str = "openanomaly_session";

/// Who a request claims to be from.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A key: of the service's own, or the admin's.
    Key(String),
    /// A token, of the service's own or of the OpenID provider. What is neither may still be the admin's key.
    Token(String),
    /// The page's token, which a browser sends whether the page asks for it or not.
    Cookie(String),
    /// Something that can be none of these.
    Unusable,
}

/// The credential of a request, the one in `Authorization` before that in `X-API-Key`, and a cookie last.
pub fn of(headers: &HeaderMap) -> Option<Credential> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        return Some(value.to_str().ok().and_then(authorization).unwrap_or(Credential::Unusable));
    }
    if let Some(value) = headers.get("x-api-key") {
        return Some(value.to_str().map_or(Credential::Unusable, |key| Credential::Key(key.trim().to_owned())));
    }
    cookie(headers).map(Credential::Cookie)
}

fn authorization(value: &str) -> Option<Credential> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let is_key = rest.starts_with(keys::PREFIX);
        return Some(if is_key { Credential::Key(rest.to_owned()) } else { Credential::Token(rest.to_owned()) });
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        return pair.split_once(':').map(|(_, password)| Credential::Key(password.to_owned()));
    }
    None
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value.to_owned())
}

/// The header that gives a browser its cookie; an empty token takes it away.
pub fn set_cookie(token: &str, seconds: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: Option<Credential>) {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        assert!(of(&HeaderMap::from_iter(pairs)) == expected, "{headers:?}");
    }

    #[test]
    fn each_way_to_say_it() {
        let (key, token) =
            (|text: &str| Some(Credential::Key(text.into())), |text: &str| Some(Credential::Token(text.into())));
        check(&[], None);
        check(&[("authorization", "Bearer oa_1_2")], key("oa_1_2"));
        check(&[("authorization", "bearer  a.b.c ")], token("a.b.c"));
        check(&[("authorization", &format!("Basic {}", STANDARD.encode("grafana:oa_1_2")))], key("oa_1_2"));
        check(&[("authorization", &format!("Basic {}", STANDARD.encode(":a:b")))], key("a:b"));
        check(&[("x-api-key", "oa_1_2")], key("oa_1_2"));
        let cookie = Some(Credential::Cookie("a.b.c".into()));
        check(&[("cookie", "x=1; openanomaly_session=a.b.c; y=2")], cookie);
        check(&[("cookie", "x=openanomaly_session")], None);
        check(&[("authorization", "Bearer a"), ("x-api-key", "b"), ("cookie", "openanomaly_session=c")], token("a"));
        for wrong in ["", "Bearer", "Basic !", "Basic YQ==", "Digest a=b", "oa_1_2"] {
            check(&[("authorization", wrong), ("cookie", "openanomaly_session=c")], Some(Credential::Unusable));
        }
    }
}
