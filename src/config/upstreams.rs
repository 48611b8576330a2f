//! The upstreams of the configuration file.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::{Arc, LazyLock},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::Caller;

/// All upstreams that the file names.
#[derive(Clone, Debug, Default)]
pub struct Upstreams {
    /// In the order of the file.
    pub list: Vec<NamedUpstream>,
    /// Origins that a caller may choose, as `Url` writes them.
    pub origins: BTreeSet<String>,
    /// Who may call; nobody where everybody may.
    pub callers: Vec<Caller>,
    /// `listen` and `default_model` as the file has them: they need a restart, so that a change is only reported.
    pub fixed: [Option<String>; 2],
    /// Differs where the file, or a key or certificate that it names, differs.
    pub fingerprint: u64,
}

/// One upstream: a set of models, and the replicas that serve them.
#[derive(Clone, Debug)]
pub struct NamedUpstream {
    /// What metadata and logs call it.
    pub name: String,
    /// Base URLs of its replicas.
    pub urls: Vec<Url>,
    /// The models that it serves; empty for those that it lists itself.
    pub models: Vec<String>,
    /// Further names of models.
    pub aliases: BTreeMap<String, String>,
    /// The model, or alias, that is used where no replica can be reached.
    pub fallback: Option<String>,
    /// Sent as the bearer token; `None` sends none.
    pub api_key: Option<SecretString>,
    /// Every address of a URL's host is a replica.
    pub all_addresses: bool,
    /// Most requests at once at one replica.
    pub max_in_flight: Option<usize>,
    /// Whom to trust, and as whom to connect.
    pub tls: UpstreamTls,
    /// Differs where its part of the file, or a key or certificate that it names, differs.
    pub fingerprint: u64,
}

/// PEM texts of TLS to an upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// Certificates to trust in place of the system's.
    pub ca: Option<Vec<u8>>,
    /// The client's certificates, the first its own.
    pub cert: Option<Vec<u8>>,
    /// The client's private key.
    pub key: Option<SecretString>,
}

/// The system's roots, some hundred, which all clients share. They are read once, where they are needed.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

impl UpstreamTls {
    /// TLS for all connections.
    pub(crate) fn client(
        &self,
        is_https: bool,
    ) -> Result<rustls::ClientConfig, Box<dyn Error + Send + Sync>> {
        let mut roots = Arc::new(RootCertStore::empty());
        if let Some(ca) = &self.ca {
            let mut own = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(ca) {
                own.add(certificate?)?;
            }
            if own.is_empty() {
                return Err("the file of `ca` has no certificate".into());
            }
            roots = Arc::new(own);
        } else if is_https {
            roots = Arc::clone(&SYSTEM);
            if roots.is_empty() {
                return Err("the system has no root certificates for https".into());
            }
        }
        let provider = rustls::crypto::ring::default_provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>()?;
                let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())?;
                tls.with_client_auth_cert(chain, key)?
            }
            _ => tls.with_no_client_auth(),
        };
        // A server that speaks HTTP/2 alone then refuses the handshake.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(tls)
    }
}
