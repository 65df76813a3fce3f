//! The part of the configuration that makes the program a service: where it keeps things, who gets in, what it may ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::prometheus_duration;

/// Where pipelines that are made over the API live. Those in the folder of pipelines are there besides, and only read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In the database.
    #[default]
    Database,
    /// In MongoDB.
    Mongodb,
    /// Nowhere: the folder is all there is.
    Folder,
}

/// The SQL database: `sqlite:FILE` or `postgres://…`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseAddress {
    /// Its address. A relative file starts at the configuration's folder.
    pub url: Option<String>,
    /// A file that holds the address, which may have a password in it.
    pub url_file: Option<PathBuf>,
}

/// The MongoDB that pipelines are kept in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mongodb {
    /// Its address.
    pub url: Option<String>,
    /// A file that holds the address.
    pub url_file: Option<PathBuf>,
    /// The database; that of the address where none is given, or else `openanomaly`.
    pub database: Option<String>,
    /// The collection.
    pub collection: String,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self { url: None, url_file: None, database: None, collection: "pipelines".into() }
    }
}

/// What somebody may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Changes pipelines, and starts jobs.
    Editor,
    /// Manages users and keys.
    Admin,
}

impl Role {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Who gets in. Without a credential the service is open to this machine, and refuses to listen on any other address.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether credentials are asked for, where the address alone would not ask for them.
    pub required: bool,
    /// A key that is always valid, with the role of an admin: for the first start, and for machines.
    pub admin_key_file: Option<PathBuf>,
    /// How long a login lasts.
    #[serde(deserialize_with = "prometheus_duration")]
    pub session: Duration,
    /// A file with the secret that signs logins; made up and kept in the database where none is given.
    pub secret_file: Option<PathBuf>,
    /// Logins by an OpenID Connect provider.
    pub oidc: Option<Oidc>,
    /// How many requests a second each credential, or each address without one, may make on average.
    pub requests_per_second: f64,
    /// How many at once.
    pub burst: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: false,
            admin_key_file: None,
            session: Duration::from_secs(12 * 60 * 60),
            secret_file: None,
            oidc: None,
            requests_per_second: 200.0,
            burst: 2000,
        }
    }
}

/// An OpenID Connect provider, whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Where its public keys are.
    pub jwks_url: String,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The claim that holds a role, or a list of them or of groups.
    #[serde(default = "default_role_claim")]
    pub role_claim: String,
    /// Which value of the claim means which role; without it the values are the roles' own names.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
}

fn default_role_claim() -> String {
    "roles".into()
}

/// The service's own certificate, as PEM files; read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate and its chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// What a request may cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// The longest time, streams apart.
    #[serde(deserialize_with = "prometheus_duration")]
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 16 << 20, timeout: Duration::from_secs(60) }
    }
}

/// Which addresses that come in by the API the service may ask. Those of the configuration are always allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Host names (`models.internal`, `*.example.org`) and networks (`10.1.0.0/16`) that are allowed though they are
    /// private.
    pub allow: Vec<String>,
}

/// How long things are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Passes, and what is known of their forecasts.
    #[serde(deserialize_with = "prometheus_duration")]
    pub runs: Duration,
    /// Jobs that have ended, and their results.
    #[serde(deserialize_with = "prometheus_duration")]
    pub jobs: Duration,
    /// Incidents.
    #[serde(deserialize_with = "prometheus_duration")]
    pub incidents: Duration,
    /// Who changed what.
    #[serde(deserialize_with = "prometheus_duration")]
    pub audit_log: Duration,
    /// Versions of models that are not in use.
    #[serde(deserialize_with = "prometheus_duration")]
    pub models: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        Self { runs: days(7), jobs: days(30), incidents: days(365), audit_log: days(365), models: days(90) }
    }
}

/// How jobs are run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jobs {
    /// How many at a time in this process.
    pub workers: usize,
    /// How many may wait.
    pub most_queued: u32,
    /// How long one may take unless it says otherwise.
    #[serde(deserialize_with = "prometheus_duration")]
    pub timeout: Duration,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { workers: 2, most_queued: 10_000, timeout: Duration::from_secs(60 * 60) }
    }
}

