use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;

/// A key that protects nothing, made by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
const RSA: &[u8] = include_bytes!("rsa.pem");

/// A provider on loopback: what it publishes can change, and it counts how often it was asked.
struct Server {
    oidc: Oidc,
    published: Arc<std::sync::Mutex<Value>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(published: Value) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (published, asked) = (Arc::new(std::sync::Mutex::new(published)), Arc::new(AtomicUsize::new(0)));
        let state = (published.clone(), asked.clone());
        let answer = move || async move {
            state.1.fetch_add(1, Ordering::Relaxed);
            axum::Json(state.0.lock().unwrap().clone())
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_url = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", get(answer))).await });
        let oidc = Oidc {
            jwks_url,
            issuer: "https://id.example.org".into(),
            audience: "openanomaly".into(),
            role_claim: "roles".into(),
            roles: BTreeMap::new(),
        };
        Self { oidc, published, asked }
    }
}

/// A key pair, by its name: what is published of it, and what signs.
struct Pair {
    name: &'static str,
    algorithm: Algorithm,
    signing: EncodingKey,
}

impl Pair {
    fn rsa() -> Self {
        Self { name: "rsa", algorithm: Algorithm::RS256, signing: EncodingKey::from_rsa_pem(RSA).unwrap() }
    }

    fn ec(name: &'static str) -> Self {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        Self { name, algorithm: Algorithm::ES256, signing: EncodingKey::from_ec_pem(pem.as_bytes()).unwrap() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.name.into());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(jwk).unwrap()
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.name.into()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// Good claims, with these changed; null takes one out.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.example.org", "aud": "openanomaly", "sub": "ana", "exp": now() + 600, "roles": ["editor"],
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

async fn role_of(server: &Server, token: &str) -> Result<Role, TokenError> {
    Provider::default().find(&server.oidc, token).await.map(|known| known.caller.role)
}

#[tokio::test]
async fn tokens_of_both_kinds_are_accepted() {
    let (rsa, ec) = (Pair::rsa(), Pair::ec("ec"));
    let server = Server::start(json!({ "keys": [{ "kty": "strange" }, rsa.jwk(), ec.jwk()] })).await;
    let provider = Provider::default();
    for pair in [&rsa, &ec] {
        let known = provider.find(&server.oidc, &pair.token(&claims(json!({})))).await.unwrap();
        assert_eq!(known.caller, Caller { name: "oidc:ana".into(), role: Role::Editor });
    }
    let aud = claims(json!({ "aud": ["other", "openanomaly"], "nbf": now() - 5 }));
    assert!(provider.find(&server.oidc, &ec.token(&aud)).await.is_ok());
    assert_eq!(server.asked.load(Ordering::Relaxed), 1, "its keys are kept");
}

#[tokio::test]
async fn tokens_that_are_wrong_are_refused() {
    let (rsa, ec, stranger) = (Pair::rsa(), Pair::ec("ec"), Pair::ec("ec"));
    let server = Server::start(json!({ "keys": [rsa.jwk(), ec.jwk()] })).await;
    for changes in [
        json!({ "exp": now() - 60 }),
        json!({ "exp": null }),
        json!({ "exp": "soon" }),
        json!({ "nbf": now() + 600 }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://id.example.org", "https://evil.example"] }),
        json!({ "aud": "another service" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "sub": null }),
    ] {
        for pair in [&rsa, &ec] {
            let found = role_of(&server, &pair.token(&claims(changes.clone()))).await;
            assert!(matches!(found, Err(TokenError::Refused(_))), "{changes}: {found:?}");
        }
    }
    let good = ec.token(&claims(json!({})));
    let (head, rest) = good.split_once('.').unwrap();
    let (body, sign) = rest.split_once('.').unwrap();
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let unknown = Pair { name: "unknown", ..Pair::ec("x") };
    // The public key is no secret: whoever has it must not be able to sign with it.
    let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let confused = |secret: &[u8]| {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims(json!({})), &EncodingKey::from_secret(secret)).unwrap()
    };
    let crossed = {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims(json!({})), &ec.signing).unwrap()
    };
    for wrong in [
        String::new(),
        "a.b.c".into(),
        "é.é.é".into(),
        good.replace('.', ""),
        format!("{unsigned}.{body}."),
        format!("{unsigned}.{body}.{sign}"),
        format!("{head}.{body}."),
        format!("{head}.{body}.{}", sign.chars().rev().collect::<String>()),
        stranger.token(&claims(json!({}))),
        unknown.token(&claims(json!({}))),
        confused(public.as_bytes()),
        confused(RSA),
        confused(b""),
        crossed,
    ] {
        let found = role_of(&server, &wrong).await;
        assert!(matches!(found, Err(TokenError::Refused(_))), "{wrong}: {found:?}");
    }
    assert_eq!(role_of(&server, &good).await, Ok(Role::Editor));
}

#[tokio::test]
async fn a_key_must_be_one_for_signing_with_its_algorithm() {
    let ec = Pair::ec("ec");
    for (field, value) in [("use", json!("enc")), ("alg", json!("ES384")), ("crv", json!("P-384")), ("kid", json!("x"))]
    {
        let mut jwk = ec.jwk();
        jwk[field] = value;
        let server = Server::start(json!({ "keys": [jwk] })).await;
        assert!(role_of(&server, &ec.token(&claims(json!({})))).await.is_err(), "{field}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_s_name_is_for_the_only_one_there_is() {
    let (ec, other) = (Pair::ec("ec"), Pair::ec("other"));
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims(json!({})), &ec.signing).unwrap();
    let server = Server::start(json!({ "keys": [ec.jwk(), Pair::rsa().jwk()] })).await;
    assert!(role_of(&server, &token).await.is_ok());
    let server = Server::start(json!({ "keys": [ec.jwk(), other.jwk()] })).await;
    assert!(role_of(&server, &token).await.is_err());
}

#[tokio::test]
async fn unknown_keys_make_nobody_ask_the_provider_again_and_again() {
    let (old, new) = (Pair::ec("old"), Pair::ec("new"));
    let server = Server::start(json!({ "keys": [old.jwk()] })).await;
    let provider = Provider::default();
    let fresh = new.token(&claims(json!({})));
    assert!(provider.find(&server.oidc, &old.token(&claims(json!({})))).await.is_ok());
    *server.published.lock().unwrap() = json!({ "keys": [old.jwk(), new.jwk()] });
    for _ in 0..20 {
        assert!(provider.find(&server.oidc, &fresh).await.is_err());
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
    // As if that had been a while ago.
    let long_ago = Instant::now().checked_sub(LEAST_WAIT + Duration::from_secs(1)).unwrap();
    provider.keys.lock().await.as_mut().unwrap().asked = long_ago;
    assert!(provider.find(&server.oidc, &fresh).await.is_ok());
    assert_eq!(server.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_provider_that_fails_leaves_what_is_known() {
    let ec = Pair::ec("ec");
    let server = Server::start(json!({ "keys": [ec.jwk()] })).await;
    let provider = Provider::default();
    let token = ec.token(&claims(json!({})));
    assert!(provider.find(&server.oidc, &token).await.is_ok());
    *server.published.lock().unwrap() = json!("out of order");
    let long_ago = Instant::now().checked_sub(FRESH + Duration::from_secs(1)).unwrap();
    provider.keys.lock().await.as_mut().unwrap().asked = long_ago;
    assert!(provider.find(&server.oidc, &token).await.is_ok());
    let nobody = Oidc { jwks_url: "http://127.0.0.1:1/".into(), ..server.oidc.clone() };
    assert!(Provider::default().find(&nobody, &token).await.is_err());
}

#[test]
fn a_role_is_found_where_the_provider_puts_it() {
    let oidc = |role_claim: &str, roles: &[(&str, Role)]| Oidc {
        jwks_url: String::new(),
        issuer: String::new(),
        audience: String::new(),
        role_claim: role_claim.into(),
        roles: roles.iter().map(|(name, role)| (name.to_string(), *role)).collect(),
    };
    let check = |claim: &str, roles: &[(&str, Role)], claims: Value, expected: Option<Role>| {
        assert_eq!(role(&oidc(claim, roles), &claims), expected, "{claim} {claims}");
    };
    let groups = [("sre", Role::Admin), ("dev", Role::Viewer)];
    check("roles", &[], json!({ "roles": "viewer" }), Some(Role::Viewer));
    check("roles", &[], json!({ "roles": ["x", "viewer", "admin", 7] }), Some(Role::Admin));
    check("realm_access.roles", &[], json!({ "realm_access": { "roles": ["editor"] } }), Some(Role::Editor));
    check("https://x.org/roles", &[], json!({ "https://x.org/roles": ["editor"] }), Some(Role::Editor));
    check("groups", &groups, json!({ "groups": ["dev", "sre"] }), Some(Role::Admin));
    check("groups", &groups, json!({ "groups": ["admin"] }), None);
    check("roles", &[], json!({ "roles": ["Admin", "king"] }), None);
    check("roles", &[], json!({ "roles": { "admin": true } }), None);
    check("a.b.c", &[], json!({ "a": { "b": "admin" } }), None);
    check("roles", &[], json!({}), None);
}
