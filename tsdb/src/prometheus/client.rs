//! One HTTP client a server: address, credentials, TLS and tenant are put on every request in one place, and so
//! are the rules by which a request is sent again.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, Response, Url};

use super::connection::{Auth, Connection, Resolver, Retry, Tenant, Tls};

/// The longest wait that a server's `Retry-After` is obeyed for; what it asks beyond that is cut to this.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How much of an error's body is read.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How many characters of an error's body are shown.
const ERROR_CHARS: usize = 500;

/// Why a connection's description makes no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URL can't be used.
    #[error("`{url}` is no URL of a server: {reason}")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate or key can't be read or used.
    #[error("the {what} in {}: {reason}", path.display())]
    Tls {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A header can't be sent.
    #[error("the header `{name}` can't be sent: {reason}")]
    Header {
        /// Its name. The value may be a secret and is not shown.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The tenant can't be one.
    #[error("`{tenant}` is no tenant: {reason}")]
    Tenant {
        /// The tenant.
        tenant: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The parts are right and the HTTP library still refuses them.
    #[error("no client for {url}: {reason}")]
    Build {
        /// The URL, without credentials.
        url: String,
        /// What the library says.
        reason: String,
    },
}

/// Which way the data goes: VictoriaMetrics' cluster has a path for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to us.
    Read,
    /// From us to the server.
    Write,
}

/// Sends requests to one server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    auth: Auth,
    account: Option<String>,
    params: Vec<(String, String)>,
    retry: Retry,
    timeout: Duration,
}

impl Client {
    /// A client for the server of `connection`. Reads the certificates; sends nothing.
    ///
    /// # Errors
    /// A URL, header, tenant or certificate that can't be used, or a file that can't be read.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let base = base(connection)?;
        let mut builder = reqwest::Client::builder()
            .default_headers(headers(connection)?)
            .gzip(connection.gzip)
            .timeout(connection.timeout)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(Resolver(resolver)) = &connection.resolver {
            builder = builder.dns_resolver(resolver.clone()).no_proxy();
        }
        let http = tls(builder, &connection.tls, base.scheme() == "https")?
            .build()
            .map_err(|e| ClientError::Build { url: printable(&base), reason: describe(e) })?;
        Ok(Self {
            http,
            auth: connection.auth.clone(),
            account: account(connection.tenant.as_ref())?,
            params: connection.params.clone(),
            retry: connection.retry,
            timeout: connection.timeout,
            base,
        })
    }

    /// A request for `path`, such as `/api/v1/query_range`, with everything on it that the connection asks for.
    pub fn request(&self, method: Method, direction: Direction, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(direction, path)).query(&self.params);
        match &self.auth {
            Auth::None => request,
            Auth::Basic { username, password } => request.basic_auth(username, Some(password)),
            Auth::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// The URL of `path`, behind the base's own path and the tenant's.
    fn url(&self, direction: Direction, path: &str) -> Url {
        let tenant = match (&self.account, direction) {
            (None, _) => String::new(),
            (Some(account), Direction::Read) => format!("/select/{account}/prometheus"),
            (Some(account), Direction::Write) => format!("/insert/{account}/prometheus"),
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}{tenant}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// The server's URL without credentials, for people to read.
    pub fn printable_url(&self) -> String {
        printable(&self.base)
    }

    /// How long a whole request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The waits between the attempts of one request.
    pub fn backoff(&self, seed: u64) -> Backoff {
        Backoff::new(self.retry, seed)
    }
}

/// The checked base URL. Credentials in it count only where the connection has no others.
fn base(connection: &Connection) -> Result<Url, ClientError> {
    // Text that is no URL may still hold a password before an `@`.
    let shown = connection.url.rsplit_once('@').map_or(connection.url.as_str(), |(_, host)| host);
    let wrong = |reason: &str| ClientError::Url { url: shown.to_string(), reason: reason.to_string() };
    let mut url = Url::parse(&connection.url).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with `http://` or `https://`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it must end with the path; query parameters have a field of their own"));
    }
    if connection.auth != Auth::None {
        strip(&mut url);
    }
    Ok(url)
}

