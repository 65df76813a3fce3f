//! A running service, asked over HTTP.

use reqwest::Method;
use serde_json::Value;

use super::CliError;

/// Which service is asked, and by whom.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Service")]
pub struct ServiceArgs {
    /// The running service.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8490",
        env = "OPENANOMALY_SERVER"
    )]
    pub server: String,
    /// An API key or a token, where the service asks for one.
    #[arg(long, global = true, value_name = "KEY", env = "OPENANOMALY_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// An answer of the service.
#[derive(Debug)]
pub struct Reply {
    /// The version of what was answered, where it has one.
    pub etag: Option<String>,
    /// The body; null where there is none.
    pub body: Value,
}

/// Asks the service, and waits for its answer.
///
/// # Errors
/// It can't be reached, or refuses; its own words are in the message.
pub fn ask(
    service: &ServiceArgs,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Reply, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let failed = |reason: String| CliError::Source { origin: service.server.clone(), reason };
        let client = reqwest::Client::new();
        let url = format!("{}{path}", service.server.trim_end_matches('/'));
        let mut request = client.request(method, url);
        if let Some(key) = &service.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| failed(error.without_url().to_string()))?;
        let status = response.status();
        let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let text = response.text().await.map_err(|error| failed(error.without_url().to_string()))?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() { Ok(Reply { etag, body }) } else { Err(failed(refusal(status, &body))) }
    })
}

/// Why the service refused, in its own words.
fn refusal(status: reqwest::StatusCode, body: &Value) -> String {
    let mut text = body["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    for fault in body["errors"].as_array().into_iter().flatten() {
        let (path, message) = (fault["path"].as_str().unwrap_or(""), fault["message"].as_str().unwrap_or(""));
        text.push_str(&format!("\n  {path}: {message}"));
    }
    text
}
