//! The service's own configuration: `openanomaly.yaml`, and the folder of pipelines beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::pipeline::duration;
use engine::store::Document;
use engine::{Pipeline, pipeline::PipelineErrors};
use serde::{Deserialize, Deserializer};

pub mod service;

use crate::auth::limit;
use crate::egress::Guard;
use service::{Auth, DatabaseAddress, Egress, Jobs, Limits, Mongodb, Otlp, Retention, ServerTls, Silences, StoreKind};

/// How the names of configuration files end.
pub const CONFIG_EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What is wrong with the configuration.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder can't be read.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An environment variable that the text asks for is not there.
    #[error(
        "{origin}:{line}: the environment variable `{name}` is not set; write `${{{name}:-default}}` to do without"
    )]
    Variable {
        /// The file.
        origin: String,
        /// Where.
        line: usize,
        /// Which.
        name: String,
    },
    /// The file is not what it should be.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file.
        origin: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A pipeline is not what it should be.
    #[error(transparent)]
    Pipeline(#[from] PipelineErrors),
}

/// The service's configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `/metrics` and `/health` are served.
    #[serde(default = "default_listen", deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The folder of pipelines; a relative path starts at the configuration's folder.
    #[serde(default = "default_pipelines")]
    pub pipelines: PathBuf,
    /// Where series come from and go to, by name; `default` is what a pipeline uses that names none.
    pub datasources: BTreeMap<String, Datasource>,
    /// How far back scores that a stopped service has missed are made up for.
    #[serde(default = "default_catch_up", deserialize_with = "prometheus_duration")]
    pub catch_up: Duration,
    /// What holds for all models that run as ONNX graphs.
    #[serde(default)]
    pub onnx: models::onnx::Settings,
    /// Where pipelines that are made over the API live.
    #[serde(default)]
    pub store: StoreKind,
    /// The SQL database; `openanomaly.db` in the configuration's folder where none is given.
    #[serde(default)]
    pub database: Option<DatabaseAddress>,
    /// The MongoDB of `store: mongodb`.
    #[serde(default)]
    pub mongodb: Mongodb,
    /// Who gets in.
    #[serde(default)]
    pub auth: Auth,
    /// The service's own certificate.
    #[serde(default)]
    pub tls: Option<ServerTls>,
    /// Pages of which other origins may ask the service from a browser.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// What a request may cost.
    #[serde(default)]
    pub limits: Limits,
    /// Which addresses that come in by the API may be asked.
    #[serde(default)]
    pub egress: Egress,
    /// How long things are remembered.
    #[serde(default)]
    pub retention: Retention,
    /// How jobs are run.
    #[serde(default)]
    pub jobs: Jobs,
    /// Who says at which times nothing is to be judged.
    #[serde(default)]
    pub silences: Silences,
    /// Where traces go.
    #[serde(default)]
    pub otlp: Option<Otlp>,
    /// How long another process on the same database may be silent before its pipelines are taken over.
    #[serde(default = "default_takeover", deserialize_with = "prometheus_duration")]
    pub takeover: Duration,
}

/// A place that series come from and go to: a server by its `url`, or a store on this machine by its `path`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Datasource {
    /// The base URL of a Prometheus, VictoriaMetrics or alike.
    pub url: Option<String>,
    /// The base URL for writing, where it is another.
    pub write_url: Option<String>,
    /// The base URL at which what was written can be queried, where that is not `url`.
    pub read_back_url: Option<String>,
    /// The folder of the embedded store.
    pub path: Option<PathBuf>,
    /// How long the embedded store keeps samples.
    #[serde(deserialize_with = "optional_duration")]
    pub retention: Option<Duration>,
    /// HTTP basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// A bearer token.
    pub bearer_token: Option<String>,
    /// A file that holds the bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// Certificates.
    pub tls: TlsFiles,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, String>,
    /// The tenant that goes into the header `X-Scope-OrgID`.
    pub org_id: Option<String>,
    /// The account of a VictoriaMetrics cluster, `12` or `12:3`.
    pub tenant_id: Option<String>,
    /// Query parameters sent with every request.
    pub params: BTreeMap<String, String>,
    /// How long a request may take.
    #[serde(deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// Whether answers are asked for in gzip; pays where the network is slow.
    pub gzip: bool,
    /// How far ahead of now the target takes samples; found out where it isn't given.
    #[serde(deserialize_with = "optional_duration")]
    pub takes_ahead: Option<Duration>,
}

