//! Who asks, and what they may do.

pub mod audit;
pub mod credential;
pub mod keys;
pub mod limit;
pub mod oidc;
pub mod origin;
pub mod redact;
pub mod secret;
pub mod session;
pub mod users;

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jsonwebtoken::Algorithm;
use tsdb::Timestamp;

use crate::api::problem::Problem;
use crate::app::App;
use crate::config::Config;
pub use crate::config::service::Role;
use crate::database::{self, Database, DatabaseError, settings};
use credential::Credential;
use limit::{Limits, Rate};
use secret::Digest256;

/// How many bytes the secret that signs logins has at least.
const LEAST_SECRET: usize = 32;

/// How many characters the admin's key has at least.
const LEAST_ADMIN_KEY: usize = 16;

/// How long it is taken for granted that there is nobody yet who could come in.
const FRESH: Duration = Duration::from_secs(2);

/// Who asks. Every request that gets past the door carries one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name, or `key:` and the key's, `oidc:` and the provider's subject, `admin-key`, `anonymous`.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

/// Who asks, and how often they may.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Who.
    pub caller: Caller,
    /// How many requests a second, where that is not what holds for all.
    pub requests_per_second: Option<f64>,
}

/// Where a request comes from, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

impl Peer {
    /// The peer of a request with these extensions.
    pub fn of(extensions: &Extensions) -> Self {
        Self(extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical()))
    }

    /// What it counts as where requests are counted.
    pub fn counted(self) -> String {
        self.0.map_or_else(|| "?".into(), limit::of_address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Why the service can't keep a door.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Anybody could come in.
    #[error(
        "listening on {address} would let anybody in, since there is no credential yet: make a key with `openanomaly \
         keys create --config FILE --role admin`, or set auth.admin_key_file or auth.oidc; where something else \
         keeps others out, say --insecure"
    )]
    Open {
        /// Where.
        address: SocketAddr,
    },
    /// A file with a secret can't be read.
    #[error("{key}: {path}: {source}", path = path.display())]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret could be guessed.
    #[error("{key}: {path} holds {found} characters; expected at least {least}", path = path.display())]
    Short {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
        /// How many there should be.
        least: usize,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What is known of those who may come in.
pub struct Auth {
    is_insecure: bool,
    is_local: bool,
    admin_key: RwLock<Option<Digest256>>,
    some_exist: Mutex<Option<(Timestamp, bool)>>,
    looking: tokio::sync::Mutex<()>,
    /// API keys.
    pub keys: keys::Keys,
    /// Logins.
    pub sessions: session::Sessions,
    /// Hashes.
    pub hasher: secret::Hasher,
    provider: oidc::Provider,
    limits: Limits,
}

impl Auth {
    /// The door of a service with this configuration.
    ///
    /// # Errors
    /// A secret that can't be read or is too short, or a database that can't.
    pub async fn open(config: &Config, is_insecure: bool, database: &Database) -> Result<Self, AuthError> {
        let secret = match &config.auth.secret_file {
            Some(path) => read_secret("auth.secret_file", path, LEAST_SECRET)?,
            None => settings::get_or_keep(database, "login_secret", &secret::random_hex(32)).await?,
        };
        let auth = Self {
            is_insecure,
            is_local: config.listen.ip().to_canonical().is_loopback(),
            admin_key: RwLock::default(),
            some_exist: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            keys: keys::Keys::default(),
            sessions: session::Sessions::new(&secret),
            hasher: secret::Hasher::default(),
            provider: oidc::Provider::default(),
            limits: Limits::default(),
        };
        auth.reload(config)?;
        Ok(auth)
    }

    /// Reads again what a changed configuration names.
    ///
    /// # Errors
    /// A secret that can't be read or is too short; then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<(), AuthError> {
        let file = config.auth.admin_key_file.as_deref();
        let key = file.map(|path| read_secret("auth.admin_key_file", path, LEAST_ADMIN_KEY)).transpose()?;
        *self.admin_key.write().unwrap_or_else(PoisonError::into_inner) = key.as_deref().map(secret::digest);
        Ok(())
    }

    /// Whether the service may listen where `config` says: nowhere but on this machine while anybody could come in.
    ///
    /// # Errors
    /// It may not.
    pub async fn may_listen(&self, config: &Config, database: &Database) -> Result<(), AuthError> {
        let is_safe = self.is_insecure || self.is_local || config.auth.required || has_standing(config);
        if is_safe || database::users::or_keys_exist(database).await? {
            return Ok(());
        }
        Err(AuthError::Open { address: config.listen })
    }

    /// Users or keys have come or gone.
    pub fn changed(&self) {
        *self.some_exist.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a credential is asked for.
    async fn is_closed(&self, app: &App) -> Result<bool, DatabaseError> {
        if self.is_insecure {
            return Ok(false);
        }
        let config = app.current().config;
        if !self.is_local || config.auth.required || has_standing(&config) {
            return Ok(true);
        }
        if let Some(exist) = self.known_to_exist(app.now()) {
            return Ok(exist);
        }
        // One looks, and all who came meanwhile know it then: a thousand at once would wait for connections.
        let _turn = self.looking.lock().await;
        if let Some(exist) = self.known_to_exist(app.now()) {
            return Ok(exist);
        }
        let exist = database::users::or_keys_exist(&app.database).await?;
        *self.some_exist.lock().unwrap_or_else(PoisonError::into_inner) = Some((app.now(), exist));
        Ok(exist)
    }

    /// Whether there are users or keys, where somebody has looked a moment ago.
    fn known_to_exist(&self, now: Timestamp) -> Option<bool> {
        let known = *self.some_exist.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh =
            |read: Timestamp| now.millis().saturating_sub(read.millis()).unsigned_abs() < FRESH.as_millis() as u64;
        known.filter(|(read, _)| is_fresh(*read)).map(|(_, exist)| exist)
    }

    /// Whether somebody may try a credential once more, by the name that they give or the address they come from.
    ///
    /// # Errors
    /// They have tried too often.
    pub fn may_try(&self, who: &str) -> Result<(), Problem> {
        self.limits.check(who, limit::ATTEMPTS).map_err(Problem::too_many)
    }

    /// Whose credential it is; nobody's, where it is wrong.
    async fn find(&self, app: &App, credential: &Credential, peer: Peer) -> Result<Option<Known>, Problem> {
        match credential {
            Credential::Key(text) | Credential::Token(text) if self.is_admin_key(text) => {
                let caller = Caller { name: "admin-key".into(), role: Role::Admin };
                Ok(Some(Known { caller, requests_per_second: None }))
            }
            Credential::Key(key) => {
                let may_try = || self.may_try(&peer.counted());
                self.keys.find(&app.database, &self.hasher, key, app.now(), may_try).await
            }
            Credential::Token(token) => self.holder(app, token).await,
            Credential::Cookie(token) => Ok(self.sessions.find(&app.database, token, app.now()).await?),
            Credential::Unusable => Ok(None),
        }
    }

    /// Whose token it is: ours are signed with a secret, those of the provider with a key pair.
    async fn holder(&self, app: &App, token: &str) -> Result<Option<Known>, Problem> {
        match (jsonwebtoken::decode_header(token).map(|header| header.alg), &app.current().config.auth.oidc) {
            (Ok(Algorithm::HS256), _) | (_, None) => Ok(self.sessions.find(&app.database, token, app.now()).await?),
            (_, Some(oidc)) => self.provider.find(oidc, token).await.map(Some).map_err(|error| {
                let (status, code) = match error {
                    oidc::TokenError::Refused(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
                    oidc::TokenError::NoRole { .. } => (StatusCode::FORBIDDEN, "forbidden"),
                };
                Problem::new(status, code, error.to_string())
            }),
        }
    }

    fn is_admin_key(&self, presented: &str) -> bool {
        let known = self.admin_key.read().unwrap_or_else(PoisonError::into_inner);
        known.is_some_and(|known| known == secret::digest(presented))
    }

    /// Counts a request of `who`, whom `rate` holds for.
    fn count(&self, who: &str, rate: Rate) -> Result<(), Problem> {
        self.limits.check(who, rate).map_err(Problem::too_many)
    }
}

/// Whether the configuration itself names a credential.
fn has_standing(config: &Config) -> bool {
    config.auth.admin_key_file.is_some() || config.auth.oidc.is_some()
}

fn read_secret(key: &'static str, path: &Path, least: usize) -> Result<String, AuthError> {
    let file = |source| AuthError::File { key, path: path.into(), source };
    let secret = std::fs::read_to_string(path).map_err(file)?.trim().to_owned();
    match secret.chars().count() {
        found if found < least => Err(AuthError::Short { key, path: path.into(), found, least }),
        _ => Ok(secret),
    }
}

/// Finds out who asks, and lets nobody else in.
pub async fn identify(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match who(&app, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn who(app: &App, parts: &Parts) -> Result<Caller, Problem> {
    let (auth, config, peer) = (&app.auth, app.current().config, Peer::of(&parts.extensions));
    let usual = Rate { per_second: config.auth.requests_per_second, burst: config.auth.burst };
    let same_origin = || origin::check(&parts.method, &parts.uri, &parts.headers, &config.cors_origins);
    if !auth.is_closed(app).await? {
        same_origin()?;
        if auth.is_local {
            origin::check_host(&parts.uri, &parts.headers)?;
        } else {
            auth.count(&peer.counted(), usual)?;
        }
        return Ok(Caller { name: "anonymous".into(), role: Role::Admin });
    }
    let credential = credential::of(&parts.headers);
    let found = match &credential {
        Some(credential) => auth.find(app, credential, peer).await,
        None => Ok(None),
    };
    let Ok(Some(Known { caller, requests_per_second })) = found else {
        auth.count(&peer.counted(), usual)?;
        return Err(found.err().unwrap_or_else(Problem::unauthorized));
    };
    if matches!(credential, Some(Credential::Cookie(_))) {
        same_origin()?;
    }
    let own = |per_second: f64| Rate { per_second, burst: (per_second * 10.0).ceil().max(1.0) as u32 };
    auth.count(&caller.name, requests_per_second.map_or(usual, own))?;
    Ok(caller)
}

/// Lets in who has at least `role`.
pub async fn require(role: Role, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role >= role => next.run(request).await,
        Some(_) => Problem::forbidden(role).into_response(),
        None => Problem::unauthorized().into_response(),
    }
}
