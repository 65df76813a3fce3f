//! The listener, and how it ends: nobody new comes in, and who is in is served.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use tokio::net::TcpListener;

use crate::app::App;
use crate::tls::Certificate;

/// How long requests that have come in before the end may still take.
const DRAIN: Duration = Duration::from_secs(14);

/// Serves the API at `listener`, over TLS where there is a certificate, until the service stops; then answers what has
/// come in, for as long as is bearable.
///
/// # Errors
/// The listener fails.
pub async fn serve(app: App, listener: TcpListener, certificate: Option<Certificate>) -> std::io::Result<()> {
    match certificate {
        Some(certificate) => encrypted(app, listener, certificate).await,
        None => plain(app, listener).await,
    }
}

async fn plain(app: App, listener: TcpListener) -> std::io::Result<()> {
    let stopping = app.stopping.clone();
    let requests = app.metrics.http.clone();
    let (router, _) = super::router(app);
    let service = requests.connected(router.into_make_service_with_connect_info::<SocketAddr>());
    let server = axum::serve(listener, service).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let patience = async {
        stopping.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = patience => {
            tracing::warn!("requests did not end in time and are cut off");
            Ok(())
        }
    }
}

async fn encrypted(app: App, listener: TcpListener, certificate: Certificate) -> std::io::Result<()> {
    let (stopping, handle) = (app.stopping.clone(), Handle::new());
    let requests = app.metrics.http.clone();
    let (router, _) = super::router(app);
    let service = requests.connected(router.into_make_service_with_connect_info::<SocketAddr>());
    let acceptor = RustlsAcceptor::new(certificate.config.clone());
    let server = Server::<SocketAddr>::from_listener(listener).acceptor(acceptor).handle(handle.clone());
    let ending = async {
        certificate.keep_fresh(stopping).await;
        handle.graceful_shutdown(Some(DRAIN));
    };
    tokio::join!(server.serve(service), ending).0
}
