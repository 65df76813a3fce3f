//! The names of all metrics, by `/api/v1/label/__name__/values`.

use reqwest::Method;
use serde::Deserialize;

use super::client::{Client, Direction, describe, error_body, readable};
use crate::read::ReadFault;

const PATH: &str = "/api/v1/label/__name__/values";

/// What the server answers.
#[derive(Deserialize)]
struct Names {
    data: Vec<String>,
}

/// The names, sorted.
///
/// # Errors
/// The server can't be reached, or answers with something else.
pub(super) async fn metrics(client: &Client) -> Result<Vec<String>, ReadFault> {
    let answer = client.request(Method::GET, Direction::Read, PATH).send().await;
    let mut answer = answer.map_err(|error| ReadFault::Connection(describe(error)))?;
    if !answer.status().is_success() {
        let code = answer.status().as_u16();
        return Err(ReadFault::Status { code, message: readable(&error_body(&mut answer).await) });
    }
    let Names { data: mut names } = answer.json().await.map_err(|error| match error.is_decode() {
        true => ReadFault::Malformed { offset: 0, message: describe(error) },
        false => ReadFault::Connection(describe(error)),
    })?;
    names.sort_unstable();
    Ok(names)
}
