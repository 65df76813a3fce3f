//! One HTTP client an endpoint: credentials, patience and the bounds of answers stand in one place.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response, Url};

use super::fault::{Failed, Fault, readable};
use super::options::Options;
use crate::resources::{Resolver, Resources};

/// The content type of an Arrow IPC file.
pub(super) const ARROW: &str = "application/vnd.apache.arrow.file";

/// The longest wait that an endpoint's `Retry-After` is obeyed for; what it asks beyond that is cut to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How much of an error's body is read.
const ERROR_BODY_BYTES: usize = 64 * 1024;

/// How often a request is sent, and how long the waits between are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) retries: u32,
    pub(super) first_wait: Duration,
    pub(super) longest_wait: Duration,
}

/// Sends requests to one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    url: Url,
    headers: HeaderMap,
    token_env: Option<String>,
    timeout: Duration,
    pub(super) patience: Patience,
    resolver: Option<Resolver>,
    http: OnceLock<Result<reqwest::Client, Fault>>,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Where it goes; the endpoint's own URL or one below it.
    pub(super) url: Url,
    pub(super) content: Content,
    /// How long the answer may be, in bytes, decompressed.
    pub(super) limit: usize,
    /// Chooses the random part of the waits.
    pub(super) seed: u64,
}

/// What a request holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Nothing: a `GET`.
    Nothing,
    Json(Bytes),
    /// An Arrow file, and what is asked about it in JSON.
    Arrow {
        data: Bytes,
        request: String,
    },
}

/// An answer with a status that says success.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    pub(super) is_html: bool,
}

impl Client {
    /// A client for the endpoint of `options`. Reads and sends nothing.
    pub(super) fn new(options: &Options, resources: &Resources) -> Self {
        let patience = Patience {
            retries: options.retries,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(10),
        };
        Self {
            url: options.url.clone(),
            headers: options.headers.clone(),
            token_env: options.token_env.clone(),
            timeout: options.timeout,
            patience,
            resolver: resources.resolver.clone(),
            http: OnceLock::new(),
        }
    }

    /// The endpoint's URL with `segments` behind its path.
    pub(super) fn below(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The endpoint's URL.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The endpoint for people to read: its URL without credentials and query, which may hold secrets.
    pub(super) fn endpoint(&self) -> String {
        printable(&self.url)
    }

    /// Sends a request, again where that may help, and answers what came with success.
    pub(super) async fn send(&self, call: &Call) -> Result<Reply, Failed> {
        let mut backoff = Backoff::new(self.patience, call.seed);
        loop {
            let fault = match self.once(call).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let wait = if fault.is_retryable() { backoff.next_wait(fault.retry_after()) } else { None };
            let Some(wait) = wait else { return Err(Failed { fault, attempts: backoff.attempts }) };
            tracing::debug!(endpoint = self.endpoint(), %fault, ?wait, "a remote model is asked again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call) -> Result<Reply, Fault> {
        let http = self.http.get_or_init(|| http(&self.url, self.resolver.as_ref())).as_ref().map_err(Clone::clone)?;
        let request = match &call.content {
            Content::Nothing => http.get(call.url.clone()),
            Content::Json(body) => {
                http.post(call.url.clone()).header(CONTENT_TYPE, "application/json").body(body.clone())
            }
            Content::Arrow { data, request } => {
                http.post(call.url.clone()).header(ACCEPT, ARROW).multipart(form(data, request)?)
            }
        };
        let request = self.authorised(request)?.headers(self.headers.clone()).timeout(self.timeout);
        let response = request.send().await.map_err(|error| self.fault(error, 0))?;
        if response.status().is_success() {
            self.success(response, call.limit).await
        } else {
            Err(refused(response).await)
        }
    }

    fn authorised(&self, request: RequestBuilder) -> Result<RequestBuilder, Fault> {
        let Some(name) = &self.token_env else { return Ok(request) };
        match std::env::var(name) {
            Ok(token) if !token.trim().is_empty() => Ok(request.bearer_auth(token.trim())),
            _ => Err(Fault::Setup(format!("the environment variable {name} holds no token"))),
        }
    }

    /// Reads the answer up to the limit, whatever it says of its length.
    async fn success(&self, mut response: Response, limit: usize) -> Result<Reply, Fault> {
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(Fault::TooLong(limit));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_html = kind.is_some_and(|kind| kind.starts_with("text/html"));
        let mut body = vec![];
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(error, body.len()))? {
            if body.len() + chunk.len() > limit {
                return Err(Fault::TooLong(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { body, is_html })
    }

    fn fault(&self, error: reqwest::Error, received: usize) -> Fault {
        if error.is_timeout() && !error.is_connect() {
            return Fault::Timeout(self.timeout);
        }
        if error.is_builder() {
            return Fault::Setup(describe(error));
        }
        let is_begun = error.is_body() || error.is_decode();
        let text = describe(error);
        if is_begun { Fault::Broken(format!("{text} (after {received} bytes)")) } else { Fault::Connection(text) }
    }
}

/// A URL without credentials and query.
fn printable(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that can't have credentials has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn http(url: &Url, resolver: Option<&Resolver>) -> Result<reqwest::Client, Fault> {
    // One provider a process; where another part has already chosen one, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // A redirect turns a POST into a GET, or carries series and credentials to where nobody sent them.
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("openanomaly/", env!("CARGO_PKG_VERSION")));
    if url.scheme() != "https" {
        // No certificate is loaded, so that a machine without any works too.
        builder = builder.tls_certs_only([]);
    }
    if let Some(Resolver(resolver)) = resolver {
        builder = builder.dns_resolver(resolver.clone()).no_proxy();
    }
    builder.build().map_err(|error| Fault::Setup(describe(error)))
}

fn form(data: &Bytes, request: &str) -> Result<Form, Fault> {
    let part = Part::stream_with_length(data.clone(), data.len() as u64).file_name("data.arrow");
    let part = part.mime_str(ARROW).map_err(|error| Fault::Setup(describe(error)))?;
    Ok(Form::new().part("data", part).text("request", request.to_owned()))
}

/// What an answer without success says.
async fn refused(mut response: Response) -> Fault {
    let code = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    if response.status().is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.and_then(|to| response.url().join(to).ok()).map_or("nowhere".to_owned(), |to| printable(&to));
        return Fault::Status { code, retry_after, body: format!("it leads to {to}; give that URL if it is right") };
    }
    let mut body = vec![];
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES - body.len())]);
        if body.len() == ERROR_BODY_BYTES {
            break;
        }
    }
    Fault::Status { code, retry_after, body: readable(&body) }
}