/// HTTP basic authentication.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user's name.
    pub username: String,
    /// The password.
    #[serde(default)]
    pub password: String,
    /// A file that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// Certificates, as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// Who is trusted, instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Trusts any certificate. For trials.
    pub insecure_skip_verify: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: default_listen(),
            pipelines: default_pipelines(),
            datasources: BTreeMap::new(),
            catch_up: default_catch_up(),
            onnx: models::onnx::Settings::default(),
            store: StoreKind::default(),
            database: None,
            mongodb: Mongodb::default(),
            auth: Auth::default(),
            tls: None,
            cors_origins: vec![],
            limits: Limits::default(),
            egress: Egress::default(),
            retention: Retention::default(),
            jobs: Jobs::default(),
            silences: Silences::default(),
            otlp: None,
            takeover: default_takeover(),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8490))
}

fn default_pipelines() -> PathBuf {
    "pipelines".into()
}

fn default_catch_up() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn default_takeover() -> Duration {
    Duration::from_secs(10)
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| serde::de::Error::custom(format!("`{text}` is no address such as 127.0.0.1:8490 or [::]:8490"));
    text.parse().map_err(wrong)
}

fn prometheus_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map_err(|error| serde::de::Error::custom(format!("`{text}` is no duration: {error}")))
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    prometheus_duration(deserializer).map(Some)
}

impl Config {
    /// Reads the file at `path`, with `${NAME}` replaced by the environment.
    ///
    /// # Errors
    /// A file that can't be read or is wrong.
    pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let origin = path.display().to_string();
        let text = substitute(&text, &origin, environment)?;
        let invalid = |message: String| ConfigError::Invalid { origin: origin.clone(), message };
        let mut config: Self = serde_saphyr::from_str(&text).map_err(|error| unreadable(&error, &origin))?;
        for (name, datasource) in &config.datasources {
            datasource.check().map_err(|reason| invalid(format!("datasource `{name}`: {reason}")))?;
        }
        config.check_service().map_err(invalid)?;
        config.silences.check().map_err(|reason| invalid(format!("silences: {reason}")))?;
        if let Some(otlp) = &config.otlp {
            otlp.check().map_err(|reason| invalid(format!("otlp: {reason}")))?;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        config.pipelines = folder.join(&config.pipelines);
        for path in config.datasources.values_mut().filter_map(|datasource| datasource.path.as_mut()) {
            *path = folder.join(&*path);
        }
        let Auth { admin_key_file, secret_file, .. } = &mut config.auth;
        let certificate = config.tls.as_mut().map(|tls| [&mut tls.cert_file, &mut tls.key_file]);
        let said_by = [
            config.silences.alertmanager.as_mut().and_then(|one| one.bearer_token_file.as_mut()),
            config.silences.grafana.as_mut().and_then(|one| one.token_file.as_mut()),
        ];
        for path in said_by.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let files = [
            &mut config.onnx.folder,
            &mut config.onnx.library,
            &mut config.mongodb.url_file,
            admin_key_file,
            secret_file,
        ];
        for path in files.into_iter().flatten().chain(certificate.into_iter().flatten()) {
            *path = folder.join(&*path);
        }
        Ok(config)
    }

    /// What of the service's own keys makes no sense, for people.
    fn check_service(&self) -> Result<(), String> {
        Guard::new(&self.egress, [])?;
        let Auth { requests_per_second, burst, .. } = self.auth;
        if !limit::is_rate(requests_per_second) {
            return Err(format!("auth.requests_per_second: found {requests_per_second}; {}", limit::EXPECTED_RATE));
        }
        if burst == 0 { Err("auth.burst: found 0; expected at least 1".into()) } else { Ok(()) }
    }

    /// Whether a pipeline finds what it needs in this configuration.
    ///
    /// # Errors
    /// What it doesn't find, for people.
    pub fn check(&self, pipeline: &Pipeline) -> Result<(), String> {
        if pipeline.prometheus_url.is_none() && !self.datasources.contains_key(&pipeline.datasource) {
            let known: Vec<&str> = self.datasources.keys().map(String::as_str).collect();
            let (name, datasource, known) = (&pipeline.name, &pipeline.datasource, known.join(", "));
            return Err(format!("pipeline `{name}`: there is no datasource `{datasource}`, only: {known}"));
        }
        Ok(())
    }
}

impl Datasource {
    /// All URLs that it names.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        [&self.url, &self.write_url, &self.read_back_url].into_iter().flatten().map(String::as_str)
    }

    /// Whether it reads secrets or certificates from files.
    pub fn has_files(&self) -> bool {
        let password = self.basic_auth.as_ref().and_then(|auth| auth.password_file.as_ref());
        self.bearer_token_file.is_some() || password.is_some() || self.tls != TlsFiles::default()
    }

    fn check(&self) -> Result<(), &'static str> {
        match (&self.url, &self.path) {
            (None, None) => Err("give the `url` of a server or the `path` of an embedded store"),
            (Some(_), Some(_)) => Err("give `url` or `path`, not both"),
            (None, Some(_)) if self.write_url.is_some() => Err("an embedded store has no `write_url`"),
            _ if self.org_id.is_some() && self.tenant_id.is_some() => Err("give `org_id` or `tenant_id`, not both"),
            _ if self.bearer_token.is_some() && self.bearer_token_file.is_some() => {
                Err("give `bearer_token` or `bearer_token_file`, not both")
            }
            _ if self.basic_auth.is_some() && (self.bearer_token.is_some() || self.bearer_token_file.is_some()) => {
                Err("give `basic_auth` or a bearer token, not both")
            }
            _ => Ok(()),
        }
    }
}

