//! TLS of the listener. Its files are read again when they change, for connections that are opened from then on.

use std::{
    convert::Infallible,
    fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpStream, time};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    access::matches,
    config::{self, ClientAuth},
    telemetry::{Metrics, result},
};

/// How often the files are read again. Kubernetes swaps a link, so that there may be no event on the files themselves.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Time for a handshake, which takes a caller two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS by the files as they are now.
#[derive(Debug)]
pub(super) struct Tls {
    settings: config::Tls,
    current: RwLock<(Files, Arc<ServerConfig>)>,
}

/// The bytes of the files, to see that they have changed.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Read(String, #[source] io::Error),
    /// A file holds no PEM of that kind.
    #[error("{0}: {1}")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    /// The certificate and the key do not fit each other, or are of a kind that cannot be used.
    #[error("the certificate cannot be used with its key: {0}")]
    Certificate(#[source] rustls::Error),
    /// The roots for callers' certificates cannot be used.
    #[error("--tls-client-ca: {0}")]
    ClientCa(#[source] Box<dyn std::error::Error + Send + Sync>),
}

// === impl Tls ===

impl Tls {
    /// Reads the files; `None` without a certificate, where TLS is off.
    pub(super) fn new(settings: &config::Tls) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::read(settings)? else {
            return Ok(None);
        };
        let config = files.config(settings.client_auth())?;
        Ok(Some(Self {
            settings: settings.clone(),
            current: RwLock::new((files, config)),
        }))
    }

    fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.settings)?;
        let is_same = |old: &Files| files.as_ref().is_none_or(|files| files == old);
        if is_same(
            &self
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .0,
        ) {
            return Ok(false);
        }
        if let Some(files) = files {
            let config = files.config(self.settings.client_auth())?;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = (files, config);
        }
        Ok(true)
    }

    /// Shakes hands, checks the names of the caller's certificate, and returns them. Browsers may speak HTTP/1.1.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        is_web: bool,
    ) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
        let config = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone();
        let config = match is_web {
            true => {
                let mut config = ServerConfig::clone(&config);
                config.alpn_protocols.push(b"http/1.1".to_vec());
                config.into()
            }
            false => config,
        };
        let accepted = TlsAcceptor::from(config).accept(stream);
        let stream = time::timeout(HANDSHAKE_TIMEOUT, accepted).await??;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first);
        let Some(certificate) = certificate else {
            return Ok((stream, Vec::new()));
        };
        let names = names(certificate)?;
        let patterns = &self.settings.client_ids;
        let is_known = |name: &String| patterns.iter().any(|pattern| matches(pattern, name));
        if !patterns.is_empty() && !names.iter().any(is_known) {
            let names = match &names[..] {
                [] => "it has none".to_owned(),
                names => names.join(", "),
            };
            return Err(io::Error::other(format!(
                "no name of the caller's certificate is in --tls-client-ids: {names:.512}"
            )));
        }
        Ok((stream, names))
    }
}

/// Reads the files again whenever they have changed; never returns. Files that cannot be used change nothing.
pub(super) async fn watch(tls: Option<&Tls>, metrics: &Metrics) -> Infallible {
    let Some(tls) = tls else {
        return std::future::pending().await;
    };
    let mut fault = String::new();
    loop {
        time::sleep(RELOAD_INTERVAL).await;
        let reloaded = tls.reload();
        if !matches!(reloaded, Ok(false)) {
            metrics
                .tls_reloads
                .get_or_create(&result(reloaded.is_ok()))
                .inc();
        }
        if let Ok(true) = reloaded {
            tracing::info!("the TLS files were read again");
        }
        let found = reloaded.map_or_else(|error| error.to_string(), |_| String::new());
        if found != fault && !found.is_empty() {
            tracing::error!(
                error = found,
                "the TLS files cannot be used: those read before stay"
            );
        }
        fault = found;
    }
}

/// The DNS names and URIs of a certificate.
fn names(certificate: &CertificateDer<'_>) -> io::Result<Vec<String>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(io::Error::other)?;
    let names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    Ok(names.map(str::to_owned).collect())
}

// === impl Files ===

impl Files {
    fn read(settings: &config::Tls) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&settings.cert, &settings.key) else {
            return Ok(None);
        };
        let client_ca = settings.client_ca.as_deref().map(read);
        Ok(Some(Self {
            cert: read(cert)?,
            key: read(key)?,
            client_ca: client_ca.transpose()?,
        }))
    }

    fn config(&self, client_auth: ClientAuth) -> Result<Arc<ServerConfig>, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| TlsError::Pem("--tls-cert", error))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsError::Pem("--tls-key", error))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Certificate)?;
        let builder = match &self.client_ca {
            Some(roots) if client_auth != ClientAuth::Off => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots_of(roots)?.into(), provider);
                let verifier = match client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required | ClientAuth::Off => verifier,
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsError::ClientCa(error.into()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(TlsError::Certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config.into())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read(path.display().to_string(), error))
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        let root = root.map_err(|error| TlsError::ClientCa(error.into()))?;
        roots
            .add(root)
            .map_err(|error| TlsError::ClientCa(error.into()))?;
    }
    Ok(roots)
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}
