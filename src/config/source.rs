//! Where upstreams and callers come from, to be read again.

use std::path::PathBuf;

use super::{Args, CallerRules, ClientAuth, check::Faults, file, upstreams::Upstreams};

/// The file that upstreams and callers come from, and what the flags say about its callers.
#[derive(Clone, Debug)]
pub struct Source(pub PathBuf, pub CallerRules);

impl Source {
    /// What the flags name.
    pub(super) fn of(args: &Args) -> Option<Self> {
        let rules = CallerRules {
            forwards: args.forward_authorization,
            checks_certificates: args.server.tls.client_auth() != ClientAuth::Off,
        };
        Some(Self(args.config.clone()?, rules))
    }

    /// Reads the file again.
    ///
    /// # Errors
    ///
    /// The first fault of syntax, or all faults of meaning.
    pub fn read(&self) -> Result<Upstreams, Faults> {
        let file = file::read(&self.0).map_err(|fault| Faults(vec![fault]))?;
        file::understand(file, self.1).map_err(Faults)
    }
}
