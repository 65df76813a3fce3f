//! What can go wrong with a remote model.

use std::time::Duration;

/// How many characters of an answer are shown.
const SHOWN_CHARS: usize = 300;

/// Why a request to an endpoint has no good answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// It can't even be sent.
    #[error("{0}")]
    Setup(String),
    /// Nobody answers.
    #[error("it can't be reached: {0}")]
    Connection(String),
    /// The connection ended, or what came was damaged, before the answer was complete.
    #[error("its answer broke off: {0}")]
    Broken(String),
    /// It took too long.
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    /// It refused.
    #[error("it answered HTTP {code}: {body}")]
    Status {
        /// The HTTP status code.
        code: u16,
        /// What it says.
        body: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer is longer than allowed.
    #[error("its answer is longer than {0} bytes; raise `max_answer_bytes` if that is right")]
    TooLong(usize),
    /// The answer is not what the protocol says.
    #[error("{0}")]
    Answer(String),
}

impl Fault {
    /// Whether the same request may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Broken(_) => true,
            Self::Status { code, .. } => *code == 429 || (500..600).contains(code),
            Self::Setup(_) | Self::Timeout(_) | Self::TooLong(_) | Self::Answer(_) => false,
        }
    }

    /// Whether other requests will meet with the same, so that there is no use in sending them now.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Connection(_) | Self::Timeout(_) => true,
            Self::Status { code, .. } => !matches!(code, 400 | 413 | 422 | 500),
            Self::Broken(_) | Self::TooLong(_) | Self::Answer(_) => false,
        }
    }

    /// How long the endpoint asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A request that failed for good.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}{}", tried(*attempts))]
pub(super) struct Failed {
    /// What went wrong the last time.
    pub(super) fault: Fault,
    /// How often it was sent.
    pub(super) attempts: u32,
}

fn tried(attempts: u32) -> String {
    if attempts > 1 { format!(" (asked {attempts} times)") } else { String::new() }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, attempts: 1 }
    }
}

/// One line of readable length from an answer's body.
pub(super) fn readable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(8 * SHOWN_CHARS)]);
    let is_shown = |c: char| !c.is_control() || c.is_whitespace();
    let text: String = text.chars().filter(|c| is_shown(*c)).collect();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &words[..cut]),
        None if words.is_empty() => "(nothing)".to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_becomes_one_readable_line() {
        assert_eq!(readable(b" a\n\n  b\xff\x1b[0m "), "a b\u{fffd}[0m");
        assert_eq!(readable("é".repeat(10_000).as_bytes()).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(readable(b"\n"), "(nothing)");
    }
}
