//! `routes`: what the API answers, without asking a service.

use std::io::Write;

use comfy_table::ColumnConstraint;

use super::models::write_json;
use super::{CliError, Terminal};
use crate::api::outline::{self, Route};
use crate::render::format::Ink;
use crate::render::table;

/// Lists what can be asked of the service over HTTP, and which role that needs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  openanomaly routes
  openanomaly routes --tree
  openanomaly routes --json | jq -r '.[].path'")]
pub struct RoutesArgs {
    /// One array of objects.
    #[arg(long, conflicts_with = "tree")]
    json: bool,
    /// A tree of paths.
    #[arg(long)]
    tree: bool,
}

/// Lists the routes.
///
/// # Errors
/// The writer's.
pub fn routes(args: &RoutesArgs, terminal: &mut Terminal) -> Result<(), CliError> {
    let routes = outline::routes();
    if args.json {
        let list = serde_json::to_value(&routes).map_err(std::io::Error::from)?;
        return write_json(&list, terminal);
    }
    if args.tree { tree(&routes, terminal) } else { list(&routes, terminal) }
}

fn list(routes: &[Route], terminal: &mut Terminal) -> Result<(), CliError> {
    let mut table = table::plain(&["Method", "Path", "Role", "What it does"], terminal.width, terminal.paint);
    for route in routes {
        table.add_row([route.method, &route.path, role(route), &route.summary]);
    }
    // Paths are copied, and so stay whole.
    if let Some(column) = table.column_mut(1) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    Ok(table::write(&table, &mut terminal.out)?)
}

fn role(route: &Route) -> &'static str {
    route.role.map_or("anybody", crate::auth::Role::name)
}

/// Every part of a path on a line of its own, below the one before it; what can be asked for stands behind.
fn tree(routes: &[Route], terminal: &mut Terminal) -> Result<(), CliError> {
    let mut above: Vec<&str> = vec![];
    for (index, route) in routes.iter().enumerate() {
        let parts: Vec<&str> = route.path.trim_start_matches('/').split('/').collect();
        let same = above.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        for (depth, part) in parts.iter().enumerate().skip(same) {
            let name = format!("{}/{part}", "  ".repeat(depth));
            if depth + 1 < parts.len() {
                writeln!(terminal.out, "{name}")?;
                continue;
            }
            let here = routes[index..].iter().take_while(|other| other.path == route.path);
            let methods: Vec<String> = here.map(|route| format!("{} ({})", route.method, role(route))).collect();
            let methods = terminal.paint.ink(Ink::Actual, methods.join(", "));
            writeln!(terminal.out, "{name}  {methods}")?;
        }
        above = parts;
    }
    Ok(())
}