/// Takes the credentials out. A URL that can't have any has none, so the failure to remove them is of no account.
fn strip(url: &mut Url) {
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

fn printable(url: &Url) -> String {
    let mut url = url.clone();
    strip(&mut url);
    url.as_str().trim_end_matches('/').to_string()
}

/// The headers of every request, the tenant's among them.
fn headers(connection: &Connection) -> Result<HeaderMap, ClientError> {
    let org = match &connection.tenant {
        Some(Tenant::OrgId(id)) => Some(("X-Scope-OrgID".to_string(), id.clone())),
        _ => None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in connection.headers.iter().chain(&org) {
        let wrong = |reason| ClientError::Header { name: name.clone(), reason };
        let key: HeaderName = name.parse().map_err(|_| wrong("its name has a character that no header's name has"))?;
        let mut text: HeaderValue = value.parse().map_err(|_| wrong("its value has a line break or the like"))?;
        text.set_sensitive(true);
        headers.append(key, text);
    }
    Ok(headers)
}

/// The checked account of a VictoriaMetrics cluster: it becomes a part of the path.
fn account(tenant: Option<&Tenant>) -> Result<Option<String>, ClientError> {
    let Some(Tenant::VictoriaMetrics(account)) = tenant else { return Ok(None) };
    let (id, project) = account.split_once(':').unwrap_or((account, "0"));
    if account == "multitenant" || (id.parse::<u32>().is_ok() && project.parse::<u32>().is_ok()) {
        return Ok(Some(account.clone()));
    }
    let reason = "an account is `12`, `12:3` (with its project) or `multitenant`";
    Err(ClientError::Tenant { tenant: account.clone(), reason })
}

/// Puts the certificates on. Without `https` none is loaded, so that a machine without any works too.
fn tls(builder: ClientBuilder, tls: &Tls, https: bool) -> Result<ClientBuilder, ClientError> {
    // One provider a process; where another part has already chosen one, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(path) = &tls.ca_file {
        builder = builder.tls_certs_only(authorities(path)?);
    } else if !https {
        builder = builder.tls_certs_only([]);
    }
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(builder),
        (None, Some(path)) => Err(unusable("key", path, "there is no certificate (`cert_file`) that it belongs to")),
        (Some(cert), key) => Ok(builder.identity(identity(cert, key.as_deref())?)),
    }
}

fn unusable(what: &'static str, path: &Path, reason: impl ToString) -> ClientError {
    ClientError::Tls { what, path: path.to_path_buf(), reason: reason.to_string() }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|e| unusable(what, path, e))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    const WHAT: &str = "authorities' certificates";
    match Certificate::from_pem_bundle(&read(WHAT, path)?) {
        Ok(found) if found.is_empty() => Err(unusable(WHAT, path, "the file holds no PEM certificate")),
        Ok(found) => Ok(found),
        Err(e) => Err(unusable(WHAT, path, describe(e))),
    }
}

/// Our own certificate; its key may be in the same file.
fn identity(cert: &Path, key: Option<&Path>) -> Result<Identity, ClientError> {
    let mut pem = read("certificate", cert)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read("key", key)?);
    }
    Identity::from_pem(&pem).map_err(|e| unusable("certificate and key", cert, describe(e)))
}

/// What went wrong and why, without the URL, which may hold secrets.
pub fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Whether a request that was answered with `code` may be sent again as it is.
pub fn is_retryable(code: u16) -> bool {
    code == 429 || (500..600).contains(&code)
}

/// How long the server asks us to wait: seconds, or a date that is compared with `now`.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// The beginning of an answer's body, for messages: what a proxy adds is cut off, and so is a body that breaks.
pub async fn error_body(response: &mut Response) -> Vec<u8> {
    let mut body = vec![];
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES - body.len())]);
        if body.len() == ERROR_BODY_BYTES {
            break;
        }
    }
    body
}

/// One line of readable length from an answer's body.
pub fn readable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(8 * ERROR_CHARS)]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(ERROR_CHARS) {
        Some((cut, _)) => format!("{}…", &words[..cut]),
        None => words,
    }
}

/// The waits between the attempts of one request: each twice as long as the one before, up to the longest, of
/// which a random half is taken off so that many clients don't come back at once ("equal jitter").
#[derive(Debug)]
pub struct Backoff {
    retry: Retry,
    attempts: u32,
    rng: StdRng,
}

impl Backoff {
    /// Before the first attempt.
    pub fn new(retry: Retry, seed: u64) -> Self {
        Self { retry, attempts: 1, rng: StdRng::seed_from_u64(seed) }
    }