/// Who says, beside feedback, at which times nothing is to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Silences {
    /// How often they are asked.
    #[serde(deserialize_with = "prometheus_duration")]
    pub every: Duration,
    /// An Alertmanager, whose silences hold.
    pub alertmanager: Option<Alertmanager>,
    /// A Grafana, whose annotations with certain tags hold.
    pub grafana: Option<Grafana>,
}

impl Default for Silences {
    fn default() -> Self {
        Self { every: Duration::from_secs(30), alertmanager: None, grafana: None }
    }
}

/// An Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Its base URL: what stands before `/api/v2/silences`.
    #[serde(deserialize_with = "url")]
    pub url: reqwest::Url,
    /// A bearer token.
    #[serde(default)]
    pub bearer_token: Option<String>,
    /// A file that holds the bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
}

/// A Grafana.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grafana {
    /// Its base URL: what stands before `/api/annotations`.
    #[serde(deserialize_with = "url")]
    pub url: reqwest::Url,
    /// The token of a service account that may read annotations.
    #[serde(default)]
    pub token: Option<String>,
    /// A file that holds the token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The tags that an annotation must have, all of them.
    #[serde(default = "default_tags")]
    pub tags: Vec<String>,
}

fn default_tags() -> Vec<String> {
    vec!["maintenance".into()]
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<reqwest::Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = reqwest::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let expected = "expected a URL that begins with http:// or https://";
    url.ok_or_else(|| serde::de::Error::custom(format!("`{}`: {expected}", crate::auth::redact::url(&text))))
}

impl Silences {
    /// What can't be meant.
    ///
    /// # Errors
    /// The key concerned, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.every < Duration::from_secs(1) {
            return Err("`every` must be at least 1s".into());
        }
        if self.grafana.as_ref().is_some_and(|grafana| grafana.tags.is_empty()) {
            return Err("`grafana.tags` is empty: every annotation would be a silence; name at least one tag".into());
        }
        let both = |given: bool, file: bool| given && file;
        if self.grafana.as_ref().is_some_and(|one| both(one.token.is_some(), one.token_file.is_some())) {
            return Err("give `grafana.token` or `grafana.token_file`, not both".into());
        }
        let has_two = |one: &Alertmanager| both(one.bearer_token.is_some(), one.bearer_token_file.is_some());
        if self.alertmanager.as_ref().is_some_and(has_two) {
            return Err("give `alertmanager.bearer_token` or `alertmanager.bearer_token_file`, not both".into());
        }
        Ok(())
    }
}

/// Where traces go, by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// The collector's base URL, such as `http://localhost:4318`.
    pub endpoint: String,
    /// Headers sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Which part of all traces is kept, 0 to 1.
    #[serde(default = "all")]
    pub ratio: f64,
}

fn all() -> f64 {
    1.0
}

impl Otlp {
    /// What can't be meant.
    ///
    /// # Errors
    /// The key concerned, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if !(self.endpoint.starts_with("http://") || self.endpoint.starts_with("https://")) {
            return Err(format!("`endpoint: {}` must begin with `http://` or `https://`", self.endpoint));
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(format!("`ratio: {}` must be from 0 to 1", self.ratio));
        }
        Ok(())
    }
}

/// The address of the database that is `given`, with a file that starts at `folder`; `openanomaly.db` in it where none
/// is given.
///
/// # Errors
/// The file with the address can't be read.
pub fn database_url(given: Option<&DatabaseAddress>, folder: &Path) -> Result<String, std::io::Error> {
    let given = match given {
        Some(DatabaseAddress { url_file: Some(file), .. }) => {
            Some(std::fs::read_to_string(folder.join(file))?.trim().to_owned())
        }
        Some(DatabaseAddress { url, .. }) => url.clone(),
        None => None,
    };
    let url = given.unwrap_or_else(|| "sqlite:openanomaly.db".into());
    Ok(match crate::database::file_of(&url) {
        Some(path) => crate::database::file_url(&folder.join(path)),
        None => url,
    })
}
