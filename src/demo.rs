//! A simulated vLLM inside the process. It is not part of this build yet.

use std::{io, net::SocketAddr};

/// Starts it on a free loopback port, which it returns.
///
/// # Errors
///
/// A port that cannot be opened.
pub async fn start() -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