/// What is wrong with a text, in one line: `openanomaly.yaml:3:5: unknown field …`.
fn unreadable(error: &serde_saphyr::Error, origin: &str) -> ConfigError {
    let place = error.location().map(|place| format!(":{}:{}", place.line(), place.column())).unwrap_or_default();
    let formatter = serde_saphyr::UserMessageFormatter;
    let message = serde_saphyr::MessageFormatter::format_message(&formatter, error.without_snippet()).into_owned();
    ConfigError::Invalid { origin: format!("{origin}{place}"), message }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError::File { path: path.to_owned(), reason: error.to_string() })
}

/// Whether a file is the service's own configuration: it has `datasources`, which no pipeline has.
pub fn is_service(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.starts_with("datasources:")))
}

/// The files of a folder that may hold pipelines, in the order of their names.
///
/// # Errors
/// A folder that can't be read.
pub fn pipeline_files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let wrong = |error: std::io::Error| ConfigError::File { path: folder.to_owned(), reason: error.to_string() };
    let is_yaml = |path: &PathBuf| {
        path.extension().is_some_and(|extension| CONFIG_EXTENSIONS.iter().any(|known| extension == *known))
    };
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        files.push(entry.map_err(wrong)?.path());
    }
    files.retain(|file| is_yaml(file) && !file.to_string_lossy().ends_with(".schema.json"));
    files.sort();
    Ok(files)
}