    /// How long to wait before the next attempt; `None` where there is to be none. The server's own wish is a
    /// lower bound, cut to [`LONGEST_RETRY_AFTER`].
    pub fn next_wait(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        if self.attempts >= self.retry.attempts {
            return None;
        }
        let doubled = self.retry.first_wait.saturating_mul(1 << (self.attempts - 1).min(30));
        let wait = doubled.min(self.retry.longest_wait).mul_f64(self.rng.random_range(0.5..=1.0));
        self.attempts += 1;
        Some(wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)))
    }

    /// How many attempts were begun, the first included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(change: impl FnOnce(&mut Connection)) -> Result<Client, ClientError> {
        let mut connection = Connection::new("http://localhost:8428");
        change(&mut connection);
        Client::new(&connection)
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Connection), words: &str) {
        let error = client(change).unwrap_err().to_string();
        assert!(error.contains(words), "`{error}` does not say `{words}`");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn what_makes_no_client_is_one_clear_error() {
        for (url, words) in [
            ("localhost:8428", "http://"),
            ("", "relative URL"),
            ("ftp://localhost", "http://"),
            ("http://", "host"),
            ("http://localhost?tenant=1", "query parameters"),
            ("http://user:s3cret@", "host"),
            ("http://user:s3cret@host?a=b", "query parameters"),
            ("//user:s3cret@host", "relative URL"),
        ] {
            check_refused(|c| c.url = url.into(), words);
        }
        check_refused(|c| c.headers.push(("a b".into(), "s3cret".into())), "`a b`");
        check_refused(|c| c.headers.push(("a".into(), "s3cret\n".into())), "`a`");
        for account in ["", "a", "1:", "1/2", "-1", "1:2:3"] {
            check_refused(|c| c.tenant = Some(Tenant::VictoriaMetrics(account.into())), "is no tenant");
        }
        check_refused(|c| c.tls.ca_file = Some("/no/such/ca.pem".into()), "/no/such/ca.pem");
        check_refused(|c| c.tls.cert_file = Some("/no/such/cert.pem".into()), "/no/such/cert.pem");
        check_refused(|c| c.tls.key_file = Some("/no/such/key.pem".into()), "cert_file");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        check_refused(|c| c.tls.ca_file = Some(file.path().into()), "holds no PEM certificate");
        check_refused(|c| c.tls.cert_file = Some(file.path().into()), "certificate and key");
    }

    #[test]
    fn everything_asked_for_is_on_the_request() {
        let client = client(|c| {
            c.url = "http://u:s3cret@localhost:1/base/".into();
            c.tenant = Some(Tenant::VictoriaMetrics("12:3".into()));
            c.params = vec![("extra_label".into(), "a=b".into())];
            c.auth = Auth::Bearer("token".into());
        })
        .unwrap();
        assert_eq!(client.printable_url(), "http://localhost:1/base");
        let read = client.request(Method::GET, Direction::Read, "/api/v1/query_range").build().unwrap();
        let path = "http://localhost:1/base/select/12:3/prometheus/api/v1/query_range?extra_label=a%3Db";
        assert_eq!(read.url().as_str(), path);
        assert_eq!(read.headers().get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer token"]);
        let write = client.request(Method::POST, Direction::Write, "/api/v1/write").build().unwrap();
        assert_eq!(write.url().path(), "/base/insert/12:3/prometheus/api/v1/write");
    }

    #[test]
    fn credentials_in_the_url_are_used_and_never_shown() {
        let client = client(|c| c.url = "http://u:s3cret@localhost:1".into()).unwrap();
        let request = client.request(Method::GET, Direction::Read, "/x").build().unwrap();
        assert_eq!(request.headers()["authorization"], "Basic dTpzM2NyZXQ=");
        assert_eq!(request.url().as_str(), "http://localhost:1/x");
        assert_eq!(client.printable_url(), "http://localhost:1");
    }

    #[test]
    fn waits_double_with_jitter_and_end() {
        let retry = Retry { attempts: 5, ..Retry::default() };
        let waits = |seed| {
            let mut backoff = Backoff::new(retry, seed);
            std::iter::from_fn(move || backoff.next_wait(None)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        assert_eq!(waits(7).len(), 4);
        for (wait, whole) in waits(7).iter().zip([100, 200, 400, 800]) {
            assert!((Duration::from_millis(whole / 2)..=Duration::from_millis(whole)).contains(wait), "{wait:?}");
        }
        let mut many = Backoff::new(Retry { attempts: 100, ..retry }, 1);
        assert!(std::iter::from_fn(|| many.next_wait(None)).all(|wait| wait <= retry.longest_wait));
        assert_eq!(many.attempts(), 100);
        assert_eq!(Backoff::new(Retry { attempts: 0, ..retry }, 1).next_wait(None), None);
        let mut asked = Backoff::new(retry, 1);
        assert_eq!(asked.next_wait(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(asked.next_wait(Some(Duration::from_secs(3600))), Some(LONGEST_RETRY_AFTER));
    }

    #[test]
    fn retry_after_comes_in_two_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_body_becomes_one_readable_line() {
        assert_eq!(readable(b" a\n\n  b\xff "), "a b\u{fffd}");
        assert_eq!(readable("é".repeat(10_000).as_bytes()).chars().count(), ERROR_CHARS + 1);
    }
}
