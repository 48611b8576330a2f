//! The flags of the listener's TLS.

use std::path::PathBuf;

/// TLS of the listener. It is off without a certificate. The files are read again when they change.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// PEM file of the server's certificate, followed by those between it and its root. It turns TLS on.
    #[arg(long = "tls-cert", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[arg(long = "tls-key", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// PEM file of the roots that callers' certificates are checked against.
    #[arg(long = "tls-client-ca", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Whether callers must have a certificate. Unset: `required` with `--tls-client-ca`, and `off` without.
    #[arg(long = "tls-client-auth", value_name = "MODE")]
    pub client_auth: Option<ClientAuth>,
    /// Names of which a caller's certificate must have one, if it has a certificate: SPIFFE URIs or DNS names, exact
    /// or with a trailing `/*`. Unset: any name.
    #[arg(long = "tls-client-ids", value_name = "NAMES", value_delimiter = ',')]
    pub client_ids: Vec<String>,
}

/// Whether callers must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientAuth {
    /// No certificate is asked for.
    Off,
    /// A certificate is checked where the caller has one.
    Optional,
    /// A caller without a certificate is refused.
    Required,
}

impl Tls {
    /// What holds where nothing is said.
    #[must_use]
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth.unwrap_or(match self.client_ca {
            Some(_) => ClientAuth::Required,
            None => ClientAuth::Off,
        })
    }

    /// Flags that contradict each other.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = String> {
        let is_checked = self.client_auth() != ClientAuth::Off;
        let faults = [
            (
                self.cert.is_some() && self.key.is_none(),
                "--tls-cert: needs --tls-key",
            ),
            (
                self.key.is_some() && self.cert.is_none(),
                "--tls-key: needs --tls-cert",
            ),
            (
                is_checked && self.cert.is_none(),
                "--tls-client-auth: needs --tls-cert",
            ),
            (
                is_checked && self.client_ca.is_none(),
                "--tls-client-auth: needs --tls-client-ca",
            ),
            (
                !is_checked && self.client_ca.is_some(),
                "--tls-client-ca: is not used with --tls-client-auth off",
            ),
            (
                !is_checked && !self.client_ids.is_empty(),
                "--tls-client-ids: needs --tls-client-ca",
            ),
        ];
        let found = faults.into_iter().filter(|(is_found, _)| *is_found);
        found.map(|(_, fault)| fault.to_owned())
    }
}