/// What went wrong and why, without the URL, which may hold secrets.
fn describe(error: reqwest::Error) -> String {
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

/// How long the endpoint asks us to wait: seconds, or a date that is compared with `now`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// The waits between the attempts of one request: each twice as long as the one before, up to the longest, of which a
/// random half is taken off so that many clients don't come back at once ("equal jitter").
struct Backoff {
    patience: Patience,
    attempts: u32,
    random: StdRng,
}

impl Backoff {
    fn new(patience: Patience, seed: u64) -> Self {
        Self { patience, attempts: 1, random: StdRng::seed_from_u64(seed) }
    }

    /// How long to wait before the next attempt; `None` where there is to be none. The endpoint's own wish is a lower
    /// bound, cut to [`LONGEST_RETRY_AFTER`].
    fn next_wait(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        if self.attempts > self.patience.retries {
            return None;
        }
        let doubled = self.patience.first_wait.saturating_mul(1 << (self.attempts - 1).min(30));
        let wait = doubled.min(self.patience.longest_wait).mul_f64(self.random.random_range(0.5..=1.0));
        self.attempts += 1;
        Some(wait.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_obey_the_endpoint() {
        let millis = Duration::from_millis;
        let patience = Patience { retries: 4, first_wait: millis(100), longest_wait: millis(300) };
        let waits = |seed| {
            let mut backoff = Backoff::new(patience, seed);
            std::iter::from_fn(|| backoff.next_wait(None)).collect::<Vec<_>>()
        };
        assert_eq!((waits(1), waits(1) == waits(2)), (waits(1), false));
        assert_eq!(waits(1).len(), 4);
        for (wait, whole) in waits(3).iter().zip([100, 200, 300, 300]) {
            assert!((millis(whole / 2)..=millis(whole)).contains(wait), "{wait:?}");
        }
        let mut asked = Backoff::new(patience, 1);
        assert_eq!(asked.next_wait(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(asked.next_wait(Some(Duration::from_secs(3600))), Some(LONGEST_RETRY_AFTER));
        assert_eq!(Backoff::new(Patience { retries: 0, ..patience }, 1).next_wait(None), None);
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
    fn secrets_in_a_url_are_not_shown() {
        let url = Url::parse("http://me:s3cret@h:1/a/?key=s3cret#x").unwrap();
        assert_eq!(printable(&url), "http://h:1/a");
    }
}
