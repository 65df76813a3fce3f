//! The listener, and how it ends: nobody new comes in, and who is in is served.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::app::App;

/// How long requests that have come in before the end may still take.
const DRAIN: Duration = Duration::from_secs(14);

/// Serves the API at `listener` until the service stops; then answers what has come in, for as long as is bearable.
///
/// # Errors
/// The listener fails.
pub async fn serve(app: App, listener: TcpListener) -> std::io::Result<()> {
    let stopping = app.stopping.clone();
    let (router, _) = super::router(app);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
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
