//! The page at `/`: three files that come with the program. They are open to anybody; what they show is not.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};
use utoipa_axum::router::OpenApiRouter;

use crate::api::Routes;
use crate::app::App;

/// What `web/build.sh` has made.
#[derive(RustEmbed)]
#[folder = "src/page/dist/"]
struct Files;

/// What the browser may do: run our own files and ask our own service, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Which file is at which path.
const PATHS: [(&str, &str); 3] = [("/", "index.html"), ("/app.js", "app.js"), ("/app.css", "app.css")];

/// The routes.
pub fn routes() -> Routes {
    let open = PATHS.iter().fold(Router::<App>::new(), |router, (path, file)| {
        router.route(path, get(move |request: Request| async move { answer(file, request.headers()) }))
    });
    Routes { open: OpenApiRouter::from(open), ..Routes::default() }
}

/// The file, or that the browser has it already.
fn answer(name: &str, headers: &HeaderMap) -> Response {
    let file: EmbeddedFile = Files::get(name).expect("a test proves that every file is there");
    let hash = file.metadata.sha256_hash();
    let tag: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind(name))], file.data.into_owned()).into_response()
    };
    let own = [
        (header::ETAG, tag.as_str()),
        // A new version of the program brings a new page: the browser asks each time, and is told by the tag.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (header, value) in own {
        response.headers_mut().insert(header, HeaderValue::from_str(value).expect("it is plain text"));
    }
    response
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page is to be there at once, on a slow line too.
    const MOST_BYTES: usize = 120_000;

    #[test]
    fn every_file_is_there_and_they_are_small() {
        let mut known: Vec<&str> = PATHS.map(|(_, file)| file).to_vec();
        let mut found: Vec<String> = Files::iter().map(|name| name.into_owned()).collect();
        known.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, known);
        let bytes: usize = known.iter().map(|name| Files::get(name).unwrap().data.len()).sum();
        assert!(bytes < MOST_BYTES, "{bytes} bytes");
    }

    #[test]
    fn nothing_in_the_page_is_of_another_host_or_inline() {
        let index = Files::get("index.html").unwrap().data;
        let index = std::str::from_utf8(&index).unwrap();
        for wrong in ["http://", "https://", "//cdn", "<style", "onclick", "onload", "style="] {
            assert!(!index.replace("http://www.w3.org/2000/svg", "").contains(wrong), "{wrong}");
        }
        assert_eq!(index.matches("<script").count(), 1);
    }

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let first = answer("app.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert!(first.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let check = |tags: &str, status| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap())]);
            assert_eq!(answer("app.js", &headers).status(), status, "{tags}");
        };
        check(&tag, StatusCode::NOT_MODIFIED);
        check(&format!("W/{tag}"), StatusCode::NOT_MODIFIED);
        check(&format!("\"other\", {tag}"), StatusCode::NOT_MODIFIED);
        check("\"other\"", StatusCode::OK);
        check("", StatusCode::OK);
    }
}