/// The documents of a file as they are written, each with the pipeline that it is with `${NAME}` replaced by the
/// environment.
pub fn load_documents(
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Vec<(Document, Result<Pipeline, ConfigError>)> {
    let documents = std::fs::read_to_string(file).map(|text| Pipeline::documents(&text)).unwrap_or_default();
    let written = documents.into_iter().chain(std::iter::repeat_with(Document::new));
    written.zip(load_pipelines(file, environment)).collect()
}

/// A document, and the pipeline that it is.
pub type Resolved = (Document, Result<Pipeline, PipelineErrors>);

/// The documents of a file with `${NAME}` replaced by the environment, each with the pipeline that it is.
///
/// # Errors
/// A file that can't be read, or asks for what the environment doesn't have.
pub fn resolved_documents(
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Resolved>, ConfigError> {
    resolved(&read(file)?, &file.display().to_string(), environment)
}

/// The same for a text, which `origin` names in messages.
///
/// # Errors
/// A text that asks for what the environment doesn't have.
pub fn resolved(
    text: &str,
    origin: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Resolved>, ConfigError> {
    let text = substitute(text, origin, environment)?;
    // A text that is no YAML has no documents, but one error.
    let documents = Pipeline::documents(&text).into_iter().chain(std::iter::repeat_with(Document::new));
    Ok(documents.zip(Pipeline::parse_all(&text, origin)).collect())
}

/// A document as the text of a file which, once the environment is put in, is that document again; and how the file's
/// name ends. YAML, or JSON where YAML would not say the same.
pub fn file_text(document: &Document) -> (String, &'static str) {
    let is_same = |text: &String| {
        let text = substitute(text, "", &|_| None).unwrap_or_default();
        matches!(Pipeline::documents(&text).as_slice(), [found] if found == document)
    };
    match serde_saphyr::to_string(document).ok().map(|text| escape(&text)).filter(is_same) {
        Some(text) => (text, "yaml"),
        None => (json_text(document), "json"),
    }
}

/// A document as the text of a JSON file which, once the environment is put in, is that document again.
pub fn json_text(document: &Document) -> String {
    escape(&Pipeline::json(document)) + "\n"
}

/// A text in which nothing is replaced by the environment.
fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// The pipelines of a file, with `${NAME}` replaced by the environment.
pub fn load_pipelines(file: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Result<Pipeline, ConfigError>> {
    let origin = file.display().to_string();
    match read(file).and_then(|text| substitute(&text, &origin, environment)) {
        Ok(text) => Pipeline::parse_all(&text, &origin).into_iter().map(|one| one.map_err(Into::into)).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// Replaces `${NAME}` and `${NAME:-default}` by the environment's values; `$${` stands for `${` itself. Lines that are
/// a comment are left as they are: what is commented out need not be set.
fn substitute(text: &str, origin: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (line, text) in (1..).zip(text.split_inclusive('\n')) {
        if text.trim_start().starts_with('#') {
            out += text;
            continue;
        }
        let missing = |name: &str| ConfigError::Variable { origin: origin.into(), line, name: name.into() };
        substitute_line(text, &mut out, environment).map_err(missing)?;
    }
    Ok(out)
}

/// The same for one line; fails with the name of a variable that is not there.
fn substitute_line<'a>(
    text: &'a str,
    out: &mut String,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), &'a str> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            *out += before;
            *out += "${";
            rest = after;
            continue;
        }
        let Some((inner, behind)) = after.split_once('}') else { break };
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        *out += before;
        *out += &environment(name).or(default.map(Into::into)).ok_or(name)?;
        rest = behind;
    }
    *out += rest;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "HOST").then(|| "metrics:8428".to_string())
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("openanomaly.yaml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, &environment)
    }

    #[test]
    fn variables_are_replaced_or_missed_by_name_and_line() {
        let check = |text, expected: Result<&str, &str>| {
            let got = substitute(text, "a.yaml", &environment).map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(got.unwrap(), expected),
                Err(part) => assert!(got.as_ref().unwrap_err().contains(part), "{got:?}"),
            }
        };
        check("url: http://${HOST}/x", Ok("url: http://metrics:8428/x"));
        check("a: ${NOPE:-b}, c", Ok("a: b, c"));
        check("a: $${HOST} $HOST ${", Ok("a: ${HOST} $HOST ${"));
        check("a: 1\nb: ${NOPE}", Err("a.yaml:2: the environment variable `NOPE`"));
        check("  # a: ${NOPE}\nb: ${HOST}\n", Ok("  # a: ${NOPE}\nb: metrics:8428\n"));
    }

    #[test]
    fn documents_are_written_as_they_will_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |document: serde_json::Value| {
            let document = document.as_object().unwrap().clone();
            let (text, extension) = file_text(&document);
            let file = folder.path().join(format!("a.{extension}"));
            std::fs::write(&file, text).unwrap();
            let found = resolved_documents(&file, &environment).unwrap();
            assert_eq!((found.len(), &found[0].0), (1, &document), "{}", std::fs::read_to_string(&file).unwrap());
            extension
        };
        use serde_json::json;
        let plain = json!({"name": "a", "query": "up{a=\"b\"}", "step": "1m", "forecast_schedule": "*/5 * * * *"});
        assert_eq!(check(plain), "yaml");
        check(json!({"name": "a", "query": "${HOST} $${HOST} ${NOPE}", "description": "a\n# ${HOST}\n  b: c\n\n"}));
        check(
            json!({"name": "no", "query": "0x1F", "description": " \t'\"", "tags": ["yes", "1e3", "~", "", "- a", "2020-01-01"]}),
        );
        check(
            json!({"name": "1", "a": 1.0, "b": 1, "c": 1e300, "d": null, "e": {}, "f": [], "g": {"h": [[], {"i": true}]}}),
        );
        check(
            json!({"name": "ü☃\u{7f}\u{85}\u{2028}\u{feff}\u{0}", "query": "---", "step": "...", "?": "!x", "&a": "*b", "#": "@"}),
        );
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let config = load("datasources: {default: {url: 'http://${HOST}'}}").unwrap();
        assert_eq!(config.datasources["default"].url.as_deref(), Some("http://metrics:8428"));
        assert_eq!(config.catch_up, Duration::from_secs(86_400));
        assert!(config.pipelines.ends_with("pipelines"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text, part: &str| {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error} doesn't say {part}");
        };
        check("catch_up: 1h", "datasources");
        check("datasources: {a: {}}", "datasource `a`: give the `url`");
        check("datasources: {a: {url: x, path: y}}", "not both");
        check("datasources: {a: {url: x, timeout: 5 parsecs}}", "`5 parsecs` is no duration");
        check("datasources: {a: {url: x, org_id: a, tenant_id: '1'}}", "not both");
        check("datasources: {a: {url: x, bearer_token: t, basic_auth: {username: u}}}", "not both");
        check(
            "datasources: {a: {url: x}}\nlissten: 1",
            "openanomaly.yaml:2:1: unknown field `lissten`, expected one of",
        );
        check("datasources: {a: {ulr: x}}", "openanomaly.yaml:1:19: unknown field `ulr`");
        check("datasources: {a: {url: x}}\negress: {allow: ['10.0.0.0/99']}", "egress.allow: `10.0.0.0/99`");
        check("datasources: {a: {url: x}}\nauth: {requests_per_second: 0}", "auth.requests_per_second: found 0");
        check("datasources: {a: {url: x}}\nauth: {burst: 0}", "auth.burst: found 0");
        check("datasources: {a: {url: x}}\nlisten: localhost", "2:9: `localhost` is no address such as");
    }
}
