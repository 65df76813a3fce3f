//! How to reach a server: address, credentials, TLS, headers, patience.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The base URL, such as `http://localhost:8428`; a path in it is kept in front of the API's paths.
    pub url: String,
    /// Credentials.
    pub auth: Auth,
    /// Certificates.
    pub tls: Tls,
    /// Headers sent with every request.
    pub headers: Vec<(String, String)>,
    /// Whose data it is, on servers that hold many tenants' data.
    pub tenant: Option<Tenant>,
    /// Query parameters sent with every request, such as `extra_label` or `nocache`.
    pub params: Vec<(String, String)>,
    /// Whether answers may come compressed with gzip. That pays on slow networks only: on a fast one, Prometheus
    /// needs several times as long to compress an answer as to send it.
    pub gzip: bool,
    /// How long a whole request may take.
    pub timeout: Duration,
    /// How often, and how soon, a request that failed is sent again.
    pub retry: Retry,
    /// Says where the server's name leads, instead of the system.
    pub resolver: Option<Resolver>,
}

/// Says to which addresses a name leads, and may refuse to. No proxy is used beside it, which would look for itself.
#[derive(Clone)]
pub struct Resolver(pub Arc<dyn reqwest::dns::Resolve>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver(…)")
    }
}

impl Connection {
    /// The server at `url`, without credentials, with a time-out of 30 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            tls: Tls::default(),
            headers: vec![],
            tenant: None,
            params: vec![],
            gzip: false,
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            resolver: None,
        }
    }
}

/// Credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

impl std::fmt::Debug for Auth {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Certificates, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who is trusted, instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Trusts any certificate. For trials.
    pub insecure_skip_verify: bool,
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// The header `X-Scope-OrgID` of Mimir, Cortex and Loki.
    OrgId(String),
    /// The account of a VictoriaMetrics cluster, `12` or `12:3`, which becomes `/select/12:3/prometheus` and
    /// `/insert/12:3/prometheus` in front of the API's paths.
    VictoriaMetrics(String),
}

/// How often, and how soon, a request that failed is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all: at least 1.
    pub attempts: u32,
    /// The wait after the first failure; it doubles from one to the next.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Retry {
    /// 5 attempts, from 100 ms to 10 s.
    fn default() -> Self {
        Self { attempts: 5, first_wait: Duration::from_millis(100), longest_wait: Duration::from_secs(10) }
    }
}
