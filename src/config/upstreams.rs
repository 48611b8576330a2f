//! The upstreams of the configuration file.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
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
