//! How soon the reads of a server see what was written to it.

use std::time::Duration;

use reqwest::{Method, Response};

use super::client::{Client, Direction, describe, error_body, readable};
use crate::read::ReadFault;

/// VictoriaMetrics answers the newest points of a range with copies of older ones, for as long as its flag
/// `-search.latencyOffset` says: 30 s where it isn't set.
const DEFAULT_LATENCY_OFFSET: Duration = Duration::from_secs(30);

/// New samples wait a second or two in VictoriaMetrics' memory before a query can see them.
const IN_MEMORY: Duration = Duration::from_secs(5);

/// How much of the list of flags is read.
const FLAGS_BYTES: usize = 256 * 1024;

/// How old a point must be before a read is sure to see it: zero but for VictoriaMetrics.
///
/// # Errors
/// The server doesn't answer, or something in front of it answers that it can't yet.
pub(super) async fn settles_after(client: &Client, is_cluster: bool) -> Result<Duration, ReadFault> {
    if is_cluster {
        return Ok(DEFAULT_LATENCY_OFFSET);
    }
    let flags = get(client, "/flags").await?;
    // A server that hides its flags, or has none, is asked whether it counts as VictoriaMetrics does.
    if flags.status().is_success() && !is_html(&flags) {
        return Ok(of_flags(&beginning(flags).await?));
    }
    let metrics = get(client, "/metrics").await?;
    // Who may see neither page can't know: then the longer time is the safe one.
    let is_hidden = matches!(metrics.status().as_u16(), 401 | 403);
    let is_victoria_metrics = is_hidden || beginning(metrics).await?.contains("\nvm_");
    Ok(if is_victoria_metrics { DEFAULT_LATENCY_OFFSET } else { Duration::ZERO })
}

/// The page at `path`. What a gateway says while its server is away or busy tells nothing of the server: taken for
/// the answer of one that has no such page, it would let a VictoriaMetrics count as settled at once.
pub(super) async fn get(client: &Client, path: &str) -> Result<Response, ReadFault> {
    let page = client.request(Method::GET, Direction::Read, path).send().await;
    let mut page = page.map_err(|error| ReadFault::Connection(describe(error)))?;
    match page.status().as_u16() {
        code @ (429 | 500..=599) => Err(ReadFault::Status { code, message: readable(&error_body(&mut page).await) }),
        _ => Ok(page),
    }
}

fn is_html(response: &Response) -> bool {
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

/// The beginning of a body.
pub(super) async fn beginning(mut response: Response) -> Result<String, ReadFault> {
    let mut text = vec![];
    while let Some(chunk) = response.chunk().await.map_err(|error| ReadFault::Connection(describe(error)))? {
        text.extend_from_slice(&chunk);
        if text.len() > FLAGS_BYTES {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads the flags of VictoriaMetrics, a line each: `-search.latencyOffset="30s"`. Other text is another server's.
fn of_flags(text: &str) -> Duration {
    if !text.starts_with('-') {
        return Duration::ZERO;
    }
    let value = text.lines().find_map(|line| line.strip_prefix("-search.latencyOffset="));
    let offset = value.and_then(|value| go_duration(value.trim().trim_matches('"')));
    offset.unwrap_or(DEFAULT_LATENCY_OFFSET).max(IN_MEMORY)
}

/// A duration as Go writes it: `1m30s`, `500ms`, `0s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_victoria_metrics_is_read() {
        let check = |text: &str, seconds| assert_eq!(of_flags(text), Duration::from_secs(seconds), "{text}");
        check("-httpListenAddr=\":8428\"\n-search.latencyOffset=\"1m30s\"\n", 90);
        check("-search.latencyOffset=\"0s\"", 5);
        check("-search.latencyOffset=\"nonsense\"", 30);
        check("-httpListenAddr=\":8428\"\n", 30);
        check("<html>", 0);
        check("", 0);
    }
}
