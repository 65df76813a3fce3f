//! The description of the API, completed by what holds for every route, and where it can be read.

use axum::Router;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};
use utoipa_swagger_ui::SwaggerUi;

/// What every route may answer beside what it names itself.
const ALWAYS: [(&str, &str); 7] = [
    ("400", "the request is wrong"),
    ("401", "a credential is needed"),
    ("403", "the credential doesn't reach"),
    ("429", "too many requests"),
    ("500", "the service failed; its log says why"),
    ("503", "not now; try again"),
    ("504", "there was no answer in time"),
];

/// What the server says before it looks at a request, without a body.
const BEFORE: [(&str, &str); 2] = [("414", "the address is too long"), ("431", "the headers are too large")];

/// What a route that takes a body may answer besides.
const WITH_BODY: [(&str, &str); 3] = [
    ("413", "the body is larger than allowed"),
    ("415", "the body is of a kind that is not taken"),
    ("422", "what is in the body is wrong; `errors` has all of it"),
];

/// Says of every operation what it may answer in any case, and that errors are problems; names it by its path.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(name(method, path));
            let more: &[_] = if operation.request_body.is_some() { &WITH_BODY } else { &[] };
            for (status, description) in ALWAYS.iter().chain(&BEFORE).chain(more) {
                let responses = &mut operation.responses.responses;
                responses.entry((*status).into()).or_insert_with(|| Response::new(*description).into());
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && status.as_str() >= "400"
                    && BEFORE.iter().all(|(before, _)| before != status)
                    && response.content.is_empty()
                {
                    let content = Content::new(Some(Ref::from_schema_name("Problem")));
                    response.content.insert("application/problem+json".into(), RefOr::T(content));
                }
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Patch, &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// `get_api_v1_pipelines_name`: unique, since methods and paths are.
fn name(method: HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Get => "get",
        HttpMethod::Put => "put",
        HttpMethod::Post => "post",
        HttpMethod::Delete => "delete",
        _ => "patch",
    };
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| name + "_" + word)
}

/// Where the description is, as JSON and for people.
pub(super) fn routes(document: OpenApi) -> Router {
    SwaggerUi::new("/api/docs").url("/api/openapi.json", document).into()
}
