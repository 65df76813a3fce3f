//! What can be set for a remote model. These parameters are ours; every other one is the model's own.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::entry::{BuildError, Built, Entry, Parameter, parse};
use crate::resources::Resources;
use crate::spec::{Endpoint, Format, ModelSpec};

/// With this begins the name of every environment variable that a token is read from: a pipeline must not be able to
/// send just any secret of the process to just any address.
pub const TOKEN_PREFIX: &str = "REMOTE_MODEL_";

/// The parameters of a remote model that are not passed on to it.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "protocol",
        default: "json or arrow, as serialization_format says",
        meaning: "oip (Open Inference Protocol v2) or kserve (KServe's time-series forecast)",
    },
    Parameter { name: "timeout", default: "30s", meaning: "how long an answer may take, such as 30s or 2m" },
    Parameter { name: "batch", default: "128, for json 1", meaning: "how many series a request holds at most" },
    Parameter { name: "concurrency", default: "4", meaning: "how many requests are under way at the same time" },
    Parameter { name: "retries", default: "2", meaning: "how often a request that may succeed later is sent again" },
    Parameter {
        name: "max_answer_bytes",
        default: "1 MiB and 64 bytes a number",
        meaning: "how long an answer may be, decompressed",
    },
    Parameter { name: "headers", default: "none", meaning: "HTTP headers of every request" },
    Parameter {
        name: "bearer_token_env",
        default: "none",
        meaning: "the environment variable that holds a bearer token; its name begins with REMOTE_MODEL_",
    },
];

/// Remote models are built by their endpoint; this is what their parameters are checked against.
const ENTRY: Entry =
    Entry { id: "remote", aliases: &[], summary: "a model behind a URL", parameters: PARAMETERS, build };

fn build(spec: &ModelSpec, _: &Resources) -> Built {
    Err(fault("endpoint", format!("{:?} has none", spec.id)))
}

/// What is spoken with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Json,
    Arrow,
    Oip,
    Kserve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Json,
    Arrow,
    Oip,
    Kserve,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Own {
    protocol: Option<Named>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<Duration>,
    batch: Option<usize>,
    concurrency: Option<usize>,
    retries: Option<u32>,
    max_answer_bytes: Option<usize>,
    headers: BTreeMap<String, String>,
    bearer_token_env: Option<String>,
}

/// The checked description of a remote model.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The model's name at the endpoint.
    pub(super) name: String,
    pub(super) url: Url,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) batch: usize,
    pub(super) concurrency: usize,
    pub(super) retries: u32,
    /// How long an answer may be, where that is not to be worked out from what is asked.
    pub(super) max_answer_bytes: Option<usize>,
    pub(super) headers: HeaderMap,
    pub(super) token_env: Option<String>,
    /// What the model is told.
    pub(super) parameters: Map<String, Value>,
}

impl Options {
    /// Checks what `spec` says about the model at `endpoint`; `timeout` holds where it says nothing of that.
    pub(super) fn new(spec: &ModelSpec, endpoint: &Endpoint, timeout: Duration) -> Result<Self, BuildError> {
        let is_own = |key: &str| PARAMETERS.iter().any(|known| known.name == key);
        let (own, parameters): (Map<_, _>, Map<_, _>) =
            spec.parameters.clone().into_iter().partition(|(key, _)| is_own(key));
        let own: Own = parse(&ENTRY, &own)?;
        let protocol = own.protocol(endpoint.format);
        if matches!(protocol, Protocol::Oip | Protocol::Kserve) && spec.id.is_empty() {
            return Err(fault("id", "this protocol needs the model's name at the endpoint".to_owned()));
        }
        Ok(Self {
            name: spec.id.clone(),
            url: url(&endpoint.url)?,
            protocol,
            timeout: own.timeout.unwrap_or(timeout),
            batch: own.batch(protocol)?,
            concurrency: within("concurrency", own.concurrency, 4, 1..=256)?,
            retries: within("retries", own.retries.map(|n| n as usize), 2, 0..=20)? as u32,
            max_answer_bytes: match own.max_answer_bytes {
                Some(_) => Some(within("max_answer_bytes", own.max_answer_bytes, 0, 1..=1 << 32)?),
                None => None,
            },
            headers: headers(&own.headers)?,
            token_env: own.bearer_token_env.map(token_env).transpose()?,
            parameters,
        })
    }

    /// How long the answer to a request for so many numbers may be.
    pub(super) fn limit(&self, numbers: usize) -> usize {
        self.max_answer_bytes.unwrap_or_else(|| numbers.saturating_mul(64).saturating_add(1 << 20))
    }
}

impl Own {
    fn protocol(&self, format: Format) -> Protocol {
        match (self.protocol, format) {
            (Some(Named::Json), _) | (None, Format::Json) => Protocol::Json,
            (Some(Named::Arrow), _) | (None, Format::Arrow) => Protocol::Arrow,
            (Some(Named::Oip), _) => Protocol::Oip,
            (Some(Named::Kserve), _) => Protocol::Kserve,
        }
    }

    fn batch(&self, protocol: Protocol) -> Result<usize, BuildError> {
        match (protocol, self.batch) {
            (Protocol::Json, None | Some(1)) => Ok(1),
            (Protocol::Json, Some(_)) => Err(fault("batch", "a request in JSON holds one series".to_owned())),
            (_, batch) => within("batch", batch, 128, 1..=100_000),
        }
    }
}

/// What is wrong with the parameter `key`.
pub(super) fn fault(key: &str, message: String) -> BuildError {
    BuildError::Parameter { model: ENTRY.id.into(), parameter: Some(key.to_owned()), message, allowed: String::new() }
}

