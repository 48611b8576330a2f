//! What a terminal shows when the adapter starts: what it serves, and what it was told.

use std::{fmt::Display, net::SocketAddr};

use anstyle::Style;

use crate::config::Config;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The screen, with styles, for an adapter that listens on `address`.
pub fn screen(config: &Config, address: SocketAddr) -> String {
    let name = format!(
        "{BOLD}vllm-grpc-adapter {}{BOLD:#}\n",
        env!("CARGO_PKG_VERSION")
    );
    let row = |name: &str, value: &dyn Display| format!("  {DIM}{name:<9}{DIM:#} {value}\n");
    let is_on = match config.server.reflection {
        true => "health, reflection",
        false => "health",
    };
    [
        name,
        row("gRPC", &format_args!("{address}, plaintext")),
        row("upstream", &config.upstream.base_url),
        row("key", &config.upstream.api_key_source),
        row("on", &is_on),
    ]
    .concat()
}
