//! Logins by an OpenID Connect provider: its tokens are checked with the public keys that it publishes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Caller, Known};
use crate::config::service::{Oidc, Role};

/// How long the provider's keys are taken as they were read.
const FRESH: Duration = Duration::from_secs(600);

/// How often they are read at most, whoever comes with whatever key's name.
const LEAST_WAIT: Duration = Duration::from_secs(10);

/// How long the provider may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long its answer may be.
const MOST_BYTES: usize = 1 << 20;

/// By how much clocks may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// It is not right, and why, for people.
    #[error("the token is not accepted: {0}")]
    Refused(String),
    /// It is right, but its holder has no role here.
    #[error("the token's claim `{claim}` names no role of this service")]
    NoRole {
        /// Where the role should be.
        claim: String,
    },
}

fn refused(why: impl ToString) -> TokenError {
    TokenError::Refused(why.to_string())
}

/// The keys of the provider.
#[derive(Default)]
pub struct Provider {
    keys: Mutex<Option<Published>>,
}

/// What the provider answered.
struct Published {
    url: String,
    asked: Instant,
    keys: Vec<Jwk>,
}

impl Provider {
    /// Whose token it is.
    ///
    /// # Errors
    /// It is not right, or names no role.
    pub async fn find(&self, oidc: &Oidc, token: &str) -> Result<Known, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(refused)?;
        // Never by the token's own word alone: what it says must be one of these, and must fit the key.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(refused(format!("it is signed with {:?}, not RS256 or ES256", header.alg)));
        }
        let key = self.key(oidc, &header).await?;
        let mut rules = Validation::new(header.alg);
        rules.set_issuer(&[&oidc.issuer]);
        rules.set_audience(&[&oidc.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_SECONDS;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).map_err(refused)?.claims;
        // A list of issuers that holds the right one is not what the provider says.
        if claims["iss"] != *oidc.issuer {
            return Err(refused("InvalidIssuer"));
        }
        let role = role(oidc, &claims).ok_or_else(|| TokenError::NoRole { claim: oidc.role_claim.clone() })?;
        let subject = claims["sub"].as_str().unwrap_or_default();
        let caller = Caller { name: format!("oidc:{subject}"), role };
        Ok(Known { caller, requests_per_second: None })
    }

    /// The key that a token names.
    async fn key(&self, oidc: &Oidc, header: &Header) -> Result<DecodingKey, TokenError> {
        let mut known = self.keys.lock().await;
        let age = |known: &Option<Published>| {
            known.as_ref().filter(|known| known.url == oidc.jwks_url).map(|known| known.asked.elapsed())
        };
        if age(&known).is_none_or(|age| age > FRESH) {
            read(&mut known, oidc).await;
        }
        let mut key = chosen(known.as_ref(), header);
        if key.is_none() && age(&known).is_some_and(|age| age > LEAST_WAIT) {
            // The provider may have a new key.
            read(&mut known, oidc).await;
            key = chosen(known.as_ref(), header);
        }
        let key = key.ok_or_else(|| refused("the provider publishes no key that it is signed with"))?;
        DecodingKey::from_jwk(key).map_err(refused)
    }
}

/// Reads the provider's keys. Where it doesn't answer, those that are known stay.
async fn read(known: &mut Option<Published>, oidc: &Oidc) {
    let read = published(&oidc.jwks_url).await;
    let before = known.take().filter(|known| known.url == oidc.jwks_url).map(|known| known.keys);
    let keys = match read {
        Ok(keys) => keys,
        Err(reason) => {
            tracing::warn!(url = oidc.jwks_url, "the keys of the OpenID provider can't be read: {reason}");
            before.unwrap_or_default()
        }
    };
    *known = Some(Published { url: oidc.jwks_url.clone(), asked: Instant::now(), keys });
}

async fn published(url: &str) -> Result<Vec<Jwk>, String> {
    let told = |error: reqwest::Error| error.without_url().to_string();
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    let request = client.build().map_err(told)?.get(url);
    let mut response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(told)?;
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(format!("its answer is longer than {MOST_BYTES} bytes"));
        }
    }
    let set: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let keys = set["keys"].as_array().ok_or("its answer has no `keys`")?;
    // A key of a kind that we don't know is none of ours.
    Ok(keys.iter().filter_map(|key| serde_json::from_value(key.clone()).ok()).collect())
}

/// The key that fits a token: of its name, or the only one there is for its algorithm where it gives none.
fn chosen<'a>(known: Option<&'a Published>, header: &Header) -> Option<&'a Jwk> {
    let mut fitting = known?.keys.iter().filter(|key| fits(key, header.alg));
    match &header.kid {
        Some(name) => fitting.find(|key| key.common.key_id.as_ref() == Some(name)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}

fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let named = match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        _ => KeyAlgorithm::ES256,
    };
    let is_of_kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => key.curve == EllipticCurve::P256,
        _ => false,
    };
    let is_for_signing = key.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    is_of_kind && is_for_signing && key.common.key_algorithm.is_none_or(|algorithm| algorithm == named)
}

/// The highest role that the claim names: a text or a list of texts; the claim is a key, or a path of keys with dots.
fn role(oidc: &Oidc, claims: &Value) -> Option<Role> {
    let path = || oidc.role_claim.split('.').try_fold(claims, |value, key| value.get(key));
    let claim = claims.get(&oidc.role_claim).or_else(path)?;
    let values = match claim {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    values.iter().filter_map(Value::as_str).filter_map(|value| meant(&oidc.roles, value)).max()
}

fn meant(roles: &BTreeMap<String, Role>, value: &str) -> Option<Role> {
    if roles.is_empty() { Role::named(value) } else { roles.get(value).copied() }
}

#[cfg(test)]
mod tests;
