//! What a person who starts the service in a terminal is greeted with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::app::App;
use crate::config::{Config, Datasource};
use crate::database::without_password;
use crate::render::format::{Ink, Paint};

/// The greeting of a service that listens at `address`.
pub fn banner(app: &App, address: SocketAddr, paint: Paint) -> String {
    let health = app.status.health();
    let pipelines = match health.config_errors.len() {
        0 => format!("{} run", health.pipelines.len()),
        errors => format!("{} run, {errors} wrong: see below", health.pipelines.len()),
    };
    text(&app.current().config, address, &pipelines, paint)
}

fn text(config: &Config, address: SocketAddr, pipelines: &str, paint: Paint) -> String {
    let url = url(config, address);
    let datasources: Vec<String> =
        config.datasources.iter().map(|(name, datasource)| format!("{name} ({})", place(datasource))).collect();
    let lines = [
        ("page", url.clone()),
        ("API", format!("{url}api/docs")),
        ("datasources", datasources.join(", ")),
        ("pipelines", pipelines.to_owned()),
    ];
    let mut text = format!("\n  {} {}\n\n", paint.ink(Ink::Strong, "OpenAnomaly"), env!("CARGO_PKG_VERSION"));
    for (name, value) in lines {
        text.push_str(&format!("  {} {value}\n", paint.ink(Ink::Faint, format!("{name:<12}"))));
    }
    text + "\n"
}

/// Where a browser on this machine finds the page.
fn url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    format!("{scheme}://{}/", SocketAddr::new(host, address.port()))
}

fn place(datasource: &Datasource) -> String {
    let path = || datasource.path.as_ref().map(|path| path.display().to_string());
    datasource.url.as_deref().map(without_password).or_else(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_says_where_and_what_and_no_password() {
        let datasource = |url: &str| Datasource { url: Some(url.into()), ..Datasource::default() };
        let mut config = Config::default();
        config.datasources.insert("default".into(), datasource("http://me:secret@metrics:8428"));
        config.datasources.insert("local".into(), Datasource { path: Some("data".into()), ..Datasource::default() });
        let text = text(&config, "0.0.0.0:8490".parse().unwrap(), "2 run", Paint { on: false });
        let expected = format!(
            "\n  OpenAnomaly {}\n\n  page         http://127.0.0.1:8490/\n  API          http://127.0.0.1:8490/api/docs\n  \
             datasources  default (http://me:…@metrics:8428), local (data)\n  pipelines    2 run\n\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn an_address_is_one_for_browsers() {
        let url = |address: &str| url(&Config::default(), address.parse().unwrap());
        assert_eq!(url("[::]:1"), "http://127.0.0.1:1/");
        assert_eq!(url("[::1]:1"), "http://[::1]:1/");
        assert_eq!(url("10.0.0.1:1"), "http://10.0.0.1:1/");
    }
}
