//! Where the upstreams come from, to be read again.

use std::path::PathBuf;

use super::{check::Faults, file, upstreams::Upstreams};

/// The file that the upstreams come from.
#[derive(Clone, Debug)]
pub struct Source(pub PathBuf);

impl Source {
    /// Reads the file again.
    ///
    /// # Errors
    ///
    /// The first fault of syntax, or all faults of meaning.
    pub fn read(&self) -> Result<Upstreams, Faults> {
        let file = file::read(&self.0).map_err(|fault| Faults(vec![fault]))?;
        file::understand(file).map_err(Faults)
    }
}
