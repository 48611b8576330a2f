//! Certificates of roots that tests make, and adapters that show them.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tonic::transport::{Certificate, Identity};

use super::{
    process::{Builder, Process},
    vllm::Vllm,
};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root of trust, whose certificates tests give to servers and callers.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Files of one test.
pub(crate) struct Files(PathBuf);

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn root(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }

    /// A certificate for that name, which is a URI where it looks like one, or for none, valid until then.
    pub(crate) fn certify_until(&self, name: &str, until: SystemTime) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = match name {
            "" => Vec::new(),
            name if name.contains("://") => vec![SanType::URI(name.try_into().unwrap())],
            name => vec![SanType::DnsName(name.try_into().unwrap())],
        };
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn certify(&self, name: &str) -> Pair {
        self.certify_until(name, SystemTime::now() + 10 * DAY)
    }
}

// === impl Pair ===

impl Pair {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(&self.cert, &self.key)
    }
}

// === impl Files ===

impl Files {
    pub(crate) fn of(test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An adapter that shows this certificate.
    pub(crate) fn serving(&self, vllm: &Vllm, server: &Pair) -> Builder {
        Process::before(&vllm.base_url())
            .flag("--tls-cert", &self.write("cert.pem", &server.cert))
            .flag("--tls-key", &self.write("key.pem", &server.key))
    }
}
