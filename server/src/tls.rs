//! The service's own certificate, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use crate::config::service::ServerTls;

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("tls: {path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file doesn't hold what it should.
    #[error("tls: {path}: {reason}", path = path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate and the key don't go together.
    #[error("tls: {cert} and {key}: {source}", cert = cert.display(), key = key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate that connections are made with.
pub struct Certificate {
    files: ServerTls,
    pems: Pems,
    /// What new connections are made with.
    pub config: RustlsConfig,
}

impl Certificate {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// Files that can't be read, hold something else, or don't go together.
    pub fn load(files: &ServerTls) -> Result<Self, TlsError> {
        let pems = read(files)?;
        let config = RustlsConfig::from_config(Arc::new(server_config(files, &pems)?));
        Ok(Self { files: files.clone(), pems, config })
    }

    /// Reads the files again when they change, until `stopping`. What is wrong keeps the last good certificate.
    pub async fn keep_fresh(mut self, stopping: CancellationToken) {
        while tokio::time::timeout(LOOK_EVERY, stopping.cancelled()).await.is_err() {
            // A file that is just being replaced is there the next time.
            let Ok(pems) = read(&self.files) else { continue };
            if pems == self.pems {
                continue;
            }
            match server_config(&self.files, &pems) {
                Ok(config) => {
                    self.config.reload_from_config(Arc::new(config));
                    tracing::info!(file = %self.files.cert_file.display(), "the certificate is reloaded");
                }
                Err(error) => tracing::error!("the certificate is not reloaded: {error}"),
            }
            self.pems = pems;
        }
    }
}

fn read(files: &ServerTls) -> Result<Pems, TlsError> {
    let read = |path: &Path| std::fs::read(path).map_err(|source| TlsError::File { path: path.into(), source });
    Ok(Pems { cert: read(&files.cert_file)?, key: read(&files.key_file)? })
}

fn server_config(files: &ServerTls, pems: &Pems) -> Result<ServerConfig, TlsError> {
    let ServerTls { cert_file, key_file } = files;
    let wrong = |path: &Path, reason: String| TlsError::Pem { path: path.into(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pems.cert).collect();
    let chain = chain.map_err(|error| wrong(cert_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(cert_file, "it holds no PEM certificate".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|error| wrong(key_file, error.to_string()))?;
    let pair = |source| TlsError::Pair { cert: cert_file.clone(), key: key_file.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(pair)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