fn within(
    key: &str,
    found: Option<usize>,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, BuildError> {
    match found {
        None => Ok(default),
        Some(found) if range.contains(&found) => Ok(found),
        Some(found) => Err(fault(key, format!("{found} is not from {} to {}", range.start(), range.end()))),
    }
}

fn url(text: &str) -> Result<Url, BuildError> {
    // Text that is no URL may still hold a password before an `@`.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let wrong = |reason: &str| fault("endpoint", format!("{shown:?} is no URL of a model: {reason}"));
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(wrong("it must begin with http:// or https://")),
    }
}

fn headers(found: &BTreeMap<String, String>) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    for (name, value) in found {
        let wrong = |what: &str| fault("headers", format!("{name:?} can't be sent: {what}"));
        let key: HeaderName = name.parse().map_err(|_| wrong("its name has a character that no header's name has"))?;
        let mut value: HeaderValue = value.parse().map_err(|_| wrong("its value has a line break or the like"))?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

fn token_env(name: String) -> Result<String, BuildError> {
    if name.starts_with(TOKEN_PREFIX) {
        return Ok(name);
    }
    Err(fault("bearer_token_env", format!("{name:?} does not begin with {TOKEN_PREFIX}, so it is not read")))
}

/// A duration such as `30s`, or a number of seconds.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(f64),
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    let wrong = |what: &str| serde::de::Error::custom(format!("{what} is no duration such as 30s, above zero"));
    let found = match Written::deserialize(deserializer)? {
        Written::Seconds(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong(&seconds.to_string()))?,
        Written::Text(text) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|found| Duration::try_from(found).ok())
            .ok_or_else(|| wrong(&format!("{text:?}")))?,
        Written::Other(_) => return Err(wrong("this")),
    };
    if found.is_zero() || found > Duration::from_secs(86_400) {
        return Err(wrong(&format!("{found:?} is not above zero and at most a day, and so")));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, parameters: &str) -> Result<Options, BuildError> {
        let endpoint = Endpoint { url: url.to_owned(), format: Format::Arrow };
        let parameters = serde_json::from_str(parameters).unwrap();
        let spec = ModelSpec { id: "m".to_owned(), endpoint: Some(endpoint.clone()), parameters };
        Options::new(&spec, &endpoint, Duration::from_secs(30))
    }

    #[test]
    fn own_parameters_are_taken_out_and_the_others_passed_on() {
        let found =
            options("http://h/predict?x=1", r#"{"timeout": "2m", "retries": 0, "batch": 7, "top_k": 3}"#).unwrap();
        assert_eq!((found.timeout, found.retries, found.batch), (Duration::from_secs(120), 0, 7));
        assert_eq!(Value::from(found.parameters).to_string(), r#"{"top_k":3}"#);
        assert_eq!(options("http://h", r#"{"protocol": "oip"}"#).unwrap().protocol, Protocol::Oip);
        assert_eq!(options("http://h", r#"{"protocol": "json"}"#).unwrap().batch, 1);
        assert_eq!(options("http://h", r#"{"timeout": 0.5}"#).unwrap().timeout, Duration::from_millis(500));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, parameters, words) in [
            ("localhost:80", "{}", "parameter endpoint: \"localhost:80\""),
            ("", "{}", "is no URL"),
            ("ftp://h", "{}", "http://"),
            ("//user:s3cret@h", "{}", "\"h\""),
            ("http://h", r#"{"protocol": "grpc"}"#, "parameter protocol"),
            ("http://h", r#"{"timeout": "soon"}"#, "parameter timeout: \"soon\""),
            ("http://h", r#"{"timeout": 0}"#, "above zero"),
            ("http://h", r#"{"timeout": -1}"#, "above zero"),
            ("http://h", r#"{"timeout": 1e300}"#, "above zero"),
            ("http://h", r#"{"timeout": [1]}"#, "parameter timeout"),
            ("http://h", r#"{"timeout": "2d"}"#, "parameter timeout"),
            ("http://h", r#"{"batch": 0}"#, "parameter batch: 0 is not from 1"),
            ("http://h", r#"{"batch": 2, "protocol": "json"}"#, "one series"),
            ("http://h", r#"{"batch": 2.5}"#, "parameter batch"),
            ("http://h", r#"{"concurrency": 0}"#, "parameter concurrency"),
            ("http://h", r#"{"retries": 21}"#, "parameter retries"),
            ("http://h", r#"{"max_answer_bytes": 0}"#, "parameter max_answer_bytes"),
            ("http://h", r#"{"headers": {"a b": "s3cret"}}"#, "\"a b\" can't be sent"),
            ("http://h", r#"{"headers": {"a": "s3cret\n"}}"#, "\"a\" can't be sent"),
            ("http://h", r#"{"headers": {"a": 1}}"#, "parameter headers"),
            ("http://h", r#"{"bearer_token_env": "HOME"}"#, "does not begin with REMOTE_MODEL_"),
        ] {
            let error = options(url, parameters).unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
            assert!(error.starts_with("model remote: ") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_name_is_needed_where_it_is_a_part_of_the_request() {
        let endpoint = Endpoint { url: "http://h".to_owned(), format: Format::Json };
        let spec = |parameters: &str| ModelSpec {
            parameters: serde_json::from_str(parameters).unwrap(),
            ..ModelSpec::default()
        };
        let check = |parameters: &str| Options::new(&spec(parameters), &endpoint, Duration::from_secs(1));
        assert!(check("{}").is_ok());
        assert!(check(r#"{"protocol": "kserve"}"#).unwrap_err().to_string().contains("parameter id"));
    }
}
