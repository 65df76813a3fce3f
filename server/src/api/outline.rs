//! What there is to ask for, and by whom: the description of the API, in lines.

use serde::Serialize;
use utoipa::openapi::path::PathItem;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::auth::Role;

/// A method of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, with its parameters as `{name}`.
    pub path: String,
    /// The least role that may call it; nothing where anybody may.
    pub role: Option<Role>,
    /// What it does, in a sentence.
    pub summary: String,
}

/// Every route that is described, in the order of the paths.
pub fn routes() -> Vec<Route> {
    let super::Routes { open, viewer, editor, admin } = super::resources();
    let groups = [(open, None), (viewer, Some(Role::Viewer)), (editor, Some(Role::Editor)), (admin, Some(Role::Admin))];
    let mut routes: Vec<Route> = groups.into_iter().flat_map(|(group, role)| of_group(group, role)).collect();
    routes.sort_by(|a, b| a.path.cmp(&b.path));
    routes
}

fn of_group(group: OpenApiRouter<App>, role: Option<Role>) -> Vec<Route> {
    let paths = group.into_openapi().paths.paths;
    paths.into_iter().flat_map(|(path, item)| of_path(&path, item, role)).collect()
}

fn of_path(path: &str, item: PathItem, role: Option<Role>) -> Vec<Route> {
    let methods =
        [("GET", item.get), ("PUT", item.put), ("POST", item.post), ("PATCH", item.patch), ("DELETE", item.delete)];
    let route = |(method, operation): (&'static str, Option<utoipa::openapi::path::Operation>)| {
        let operation = operation?;
        let text = operation.summary.or(operation.description).unwrap_or_default();
        let sentence = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
        Some(Route { method, path: path.to_owned(), role, summary: sentence.to_owned() })
    };
    methods.into_iter().filter_map(route).collect()
}
